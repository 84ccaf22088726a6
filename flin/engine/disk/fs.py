"""The seam to the disk: every file-system call of the engine goes through a FileSystem.

Tests put a simulated disk in its place (`flin.testing`). The methods raise OSError as the operating system does;
callers turn it into StorageError where they know what it means. Paths are plain strings.

Two rules hold for the real disk:

- No file of a database has descriptor 0, 1 or 2. A program may be started without its standard streams, and what a
  library prints goes to these numbers all the same: into the WAL, if that has one of them.
- A locked directory is a directory, not a path. Files in it are named relative to the descriptor that the lock holds,
  and each call first checks that the lock file is still there. Somebody may remove the directory and make it anew while
  the database is open: then another database is at the path, and nothing of it is touched.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import mmap
import os
import resource
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from flin.engine.disk.descriptor import STANDARD_ERROR, above_standard, in_room, open_directory, open_file
from flin.engine.disk.directory_lock import DIRECTORY_LOST, LOCK_ATTEMPTS, HeldDirectory, OsDirectoryLock

Mapped: TypeAlias = bytes | mmap.mmap
"""A file's bytes, read-only; slices of both are bytes."""

WINDOW_BYTES: Final = 1 << 18
"""Bytes of a segment that are mapped at once. Measured with frames of 165 B: 415 ns each, the zeros and the mapping
included; with 64 KiB 520, with 1 MiB 535, through write(2) 1,250. A window costs 0.1 ms, which is not noticed."""

LARGE_BYTES: Final = WINDOW_BYTES // 4
"""More bytes than this are written by a call: the zeros of a window would cost as much. Fits after any page's start."""

OVERWRITING: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "tmpfs"})
"""File systems that rewrite a block in place. One that copies (btrfs, ZFS, f2fs) may need room for that, and answer a
mapped write with SIGBUS; network file systems have rules of their own."""

AnyPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

NO_LINK: Final = frozenset((errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))
"""Why a file gets no second name: another device, a file system without links, another owner's file, too many names."""

Buffer: TypeAlias = bytes | bytearray | memoryview | mmap.mmap


class AppendFile(Protocol):
    """A new file, written from its beginning to its end and never changed afterwards."""

    @property
    def path(self) -> str: ...

    @property
    def append(self) -> Callable[[Buffer], int]:
        """Write once at the end. Returns the number of bytes taken, which may be fewer than were given."""

    def sync(self) -> None:
        """Make the data durable (not the name: see FileSystem.sync_directory)."""

    def close(self) -> None: ...


