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

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, pairwise
from time import monotonic
from typing import Any, Final, TypeAlias

from flin.engine.checksum import crc32
from flin.engine.disk.fs import FileSystem
from flin.engine.disk.open_files import OPEN_FILES, OpenFiles, TableFile, max_open_files
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

_MAX_READING: Final = 16
"""Files that one page keeps open; fewer where the system allows few (_most_reading), since threads read at once."""

_DENSE: Final = 4
_GAP_BYTES: Final = 128
"""Values are read by one call if between two of them lies at most this (a frame and its key), and a quarter of the
first's bytes more."""

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
        if offset + size > self._length:  # Written out: table.value_files.OpenValueFile.check_place
            self.check_place(row)
        file = self._file  # Written out: disk.open_files.TableFile.pread
        try:
            if file is None:
                file = self._opened()
            self._used = True
            value = file.pread(size, offset)
        except OSError as error:
            raise self._error(error, offset) from error
        # Written out: table.value_files.OpenValueFile.check
        checked = self._checked
        if (
            size < _BIT_BYTES
            or checked is None
            or not checked[offset >> 13] & 1 << (offset >> 10 & 7)
            or len(value) != size
        ):
            self.check(row, value)
        return value

    def value_nowait(self, row: Row) -> bytes:
        """What `value` gives, or ColdRead instead of a wait for the disk."""
        _, offset, size, _ = row
        self.check_place(row)
        is_awaited = self._is_awaited(offset)
        if self._file is None and not is_awaited:
            raise ColdRead(partial(self.load, row))
        value = self._read_nowait(size, offset)
        if value is None:
            if not is_awaited:
                raise ColdRead(partial(self.load, row))
            value = self._read(size, offset)
        self.check(row, value)
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

    def reading(self) -> tuple[Callable[[int, int], bytes], bytearray, int]:
        """For a loop over many values: what reads the open file, the bits of what was compared, the file's length."""
        try:
            file = self._opened()
        except OSError as error:
            raise self._error(error, 0) from error
        return file.pread, self._bits(), self._length

    def span(self, rows: Sequence[Row]) -> list[bytes]:
        """The values of ascending rows that lie close together, by one read."""
        low, last = rows[0][1], rows[-1]
        self.check_place(last)
        data = self._read(last[1] + last[2] - low, low)
        is_whole = low + len(data) == last[1] + last[2]
        checked = self._bits()
        values: list[bytes] = []
        for row in rows:
            _, offset, size, _ = row
            value = data[offset - low : offset - low + size]
            # Written out: table.value_files.OpenValueFile.check
            if size < _BIT_BYTES or not is_whole or not checked[offset >> 13] & 1 << (offset >> 10 & 7):
                self.check(row, value)
            values.append(value)
        return values

    def first_if_warm(self, row: Row) -> bytes | None:
        """The value, if it is in memory."""
        self.check_place(row)
        value = self._read_nowait(row[2], row[1])
        if value is not None:
            self.check(row, value)
        return value

    def will_need_value(self, row: Row) -> None:
        """Let the kernel read it meanwhile."""
        self.check_place(row)
        try:
            self.will_need(row[2], row[1])
        except OSError as error:
            raise self._error(error, row[1]) from error

    def check_place(self, row: Row) -> None:
        """Before anything is read: a wrong pointer must not ask the system for gigabytes, or for a place beyond 2**63,
        which no call takes. (Written out in `value` and `ValueFiles._read_one_by_one`.)"""
        _, offset, size, _ = row
        if offset + size > self._length:
            raise CorruptionError(self.path, offset, f"a value of {size} bytes is beyond the end of the value file")

    def check(self, row: Row, value: bytes) -> None:
        """Compare the value with its checksum, unless that was done since the file was opened. (Written out in
        `value`, `span` and `ValueFiles._read_one_by_one`.)"""
        number, offset, size, checksum = row
        if len(value) != size:
            raise CorruptionError(self.path, offset, f"the value file ends within a value of {size} bytes")
        checked = self._bits()
        place, bit = offset >> 13, 1 << (offset >> 10 & 7)
        if size >= _BIT_BYTES and checked[place] & bit:
            return
        if crc32(value, crc32(pack_place(number, offset))) != checksum:
            raise CorruptionError(self.path, offset, "the checksum of a value is wrong")
        if size >= _BIT_BYTES:
            checked[place] |= bit  # another thread's bit may be lost: its value is compared once more

    def _bits(self) -> bytearray:
        checked = self._checked
        if checked is None:
            checked = self._checked = bytearray(self._length // (8 * _BIT_BYTES) + 1)
        return checked

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
            return keys, self._values(rows_of(entries), nowait)  # type: ignore[arg-type, return-value]
        pointers = [pointer for entry in entries if (pointer := maybe_pointer(entry)) is not None]
        if not pointers:
            return page
        values = iter(self._values(rows_of(pointers), nowait))
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
        row = row_of(pointer)
        value: bytes = read(self._file(row), row)
        return value

    def _values(self, rows: Sequence[Row], nowait: bool) -> list[bytes]:
        if nowait:
            try:
                return [self._file(row).value_nowait(row) for row in rows]
            except ColdRead:
                raise ColdRead(partial(self._load, rows)) from None
        if len(rows) > 1:
            if rows[0][1] > rows[-1][1] and (are_close(rows[1], rows[0]) or are_close(rows[-1], rows[-2])):
                return self._read_spans(rows[::-1])[::-1]
            if are_close(rows[0], rows[1]) or are_close(rows[-2], rows[-1]):
                return self._read_spans(rows)
        return self._read_one_by_one(rows)

    def _read_spans(self, rows: Sequence[Row]) -> list[bytes]:
        """Values some of which lie close together, in the order of their offsets."""
        # Written out: table.value_files.are_close
        cuts = [
            place
            for place, (row, following) in enumerate(pairwise(rows), 1)
            if not (row[0] == following[0] and 0 <= following[1] - row[1] - row[2] <= _GAP_BYTES + row[2] // _DENSE)
        ]
        values: list[bytes] = []
        for start, stop in pairwise([0, *cuts, len(rows)]):
            values += self._file(rows[start]).span(rows[start:stop])
        return values

    def _read_one_by_one(self, rows: Sequence[Row]) -> list[bytes]:
        """Values that lie anywhere. In one loop: the calls for each would cost as much as the reads."""
        values: list[bytes] = []
        if len(rows) >= _PROBED:
            first = self._file(rows[0]).first_if_warm(rows[0])
            if first is None:
                for row in rows:
                    self._file(row).will_need_value(row)
            else:
                values.append(first)
        opened: dict[int, Any] = {}
        most = 0
        for row in rows[len(values) :]:
            number, offset, size, _ = row
            reading = opened.get(number)
            if reading is None:
                if opened:
                    most = most or _most_reading()
                    if len(opened) >= most:  # each keeps its descriptor
                        opened.clear()
                reading = opened[number] = self._file(row).reading()
            pread, checked, length = reading
            if offset + size > length:  # Written out: table.value_files.OpenValueFile.check_place
                self[number].check_place(row)
            try:
                value = pread(size, offset)
            except OSError as error:
                raise StorageError("read", self[number].path, error) from error
            # Written out: table.value_files.OpenValueFile.check
            if size < _BIT_BYTES or not checked[offset >> 13] & 1 << (offset >> 10 & 7) or len(value) != size:
                self[number].check(row, value)
            values.append(value)
        return values

    def _load(self, rows: Sequence[Row]) -> None:
        """Read them for a page that will be asked for again. The rows are those of what lies in the files: sealed texts
        are longer than the values that pointers tell of."""
        try:
            ValueFiles._values(self, rows, nowait=False)
        finally:
            for row in rows:
                file = self.get(row[0])
                if file is not None:
                    file.note_load(row)

    def _file(self, row: Row) -> OpenValueFile:
        file = self.get(row[0])
        if file is None:
            text = "a table points to a value file that the manifest lacks"
            raise CorruptionError(f"value file {row[0]}", row[1], text)
        return file


def _most_reading() -> int:
    """An eighth of the files that may be open: so eight threads keep no more than the bound allows once more."""
    return max(1, min(_MAX_READING, max_open_files() // 8))


def row_of(pointer: bytes) -> Row:
    """What the pointer says. CorruptionError if it is none."""
    if len(pointer) != POINTER_BYTES:
        raise _no_pointer(pointer)
    return read_pointer(pointer)


def rows_of(pointers: Sequence[bytes]) -> list[Row]:
    """What the pointers, at least one, say. CorruptionError if one is none."""
    if set(map(len, pointers)) != {POINTER_BYTES}:
        raise _no_pointer(next(pointer for pointer in pointers if len(pointer) != POINTER_BYTES))
    return list(read_pointers(b"".join(pointers)))


def are_close(row: Row, following: Row) -> bool:
    """Whether a value begins soon after another. (Written out in ValueFiles._read_spans.)"""
    return row[0] == following[0] and 0 <= following[1] - row[1] - row[2] <= _GAP_BYTES + row[2] // _DENSE


def _with_value(entry: Entry, values: Iterator[bytes]) -> Entry:
    if type(entry) is Pointer:
        return next(values)
    if type(entry) is tuple and type(entry[0]) is Pointer:
        return next(values), entry[1], entry[2]
    return entry


def _fitting(entries: Sequence[Entry]) -> int:
    """How many of the first entries, at least one, have values that fit into a page together."""
    pointers = [maybe_pointer(entry) or _NO_VALUE for entry in entries]
    totals = list(accumulate(row[2] for row in rows_of(pointers)))
    return bisect_right(totals, _PAGE_BYTES, 1)


_NO_VALUE: Final = bytes(POINTER_BYTES)


def _no_pointer(pointer: bytes) -> CorruptionError:
    return CorruptionError("a table", 0, f"it has a pointer of {len(pointer)} bytes; verify() names the file")
