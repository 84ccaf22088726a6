"""An entry of a group's log: frames that its leader has committed, as its write-ahead log has them. Pure, over bytes.

An entry (integers little-endian):

    offset  size
         0     4  CRC-32 of all after it
         4     1  format version, 1
         5     8  epoch of the leader
        13     8  the leader's wall clock, ms since 1970, signed
        21     4  part: which one, from 0
        25     4  parts, at least 1
        29     8  salt of the segment that the frames are in
        37     8  position of the first frame
        45     8  sequence of the first frame
        53        the frames, one after the other; of a frame that is cut, the part's bytes

An entry has at most 64 KiB. A frame that is longer is cut: its parts are entries that follow each other and agree in
all but part and bytes. They are applied when the last one has come (Assembler). A leader that loses its place may leave
parts without their end; the next entry is of another epoch, and such parts count for nothing.

This module does not look into frames, but for their lengths: the engine checks them (engine/replication.py).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from flin.engine.checksum import crc32
from flin.engine.wal.frames import FRAME_BYTES, read_frame_header
from flin.errors import CorruptionError, FormatVersionError

FORMAT_VERSION: Final = 1

MAX_ENTRY_BYTES: Final = 1 << 16
"""etcd keeps its last 5,000 entries in memory, about twice: with 64 KiB these are 0.6 GB."""

_CRC: Final = struct.Struct("<I")
_FIELDS: Final = struct.Struct("<BQqII8sQQ")
HEADER_BYTES: Final = _CRC.size + _FIELDS.size
MAX_DATA_BYTES: Final = MAX_ENTRY_BYTES - HEADER_BYTES


class LogEntry(NamedTuple):
    """Frames that follow each other in one segment, or a part of one frame."""

    epoch: int
    clock_ms: int
    part: int
    parts: int
    salt: bytes  # 8 bytes
    position: int
    sequence: int
    data: bytes


def encode(entry: LogEntry) -> bytes:
    rest = b"".join((_FIELDS.pack(FORMAT_VERSION, *entry[:-1]), entry.data))
    return _CRC.pack(crc32(rest)) + rest


def decode(data: bytes, path: str) -> LogEntry:
    """The entry. Raises CorruptionError, or FormatVersionError if a newer Flin made it. `path` names it in errors."""
    if len(data) <= HEADER_BYTES:
        raise CorruptionError(path, len(data), "an entry of the log is shorter than its header, or has no frames")
    if data[_CRC.size] > FORMAT_VERSION:  # before the checksum, which may be elsewhere then
        raise FormatVersionError(
            path, f"an entry of format {data[_CRC.size]}; this Flin reads up to {FORMAT_VERSION}: install the newer one"
        )
    version, *fields = _FIELDS.unpack_from(data, _CRC.size)
    if version != FORMAT_VERSION or _CRC.unpack_from(data)[0] != crc32(memoryview(data)[_CRC.size :]):
        raise CorruptionError(path, 0, "the checksum of an entry of the log does not match")
    entry = LogEntry._make((*fields, data[HEADER_BYTES:]))
    if entry.part >= entry.parts or len(data) > MAX_ENTRY_BYTES:
        raise CorruptionError(path, 0, f"an entry of {len(data)} bytes, part {entry.part} of {entry.parts}")
    return entry


def cut(run: LogEntry) -> list[LogEntry]:
    """Entries of at most 64 KiB with all the frames of this one, which may be longer.

    Frames stay whole where they fit, so that each entry can be applied alone: what was committed first need not wait
    for all the rest."""
    data = run.data
    if len(data) <= MAX_DATA_BYTES:
        return [run]
    entries: list[LogEntry] = []
    start = offset = 0
    sequence = run.sequence
    while offset < len(data):
        frame = read_frame_header(data, offset)
        end = offset + FRAME_BYTES + frame.length
        if end - start > MAX_DATA_BYTES:
            if offset > start:
                entries.append(_piece(run, start, offset, sequence))
                start, sequence = offset, frame.first_sequence
            if end - start > MAX_DATA_BYTES:
                entries += _parts(_piece(run, start, end, sequence))
                start, sequence = end, frame.first_sequence + frame.operations
        offset = end
    if start < len(data):
        entries.append(_piece(run, start, len(data), sequence))
    return entries


def _piece(run: LogEntry, start: int, end: int, sequence: int) -> LogEntry:
    return run._replace(position=run.position + start, sequence=sequence, data=run.data[start:end])


def _parts(frame: LogEntry) -> list[LogEntry]:
    """A frame that is longer than an entry."""
    data = frame.data
    parts = -(-len(data) // MAX_DATA_BYTES)
    return [
        frame._replace(part=part, parts=parts, data=data[part * MAX_DATA_BYTES : (part + 1) * MAX_DATA_BYTES])
        for part in range(parts)
    ]


class Assembler:
    """Takes the entries of a log in order, and gives those that are whole: a cut frame once its last part has come."""

    def __init__(self) -> None:
        self.epoch = 0
        self._parts: list[LogEntry] = []  # of a frame whose end has not come yet

    @property
    def is_within(self) -> bool:
        """Whether parts wait for their end."""
        return bool(self._parts)

    def add(self, entry: LogEntry, path: str) -> LogEntry | None:
        """The whole entry that this one is, or ends; None if parts are still to come. CorruptionError if no leader can
        have put it after those before it; `path` names it there."""
        if entry.epoch < self.epoch:
            raise CorruptionError(path, 0, f"an entry of epoch {entry.epoch} after one of epoch {self.epoch}")
        if entry.epoch > self.epoch:  # whoever put the parts was deposed before their end: nobody has applied them
            self.epoch, self._parts = entry.epoch, []
        parts = self._parts
        if entry.part != len(parts) or (parts and _frame_of(entry) != _frame_of(parts[0])):
            raise CorruptionError(
                path, 0, f"part {entry.part} of a frame at {entry.position}, after {len(parts)} parts of another"
            )
        if entry.parts == 1:
            return entry
        parts.append(entry)
        if len(parts) < entry.parts:
            return None
        self._parts = []
        return parts[0]._replace(part=0, parts=1, data=b"".join([part.data for part in parts]))


def _frame_of(entry: LogEntry) -> tuple[int, bytes, int, int]:
    """What the parts of one frame have in common, its epoch apart. (Clocks too: they were made at once.)"""
    return entry.parts, entry.salt, entry.position, entry.sequence
