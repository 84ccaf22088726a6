"""The value files of a version: what turns the pointers that tables hold into values.

A value file is a segment of the write-ahead log (or has the form of one): its values lie where their frames put them.
It is read by `pread`, never mapped: a cold read lets the interpreter go, and a file that was cut cannot kill it. Files
are opened at their first read and closed again by the bound that tables have (open_files.py).

A value is compared with its checksum when it is first read after its file was opened: one bit for each KiB of the file
remembers it, and goes with the descriptor. Shorter values than that share a bit, so they are compared each time.

A page of a scan is resolved at once. Values that lie close together, as after a fill in order or a collecting merge,
are read by one call. If others are not in memory, the kernel is told of all of them before the first is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from time import monotonic
from typing import Any, Final, TypeAlias

from flin.engine.checksum import crc32
from flin.engine.disk.fs import FileSystem
from flin.engine.disk.open_files import OPEN_FILES, OpenFiles, TableFile
from flin.engine.entry import (
    POINTER_BYTES,
    Entry,
    Page,
    Pointer,
    maybe_pointer,
    pack_place,
    read_pointer,
    read_pointers,
)
from flin.engine.table.cold_read import ColdRead
from flin.errors import CorruptionError, StorageError

_BIT_BYTES: Final = 1024
"""Values of at least this size begin in different KiB of the file: each has a bit of its own."""

AWAITED_SECONDS: Final = 10.0
"""A value that a reader thread loaded within this time is read at once: where the kernel cannot say what is in memory
(tmpfs), the lookup would otherwise be repeated forever."""

_MAX_AWAITED: Final = 4096
"""Values of a file that are remembered as loaded."""

_FIRST_ENTRIES: Final = 16
_PAGE_ENTRIES: Final = 256
_PAGE_BYTES: Final = 256 << 10
"""Entries of the first part of a scan that is resolved, of later ones, and bytes of their values, as in table/scan.py:
most scans end soon, and a page of large values must not be hundreds of megabytes."""

_PROBED: Final = 4
"""From this number of values on, the kernel is asked whether the first is in memory."""

_DENSE: Final = 4
"""Values are read by one call if what lies between them is at most a quarter of their bytes."""

Row: TypeAlias = tuple[int, int, int, int]
"""A pointer's number, offset, length and checksum."""

_TUPLE_OR_POINTER: Final = {tuple, Pointer}


