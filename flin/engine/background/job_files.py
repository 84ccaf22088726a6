"""The files of a job: tables that it reads, and outputs that are removed again unless the job succeeds.

Files are opened when they are first read and forgotten soon after: a job may name more tables than a process may hold
open, or than should be in memory with their filters and indexes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, overload

from flin.engine.boundaries import Boundaries
from flin.engine.catalog.version import Run
from flin.engine.disk.file_name import table_name, value_name
from flin.engine.disk.fs import AppendFile, FileSystem, append_all, join
from flin.engine.disk.open_files import OPEN_FILES, TableFile
from flin.engine.disk.sealed_files import SealedAppendFile
from flin.engine.entry import Page
from flin.engine.sstable import Table
from flin.engine.table.block_cache import BlockCache
from flin.engine.table.meta import TableMeta

COUNT_CACHE_BYTES: Final = 256 << 10
"""Keys are looked up in order, so only a few decoded blocks of each run are used again."""


class Input:
    """A table that is read once, from beginning to end, and then closed: with thousands of inputs, a job's memory has
    no room for the filters and indexes of those that are done."""

    def __init__(self, fs: FileSystem, directory: str, meta: TableMeta) -> None:
        self.meta = meta
        self._file = TableFile(fs, join(directory, meta.file), maps=False)

    def deleted(self) -> Boundaries:
        """The boundaries of its range deletes."""
        try:
            return self._table().deleted
        finally:
            self.close()

    def pages(self) -> Iterator[Page]:
        """All entries, with large reads past all caches; the file is closed at the end."""
        yield from self._table().pages(cached=False)
        self.close()

    def close(self) -> None:
        self._file.close()

    def _table(self) -> Table:
        return Table(self._file, self.meta, None)


class OlderRun(Sequence[Table]):
    """A run that keys are counted against. Its tables are made as they are taken and then forgotten, except the last
    one that was read: a flush's memory has no room for all filters and indexes of a large database."""

    def __init__(self, fs: FileSystem, directory: str, run: Run) -> None:
        self._fs = fs
        self._directory = directory
        self._run = run
        self._cache = BlockCache(COUNT_CACHE_BYTES)
        self._taken: tuple[int, Table] | None = None
        self._loaded: tuple[int, Table] | None = None  # range deletes need one table again and again

    def __len__(self) -> int:
        return len(self._run)

    @overload
    def __getitem__(self, index: int) -> Table: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Table]: ...

    def __getitem__(self, index: int | slice) -> Table | Sequence[Table]:
        if isinstance(index, slice):
            return OlderRun(self._fs, self._directory, self._run[index])
        if self._taken is not None and self._taken[1].state is not None:
            self._loaded = self._taken
        if self._loaded is not None and self._loaded[0] == index:
            return self._loaded[1]
        meta = self._run[index]
        table = Table(TableFile(self._fs, join(self._directory, meta.file)), meta, self._cache, OPEN_FILES)
        self._taken = index, table
        return table


class OutputFile:
    """A new file and its length; the table writer appends large pieces."""

    def __init__(self, file: AppendFile, name: str) -> None:
        self.name = name
        self.seals = isinstance(file, SealedAppendFile)
        self.size_bytes = 0
        self._file = file

    def append(self, data: bytes) -> None:
        append_all(self._file, data)
        self.size_bytes += len(data)

    def finish(self) -> None:
        self._file.sync()
        self._file.close()

    def close(self) -> None:
        self._file.close()


class Outputs:
    """The files that a job writes: removed again unless `keep` was called."""

    def __init__(self, fs: FileSystem, directory: str, number: int, epoch: int) -> None:
        self.current: OutputFile | None = None
        self._fs = fs
        self._directory = directory
        self._number = number
        self._epoch = epoch
        self._names: list[str] = []
        self._values: OutputFile | None = None
        self._value_files = 0
        self._kept = False

    def begin(self) -> OutputFile:
        self.current = self._create(table_name(self._number, len(self._names) - self._value_files, self._epoch))
        return self.current

    def begin_values(self) -> OutputFile:
        """Begin a value file, beside the current file of tables."""
        self._values = self._create(value_name(self._number, self._value_files, self._epoch))
        self._value_files += 1
        return self._values

    def end_values(self) -> None:
        if self._values is not None:
            self._values.finish()
            self._values = None

    def _create(self, name: str) -> OutputFile:
        file = self._fs.create(join(self._directory, name))
        self._names.append(name)
        return OutputFile(file, name)

    def end_current(self) -> None:
        if self.current is not None:
            self.current.finish()
            self.current = None

    def keep(self) -> None:
        """Make all of it durable: data, then names."""
        self.end_current()
        self.end_values()
        if self._names:
            self._fs.sync_directory(self._directory)
        self._kept = True

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept:
            return
        for file in (self.current, self._values):
            if file is not None:
                file.close()
        for name in self._names:
            try:
                self._fs.remove(join(self._directory, name))
            except OSError as refused:
                # The next open removes files that no manifest names; the job's own error matters more.
                if error is not None:
                    error.add_note(f"and its output {name} could not be removed: {refused}")
