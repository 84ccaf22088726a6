"""Condensing: the tables of a flush are the same with and without it, and its file is never needed nor left behind."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flin.engine
from flin.engine.background import condensing, flush_lane
from flin.engine.background.condensing import LEAST_WRITES, is_condensable
from flin.engine.background.job import FlushJob, Job
from flin.engine.background.job_handle import JobHandle
from flin.engine.catalog.generation import SealedGeneration
from flin.engine.disk.file_name import maybe_parse
from flin.engine.engine import Engine
from flin.engine.entry import TOMBSTONE
from flin.engine.memtable import Memtable
from flin.engine.table.meta import TableMeta
from flin.errors import HelperDiedError
from flin.testing import Fault, SimulatedDisk, killed
from flin.testing.crash_checker import CrashChecker, assert_no_orphans
from flin.testing.faulty import KINDS, check_failed, every_failure
from flin.testing.operation import Put, Reopen, Rewrite
from flin.testing.run import KEY, PATH, EngineSetup, Workload, WorkloadRun
from tests.figures import FAILED_CALLS, Figures


def condensed_files(disk: SimulatedDisk) -> list[str]:
    return [name for name in disk.names(PATH) if (found := maybe_parse(name)) is not None and found.role == "condensed"]


def opened(disk: SimulatedDisk, **options: Any) -> Engine:
    return flin.engine.open(PATH, fs=disk, runner="inline", clock_ms=lambda: 1000, **options)


def rewritten(disk: SimulatedDisk, **options: Any) -> Engine:
    """A database whose open generation is condensable."""
    db = opened(disk, **options)
    rewrite(db)
    return db


def rewrite(db: Engine) -> None:
    for number in range(9):
        db.put(b"a", b"%d" % number)
        db.put(b"b", b"%d" % number)
    db.delete(b"b")


EXPECTED = {b"a": b"8"}


@pytest.mark.parametrize(("writes", "deleted", "expected"), [(3, (), True), (2, (), False), (3, (b"x", b"y"), False)])
def test_what_is_condensed(writes: int, deleted: tuple[bytes, ...], expected: bool) -> None:
    assert LEAST_WRITES == 3
    memtables = ((Memtable({b"a": b"1"}, deleted), Memtable({b"a": b"0", b"b": TOMBSTONE})), ())
    operations = writes * (3 + len(deleted))
    assert is_condensable(SealedGeneration(memtables, (), 0, 50, 0, operations=operations)) is expected
    assert not is_condensable(SealedGeneration(((Memtable(),),), (), 0, 50, 0, operations=0))


def test_no_commit_is_larger_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """But one value: else other threads would wait for the interpreter, and the memory would be needed twice."""
    monkeypatch.setattr(condensing, "COMMIT_BYTES", 10)
    expiring = (b"12345", 9000, 0)
    newer = Memtable({b"a": b"123456", b"b": TOMBSTONE, b"c": b"1234", b"d": b"1" * 11, b"e": expiring, b"f": b"12345"})
    generation = SealedGeneration(((newer, Memtable({b"a": b"1"})),), (), 0, 50, 0, operations=50)
    commits = list(condensing._commits(generation))
    assert [(b"".join(points), largest) for points, largest in commits] == [
        (b"a", 1),
        (b"abc", 11),
        (b"d", 11),
        (b"ef", 11),
    ]


@pytest.mark.parametrize("options", [{}, {"shards": 4}, {"encryption_key": KEY}, {"compression": "zstd"}])
def test_a_flush_of_a_condensed_log(options: dict[str, Any]) -> None:
    disk = SimulatedDisk()
    with rewritten(disk, **options) as db:
        db.flush()
        assert db.stats()["flush"]["condensed"] == 1
        assert dict(db.scan()) == EXPECTED
        assert not condensed_files(disk)
        assert not db.verify()
    assert_no_orphans(disk)
    with opened(disk, **options) as again:
        assert dict(again.scan()) == EXPECTED


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(("put", "put", "put", "expiring", "delete", "batch", "snapshot", "release")),
        st.sampled_from((b"a", b"b", b"", b"\xff\x01", b"longer" * 9)),
        st.binary(max_size=20),
    ),
    min_size=15,
    max_size=60,
)


def tables_after(operations: list[tuple[str, bytes, bytes]], options: dict[str, Any]) -> tuple[list[TableMeta], int]:
    """What the flush of these has written, but for the files' names and places, and how many were condensed."""
    with opened(SimulatedDisk(), **options) as db:
        snapshots = []
        for name, key, value in operations:
            if name == "put":
                db.put(key, value)
            elif name == "expiring":
                db.put(key, value, ttl=60.0)
            elif name == "delete":
                db.delete(key)
            elif name == "batch":
                db.put_many({key: value, b"z": value})
            elif name == "snapshot":
                snapshots.append(db.snapshot())
            elif snapshots:
                snapshots.pop().close()
        for snapshot in snapshots:
            snapshot.close()
        db.flush()
        found = [table for runs in db._store.state.version.shards for run in runs for table in run]
        return found, db.stats()["flush"]["condensed"]


