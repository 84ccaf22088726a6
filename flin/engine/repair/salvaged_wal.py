"""The WAL as far as its checksums vouch for it: every good frame, also those after damage, in the order of sequences.

Recovery (recovery.py) ends at the first bad frame, so that its state is a prefix of the accepted writes, and refuses if
more was promised. Here no such promise can be kept any more: good frames are taken, and each hole is reported. If
nothing is damaged, both give the same result: both ignore bytes after the end that a successor names.

A segment whose header is damaged is identified by its frames; one under another's name, by its header.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from flin.engine.disk.file_name import FileName
from flin.engine.disk.fs import FileSystem, join
from flin.engine.memtable import Memtable
from flin.engine.repair.report import FileReport, Loss, RepairReport
from flin.engine.repair.salvaged_table import read_through
from flin.engine.wal.frames import (
    HEADER_BYTES,
    FoundFrame,
    SegmentHeader,
    decode_header,
    find_frames,
)
from flin.engine.wal.lost_header import maybe_lost_header
from flin.engine.wal.replay import replay
from flin.engine.wal.sealed import maybe_opener
from flin.errors import CorruptionError, FormatVersionError

ENDLESS: Final = 1 << 64


@dataclass(slots=True)
class SalvagedSegment:
    """One segment, replayed."""

    memtable: Memtable
    first_sequence: int
    last_sequence: int
    report: FileReport


@dataclass(slots=True)
class _File:
    number: int
    epoch: int
    path: str
    data: bytes
    header: SegmentHeader | None  # None if nothing in it is good
    has_header: bool  # False: `header` is only what its frames tell
    report: FileReport
    frames: list[FoundFrame] = field(default_factory=list)


class SalvagedWal:
    """The WAL: `read` it, then take its `segments`. FormatVersionError if a newer Flin wrote something, unless
    forced."""

    def __init__(self, fs: FileSystem, directory: str, report: RepairReport, force: bool) -> None:
        self._fs = fs
        self._directory = directory
        self._report = report
        self._force = force
        self.database_id: bytes | None = None
        """As in the manifest, or else as in most of the segments."""
        self._files: list[_File] = []

    def read(self, names: list[tuple[FileName, str]]) -> None:
        """Read the files with these names."""
        for parsed, name in sorted(names, key=lambda pair: (pair[0].number, pair[0].epoch)):
            found = self._read(parsed, join(self._directory, name), self._report.file(name, "wal"))
            if found is not None:
                self._files.append(found)

    def segments(self, database_id: bytes | None, next_sequence: int | None) -> Iterator[SalvagedSegment]:
        """The segments, oldest first. `next_sequence`: the first that no table holds, if that is known; frames below it
        are left out."""
        files = list(self._ours(database_id))
        for file in files:
            self._find(file, files)
        expected = next_sequence
        vouched = max((_vouched(file) for file in files), default=0)
        numbers = sorted({file.number for file in files})
        for number in numbers:
            same = [file for file in files if file.number == number]
            later = [_first_sequence(file) for file in files if file.number > number and file.has_header]
            segment, position, expected = self._replay(same, expected, min(later, default=ENDLESS))
            self._tail(same, position, number == numbers[-1], vouched)
            if segment is not None:
                yield segment

    def _read(self, parsed: FileName, path: str, report: FileReport) -> _File | None:
        if not self._fs.is_file(path):
            report.lose(Loss(0, 0, "not a regular file"))
            return None
        try:
            file = self._fs.open(path)
        except OSError as error:
            report.lose(Loss(0, 0, str(error)))
            return None
        try:
            data = read_through(file, 0, file.size())
        finally:
            file.close()
        number, header, has_header = parsed.number, None, True
        try:
            header = decode_header(data, path)
            if header.number != number:
                report.add_note(f"it is segment {header.number} under another name")
                number = header.number
        except FormatVersionError:
            if not self._force:
                raise
        except CorruptionError as error:
            report.add_note(f"header: {error.reason}")
        if header is None:
            header, has_header = maybe_lost_header(data), False
            if header is None and len(data) > HEADER_BYTES and any(data[HEADER_BYTES:]):
                report.lose(Loss(0, len(data), "it holds no good frame"))
        return _File(number, parsed.epoch, path, data, header, has_header, report)

    def _ours(self, database_id: bytes | None) -> Iterator[_File]:
        for file in self._files:
            if file.header is None:
                continue
            if file.has_header and database_id is not None and file.header.database_id != database_id:
                file.report.lose(Loss(0, len(file.data), "the segment belongs to another database"))
                continue
            if not file.has_header:
                self._report.warn(f"{file.report.file}: without its header nothing proves that it is of this database")
            yield file

    def _find(self, file: _File, files: list[_File]) -> None:
        """Find the good frames, up to the end that the direct successor names."""
        assert file.header is not None
        end = len(file.data)
        for other in files:
            assert other.header is not None
            if other.has_header and other.header.predecessor == file.number:
                end = min(end, other.header.predecessor_end)
        file.frames = list(find_frames(file.data, file.header, HEADER_BYTES, end))
        file.data = file.data[:end]

    def _replay(
        self, files: list[_File], expected: int | None, below: int
    ) -> tuple[SalvagedSegment | None, int, int | None]:
        """Replay the files that share a number (a copy may fill the holes of its original). Returns the segment, the
        offset after the last frame, and the sequence that should follow."""
        source: dict[int, _File] = {}
        frames: dict[int, FoundFrame] = {}
        for file in files:
            for frame in file.frames:
                frames.setdefault(frame.offset, frame)
                source.setdefault(frame.offset, file)
        first_file = files[0]
        memtable = Memtable()
        first: int | None = None
        position = HEADER_BYTES
        for offset in sorted(frames):
            frame, file = frames[offset], source[offset]
            if file.header is not None and not file.has_header and frame.first_sequence >= below:
                continue  # another database's, or far too new: segments with a header count
            if offset > position:
                missing = None if expected is None else max(0, frame.first_sequence - expected)
                self._lose(first_file, position, offset - position, missing)
            elif expected is not None and frame.first_sequence > expected:
                missing = frame.first_sequence - expected
                first_file.report.lose(
                    Loss(position, 0, "a segment before it is missing or damaged", None, None, missing)
                )
            position = frame.end
            if expected is not None and frame.first_sequence < expected:
                continue  # flushed, or replayed already
            if not self._apply(file, frame, memtable):
                continue
            first = frame.first_sequence if first is None else first
            expected = frame.first_sequence + frame.count
        if first is None or expected is None:
            return None, position, expected
        return SalvagedSegment(memtable, first, expected - 1, first_file.report), position, expected

    def _apply(self, file: _File, frame: FoundFrame, memtable: Memtable) -> bool:
        assert file.header is not None
        try:
            opener = maybe_opener(self._fs, file.header, file.path)
            reason = replay(
                file.data, file.header, file.path, memtable, start=frame.offset, end=frame.end, opener=opener
            ).stop_reason
        except FormatVersionError as error:
            if not self._force:
                raise
            reason = error.reason
        except CorruptionError as error:
            reason = error.reason
        if reason:
            self._lose(file, frame.offset, frame.end - frame.offset, frame.count)
            return False
        file.report.kept_blocks += 1
        file.report.kept_entries += frame.count
        file.report.kept_bytes += frame.end - frame.offset
        return True

    def _tail(self, files: list[_File], position: int, is_last: bool, vouched: int) -> None:
        """Judge what follows the last good frame: nothing, zeros, a torn tail that was never promised, or a loss."""
        file = max(files, key=lambda file: len(file.data))
        rest = file.data[position:]
        assert file.header is not None
        is_promised = vouched > file.header.base + position
        if is_promised and (is_last or rest.strip(b"\0")):
            self._lose(file, position, len(rest), None)
        elif rest.strip(b"\0"):
            file.report.add_note(f"its last {len(rest):,} bytes are torn and were never synced")

    def _lose(self, file: _File, offset: int, size: int, operations: int | None) -> None:
        file.report.lose(Loss(offset, size, "no good frame", None, None, operations))


def _vouched(file: _File) -> int:
    assert file.header is not None
    return max([file.header.synced, *(frame.synced for frame in file.frames)])


def _first_sequence(file: _File) -> int:
    assert file.header is not None
    return file.header.first_sequence
