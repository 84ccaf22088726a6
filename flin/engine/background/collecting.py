"""Collecting: values that a merge meets in worn value files are written anew, in key order, to files of the job's own.

The content of such a file is a segment: a header, and frames of kind puts or operations. So readers, `flin dump`,
repair and verification are the same code. Its positions are its offsets. Its first sequence is the newest of the
merge's inputs, so that repair knows its age; the sequences of its frames only count on from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Final

from flin.engine.background.job import CompactionJob
from flin.engine.background.job_files import OutputFile, Outputs
from flin.engine.catalog.version import ValueFile
from flin.engine.disk.cipher import SEAL_BYTES
from flin.engine.disk.file_name import maybe_value_number
from flin.engine.disk.fs import FileSystem, join
from flin.engine.disk.open_files import TableFile
from flin.engine.disk.sealed_files import SealedFileSystem
from flin.engine.entry import Entry, Live, maybe_pointer
from flin.engine.table.footer import ValueBytes, read_values
from flin.engine.table.meta import TableMeta
from flin.engine.table.sealed_values import plain_value, value_file_of
from flin.engine.table.value_files import row_of
from flin.engine.wal.frames import FRAME_BYTES, HEADER_BYTES, SegmentHeader, decode_header, encode_commit, encode_header
from flin.engine.wal.large_values import LargeValues
from flin.engine.wal.sealed import SEALED_FRAME_BYTES, SEALED_VALUE_BYTES, FrameSealer

FRAME_VALUES_BYTES: Final = 256 << 10
"""Values of a frame: few enough for the memory of a job, and many compared with a frame's 45 bytes."""

MAX_COLLECTED_BYTES: Final = 1 << 30
"""The most that one merge collects: like any merge it ends within a minute. The rest is left to the next ones."""

OPERATION_BYTES: Final = 18
"""A frame's columns have at most so many bytes for each operation (wal/frames.py)."""

LEAST_SHARE: Final = 0.75
"""The share of values in a new file's bytes, as in a segment that becomes a value file. Values so small that they would
take less go into the table instead: a file that is worn from its birth would be collected again and again."""


