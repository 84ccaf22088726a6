"""Checkpoints: a second database that shares the first one's files, and neither changes what is the other's."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flin.engine
from flin.engine.catalog import manifest
from flin.engine.disk.file_name import LOCK, MANIFEST, UNFINISHED_COPY
from flin.engine.engine import store_of
from flin.errors import ClosedError, LimitError, ReadOnlyError, StorageError
from flin.testing import Fault, ManualClock, SimulatedDisk
from flin.testing.run import drop_retired
from tests.engine.backup.moments import check_moment, written_meanwhile
from tests.engine.small_database import DB, opened

COPY = "/copy"


def _filled(disk: SimulatedDisk, **options: Any) -> Any:
    """A database with tables, a value file, and two segments that are in no table."""
    db = opened(disk, value_threshold=1024, **options)
    for number in range(20):
        db.put(b"table %d" % number, b"%d" % number * 100)
    db.flush()
    db.put_many((b"value %d" % number, b"large" * 1000) for number in range(4))
    db.flush()
    for number in range(5):
        db.put(b"wal %d" % number, b"%d" % number)
    return db


def _contents(disk: SimulatedDisk, path: str) -> dict[str, bytes]:
    return {name: data for name, data in disk.files().items() if name.startswith(f"{path}/") and LOCK not in name}


def test_it_is_a_database_as_of_its_moment() -> None:
    disk = SimulatedDisk(window_bytes=4096)
    db = _filled(disk)
    db.put(b"session", b"token", ttl=60.0)
    expected = dict(db.scan())
    made = db.checkpoint(COPY)
    db.put(b"later", b"1")
    db.delete(b"table 3")
    db.compact()
    assert (made.path, made.sequence, made.files) == (COPY, 30, len(_contents(disk, COPY)) - 1)
    assert made.copied_bytes < 200, "the rest has second names"
    copy = flin.engine.open(COPY, fs=disk, runner="inline", create=False, clock_ms=ManualClock())
    assert dict(copy.scan()) == expected
    assert len(copy) == 30
    assert copy.ttl(b"session") == 60.0
    assert copy.verify() == []
    assert copy.stats()["wal"]["torn"] == "", "its WAL is closed cleanly"
    copy.close()
    assert b"table 3" not in db
    assert db.verify() == []
    db.close()


@pytest.mark.parametrize("window_bytes", [0, 4096])
def test_neither_changes_the_others_files(window_bytes: int) -> None:
    """Not even the segment that was written last, whose mapped zeros would take the next frames."""
    disk = SimulatedDisk(window_bytes=window_bytes)
    db = _filled(disk)
    db.checkpoint(COPY)
    before = _contents(disk, COPY)
    for number in range(100):
        db.put(b"after %d" % number, b"x" * 50)
    db.sync()
    db.flush()
    db.compact()
    db.close()
    assert _contents(disk, COPY) == before
    original = _contents(disk, DB)
    copy = flin.engine.open(COPY, fs=disk, runner="inline", memory_limit="1mb", value_threshold=1024)
    for number in range(100):
        copy.put(b"after %d" % number, b"y" * 2000)
    copy.delete_prefix(b"value")
    copy.flush()
    copy.compact()
    copy.close()
    assert _contents(disk, DB) == original
    with opened(disk) as db:
        assert db.verify() == []
        assert db[b"after 7"] == b"x" * 50


def test_files_that_the_two_make_have_different_names() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    db.checkpoint(COPY)
    db.checkpoint("/second")
    common = {LOCK, *set(disk.names(DB)) & set(disk.names(COPY))}
    epochs = [found.epoch for path in (DB, COPY, "/second") if (found := manifest.read(disk, path)) is not None]
    assert len({*epochs}) == 3
    copy = flin.engine.open(COPY, fs=disk, runner="inline")
    for each in (db, copy):
        each.put(b"k", b"v")
        each.flush()
        each.put(b"k", b"v")
    assert set(disk.names(DB)) & set(disk.names(COPY)) <= common
    copy.close()
    db.close()


def test_a_frame_of_a_failed_write_is_not_in_it() -> None:
    """A write that took effect and failed all the same leaves a whole good frame after the segment's end."""
    disk = SimulatedDisk()
    db = opened(disk)
    db.put(b"a", b"1")
    disk.faults.append(Fault(0, errno.EIO, frozenset({"append"}), late=True))
    with pytest.raises(StorageError):
        db.put(b"refused", b"2")
    db.checkpoint(COPY)
    with flin.engine.open(COPY, fs=disk, runner="inline") as copy:
        assert dict(copy.scan()) == {b"a": b"1"}
    db.close()


