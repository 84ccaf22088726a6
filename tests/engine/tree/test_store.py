"""The store beneath the engine: sealing, stalls, counting in slices, reads that do not wait, and the background."""

from __future__ import annotations

import errno
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flin.engine
from flin.engine.disk.fs import OsAppendFile, OsFileSystem, OsReadableFile
from flin.engine.entry import TOMBSTONE
from flin.engine.key import KEYS_END, namespace_prefix, stored_key
from flin.engine.reentry import is_held
from flin.engine.table.cold_read import ColdRead
from flin.engine.tree.stall import NO_STALL, Stall
from flin.errors import ClosedError, ReadOnlyError, StallTimeout, StorageError
from flin.testing import Fault, ManualClock, SimulatedDisk

OpenEngine = Callable[..., Any]


@pytest.fixture(params=[1, 16], ids="{} shards".format)
def db(request: pytest.FixtureRequest, open_engine: OpenEngine) -> Any:
    return open_engine(fs=SimulatedDisk(), shards=request.param, clock_ms=ManualClock(), memory_limit="1mb")


# Sealing.


def test_a_full_generation_is_sealed_and_flushed(db: Any) -> None:
    limit = db.stats()["memtables"]["generation_limit_bytes"]
    for number in range(3000):
        db.put(b"%05d" % number, b"x" * 200)
        assert db._store.open_bytes() < 2 * limit
    stats = db.stats()
    assert stats["flush"]["jobs"] >= 3
    assert stats["memtables"]["sealed_generations"] == 0
    assert len(db) == 3000


def test_one_large_commit_is_one_generation(db: Any) -> None:
    with db.write_batch() as batch:
        for number in range(3000):
            batch.put(b"%05d" % number, b"x" * 200)
    assert db.stats()["flush"]["jobs"] == 1
    assert db._store.open_bytes() == 0
    assert len(db) == 3000


def test_sealing_nothing(db: Any) -> None:
    assert not db._store.seal()
    db.flush()
    assert db.stats()["flush"]["jobs"] == 0
    db.put(b"k", b"v")
    assert db._store.seal()
    assert not db._store.seal()


def test_a_generation_that_came_to_nothing(db: Any) -> None:
    """A put and its delete: the flush writes no table, but frees the WAL."""
    disk = db._store.options.fs
    db.put(b"k", b"v")
    db.delete(b"k")
    db.flush()
    assert db.stats()["tables"]["entries"] == 0
    assert [name for name in disk.names(db.path) if name.endswith(".wal")] == []
    db.close()


def test_recovered_generations_are_flushed_in_their_order(open_engine: OpenEngine) -> None:
    disk = SimulatedDisk()
    db = open_engine(fs=disk, memory_limit="1mb")
    for number in range(3):
        db.put_many({b"k%04d" % index: b"%d" % number * 100 for index in range(800)})
        db._store.listeners.on_sealed = lambda: None  # nobody flushes: the generations pile up
        db._store.seal()
    db.put(b"k0000", b"last")
    db.close(flush=False)
    again = open_engine(fs=disk, memory_limit="1mb")
    assert again[b"k0000"] == b"last"
    assert again[b"k0001"] == b"2" * 100
    again.flush()
    assert again[b"k0001"] == b"2" * 100
    assert len(again) == 800


# Stalls.


def _stall(store: Any, stall: Stall) -> None:
    store._control.stall = stall
    store._blocked = bool(stall)


def test_a_slowed_writer_waits_once(db: Any) -> None:
    _stall(db._store, Stall(delay_seconds=0.001, reason="25 runs wait for compaction"))
    db.put(b"k", b"v")
    db.put_many({b"l": b"v"})
    stats = db.stats()["stall"]
    assert (stats["waits"], stats["delay_seconds"], stats["stopped"]) == (2, 0.001, False)
    assert stats["reason"] == "25 runs wait for compaction"
    assert stats["seconds"] == pytest.approx(0.002)
    _stall(db._store, NO_STALL)