class MappedBytes(Protocol):
    """A writable mapping of a file."""

    def __setitem__(self, where: slice, data: bytes | bytearray, /) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a file that is mapped for writing: the kernel has what is copied into it, so it survives a kill."""

    bytes: MappedBytes
    start: int  # offsets in the file
    stop: int


class SegmentFile(Protocol):
    """A WAL segment under way: written at offsets that only grow, by calls or by copies into a mapped window."""

    @property
    def path(self) -> str: ...

    @property
    def write(self) -> Callable[[Buffer, int], int]:
        """Write once at an offset. Returns the number of bytes taken, which may be fewer than were given."""

    def map_window(self, offset: int, size: int) -> Window | None:
        """A window with room for `size` bytes at the offset; zeros lie after what was written. None if so large a frame
        is better written, or nothing should be mapped. OSError if there is no room; at most zeros were written then."""

    def sync(self) -> None:
        """Make the data durable, that of windows included."""

    def close(self) -> None: ...


class ReadableFile(Protocol):
    """A finished file, or one that another process or thread appends to."""

    @property
    def path(self) -> str: ...

    def size(self) -> int: ...

    def pread(self, size: int, offset: int) -> bytes:
        """Up to size bytes; fewer only at the end of the file."""

    def pread_nowait(self, size: int, offset: int) -> bytes | None:
        """What `pread` gives, if no disk read is needed; else None."""

    def will_need(self, size: int, offset: int) -> None:
        """Let the kernel read these bytes into memory meanwhile, if it can."""

    def map(self) -> Mapped:
        """The whole file, read-only, without reading it yet. An empty file gives empty bytes."""

    def close(self) -> None:
        """Close the file; mappings that were handed out stay valid."""


class DirectoryLock(Protocol):
    on_lost: Callable[[], None]
    """Called when a call finds the directory, or its lock file, removed or replaced: by any thread, under any locks."""

    def release(self) -> None: ...


class FileSystem(Protocol):
    """What the engine asks of the disk.

    In a directory whose lock it holds, every call raises OSError with ESTALE, and touches nothing, once the directory
    is no longer the one that was locked."""

    def create(self, path: str) -> AppendFile:
        """Create a new, empty file; FileExistsError if the name is taken."""

    def create_segment(self, path: str) -> SegmentFile:
        """What `create` does, for a segment of the WAL."""

    def open(self, path: str) -> ReadableFile: ...

    def rename(self, old: str, new: str) -> None:
        """Rename a file; replaces `new` if it exists. Atomic, durable after sync_directory."""

    def remove(self, path: str) -> None: ...

    def link(self, old: str, new: str) -> None:
        """Give a finished file a second name; FileExistsError if that is taken. Durable after sync_directory. OSError
        with one of NO_LINK where the file systems cannot: then copy."""

    def names(self, directory: str) -> list[str]:
        """The names in the directory, sorted."""

    def is_file(self, path: str) -> bool:
        """True for a regular file only: not for a link, a directory, a pipe."""

    def file_size(self, path: str) -> int:
        """The size of a regular file, in bytes, without opening it. FileNotFoundError if there is none."""

    def sync_file(self, path: str) -> None:
        """Make a finished file's data durable, by its name (recovery does not hold it open)."""

    def sync_directory(self, directory: str) -> None: ...

    def check_directory(self, directory: str) -> None:
        """Only the check that every other call makes first: is a locked directory still the one at its path?"""

    def make_directory(self, path: str) -> None:
        """Make a directory with its parents; no error if it exists, or another process makes it at the same time.
        Durable on return."""

    def free_bytes(self, directory: str) -> int: ...

    def lock(self, path: str, holder: bytes) -> DirectoryLock | bytes:
        """Hold the lock file until it is released or this process ends. If it is held, returns what its holder wrote
        into it."""


class _Descriptor:
    """The common part of files on the real disk: a descriptor that is closed once, at the latest with its owner."""

    _fd = -1  # for __del__, where opening fails

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class OsAppendFile(_Descriptor):
    def __init__(self, path: str, name: str = "", at: HeldDirectory | None = None) -> None:
        self.path = path
        self._fd = open_file(name or path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, _number(at))

    def append(self, data: Buffer) -> int:
        return os.write(self._fd, data)

    def sync(self) -> None:
        _sync_data(self._fd)


class OsSegmentFile(_Descriptor):
    """A segment on the real disk. Windows are made of zeros that were really written: in a hole on a full disk, or past
    the end of the file, a mapped write is SIGBUS, which kills the interpreter."""

    def __init__(self, path: str, maps: bool, name: str = "", at: HeldDirectory | None = None) -> None:
        self.path = path
        self._fd = open_file(name or path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _number(at))
        self._maps = maps
        self._size = 0

    def write(self, data: Buffer, offset: int) -> int:
        taken = os.pwrite(self._fd, data, offset)
        self._size = max(self._size, offset + taken)
        return taken

    def map_window(self, offset: int, size: int) -> Window | None:
        if not self._maps or size > LARGE_BYTES:
            return None
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        stop = start + WINDOW_BYTES
        while self._size < stop:
            if not self.write(_ZEROS[: stop - self._size], self._size):
                raise OSError(errno.ENOSPC, "the file takes no more bytes", self.path)
        leave_standard_numbers()
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        view = in_room(
            lambda: mmap.mmap(self._fd, WINDOW_BYTES, mmap.MAP_SHARED, protection, offset=start, **_UNTRACKED)
        )
        with suppress(OSError):  # a kernel before 5.14 does not know it: then the pages come one by one
            view.madvise(_MADV_POPULATE_WRITE)
        return Window(view, start, stop)

    def sync(self) -> None:
        _sync_data(self._fd)


