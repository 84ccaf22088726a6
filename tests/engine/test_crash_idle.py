"""Power cuts around the merges that are made while nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flin.testing.crash_checker import CrashChecker
from flin.testing.operation import Delete, DeleteRange, Fill, Maintenance, Put, Reopen
from flin.testing.run import EngineSetup, Operation, WorkloadRun


@dataclass(frozen=True)
class MergeWhileIdle(Operation):
    """Every merge that pays while nothing is written."""

    most_runs: int

    def do(self, run: WorkloadRun) -> None:
        compactor, store = run.engine._compactor, run.engine._store
        before = max(map(len, store.state.runs))
        assert before > self.most_runs, "or there is nothing to merge"
        while compactor.merge_idle_once():
            pass
        assert max(map(len, store.state.runs)) <= self.most_runs


FLUSH = Maintenance("flush")
WORKLOAD: Final[Sequence[Operation]] = [
    *(Fill(0, 30), FLUSH, Fill(20, 30), Delete(b"f00003"), FLUSH, Put(b"a", b"x" * 50), MergeWhileIdle(1)),
    *(
        Put(b"b", b"1"),
        FLUSH,
        Fill(10, 25),
        DeleteRange(b"f", b"f00012"),
        FLUSH,
        MergeWhileIdle(2),
        Reopen(flush=False),
    ),
]


def test_power_cuts_around_merges_while_idle() -> None:
    setup = EngineSetup("never", 1, window_bytes=512)
    run = WorkloadRun(setup).run(WORKLOAD)
    checker = CrashChecker(setup, limit=2, second_every=9)
    for crash_point in run.crash_points:
        if crash_point.operation >= 0 and isinstance(WORKLOAD[crash_point.operation], MergeWhileIdle):
            checker.check(crash_point, f"{setup} {WORKLOAD!r}")
    assert checker.states > 20
