"""The n-th call fails: once and for good, with EIO, with a full disk, in a sync, in a write that only half went in.

Whatever fails, only documented errors come out, reads go on and tell the truth, and what was answered survives a kill
and, if it was promised, a power cut. On a disk that is well again the database opens and goes on.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

import flin.engine
from flin.errors import FlinError, ReadOnlyError, StorageError
from flin.testing import Fault, Model, Personality, SimulatedDisk, crash
from flin.testing.model import view
from tests.engine.workload import Judge, Moment, Operation, Run, Scene

WORKLOADS: dict[str, list[Operation]] = {
    "writes": [("put", b"a", b"1"), ("put_sync", b"b", b"2"), ("put_many", ((b"c", b"3"), (b"a", b"4"))),
               ("delete", b"b")],
    "flush": [("put", b"a", b"1"), ("flush",), ("put", b"b", b"2"), ("flush",), ("put", b"c", b"3")],
    "compact": [("put", b"a", b"1"), ("flush",), ("delete_range", b"a", b"b"), ("put", b"c", b"2"), ("compact",),
                ("put", b"b", b"3")],
    "reopen": [("put", b"a", b"1"), ("reopen",), ("put", b"b", b"2"), ("reopen",), ("put", b"c", b"3")],
}  # fmt: skip

KINDS = {
    "io": Fault(0, errno.EIO),
    "io sticky": Fault(0, errno.EIO, sticky=True),
    "io late": Fault(0, errno.EIO, late=True),
    "full": Fault(0, errno.ENOSPC, frozenset({"append", "extend", "create", "make_directory"})),
    "full sticky": Fault(0, errno.ENOSPC, frozenset({"append", "extend", "create", "make_directory"}), sticky=True),
    "short": Fault(0, 0, taken=10),
    "short, then full": Fault(0, errno.ENOSPC, taken=10),
    "sync": Fault(0, errno.EIO, frozenset({"sync", "sync_file", "sync_directory"})),
}


class FaultyRun(Run):
    """Goes on after each operation that fails, as a program would; the disk fails as it was told."""

    failures: int = 0

    def run_on(self, workload: list[Operation]) -> None:
        for self.operation, operation in enumerate([("open",), *workload]):
            try:
                self._do(operation)
            except (StorageError, ReadOnlyError):
                self.failures += 1
                if (self.engine is None or self.engine.store.closed) and not self._opens_again():
                    return
                self._reads_tell_the_truth()

    def _opens_again(self) -> bool:
        """The program is started once more; the kernel may show it what the disk will never have."""
        try:
            self.open()
        except StorageError:
            self.engine = None
            return False
        self.model.reopened(dict(self.engine.scan()), self.clock.now_ms)
        return True

    def _do(self, operation: Operation) -> None:
        if operation == ("open",):
            self.open()
            return
        refused_before = self.failures
        self.step(operation)
        if operation == ("reopen",) and refused_before:
            self.model.reopened(dict(self.engine.scan()), self.clock.now_ms)

    def _reads_tell_the_truth(self) -> None:
        """What was answered is there; the refused commit is not, or (a failed sync) wholly."""
        if any(fault.sticky for fault in self.disk.faults):
            return  # reads from tables may fail as well
        expectation = self.model.expectation()
        expectation.match(dict(self.engine.scan()), self.clock.now_ms, power_cut=False)


def _run(scene: Scene, workload: list[Operation], fault: Fault) -> FaultyRun:
    run = FaultyRun(scene, record=False)
    run.disk.faults.append(fault)
    try:
        run.run_on(workload)
    finally:
        run.disk.faults.clear()
    return run


def _cases(workload: list[Operation], scene: Scene, kind: Fault) -> Iterator[FaultyRun]:
    """One run for every n, until the fault does not strike any more."""
    for n in range(10_000):
        fault = Fault(n, kind.code, kind.operations, kind.sticky, kind.late, kind.taken)
        run = _run(scene, workload, fault)
        if not fault.fired:
            assert run.failures == 0
            return
        yield run


def _judge(run: FaultyRun, judge: Judge, where: str) -> None:
    """Crash the disk as the failure left it, then open and check it in good health."""
    moment = Moment(
        crash(run.disk, Personality.KILLED, _never), run.model.expectation(), run.operation, where, run.clock.now_ms
    )
    judge.judge(moment, where)
    if run.engine is not None:
        try:
            run.engine.close()
        except FlinError:
            assert run.failures


@pytest.mark.parametrize("sync", ["always", "interval"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WORKLOADS)
def test_nth_call_fails(name: str, kind: str, sync: str) -> None:
    scene = Scene(sync)
    judge = Judge(scene, limit=2, second_crashes=0)
    for number, run in enumerate(_cases(WORKLOADS[name], scene, KINDS[kind])):
        _judge(run, judge, f"{name}, {kind}, call {number}")
    assert judge.states


def test_failed_sync_makes_the_engine_read_only() -> None:
    run = Run(Scene("always"), record=False)
    run.open()
    run.step(("put", b"a", b"1"))
    run.disk.faults.append(Fault(0, errno.EIO, frozenset({"sync"})))
    with pytest.raises(StorageError):
        run.step(("put", b"b", b"2"))
    with pytest.raises(ReadOnlyError):
        run.step(("put", b"c", b"3"))
    assert run.engine[b"a"] == b"1"
    assert run.engine.get(b"c") is None
    run.abandon()
    assert view(run.model.state, run.clock.now_ms) == {b"a": b"1"}


def test_a_sync_that_fails_beside_a_flush_leaves_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
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
    """Writers get the error while the disk is full, and go on once there is room: nothing needs a restart."""
    disk = SimulatedDisk()
    run = Run(Scene("interval", window_bytes=0), disk, record=False)
    run.open()
    run.step(("put", b"a", b"1"))
    disk.faults.append(Fault(0, errno.ENOSPC, frozenset({"append", "create"}), sticky=True))
    for _ in range(3):
        with pytest.raises(StorageError):
            run.step(("put", b"b", b"2"))
    assert dict(run.engine.scan()) == {b"a": b"1"}
    disk.faults.clear()
    run.step(("put", b"c", b"3"))
    assert dict(run.engine.scan()) == {b"a": b"1", b"c": b"3"}
    moment = Moment(crash(disk, Personality.KILLED, _never), run.model.expectation(), 0, "append", run.clock.now_ms)
    Judge(run.scene, limit=20).judge(moment, "after room came back")
    run.abandon()


def test_a_disk_that_fills_up() -> None:
    """Until nothing fits any more, flushes included; then with room again. What was answered is there at every step."""
    disk = SimulatedDisk(capacity_bytes=700_000)
    run = Run(Scene("never"), disk, record=False)
    run.open()
    refused = 0
    for number in range(6000):
        try:
            run.step(("put", b"key %04d" % (number % 900), b"%d " % number * 80))
        except StorageError:
            refused += 1
            if refused == 50:
                break
    assert refused == 50
    assert dict(run.engine.scan()) == run.model.view(run.clock.now_ms)
    disk.capacity_bytes <<= 4
    run.step(("fill", 0, 300))
    run.step(("compact",))
    assert dict(run.engine.scan()) == run.model.view(run.clock.now_ms)
    assert list(run.engine.verify()) == []
    moment = Moment(crash(disk, Personality.KILLED, _never), run.model.expectation(), 0, "append", run.clock.now_ms)
    Judge(run.scene, limit=2).judge(moment, "after the disk was full")
    run.abandon()


def test_failed_open_can_be_repeated() -> None:
    """Whatever call of an opening fails, the directory is not left locked and the next opening works."""
    scene = Scene("always")
    prepared = Run(scene, record=False)
    prepared.open()
    prepared.step(("put", b"a", b"1"))
    image = crash(prepared.disk, Personality.KILLED, _never)
    prepared.abandon()
    for n in range(1000):
        disk = crash(image, Personality.KILLED, _never)
        fault = Fault(n)
        disk.faults.append(fault)
        run = Run(scene, disk, record=False, model=Model({b"a": (b"1", 0)}))
        try:
            run.open()
        except StorageError:
            assert run.disk.open_locks() == [], f"call {n}"
            run.open()
        assert dict(run.engine.scan()) == {b"a": b"1"}
        run.abandon()
        if not fault.fired:
            return


def _never(_: int) -> int:
    raise AssertionError("a killed process leaves no choice")
