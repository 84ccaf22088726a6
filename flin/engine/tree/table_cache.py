"""The tables and value files of the versions in use, and the removal of obsolete files.

A file is removed when the last state that names it is gone: then the file object that its tables share, or that the
runs of its versions hold, is freed, too, and leaves its name in a queue. `remove_obsolete` empties the queue, outside
any lock.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable

from flin.engine.catalog.version import ValueFile, Version
from flin.engine.disk.file_name import maybe_parse
from flin.engine.disk.fs import FileSystem, join
from flin.engine.disk.open_files import OPEN_FILES, OpenFiles, TableFile
from flin.engine.disk.sealed_files import SealedFileSystem
from flin.engine.read.read_state import OpenRuns, TableRun
from flin.engine.sstable import Table
from flin.engine.table.block_cache import BlockCache
from flin.engine.table.meta import TableMeta
from flin.engine.table.sealed_values import SealedValueFiles, value_file_of
from flin.engine.table.value_files import OpenValueFile, ValueFiles
from flin.engine.tree.index_memory import IndexMemory
from flin.errors import CorruptionError, StorageError


class TableCache:
    """Makes the tables of new versions, each once; they are opened at their first read. Called under the edit lock."""

    def __init__(self, fs: FileSystem, directory: str, cache: BlockCache, files: OpenFiles = OPEN_FILES) -> None:
        self._fs = fs
        self._open_files = files
        self.memory = IndexMemory(files, cache)
        self._directory = directory
        self.block_cache = cache
        self._tables: dict[tuple[str, int], Table] = {}
        self._made_files = SealedValueFiles if isinstance(fs, SealedFileSystem) else ValueFiles
        self.value_files = ValueFiles()
        """Those of the newest version, by the numbers that pointers have. Replaced with each version, never changed."""
        self._files: weakref.WeakValueDictionary[str, TableFile] = weakref.WeakValueDictionary()
        self._wanted: set[str] = set()  # files of the newest version
        self._gone: deque[str] = deque()  # names of files that no state holds any more
        self._pinned: tuple[frozenset[str], ...] = ()  # those of captures; replaced, never changed
        self.wal_floor = 0
        """That of the newest manifest. Segments from it on are the WAL's: an edit that failed had opened some as value
        files, which leaves them in `_gone`."""
        self._removed_below = 0  # the floor up to which segments were removed
        self._keeps_files = False
        self.retained: Callable[[], set[str]] = set
        """Gives the segments that must stay, though they are flushed."""

    def runs_of(self, version: Version) -> OpenRuns:
        """The version's runs; its value files are in `value_files` now. Tables of earlier versions that are not in it
        are dropped, all at once: the sweep lists the tables meanwhile.

        CorruptionError if a file is missing."""
        tables: dict[tuple[str, int], Table] = {}
        runs = tuple(
            tuple(TableRun([self._open(table, tables) for table in run]) for run in shard) for shard in version.shards
        )
        value_files = self._made_files({each.number: self._value_file(each) for each in version.value_files})
        self._tables, self.value_files = tables, value_files
        self._wanted = version.files()
        return runs

    def holds(self, name: str) -> bool:
        """Whether the newest version, any state or a capture names this file."""
        return name in self._wanted or name in self._files or any(name in names for names in self._pinned)

    def pin(self, names: Iterable[str]) -> frozenset[str]:
        """Keep these files until `unpin`, whatever becomes of their version and of the WAL. Live segments may be among
        them."""
        pinned = frozenset(names)
        self._pinned = (*self._pinned, pinned)
        return pinned

    @property
    def is_pinned(self) -> bool:
        """Whether there is a pin."""
        return bool(self._pinned)

    def unpin(self, pinned: frozenset[str]) -> None:
        """End a pin, under the edit lock. What became obsolete meanwhile is removed by the next `remove_obsolete`."""
        self._pinned = tuple(names for names in self._pinned if names is not pinned)
        self._gone.extend(pinned)

    def keep_files(self) -> None:
        """Remove no file any more, since it is unknown which version counts; the next open does it."""
        self._keeps_files = True

    def remove_obsolete(self) -> list[str]:
        """Remove obsolete files, and their blocks from the cache. Returns the names of files that could not be removed
        (the next open tries).

        A flush leaves this to other threads, since writers may be waiting for the next one: to remove its segments
        takes 8 ms."""
        self.block_cache.drop_gone()
        floor = self.wal_floor  # it is that of a durable manifest
        is_due = floor > self._removed_below and not self._keeps_files
        try:
            retained = self.retained() if is_due or self._gone else set()
        except OSError:
            return []  # the next call tries again
        if is_due and remove_segments(
            self._fs, self._directory, floor, lambda name: name in retained or self.holds(name)
        ):
            self._removed_below = floor
        failed: list[str] = []
        while not self._keeps_files:
            try:
                name = self._gone.popleft()
            except IndexError:  # empty: another thread may have been faster
                break
            if self.holds(name) or name in retained or self._is_live_segment(name):
                continue
            try:
                self._fs.remove(join(self._directory, name))
            except FileNotFoundError:
                continue
            except OSError:
                failed.append(name)
        return failed

    def _is_live_segment(self, name: str) -> bool:
        parsed = maybe_parse(name)
        return parsed is not None and parsed.role == "wal" and parsed.number >= self.wal_floor

    def memory_bytes(self) -> int:
        """Bytes of memory of the indexes that were read so far."""
        return self.memory.used_bytes()

    @property
    def obsolete_files(self) -> int:
        """The number of obsolete files that are not removed yet."""
        return len(self._gone)

    def tables(self) -> list[Table]:
        return list(self._tables.values())

    def close(self) -> None:
        """Drop every table, before the directory is released. Readers that still hold a state go on with open tables;
        the others raise ClosedError."""
        self._tables = {}
        self.value_files = ValueFiles()
        for file in list(self._files.values()):
            file.end()

    def _open(self, meta: TableMeta, tables: dict[tuple[str, int], Table]) -> Table:
        """The table, which joins the new ones."""
        key = (meta.file, meta.offset)
        table = self._tables.get(key)
        if table is None:
            table = Table(self._file(meta.file), meta, self.block_cache, self.memory)
        tables[key] = table
        return table

    def _file(self, name: str) -> TableFile:
        file = self._files.get(name)
        if file is None:
            file = TableFile(self._fs, self._path_of(name), self._open_files)
            self._note(name, file)
        return file

    def _value_file(self, value_file: ValueFile) -> OpenValueFile:
        name = value_file.file
        file = self._files.get(name)
        if not isinstance(file, OpenValueFile):
            file = value_file_of(self._fs, self._path_of(name), self._open_files, length=value_file.length)
            self._note(name, file)
        return file

    def _note(self, name: str, file: TableFile) -> None:
        weakref.finalize(file, self._gone.append, name).atexit = False
        self._files[name] = file

    def _path_of(self, name: str) -> str:
        """The path of a file that must be there."""
        path = join(self._directory, name)
        try:
            if not self._fs.is_file(path):
                raise CorruptionError(path, 0, "the manifest names this file, and there is no such regular file")
        except OSError as error:
            raise StorageError("look for", path, error) from error
        return path


def missing_bytes(fs: FileSystem, directory: str, version: Version) -> None:
    """CorruptionError if a file of the version is missing, or shorter than what it should hold: a mapping beyond its
    end would kill the interpreter, and a value beyond it is lost."""
    ends = {each.file: each.length for each in version.value_files}
    for meta in (table for runs in version.shards for run in runs for table in run):
        ends[meta.file] = max(ends.get(meta.file, 0), meta.offset + meta.length)
    for name, end in ends.items():
        path = join(directory, name)
        try:
            size = fs.file_size(path)
        except (FileNotFoundError, IsADirectoryError) as error:
            text = "the manifest names this file, and there is no such regular file"
            raise CorruptionError(path, 0, text) from error
        if size < end:
            raise CorruptionError(path, size, f"the file is {size} bytes long, the manifest says {end}")


def remove_segments(fs: FileSystem, directory: str, floor: int, holds: Callable[[str], bool]) -> bool:
    """Remove the WAL segments below the floor, except value files, which go with the last state that holds them.
    Returns whether none stays that should go; the next call, or the next open, tries again."""
    is_done = True
    try:
        names = fs.names(directory)
    except OSError:
        return False
    for name in names:
        parsed = maybe_parse(name)
        if parsed is not None and parsed.role == "wal" and parsed.number < floor and not holds(name):
            try:
                fs.remove(join(directory, name))
            except FileNotFoundError:  # another thread was faster
                continue
            except OSError:
                is_done = False
    return is_done
