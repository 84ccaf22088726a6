"""A merge that gets no processor begins anew, as urgent."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Thread, get_native_id
from time import thread_time
from typing import Any

import pytest

import flin.engine
from flin.engine.background import patience
from flin.engine.background.compaction import Compaction
from flin.engine.background.job import CompactionJob, JobStarved
from flin.engine.background.job_gate import JobGate
from flin.engine.background.job_handle import JobHandle
from flin.engine.background.merging import compact
from flin.engine.background.patience import LEAST_SHARE, PATIENCE_SECONDS, Patience, queued_seconds
from flin.engine.disk.fs import FileSystem, OsFileSystem
from flin.testing import SimulatedDisk
from tests.engine.shard_tree import Tree


class Clocks:
    """The time on the wall, of the processor in this thread, and of this thread in its queue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.used, self.queued = 100.0, 7.0, 3.0
        monkeypatch.setattr(patience, "monotonic", lambda: self.wall)
        monkeypatch.setattr(patience, "thread_time", lambda: self.used)
        monkeypatch.setattr(patience, "queued_seconds", lambda: self.queued)

    def go(self, seconds: float, share: float, *, queued: bool = True) -> None:
        self.wall += seconds
        self.used += share * seconds
        self.queued += (1 - share) * seconds * queued


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def test_it_is_over_when_the_share_of_all_the_time_is_too_small(clocks: Clocks) -> None:
    job = Patience()
    clocks.go(0.9 * PATIENCE_SECONDS, 0)
    assert not job.is_over(), "others may soon be done"
    clocks.go(0.2 * PATIENCE_SECONDS, 0)
    assert job.is_over()
    worked = Patience()
    clocks.go(4 * PATIENCE_SECONDS, 1)
    clocks.go(30 * PATIENCE_SECONDS, 0)
    assert not worked.is_over(), "there is more to lose than a tenth of a core"
    clocks.go(10 * PATIENCE_SECONDS, 0)
    assert worked.is_over()


def test_waiting_for_a_smaller_job_is_no_lack_of_processors(clocks: Clocks) -> None:
    job = Patience()
    clocks.go(5 * PATIENCE_SECONDS, 0)
    job.note_wait(5 * PATIENCE_SECONDS)
    clocks.go(2 * PATIENCE_SECONDS, 1.1 * LEAST_SHARE)
    assert not job.is_over()


def test_waiting_for_a_disk_is_none_either(clocks: Clocks) -> None:
    job = Patience()
    clocks.go(9 * PATIENCE_SECONDS, 0, queued=False)
    clocks.go(5 * PATIENCE_SECONDS, 0)
    assert not job.is_over()
    clocks.go(5 * PATIENCE_SECONDS, 0)
    assert job.is_over()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody counts it")
def test_how_long_a_thread_was_in_the_queue() -> None:
    """Two threads that want the same processor: one of them waits."""
    seen: list[float] = []
    one = min(os.sched_getaffinity(0))
    code = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code, str(one)], stdout=subprocess.PIPE) as rival:
        assert rival.stdout is not None
        rival.stdout.readline()

        def work() -> None:
            os.sched_setaffinity(get_native_id(), {one})
            before = queued_seconds()
            until = thread_time() + 0.1
            while thread_time() < until:
                pass
            seen.append(queued_seconds() - before)

        thread = Thread(target=work)
        thread.start()
        thread.join()
        rival.kill()
    assert seen[0] > 0.01


@pytest.mark.parametrize("share", [0.5 * LEAST_SHARE, 2 * LEAST_SHARE])
def test_a_starved_merge_ends_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clocks: Clocks, share: float
) -> None:
    tree = Tree(str(tmp_path))
    for _ in range(2):
        tree.flush([((), {b"%06d" % number: b"v" * 50 for number in range(2000)})])
    plan = Compaction(0, (0, 1), tree.runs[0], tree.runs[0], (), (), True, "test")
    job = replace(tree.compaction_job(plan, 20_000, 4096), urgent=False)
    before = sorted(path.name for path in tmp_path.iterdir())
    asked = Patience.is_over

    def is_over(self: Patience) -> bool:
        clocks.go(PATIENCE_SECONDS, share)
        return asked(self)

    monkeypatch.setattr(Patience, "is_over", is_over)
    if share < LEAST_SHARE:
        with pytest.raises(JobStarved):
            JobGate().run(OsFileSystem(), JobHandle(job), Patience())
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    else:
        assert JobGate().run(OsFileSystem(), JobHandle(job), Patience()).tables


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each merge was urgent. Those that are not starve at once."""
    urgent: list[bool] = []

    def starve(fs: FileSystem, job: CompactionJob, *more: Any) -> Any:
        urgent.append(job.urgent)
        if not job.urgent:
            raise JobStarved
        return compact(fs, job, *more)

    monkeypatch.setattr("flin.engine.background.job_run.compact", starve)
    return urgent


def test_a_starved_merge_begins_anew_as_urgent(asked: list[bool]) -> None:
    with flin.engine.open("/db", fs=SimulatedDisk(), runner="inline") as db:
        for turn in range(12):
            db.put_many({b"%04d" % number: b"%d" % turn for number in range(500)})
            db.flush()
            while db._compactor.compact_once():
                pass
        assert asked[:2] == [False, True]
        figures = db.stats()["compaction"]
        assert figures["starved"] == figures["jobs"] == len(asked) / 2
        assert (len(db), db[b"0007"], db.verify()) == (500, b"11", [])


def test_a_starved_merge_that_pays_only_while_nothing_is_written_waits_for_a_longer_quiet(asked: list[bool]) -> None:
    with flin.engine.open("/db", fs=SimulatedDisk(), runner="inline") as db:
        for turn in range(3):
            db.put_many({b"%04d" % number: b"%d" % turn for number in range(turn, 900, 2)})
            db.flush()
        wanted = db._compactor._quiet._wanted_seconds
        assert not db._compactor.merge_idle_once()
        assert asked == [False]
        assert db._compactor._quiet._wanted_seconds == 2 * wanted
        assert len(db._store.state.runs[0]) == 3
