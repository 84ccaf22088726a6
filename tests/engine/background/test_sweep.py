"""Expiry: due keys are found without reading the data, deleted by ordinary commits, and counted exactly."""

from __future__ import annotations

import errno
import itertools
import math
import time
from collections.abc import Callable
from threading import Event, Thread, current_thread
from typing import Any

import pytest

import flin.engine
from flin.engine.background import sweep
from flin.engine.background.sweep import DUE_KEYS, SWEEP_COMMIT_KEYS
from flin.errors import StorageError
from flin.testing import Fault, ManualClock, SimulatedDisk
from flin.testing.process import PATIENCE_SECONDS

OpenEngine = Callable[..., Any]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=[1, 4, 16, 64], ids="{} shards".format)
def db(request: pytest.FixtureRequest, open_engine: OpenEngine, clock: ManualClock) -> Any:
    return open_engine(fs=SimulatedDisk(), shards=request.param, clock_ms=clock)


def _keys(count: int, prefix: bytes = b"k") -> list[bytes]:
    return [prefix + b"%04d" % number for number in range(count)]


@pytest.mark.parametrize("where", ["memory", "frozen", "sealed", "tables", "compacted", "reopened"])
def test_a_key_counts_until_its_sweep(open_engine: OpenEngine, clock: ManualClock, where: str) -> None:
    disk = SimulatedDisk()
    db = open_engine(fs=disk, clock_ms=clock)
    db.put_many(dict.fromkeys(_keys(100), b"v"), ttl=5)
    db.put_many(dict.fromkeys(_keys(50, b"stays"), b"v"))
    if where == "frozen":
        db.snapshot().close()
    elif where == "sealed":
        db._store.seal()
    elif where == "tables":
        db.flush()
    elif where == "compacted":
        db.compact()
    elif where == "reopened":
        db.close(flush=False)
        db = open_engine(fs=disk, clock_ms=clock)
    clock.advance(5)
    assert db._store.count() == 150, "nobody swept yet"
    assert len(db) == 50, "len sweeps first"
    assert db.stats()["background"]["swept_keys"] == 100
    assert db._store.count() == 50
    db.compact()
    assert db.stats()["tables"]["entries"] == 50, "nothing is left of them"


def test_a_listener_is_told_what_has_expired_and_with_which_entry(db: Any, clock: ManualClock) -> None:
    told: list[dict[bytes, Any]] = []
    db._store.listeners.on_expired = lambda expired: told.append(dict(expired))
    due = clock.now_ms + 5000
    db.put(b"memory", b"1", ttl=5)
    db._store.commit({b"hash": (b"\0packed", due, 1), b"gone": (b"\0", due, 2), b"stays": (b"\0", due + 1, 3)})
    db.flush()
    db.put(b"tables", b"2", ttl=5)
    db.delete(b"gone")
    clock.advance(5)
    len(db)  # which sweeps first
    found = {key: entry for each in told for key, entry in each.items()}
    assert found == {b"memory": (b"1", due, 0), b"hash": (b"\0packed", due, 1), b"tables": (b"2", due, 0)}
    assert sum(map(len, told)) == 3, "each once"


def test_a_sweep_that_is_held_deletes_nothing(db: Any, clock: ManualClock) -> None:
    db.put(b"a", b"1", ttl=5)
    db._store.holds_sweep = True
    clock.advance(5)
    assert (len(db), b"a" in db, db._store.count()) == (1, False, 1)
    db._store.holds_sweep = False
    assert (len(db), db._store.count()) == (0, 0)


def test_what_was_written_since_is_not_swept(db: Any, clock: ManualClock) -> None:
    db.put_many(dict.fromkeys(_keys(6), b"v"), ttl=5)
    db.flush()
    db.put(b"k0000", b"new")
    db.persist(b"k0001")
    db.expire(b"k0002", 50)
    db.delete(b"k0003")
    clock.advance(5)
    assert len(db) == 3
    assert list(db) == [b"k0000", b"k0001", b"k0002"]
    clock.advance(50)
    assert len(db) == 2


def test_an_expired_put_hides_older_entries_forever(db: Any, clock: ManualClock) -> None:
    """Through flushes and compactions, swept or not: the old value never comes back."""
    db.put_many(dict.fromkeys(_keys(10), b"old"))
    db.compact()
    db.put_many(dict.fromkeys(_keys(10), b"brief"), ttl=1)
    clock.advance(1)
    for step in (db.flush, db.compact, db.compact, lambda: len(db), db.flush, db.compact):
        step()
        assert list(db) == []
        assert db.get(b"k0003") is None
    assert len(db) == 0