def test_files_stay_while_they_are_captured() -> None:
    """Flushes and merges of the meantime make all of them obsolete; they go once the copy is done."""
    disk = SimulatedDisk()
    db = _filled(disk)
    expected = dict(db.scan())
    store = store_of(db)
    with store.capture() as capture:
        for _ in range(3):
            for key in expected:
                db.put(key, b"again" * 300)
            db.flush()
        db.compact()
        drop_retired(db)
        store.tables.remove_obsolete()
        assert set(capture.files) <= {*disk.names(DB)}
    assert not {*capture.files} & {*disk.names(DB)}, "nobody needs them any more"
    assert db.verify() == []
    db.close()


def test_a_captured_segment_that_becomes_a_value_file_stays_and_goes_as_one() -> None:
    disk = SimulatedDisk()
    db = opened(disk, value_threshold=1024)
    db.put_many((b"%d" % number, b"large" * 1000) for number in range(4))
    with store_of(db).capture() as capture:
        db.flush()
    (name,) = capture.files
    assert name in disk.names(DB), "the manifest names it now"
    assert db[b"1"] == b"large" * 1000
    with store_of(db).capture():
        db.clear()
        db.compact()
        drop_retired(db)
        assert name in disk.names(DB)
    assert name not in disk.names(DB)
    db.close()


def test_an_empty_database_and_one_without_segments() -> None:
    disk = SimulatedDisk()
    db = opened(disk)
    assert db.checkpoint("/empty").sequence == 0
    db.put(b"a", b"1")
    db.flush()
    assert db.checkpoint("/flushed").sequence == 1
    for path, expected in (("/empty", {}), ("/flushed", {b"a": b"1"})):
        with flin.engine.open(path, fs=disk, runner="inline", create=False) as copy:
            assert dict(copy.scan()) == expected
            copy.put(b"b", b"2")
        with flin.engine.open(path, fs=disk, runner="inline") as copy:
            assert dict(copy.scan()) == {**expected, b"b": b"2"}
    db.close()


def test_a_checkpoint_of_a_checkpoint_and_of_a_recovered_database() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    expected = dict(db.scan())
    db.close(flush=False)
    db = opened(disk, value_threshold=1024)  # its segments are recovered ones
    db.checkpoint("/first")
    with flin.engine.open("/first", fs=disk, runner="inline") as first:
        first.checkpoint("/second")
    with flin.engine.open("/second", fs=disk, runner="inline") as second:
        assert dict(second.scan()) == expected
        assert second.verify() == []
    db.close()


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_without_links_the_files_are_copied(code: int) -> None:
    disk = SimulatedDisk(window_bytes=4096)
    db = _filled(disk)
    disk.faults.append(Fault(0, code, frozenset({"link"}), sticky=True))
    made = db.checkpoint(COPY)
    disk.faults.clear()
    sizes = {name: len(data) for name, data in _contents(disk, COPY).items() if MANIFEST not in name}
    assert made.copied_bytes == sum(sizes.values()), "segments up to their ends, without the zeros that were mapped"
    assert made.copied_bytes < sum(map(len, _contents(disk, DB).values()))
    with flin.engine.open(COPY, fs=disk, runner="inline") as copy:
        assert dict(copy.scan()) == dict(db.scan())
        assert copy.verify() == []
    db.close()


# Where it cannot be made.


def test_places_that_are_refused() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    before = disk.files()
    disk.make_directory("/full")
    disk.write("/full/other", b"data")
    for path, text in ((DB, "own directory"), (f"{DB}/copy", "own directory"), ("/full", "other is in it")):
        with pytest.raises(StorageError, match=text):
            db.checkpoint(path)
    with pytest.raises(StorageError):
        db.checkpoint("/full/other/copy")
    assert disk.files() == {**before, "/full/other": b"data"}
    db.close()


