"""A file system in memory: `flin.engine.open(":memory:")`, and what offline commands write over a directory on disk.

Nothing outlives the object. All calls are safe from any thread: each changes one thing, by one operation of a dict or
of a buffer.
"""

from __future__ import annotations

import errno
import posixpath
import sys
from collections.abc import Callable
from typing import Final

from flin.engine.disk.fs import Buffer, DirectoryLock, Mapped, ReadableFile

MEMORY: Final = ":memory:"
"""The path of a database without files, as sqlite3 calls it."""


class Content:
    """The bytes of one file: a bytearray while it is written, bytes once somebody has mapped all of it."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data: bytes | bytearray = bytearray()

    def growing(self) -> bytearray:
        if not isinstance(self.data, bytearray):
            self.data = bytearray(self.data)
        return self.data

    def whole(self) -> bytes:
        """All of it, without a second copy that stays."""
        if not isinstance(self.data, bytes):
            self.data = bytes(self.data)
        return self.data


class MemoryFile:
    """An open file, for appending, writing and reading: what was written can be read at once."""

    def __init__(self, path: str, content: Content) -> None:
        self.path = path
        self._content: Final = content
        self.append: Callable[[Buffer], int] = self._append

    def _append(self, data: Buffer) -> int:
        self._content.growing().extend(data)
        return len(data)

    def write(self, data: Buffer, offset: int) -> int:
        self._content.growing()[offset : offset + len(data)] = data
        return len(data)

    def map_window(self, offset: int, size: int) -> None:
        """Map nothing: no kernel keeps this memory when the process ends."""

    def sync(self) -> None:
        """Do nothing: there is no disk below."""

    def size(self) -> int:
        return len(self._content.data)

    def pread(self, size: int, offset: int) -> bytes:
        return bytes(self._content.data[offset : offset + size])

    def pread_nowait(self, size: int, offset: int) -> bytes | None:
        return self.pread(size, offset)

    def will_need(self, size: int, offset: int) -> None:
        """Do nothing: all of it is in memory."""

    def map(self) -> Mapped:
        return self._content.whole()

    def close(self) -> None:
        """Do nothing: nothing is held open."""


class MemoryLock:
    """A lock of one path in a MemoryFileSystem."""

    def __init__(self, holders: dict[str, bytes], path: str) -> None:
        self.on_lost: Callable[[], None] = lambda: None  # never called: nobody can take the directory away
        self._holders = holders
        self._path = path
        self._is_held = True

    def release(self) -> None:
        if self._is_held:
            self._is_held = False
            self._holders.pop(self._path, None)


class MemoryFileSystem:
    """A FileSystem. Each object is a disk of its own, with the directories that were made on it."""

    def __init__(self) -> None:
        self.files: Final[dict[str, Content]] = {}
        self._directories: Final[set[str]] = set()
        self._holders: Final[dict[str, bytes]] = {}

    def create(self, path: str) -> MemoryFile:
        content = Content()
        if self.files.setdefault(path, content) is not content:
            raise FileExistsError(errno.EEXIST, "File exists", path)
        return MemoryFile(path, content)

    def create_segment(self, path: str) -> MemoryFile:
        return self.create(path)

    def open(self, path: str) -> ReadableFile:
        return MemoryFile(path, self._content(path))

    def rename(self, old: str, new: str) -> None:
        self.files[new] = self._content(old)
        del self.files[old]

    def link(self, old: str, new: str) -> None:
        if self.files.setdefault(new, self._content(old)) is not self._content(old):
            raise FileExistsError(errno.EEXIST, "File exists", new)

    def remove(self, path: str) -> None:
        self._content(path)
        del self.files[path]

    def names(self, directory: str) -> list[str]:
        if directory not in self._directories:
            raise _absent(directory)
        return self.names_in(directory)

    def names_in(self, directory: str) -> list[str]:
        """The names of files there, made or not: paths need no directory here."""
        return sorted(name for parent, name in map(posixpath.split, list(self.files)) if parent == directory)

    def is_file(self, path: str) -> bool:
        return path in self.files

    def file_size(self, path: str) -> int:
        return len(self._content(path).data)

    def sync_file(self, path: str) -> None:
        """Do nothing: nothing can be lost."""

    def sync_directory(self, directory: str) -> None:
        """Do nothing: nothing can be lost."""

    def check_directory(self, directory: str) -> None:
        """Do nothing: nobody else can reach it."""

    def make_directory(self, path: str) -> None:
        self._directories.add(path)

    def free_bytes(self, directory: str) -> int:
        """No limit but the memory of the process, which nobody knows."""
        return sys.maxsize

    def lock(self, path: str, holder: bytes) -> DirectoryLock | bytes:
        held = self._holders.setdefault(path, holder)
        if held is not holder:
            return held
        return MemoryLock(self._holders, path)

    def _content(self, path: str) -> Content:
        content = self.files.get(path)
        if content is None:
            raise _absent(path)
        return content


def _absent(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "No such file or directory", path)
