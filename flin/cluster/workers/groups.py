"""A directory of groups: one database for each range of slots, and `groups.json`, which says which.

    DIR/groups.json     {"flin_groups": 1,                                       the format's number
                         "groups": [{"id": "40 hexadecimal digits",              names its node to clients
                                     "first": 0, "last": 8191}, ...]}            its slots, last included
    DIR/group-00/       the database of the first group
    DIR/group-01/ ...
    DIR/LOCK            held by the process that works with all of them, such as the supervisor of a server

The file is written once, when the directory is made, after the databases' directories: who finds it knows that all of
them were there, so a missing one was lost. Ranges are in order and cover every slot; their number is fixed, since a
key's slot says where it lies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flin.engine.disk.file_name import (
    GROUPS,
    MANIFEST,
    UNFINISHED,
    UNFINISHED_COPY,
    group_name,
    is_group_name,
    maybe_parse,
)
from flin.engine.disk.fs import FileSystem, OsFileSystem, append_all, join
from flin.engine.options import Options, system_random_bytes
from flin.engine.tree.foreign import maybe_foreign
from flin.engine.tree.opening import open_directory, sealed_if_asked
from flin.errors import CorruptionError, FormatVersionError, StorageError
from flin.net.cluster.slots import SLOTS

FORMAT: Final = 1

_TEMPORARY: Final = GROUPS + ".tmp"

ID_BYTES: Final = 20
"""A node's id has 40 hexadecimal digits in Redis Cluster, and clients rely on it."""

MAX_FILE_BYTES: Final = 4 << 20
"""More than one group for each slot would take."""


@dataclass(frozen=True, slots=True)
class Group:
    """A range of slots, the last one included, and where its database is."""

    number: int
    id: str
    first: int
    last: int
    directory: Path


def read_groups(path: str | Path, fs: FileSystem | None = None) -> tuple[Group, ...]:
    """The groups of a directory; () if it is none (a database, an empty directory, or nothing).

    CorruptionError if the file is damaged or a group's directory is missing, FormatVersionError if a newer Flin wrote
    it, StorageError if it cannot be read, is unfinished, or if there is a database beside it."""
    fs = fs or OsFileSystem()
    directory = str(path)
    try:
        names = fs.names(directory)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise StorageError("read", directory, error) from error
    if GROUPS not in names:
        if UNFINISHED in names and MANIFEST not in names:
            raise StorageError(
                "use", directory, "`flin resize` or `flin import` has not finished it: remove it and begin again"
            )
        if UNFINISHED_COPY in names and MANIFEST not in names:
            raise StorageError("use", directory, "a copy into it was interrupted: remove it and copy again")
        return ()
    file = join(directory, GROUPS)
    groups = _decoded(_content(fs, file), file, directory)
    if MANIFEST in names:
        raise StorageError(
            "use", directory, f"it has both a database ({MANIFEST}) and groups ({GROUPS}): move away what is not meant"
        )
    missing = [group.directory.name for group in groups if group.directory.name not in names]
    if missing:
        raise CorruptionError(file, 0, f"it names {', '.join(missing)}, not found here: restore from a backup")
    return groups


def create_groups(path: str | Path, count: int, fs: FileSystem | None = None) -> tuple[Group, ...]:
    """Make a directory of so many groups, whose databases are empty. Durable when it returns; after a crash there are
    all of them or none, and it can be called again.

    ValueError unless each group can have a slot. StorageError if the directory holds a database already, or anything of
    one, or the disk refuses."""
    if not 1 <= count <= SLOTS:
        raise ValueError(f"{count} groups: there must be from 1 to {SLOTS}")
    fs = fs or OsFileSystem()
    directory = str(path)
    groups = _new_groups(directory, count)
    try:
        fs.make_directory(directory)
        if found := what_fills(fs, directory):
            raise StorageError("make groups in", directory, f"it holds {found}")
        for group in groups:
            fs.make_directory(str(group.directory))
        _write(fs, directory, _encoded(groups))
    except OSError as error:
        raise StorageError("make groups in", directory, error) from error
    return groups


def make_databases(groups: Sequence[Group], options: Options) -> None:
    """Make those of new groups, all before any of them is served. So if only some are there, the others were lost:
    StorageError, and what opening raises."""
    fs = options.fs
    try:
        empty = [group for group in groups if not _has_database(fs.names(str(group.directory)))]
    except OSError as error:
        raise StorageError("read", str(groups[0].directory.parent), error) from error
    if 0 < len(empty) < len(groups):
        raise StorageError(
            "serve",
            str(empty[0].directory),
            "its database is gone, while other groups have theirs: restore it from a backup (or, if this server was "
            f"never ready, remove {empty[0].directory.parent} and start again)",
        )
    for group in empty:
        open_directory(str(group.directory), sealed_if_asked(options)).lock.release()


def _has_database(names: list[str]) -> bool:
    """Or what is left of one, which whoever opens it reports."""
    return MANIFEST in names or any(parsed.role != "temporary" for name in names if (parsed := maybe_parse(name)))


