"""Which segments of a flush become value files.

A segment is written, checksummed and synced already, and never changes: where its large values are still live, nothing
need be copied. But it stays as long as one of them is pointed to. So a segment of which much is dead at its very flush
(small values between the large ones, keys overwritten within a generation) is not kept: its values go into the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flin.engine.catalog.version import ValueFile
from flin.engine.disk.cipher import SEAL_BYTES
from flin.engine.disk.file_name import maybe_value_number
from flin.engine.disk.fs import FileSystem, join
from flin.engine.entry import Entry, maybe_pointer, read_pointer, read_pointers
from flin.engine.wal.frames import SegmentSlice, decode_header
from flin.engine.wal.large_values import LargeValues
from flin.engine.wal.replay import map_segment
from flin.engine.wal.sealed import FrameOpener, maybe_opener

LEAST_SHARE: Final = 0.75
"""The share of live large values in a segment's bytes from which on it becomes a value file."""

MAX_EMPTY_BYTES: Final = 128 << 10
"""So many bytes may lie after its end, half of a window of the WAL (disk/fs.py), unless they are less than the values.
A session that writes little would leave a file of a whole window, and another one the next time."""


@dataclass(slots=True)
class ValueSegments:
    """The segments of one flush, while it is done."""

    threshold: int  # bytes of a large value; 0: there are none
    segments: Sequence[SegmentSlice]
    live: dict[int, int] = field(default_factory=dict)
    """Bytes of values that written tables point to, by the file's number."""

    def large_in(self, segment: SegmentSlice) -> LargeValues | None:
        """What its replay puts in the places of large values."""
        return LargeValues(number_of(segment), self.threshold) if self.threshold else None

    def copy_back(
        self, fs: FileSystem, directory: str, entries: dict[bytes, Entry], checkpoint: Callable[[], None]
    ) -> None:
        """Put the values of those segments back that do not become value files. CorruptionError if one is too short."""
        if not self.threshold:
            return
        if set(map(type, entries.values())) <= {bytes}:  # no pointer: a tenth of the flush of small values
            return
        live = live_bytes(entries.values())
        for segment in self.segments:
            number = number_of(segment)
            size = live.get(number, 0)
            if size and (size < LEAST_SHARE * segment.end or _is_mostly_empty(fs, directory, segment, size)):
                data = map_segment(fs, directory, segment)
                path = join(directory, segment.file)
                opener = maybe_opener(fs, decode_header(data, path), path)
                own = [(key, entry) for key, entry in entries.items() if _number_in(entry) == number]
                entries.update((key, _with_value(entry, data, opener)) for key, entry in own)
                checkpoint()

    def note(self, values: dict[int, int]) -> None:
        """Add what a table's pointers name."""
        for number, size in values.items():
            self.live[number] = self.live.get(number, 0) + size

    def files(self) -> tuple[ValueFile, ...]:
        """The segments that tables point to now."""
        if not self.live:
            return ()
        found = [(number_of(segment), segment) for segment in self.segments]
        files = [
            ValueFile(number, segment.file, segment.end, self.live[number])
            for number, segment in found
            if self.live.get(number)
        ]
        return tuple(sorted(files, key=lambda each: each.number))


def _is_mostly_empty(fs: FileSystem, directory: str, segment: SegmentSlice, live: int) -> bool:
    return fs.file_size(join(directory, segment.file)) - segment.end > max(live, MAX_EMPTY_BYTES)


def number_of(segment: SegmentSlice) -> int:
    """How pointers call the segment."""
    number = maybe_value_number(segment.file)
    assert number is not None
    return number


def live_bytes(entries: Iterable[Entry]) -> dict[int, int]:
    """Bytes of values that the entries point to, by the file's number."""
    totals: dict[int, int] = {}
    pointers = [pointer for entry in entries if (pointer := maybe_pointer(entry)) is not None]
    for number, _, length, _ in read_pointers(b"".join(pointers)):
        totals[number] = totals.get(number, 0) + length
    return totals


def _number_in(entry: Entry) -> int | None:
    pointer = maybe_pointer(entry)
    number: int | None = None if pointer is None else read_pointer(pointer)[0]
    return number


def _with_value(entry: Entry, data: Any, opener: FrameOpener | None) -> Entry:
    pointer = maybe_pointer(entry)
    assert pointer is not None
    _, offset, length, _ = read_pointer(pointer)
    value: bytes
    if opener is None:
        value = data[offset : offset + length]
    else:
        value = opener.value(offset, data[offset : offset + length + SEAL_BYTES])
    return (value, entry[1], entry[2]) if type(entry) is tuple else value
