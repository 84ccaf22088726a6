"""A view of a disk for readers of a database that another process writes: it changes nothing, and takes no lock.

The writer removes files that its newest manifest does not name, whoever reads them. So a reader pins them: a pinned
file stays open, and whoever opens its path later gets the same file, though its name may be gone.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final, NoReturn

from flin.engine.disk.fs import AppendFile, DirectoryLock, FileSystem, ReadableFile, SegmentFile

LISTINGS: Final = 10
"""The most listings until two are equal. One alone may lack a file that was there all the time under one name or
another: its writer made the second while the first was listed, and then removed that."""


class NoLock:
    """A lock that holds nothing and keeps nobody out."""

    def __init__(self) -> None:
        self.on_lost: Callable[[], None] = lambda: None

    def release(self) -> None:
        """Do nothing: there is nothing to release."""


class SharedFile:
    """A pinned file for one more reader, who closes only this handle."""

    __slots__ = ("_file", "map", "path", "pread", "pread_nowait", "size", "will_need")

    def __init__(self, file: ReadableFile) -> None:
        self._file: ReadableFile | None = file
        self.path = file.path
        self.size = file.size
        self.pread = file.pread
        self.pread_nowait = file.pread_nowait
        self.will_need = file.will_need
        self.map = file.map

    def close(self) -> None:
        self._file = None


class ReadOnlyFileSystem:
    """A FileSystem whose calls that would change something raise OSError with EROFS."""

    def __init__(self, fs: FileSystem) -> None:
        self._fs: Final = fs
        self._pinned: dict[str, ReadableFile] = {}

    def pin(self, path: str) -> None:
        """Keep the file open. FileNotFoundError if it is gone."""
        if path not in self._pinned:
            self._pinned[path] = self._fs.open(path)

    def unpin_unless(self, holds: Callable[[str], bool]) -> None:
        """Let go of the files whose names nobody holds; whoever still reads one keeps it."""
        self._pinned = {path: file for path, file in self._pinned.items() if holds(path.rpartition("/")[2])}

    @property
    def pinned(self) -> int:
        """How many files are pinned, each of which takes a descriptor."""
        return len(self._pinned)

    def open(self, path: str) -> ReadableFile:
        pinned = self._pinned.get(path)
        return self._fs.open(path) if pinned is None else SharedFile(pinned)

    def is_file(self, path: str) -> bool:
        return path in self._pinned or self._fs.is_file(path)

    def file_size(self, path: str) -> int:
        pinned = self._pinned.get(path)
        return self._fs.file_size(path) if pinned is None else pinned.size()

    def names(self, directory: str) -> list[str]:
        """The names as of one moment: listed until nothing changes meanwhile."""
        found = self._fs.names(directory)
        for _ in range(LISTINGS):
            before, found = found, self._fs.names(directory)
            if found == before:
                break
        return found

    def free_bytes(self, directory: str) -> int:
        return self._fs.free_bytes(directory)

    def check_directory(self, directory: str) -> None:
        """Do nothing: nothing is written into it."""

    def lock(self, path: str, holder: bytes) -> DirectoryLock | bytes:
        return NoLock()

    # What would change something.

    def create(self, path: str) -> AppendFile:
        _refuse(path)

    def create_segment(self, path: str) -> SegmentFile:
        _refuse(path)

    def rename(self, old: str, new: str) -> None:
        _refuse(old)

    def link(self, old: str, new: str) -> None:
        _refuse(new)

    def remove(self, path: str) -> None:
        _refuse(path)

    def sync_file(self, path: str) -> None:
        _refuse(path)

    def sync_directory(self, directory: str) -> None:
        _refuse(directory)

    def make_directory(self, path: str) -> None:
        _refuse(path)


def _refuse(path: str) -> NoReturn:
    raise OSError(errno.EROFS, "the database was opened with read_only=True", path)
