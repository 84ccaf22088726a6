"""The simulated disk: the same answers as the real one, and what is durable when."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flin.engine.disk.fs import AppendFile, FileSystem, OsFileSystem, ReadableFile, append_all
from flin.testing import CrashModel, Fault, SimulatedDisk, after_crash

# Few names, so that they meet: files, a directory, a file in it, a parent that is not there, a file taken for one.
NAMES = ["a", "b", "sub", "sub/a", "sub/deep/er", "none/a", "a/x"]
names = st.sampled_from(NAMES)
handles = st.integers(0, 3)
data = st.binary(max_size=20)
CALLS = st.one_of(
    st.tuples(st.just("create"), names, handles),
    st.tuples(st.just("append"), handles, data),
    st.tuples(st.just("sync"), handles),
    st.tuples(st.just("close"), handles),
    st.tuples(st.just("open"), names, handles),
    st.tuples(st.just("pread"), handles, st.integers(0, 30), st.integers(0, 30)),
    st.tuples(st.just("size"), handles),
    st.tuples(st.just("map"), handles),
    st.tuples(st.just("shut"), handles),
    st.tuples(st.just("rename"), st.sampled_from(["a", "b", "sub/a", "none/a"]), names),
    st.tuples(st.just("link"), names, names),
    st.tuples(st.just("remove"), names),
    st.tuples(st.just("names"), names),
    st.tuples(st.just("is_file"), names),
    st.tuples(st.just("sync_file"), st.sampled_from(["a", "b", "sub/a", "none/a"])),
    st.tuples(st.just("sync_directory"), names),
    st.tuples(st.just("make_directory"), st.sampled_from(["sub", "sub/deep/er", "a", "b/x"])),
    st.tuples(st.just("lock"), st.just("l"), data),
    st.tuples(st.just("release"),),
)  # fmt: skip


class Program:
    """Makes calls on a file system below a root, and records the outcome of each without the root."""

    def __init__(self, fs: FileSystem, root: str) -> None:
        self.fs = fs
        self.root = root
        self.writers: dict[int, AppendFile] = {}
        self.readers: dict[int, ReadableFile] = {}
        self.lock: Any = None

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def is_directory(self, name: str) -> bool:
        try:
            self.fs.names(self.path(name))
        except OSError:
            return False
        return True

    def outcome(self, call: tuple[Any, ...]) -> object:
        action: Callable[..., object] = getattr(self, f"do_{call[0]}")
        try:
            return action(*call[1:])
        except OSError as error:
            return type(error), error.errno

    def do_create(self, name: str, handle: int) -> None:
        self.writers[handle] = self.fs.create(self.path(name))

    def do_append(self, handle: int, data: bytes) -> object:
        return self.writers[handle].append(data) if handle in self.writers else None

    def do_sync(self, handle: int) -> None:
        if handle in self.writers:
            self.writers[handle].sync()

    def do_close(self, handle: int) -> None:
        if handle in self.writers:
            self.writers.pop(handle).close()

    def do_open(self, name: str, handle: int) -> None:
        if not self.is_directory(name):  # the engine opens files only; Linux opens a directory too
            self.readers[handle] = self.fs.open(self.path(name))

    def do_pread(self, handle: int, size: int, offset: int) -> object:
        return self.readers[handle].pread(size, offset) if handle in self.readers else None

    def do_size(self, handle: int) -> object:
        return self.readers[handle].size() if handle in self.readers else None

    def do_map(self, handle: int) -> object:
        return bytes(self.readers[handle].map()) if handle in self.readers else None

    def do_shut(self, handle: int) -> None:
        if handle in self.readers:
            self.readers.pop(handle).close()

    def do_rename(self, old: str, new: str) -> None:
        if not self.is_directory(old):
            self.fs.rename(self.path(old), self.path(new))

    def do_link(self, old: str, new: str) -> None:
        if not self.is_directory(old):
            self.fs.link(self.path(old), self.path(new))

    def do_remove(self, name: str) -> None:
        self.fs.remove(self.path(name))

    def do_names(self, name: str) -> object:
        return self.fs.names(self.path(name))

    def do_is_file(self, name: str) -> object:
        return self.fs.is_file(self.path(name))

    def do_sync_file(self, name: str) -> None:
        if not self.is_directory(name):
            self.fs.sync_file(self.path(name))

    def do_sync_directory(self, name: str) -> None:
        self.fs.sync_directory(self.path(name))

    def do_make_directory(self, name: str) -> None:
        self.fs.make_directory(self.path(name))

    def do_lock(self, name: str, holder: bytes) -> object:
        taken = self.fs.lock(self.path(name), holder)
        if isinstance(taken, bytes):
            return taken
        self.do_release()
        self.lock = taken
        return "locked"

    def do_release(self) -> None:
        if self.lock is not None:
            self.lock.release()
            self.lock = None

    def end(self) -> object:
        """The contents at the end, by name."""
        listing = {}
        for name in ["", *NAMES, "l"]:
            listing[name] = self.outcome(("names", name)) if not name or not self.fs.is_file(self.path(name)) else None
            if self.fs.is_file(self.path(name)):
                reader = self.fs.open(self.path(name))
                listing[name] = reader.pread(1000, 0)
                reader.close()
        for handle in range(4):
            self.do_close(handle)
            self.do_shut(handle)
        self.do_release()
        return listing


@settings(max_examples=250)
@given(st.lists(CALLS, max_size=25))
@example([("make_directory", "sub"), ("create", "sub/a", 0), ("rename", "sub/a", "sub")])
def test_same_as_the_real_disk(calls: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as real_root:
        real = Program(OsFileSystem(), real_root)
        simulated = Program(SimulatedDisk(), "/root")
        simulated.fs.make_directory("/root")
        for call in calls:
            assert simulated.outcome(call) == real.outcome(call), call
        assert simulated.end() == real.end()


def test_reader_sees_appends_and_outlives_its_name() -> None:
    disk = SimulatedDisk()
    file = disk.create("/a")
    reader = disk.open("/a")
    append_all(file, b"one")
    mapped = reader.map()
    append_all(file, memoryview(b"two"))
    disk.remove("/a")
    assert (mapped, reader.pread(10, 0), reader.size(), disk.names("/")) == (b"one", b"onetwo", 6, [])
    assert reader.pread_nowait(6, 0) == b"onetwo"
    assert reader.pread_nowait(7, 0) is None
    disk.resident = False
    assert reader.pread_nowait(6, 0) is None


def test_calls_are_counted_and_reported() -> None:
    disk = SimulatedDisk()
    changes: list[str] = []
    disk.on_change = changes.append
    file = disk.create("/a")
    file.append(b"x")
    file.sync()
    disk.open("/a").pread(1, 0)
    disk.sync_directory("/")
    disk.rename("/a", "/b")
    disk.remove("/b")
    assert changes == ["create", "append", "sync", "sync_directory", "rename", "remove"]
    assert disk.calls["pread"] == 1
    assert disk.total_calls() == 8


@pytest.mark.parametrize("sticky", [False, True])
@pytest.mark.parametrize("n", range(3))
def test_nth_call_fails(n: int, sticky: bool) -> None:
    disk = SimulatedDisk()
    file = disk.create("/a")
    disk.faults.append(Fault(n, errno.EIO, frozenset(["append"]), sticky=sticky))
    failed = []
    for number in range(5):
        try:
            file.append(b"x")
        except OSError:
            failed.append(number)
    assert failed == (list(range(n, 5)) if sticky else [n])
    assert len(disk.read("/a")) == 5 - len(failed)


def test_short_write() -> None:
    disk = SimulatedDisk()
    file = disk.create("/a")
    disk.faults.append(Fault(0, 0, taken=2))
    assert file.append(b"12345") == 2
    assert file.append(b"345") == 3
    disk.faults.append(Fault(0, errno.ENOSPC, taken=1))
    with pytest.raises(OSError, match="No space left"):
        append_all(file, b"678")
    assert disk.read("/a") == b"123456"


def test_late_failure_took_effect() -> None:
    disk = SimulatedDisk()
    disk.faults.append(Fault(0, errno.EIO, frozenset(["create"]), late=True))
    with pytest.raises(OSError, match="Input/output"):
        disk.create("/a")
    assert disk.names("/") == ["a"]


def test_full_disk() -> None:
    disk = SimulatedDisk(capacity_bytes=10)
    file = disk.create("/a")
    assert file.append(b"1234567") == 7
    assert disk.free_bytes("/") == 3
    assert file.append(b"1234567") == 3
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        file.append(b"4567")
    disk.remove("/a")
    assert disk.free_bytes("/") == 10


def test_a_second_name_takes_no_room_and_is_durable_by_itself() -> None:
    disk = SimulatedDisk(capacity_bytes=10)
    disk.make_directory("/other")
    file = disk.create("/a")
    file.append(b"12345678")
    disk.sync_directory("/")
    disk.link("/a", "/other/b")
    assert disk.free_bytes("/") == 2
    lost = after_crash(disk, CrashModel.PREFIXES, lambda _: 0)
    assert (lost.names("/"), lost.names("/other"), lost.read("/a")) == (["a", "other"], [], b"")
    file.sync()
    disk.sync_directory("/other")
    kept = after_crash(disk, CrashModel.PREFIXES, lambda _: 0)
    assert kept.read("/a") == kept.read("/other/b") == b"12345678"
    kept.flip("/a", 0)
    assert kept.read("/other/b")[:1] == b"0", "it is one file"
    for path in ("/a", "/other/b"):
        disk.remove(path)
        assert disk.free_bytes("/") == (10 if path == "/other/b" else 2)


def test_lock_ends_with_its_release() -> None:
    disk = SimulatedDisk()
    lock = disk.lock("/LOCK", b"first")
    assert not isinstance(lock, bytes)
    assert disk.lock("/LOCK", b"second") == b"first"
    lock.release()
    assert disk.open_locks() == []
    assert not isinstance(disk.lock("/LOCK", b"third"), bytes)
    assert disk.read("/LOCK") == b"third"


def test_another_program_shares_all_but_locks_and_replaced_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimulatedDisk()
    other = disk.for_another_program()
    with monkeypatch.context() as patch:
        patch.setattr(other, "names", lambda _: ["replaced"])
        assert (other.names("/"), disk.names("/")) == (["replaced"], [])
    disk.create("/file").append(b"1")
    assert other.names("/") == disk.names("/") == ["file"]
    other.window_bytes = 7
    other.create("/second")
    assert (disk.window_bytes, disk.names("/")) == (7, ["file", "second"])


def test_damage() -> None:
    disk = SimulatedDisk()
    disk.write("/a", b"\x00\x00")
    disk.flip("/a", 9)
    assert disk.files() == {"/a": b"\x00\x02"}
    disk.lose("/a")
    assert disk.files() == {}


def test_real_directory_is_untouched(tmp_path: Path) -> None:
    SimulatedDisk().make_directory(str(tmp_path / "x"))
    assert list(tmp_path.iterdir()) == []