class OsReadableFile(_Descriptor):
    def __init__(self, path: str, name: str = "", at: HeldDirectory | None = None) -> None:
        self.path = path
        self._fd = open_file(name or path, os.O_RDONLY, _number(at))

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def pread(self, size: int, offset: int) -> bytes:
        data = os.pread(self._fd, size, offset)
        if len(data) == size or not data:
            return data
        parts = [data]
        got = len(data)
        while got < size:  # Linux reads at most 2 GiB at once, and a signal may cut a read short
            data = os.pread(self._fd, size - got, offset + got)
            if not data:
                break
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def pread_nowait(self, size: int, offset: int) -> bytes | None:
        if _RWF_NOWAIT is None:
            return None
        buffer = bytearray(size)
        try:
            got = os.preadv(self._fd, [buffer], offset, _RWF_NOWAIT)
        except OSError as error:
            # EAGAIN: the read would wait. EOPNOTSUPP: on this file system every read may wait.
            if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
                return None
            raise
        return bytes(buffer) if got == size else None

    def will_need(self, size: int, offset: int) -> None:
        if _will_need is not None:
            _will_need(self._fd, offset, size, os.POSIX_FADV_WILLNEED)

    def map(self) -> Mapped:
        size = self.size()
        if not size:
            return b""
        leave_standard_numbers()
        return in_room(lambda: mmap.mmap(self._fd, size, access=mmap.ACCESS_READ, **_UNTRACKED))