class OpenValueFile(TableFile):
    """One value file, for any number of threads. It has a descriptor only while it is read."""

    def __init__(self, fs: FileSystem, path: str, files: OpenFiles = OPEN_FILES, *, length: int) -> None:
        """`length`: where its last good frame ends."""
        super().__init__(fs, path, files, maps=False)
        self._length: Final = length
        self._checked: bytearray | None = None  # a bit for each KiB in which a value begins that was compared
        self._awaited: dict[int, float] = {}  # when a value was loaded, by its offset

    def let_go(self) -> None:
        super().let_go()
        self._checked = None

    def value(self, row: Row) -> bytes:
        """The value. Raises CorruptionError, StorageError, ClosedError."""
        _, offset, size, _ = row
        value = self._read(size, offset)
        self._check(row, value)
        return value

    def value_nowait(self, row: Row) -> bytes:
        """What `value` gives, or ColdRead instead of a wait for the disk."""
        _, offset, size, _ = row
        is_awaited = self._is_awaited(offset)
        if self._file is None and not is_awaited:
            raise ColdRead(partial(self.load, row))
        value = self._read_nowait(size, offset)
        if value is None:
            if not is_awaited:
                raise ColdRead(partial(self.load, row))
            value = self._read(size, offset)
        self._check(row, value)
        return value

    def load(self, row: Row) -> None:
        """Read it for a lookup that will be repeated."""
        try:
            self.value(row)
        finally:  # a lookup that fails must not be repeated either
            self.note_load(row)

    def note_load(self, row: Row) -> None:
        awaited = self._awaited
        while len(awaited) >= _MAX_AWAITED:
            awaited.pop(next(iter(awaited), -1), None)
        awaited[row[1]] = monotonic()

    def values(self, rows: Sequence[Row]) -> list[bytes]:
        """The values of some rows of this file, which may wait for the disk."""
        low = min(row[1] for row in rows)
        span = max(row[1] + row[2] for row in rows) - low
        total = sum(row[2] for row in rows)
        if span <= total + total // _DENSE:
            data = self._read(span, low)
            values = [data[offset - low : offset - low + size] for _, offset, size, _ in rows]
        else:
            if len(rows) >= _PROBED and self._read_nowait(rows[0][2], rows[0][1]) is None:
                for _, offset, size, _ in rows:
                    self._advise(size, offset)
            values = [self._read(size, offset) for _, offset, size, _ in rows]
        for row, value in zip(rows, values, strict=True):
            self._check(row, value)
        return values

    def _check(self, row: Row, value: bytes) -> None:
        """Compare the value with its checksum, unless that was done since the file was opened."""
        number, offset, size, checksum = row
        if offset + size > self._length:
            raise CorruptionError(self.path, offset, f"a value of {size} bytes is beyond the end of the value file")
        if len(value) != size:
            raise CorruptionError(self.path, offset, f"the value file ends within a value of {size} bytes")
        checked = self._checked
        if checked is None:
            checked = self._checked = bytearray(self._length // (8 * _BIT_BYTES) + 1)
        place, bit = offset >> 13, 1 << (offset >> 10 & 7)
        if size >= _BIT_BYTES and checked[place] & bit:
            return
        if crc32(value, crc32(pack_place(number, offset))) != checksum:
            raise CorruptionError(self.path, offset, "the checksum of a value is wrong")
        if size >= _BIT_BYTES:
            checked[place] |= bit  # another thread's bit may be lost: its value is compared once more

    def _is_awaited(self, offset: int) -> bool:
        moment = self._awaited.get(offset)
        return moment is not None and monotonic() - moment <= AWAITED_SECONDS

    def _read(self, size: int, offset: int) -> bytes:
        try:
            return self.pread(size, offset)
        except OSError as error:
            raise self._error(error, offset) from error

    def _read_nowait(self, size: int, offset: int) -> bytes | None:
        try:
            return self.pread_nowait(size, offset)
        except OSError as error:
            raise self._error(error, offset) from error

    def _advise(self, size: int, offset: int) -> None:
        try:
            self.will_need(size, offset)
        except OSError as error:
            raise self._error(error, offset) from error

    def _error(self, error: OSError, offset: int) -> CorruptionError | StorageError:
        if isinstance(error, FileNotFoundError):
            return CorruptionError(self.path, offset, "the value file is gone")
        return StorageError("read", self.path, error)


class ValueFiles(dict[int, OpenValueFile]):
    """By the numbers that pointers have. Never changed.

    The files stay on the disk as long as a state has them: whoever resolves a pointer holds the state that it comes
    from. Raises CorruptionError, StorageError, ClosedError."""

    def resolved(self, entry: Any) -> Any:
        """The entry with its value in the place of its pointer; others, and None, as they are."""
        if type(entry) is Pointer:
            return self._value(entry, OpenValueFile.value)
        if type(entry) is tuple and type(entry[0]) is Pointer:
            return self._value(entry[0], OpenValueFile.value), entry[1], entry[2]
        return entry

    def resolved_nowait(self, entry: Any) -> Any:
        """What `resolved` gives; ColdRead instead of a wait for the disk."""
        if type(entry) is Pointer:
            return self._value(entry, OpenValueFile.value_nowait)
        if type(entry) is tuple and type(entry[0]) is Pointer:
            return self._value(entry[0], OpenValueFile.value_nowait), entry[1], entry[2]
        return entry

    def resolved_page(self, page: Page, *, nowait: bool = False) -> Page:
        """A page whose entries are resolved, at once. The caller owns it if it owned the page."""
        keys, entries = page
        types = set(map(type, entries))
        if types.isdisjoint(_TUPLE_OR_POINTER):
            return page
        if types == {Pointer}:
            return keys, self._values(entries, nowait)  # type: ignore[return-value, arg-type]
        pointers = [pointer for entry in entries if (pointer := maybe_pointer(entry)) is not None]
        if not pointers:
            return page
        values = iter(self._values(pointers, nowait))
        return keys, [_with_value(entry, values) for entry in entries]

    def resolved_pages(self, pages: Iterator[Page], *, nowait: bool = False) -> Iterator[Page]:
        """The pages, resolved as they are taken; those with pointers in smaller parts."""
        wanted = _FIRST_ENTRIES
        for page in pages:
            if set(map(type, page[1])).isdisjoint(_TUPLE_OR_POINTER):
                yield page
                continue
            keys, entries = page
            at = 0
            while at < len(keys):
                end = at + _fitting(entries[at : at + wanted])
                wanted = min(2 * wanted, _PAGE_ENTRIES)
                yield self.resolved_page((keys[at:end], entries[at:end]), nowait=nowait)
                at = end

    def _value(self, pointer: Pointer, read: Any) -> bytes:
        if len(pointer) != POINTER_BYTES:
            raise _no_pointer(pointer)
        row = read_pointer(pointer)
        value: bytes = read(self.get(row[0]) or self._lacks(row), row)
        return value

    def _values(self, pointers: Sequence[bytes], nowait: bool) -> list[bytes]:
        for pointer in pointers:
            if len(pointer) != POINTER_BYTES:
                raise _no_pointer(pointer)
        rows = list(read_pointers(b"".join(pointers)))
        if nowait:
            try:
                return [(self.get(row[0]) or self._lacks(row)).value_nowait(row) for row in rows]
            except ColdRead:
                raise ColdRead(partial(self._load, rows)) from None
        return self._read_rows(rows)

    def _read_rows(self, rows: Sequence[Row]) -> list[bytes]:
        numbers = {row[0] for row in rows}
        if len(numbers) == 1:
            return (self.get(rows[0][0]) or self._lacks(rows[0])).values(rows)
        values: list[bytes] = [b""] * len(rows)
        for number in sorted(numbers):
            places = [place for place, row in enumerate(rows) if row[0] == number]
            own = [rows[place] for place in places]
            for place, value in zip(places, (self.get(number) or self._lacks(own[0])).values(own), strict=True):
                values[place] = value
        return values

    def _load(self, rows: Sequence[Row]) -> None:
        """Read them for a page that will be asked for again."""
        try:
            self._read_rows(rows)
        finally:
            for row in rows:
                file = self.get(row[0])
                if file is not None:
                    file.note_load(row)

    def _lacks(self, row: Row) -> OpenValueFile:
        """Raise: no file has this number."""
        raise CorruptionError(f"value file {row[0]}", row[1], "a table points to a value file that the manifest lacks")


def _with_value(entry: Entry, values: Iterator[bytes]) -> Entry:
    if type(entry) is Pointer:
        return next(values)
    if type(entry) is tuple and type(entry[0]) is Pointer:
        return next(values), entry[1], entry[2]
    return entry


def _fitting(entries: Sequence[Entry]) -> int:
    """How many of the first entries, at least one, have values that fit into a page together."""
    sizes = [0 if (pointer := maybe_pointer(entry)) is None else int.from_bytes(pointer[16:20], "little")
             for entry in entries]  # fmt: skip
    fits = sum(total <= _PAGE_BYTES for total in accumulate(sizes))
    return max(fits, 1)


def _no_pointer(pointer: bytes) -> CorruptionError:
    return CorruptionError("a table", 0, f"it has a pointer of {len(pointer)} bytes; verify() names the file")
