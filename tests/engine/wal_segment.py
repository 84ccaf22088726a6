"""WAL segments made by hand, frame by frame: the tests of the format, the writer and recovery cut and change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from flin.engine.entry import TOMBSTONE, Entry, Range
from flin.engine.memtable import Memtable
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import replay as wal_replay
from flin.engine.wal.frames import HEADER_BYTES, SegmentHeader

DATABASE_ID: Final = bytes(range(16))

HEADER: Final = SegmentHeader(
    database_id=DATABASE_ID,
    number=1,
    salt=b"\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8",
    base=0,
    first_sequence=1,
    predecessor=0,
    predecessor_end=0,
    synced=0,
)


class Segment:
    """A segment that grows; `ends` are the offsets after its header and after each frame."""

    def __init__(self, header: SegmentHeader = HEADER) -> None:
        self.header = header
        self.data = bytearray(wal_frames.encode_header(header))
        self.sequence = header.first_sequence
        self.synced = header.synced
        self.ends = [HEADER_BYTES]

    @property
    def position(self) -> int:
        return self.header.base + len(self.data)

    def put(self, key: bytes, value: bytes) -> Segment:
        return self._add(
            wal_frames.encode_put(self.header.salt, self.position, self.sequence, self.synced, key, value), 1
        )

    def commit(self, points: Mapping[bytes, Entry], ranges: Sequence[Range] = ()) -> Segment:
        salt = self.header.salt
        frame = wal_frames.encode_commit(salt, self.position, self.sequence, self.synced, points, ranges)
        return self._add(bytes(frame), len(points) + len(ranges))

    def end(self) -> Segment:
        return self._add(wal_frames.encode_end(self.header.salt, self.position, self.sequence, self.synced), 0)

    def sync(self) -> Segment:
        """From here on frames vouch for everything before them."""
        self.synced = self.position
        return self

    def successor(self, *, salt: bytes = b"", **changes: Any) -> Segment:
        """The segment that a writer would begin after this one."""
        header = SegmentHeader(
            self.header.database_id,
            self.header.number + 1,
            salt or bytes(byte ^ self.header.number for byte in self.header.salt),
            self.position,
            self.sequence,
            self.header.number,
            len(self.data),
            self.synced,
        )
        return Segment(replace(header, **changes))

    def _add(self, frame: bytes, operations: int) -> Segment:
        self.data += frame
        self.sequence += operations
        self.ends.append(len(self.data))
        return self


def sample_segment() -> Segment:
    """A small segment with every kind of frame and every shape of entry."""
    segment = Segment()
    segment.put(b"key", b"value").put(b"", b"")
    segment.commit({b"a": b"1", b"bb": b"", b"": b"22"})
    segment.sync().commit({b"gone": TOMBSTONE, b"late": (b"v", 1 << 40, 0), b"tag": (b"t", 0, 7), b"p": b"plain"})
    segment.commit({b"ab": b"kept"}, [(b"a", b"b"), (b"x", b"z")])
    return segment.sync().end()


def replayed(data: bytes, header: SegmentHeader = HEADER) -> tuple[wal_replay.Replay, Memtable]:
    memtable = Memtable()
    return wal_replay.replay(data, header, "w", memtable, end=len(data)), memtable


def prefixes(segment: Segment) -> list[tuple[dict[bytes, Entry], tuple[Range, ...]]]:
    """The contents of the memtable after each number of frames, beginning with none."""
    states = []
    for end in segment.ends:
        memtable = Memtable()
        wal_replay.replay(bytes(segment.data), segment.header, "w", memtable, end=end)
        states.append((dict(memtable.entries), memtable.ranges))
    return states
