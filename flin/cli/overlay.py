"""A view of a database's directory that an engine can open and that changes nothing: its writes stay in memory.

`flin check`, `flin stats` and `flin resize` use it. It locks the directory as a reader, without writing into the lock
file, so that no engine opens the directory meanwhile, but several such views may.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flin.engine import Engine
from flin.engine import open as open_engine
from flin.engine.disk.descriptor import above_standard
from flin.engine.disk.file_name import REPLICA
from flin.engine.disk.fs import DirectoryLock, OsFileSystem, ReadableFile
from flin.engine.disk.memory_fs import MemoryFile, MemoryFileSystem


class SharedLock:
    """A shared flock on a descriptor that cannot write; none if no engine was ever open."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self.on_lost: Callable[[], None] = lambda: None  # never called: nothing is written

    def release(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)


class OverlayFileSystem:
    """A FileSystem: reads fall through to the disk, changes do not."""

    def __init__(self) -> None:
        self._disk = OsFileSystem()
        self._written = MemoryFileSystem()
        self._removed: set[str] = set()

    def create(self, path: str) -> MemoryFile:
        if self._on_disk(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        return self._written.create(path)

    def create_segment(self, path: str) -> MemoryFile:
        return self.create(path)

    def open(self, path: str) -> ReadableFile:
        if self._written.is_file(path):
            return self._written.open(path)
        if path in self._removed:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self._disk.open(path)

    def rename(self, old: str, new: str) -> None:
        """Rename a file that was written here: an engine renames no others."""
        self._written.rename(old, new)

    def remove(self, path: str) -> None:
        if self._on_disk(path):
            self._removed.add(path)
            if not self._written.is_file(path):
                return
        self._written.remove(path)

    def link(self, old: str, new: str) -> None:
        """Refuse: what is in memory and what is on the disk cannot be one file."""
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), new)

    def names(self, directory: str) -> list[str]:
        on_disk = {name for name in self._disk.names(directory) if os.path.join(directory, name) not in self._removed}
        return sorted(on_disk.union(self._written.names_in(directory)) - {REPLICA})  # whatever it is, it can be read

    def is_file(self, path: str) -> bool:
        return self._written.is_file(path) or (path not in self._removed and self._disk.is_file(path))

    def file_size(self, path: str) -> int:
        if self._written.is_file(path):
            return self._written.file_size(path)
        if path in self._removed:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self._disk.file_size(path)

    def sync_file(self, path: str) -> None:
        """Do nothing: nothing can be lost."""

    def sync_directory(self, directory: str) -> None:
        """Do nothing: nothing can be lost."""

    def check_directory(self, directory: str) -> None:
        """Do nothing: nothing is written into it."""

    def make_directory(self, path: str) -> None:
        if not os.path.isdir(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def free_bytes(self, directory: str) -> int:
        return self._disk.free_bytes(directory)

    def lock(self, path: str, holder: bytes) -> DirectoryLock | bytes:
        try:
            fd = above_standard(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
        except FileNotFoundError:
            return SharedLock(None)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(fd, 4096, 0)
            os.close(fd)
            return text
        return SharedLock(fd)

    def _on_disk(self, path: str) -> bool:
        return path not in self._removed and os.path.lexists(path)


@contextmanager
def open_unchanged(directory: str, memory_limit: int = 256 << 20, key: bytes | None = None) -> Iterator[Engine]:
    """An engine over the directory, which changes no file. Raises what `flin.engine.open` raises. `key`: that of an
    encrypted database. A replica is shown as its files are, with a warning."""
    if os.path.lexists(os.path.join(directory, REPLICA)):
        print(f"flin: warning: {directory} is a replica, shown without what only its log holds", file=sys.stderr)
    engine = open_engine(
        directory,
        create=False,
        runner="inline",
        sync="never",
        memory_limit=memory_limit,
        encryption_key=key,
        fs=OverlayFileSystem(),
    )
    try:
        yield engine
    finally:
        engine.close(flush=False)
