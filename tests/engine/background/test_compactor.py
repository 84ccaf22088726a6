"""The background's threads by themselves: which failures they survive."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread, current_thread
from typing import Final

import pytest

import flin.engine
from flin.engine.background import compactor, job_edit
from flin.engine.background.compaction import Compaction
from flin.engine.background.compactor import Compactor
from flin.engine.background.job import CompactionJob, JobResult
from flin.engine.background.picker import pick_full_compaction
from flin.engine.engine import Engine
from flin.errors import FlinError, ReadOnlyError, StorageError
from flin.testing import Fault, SimulatedDisk
from flin.testing.crash_checker import assert_no_orphans
from flin.testing.process import PATIENCE_SECONDS
from flin.testing.run import PATH


def test_a_thread_survives_exhausted_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if there is none left to report it: it tries again, and writers do not wait forever."""
    monkeypatch.setattr(compactor, "RETRY_SECONDS", 0.01)
    refused: list[str] = []
    flush_once, note_failure = Compactor.flush_once, Compactor.note_failure

    def flush(self: Compactor, *, urgent: bool = True) -> bool:
        if len(refused) < 4:
            refused.append("flush")
            raise MemoryError
        return flush_once(self, urgent=urgent)

    def note(self: Compactor, error: Exception) -> None:
        if len(refused) < 4:
            refused.append("note")
            raise MemoryError
        note_failure(self, error)

    monkeypatch.setattr(Compactor, "flush_once", flush)
    monkeypatch.setattr(Compactor, "note_failure", note)
    with flin.engine.open("/db", fs=SimulatedDisk(), runner="thread", memory_limit=1 << 20) as db:
        for number in range(2000):
            db.put(b"%d" % number, b"x" * 300)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not db._compactor.statistics.flushes:
            assert time.monotonic() < deadline, "nothing is flushed any more"
            time.sleep(0.01)
    assert refused == ["flush", "note", "flush", "note"]


class Died(Exception):
    """An unexpected error."""


class Ended(BaseException):
    """An exception that is not even an error, such as SystemExit."""


@dataclass(slots=True)
class BackgroundFault(Fault):
    """Strikes only calls of the background's threads, in jobs and in the edits after them."""

    def strikes(self, operation: str) -> bool:
        return current_thread().name.startswith(BACKGROUND) and Fault.strikes(self, operation)


BACKGROUND: Final = ("flin job", "flin-flush", "flin-compaction")
ROUNDS: Final = 5  # this many runs are merged


