"""What large shards cost: how often each byte is written, what lies on the disk, how large the largest merge is."""

from __future__ import annotations

import pytest

from tests.engine.background.merge_simulation import GB, MB, Simulation

SETTLED = 0.5
"""From this share of the fill on the disk is measured: four runs of a generation each are always merged at once."""


def filled(gigabytes: int, generation_bytes: int) -> Simulation:
    simulation = Simulation(gigabytes * GB, generation_bytes)
    half = int(SETTLED * simulation.data_bytes)
    simulation.fill(half)
    simulation.most_held = 0.0
    simulation.fill(simulation.data_bytes - half)
    return simulation


@pytest.mark.parametrize(
    ("gigabytes", "generation", "fill", "overwrite", "scratch", "largest", "runs"),
    [
        (1, 32 * MB, 4.0, 4.5, 2.7, 2 * GB, 12),
        (10, 32 * MB, 5.3, 6.2, 1.6, 3 * GB, 24),
        pytest.param(100, 64 * MB, 6.6, 6.0, 1.4, 4 * GB, 24, marks=pytest.mark.slow),
    ],
)
def test_a_shard_is_filled_and_then_overwritten(
    gigabytes: int, generation: int, fill: float, overwrite: float, scratch: float, largest: int, runs: int
) -> None:
    simulation = filled(gigabytes, generation)
    assert simulation.write_amplification <= fill
    assert simulation.largest_job <= largest
    assert simulation.most_held <= min(scratch, 2.1)
    simulation.begin_measuring()
    simulation.overwrite(simulation.data_bytes)
    assert simulation.write_amplification <= overwrite
    assert simulation.most_held <= scratch
    assert simulation.largest_job <= largest
    assert simulation.most_runs <= runs
    assert len(simulation.fences) >= gigabytes // 3


@pytest.mark.slow
def test_a_terabyte() -> None:
    """In generations of 1 GB, since a simulated flush takes longer than a real one would like."""
    simulation = filled(1000, GB)
    assert simulation.largest_job <= 10 * GB
    simulation.begin_measuring()
    simulation.overwrite(simulation.data_bytes // 10)
    assert simulation.most_held <= 1.6
    assert simulation.pick_seconds / simulation.picks < 0.5


def test_sequential_keys_are_never_written_again() -> None:
    simulation = Simulation(8 * GB, 32 * MB)
    simulation.fill_in_order(8 * GB)
    assert simulation.write_amplification == 1
    assert simulation.most_runs == 1
    assert len(simulation.fences) >= 4
