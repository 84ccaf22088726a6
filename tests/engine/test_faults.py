"""The n-th call fails: once or for good, with EIO, with a full disk, in a sync, in a write that is half done.

Whatever fails, only documented errors come out, reads continue and are right, and answered writes survive a kill and,
if it was promised, a power cut. When the disk works again, the database opens and continues.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import product

import pytest
from _pytest.mark.structures import ParameterSet

import flin.engine
from flin.errors import ReadOnlyError, StorageError
from flin.testing import Fault, ManualClock, Model, SimulatedDisk, killed
from flin.testing.crash_checker import CrashChecker
from flin.testing.faulty import KINDS, check_failed, every_failure
from flin.testing.model import view
from flin.testing.operation import Delete, DeleteRange, Fill, Maintenance, Put, PutMany, Reopen
from flin.testing.run import CrashPoint, EngineSetup, Workload, WorkloadRun
from tests.figures import FAILED_CALLS, Figures

FLUSH = Maintenance("flush")
WORKLOADS: dict[str, Workload] = {
    "writes": [Put(b"a", b"1"), Put(b"b", b"2", sync=True), PutMany(((b"c", b"3"), (b"a", b"4"))), Delete(b"b"),
               Maintenance("sync")],
    "flush": [Put(b"a", b"1"), FLUSH, Put(b"b", b"2"), FLUSH, Put(b"c", b"3")],
    "compact": [Put(b"a", b"1"), FLUSH, DeleteRange(b"a", b"b"), Put(b"c", b"2"), Maintenance("compact"),
                Put(b"b", b"3")],
    "reopen": [Put(b"a", b"1"), Reopen(), Put(b"b", b"2"), Reopen(), Put(b"c", b"3")],
}  # fmt: skip


# Frames are copied into a mapped window, which cannot fail, or (0) written, which can.
SETUPS = [EngineSetup("always"), EngineSetup("interval", window_bytes=0), EngineSetup("interval")]


def _cases() -> Iterator[ParameterSet]:
    """Every workload, kind and setup, and every n. The ordinary suite takes each workload and kind in one setup, in
    turn, and every eighth n."""
    for (at, name), (of, kind), (which, setup) in product(enumerate(WORKLOADS), enumerate(KINDS), enumerate(SETUPS)):
        case = f"{name}-{kind}-{setup.sync}-{setup.window_bytes}"
        if (at + of) % len(SETUPS) == which:
            yield pytest.param(name, kind, setup, of % 4, 8, id=case)
        yield pytest.param(name, kind, setup, 0, 1, id=f"{case}-every", marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "kind", "setup", "first", "step"), list(_cases()))
def test_nth_call_fails(name: str, kind: str, setup: EngineSetup, first: int, step: int, figures: Figures) -> None:
    checker = CrashChecker(setup, limit=2, second_crashes=0)
    for number, run in enumerate(every_failure(setup, WORKLOADS[name], KINDS[kind], first, step)):
        check_failed(run, checker, f"{name}, {kind}, call {first + number * step}", no_files=True)
        figures.add(FAILED_CALLS, 1)
    figures.checked(checker)
    assert checker.states


def test_failed_sync_makes_the_engine_read_only() -> None:
    run = WorkloadRun(EngineSetup("always"), record=False)
    run.open()
    Put(b"a", b"1").do(run)
    run.disk.faults.append(Fault(0, errno.EIO, frozenset({"sync"})))
    with pytest.raises(StorageError):
        Put(b"b", b"2").do(run)
    with pytest.raises(ReadOnlyError):
        Put(b"c", b"3").do(run)
    assert run.engine[b"a"] == b"1"
    assert run.engine.get(b"c") is None
    run.abandon()
    assert view(run.model.state, run.clock.now_ms) == {b"a": b"1"}


@pytest.mark.parametrize("sync", ["interval", "never"])
def test_a_close_says_that_answered_writes_may_be_lost(sync: str) -> None:
    """The failed sync may have been the interval's own: the close is the last call that can report it."""
    setup, disk, clock = EngineSetup(sync), SimulatedDisk(), ManualClock()
    db = setup.open(disk, clock, 1)
    db.put(b"a", b"1")
    disk.faults.append(Fault(0, errno.EIO, frozenset({"sync"})))
    with pytest.raises(StorageError):
        db.sync()
    with pytest.raises(ReadOnlyError, match="what was written since the last sync may be lost"):
        db.close()
    assert db.closed
    db.close()
    with setup.open(disk, clock, 2) as again:
        assert again[b"a"] == b"1", "the kernel had it still, and now it is durable"