@settings(suppress_health_check=list(HealthCheck))
@given(OPERATIONS, st.sampled_from([1, 4]), st.sampled_from([None, KEY]))
def test_the_tables_are_the_same(operations: list[tuple[str, bytes, bytes]], shards: int, key: bytes | None) -> None:
    """Also the sequences of a table, by which repair knows what it can tell."""
    options = {"shards": shards, "encryption_key": key}
    condensed, count = tables_after(operations, options)
    assert count <= 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush_lane, "is_condensable", lambda generation: False)
        plain, none = tables_after(operations, options)
    assert none == 0
    assert condensed == plain


WORKLOAD: Workload = (
    Rewrite((b"a", b"b"), 7, 9, deletes=True),
    Put(b"c", b"3"),
    Rewrite((b"b", b"c"), 12, 30, deletes=False, ttl=5.0),
    Reopen(flush=False),
    Rewrite((b"a", b"c"), 9, 2, deletes=True),
)


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(("sync", "shards"), [("always", 1), ("never", 4)])
def test_a_crash_at_every_call(sync: str, shards: int, encrypted: bool, figures: Figures) -> None:
    setup = EngineSetup(sync, shards, encrypted=encrypted)
    run = WorkloadRun(setup).run(WORKLOAD)
    checker = CrashChecker(setup, limit=2, second_every=9)
    for crash_point in run.crash_points[::4]:
        checker.check(crash_point, f"condensed, {setup}")
    figures.checked(checker)
    assert checker.states > 40


@pytest.mark.parametrize(("first", "kind"), list(enumerate(KINDS)))
def test_each_call_fails(first: int, kind: str, figures: Figures) -> None:
    setup = EngineSetup("interval")
    workload: Workload = (Rewrite((b"a", b"b"), 6, 9, deletes=True), Put(b"e", b"8"))
    checker = CrashChecker(setup, limit=1, second_crashes=0)
    for number, run in enumerate(every_failure(setup, workload, KINDS[kind], first % 3, 3)):
        figures.add(FAILED_CALLS, 1)
        check_failed(run, checker, f"{kind}, call {first % 3 + 3 * number}", no_files=True)


@pytest.mark.parametrize(
    ("after", "code", "operation"),
    [(0, errno.ENOSPC, "create"), (0, errno.ENOSPC, "append"), (2, errno.EDQUOT, "append")],
    ids=["the file", "its header", "the table: a quota, which nobody is told of"],
)
def test_a_disk_without_room(after: int, code: int, operation: str) -> None:
    """The flush reads the segments, at once: a full disk needs it the more."""
    disk = SimulatedDisk()
    db = rewritten(disk)
    fault = Fault(after, code, frozenset({operation}))
    disk.faults.append(fault)
    db.flush()
    assert fault.fired
    flushes = db.stats()["flush"]
    assert (flushes["jobs"], flushes["condensed"]) == (1, 0)
    assert dict(db.scan()) == EXPECTED
    assert not condensed_files(disk)
    db.close()
    assert_no_orphans(disk)


