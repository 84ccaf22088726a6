"""The long run: what it counts, that it reports a violation, and that the printed command replays it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flin.engine.wal.writer import WalWriter
from flin.testing import crash
from flin.testing.crash import FAULTS_EVERY, Case, case_of, main, run_seed, shortened
from flin.testing.disk import CHANGES
from flin.testing.faulty import KINDS
from flin.testing.operation import RULES, Advance, Maintenance, Put, Sweep
from flin.testing.run import EngineSetup, Operation, WorkloadRun
from tests.engine.hunts import SEEDS
from tests.figures import FAILED_CALLS, RECOVERIES, Figures

PART = 20
"""Seeds of one test: a worker of pytest-xdist takes one part after the other."""

ORDINARY_PART = 7


def _search(seeds: range, figures: Figures) -> None:
    for seed in seeds:
        tally = run_seed(seed)
        assert tally.violation == "", f"replay it: python -m flin.testing.crash --workloads 1 --seed {seed}"
        figures.saw(tally.states)
        figures.add(RECOVERIES, tally.recoveries)
        figures.add(FAILED_CALLS, tally.faults)


def test_seeds_find_no_violation(figures: Figures) -> None:
    """The ordinary suite's part of the long run."""
    _search(range(1000, 1000 + ORDINARY_PART), figures)


@pytest.mark.slow
@pytest.mark.long(25)
@pytest.mark.parametrize("seed", [*range(0, SEEDS, PART), *range(5000, 5160 - SEEDS, PART)])
def test_many_seeds_find_no_violation(seed: int, figures: Figures) -> None:
    """The first ones are those by which mutants are hunted (tests/engine/hunts.py)."""
    _search(range(seed, seed + PART), figures)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
def test_calls_fail_in_many_workloads(part: int, figures: Figures) -> None:
    first = 20_000 + FAULTS_EVERY * PART * part + FAULTS_EVERY - 1
    _search(range(first, first + FAULTS_EVERY * PART, FAULTS_EVERY), figures)


def test_the_command_adds_up(tmp_path: Path) -> None:
    """In two processes."""
    out, report = io.StringIO(), tmp_path / "report.json"
    arguments = ["--workloads", "4", "--seed", "28", "--jobs", "2", "--json", str(report)]
    assert main(arguments, out) == 0, out.getvalue()
    found: dict[str, Any] = json.loads(report.read_text())
    crash._SEEN.clear()
    tallies = [run_seed(seed) for seed in range(28, 32)]
    assert found["crash_states"] == len({state for tally in tallies for state in tally.states})
    assert found["failed_calls"] == sum(tally.faults for tally in tallies) > 0
    assert found["crashes_during_recovery"] >= sum(tally.recoveries for tally in tallies) > 0


def test_a_seed_finds_the_same_in_every_process() -> None:
    """The LOCK, which names the process, changes no choice: so a seed replays anywhere."""
    program = "from flin.testing.crash import run_seed; print(run_seed(31).states)"
    found = [subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout for _ in range(2)]
    assert found[0] == found[1]
    assert len(found[0]) > 100


def test_equal_seeds_are_equal_cases() -> None:
    assert [case_of(seed) for seed in range(50)] == [case_of(seed) for seed in range(50)]
    used = {type(operation) for seed in range(300) for operation in case_of(seed).workload}
    assert used == set(RULES)


@pytest.mark.parametrize("seed", [3, 31])
def test_a_seed_is_counted(seed: int) -> None:
    crash._SEEN.clear()  # an earlier test may have met the same states
    tally = run_seed(seed)
    assert tally.violation == ""
    assert bool(tally.faults) == case_of(seed).is_faulty
    assert len(tally.states) == len(set(tally.states)) > 0


def test_workloads_of_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash, "MOMENTS", 4)
    arguments = ["--replicas", "--workloads", "1", "--jobs", "1", "--seed", "1"]
    assert main(arguments, told := io.StringIO()) == 0
    assert "1 workloads" in told.getvalue()

    def fail(*_: object) -> None:
        raise AssertionError("a replica differs")

    monkeypatch.setattr(crash, "crash_replicas", fail)
    assert main(arguments, told := io.StringIO()) == 1
    assert "a replica differs" in told.getvalue()
    assert "replay it:  python -m flin.testing.crash --replicas --workloads 1 --seed 1\n" in told.getvalue()


def _forget_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(self: Any, position: int) -> None:
        self.synced = max(self.synced, position)

    monkeypatch.setattr(WalWriter, "sync", sync)


def test_a_violation_is_told_with_what_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _forget_syncs(monkeypatch)
    monkeypatch.setattr("flin.testing.crash.SHORTEN_SECONDS", 1.0)
    out = io.StringIO()
    assert main(["--workloads", "50", "--jobs", "1"], out) == 1
    found = re.search(r"--workloads 1 --seed (\d+)", out.getvalue())
    assert found
    again = io.StringIO()
    assert main(["--workloads", "1", "--seed", found[1]], again) == 1
    first, second = (text.getvalue().split("replay")[0] for text in (out, again))
    assert first == second


class Wrong(Operation):
    def do(self, run: WorkloadRun) -> None:
        assert b"a" not in run.view(), "what must not be"


def test_a_violation_is_shortened() -> None:
    wrong = Wrong()
    workload = [Advance(1.0), Put(b"a", b"1"), Advance(1.0), Maintenance("flush"), Put(b"b", b"2"), wrong, Sweep()]
    case = Case(0, EngineSetup("never"), workload, every=1, limit=4)
    assert shortened(case) == [Put(b"a", b"1"), wrong]


def test_every_kind_of_fault_names_operations_of_the_disk() -> None:
    reads = {"open", "names", "is_file", "pread", "map", "size", "free_bytes", "pread_nowait"}
    assert all(fault.operations <= CHANGES | reads for fault in KINDS.values())