def test_a_close_says_nothing_where_all_is_durable() -> None:
    disk = SimulatedDisk()
    db = EngineSetup("interval").open(disk, ManualClock(), 1)
    db.put(b"a", b"1", sync=True)
    db._store.make_read_only("a test says so")
    db.close()


def test_a_sync_that_fails_during_a_flush_leaves_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The WAL is synced while the job writes: the job may be done when that fails."""
    disk = SimulatedDisk()
    db = flin.engine.open("db", fs=disk, runner="inline")
    db.put(b"key", b"value")

    def fail(position: int) -> None:
        assert any(name.endswith(".sst") for name in disk.names(db.path))
        raise StorageError("sync", "db", OSError(errno.EIO, "no"))

    monkeypatch.setattr(db._store._wal, "sync", fail)
    with pytest.raises(StorageError):
        db.flush()
    assert [name for name in disk.names(db.path) if name.endswith(".sst")] == []
    with pytest.raises(ReadOnlyError):
        db.put(b"key", b"other")
    assert db[b"key"] == b"value"


def test_room_again_after_a_full_disk() -> None:
    """Writers get the error while the disk is full, and continue once there is room, without a restart."""
    disk = SimulatedDisk()
    run = WorkloadRun(EngineSetup("interval", window_bytes=0), disk, record=False)
    run.open()
    Put(b"a", b"1").do(run)
    disk.faults.append(Fault(0, errno.ENOSPC, frozenset({"append", "create"}), sticky=True))
    for _ in range(3):
        with pytest.raises(StorageError):
            Put(b"b", b"2").do(run)
    assert dict(run.engine.scan()) == {b"a": b"1"}
    disk.faults.clear()
    Put(b"c", b"3").do(run)
    assert dict(run.engine.scan()) == {b"a": b"1", b"c": b"3"}
    crash_point = CrashPoint(killed(disk), run.model.expectation(), 0, "append", run.clock.now_ms)
    CrashChecker(run.setup, limit=20).check(crash_point, "after room came back")
    run.abandon()


def test_a_disk_that_fills_up() -> None:
    """Until nothing fits any more, flushes included; then with room again. Answered writes are there at every step."""
    disk = SimulatedDisk(capacity_bytes=700_000)
    run = WorkloadRun(EngineSetup("never"), disk, record=False)
    run.open()
    refused = 0
    for number in range(6000):
        try:
            Put(b"key %04d" % (number % 900), b"%d " % number * 80).do(run)
        except StorageError:
            refused += 1
            if refused == 50:
                break
    assert refused == 50
    assert dict(run.engine.scan()) == run.model.view(run.clock.now_ms)
    disk.capacity_bytes <<= 4
    Fill(0, 300).do(run)
    Maintenance("compact").do(run)
    assert dict(run.engine.scan()) == run.model.view(run.clock.now_ms)
    assert list(run.engine.verify()) == []
    crash_point = CrashPoint(killed(disk), run.model.expectation(), 0, "append", run.clock.now_ms)
    CrashChecker(run.setup, limit=2).check(crash_point, "after the disk was full")
    run.abandon()


def test_failed_open_can_be_repeated() -> None:
    """Whichever call of an opening fails, the directory is not left locked, and the next opening works."""
    setup = EngineSetup("always")
    prepared = WorkloadRun(setup, record=False)
    prepared.open()
    Put(b"a", b"1").do(prepared)
    image = killed(prepared.disk)
    prepared.abandon()
    for n in range(1000):
        disk = killed(image)
        fault = Fault(n)
        disk.faults.append(fault)
        run = WorkloadRun(setup, disk, record=False, model=Model({b"a": (b"1", 0)}))
        try:
            run.open()
        except StorageError:
            assert run.disk.open_locks() == [], f"call {n}"
            run.open()
        assert dict(run.engine.scan()) == {b"a": b"1"}
        run.abandon()
        if not fault.fired:
            return
