"""The target of a resize while it is made: all of it lies in one directory inside, and is moved out at the end.

    TARGET/resize-unfinished/   a database, or a directory of groups
    TARGET/...                  the same files, moved; that which makes them a whole, MANIFEST or groups.json, last

So whatever interrupts it, TARGET is refused by all who open it (engine/tree/opening.py, groups.py) or it is complete.
An unfinished one stays as it is: an empty directory would be taken for that of a new database.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from flin.cluster.workers.groups import create_groups
from flin.engine.disk.file_name import GROUPS, MANIFEST, UNFINISHED
from flin.engine.disk.fs import FileSystem, join
from flin.errors import StorageError


class Staging:
    """A target. `begin` it, fill the databases in the directories, close them, `finish`."""

    def __init__(
        self, target: str, workers: int, fs: FileSystem, remove_directory: Callable[[str], None] = os.rmdir
    ) -> None:
        """workers: 1: the target is a database by itself. remove_directory: removes an empty one."""
        self._target: Final = target
        self._inside: Final = join(target, UNFINISHED)
        self.workers: Final = workers
        self._fs: Final = fs
        self._remove_directory: Final = remove_directory
        self._directories: list[str] = []

    def begin(self) -> list[str]:
        """The directories of the databases, which are empty. StorageError if the disk refuses them."""
        if self.workers > 1:
            self._directories = [str(each.directory) for each in create_groups(self._inside, self.workers, self._fs)]
            return self._directories
        try:
            self._fs.make_directory(self._inside)
        except OSError as error:
            raise StorageError("create", self._inside, error) from error
        return [self._inside]

    def finish(self) -> None:
        """Move all to its place, durably. StorageError if the disk refuses: then it is still unfinished."""
        try:
            for directory in self._directories:
                place = join(self._target, os.path.basename(directory))
                self._fs.make_directory(place)
                self._move(directory, place, self._fs.names(directory))
            last = GROUPS if self._directories else MANIFEST
            self._move(self._inside, self._target, [name for name in self._files() if name != last])
            self._move(self._inside, self._target, [last])
            for directory in (*self._directories, self._inside):
                self._remove_directory(directory)
        except OSError as error:
            raise StorageError("finish", self._target, error) from error

    def _files(self) -> list[str]:
        names = self._fs.names(self._inside)
        return [name for name in names if self._fs.is_file(join(self._inside, name))]

    def _move(self, source: str, target: str, names: list[str]) -> None:
        for name in names:
            self._fs.rename(join(source, name), join(target, name))
        self._fs.sync_directory(target)
