"""`open(":memory:")`: a database without files."""

from __future__ import annotations

import gc
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

import flin.engine
from flin.engine.disk.memory_fs import MemoryFileSystem
from flin.engine.engine import store_of
from flin.errors import ClosedError, LockedError, StorageError
from tests.engine.small_database import DB


@pytest.mark.parametrize("runner", ["auto", "thread", "inline"])
def test_everything_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: Any) -> None:
    """Flushes, merges, value files, snapshots, batches; no file is made, and no thread is left."""
    monkeypatch.chdir(tmp_path)
    before = set(threading.enumerate())
    with flin.engine.open(":memory:", memory_limit="1mb", runner=runner, value_threshold=1024, sync="always") as db:
        data: dict[bytes, bytes] = {}
        for step in range(20):
            changed = {
                b"%05d" % (number * 7 % 3000): b"%d" % step * 60 for number in range(step * 100, step * 100 + 400)
            }
            changed[b"large %d" % (step % 5)] = b"%d" % step * 5000
            db.put_many(changed)
            data |= changed
        with db.snapshot() as view:
            db.delete_prefix(b"large")
            db.compact()
            assert dict(view.items()) == dict(sorted(data.items()))
        data = {key: value for key, value in data.items() if not key.startswith(b"large")}
        assert list(db.items()) == sorted(data.items())
        assert len(db) == len(data)
        assert db.verify() == []
        stats = db.stats()
        assert stats["flush"]["jobs"] > 0
        assert stats["background"]["helper_pids"] == []
        assert (db.path, stats["path"], repr(db)) == (":memory:", ":memory:", "<flin.engine.Engine ':memory:'>")
        db.put(b"session", b"1", ttl=60)
        assert 0 < (db.ttl(b"session") or 0) <= 60
    assert set(threading.enumerate()) == before
    assert os.listdir(tmp_path) == []
    with pytest.raises(ClosedError):
        db.get(b"00001")


def test_removed_files_give_their_memory_back() -> None:
    with flin.engine.open(":memory:", memory_limit="1mb", runner="inline") as db:
        for _ in range(30):
            db.put_many({b"%04d" % number: b"v" * 1000 for number in range(400)})
        db.compact()
        fs = store_of(db).options.fs
        assert isinstance(fs, MemoryFileSystem)
        assert sum(len(content.data) for content in fs.files.values()) < 100_000
        assert not [path for path in fs.files if path.endswith(".wal")]


def test_two_opens_are_two_databases() -> None:
    with flin.engine.open(":memory:") as one, flin.engine.open(":memory:") as other:
        one[b"a"] = b"1"
        assert dict(other) == {}
    with flin.engine.open(":memory:", create=False) as db:
        assert dict(db) == {}


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="neither read_only nor fs"):
        flin.engine.open(":memory:", read_only=True)
    with pytest.raises(ValueError, match="neither read_only nor fs"):
        flin.engine.open(":memory:", fs=MemoryFileSystem())
    with pytest.raises(ValueError, match="'helper' is another process"):
        flin.engine.open(":memory:", runner="helper")


def test_there_is_nothing_to_copy(tmp_path: Path) -> None:
    with flin.engine.open(":memory:") as db, pytest.raises(StorageError, match="it has no files"):
        db.checkpoint(tmp_path / "copy")


def test_a_directory_may_have_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with flin.engine.open("./:memory:", runner="inline") as db:
        assert db.path == str(tmp_path / ":memory:")


def test_one_that_is_dropped_is_closed() -> None:
    before = set(threading.enumerate())

    def forget() -> None:
        flin.engine.open(":memory:").put(b"a", b"1")
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed"):
        forget()
    assert set(threading.enumerate()) == before


def test_a_file_system_can_be_opened_again() -> None:
    """For tests: what a MemoryFileSystem holds stays as long as the object."""
    fs = MemoryFileSystem()
    with flin.engine.open(DB, fs=fs, runner="inline") as db:
        db[b"a"] = b"1"
        with pytest.raises(LockedError):
            flin.engine.open(DB, fs=fs, runner="inline")
        with flin.engine.open(DB, fs=fs, read_only=True) as reader:
            assert dict(reader) == {b"a": b"1"}
    with flin.engine.open(DB, fs=fs, runner="inline") as db, warnings.catch_warnings():
        assert dict(db) == {b"a": b"1"}
        assert db.verify() == []


def test_its_calls_answer_as_a_disk_does() -> None:
    fs = MemoryFileSystem()
    for call in (fs.open, fs.remove, fs.file_size, fs.names, lambda path: fs.rename(path, "/b")):
        with pytest.raises(FileNotFoundError):
            call("/a")
    file = fs.create("/a/b")
    with pytest.raises(FileExistsError):
        fs.create("/a/b")
    file.append(b"abc")
    assert file.map() == b"abc"
    file.append(b"def")
    file.write(b"X", 1)
    reading = fs.open("/a/b")
    assert (reading.pread(10, 1), reading.size(), fs.file_size("/a/b")) == (b"Xcdef", 6, 6)
    fs.remove("/a/b")
    assert reading.pread_nowait(2, 0) == b"aX", "an open file outlives its name"
