"""Merges that outlast a program: a close cancels those that have done little, but not for ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from time import sleep
from typing import Any

import pytest

import flin.engine
from flin.engine.background import job_gate
from flin.engine.background.compactor import PATIENT_SESSION
from flin.engine.background.job import CompactionJob, Job, JobResult
from flin.engine.background.job_handle import JobHandle
from flin.engine.background.job_run import run_job
from flin.testing.process import wait_until
from tests.engine.shard_tree import MANY_ENTRIES, compaction_of, no_checkpoint, two_runs


def test_eight_sessions_that_are_shorter_than_a_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each of them the merge has done nothing yet when the program ends."""
    sessions: list[flin.engine.Engine] = []
    entered = Event()

    def slow(fs: Any, job: Job, checkpoint: Callable[[], None], note_progress: Callable[[float], None]) -> JobResult:
        if isinstance(job, CompactionJob):
            entered.set()
            compactor = sessions[-1]._compactor
            while not compactor._stopping:
                sleep(0.001)
            with compactor._busy_lock:  # it has told its jobs
                pass
        return run_job(fs, job, checkpoint, note_progress)

    keys = [b"%05d" % number for number in range(100)]
    monkeypatch.setattr(job_gate, "run_job", slow)
    ended = []
    for _ in range(8):
        entered.clear()
        sessions.append(flin.engine.open(tmp_path, runner="thread", compression="none"))
        db = sessions[-1]
        for flush in range(4):  # four equal runs make a merge due
            db.put_many([(key, b"%d" % flush) for key in keys])
            db.flush()
        wait_until(entered.is_set, "a merge begins")
        db.close()
        ended.append(db._compactor.statistics.compactions)
        assert len(ended) < PATIENT_SESSION or any(ended)
    assert sum(ended) >= 8 // PATIENT_SESSION
    with flin.engine.open(tmp_path, runner="inline") as db:
        assert dict(db) == dict.fromkeys(keys, b"3")


def test_a_merge_that_is_half_done_goes_on() -> None:
    handle = JobHandle(None)  # type: ignore[arg-type]
    assert not handle.is_unwanted
    handle.cancel(unless_half=True)
    assert handle.is_unwanted
    handle.note_progress(0.5)
    assert not handle.is_unwanted
    handle.cancel()
    assert handle.is_unwanted


def test_a_merge_tells_how_far_it_is(tmp_path: Path) -> None:
    tree = two_runs(str(tmp_path), MANY_ENTRIES // 10)
    told: list[float] = []
    run_job(tree.fs, compaction_of(tree), no_checkpoint, told.append)
    assert told == sorted(told)
    assert told[0] < 0.5
    assert told[-1] == 1.0
