"""Closing: once, whoever asks, however often it is interrupted, and whatever runs at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

import flin.engine
from flin.engine.background import job_gate
from flin.engine.background.compactor import Compactor
from flin.engine.background.job import CompactionJob, FlushJob, Job, JobResult
from flin.engine.background.job_run import run_job
from flin.engine.disk.fs import FileSystem
from flin.engine.engine import Engine
from flin.errors import ClosedError, LockedError, StorageError
from flin.testing import SimulatedDisk
from flin.testing.process import PATIENCE_SECONDS
from flin.testing.run import PATH


class Interrupt(BaseException):
    """Like KeyboardInterrupt, which pytest would take for its own."""


@pytest.mark.parametrize("runner", ["inline", "thread"])
@pytest.mark.parametrize(
    "step",
    [
        lambda db: (db._store, "begin_close"),
        lambda db: (db._compactor, "stop"),
        lambda db: (db._compactor, "flush_once"),
        lambda db: (db._runner, "close"),
        lambda db: (db._store, "end_close"),
        lambda db: (db._store.lock, "release"),
    ],
    ids=["begin_close", "stop", "flush", "runner", "end_close", "lock"],
)
def test_a_close_goes_on_where_an_interrupt_ended_the_last_one(
    monkeypatch: pytest.MonkeyPatch, runner: str, step: Callable[[Engine], tuple[Any, str]]
) -> None:
    disk = SimulatedDisk()
    db = flin.engine.open(PATH, fs=disk, runner=runner)  # type: ignore[arg-type]
    db.put(b"a", b"1")
    owner, name = step(db)
    act = getattr(owner, name)
    interrupted: list[str] = []

    def interrupt(*arguments: Any) -> Any:
        if not interrupted and threading.current_thread() is threading.main_thread():
            interrupted.append(name)
            raise Interrupt
        return act(*arguments)

    monkeypatch.setattr(owner, name, interrupt)
    with pytest.raises(Interrupt):
        db.close()
    db.close()
    assert db.closed
    assert interrupted == [name]
    with pytest.raises(ClosedError):
        db.put(b"b", b"2")
    with flin.engine.open(PATH, fs=disk, runner="inline") as again:
        assert dict(again) == {b"a": b"1"}


@pytest.mark.parametrize("is_synced", [False, True])
def test_a_close_that_was_interrupted_twice_does_not_call_unsynced_writes_durable(
    monkeypatch: pytest.MonkeyPatch, is_synced: bool
) -> None:
    """In its sync, and after it has dropped the WAL's files."""
    disk = SimulatedDisk()
    db = flin.engine.open(PATH, fs=disk, runner="inline", sync="never")
    db.put(b"a", b"1", sync=is_synced)

    def interrupt(*_: Any) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(db._store.tables, "close", interrupt_again)
        raise Interrupt

    def interrupt_again() -> None:
        monkeypatch.undo()
        raise Interrupt

    monkeypatch.setattr(db._store._wal, "close_cleanly", interrupt)
    with pytest.raises(Interrupt):
        db.close(flush=False)
    with nullcontext() if is_synced else pytest.raises(StorageError, match="let go before it was synced"):
        db.close()
    db.close()
    flin.engine.open(PATH, fs=disk, runner="inline").close()


def test_a_second_close_waits_for_one_that_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimulatedDisk()
    db = flin.engine.open(PATH, fs=disk, runner="thread")
    db.put(b"a", b"1")
    entered, may_end = threading.Event(), threading.Event()
    close_runner = db._runner.close

    def close() -> None:
        entered.set()
        assert may_end.wait(PATIENCE_SECONDS)
        close_runner()

    monkeypatch.setattr(db._runner, "close", close)
    first = threading.Thread(target=db.close)
    first.start()
    assert entered.wait(PATIENCE_SECONDS)
    with pytest.raises(LockedError):
        flin.engine.open(PATH, fs=disk)
    found: list[bool] = []

    def close_again() -> None:
        db.close()
        found.append(db._store.has_ended)

    second = threading.Thread(target=close_again)
    second.start()
    second.join(0.05)  # long enough for one that does not wait
    may_end.set()
    first.join()
    second.join()
    assert found == [True]
    flin.engine.open(PATH, fs=disk).close()


class Held:
    """`run_job`, but jobs of one kind do not end until they may, or are cancelled."""

    def __init__(self, kind: type[FlushJob | CompactionJob]) -> None:
        self.entered = threading.Event()
        self.may_end = threading.Event()
        self._kind = kind

    def __call__(self, fs: FileSystem, job: Job, checkpoint: Callable[[], None], *rest: Any) -> JobResult:
        if isinstance(job, self._kind):
            self.entered.set()
            while not self.may_end.is_set():
                checkpoint()
                time.sleep(0.001)
        return run_job(fs, job, checkpoint)


def _in_a_thread(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """A thread that makes the call, and the list that gets its outcome."""
    outcomes: list[object] = []

    def work() -> None:
        try:
            call()
            outcomes.append("done")
        except BaseException as error:
            outcomes.append(type(error))

    thread = threading.Thread(target=work)
    thread.start()
    return thread, outcomes


@pytest.mark.parametrize(("what", "flush"), [("flush", False), ("compact", False), ("compact", True)])
def test_work_that_a_close_cancels_says_that_it_is_closed(
    monkeypatch: pytest.MonkeyPatch, what: str, flush: bool
) -> None:
    disk = SimulatedDisk()
    with flin.engine.open(PATH, fs=disk, runner="inline") as db:
        for value in (b"1", b"2"):
            db.put(b"a", value)
            db.flush()
    held = Held(FlushJob if what == "flush" else CompactionJob)
    monkeypatch.setattr(job_gate, "run_job", held)
    # A close waits for the background's flush, and that for the one that is held here: it must not begin one.
    monkeypatch.setattr(Compactor, "_flush_loop", lambda _: None)
    db = flin.engine.open(PATH, fs=disk, runner="thread")
    db.put(b"b", b"3")
    worker, outcomes = _in_a_thread(getattr(db, what))
    assert held.entered.wait(PATIENCE_SECONDS)
    db.close(flush=flush)
    worker.join()
    assert outcomes == [ClosedError]
    held.may_end.set()  # jobs of the next one
    with flin.engine.open(PATH, fs=disk, runner="inline") as again:
        assert dict(again) == {b"a": b"2", b"b": b"3"}


def test_a_flush_during_a_close_that_flushes_may_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimulatedDisk()
    held = Held(FlushJob)
    monkeypatch.setattr(job_gate, "run_job", held)
    db = flin.engine.open(PATH, fs=disk, runner="thread")
    db.put(b"b", b"3")
    worker, flushed = _in_a_thread(db.flush)
    assert held.entered.wait(PATIENCE_SECONDS)
    closer, closed = _in_a_thread(db.close)
    while not db.closed:
        time.sleep(0.001)
    held.may_end.set()
    worker.join()
    closer.join()
    assert closed == ["done"]
    assert flushed in (["done"], [ClosedError]), "the latter where it looked for more and the end was faster"
    with flin.engine.open(PATH, fs=disk, runner="inline") as again:
        assert dict(again) == {b"b": b"3"}
        assert again.stats()["memtables"]["open_entries"] == 0, "it was flushed"