@pytest.mark.parametrize("is_closing", [False, True])
@pytest.mark.parametrize(
    "write",
    [
        lambda db: db.put(b"k", b"w"),
        lambda db: db.delete(b"k"),
        lambda db: db.put_many({b"k": b"w", b"l": b"w"}),
        lambda db: db.delete_range(b"a", b"z"),
        lambda db: db.incr(b"n"),
        lambda db: db.setdefault(b"l", b"w"),
    ],
    ids=["put", "delete", "put_many", "delete_range", "incr", "setdefault"],
)
def test_a_delayed_writer_looks_again(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch, write: Callable[[Any], object], is_closing: bool
) -> None:
    """A sync fails, or a close begins, during its delay: nothing is written any more."""
    db = open_engine(fs=SimulatedDisk())
    db.put(b"k", b"v", sync=True)
    store = db._store
    _stall(store, Stall(delay_seconds=3600.0, reason="25 runs wait for compaction"))
    position = store.position
    delays: list[float] = []

    def wait(seconds: float) -> None:
        delays.append(seconds)
        if is_closing:
            store.begin_close()
        else:
            store.make_read_only("a sync failed")

    monkeypatch.setattr(store._control.writable, "wait", wait)
    with pytest.raises(ClosedError if is_closing else ReadOnlyError):
        write(db)
    assert delays == [3600.0]
    assert store.position == position
    assert store.read(b"k") == b"v"


class Interrupt(BaseException):
    """Raised by a signal handler."""


@pytest.mark.parametrize(
    "write",
    [lambda db: db.put(b"k", b"w"), lambda db: db.put_many({b"k": b"w", b"l": b"w"}), lambda db: db.incr(b"n")],
    ids=["put", "put_many", "incr"],
)
@pytest.mark.parametrize("stall", [Stall(delay_seconds=3600.0), Stall(stopped=True)], ids=["slowed", "stopped"])
def test_an_interrupt_of_a_waiting_writer_is_what_it_gets(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch, write: Callable[[Any], object], stall: Stall
) -> None:
    """Even if `Condition.wait` has released the lock and will not take it again."""
    db = open_engine(fs=SimulatedDisk())
    db.put(b"k", b"v")
    store = db._store

    def wait(seconds: float) -> None:
        store._commit_lock.release()
        raise Interrupt

    with monkeypatch.context() as patched:
        patched.setattr(store._control.writable, "wait", wait)
        _stall(store, stall)
        with pytest.raises(Interrupt):
            write(db)
    assert not is_held(store._commit_lock)
    _stall(store, NO_STALL)
    db.put(b"l", b"v")
    assert dict(db.items()) == {b"k": b"v", b"l": b"v"}


def test_a_stopped_writer_times_out(open_engine: OpenEngine) -> None:
    """Whatever the wall clock says meanwhile."""
    clock = ManualClock()
    jumps = itertools.cycle((3600, -7200, 3600))

    def jumping() -> int:
        clock.advance(next(jumps))
        return clock.now_ms

    db = open_engine(fs=SimulatedDisk(), clock_ms=jumping, stall_timeout_ms=30)
    db.put(b"k", b"v")
    _stall(db._store, Stall(stopped=True, reason="3 generations wait for their flush"))
    writes: list[Callable[[], object]] = [
        lambda: db.put(b"k", b"w"),
        lambda: db.incr(b"n"),
        lambda: db.delete(b"k"),
    ]
    for write in writes:
        with pytest.raises(StallTimeout, match="waited 30 ms: 3 generations wait"):
            write()
    assert db[b"k"] == b"v", "reads go on"
    _stall(db._store, NO_STALL)


class RoomForWalOnly(OsFileSystem):
    """A disk on which no table fits, for a while."""

    is_full = True

    def create(self, path: str) -> OsAppendFile:
        if self.is_full and path.endswith(".sst"):
            raise OSError(errno.ENOSPC, "No space left on device", path)
        return super().create(path)


