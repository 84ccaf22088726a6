"""A tail: a place in the write-ahead log, from which frames are read on while somebody writes it.

The writer may be another process, or another thread. It appends frames and begins segments; whatever is not a good
frame at the end is its work under way, and the tail waits there. Bytes are read by calls, never through a mapping: what
is read does not change any more while it is looked at.

A segment ends where its successor says (frames.SegmentHeader.predecessor_end). So the tail goes on to the next one only
when it has arrived there. A writer that is interrupted may put another frame into the place of one that was whole, but
never counted (wal/writer.py); a tail that has read it finds the last frame changed, and raises Rewritten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from flin.engine.disk.file_name import maybe_parse
from flin.engine.disk.fs import FileSystem, ReadableFile, join
from flin.engine.wal.frames import (
    FRAME_BYTES,
    HEADER_BYTES,
    SALT,
    SegmentHeader,
    decode_header,
    read_frame_header,
)
from flin.engine.wal.retention import segments_of
from flin.engine.wal.sealed import FrameOpener, maybe_opener
from flin.errors import CorruptionError

CHUNK_BYTES: Final = 1 << 20
"""Bytes that are read and decoded at once; a larger frame is read whole."""


class Rewritten(Exception):
    """The log does not go on from what was read: everything must be read anew."""


class Chunk(NamedTuple):
    """Bytes of a segment from a frame's first one on. `header`: the segment's, as if it began with these bytes.
    `opener`: that of an encrypted database."""

    data: bytes
    header: SegmentHeader
    path: str
    number: int
    opener: FrameOpener | None


class Taken(NamedTuple):
    """How much of a chunk was taken: up to where its good frames end, and the sequence after these."""

    end: int
    next_sequence: int


@dataclass(slots=True)
class _Segment:
    number: int
    path: str
    file: ReadableFile
    header: SegmentHeader
    end: int  # offset after the last frame that was taken
    opener: FrameOpener | None = None
    last: int = 0  # offset of that frame, 0 if none was taken here
    last_header: bytes = b""


class Tail:
    """A tail of the log of one directory. For one thread at a time."""

    def __init__(
        self, fs: FileSystem, directory: str, database_id: bytes, *, position: int, sequence: int, after: int
    ) -> None:
        """`position`, `sequence`: where the next frame belongs. `after`: the number of the segment before, of which
        nothing more is to be read, or below that of the first segment."""
        self.position = position
        self.sequence = sequence
        self._fs: Final = fs
        self._directory: Final = directory
        self._database_id: Final = database_id
        self._after = after
        self._segment: _Segment | None = None

    @property
    def number(self) -> int:
        """The number of the segment that is read, or was."""
        return self._after if self._segment is None else self._segment.number

    def enter(self, name: str, end: int) -> None:
        """Go on in this segment, from the offset on. OSError, CorruptionError; Rewritten if it is another's."""
        segment = self._opened(name)
        if segment.header.base + end != self.position:
            raise Rewritten(f"{name} has no position {self.position} at offset {end}")
        segment.end = end
        self._begin(segment)

    def close(self) -> None:
        """Let go of the file."""
        self._after, self._segment = self.number, None

    def read(self, take: Callable[[Chunk], Taken], stop: int | None = None, *, once: bool = False) -> bool:
        """Let `take` have chunk after chunk (`once`: one), up to the position `stop`, or the last good frame. Returns
        whether there was any frame. `stop` must be the end of a frame that counts.

        Raises Rewritten, OSError (a segment is gone), CorruptionError."""
        before = self.sequence
        while stop is None or self.position < stop:
            # First, so that nothing is read beyond the end of a segment that has one: what lies there never counted.
            following = self._maybe_following()
            if self._segment is not None:
                end = None if following is None else following.header.predecessor_end
                while self._read_chunk(self._segment, take, end, stop):
                    if once:
                        return True
            if following is None or (stop is not None and self.position >= stop):
                break
            self._enter(following)
        return self.sequence != before

    def _read_chunk(self, segment: _Segment, take: Callable[[Chunk], Taken], end: int | None, stop: int | None) -> bool:
        """Take one chunk, if there is a whole frame more. `end`: the segment's, if that is known."""
        limit = segment.file.size() if end is None else end
        if stop is not None:
            limit = min(limit, stop - segment.header.base)
        data = self._checked_chunk(segment, min(CHUNK_BYTES, limit - segment.end))
        if len(data) < FRAME_BYTES or not any(data[:8]):  # zeros of a window: nothing was written
            return False
        size = FRAME_BYTES + read_frame_header(data, 0).length
        if size > len(data) and segment.end + size <= limit:
            data = self._checked_chunk(segment, size)
        if read_frame_header(data, 0).first_sequence != self.sequence:
            return False  # it is half written
        header = replace(segment.header, base=segment.header.base + segment.end, first_sequence=self.sequence)
        if segment.opener is not None:
            segment.opener.start = segment.end
        taken = take(Chunk(data, header, segment.path, segment.number, segment.opener))
        if not taken.end:
            return False
        last = _last_frame(data, header, taken.end)
        segment.last, segment.last_header = segment.end + last, data[last : last + FRAME_BYTES]
        segment.end += taken.end
        self.position, self.sequence = segment.header.base + segment.end, taken.next_sequence
        return True

    def _checked_chunk(self, segment: _Segment, size: int) -> bytes:
        """So many bytes after the last frame, which must be as it was: read together, so the one vouches for the
        other."""
        if size <= 0:
            return b""
        if not segment.last:
            return segment.file.pread(size, segment.end)
        before = segment.end - segment.last
        if before > CHUNK_BYTES:  # a large frame: its header alone
            self._check(segment, segment.file.pread(FRAME_BYTES, segment.last))
            return segment.file.pread(size, segment.end)
        data = segment.file.pread(before + size, segment.last)
        self._check(segment, data)
        return data[before:]

    def _check(self, segment: _Segment, data: bytes) -> None:
        if data[:FRAME_BYTES] != segment.last_header:
            raise Rewritten(f"the frame at {segment.path}:{segment.last} was written over")

    def _maybe_following(self) -> _Segment | None:
        """The next segment, once it has a header."""
        name = self._next_name()
        if name is None:
            return None
        try:
            following = self._opened(name)
        except CorruptionError:
            return None  # it is being written
        if self._segment is not None and following.header.predecessor != self._segment.number:
            raise Rewritten(f"{name} follows segment {following.header.predecessor}, not {self._segment.number}")
        return following

    def _enter(self, following: _Segment) -> None:
        header, segment = following.header, self._segment
        if segment is not None and segment.end != header.predecessor_end:
            raise Rewritten(f"{segment.path} has no good frame at offset {segment.end}")
        if (header.base, header.first_sequence) != (self.position, self.sequence):
            raise Rewritten(f"{following.path} does not begin at position {self.position}, sequence {self.sequence}")
        self._begin(following)
        self.position = header.base + HEADER_BYTES

    def _begin(self, segment: _Segment) -> None:
        segment.opener = maybe_opener(self._fs, segment.header, segment.path)
        self._segment, self._after = segment, segment.number

    def _next_name(self) -> str | None:
        """The file of the segment with the next number."""
        names = segments_of(self._fs, self._directory)
        following = min((number for number in names if number > self._after), default=0)
        return names.get(following)

    def _opened(self, name: str) -> _Segment:
        path = join(self._directory, name)
        file = self._fs.open(path)
        header = decode_header(file.pread(HEADER_BYTES, 0), path)
        parsed = maybe_parse(name)
        if header.database_id != self._database_id or parsed is None or header.number != parsed.number:
            raise CorruptionError(path, 12, "the segment is another database's, or has another number")
        return _Segment(header.number, path, file, header, HEADER_BYTES)


def _last_frame(data: bytes, header: SegmentHeader, end: int) -> int:
    """The offset of the last of the good frames that end at `end`. A value may hold the salt, too."""
    at = end
    while True:
        at = data.rindex(header.salt, 0, at + len(header.salt) - 1)
        offset = at - SALT.start
        if offset >= 0:
            found = read_frame_header(data, offset)
            if found.position == header.base + offset and offset + FRAME_BYTES + found.length == end:
                return offset