class OsFileSystem:
    """The real disk."""

    def __init__(self) -> None:
        self.held: dict[str, HeldDirectory] = {}  # locked here or, in a helper process, by its parent

    def create(self, path: str) -> OsAppendFile:
        return OsAppendFile(path, *self._at(path))

    def create_segment(self, path: str) -> OsSegmentFile:
        name, at = self._at(path)
        return OsSegmentFile(path, maps_safely(os.path.dirname(path)), name, at)

    def open(self, path: str) -> OsReadableFile:
        return OsReadableFile(path, *self._at(path))

    def rename(self, old: str, new: str) -> None:
        (old, source), (new, target) = self._at(old), self._at(new)
        os.replace(old, new, src_dir_fd=_number(source), dst_dir_fd=_number(target))

    def remove(self, path: str) -> None:
        name, at = self._at(path)
        os.unlink(name, dir_fd=_number(at))

    def link(self, old: str, new: str) -> None:
        (old, source), (new, target) = self._at(old), self._at(new)
        os.link(old, new, src_dir_fd=_number(source), dst_dir_fd=_number(target), follow_symlinks=False)

    def names(self, directory: str) -> list[str]:
        held = self._of(directory)
        if held is None:
            return sorted(os.listdir(directory))
        fd = open_directory(".", held.fd)  # its own descriptor: each has only one place where a listing goes on
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def is_file(self, path: str) -> bool:
        with suppress(FileNotFoundError, NotADirectoryError):
            self.file_size(path)
            return True
        return False

    def file_size(self, path: str) -> int:
        name, at = self._at(path)
        found = os.stat(name, dir_fd=_number(at), follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a regular file", path)
        return found.st_size

    def sync_file(self, path: str) -> None:
        name, at = self._at(path)
        fd = open_file(name, os.O_RDONLY, _number(at))
        try:
            _sync_data(fd)
        finally:
            os.close(fd)

    def sync_directory(self, directory: str) -> None:
        """Sync a locked directory without opening it: it must work in a process that has just run out of files."""
        held = self._of(directory) or HeldDirectory(open_directory(directory))
        os.fsync(held.fd)

    def check_directory(self, directory: str) -> None:
        self._of(directory)

    def make_directory(self, path: str) -> None:
        path = os.path.abspath(path)
        missing = []
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for directory in reversed(missing):
            try:
                os.mkdir(directory)
            except FileExistsError:
                if not os.path.isdir(directory):
                    raise
            # The process that was faster may not have synced it yet, and this one promises it, too.
            self.sync_directory(os.path.dirname(directory))

    def free_bytes(self, directory: str) -> int:
        held = self.held.get(directory)
        status = os.statvfs(directory if held is None else held.fd)
        return status.f_bavail * status.f_frsize

    def lock(self, path: str, holder: bytes) -> OsDirectoryLock | bytes:
        directory, name = os.path.split(path)
        for _ in range(LOCK_ATTEMPTS):
            lock = OsDirectoryLock(self.held, directory)
            try:
                taken = lock.take(name, holder)
            except BaseException:
                lock.release()
                raise
            if taken is True:
                return lock
            lock.release()
            if taken is not False:
                return taken
        raise OSError(errno.ESTALE, DIRECTORY_LOST, path)

    def _of(self, directory: str) -> HeldDirectory | None:
        held = self.held.get(directory)
        if held is not None:
            held.check(directory)
        return held

    def _at(self, path: str) -> tuple[str, HeldDirectory | None]:
        """The name of the file, and the directory that it is relative to (None: to nothing). Keep it for the call."""
        directory, name = os.path.split(path)
        held = self._of(directory)
        return (path, None) if held is None else (name, held)


def _number(at: HeldDirectory | None) -> int | None:
    return None if at is None else at.fd


def leave_standard_numbers() -> None:
    """Turn closed standard streams into /dev/null, before a mapping is made: that may copy its descriptor to the lowest
    free number, and the copy cannot be moved. Programs that are started now do not inherit them."""
    for number in range(STANDARD_ERROR + 1):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            if null > STANDARD_ERROR:  # another thread was faster
                os.close(null)


@functools.lru_cache(maxsize=64)  # a directory does not change its file system under an open database
def maps_safely(directory: str) -> bool:
    """Whether a mapped write to blocks that were written before needs no room and cannot be refused."""
    if not sys.platform.startswith("linux"):
        return False  # elsewhere an fsync need not cover mapped pages
    device = os.stat(directory).st_dev
    return _mounted().get(f"{os.major(device)}:{os.minor(device)}") in OVERWRITING


def _mounted() -> dict[str, str]:
    """The type of every mounted file system by its device, "major:minor"."""
    kinds: dict[str, str] = {}
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                before, _, after = line.partition(" - ")
                kinds[before.split()[2]] = after.split()[0]
    except OSError:
        return {}  # no /proc: nothing is known, so nothing is mapped
    return kinds


def append_all(file: AppendFile, data: Buffer) -> None:
    """Append everything, or raise OSError; the caller must deal with what a failed call left."""
    taken = file.append(data)
    if taken != len(data):
        rest = memoryview(data)[taken:]
        while rest:
            taken = file.append(rest)
            if not taken:
                raise OSError(errno.ENOSPC, "the file takes no more bytes", file.path)
            rest = rest[taken:]


def pipe() -> tuple[int, int]:
    """The end to read and the end to write of a pipe; neither has a standard stream's number."""
    reading, writing = in_room(os.pipe)
    return above_standard(reading), above_standard(writing)


def after_fork_in_child(action: Callable[[], None]) -> None:
    """Run the action in every child that this process forks."""
    os.register_at_fork(after_in_child=action)


def descriptor_limit() -> int:
    """The most files that this process may have open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def process_id() -> int:
    return os.getpid()


def host_name() -> str:
    return os.uname().nodename


def join(directory: str, name: str) -> str:
    return os.path.join(directory, name)


def absolute(path: AnyPath) -> str:
    """The absolute path. TypeError for what is no path; ValueError for an empty one, which would be the working
    directory."""
    name = os.fsdecode(path)
    if not name:
        raise ValueError("the path of a database is empty")
    return os.path.abspath(name)


# From CPython 3.13 on, a mapping need not keep a copy of its file's descriptor.
_UNTRACKED: Final[dict[str, Any]] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


# macOS: fsync leaves data in the drive's own cache; only F_FULLFSYNC empties that.
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None) if sys.platform == "darwin" else None
_MADV_POPULATE_WRITE: Final = 23  # from <linux/mman.h>; page faults one by one cost 0.1 µs more per put
_ZEROS: Final = bytes(WINDOW_BYTES)
_will_need: Final[Any] = getattr(os, "posix_fadvise", None)  # macOS has none
_RWF_NOWAIT: Final[int | None] = getattr(os, "RWF_NOWAIT", None)


def _sync_data(fd: int) -> None:
    if _FULL_SYNC is not None:
        fcntl.fcntl(fd, _FULL_SYNC)
    else:
        os.fdatasync(fd)
