"""A file system in memory that knows what a power cut would leave of it, and that can be made to fail.

Theory. The disk distinguishes what programs see now (the page cache), what is durable, and what is pending between the
two. A file (file.py) is its present content and a list of pending writes. Each write keeps the bytes that it overwrote,
so undoing writes gives any earlier content. Each directory has a durable mapping of names.
`AppendFile.sync` and `sync_file` make a file's data durable but not its name; `sync_directory` makes the names durable
but no data. Every pending change has an order number, so that a crash (crash_model.py) can keep any choice of them, in
order or not.

A WAL segment may be written through a mapped window: each copy into it is a pending write over the window's zeros.

A failed sync behaves as on Linux: the pending data stays readable, but the kernel takes it for clean. So it never
reaches the disk, and a later sync of the same file succeeds without it.

Directories are made, never renamed. A test may remove one behind a program's back (`remove_directory`), and another
program make it anew: the holder of its lock gets ESTALE from then on, as on the real disk. A disk object stands for one
program; `for_another_program` gives the same files to a second one. Every method may be called from any thread.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from threading import RLock
from typing import Any, Final, NoReturn
from weakref import WeakSet

from flin.engine.disk.directory_lock import DIRECTORY_LOST
from flin.engine.disk.fs import Buffer, Window
from flin.testing.fault import Fault
from flin.testing.file import SimulatedFile

STALE_FILES: Final = 8
"""How many removed files' contents are kept: an unwritten sector may show what its place on the disk held before."""

CAPACITY_BYTES: Final = 1 << 40
"""The size of a disk without a limit: never full."""

CHANGES: Final = frozenset(
    (
        *("create", "append", "extend", "copy", "sync", "link", "rename", "remove"),
        *("sync_file", "sync_directory", "make_directory", "lock"),
    )
)
"""The operations that can change what a crash finds."""


@dataclass(frozen=True, slots=True)
class NameChange:
    """A pending change of one name; both changes of a rename have the same order number."""

    order: int
    name: str
    file: SimulatedFile | None  # None: the name goes


@dataclass(slots=True)
class SimulatedDirectory:
    names: dict[str, SimulatedFile] = field(default_factory=dict)
    durable: dict[str, SimulatedFile] = field(default_factory=dict)
    pending: list[NameChange] = field(default_factory=list)
    directories: set[str] = field(default_factory=set)  # names of directories in it, durable from the start


