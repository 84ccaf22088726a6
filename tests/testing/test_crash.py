"""The long run: what it counts, that it tells a violation, and that what it prints replays it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from flin.engine.wal_writer import WalWriter
from flin.testing.crash import Case, case_of, main, run_seed, shortened
from flin.testing.disk import CHANGES
from flin.testing.faulty import KINDS
from flin.testing.operation import RULES, Advance, Maintenance, Put, Sweep
from flin.testing.run import Operation, Run, Scene


def test_seeds_find_no_violation() -> None:
    """The ordinary suite's part of the long run."""
    out = io.StringIO()
    assert main(["--workloads", "110", "--seed", "1000"], out) == 0, out.getvalue()
    assert _figure(r"([\d,]+) crash states", out) > 7_000
    assert _figure(r"([\d,]+) runs with a failed call", out) > 150


@pytest.mark.slow
def test_many_seeds_find_no_violation(tmp_path: Path) -> None:
    out = io.StringIO()
    report = tmp_path / "report.json"
    assert main(["--workloads", "600", "--seed", "5000", "--json", str(report)], out) == 0, out.getvalue()
    figures = json.loads(report.read_text())
    assert figures["crash_states"] > 30_000
    assert figures["crashes_during_recovery"] > 3_000
    assert figures["failed_calls"] > 800


def test_equal_seeds_are_equal_cases() -> None:
    assert [case_of(seed) for seed in range(50)] == [case_of(seed) for seed in range(50)]
    used = {type(operation) for seed in range(300) for operation in case_of(seed).workload}
    assert used == set(RULES)


@pytest.mark.parametrize("seed", [3, 7])
def test_a_seed_is_counted(seed: int) -> None:
    tally = run_seed(seed)
    assert tally.violation == ""
    assert bool(tally.faults) == case_of(seed).is_faulty
    assert len(tally.states) == len(set(tally.states)) > 0


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
    def do(self, run: Run) -> None:
        assert b"a" not in run.view(), "what must not be"


def test_a_violation_is_shortened() -> None:
    wrong = Wrong()
    workload = [Advance(1.0), Put(b"a", b"1"), Advance(1.0), Maintenance("flush"), Put(b"b", b"2"), wrong, Sweep()]
    case = Case(0, Scene("never"), workload, every=1, limit=4)
    assert shortened(case) == [Put(b"a", b"1"), wrong]


def test_every_kind_of_fault_names_operations_of_the_disk() -> None:
    reads = {"open", "names", "is_file", "pread", "map", "size", "free_bytes", "pread_nowait"}
    assert all(fault.operations <= CHANGES | reads for fault in KINDS.values())


def _figure(pattern: str, out: io.StringIO) -> int:
    found = re.findall(pattern, out.getvalue())
    return int(found[-1].replace(",", ""))