def test_the_first_failure_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that the outputs cannot be removed, too: the next open does that."""
    disk = SimulatedDisk()
    db = flin.engine.open("/db", fs=disk, runner="inline")
    db.put(b"a", b"1")

    def no_room(*_: object) -> None:
        raise StorageError("write the manifest of", "/db", "the first cause")

    def refuse(*_: object) -> None:
        raise StorageError("remove the files of a dead job in", "/db", "the second")

    with monkeypatch.context() as patch:
        patch.setattr(db._store, "install_flush", no_room)
        patch.setattr(job_edit, "remove_outputs", refuse)
        with pytest.raises(StorageError, match="the first cause") as raised:
            db.flush()
    assert "the second" in raised.value.__notes__[0]
    db.flush()
    assert db[b"a"] == b"1"
    db.close()


def _write_rounds(db: Engine) -> dict[bytes, bytes]:
    """Write, and return the answered writes. Each round is a generation, which the background flushes."""
    answered: dict[bytes, bytes] = {}
    for number in range(ROUNDS):
        pairs = {b"%d" % (key * 7 % 40): b"%d " % number * 20 for key in range(10 * number, 10 * number + 20)}
        try:
            db.put_many(pairs)
        except ReadOnlyError:
            return answered
        answered.update(pairs)
        db._store.seal()
        db._compactor.wake()
        _wait(lambda: not db._store.state.sealed or _is_read_only(db), "a flush")
    return answered


def _is_read_only(db: Engine) -> bool:
    return db._store.read_only_reason is not None


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} does not come any more"
        time.sleep(0.0005)


def _close(db: Engine) -> None:
    with suppress(FlinError):  # of the last flush
        db.close()


def _with_a_death(fault: BackgroundFault) -> bool:
    """Returns whether the fault struck. Then the work is done again, or the engine is read-only and says why."""
    disk = SimulatedDisk()
    disk.faults.append(fault)
    db = flin.engine.open(PATH, fs=disk, runner="thread", memory_limit=1 << 20, sync="interval")
    try:
        answered = _write_rounds(db)
        _wait(lambda: len(db._store.state.runs[0]) < ROUNDS or _is_read_only(db), "a compaction")
        assert dict(db.scan()) == answered
        if not _is_read_only(db):
            db.put(b"after", b"1", sync=True)
            answered[b"after"] = b"1"
            assert db.verify() == []
        else:
            assert "manifest" in str(db._store.read_only_reason)
            assert fault.fired
    finally:
        closing = Thread(target=_close, args=(db,))
        closing.start()
        closing.join(PATIENCE_SECONDS)
        assert not closing.is_alive(), "a close waits forever"
    with flin.engine.open(PATH, fs=disk, runner="inline", memory_limit=1 << 20) as db:
        assert dict(db.scan()) == answered
        assert len(db) == len(answered)
        assert db.verify() == []
    assert_no_orphans(disk)
    return fault.fired > 0


def _die_at_each_call(monkeypatch: pytest.MonkeyPatch, error: type[BaseException], late: bool, step: int) -> int:
    monkeypatch.setattr(compactor, "RETRY_SECONDS", 0.001)
    for number in range(0, 10_000, step):
        if not _with_a_death(BackgroundFault(number, error=error, late=late)):
            return number
    raise AssertionError("small jobs make no end of calls")


@pytest.mark.parametrize("error", [Died, MemoryError, Ended])
def test_a_thread_that_dies_in_its_work(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    """At each call of a job, and of the edit that commits it: nothing hangs, nothing is lost."""
    assert _die_at_each_call(monkeypatch, error, late=False, step=5) > 50


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("error", [Died, MemoryError, Ended])
def test_a_thread_that_dies_at_any_call(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException], late: bool
) -> None:
    assert _die_at_each_call(monkeypatch, error, late, step=1) > 50


def test_the_interval_survives_what_ends_a_thread() -> None:
    """No other thread syncs writes."""
    disk = SimulatedDisk()
    with flin.engine.open(PATH, fs=disk, runner="thread", sync="interval", sync_interval_ms=10) as db:
        fault = Fault(0, error=Ended, operations=frozenset({"sync"}))
        disk.faults.append(fault)
        db.put(b"key", b"value")
        _wait(lambda: db._store.synced_position == db._store.position, "a sync")
        assert fault.fired


def test_only_the_bottom_is_compressed_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """What will be merged again is compressed fast."""
    levels: set[tuple[bool, int]] = set()
    run = Compactor._run

    def noted(self: Compactor, job: CompactionJob, ends_at_a_write: bool) -> JobResult:
        levels.add((job.bottom, job.options.zstd_level))
        return run(self, job, ends_at_a_write)

    monkeypatch.setattr(Compactor, "_run", noted)
    with flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", memory_limit=1 << 20) as db:
        for number in range(12_000):
            db.put(b"%d" % (number * 7919 % 9973), b"x" * 300)
        assert levels == {(True, 1), (False, -1)}
        assert db.verify() == []


@pytest.mark.parametrize(("size", "is_compressed"), [(100, False), (1000, True)])
def test_a_flush_compresses_large_entries(size: int, is_compressed: bool) -> None:
    with flin.engine.open(PATH, fs=SimulatedDisk(), runner="inline") as db:
        db.put_many({b"%03d" % number: b"x" * size for number in range(200)})
        db.flush()
        (table,) = db._store.manifest.version.shards[0][0]
        assert (table.length < table.raw_bytes / 2) == is_compressed


def test_a_pick_between_an_edit_and_the_end_of_its_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other thread may look for work then: the inputs are gone, and the compaction is still among the busy ones."""
    carry_out, picks = Compactor._carry_out, 0

    def then_pick(self: Compactor, compaction: Compaction) -> None:
        nonlocal picks
        carry_out(self, compaction)
        state = self._store.state
        self._pick(state)
        pick_full_compaction(state.version, 0, self._options, self._taken(state))
        picks += 1

    monkeypatch.setattr(Compactor, "_carry_out", then_pick)
    with flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", memory_limit=1 << 20) as db:
        for number in range(6000):
            db.put(b"%d" % (number * 7919 % 997), b"x" * 300)
        db.compact()
    assert picks > 1


def test_files_that_others_leave_are_removed_while_a_merge_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds what it reads, not the whole version that it began with."""
    disk = SimulatedDisk()
    run_once = Compactor._run_once
    removed: list[set[str]] = []

    def tables() -> set[str]:
        return {name for name in disk.names("/db") if name.endswith(".sst")}

    def run(self: Compactor, job: CompactionJob, ends_at_a_write: bool) -> JobResult:
        if job.shard == 0 and not removed:
            removed.append(set())
            before, own = tables(), {table.file for run in job.inputs for table in run}
            self._compact_shard_fully(1)
            removed[0] = before - tables()
            assert own <= tables()
        return run_once(self, job, ends_at_a_write)

    monkeypatch.setattr(Compactor, "_run_once", run)
    with flin.engine.open("/db", fs=disk, runner="inline", shards=2) as db:
        for times in range(3):
            for number in range(100):
                db.put(b"%d" % number, b"x")
            db.flush()
            if times == 1:
                db._compactor._compact_shard_fully(1)  # a file of this shard alone
        db._compactor._compact_shard_fully(0)
    assert removed[0]