def test_an_interrupted_one_is_refused_by_all() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    disk.make_directory(COPY)
    disk.write(f"{COPY}/{UNFINISHED_COPY}", b"")
    with pytest.raises(StorageError, match="interrupted: remove it"):
        flin.engine.open(COPY, fs=disk, runner="inline")
    with pytest.raises(StorageError, match="interrupted: remove it"):
        db.checkpoint(COPY)
    assert disk.names(COPY) == [UNFINISHED_COPY]
    db.close()


def test_every_call_that_fails_leaves_nothing_that_opens() -> None:
    """A full disk, a broken one: the database is as it was, and the next checkpoint succeeds."""
    tried = 0
    for code in (errno.ENOSPC, errno.EIO):
        for after in range(100):
            disk = SimulatedDisk()
            db = _filled(disk)
            expected = dict(db.scan())
            db.sync()
            fault = Fault(after, code, frozenset({"create", "append", "link", "sync_directory", "rename"}))
            disk.faults.append(fault)
            try:
                db.checkpoint(COPY)
            except StorageError:
                assert fault.fired
                assert not {*disk.names(COPY)} - {UNFINISHED_COPY} if COPY in disk.directories else True
            else:
                assert not fault.fired
                disk.faults.clear()
                db.close()
                break
            disk.faults.clear()
            assert dict(db.scan()) == expected
            db.checkpoint("/next")
            with flin.engine.open("/next", fs=disk, runner="inline") as copy:
                assert dict(copy.scan()) == expected
            db.close()
            tried += 1
        else:
            pytest.fail("it never succeeded")
    assert tried > 20


def test_an_interrupt_leaves_nothing() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    disk.faults.append(Fault(2, operations=frozenset({"link"}), error=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        db.checkpoint(COPY)
    assert disk.names(COPY) == []
    assert not store_of(db).tables.is_pinned
    db.checkpoint(COPY)
    db.close()


def test_a_read_only_or_closed_database() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    store_of(db).make_read_only("a test says so")
    with pytest.raises(ReadOnlyError):
        db.checkpoint(COPY)
    assert disk.names(COPY) == []
    with pytest.raises(ReadOnlyError):
        db.close()
    with pytest.raises(ClosedError):
        db.checkpoint(COPY)


def test_a_sync_that_fails_makes_no_checkpoint() -> None:
    disk = SimulatedDisk()
    db = opened(disk, sync="never")
    db.put(b"a", b"1")
    disk.faults.append(Fault(0, errno.EIO, frozenset({"sync"})))
    with pytest.raises(StorageError):
        db.checkpoint(COPY)
    assert disk.names(COPY) == []
    with pytest.raises(ReadOnlyError):
        db.close()


def test_a_close_ends_it() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)

    def close(operation: str) -> None:
        if operation == "link":
            disk.on_change = None
            db.close()

    disk.on_change = close
    with pytest.raises(ClosedError):
        db.checkpoint(COPY)
    assert disk.names(COPY) == []
    with opened(disk) as db:
        assert db.verify() == []


def test_copies_of_copies_have_an_end() -> None:
    disk = SimulatedDisk()
    db = opened(disk)
    versions = store_of(db)._versions
    versions.manifest = replace(versions.manifest, epoch=(1 << 42) - 1)
    with pytest.raises(LimitError, match="epoch"):
        db.checkpoint(COPY)
    assert disk.names(COPY) == []
    db.close()


# The real disk.


def test_on_the_real_disk(tmp_path: Path, open_engine: Callable[..., Any]) -> None:
    """Second names, made while others write, flush and merge."""
    db = open_engine("db", memory_limit="1mb", value_threshold=1024)
    made = []
    with written_meanwhile(db) as written:
        for number in range(6):
            least = written()
            made.append((db.checkpoint(tmp_path / f"copy{number}"), least, written()))
            db.flush()
    for checkpoint, least, most in made:
        check_moment(checkpoint.path, checkpoint.sequence, least, most)
    shared = [path for path in Path(made[0][0].path).iterdir() if path.stat().st_nlink > 1]
    assert all(path.suffix in (".wal", ".sst", ".val") for path in shared)
    assert os.path.samestat(os.stat(made[0][0].path), os.stat(tmp_path / "copy0"))
