"""What large shards cost: how often each byte is written, what lies on the disk, how large the largest merge is."""

from __future__ import annotations

import pytest

from flin.engine.background.compaction import Shard, plan
from flin.engine.tree.stall import SLOW_RUNS
from tests.engine.background.merge_simulation import GB, MB, SPACE, Simulation

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
        (1, 32 * MB, 4.0, 4.5, 1.75, GB // 2, 12),
        (3, 32 * MB, 5.0, 5.0, 1.7, GB, 12),
        (10, 32 * MB, 5.3, 6.2, 1.45, 2 * GB, 24),
        pytest.param(100, 64 * MB, 6.6, 6.3, 1.35, 4 * GB, 24, marks=pytest.mark.slow),
    ],
)
def test_a_shard_is_filled_and_then_overwritten(
    gigabytes: int, generation: int, fill: float, overwrite: float, scratch: float, largest: int, runs: int
) -> None:
    simulation = filled(gigabytes, generation)
    assert simulation.write_amplification <= fill
    assert simulation.largest_job <= largest
    assert simulation.most_held <= scratch
    simulation.begin_measuring()
    simulation.overwrite(simulation.data_bytes)
    assert simulation.write_amplification <= overwrite
    assert simulation.most_held <= scratch
    assert simulation.largest_job <= largest
    assert simulation.most_runs <= runs
    assert len(simulation.fences) >= max(4, gigabytes // 3)


def full_and_overwritten(gigabytes: int, overwritten_gigabytes: int) -> Simulation:
    """A large shard with all keys in its bottom, of which a few GB are overwritten."""
    simulation = Simulation(gigabytes * GB, 128 * MB)
    simulation.begin_full()
    assert len(simulation.fences) >= gigabytes // 2
    simulation.overwrite(overwritten_gigabytes * GB)
    return simulation


@pytest.mark.slow
def test_a_terabyte() -> None:
    """Nothing but the new is merged, in parts. (A simulation of its whole fill takes an hour.)"""
    simulation = full_and_overwritten(1000, 12)
    assert simulation.write_amplification <= 3
    assert simulation.most_held <= 1.1
    assert simulation.largest_job <= 3 * GB
    assert simulation.most_runs <= 24


def test_sequential_keys_are_never_written_again() -> None:
    simulation = Simulation(8 * GB, 32 * MB)
    simulation.fill_in_order(8 * GB)
    assert simulation.write_amplification == 1
    assert simulation.most_runs == 1
    assert len(simulation.fences) >= 4


@pytest.mark.parametrize("merged", [4, 8, 12])
def test_flushes_beside_a_long_merge_are_written_few_times(merged: int) -> None:
    """That merge takes up to as many runs as there may be, and waits while smaller ones are made."""
    simulation = Simulation(GB, 8 * MB)
    simulation.filled = GB
    overwritten = (0.0, 8 * MB / GB)
    simulation.runs = tuple((simulation.table(0, SPACE, overwritten),) for _ in range(merged))
    shard = Shard(0, simulation.runs, 0, (), simulation.options)
    long_merge = plan(shard, 0, merged, list(enumerate(simulation.runs)), "long")
    assert long_merge is not None
    simulation.busy = (long_merge,)
    simulation.overwrite(80 * 8 * MB)
    assert simulation.write_amplification <= 5
    assert simulation.most_runs <= 18 < SLOW_RUNS