class Collector:
    """The values that one merge collects. Nothing is written if it meets none."""

    def __init__(
        self,
        fs: FileSystem,
        job: CompactionJob,
        outputs: Outputs,
        checkpoint: Callable[[], None],
        largest_sequence: int,
    ) -> None:
        self.value_files: list[ValueFile] = []
        self.collected_bytes = 0
        self._sources = {
            each.number: value_file_of(fs, join(job.directory, each.file), length=each.length) for each in job.worn
        }
        self._fs = fs
        self._outputs = outputs
        self._checkpoint = checkpoint
        self._sequence = largest_sequence
        self._target = job.target_table_bytes
        is_sealed = isinstance(fs, SealedFileSystem)
        self._frame_bytes = FRAME_BYTES + (SEALED_FRAME_BYTES if is_sealed else 0)
        self._operation_bytes = OPERATION_BYTES + (SEALED_VALUE_BYTES if is_sealed else 0)
        self._database_id: bytes | None = None
        self._file: OutputFile | None = None
        self._number = 0  # of the open file, as pointers name it
        self._salt = b""
        self._sealer: FrameSealer | None = None  # of the open file, in an encrypted database
        self._live = 0  # bytes of values in it
        self._frame_sequence = 0

    def collect(self, keys: Sequence[bytes], entries: list[Entry]) -> list[Entry]:
        """The entries, with pointers into worn files replaced by others to the same values."""
        wanted = self._wanted(entries) if self._sources else []
        if not wanted:
            return entries
        entries = entries[:]
        taken: list[int] = []
        size = 0
        for index, length in wanted:
            if self.collected_bytes >= MAX_COLLECTED_BYTES:
                break
            taken.append(index)
            size += length
            if size >= FRAME_VALUES_BYTES:
                self._move(keys, entries, taken)
                taken, size = [], 0
        if taken:
            self._move(keys, entries, taken)
        return entries

    def finish(self) -> None:
        """End the open file."""
        self._end_file()
        for source in self._sources.values():
            source.close()

    def _wanted(self, entries: Sequence[Entry]) -> list[tuple[int, int]]:
        """The places of entries to collect, with the lengths of their values."""
        wanted = []
        if set(map(type, entries)) != {bytes}:
            for index, entry in enumerate(entries):
                pointer = maybe_pointer(entry)
                if pointer is not None:
                    number, _, length, _ = row_of(pointer)
                    if number in self._sources:
                        wanted.append((index, length))
        return wanted

    def _move(self, keys: Sequence[bytes], entries: list[Entry], indices: Sequence[int]) -> None:
        """Write the values of these entries as one frame, and point to them."""
        points: dict[bytes, Entry] = {keys[index]: self._resolved(entries[index]) for index in indices}
        values: list[bytes] = [point[0] if type(point) is tuple else point for point in points.values()]  # type: ignore[misc]  # no tombstones
        size = sum(map(len, values))
        end = HEADER_BYTES if self._file is None else self._file.size_bytes
        overhead = self._frame_bytes + sum(map(len, points)) + self._operation_bytes * len(points)
        if self._live + size < LEAST_SHARE * (end + overhead + size):
            for index, point in zip(indices, points.values(), strict=True):
                entries[index] = point
            return
        file = self._file or self._begin_file()
        place = file.size_bytes, self._frame_sequence, 0
        if self._sealer is None:
            frame = bytes(encode_commit(self._salt, *place, points))
            ends = accumulate(map(len, values), initial=file.size_bytes + len(frame) - size)
            placed, seal_bytes = list(zip(ends, values, strict=False)), 0
        else:
            frame, sealed = self._sealer.commit_placed(*place, points)
            placed, seal_bytes = [(each.offset, each.sealed) for each in sealed], SEAL_BYTES
        large = LargeValues(self._number, 0)
        for index, (offset, value) in zip(indices, placed, strict=True):
            pointer = large.pointer(offset, value, seal_bytes)
            entry = entries[index]
            entries[index] = (pointer, *entry[1:]) if type(entry) is tuple else pointer
        file.append(frame)
        self._frame_sequence += len(points)
        self._live += size
        self.collected_bytes += size
        if file.size_bytes >= self._target:
            self._end_file()
        self._checkpoint()

    def _resolved(self, entry: Entry) -> Live:
        """The entry with its value in the place of the pointer."""
        pointer = maybe_pointer(entry)
        assert pointer is not None
        row = row_of(pointer)
        source = self._sources[row[0]]
        if self._database_id is None:
            self._database_id = decode_header(source.pread(HEADER_BYTES, 0), source.path).database_id
        value = plain_value(source, row)
        return (value, *entry[1:]) if type(entry) is tuple else value

    def _begin_file(self) -> OutputFile:
        assert self._database_id is not None
        file = self._outputs.begin_values()
        number = maybe_value_number(file.name)
        assert number is not None
        # No two files have the same salt, so repair never takes one's frames for another's.
        salt = blake2b(self._database_id + file.name.encode(), digest_size=8).digest()
        if isinstance(self._fs, SealedFileSystem):  # by chance: a job that is done again must not have the same key
            salt = self._fs.segment_salt()
            self._sealer = FrameSealer(self._fs.segment_key(salt, number, file.name), salt, 0, 1)
        file.append(encode_header(SegmentHeader(self._database_id, number, salt, 0, self._sequence, 0, 0, 0)))
        self._file, self._number, self._salt = file, number, salt
        self._frame_sequence = self._sequence
        return file

    def _end_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._outputs.end_values()
            self.value_files.append(ValueFile(self._number, file.name, file.size_bytes, self._live))
            self._live = 0


def change_of_values(
    fs: FileSystem, directory: str, inputs: Iterable[TableMeta], outputs: Iterable[TableMeta]
) -> dict[int, int]:
    """By how many bytes of values, by value file, the outputs name more than the inputs; new files included."""
    change: Counter[int] = Counter()
    for table in inputs:
        for number, size in _values(fs, directory, table):
            change[number] -= size
    if change:
        for table in outputs:
            for number, size in _values(fs, directory, table):
                change[number] += size
    return {number: size for number, size in change.items() if size}


def _values(fs: FileSystem, directory: str, table: TableMeta) -> ValueBytes:
    file = TableFile(fs, join(directory, table.file), maps=False)
    try:
        return read_values(file, table.offset, table.length)
    finally:
        file.close()
