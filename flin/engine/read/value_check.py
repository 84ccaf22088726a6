"""The check of value files: every pointer of every table is followed, and what tables say of them is added up.

A damaged value is named by its file and offset. A file that cannot be read at all, or ends too early, is named once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from flin.engine.catalog.version import ValueFile
from flin.engine.disk.cipher import SEAL_BYTES
from flin.engine.disk.fs import ReadableFile
from flin.engine.entry import Pointer, maybe_pointer, read_pointer
from flin.engine.sstable import Table
from flin.engine.table.sealed_values import SealedValueFile
from flin.engine.wal.large_values import value_checksum
from flin.errors import CorruptionError, FlinError, StorageError


class ValueCheck:
    """One check. `files`: the value files, by the numbers that pointers have."""

    def __init__(self, files: Mapping[int, ReadableFile]) -> None:
        self._files = files
        self._live: Counter[int] = Counter()
        self._unreadable: set[int] = set()
        self._ends: dict[int, int] = {}  # the sizes of the files

    def table(self, table: Table, path: str) -> Iterator[FlinError]:
        """What is wrong with the values that pointers of a sound table name."""
        try:
            said = table.values
            self._live.update(dict(said))
            for keys, entries in table.pages(cached=False) if said else ():
                for key, entry in zip(keys, entries, strict=True):
                    pointer = maybe_pointer(entry)
                    if pointer is not None:
                        problem = self._follow(pointer, key, path, table.meta.offset)
                        if problem is not None:
                            yield problem
        except FlinError as error:
            yield error

    def sums(self, files: Iterable[ValueFile], path: str) -> Iterator[FlinError]:
        """Where the manifest, at the path, differs from the tables, once all of these were checked."""
        said = {each.number: each.live_bytes for each in files}
        for number in sorted(said.keys() | self._live.keys()):
            if said.get(number, 0) != self._live[number]:
                reason = f"value file {number} is said to have {said.get(number, 0):,} live bytes, and has"
                yield CorruptionError(path, 0, f"{reason} {self._live[number]:,}")

    def _follow(self, pointer: Pointer, key: bytes, path: str, at: int) -> FlinError | None:
        number, offset, length, checksum = read_pointer(pointer)
        file = self._files.get(number)
        if file is None:
            if number in self._unreadable:
                return None
            self._unreadable.add(number)
            return CorruptionError(path, at, f"it points into value file {number}, which the manifest does not name")
        if number in self._unreadable:
            return None
        try:
            end = self._ends.get(number)
            if end is None:
                end = self._ends[number] = file.size()
            if isinstance(file, SealedValueFile):
                length += SEAL_BYTES
            value = file.pread(length, offset) if offset + length <= end else b""
        except OSError as error:
            self._unreadable.add(number)
            return StorageError("read", file.path, error)
        if len(value) < length:
            self._unreadable.add(number)
            return CorruptionError(file.path, max(offset, end), f"the file ends within the value of {key[:40]!r}")
        if value_checksum(number, offset, value) != checksum:
            return CorruptionError(file.path, offset, f"the checksum of the value of {key[:40]!r} does not match")
        if isinstance(file, SealedValueFile):
            try:
                file.opened(offset, value)
            except CorruptionError as error:
                return error
        return None
