"""Power cuts around a merge that starves when its files are half written, and begins anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from flin.engine.background.job import CompactionJob, JobStarved
from flin.engine.background.merging import compact
from flin.engine.disk.fs import FileSystem
from flin.testing.crash_checker import CrashChecker
from flin.testing.operation import Delete, DeleteRange, Fill, Maintenance, Put, Reopen
from flin.testing.run import EngineSetup, Operation, WorkloadRun

FLUSH: Final = Maintenance("flush")
WORKLOAD: Final[Sequence[Operation]] = [
    *(Fill(0, 30), FLUSH, Fill(20, 30), Delete(b"f00003"), FLUSH, Put(b"a", b"x" * 50), FLUSH),
    *(Fill(10, 25), DeleteRange(b"f", b"f00012"), FLUSH, Put(b"b", b"1"), FLUSH, Reopen(flush=False)),
]


def test_power_cuts_around_a_starved_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    starved, done = 0, 0

    def starve_at_the_end(fs: FileSystem, job: CompactionJob, checkpoint: Callable[[], None], *more: Any) -> Any:
        nonlocal starved, done
        result = compact(fs, job, checkpoint, *more)
        if not job.urgent:
            starved += 1
            raise JobStarved
        done += 1
        return result

    monkeypatch.setattr("flin.engine.background.job_run.compact", starve_at_the_end)
    setup = EngineSetup("never", 1, window_bytes=512)
    run = WorkloadRun(setup).run(WORKLOAD)
    assert starved == done > 0
    checker = CrashChecker(setup, limit=2, second_every=9)
    for crash_point in run.crash_points[::2]:
        checker.check(crash_point, f"{setup} {WORKLOAD!r}")
    assert checker.states > 60


class EachStarved(Operation):
    def do(self, run: WorkloadRun) -> None:
        compactions = run.engine.stats()["compaction"]
        assert compactions["jobs"] == compactions["starved"] > 0


def test_merges_of_workloads_starve() -> None:
    """As the setup of random workloads asks for; each is made all the same."""
    setup = EngineSetup("never", 1, window_bytes=512, starves=1)
    WorkloadRun(setup, record=False).run([*WORKLOAD[:-1], EachStarved()])