@pytest.mark.parametrize(("size", "ttl"), [(7, None), (8, None), (7, 60.0), (8, 60.0)])
def test_a_large_value_stays_in_its_segment(size: int, ttl: float | None) -> None:
    disk = SimulatedDisk()
    with rewritten(disk, value_threshold=8) as db:
        db.put(b"large", b"x" * size, ttl=ttl)
        db.flush()
        assert db.stats()["flush"]["condensed"] == (size < 8)
        assert dict(db.scan()) == EXPECTED | {b"large": b"x" * size}
        assert not condensed_files(disk)
    assert_no_orphans(disk)


def test_no_room_for_the_file() -> None:
    """Then it is not begun: its writers need what is left."""
    disk = SimulatedDisk()
    db = opened(disk)
    for _ in range(20):
        rewrite(db)
    room = db.stats()["wal"]["position"] // 2
    disk.capacity_bytes -= disk.free_bytes(PATH) - room
    db.flush()
    assert db.stats()["flush"]["condensed"] == 0
    disk.capacity_bytes += room
    rewrite(db)
    db.flush()
    assert db.stats()["flush"]["condensed"] == 1
    db.close()
    assert_no_orphans(disk)


def test_a_helper_that_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is done again, from the segments."""
    disk = SimulatedDisk()
    db = rewritten(disk)
    submit, submitted = db._runner.submit, []

    def submit_or_die(job: Job) -> JobHandle:
        assert isinstance(job, FlushJob)
        submitted.append(job)
        if len(submitted) > 1:
            return submit(job)
        handle = JobHandle(job)
        handle.end(HelperDiedError("the helper process 1 is gone"))
        return handle

    monkeypatch.setattr(db._runner, "submit", submit_or_die)
    db._store.seal()
    (sealed,) = db._store.state.sealed
    assert db._compactor.flush_once()
    condensed, again = submitted
    assert condensed.first_sequence
    assert (again.segments, again.first_sequence) == (sealed.segments, 0)
    assert again.value_threshold == db._store.options.value_threshold
    assert db.stats()["flush"]["condensed"] == 0
    assert dict(db.scan()) == EXPECTED
    db.close()
    assert_no_orphans(disk)


def test_a_damaged_file_is_read_by_nobody(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    disk = SimulatedDisk()
    db = rewritten(disk)
    write = condensing.Condenser.write

    def damaged(self: Any, job: Any, *rest: Any) -> Any:
        segment = write(self, job, *rest)
        assert segment is not None
        disk.flip(f"{PATH}/{segment.file}", 8 * (segment.end - 2))
        return segment

    monkeypatch.setattr(condensing.Condenser, "write", damaged)
    db.flush()
    assert "condensed" in caplog.text
    assert db.stats()["flush"]["condensed"] == 0
    assert dict(db.scan()) == EXPECTED
    db.close()
    assert_no_orphans(disk)


def test_the_next_open_removes_what_a_crash_left(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimulatedDisk()
    db = rewritten(disk)
    left: list[SimulatedDisk] = []
    submit = db._runner.submit

    def crash(job: Job) -> JobHandle:
        left.append(killed(disk))
        return submit(job)

    monkeypatch.setattr(db._runner, "submit", crash)
    db.flush()
    db.close()
    assert condensed_files(left[0])
    with opened(left[0]) as again:
        assert dict(again.scan()) == EXPECTED
        assert not condensed_files(left[0])
    assert_no_orphans(left[0])


def test_nothing_runs_ahead_of_an_edit_to_be_condensed() -> None:
    """In threads: writing its log would hold up the edit before it."""
    disk = SimulatedDisk()
    with flin.engine.open(PATH, fs=disk, runner="thread") as db:
        for _ in range(3):
            for number in range(9):
                db.put(b"a", b"%d" % number)
            db._store.seal()
        db.flush()
        assert db.stats()["flush"]["condensed"] == 3
        assert dict(db.scan()) == EXPECTED
    assert_no_orphans(disk)
