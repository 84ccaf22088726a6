"""The WAL under arbitrary bytes.

Invariant: any bytes as segments of a database's directory are recovered to a prefix of their good frames or refused
with CorruptionError or FormatVersionError; nothing else escapes, recovery changes nothing, and reading frame by frame
gives the same as the replay. If good segments were changed afterwards, the recovered state is one that the writer once
had.

The first byte of an input chooses what the rest is: bytes as they are, payloads after correct checksums (so that the
decoders of payloads are reached), or changes to a chain of good segments.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from zlib import crc32

from flin.engine.catalog import manifest
from flin.engine.catalog.recovery import recover
from flin.engine.catalog.version import Version
from flin.engine.disk.file_name import wal_name
from flin.engine.entry import TOMBSTONE, Entry
from flin.engine.memtable import Memtable
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import lost_header
from flin.engine.wal import replay as wal_replay
from flin.engine.wal.frames import HEADER_BYTES, SegmentHeader
from flin.errors import CorruptionError, FormatVersionError
from flin.testing import SimulatedDisk

ALLOWED: Final = (CorruptionError, FormatVersionError)
ID: Final = bytes(16)
MANIFEST: Final = manifest.Manifest(ID, 1, 1, 1, 1, 0, 1, 0, Version(((),)))
HEADER: Final = SegmentHeader(ID, 1, b"saltsalt", 0, 1, 0, 0, 0)


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind < b"\x40":
        _read_everything(rest)
        _recover([rest])
        _recover([wal_frames.encode_header(HEADER) + rest])
    elif kind < b"\x80":
        framed = wal_frames.encode_header(HEADER) + b"".join(_frames(rest))
        _read_everything(framed)
        _recover([framed])
    else:
        _change_good_segments(rest)


def _read_everything(data: bytes) -> None:
    """Check that replay and the reading of single frames agree."""
    lost_header.maybe_lost_header(data)
    try:
        header = wal_frames.decode_header(data, "w")
    except ALLOWED:
        return
    wal_frames.highest_claimed_sync(data, header, HEADER_BYTES)
    memtable = Memtable()
    try:
        done = wal_replay.replay(data, header, "w", memtable, end=len(data))
    except ALLOWED:
        return
    again, frames = Memtable(), 0
    with suppress(*ALLOWED):  # at the frame where the replay ended
        for frame in wal_replay.read_frames(data, header, "w", end=len(data)):
            if frame.offset >= done.end:
                break  # a frame that is good by itself, but in the wrong order
            again.apply(frame.ranges, frame.points)
            frames += 1
    assert (again.entries, again.ranges, frames) == (memtable.entries, memtable.ranges, done.frames)


def _recover(segments: list[bytes]) -> dict[bytes, Entry] | None:
    """The recovered entries; None if recovery refuses the segments."""
    disk = SimulatedDisk()
    disk.make_directory("/db")
    for number, segment in enumerate(segments, 1):
        disk.write(f"/db/{wal_name(number, 1)}", segment)
    before = disk.files()
    try:
        result = recover(disk, "/db", MANIFEST, 1 << 20)
    except ALLOWED:
        return None
    finally:
        assert disk.files() == before
    entries: dict[bytes, Entry] = {}
    for generation in result.generations:
        entries |= generation.memtable.entries
    return entries


def _frames(data: bytes) -> Iterator[bytes]:
    """Frames with correct checksums: kind, count, length and payload of each come from the data."""
    position, sequence = HEADER_BYTES, 1
    while len(data) > 3:
        kind, count, length = data[0] % 7, data[1] % 9, data[2]
        payload, data = data[3 : 3 + length], data[3 + length :]
        rest = struct.pack("<I8sQQQIB", len(payload), HEADER.salt, position, sequence, 0, count, kind) + payload
        yield struct.pack("<I", crc32(rest)) + rest
        position += 4 + len(rest)
        sequence += count


def _good_segments(synced: bool) -> tuple[list[bytes], list[dict[bytes, Entry]]]:
    """Three segments, and every state that their writer had."""
    segments: list[bytes] = []
    states: list[dict[bytes, Entry]] = [{}]
    position, sequence, vouched, end = 0, 1, 0, 0
    for number in range(1, 4):
        salt = b"salt %03d" % number
        data = wal_frames.encode_header(SegmentHeader(ID, number, salt, position, sequence, number - 1, end, vouched))
        for index in range(3):
            if synced:
                vouched = position + len(data)
            points: dict[bytes, Entry] = {b"%d" % index: TOMBSTONE, b"%d.%d" % (number, index): b"v"}
            data += wal_frames.encode_commit(salt, position + len(data), sequence, vouched, points)
            states.append(states[-1] | points)
            sequence += 2
        segments.append(data)
        position, end = position + len(data), len(data)
    return segments, states


def _change_good_segments(data: bytes) -> None:
    """Flip, cut or overwrite at places that the data names; the result is a state that there was."""
    synced = bool(data[:1] and data[0] & 1)
    segments, states = _good_segments(synced)
    for at in range(1, len(data) - 4, 5):
        which, how, place, value = data[at] % 3, data[at + 1] % 4, int.from_bytes(data[at + 2 : at + 4]), data[at + 4]
        segment = segments[which]
        place %= len(segment) + 1
        segments[which] = {
            0: segment[:place],
            1: segment[:place] + bytes([value]) + segment[place + 1 :],
            2: segment[:place] + bytes(value) + segment[place + value :],
            3: segment + bytes([value]) * (place % 64),
        }[how]
    found = _recover(segments)
    assert found is None or found in states
