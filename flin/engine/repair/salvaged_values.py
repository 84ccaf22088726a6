"""Value files of a damaged directory: the values that tables point to, and what lost tables held.

A pointer says where its value lies and what its checksum is, so a value is the right one or it is missing. A key whose
value is missing is reported, and an older value of it does not come back.

The frames of a value file hold keys, too. So where a table is lost, or a block of it, the newest entries of these keys
come from the frames, each as old as its segment says (a collected file: as its merge). They are not taken where a sound
table is known to hold what came of them: a key that it lacks was deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from flin.engine.boundaries import Boundaries, boundaries_of, covers, cut_boundaries, joined, ranges_of
from flin.engine.disk.cipher import SEAL_BYTES
from flin.engine.disk.file_name import COLLECTED, maybe_value_number
from flin.engine.disk.fs import FileSystem, join
from flin.engine.disk.open_files import TableFile
from flin.engine.entry import POINTER_BYTES, TOMBSTONE, Entry, Page, Pointer, maybe_pointer, read_pointer
from flin.engine.memtable import Memtable
from flin.engine.repair.report import FileReport, Loss, RepairReport, key_text
from flin.engine.repair.salvaged_table import read_through
from flin.engine.repair.salvaged_tables import Aged
from flin.engine.slot import shard_of_stored
from flin.engine.table.sealed_values import SealedValueFile, value_file_of
from flin.engine.wal.frames import HEADER_BYTES, SegmentHeader, decode_header, find_frames
from flin.engine.wal.large_values import value_checksum
from flin.engine.wal.lost_header import maybe_lost_header
from flin.engine.wal.replay import replay
from flin.engine.wal.sealed import maybe_opener
from flin.errors import CorruptionError, FormatVersionError


@dataclass(slots=True)
class GivenBack:
    """What one value file holds of the keys that tables of one shard have lost."""

    memtable: Memtable
    last_sequence: int


class SalvagedValues:
    """The value files with these numbers. `lengths`: where their frames end, by file name, as far as that is known."""

    def __init__(
        self,
        fs: FileSystem,
        directory: str,
        report: RepairReport,
        numbers: Collection[int],
        lengths: Mapping[str, int],
    ) -> None:
        self._fs = fs
        self._report = report
        self._lengths = lengths
        self._files: dict[int, list[TableFile]] = {number: [] for number in sorted(numbers)}
        self._reports: dict[int, FileReport] = {}
        self._lost: set[tuple[int, int, bytes]] = set()
        self.names: set[str] = set()
        """Those of the files."""
        for name in fs.names(directory):
            number = maybe_value_number(name)
            if number in self._files and fs.is_file(join(directory, name)):
                self._files[number].append(value_file_of(fs, join(directory, name), length=0))
                self.names.add(name)
        expected = {maybe_value_number(name): name for name in lengths}
        for number, files in self._files.items():
            names = [file.path.rpartition("/")[2] for file in files]
            name = names[0] if names else expected.get(number) or f"value file {number}"
            self._reports[number] = report.file(name, "value")
            if not files:
                self._reports[number].lose(Loss(0, lengths.get(name, 0), "missing"))

    def __bool__(self) -> bool:
        return bool(self._files)

    # What pointers name.

    def resolved(self, pages: Iterator[Page]) -> Iterator[Page]:
        """The merged pages with values in the places of pointers; where one is missing, with a tombstone."""
        for keys, entries in pages:
            if set(map(type, entries)) != {bytes}:
                entries = [self._resolve(key, entry) for key, entry in zip(keys, entries, strict=True)]
            yield keys, entries

    def _resolve(self, key: bytes, entry: Entry) -> Entry:
        pointer = maybe_pointer(entry)
        if pointer is None:
            return entry
        value = self._value(key, pointer)
        if value is None:
            return TOMBSTONE
        return (value, entry[1], entry[2]) if type(entry) is tuple else value

    def _value(self, key: bytes, pointer: Pointer) -> bytes | None:
        if len(pointer) != POINTER_BYTES:
            return None
        number, offset, length, checksum = read_pointer(pointer)
        for file in self._files.get(number, ()):
            stored = length + (SEAL_BYTES if isinstance(file, SealedValueFile) else 0)
            if offset + stored > file.size():
                continue
            value = read_through(file, offset, stored)
            file.close()
            if len(value) == stored and value_checksum(number, offset, value) == checksum:
                if isinstance(file, SealedValueFile):
                    try:
                        value = file.opened(offset, value)
                    except CorruptionError:  # its header is damaged, or somebody changed the value
                        continue
                report = self._reports[number]
                report.kept_entries += 1
                report.kept_bytes += length
                return value
        if number not in self._files:
            self._reports[number] = self._report.file(f"value file {number}", "value")
            self._files[number] = []
        if (number, offset, key) not in self._lost:
            self._lost.add((number, offset, key))
            text = key_text(key)
            self._reports[number].losses.append(Loss(offset, length, "the value is lost", text, text))
        return None

    # What lost tables held.

    def given_back(self, shards: list[list[Aged]]) -> list[list[GivenBack]]:
        """By shard: what the value files hold of the keys that its tables have lost, if no other table tells of it."""
        lost = [boundaries_of(each for aged in of_shard for each in aged.lost()) for of_shard in shards]
        given: list[list[GivenBack]] = [[] for _ in shards]
        if not any(lost):
            return given
        for number in self._files:
            found = self._replayed(number)
            if found is None:
                continue
            memtable, first, last = found
            for shard, boundaries in enumerate(lost):
                points = {
                    key: entry
                    for key, entry in memtable.entries.items()
                    if covers(boundaries, key)
                    and (len(shards) == 1 or shard_of_stored(key, len(shards)) == shard)
                    and not any(aged.tells(key, first, last) for aged in shards[shard])
                }
                deleted = _common(memtable.deleted, boundaries)
                if points or deleted:
                    given[shard].append(GivenBack(Memtable(points, deleted), last))
                    self._reports[number].add_note(f"it gave back {len(points):,} entries of lost tables")
                    self._report.warn("entries of lost tables were taken from value files: deleted ones may reappear")
        return given

    def _replayed(self, number: int) -> tuple[Memtable, int, int] | None:
        """All good frames, in order, with the first and the last sequence; None if there are none."""
        memtable = Memtable()
        sequences: list[int] = []
        for file in self._files[number]:
            end = self._lengths.get(file.path.rpartition("/")[2], file.size())
            data = read_through(file, 0, end)
            file.close()
            header = _header(data, file.path)
            if header is None:
                continue
            for frame in find_frames(data, header, HEADER_BYTES, len(data)):
                try:
                    opener = maybe_opener(self._fs, header, file.path)
                    done = replay(data, header, file.path, memtable, start=frame.offset, end=frame.end, opener=opener)
                except (CorruptionError, FormatVersionError):
                    continue
                if not done.stop_reason and frame.count:
                    sequences += (frame.first_sequence, frame.first_sequence + frame.count - 1)
            if sequences:
                break  # a copy holds the same
        if not sequences:
            return None
        if number >= COLLECTED:
            assert header is not None
            return memtable, header.first_sequence, header.first_sequence
        return memtable, min(sequences), max(sequences)


def _header(data: bytes, path: str) -> SegmentHeader | None:
    try:
        return decode_header(data, path)
    except (CorruptionError, FormatVersionError):
        return maybe_lost_header(data)


def _common(left: Boundaries, right: Boundaries) -> list[bytes]:
    """The boundaries of what both cover."""
    common: list[bytes] = []
    for start, stop in ranges_of(right):
        common = joined(common, cut_boundaries(left, start, stop))
    return common