def test_writers_are_told_why_the_background_is_blocked(open_engine: OpenEngine) -> None:
    """Stopped writers get the error at once, not after `stall_timeout_ms`, and can continue once there is room."""
    fs = RoomForWalOnly()
    db = open_engine(fs=fs, runner="thread", memory_limit="1mb", stall_timeout_ms=3_600_000)

    def write_until_refused() -> None:
        for number in range(100_000):
            db[b"%06d" % number] = b"x" * 500

    with pytest.raises(StorageError, match=r"cannot write more into .*No space left on device") as raised:
        write_until_refused()
    assert raised.value.errno == errno.ENOSPC
    assert db[b"000000"] == b"x" * 500
    fs.is_full = False
    for _ in range(6000):
        try:
            db[b"again"] = b"1"
            break
        except StorageError:
            time.sleep(0.01)
    assert db[b"again"] == b"1"
    for _ in range(6000):
        if db._store.background_error is None:
            break
        time.sleep(0.01)
    assert db._store.background_error is None


def test_a_stopped_writer_goes_on_when_the_background_has_caught_up(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    db.put(b"a", b"1")
    _stall(db._store, Stall(stopped=True, reason="for a while"))
    writer = threading.Thread(target=db.put, args=(b"b", b"2"))
    writer.start()
    while not db._store.stall_waits:
        time.sleep(0.001)
    db.flush()  # installs a new state, and with it the present stall
    writer.join(60)
    assert db[b"b"] == b"2"


def test_a_stopped_writer_learns_that_the_engine_is_read_only(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    _stall(db._store, Stall(stopped=True, reason="forever"))
    answers: list[BaseException] = []

    def write() -> None:
        try:
            db.put(b"k", b"v")
        except ReadOnlyError as error:
            answers.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    while not db._store.stall_waits:
        time.sleep(0.001)
    db._store.make_read_only("the disk is gone")
    db._store.make_read_only("another reason")
    writer.join(60)
    assert [str(error) for error in answers] == ["the engine is read-only: the disk is gone"]


# Counting.


def test_a_count_in_slices(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk(), memory_limit="16mb")
    db.put_many({b"%06d" % number: b"v" for number in range(5000)})
    db.flush()
    db.put_many({b"%06d" % number: b"w" for number in range(2500, 9000)})
    db.delete_many([b"%06d" % number for number in range(100)])
    calls = 1
    while (count := db._store.count(budget=1)) is None:
        calls += 1
    assert count == 8900
    assert calls > 1
    assert db._store.count(budget=1) == 8900, "what was resolved stays so"


def test_namespaces_are_counted_apart(db: Any) -> None:
    first, second = namespace_prefix(1), namespace_prefix(2)
    db._store.commit({b"k": b"0", first + b"k": b"1", first + b"l": b"1", second + b"k": b"2"})
    for step in (lambda: None, db.flush, db.compact):
        step()
        assert [db._store.count(namespace) for namespace in range(4)] == [1, 2, 1, 0]
    db._store.commit({first + b"k": TOMBSTONE}, [(second, second + b"\xff")])
    assert [db._store.count(namespace) for namespace in range(3)] == [1, 1, 0]
    db._store.commit({}, [(b"", KEYS_END)])
    assert [db._store.count(namespace) for namespace in range(3)] == [0, 0, 0]
    db.flush()
    assert [db._store.count(namespace) for namespace in range(3)] == [0, 0, 0]


# Reading.


def test_reads_that_do_not_wait(open_engine: OpenEngine) -> None:
    disk = SimulatedDisk()
    db = open_engine(fs=disk, value_cache=False)
    db.put(b"cold", b"1")
    db.flush()
    db.put(b"warm", b"2")
    db.close()
    db = open_engine(fs=disk, value_cache=False)
    db.put(b"memory", b"3")
    disk.resident = False
    assert db._store.read_nowait(b"memory") == b"3"
    for _ in range(20):
        try:
            assert db._store.read_nowait(b"cold") == b"1"
            break
        except ColdRead as cold:
            cold.load()
    else:
        pytest.fail("it never got warm")


def test_filters_that_were_evicted_are_loaded_by_who_may_wait(
    open_engine: OpenEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = open_engine(tmp_path / "db", value_cache=False, runner="inline", memory_limit="4mb")
    for begin in (0, 10_000):  # two runs
        db.put_many({b"%05d" % number: b"v" for number in range(begin, begin + 20_000)})
        db.flush()
    store = db._store
    for key in (b"00007", b"07000x"):
        store.read(key)  # which opens the tables
    monkeypatch.setattr(OsReadableFile, "pread_nowait", lambda file, size, offset: None if size == 1 else bytes(size))
    assert store.read_nowait(b"07000x") is None, "nobody saw page faults"
    store.awaits_filters = True
    for _ in range(3):
        with pytest.raises(ColdRead) as cold:
            store.read_nowait(b"07000x")
        cold.value.load()
        assert store.read_nowait(b"07000x") is None, "even where no page is ever in memory"
    opened = [table.state for run in store.state.runs[0] for table in run.tables]
    assert not any(state.loaded_parts for state in opened)
    monkeypatch.undo()
    assert store.read_nowait(b"07000x") is None, "it is in memory"
    for key in (b"00007", b"29999"):
        assert read_cold(store, key) == b"v"
    assert store.read_nowait(b"30000") is None


def read_cold(store: Any, key: bytes) -> object:
    for _ in range(4):
        try:
            return store.read_nowait(key)
        except ColdRead as cold:
            cold.load()
    raise AssertionError("it never got warm")


def test_pages_of_a_frozen_state(db: Any) -> None:
    db.put_many({b"a": b"1", b"b": b"2"})
    db.put(b"c", b"3", ttl=5)
    db.delete(b"a")
    state = db._store.freeze()
    db.clear()
    found = [pair for page in db._store.pages(state, b"", KEYS_END) for pair in zip(*page, strict=True)]
    assert [key for key, _ in found] == [b"b", b"c"]
    assert found[1][1][0] == b"3"


def test_update_is_atomic_with_its_read(db: Any) -> None:
    key = stored_key(b"k")
    assert db._store.update(key, lambda entry: None) is None
    position = db._store.position
    assert db._store.update(key, lambda entry: b"new" if entry is None else None) > position
    with pytest.raises(RuntimeError, match="changed its mind"):
        db._store.update(key, _raise)
    assert db._store.read(key) == b"new"


def _raise(entry: Any) -> Any:
    raise RuntimeError("changed its mind")


def test_a_large_range_delete_freezes_first(db: Any) -> None:
    """Looking at every key of a large active memtable would hold the commit lock: the range goes into a new one."""
    db.put_many({b"%05d" % number: b"v" for number in range(1000)})
    db.delete_prefix(b"0000")
    assert db.stats()["memtables"]["frozen_memtables"] > 0
    assert len(db) == 990


# The background.


def test_flushes_commit_oldest_first(db: Any) -> None:
    db._store.listeners.on_sealed = lambda: None
    for number in range(3):
        db.put(b"k", b"%d" % number)
        db._store.seal()
    newest, *_, oldest = db._store.state.sealed
    with pytest.raises(AssertionError, match="oldest first"):
        db._store.install_flush(newest, {}, {}, 0)
    assert oldest is db._store.state.sealed[-1]
    db.flush()
    assert db[b"k"] == b"2"


@pytest.mark.parametrize("operation", ["create", "append", "sync", "rename", "sync_directory"])
def test_a_background_failure_is_noted_and_tried_again(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With threads: the error does not reach the writer, stats show it, and the next attempt does the work."""
    monkeypatch.setattr("flin.engine.background.compactor.RETRY_SECONDS", 0.01)
    disk = SimulatedDisk()
    db = flin.engine.open("/db", fs=disk, runner="thread", sync="never", memory_limit="1mb")
    db.put_many({b"%05d" % number: b"v" * 50 for number in range(100)})
    db.sync()
    disk.faults.append(Fault(0, errno.ENOSPC, frozenset({operation})))
    db._store.seal()
    db._compactor.wake()
    deadline = time.monotonic() + 60
    while not db.stats()["background"]["failures"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "StorageError" in db.stats()["background"]["last_failure"]
    if db._store.read_only_reason is None:
        while not db.stats()["flush"]["jobs"] and time.monotonic() < deadline:
            time.sleep(0.01)
        assert db.stats()["flush"]["jobs"] == 1
        assert db.verify() == []
    else:
        assert operation in ("sync", "rename", "sync_directory"), "nobody knows which manifest is there"
    assert len(list(db.scan_keys())) == 100
    db.close()
    again = flin.engine.open("/db", fs=disk, runner="inline")
    assert len(again) == 100
    assert again.verify() == []
    again.close()


def test_the_interval_thread_syncs(open_engine: OpenEngine) -> None:
    db = open_engine(runner="thread", sync="interval", sync_interval_ms=20)
    db.put(b"k", b"v")
    deadline = time.monotonic() + 60
    while db._store.synced_position < db._store.position and time.monotonic() < deadline:
        time.sleep(0.005)
    assert db._store.synced_position == db._store.position


def test_the_helper_starts_before_the_first_flush(open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner is told once, when the first generation is a quarter full: a start takes longer than a flush may."""
    db = open_engine(runner="thread", memory_limit="4mb")
    prepared = threading.Event()
    told: list[int] = []

    def prepare(_: int) -> None:
        told.append(db._store.sealed_count)
        prepared.set()

    monkeypatch.setattr(db._runner, "prepare", prepare)
    sizes: list[int] = []
    while not db._store.sealed_count:
        before = db._store.open_bytes()
        db.put(b"%d" % len(sizes), b"v" * 1000)
        sizes.append(before)
        if before > db._store.options.budget.generation // 2:
            assert prepared.wait(60), "told in time"
    assert told == [0]
    for number in range(len(sizes)):
        db.put(b"%d" % number, b"v" * 1000)
    assert told == [0], "once"


def test_compactions_keep_up(open_engine: OpenEngine) -> None:
    """Inline: many small flushes, and never many runs."""
    db = open_engine(fs=SimulatedDisk(), memory_limit="1mb")
    for number in range(40):
        db.put_many({b"%05d" % ((number * 37 + index * 11) % 2000): b"%d" % number for index in range(60)})
        db.flush()
        assert db.stats()["tables"]["runs"] < 12
    stats = db.stats()
    assert stats["compaction"]["jobs"] > 0
    assert sum(stats["compaction"]["reasons"].values()) == stats["compaction"]["jobs"]
    assert stats["background"]["write_amplification"] > 1
    assert stats["background"]["microseconds_per_key"] > 0


def test_a_state_is_replaced_never_changed(db: Any) -> None:
    db.put(b"a", b"1")
    state = db._store.freeze()
    before = replace(state)
    db.put(b"b", b"2")
    db.flush()
    assert (state.frozen, state.sealed, state.runs) == (before.frozen, before.sealed, before.runs)
    assert db._store.state is not state


def test_what_a_lock_guards_asks_whether_it_is_held(db: Any) -> None:
    store = db._store
    guarded = [
        store._freeze,
        store._seal,
        lambda: store._install(store.state),
        lambda: store._edit(store.manifest, 0, None),
    ]
    for call in guarded:
        with pytest.raises(AssertionError):
            call()
    assert store._exclusively(store._freeze).active is not store.state.active
