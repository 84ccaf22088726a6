"""Value files and crashes: the power fails between any two file operations of a flush that names segments, of a merge
that learns what is garbage, and of one that collects; and each of their calls fails.

The rules: a manifest names tables and value files together, after all of them are durable; segments that it names stay;
a collected file is synced, and nobody's, until the manifest that names it.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from flin.engine.background import picker
from flin.engine.catalog import manifest as manifest_format
from flin.engine.disk.file_name import LOCK, MANIFEST, maybe_parse, value_name
from flin.engine.disk.fs import join
from flin.engine.wal.frames import HEADER_BYTES, ValidFrames, decode_header
from flin.errors import FlinError, StorageError
from flin.testing import CrashModel, Fault, ManualClock, SimulatedDisk, after_crash, killed
from flin.testing.crash_checker import CrashChecker
from flin.testing.operation import Clear, Delete, DeleteRange, Maintenance, Put, PutMany, Reopen
from flin.testing.run import PATH, EngineSetup, Operation, WorkloadRun
from tests.figures import FAILED_CALLS, Figures

FLUSH, COMPACT = Maintenance("flush"), Maintenance("compact")


def values(keys: str, text: bytes) -> PutMany:
    """One commit; each value is so large that the segment becomes a value file."""
    return PutMany(tuple((key.encode(), text * 300) for key in keys))


LEARN: list[Operation] = [values("abcdefghijkl", b"1"), FLUSH, values("abcdef", b"2"), Delete(b"g"), COMPACT]
"""After it five of twelve values of the first segment are live."""

COLLECT: list[Operation] = [Put(b"n", b"x" * 300), FLUSH]
"""The merge for the sake of value files comes by itself, after the flush."""

WORKLOADS: dict[str, list[Operation]] = {
    "collect": [*LEARN, *COLLECT, Delete(b"a"), COMPACT, Reopen(flush=False), values("bc", b"4"), COMPACT],
    "delete": [*LEARN, DeleteRange(b"a", b"e"), FLUSH, *COLLECT, Clear(), COMPACT],
    "reopen": [
        *[values("abcd", b"1"), Reopen(flush=False), values("cd", b"2"), FLUSH, Reopen()],
        *[values("ab", b"3"), COMPACT],
    ],
}


@pytest.fixture(autouse=True)
def merges_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of pointers merge no earlier than others, so each step here has a merge of its own."""
    monkeypatch.setattr(picker, "options_for", lambda _, options: options)
    monkeypatch.setattr(picker, "may_be_mostly_garbage", lambda _: False)


def collected(run: WorkloadRun) -> bool:
    return any(name.endswith(".val") for name in run.disk.names(PATH))


def test_the_workload_collects() -> None:
    run = WorkloadRun(EngineSetup(value_threshold=8), record=False)
    run.open()
    for operation in [*LEARN, *COLLECT]:
        operation.do(run)
    assert collected(run)
    assert run.engine.stats()["compaction"]["reasons"]["garbage in value files"] == 1
    run.abandon()


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("name", WORKLOADS)
def test_a_crash_at_every_call(name: str, shards: int, figures: Figures) -> None:
    setup = EngineSetup("always" if name == "collect" else "never", shards, value_threshold=8)
    run = WorkloadRun(setup).run(WORKLOADS[name])
    checker = CrashChecker(setup, limit=1, second_every=6)
    for crash_point in run.crash_points[:: 2 if shards == 1 else 6]:
        checker.check(crash_point, f"value files, {name}, {shards} shards")
    figures.checked(checker)
    assert checker.states > 10


@pytest.mark.parametrize("name", WORKLOADS)
def test_what_a_durable_manifest_names_is_durable(name: str) -> None:
    """After a power cut that keeps nothing that is pending, the value files of the manifest are whole."""
    run = WorkloadRun(EngineSetup("never", value_threshold=8)).run(WORKLOADS[name])
    named = 0
    for crash_point in run.crash_points:
        disk = after_crash(crash_point.disk, CrashModel.PREFIXES, lambda _: 0)
        found = manifest_format.read(disk, PATH) if PATH in {path.rpartition("/")[0] for path in disk.files()} else None
        for each in () if found is None else found.version.value_files:
            named += 1
            path = join(PATH, each.file)
            data = disk.read(path)
            frames = ValidFrames(data, decode_header(data, path), HEADER_BYTES, each.length)
            for _ in frames:
                pass
            assert (frames.end, frames.stop_reason) == (each.length, ""), f"{each.file} after {crash_point.call}"
    assert named > 20


def prepared() -> WorkloadRun:
    """A database whose next flush is followed by a merge that collects."""
    run = WorkloadRun(EngineSetup("always", value_threshold=8), record=False)
    run.open()
    for operation in [*LEARN, COLLECT[0]]:
        operation.do(run)
    return run


def contents(disk: SimulatedDisk) -> dict[bytes, bytes]:
    with EngineSetup("always", value_threshold=8).open(disk, ManualClock(), "again") as engine:
        found = dict(engine.scan())
        assert not engine.verify()
    manifest = manifest_format.read(disk, PATH)
    assert manifest is not None
    for name in disk.names(PATH):
        parsed = maybe_parse(name)
        live = parsed is not None and parsed.role == "wal" and parsed.number >= manifest.wal_floor
        assert name in (LOCK, MANIFEST) or name in manifest.version.files() or live, name
    return found


@pytest.mark.parametrize("sticky", [False, True])
def test_each_call_of_a_collecting_merge_fails(sticky: bool, figures: Figures) -> None:
    expected = contents(killed(prepared().disk))
    for at in range(200):
        run = prepared()
        fault = Fault(at, errno.ENOSPC if at % 2 else errno.EIO, sticky=sticky)
        run.disk.faults.append(fault)
        try:
            run.engine.flush()
            run.engine._compactor.run_pending()
        except FlinError:
            pass
        if not fault.fired:
            break
        figures.add(FAILED_CALLS, 1)
        run.disk.faults.clear()
        image = killed(run.disk)
        assert dict(run.engine.scan()) == expected, f"call {at}, {fault.struck}"
        run.abandon()
        assert contents(image) == expected, f"call {at}, {fault.struck}"
    else:
        pytest.fail("it makes more calls than were tried")
    assert at > 20


def test_a_file_in_the_place_of_a_collected_one_stays() -> None:
    """It is created exclusively: what an orphaned helper writes is never written over, nor removed by the job."""
    run = prepared()
    store: Any = run.engine._store
    strays = [value_name(store._versions.next_job + more, 0, store.manifest.epoch) for more in range(4)]
    for name in strays:
        run.disk.write(join(PATH, name), b"somebody's")
    with pytest.raises(StorageError, match="exists"):
        run.engine.flush()
    assert all(run.disk.read(join(PATH, name)) == b"somebody's" for name in strays)
    assert not store.manifest.version.files() & set(strays)
    image = killed(run.disk)
    run.abandon()
    contents(image)
    assert not set(strays) & set(image.names(PATH))


def test_a_snapshot_reads_what_was_collected_and_dropped() -> None:
    run = prepared()
    before = dict(run.engine.scan())
    old = {each.file for each in run.engine._store.manifest.version.value_files}
    with run.engine.snapshot() as view:
        COLLECT[1].do(run)
        Clear().do(run)
        COMPACT.do(run)
        assert run.engine.stats()["value_files"]["files"] == 0
        assert old <= set(run.disk.names(PATH))
        assert dict(view.scan()) == before
        assert view[b"h"] == b"1" * 300
    del view
    run.engine._compactor.run_pending()
    assert not old & set(run.disk.names(PATH))
    run.abandon()