def salvaged_groups(path: str | Path) -> tuple[Group, ...]:
    """Where `groups.json` is lost or damaged: the groups that `create_groups` has made, by the directories that are
    there; with new ids. () where the file is whole, or not all of them are numbered."""
    directory = str(path)
    try:
        if read_groups(path):
            return ()
    except (StorageError, CorruptionError) as error:
        if not str(error).endswith(_ADVICE):  # unfinished, or the file is whole and says which group is lost
            return ()
    names = {name for name in OsFileSystem().names(directory) if is_group_name(name)}
    groups = _new_groups(directory, len(names))
    return groups if names == {group.directory.name for group in groups} else ()


def write_groups(path: str, groups: tuple[Group, ...]) -> None:
    """Say, durably, that a directory holds the databases of these groups. StorageError."""
    try:
        _write(OsFileSystem(), path, _encoded(groups))
    except OSError as error:
        raise StorageError("make groups in", path, error) from error


def _write(fs: FileSystem, directory: str, data: bytes) -> None:
    temporary = join(directory, _TEMPORARY)
    with suppress(FileNotFoundError):  # of one that a crash has cut off
        fs.remove(temporary)
    file = fs.create(temporary)
    try:
        append_all(file, data)
        file.sync()
    finally:
        file.close()
    fs.rename(temporary, join(directory, GROUPS))
    fs.sync_directory(directory)


def _new_groups(directory: str, count: int) -> tuple[Group, ...]:
    return tuple(
        Group(number, system_random_bytes(ID_BYTES).hex(), *slots_of(number, count), _place(directory, number))
        for number in range(count)
    )


def slots_of(number: int, count: int) -> tuple[int, int]:
    """The first and the last slot of a group among so many: ranges as equal as can be.

    >>> slots_of(0, 3), slots_of(1, 3), slots_of(2, 3)
    ((0, 5460), (5461, 10921), (10922, 16383))
    """
    return number * SLOTS // count, (number + 1) * SLOTS // count - 1


def _place(directory: str, number: int) -> Path:
    return Path(directory, group_name(number))


def what_fills(fs: FileSystem, directory: str) -> str:
    """What keeps groups from being made there, if anything does; OSError. Empty directories are taken over, since an
    interrupted call may have left them. Other files do not matter, as beside a database: a disk of its own has a
    `lost+found`."""
    names = fs.names(directory)
    found = maybe_foreign(names)
    for name in names:
        place = join(directory, name)
        is_filled = is_group_name(name) and (fs.is_file(place) or fs.names(place))
        if is_filled or name in (GROUPS, MANIFEST, UNFINISHED, UNFINISHED_COPY) or maybe_parse(name):
            found = found or f"{name} of a database or of groups"
    return found or ""


def _content(fs: FileSystem, path: str) -> bytes:
    try:
        file = fs.open(path)
        try:
            return file.pread(MAX_FILE_BYTES, 0)
        finally:
            file.close()
    except OSError as error:
        raise StorageError("read", path, error) from error


def _encoded(groups: tuple[Group, ...]) -> bytes:
    rows = [{"id": group.id, "first": group.first, "last": group.last} for group in groups]
    return json.dumps({"flin_groups": FORMAT, "groups": rows}, indent=1).encode() + b"\n"


def _decoded(data: bytes, path: str, directory: str) -> tuple[Group, ...]:
    """Any bytes give groups that cover every slot, or CorruptionError or FormatVersionError."""
    try:
        content: Any = json.loads(data)
        number = content["flin_groups"]
        if type(number) is int and number > FORMAT:
            raise FormatVersionError(path, f"format {number}, of a newer Flin: this one reads {FORMAT}")
        groups = tuple(_group(directory, number, row) for number, row in enumerate(content["groups"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptionError(path, 0, f"it is no list of groups{_ADVICE}") from error
    edges = [(group.first, group.last + 1) for group in groups]
    is_whole = [first for first, _ in edges] + [SLOTS] == [0] + [after for _, after in edges]
    if type(number) is not int or number != FORMAT or not is_whole or any(first >= after for first, after in edges):
        raise CorruptionError(path, 0, f"its groups do not cover all slots once{_ADVICE}")
    if len({group.id for group in groups}) < len(groups):
        raise CorruptionError(path, 0, f"two of its groups have the same id{_ADVICE}")
    return groups


_ADVICE: Final = "; `flin repair` makes it anew, in a copy of all, or restore it from a backup"


def _group(directory: str, number: int, row: Any) -> Group:
    name, first, last = row["id"], row["first"], row["last"]
    if type(name) is not str or type(first) is not int or type(last) is not int:
        raise TypeError("a group is text and two whole numbers")
    if len(name) != 2 * ID_BYTES or bytes.fromhex(name).hex() != name:
        raise ValueError("an id has 40 hexadecimal digits")
    return Group(number, name, first, last, _place(directory, number))