class SimulatedDisk:
    """A `flin.engine.disk.fs.FileSystem` in memory. Equal calls give equal disks: nothing in it is random."""

    def __init__(self, capacity_bytes: int = CAPACITY_BYTES, window_bytes: int = 0) -> None:
        self.capacity_bytes = capacity_bytes
        self.window_bytes = window_bytes
        """Bytes of a WAL segment that are mapped at once; 0: segments are written, not mapped."""
        self.calls: Counter[str] = Counter()
        """Calls by operation, failed ones included."""
        self.faults: list[Fault] = []
        self.on_change: Callable[[str], None] | None = None
        """Called with the operation after each call that changed something: where run.py records crash points."""
        self.resident = True
        """Whether `pread_nowait` finds everything in the page cache."""
        self.committed = 0
        """Order of the last change that a journal must have committed for a sync (crash_model.py, JOURNALLED)."""
        self.stale: deque[bytes] = deque(maxlen=STALE_FILES)
        self.directories: dict[str, SimulatedDirectory] = {"/": SimulatedDirectory()}
        self.elsewhere: list[Any] = []
        """The log of a replica on this disk, which others hold: no crash of the disk takes it (memory_log.py)."""
        self._order = 0
        self._used = 0
        self.open_files: WeakSet[SimulatedAppendFile | SimulatedReadableFile] = WeakSet()
        self._locks: dict[SimulatedFile, tuple[str, bytes]] = {}
        self._held: dict[str, SimulatedLock] = {}  # held by this program: directory → its lock
        self._mutex = RLock()

    # The FileSystem protocol.

    def create(self, path: str) -> SimulatedAppendFile:
        with self._call("create", path):
            directory, name = self._parent(path)
            if name in directory.names or name in directory.directories:
                _refuse(errno.EEXIST, path)
            file = SimulatedFile()
            directory.pending.append(NameChange(self._next(), name, file))
            directory.names[name] = file
        return SimulatedAppendFile(self, path, file)

    def create_segment(self, path: str) -> SimulatedSegmentFile:
        created = self.create(path)
        file = created._opened()
        created.close()
        return SimulatedSegmentFile(self, path, file)

    def open(self, path: str) -> SimulatedReadableFile:
        with self._call("open", path):
            return SimulatedReadableFile(self, path, self._file(path))

    def rename(self, old: str, new: str) -> None:
        with self._call("rename", old):
            source, old_name = self._parent(old)
            target, new_name = self._parent(new)
            file = self._file(old)
            if new_name in target.directories:
                holds_it = _normal(old).startswith(_normal(new) + "/")  # Linux checks that first
                _refuse(errno.ENOTEMPTY if holds_it else errno.EISDIR, new)
            replaced = target.names.get(new_name)
            if replaced is file:
                return
            order = self._next()
            target.pending.append(NameChange(order, new_name, file))
            source.pending.append(NameChange(order, old_name, None))
            target.names[new_name] = source.names.pop(old_name)
            self._discard(replaced)

    def remove(self, path: str) -> None:
        with self._call("remove", path):
            directory, name = self._parent(path)
            file = self._file(path)
            directory.pending.append(NameChange(self._next(), name, None))
            del directory.names[name]
            self._discard(file)

    def link(self, old: str, new: str) -> None:
        with self._call("link", new):
            file = self._file(old)
            target, name = self._parent(new)
            if name in target.names or name in target.directories:
                _refuse(errno.EEXIST, new)
            target.pending.append(NameChange(self._next(), name, file))
            target.names[name] = file

    def names(self, directory: str) -> list[str]:
        with self._call("names", directory):
            found = self._directory(directory)
            return sorted([*found.names, *found.directories])

    def is_file(self, path: str) -> bool:
        with self._call("is_file", path):
            return self._maybe_file(path) is not None

    def file_size(self, path: str) -> int:
        with self._call("file_size", path):
            return len(self._file(path).content)

    def sync_file(self, path: str) -> None:
        with self._mutex:
            try:
                with self._call("sync_file", path):
                    self._mark_durable(self._file(path))
            except OSError:
                found = self._maybe_file(path)
                if found is not None:
                    found.lose_pending()
                raise

    def sync_directory(self, directory: str) -> None:
        with self._call("sync_directory", directory):
            found = self._directory(directory)
            found.durable = dict(found.names)
            found.pending.clear()
            self.committed = self._order

    def check_directory(self, directory: str) -> None:
        with self._call("check_directory", directory):
            self._check_held(_normal(directory))

    def make_directory(self, path: str) -> None:
        with self._call("make_directory", path):
            path = _normal(path)
            missing: list[str] = []
            while path not in self.directories:
                parent, name = posixpath.split(path)
                if parent in self.directories and name in self.directories[parent].names:
                    _refuse(errno.EEXIST, path)
                missing.append(path)
                path = parent
            for path in reversed(missing):
                parent, name = posixpath.split(path)
                self.directories[path] = SimulatedDirectory()
                self.directories[parent].directories.add(name)

    def free_bytes(self, directory: str) -> int:
        with self._call("free_bytes", directory):
            self._directory(directory)
            return max(0, self.capacity_bytes - self._used)

    def lock(self, path: str, holder: bytes) -> SimulatedLock | bytes:
        path = _normal(path)
        parent, name = posixpath.split(path)
        with self._call("lock", path):
            directory = self.directories.get(parent)  # whatever it was that this program held there before
            if directory is None:
                _refuse(errno.ENOENT, path)
            file = directory.names.get(name)
            if file in self._locks:
                return self._locks[file][1]
            if file is None:
                file = directory.names[name] = directory.durable[name] = SimulatedFile()
            # Durable at once, and written over: what a crash leaves of it does not matter, and it names this process:
            # no choice of a crash may depend on that number.
            file.content[:] = holder
            file.synced, file.lost, file.writes = len(holder), [], []
            self._locks[file] = path, holder
            self._held[parent] = lock = SimulatedLock(self, directory, name)
            return lock

    # For tests.

    def standing_still(self) -> AbstractContextManager[Any]:
        """Calls of other threads wait during this context."""
        return self._mutex

    @property
    def changes(self) -> int:
        """The number of changes so far, of data and of names; a clone continues to count."""
        return self._order

    def total_calls(self) -> int:
        return sum(self.calls.values())

    def read(self, path: str) -> bytes:
        """The content that programs see now. It is not counted as a call, and no fault applies."""
        return bytes(self._file(path).content)

    def write(self, path: str, content: bytes) -> None:
        """Replace a file durably, unnoticed by its users: damage, or a fixture. It is not counted as a call."""
        directory, name = self._parent(path)
        directory.names[name] = directory.durable[name] = SimulatedFile(content)
        directory.pending = [change for change in directory.pending if change.name != name]

    def lose(self, path: str) -> None:
        """Remove the file durably: damage. It is not counted as a call."""
        directory, name = self._parent(path)
        directory.names.pop(name)
        directory.durable.pop(name, None)
        directory.pending = [change for change in directory.pending if change.name != name]

    def flip(self, path: str, bit: int) -> None:
        """Flip one bit of a file in place: damage."""
        self._file(path).content[bit // 8] ^= 1 << bit % 8

    def remove_directory(self, path: str) -> None:
        """Remove a directory with its contents, durably, behind every program's back: open files stay open. No holes of
        later files show its bytes: to recovery, a whole segment of another database is a mix-up."""
        with self._mutex:
            path = _normal(path)
            for inner in [found for found in self.directories if found == path or found.startswith(path + "/")]:
                self._used -= sum(len(file.content) for file in self.directories.pop(inner).names.values())
            self.stale.clear()
            parent, name = posixpath.split(path)
            self.directories[parent].directories.discard(name)

    def for_another_program(self) -> SimulatedDisk:
        """This disk, as a second program sees it, which holds other locks."""
        return _OtherProgram(self)

    def files(self) -> dict[str, bytes]:
        """Every path and its content: two disks are equal if these are."""
        return {
            f"{path if path != '/' else ''}/{name}": bytes(file.content)
            for path, directory in sorted(self.directories.items())
            for name, file in sorted(directory.names.items())
        }

    def open_locks(self) -> list[str]:
        return sorted(path for path, _ in self._locks.values())

    # For the file objects.

    def _write(
        self, file: SimulatedFile, path: str, data: Buffer, offset: int | None = None, operation: str = "append"
    ) -> int:
        """Write at the end of the file, or at an offset up to there."""
        size = len(data)
        with self._mutex:
            start = len(file.content) if offset is None else offset
            known = min(size, len(file.content) - start)  # overwriting these needs no room
            taken = min(size, known + max(0, self.capacity_bytes - self._used))
            for fault in self.faults:
                if fault.operations <= {operation} and fault.taken is not None and fault.strikes(operation):
                    # A device that took part of a write reports that; the error comes with the next call.
                    taken = min(taken, fault.taken)
                    if fault.code:  # after 1: this very call is counted below
                        self.faults.append(Fault(1, fault.code, frozenset([operation]), sticky=fault.sticky))
                    fault.sticky = False
                    break
            with self._call(operation, path):
                if taken < size and not taken:
                    _refuse(errno.ENOSPC, path)
                file.write(self._next(), memoryview(data)[:taken], start)
                self._used += max(0, taken - known)
        return taken

    def _copy(self, file: SimulatedFile, path: str, data: bytes | bytearray, offset: int) -> None:
        """Copy into a mapped window: no call of the operating system, so nothing to count and nothing that can fail."""
        with self._mutex:
            assert offset + len(data) <= len(file.content), "a copy beyond the file is SIGBUS"
            file.write(self._next(), data, offset)
            if self.on_change is not None:
                self.on_change("copy")

    def _sync(self, file: SimulatedFile, path: str) -> None:
        with self._mutex:
            try:
                with self._call("sync", path):
                    self._mark_durable(file)
            except OSError:
                file.lose_pending()
                raise

    def _call(self, operation: str, path: str) -> _Call:
        return _Call(self, operation, path)

    def _mark_durable(self, file: SimulatedFile) -> None:
        if file.writes:  # else a journal would have nothing to commit
            self.committed = self._order
        file.mark_durable()

    def _discard(self, file: SimulatedFile | None) -> None:
        if file is None or any(file in directory.names.values() for directory in self.directories.values()):
            return  # it has another name
        self.stale.append(bytes(file.content))
        self._used -= len(file.content)

    def _next(self) -> int:
        self._order += 1
        return self._order

    def _check_held(self, path: str) -> None:
        held = self._held.get(path)
        if held is not None and not held.is_in_place(self.directories.get(path)):
            held.on_lost()
            raise OSError(errno.ESTALE, DIRECTORY_LOST, path)

    def _directory(self, path: str) -> SimulatedDirectory:
        path = _normal(path)
        self._check_held(path)
        found = self.directories.get(path)
        if found is None:
            parent, name = self._parent(path)
            _refuse(errno.ENOTDIR if name in parent.names else errno.ENOENT, path)
        return found

    def _parent(self, path: str) -> tuple[SimulatedDirectory, str]:
        parent, name = _split(path)
        if not name:
            _refuse(errno.EISDIR, path)
        return self._directory(parent), name

    def _file(self, path: str) -> SimulatedFile:
        directory, name = self._parent(path)
        found = directory.names.get(name)
        if found is None:
            _refuse(errno.EISDIR if name in directory.directories else errno.ENOENT, path)
        return found

    def _maybe_file(self, path: str) -> SimulatedFile | None:
        parent, name = _split(path)
        self._check_held(parent)
        directory = self.directories.get(parent)
        return None if directory is None else directory.names.get(name)

    def _release(self, lock: SimulatedLock) -> None:
        with self._mutex:
            self._locks.pop(lock.file, None)
            for path in [path for path, held in self._held.items() if held is lock]:
                del self._held[path]


class _OtherProgram(SimulatedDisk):
    """Everything but the locks that it holds is the first program's."""

    def __init__(self, disk: SimulatedDisk) -> None:
        vars(self).update(_of=disk, _held={})

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_of"], name)

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(SimulatedDisk, name):  # a method that a test replaces, and restores, is only this program's
            super().__setattr__(name, value)
        else:
            setattr(vars(self)["_of"], name, value)


class _Call:
    """The context of every call: it counts the call, may make it fail, and allows a crash after it. A class, since
    `contextmanager` costs as much as the call."""

    __slots__ = ("_disk", "_late", "_operation", "_path")

    def __init__(self, disk: SimulatedDisk, operation: str, path: str) -> None:
        self._disk = disk
        self._operation = operation
        self._path = path
        self._late: Fault | None = None

    def __enter__(self) -> None:
        disk = self._disk
        disk._mutex.acquire()
        try:
            disk.calls[self._operation] += 1
            for fault in disk.faults:
                if fault.taken is None and fault.strikes(self._operation):
                    if not fault.late:
                        _fail(fault, self._path)
                    self._late = fault
        except BaseException:
            disk._mutex.release()
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        disk = self._disk
        try:
            if kind is None:
                if disk.on_change is not None and self._operation in CHANGES:
                    disk.on_change(self._operation)
                if self._late is not None:
                    if self._operation == "lock":  # a caller that gets the error holds none
                        disk._release(disk._held[posixpath.dirname(self._path)])
                    _fail(self._late, self._path)
        finally:
            disk._mutex.release()


class SimulatedAppendFile:
    """A `flin.engine.disk.fs.AppendFile`."""

    def __init__(self, disk: SimulatedDisk, path: str, file: SimulatedFile) -> None:
        self.path = path
        self._disk = disk
        self._file: SimulatedFile | None = file
        disk.open_files.add(self)

    def append(self, data: Buffer) -> int:
        return self._disk._write(self._opened(), self.path, data)

    def sync(self) -> None:
        self._disk._sync(self._opened(), self.path)

    def close(self) -> None:
        self._file = None
        self._disk.open_files.discard(self)

    def _opened(self) -> SimulatedFile:
        if self._file is None:
            _refuse(errno.EBADF, self.path)
        return self._file


class SimulatedSegmentFile(SimulatedAppendFile):
    """A `flin.engine.disk.fs.SegmentFile`."""

    def write(self, data: Buffer, offset: int) -> int:
        return self._disk._write(self._opened(), self.path, data, offset)

    def map_window(self, offset: int, size: int) -> Window | None:
        window_bytes = self._disk.window_bytes
        if size > window_bytes // 4:  # as on the real disk
            return None
        file = self._opened()
        start, stop = offset, offset + window_bytes
        missing = stop - len(file.content)
        if missing > 0 and self._disk._write(file, self.path, bytes(missing), operation="extend") < missing:
            _refuse(errno.ENOSPC, self.path)
        return Window(SimulatedView(self._disk, self.path, file, start), start, stop)


class SimulatedView:
    """The mapping of a window; closing it changes nothing on the disk."""

    def __init__(self, disk: SimulatedDisk, path: str, file: SimulatedFile, start: int) -> None:
        self._disk = disk
        self._path = path
        self._file: SimulatedFile | None = file
        self._start = start

    def __setitem__(self, where: slice, data: bytes | bytearray) -> None:
        assert self._file is not None, "the window is closed"
        assert where.stop - where.start == len(data)
        self._disk._copy(self._file, self._path, data, self._start + where.start)

    def close(self) -> None:
        self._file = None


class SimulatedReadableFile:
    """A `flin.engine.disk.fs.ReadableFile`; it sees later appends, and outlives its name."""

    def __init__(self, disk: SimulatedDisk, path: str, file: SimulatedFile) -> None:
        self.path = path
        self._disk = disk
        self._file: SimulatedFile | None = file
        disk.open_files.add(self)

    def size(self) -> int:
        with self._disk._call("size", self.path):
            return len(self._opened().content)

    def pread(self, size: int, offset: int) -> bytes:
        with self._disk._call("pread", self.path):
            return bytes(self._opened().content[offset : offset + size])

    def pread_nowait(self, size: int, offset: int) -> bytes | None:
        with self._disk._call("pread_nowait", self.path):
            data = bytes(self._opened().content[offset : offset + size])
            return data if self._disk.resident and len(data) == size else None

    def will_need(self, size: int, offset: int) -> None:
        """Do nothing: what is read next decides."""

    def map(self) -> bytes:
        with self._disk._call("map", self.path):
            return bytes(self._opened().content)

    def close(self) -> None:
        self._file = None
        self._disk.open_files.discard(self)

    def _opened(self) -> SimulatedFile:
        if self._file is None:
            _refuse(errno.EBADF, self.path)
        return self._file


class SimulatedLock:
    """A lock that is held until it is released; a crash releases it, as the end of a process does."""

    def __init__(self, disk: SimulatedDisk, directory: SimulatedDirectory, name: str) -> None:
        self.file = directory.names[name]
        self.on_lost: Callable[[], None] = lambda: None
        self._disk = disk
        self._directory = directory
        self._name = name

    def is_in_place(self, found: SimulatedDirectory | None) -> bool:
        """Whether the directory now at its path is the one that was locked, with the same lock file."""
        return found is self._directory and found.names.get(self._name) is self.file

    def release(self) -> None:
        self._disk._release(self)


@lru_cache(maxsize=1024)  # a fifth of a crash test's time otherwise
def _normal(path: str) -> str:
    return posixpath.normpath(posixpath.join("/", path))


@lru_cache(maxsize=1024)
def _split(path: str) -> tuple[str, str]:
    """The directory of a path and the name in it, which is empty for the root alone."""
    return posixpath.split(_normal(path))


def _fail(fault: Fault, path: str) -> NoReturn:
    if fault.error is not None:
        raise fault.error(path)
    _refuse(fault.code, path)


def _refuse(code: int, path: str) -> NoReturn:
    raise OSError(code, os.strerror(code), path)
