"""Copies of a directory of groups: a directory of as many checkpoints or backups, and `groups.json`, which says of
what.

COPY/groups.json    as in the directory of groups
COPY/group-00/      of the first group's database: a checkpoint, or its backups
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from flin.cluster.workers.groups import Group, read_groups, write_groups
from flin.engine.backup.new_directory import NewDirectory
from flin.engine.disk.file_name import GROUPS
from flin.engine.disk.fs import FileSystem, OsFileSystem
from flin.errors import StorageError


def begin_group_backups(path: str, groups: Sequence[Group], fs: FileSystem | None = None) -> tuple[Group, ...]:
    """Make a directory of backups of these groups, or check that it is one. Returns them with their directories in it.
    StorageError if it is of others."""
    fs = fs or OsFileSystem()
    expected = tuple(replace(group, directory=Path(path, group.directory.name)) for group in groups)
    try:
        for group in expected:
            fs.make_directory(str(group.directory))
        if GROUPS in fs.names(path):
            if read_groups(path, fs) != expected:
                raise StorageError("back up into", path, "it has backups of other groups; name another directory")
            return expected
    except OSError as error:
        raise StorageError("back up into", path, error) from error
    write_groups(path, expected)
    return expected


def copy_groups(groups: Sequence[Group], path: str, copy: Callable[[Group, str], object]) -> None:
    """Make a directory of groups in one that is empty or absent; `copy` makes the database of each in the directory
    that it is given. Until all are there it is refused. StorageError."""
    target = NewDirectory(OsFileSystem(), path)
    target.begin()
    copies = tuple(replace(group, directory=Path(path, group.directory.name)) for group in groups)
    for group, new in zip(groups, copies, strict=True):
        copy(group, str(new.directory))
    write_groups(path, copies)
    try:
        target.end()
    except OSError as error:
        raise StorageError("finish", path, error) from error