def test_a_sweep_is_bounded_by_time(
    open_engine: OpenEngine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many keys are due; those for which there is no time stay due."""
    db = open_engine(fs=SimulatedDisk(), clock_ms=clock)
    sweeper = db._compactor.sweeper
    many = 10 * DUE_KEYS + SWEEP_COMMIT_KEYS + 1
    db.put_many(dict.fromkeys(_keys(many), b""), ttl=1)
    clock.advance(1)
    position = db._store._wal.sequence
    assert not sweeper.sweep(clock(), 0)
    assert sweeper.deleted == db._store._wal.sequence - position == SWEEP_COMMIT_KEYS
    seconds = itertools.count()
    with monkeypatch.context() as patch:
        for timer in ("thread_time", "monotonic"):  # each commit takes a second
            patch.setattr(sweep, timer, lambda: next(seconds))
            patch.setattr(sweep, {"thread_time": "monotonic", "monotonic": "thread_time"}[timer], lambda: 0)
            before = sweeper.deleted
            began = next(seconds) + 1
            assert not sweeper.sweep(clock(), *((12,) if timer == "thread_time" else (math.inf, began + 11)))
            assert sweeper.deleted - before == 12 * SWEEP_COMMIT_KEYS
    assert db._compactor.sweep() == many - 25 * SWEEP_COMMIT_KEYS
    assert db._compactor.sweep() == 0
    assert len(db) == 0


def test_a_table_that_cannot_be_read_takes_no_keys_with_it(
    open_engine: OpenEngine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that were found before stay due."""
    db = open_engine(fs=SimulatedDisk(), clock_ms=clock)
    db.put_many(dict.fromkeys(_keys(9), b""), ttl=1)
    db.flush()
    db.put_many(dict.fromkeys(_keys(9, b"m"), b""), ttl=1)
    clock.advance(1)

    def refuse(*_: object) -> list[bytes]:
        raise StorageError("read", "/db", OSError(errno.EIO, "refused"))

    with monkeypatch.context() as patch:
        patch.setattr(sweep._Place, "take", refuse)
        with pytest.raises(StorageError):
            db._compactor.sweep()
    assert len(db) == 0


def test_each_time_has_its_turn(open_engine: OpenEngine, clock: ManualClock) -> None:
    db = open_engine(fs=SimulatedDisk(), clock_ms=clock)
    for number in range(20):
        db.put(b"%02d" % number, b"v", ttl=1 + number)
        if number % 5 == 4:
            db.flush()
    for number in range(20):
        clock.advance(1)
        assert len(db) == 19 - number
        if number == 9:
            db.compact()


def test_a_sweep_that_failed_is_done_again(clock: ManualClock) -> None:
    """The disk is full for a while: the keys stay due, and none is forgotten."""
    disk = SimulatedDisk()
    db = flin.engine.open("/db", fs=disk, runner="inline", clock_ms=clock)
    db.put_many(dict.fromkeys(_keys(200), b"v"), ttl=1)
    db.flush()
    db.put_many(dict.fromkeys(_keys(100, b"m"), b"v"), ttl=1)
    clock.advance(1)
    disk.faults.append(Fault(2, errno.ENOSPC, frozenset({"append", "create"}), sticky=True))
    with pytest.raises(StorageError):
        db._compactor.sweep()
    assert list(db) == []
    disk.faults.clear()
    assert len(db) == 0
    assert db.verify() == []
    db.close()


def test_an_entry_that_a_job_emptied_is_expired_forever(open_engine: OpenEngine, clock: ManualClock) -> None:
    """Its value is gone: a clock that is set back must not show it alive, here or after a reopen."""
    disk = SimulatedDisk()
    db = open_engine(fs=disk, clock_ms=clock)
    db.put_many({b"k": b"v", b"l": b"v"}, ttl=10)
    db.put(b"later", b"v", ttl=30)
    clock.advance(20)
    db.flush()
    clock.advance(-60)
    assert list(db) == [b"later"]
    assert (db.get(b"k"), db.ttl(b"k"), db.ttl(b"later")) == (None, None, 70)
    db.close()
    db = open_engine(fs=disk, clock_ms=clock)
    assert dict(db) == {b"later": b"v"}
    assert len(db) == 1


def test_the_clock_jumps_forward_and_back(db: Any, clock: ManualClock) -> None:
    """Keys that were not swept meanwhile live on, and expire at their own time; new ones wait for nothing."""
    db.put(b"old", b"v", ttl=60)
    clock.advance(3600 * 24)
    assert db.get(b"old") is None
    clock.advance(-3600 * 24)
    assert db.get(b"old") == b"v"
    db.put(b"new", b"v", ttl=10)
    clock.advance(10)
    assert list(db) == [b"old"]
    clock.advance(50)
    assert len(db) == 0


def test_what_a_sweep_owes_waits_for_a_clock_that_was_set_back(clock: ManualClock) -> None:
    """A key that is due, not deleted (the disk was full), then alive again by the clock, is deleted when it expires
    again."""
    disk = SimulatedDisk()
    with flin.engine.open("/db", fs=disk, runner="inline", clock_ms=clock) as db:
        db.put_many(dict.fromkeys(_keys(200), b"v"), ttl=10)
        clock.advance(10)
        disk.faults.append(Fault(0, errno.ENOSPC, frozenset({"append", "create", "extend"}), sticky=True))
        with pytest.raises(StorageError):
            db._compactor.sweep()
        disk.faults.clear()
        clock.advance(-5)
        assert len(db) == 200
        clock.advance(5)
        assert len(db) == 0


@pytest.mark.parametrize("flushed", [False, True])
def test_what_a_sweep_owes_is_due_at_its_own_moment(clock: ManualClock, flushed: bool) -> None:
    """Not when the clock comes to the moment of the sweep that was refused, an hour later."""
    disk = SimulatedDisk()
    with flin.engine.open("/db", fs=disk, runner="inline", clock_ms=clock) as db:
        db.put_many(dict.fromkeys(_keys(200), b"v"), ttl=10)
        if flushed:
            db.flush()
        clock.advance(3600)
        disk.faults.append(Fault(0, errno.ENOSPC, frozenset({"append", "create", "extend"}), sticky=True))
        with pytest.raises(StorageError):
            db._compactor.sweep()
        disk.faults.clear()
        clock.advance(-3595)
        assert len(db) == 200
        clock.advance(5)
        assert len(db) == 0


def test_a_sweep_under_way_spares_what_is_put_after_the_clock_was_set_back(
    db: Any, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep took the time before. By the new clock the keys live, and expire when it comes to their moment."""
    update = db._store.update_many

    def set_back_first(*arguments: Any) -> Any:
        monkeypatch.undo()
        clock.advance(-3600)
        db.put_many(dict.fromkeys(_keys(100), b"new"), ttl=10)
        return update(*arguments)

    db.put_many(dict.fromkeys(_keys(200), b"v"), ttl=5)
    clock.advance(3600)
    monkeypatch.setattr(db._store, "update_many", set_back_first)
    db._compactor.sweep()
    assert db.get_many(_keys(100)) == [b"new"] * 100
    assert len(db) == 200
    clock.advance(5)
    assert len(db) == 100
    clock.advance(5)
    assert len(db) == 0


def test_threads_sweep_by_themselves(open_engine: OpenEngine, clock: ManualClock) -> None:
    db = open_engine(runner="thread", clock_ms=clock)
    db.put_many(dict.fromkeys(_keys(100), b"v"), ttl=1)
    db.flush()
    clock.advance(2)
    for _ in range(1200):
        if db._store.count() == 0:
            break
        time.sleep(0.05)
    assert db._store.count() == 0
    assert db.stats()["background"]["swept_keys"] == 100


@pytest.mark.parametrize(
    "start", [-86_400_000 * 365, -5000, -4999, -1000, -1, 0, 1, 4_102_444_800_000, 253_402_300_000_000]
)
@pytest.mark.parametrize("settle", ["memory", "tables", "compacted", "replayed"])
def test_a_time_to_live_is_the_same_whatever_the_clock_says(open_engine: OpenEngine, start: int, settle: str) -> None:
    """Before 1970 (a machine without a battery, a test that freezes time) and far in the future."""
    disk, clock = SimulatedDisk(), ManualClock(start)

    def settled(db: Any) -> Any:
        if settle == "tables":
            db.flush()
        elif settle == "compacted":
            db.compact()
        elif settle == "replayed":
            db.close(flush=False)
            return open_engine(fs=disk, clock_ms=clock)
        return db

    db = open_engine(fs=disk, clock_ms=clock)
    db.put(b"k", b"v", ttl=5)
    db.put_many({b"m": b"v", b"long": b"v"}, ttl=5)
    db.expire(b"long", 1000)
    db.put(b"stays", b"v")
    db = settled(db)
    late = 0.001 if start == -5000 else 0  # an expiry of 0 would mean: none
    assert (db[b"k"], db.ttl(b"k"), db.ttl(b"m"), db.ttl(b"stays")) == (b"v", 5 + late, 5 + late, None)
    clock.advance(4)
    db = settled(db)
    assert (db[b"k"], db.ttl(b"k"), len(db)) == (b"v", 1 + late, 4)
    clock.advance(2)
    db = settled(db)
    assert (db.get(b"k"), b"m" in db, db.ttl(b"k")) == (None, False, None)
    with db.snapshot() as view:
        assert dict(view) == dict(db.items()) == {b"long": b"v", b"stays": b"v"}
        assert len(view) == len(db) == 2
    assert db.ttl(b"long") == 994


def test_a_count_waits_for_the_sweep_under_way(db: Any, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The background's sweep has keys in hand; nobody else would find them, and they would count."""
    store = db._store
    delete, in_hand, counting = store.delete_expired, Event(), Event()

    def slowly(keys: Any, now_ms: int) -> int:
        if current_thread() is background:
            in_hand.set()
            assert counting.wait(PATIENCE_SECONDS)
            counter.join(0.05)  # it would be wrong at once
        return int(delete(keys, now_ms))

    monkeypatch.setattr(store, "delete_expired", slowly)
    counts = list[int]()

    def count() -> None:
        counting.set()
        counts.append(len(db))

    background, counter = Thread(target=db._compactor.sweep), Thread(target=count)
    db.put_many(dict.fromkeys(_keys(100), b"v"), ttl=5)
    clock.advance(5)
    background.start()
    assert in_hand.wait(PATIENCE_SECONDS)
    counter.start()
    background.join()
    counter.join()
    assert counts == [0]
