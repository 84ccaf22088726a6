"""The format of the write-ahead log: segments of frames. Pure, over bytes: it knows neither files nor memtables.
wal/writer.py writes, wal/replay.py applies.

A segment (integers little-endian):

    offset  size
         0     8  magic "FlinWAL\\0"
         8     4  format version, 1
        12    16  identity of the database
        28     8  number of the segment
        36     8  salt, random: marks this segment's frames
        44     8  base: the WAL position of the segment's first byte
        52     8  first sequence
        60     8  number of the predecessor, 0 for none
        68     8  valid end of the predecessor, an offset in its file
        76     8  position up to which the WAL was known to be synced
        84     4  CRC-32 of all before it
        88        frames, one after the other

A frame, one commit:

         0     4  CRC-32 of all after it
         4     4  length of the payload, never 0
         8     8  salt of the segment
        16     8  position of the frame: base + offset in the file
        24     8  first sequence
        32     8  position up to which the WAL was known to be synced when the frame was made
        40     4  count of operations, each of which has a sequence
        44     1  kind
        45        payload

Payloads by kind:

    1  put:         key length (u32), key, value: the rest
    2  puts:        count key lengths (u32 each), count value lengths, the keys, the values
    3  operations:  count kinds (u8, entry.py), count tags (u8), count expiries (i64, ms, 0: none), count key lengths,
                    count value lengths, the keys, the values; of a range delete the key is its start, the value its
                    stop. Range deletes come first: they are older than the points of their commit.
    4  end:         the position of this frame again (u64); a clean close wrote it, count is 0

In an encrypted database puts and operations are sealed, with SEALED added to their kinds: wal/sealed.py.

After the last frame a segment may go on with zeros: those of a window that was mapped and not filled.

A position is a byte of the whole WAL, counted over all segments; it never goes back. Kind 0 and length 0 do not occur,
so zeroed bytes never pass for a frame (the CRC-32 of nothing is 0).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from sys import byteorder
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

from flin.engine.checksum import crc32
from flin.engine.disk.cipher import NONCE_BYTES, SEAL_BYTES
from flin.engine.disk.fs import Mapped
from flin.engine.entry import (
    KIND_DELETE,
    KIND_PUT,
    KIND_RANGE_DELETE,
    TOMBSTONE,
    Entry,
    Range,
    make_entry,
)
from flin.engine.key import MAX_KEY_BYTES
from flin.errors import CorruptionError, FormatVersionError, LimitError

MAGIC: Final = b"FlinWAL\0"
FORMAT_VERSION: Final = 1
FRAME_PUT: Final = 1
FRAME_PUTS: Final = 2
FRAME_OPERATIONS: Final = 3
FRAME_END: Final = 4
SEALED: Final = 0x80
WITH_VALUES: Final = 0x40
PLAIN_KIND: Final = 0x3F  # the bits without these two
SEALED_KINDS: Final = frozenset((0x81, 0x82, 0x83, 0xC2, 0xC3))
_GROUPED: Final = frozenset((FRAME_PUT, SEALED | FRAME_PUT, SEALED | WITH_VALUES | FRAME_PUTS))

_HEADER: Final = struct.Struct("<8sI16sQ8sQQQQQ")
_CRC: Final = struct.Struct("<I")
pack_crc: Final = _CRC.pack
HEADER_BYTES: Final = _HEADER.size + _CRC.size
_FRAME: Final = struct.Struct("<II8sQQQIB")
FRAME_REST: Final = struct.Struct("<I8sQQQIB")
_DELETE_REST: Final = struct.Struct("<I8sQQQIBBBQII")  # with the columns of one tombstone, its value's length 0
DELETE_BYTES: Final = _DELETE_REST.size - FRAME_REST.size  # those columns
_PUT_REST: Final = struct.Struct("<I8sQQQIBI")  # with the key's length, the first field of a put's payload
FRAME_BYTES: Final = _FRAME.size
END_BYTES: Final = FRAME_BYTES + 8  # of the frame that a clean close writes: its payload is its position
SALT: Final = slice(8, 16)
"""Where the segment's salt is in a frame."""

_POSITION: Final = struct.Struct("<Q")
_EXPIRY: Final = struct.Struct("<q")
_PUT: Final = bytes((KIND_PUT,))
_RANGE_DELETE: Final = bytes((KIND_RANGE_DELETE,))

_ONE: Final = b"\1\0\0\0"

MIN_GROUP_FRAMES: Final = 8
MAX_GROUP_FRAMES: Final = 256
"""The most puts of one shape that are checked at once. It begins with few, takes eight times as many if all were good,
and few again if not, so that a mixture costs little."""

MAX_GROUP_BYTES: Final = 1 << 18
"""The most bytes of such a group: it stays in the processor's cache, and memory is bounded."""

MAX_PAYLOAD_BYTES: Final = 0xFFFF_FFFF - 64
"""A payload's length has 32 bits; a little less, so that the length of a whole frame fits, too."""


@lru_cache(maxsize=32)  # of 256 frames: 80 KB
def _structs_of_puts(count: int, key_size: int, value_size: int) -> tuple[struct.Struct, struct.Struct]:
    """The structs of `count` frames of one plain put of this shape each: their fields, and what their checksums cover.

    All in one tuple, of which a column is a slice: a tuple for each frame costs a tenth more."""
    covered = FRAME_BYTES + key_size + value_size
    fields = struct.Struct("<" + f"I12sQQQ9s{key_size}s{value_size}s" * count)
    return fields, struct.Struct("<" + f"4x{covered}s" * count)


@lru_cache(maxsize=32)
def _structs_of_sealed(count: int, size: int, text: int) -> tuple[struct.Struct, struct.Struct, struct.Struct]:
    """The structs of `count` sealed puts of `size` bytes each: their fields, the first `text` bytes of what is sealed
    among them; what their checksums cover; their headers without these, with the nonces."""
    rest = size - FRAME_BYTES - NONCE_BYTES
    fields = struct.Struct("<" + f"I12sQQQ5s{NONCE_BYTES}s{text}s{rest - text}x" * count)
    covered = struct.Struct("<" + f"4x{size - 4}s" * count)
    return fields, covered, struct.Struct("<" + f"4x{size - 4 - rest}s{rest}x" * count)


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    database_id: bytes  # 16 bytes
    number: int
    salt: bytes  # 8 bytes
    base: int
    first_sequence: int
    predecessor: int
    predecessor_end: int
    synced: int


@dataclass(frozen=True, slots=True)
class SegmentSlice:
    """The valid frames of a segment, as offsets in its file."""

    file: str
    start: int
    end: int


def encode_header(header: SegmentHeader) -> bytes:
    fields = _HEADER.pack(
        MAGIC,
        FORMAT_VERSION,
        header.database_id,
        header.number,
        header.salt,
        header.base,
        header.first_sequence,
        header.predecessor,
        header.predecessor_end,
        header.synced,
    )
    return fields + _CRC.pack(crc32(fields))


def decode_header(data: Mapped, path: str) -> SegmentHeader:
    """The header. Raises CorruptionError, or FormatVersionError if a newer Flin wrote the segment."""
    if len(data) < HEADER_BYTES:
        raise CorruptionError(path, len(data), "the segment is shorter than its header")
    magic, version, *fields = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise CorruptionError(path, 0, "not a WAL segment")
    if version > FORMAT_VERSION:  # before the checksum, which may be elsewhere then: it must not seem torn
        raise FormatVersionError(path, f"WAL format {version}; this Flin reads up to {FORMAT_VERSION}")
    if version != FORMAT_VERSION or _CRC.unpack_from(data, _HEADER.size)[0] != crc32(data[: _HEADER.size]):
        raise CorruptionError(path, _HEADER.size, "the header's checksum does not match")
    return SegmentHeader(*fields)


def encode_put(salt: bytes, position: int, sequence: int, synced: int, key: bytes, value: bytes) -> bytes:
    """A frame with one plain put: the hot path.

    One checksum over the joined body costs 120 ns, three over its pieces 330; the second copy costs 40."""
    size = 4 + len(key) + len(value)
    if size > MAX_KEY_BYTES:  # a smaller frame cannot hold too long a key: one test in the ordinary case
        check_sizes((key,), size)
    rest = _PUT_REST.pack(size, salt, position, sequence, synced, 1, FRAME_PUT, len(key))
    body = b"".join((rest, key, value))
    return _CRC.pack(crc32(body)) + body


def encode_delete(salt: bytes, position: int, sequence: int, synced: int, key: bytes) -> bytes:
    """A frame of kind operations with one tombstone, in a third of the time. Written out: wal.frames.encode_commit"""
    size = DELETE_BYTES + len(key)
    if size > MAX_KEY_BYTES:
        check_sizes((key,), size)
    fields = (size, salt, position, sequence, synced, 1, FRAME_OPERATIONS, KIND_DELETE, 0, 0, len(key), 0)
    rest = _DELETE_REST.pack(*fields)
    body = rest + key
    return _CRC.pack(crc32(body)) + body


def encode_commit(
    salt: bytes,
    position: int,
    sequence: int,
    synced: int,
    points: Mapping[bytes, Entry],
    ranges: Sequence[Range] = (),
    plain: bool | None = None,
) -> bytearray:
    """A frame with a whole commit, never an empty one. LimitError if it passes 4 GiB. `plain`: are_plain(points), if
    the caller knows it already. (Written out in `encode_delete`.)"""
    kind, payload = plain_payload(points, ranges, plain)
    # One block of memory: with three 1 MB took 3.5 ms instead of 0.12, for pages that malloc had given back meanwhile.
    frame = bytearray().join((bytes(FRAME_BYTES), *payload))
    size = len(frame) - FRAME_BYTES
    if size > MAX_KEY_BYTES:
        check_sizes(points, size)
    _FRAME.pack_into(frame, 0, 0, size, salt, position, sequence, synced, len(points) + len(ranges), kind)
    _CRC.pack_into(frame, 0, crc32(memoryview(frame)[_CRC.size :]))
    return frame


def plain_payload(
    points: Mapping[bytes, Entry], ranges: Sequence[Range], plain: bool | None
) -> tuple[int, list[bytes | bytearray]]:
    """The kind and the payload of a commit, in pieces."""
    is_plain = not ranges and (are_plain(points) if plain is None else plain)
    return (FRAME_PUTS, _encode_puts(points)) if is_plain else (FRAME_OPERATIONS, _encode_operations(points, ranges))


def are_plain(points: Mapping[bytes, Entry]) -> bool:
    """Whether there are entries, and all are plain values: 15 ns each."""
    return set(map(type, points.values())) == {bytes}


def encode_end(salt: bytes, position: int, sequence: int, synced: int) -> bytes:
    """The frame that a clean close writes."""
    rest = FRAME_REST.pack(_POSITION.size, salt, position, sequence, synced, 0, FRAME_END) + _POSITION.pack(position)
    return _CRC.pack(crc32(rest)) + rest


class Columns(NamedTuple):
    """The fields of puts of one shape that follow each other: each field of all puts."""

    checksums: tuple[int, ...]
    heads: tuple[bytes, ...]  # length and salt
    positions: tuple[int, ...]
    sequences: tuple[int, ...]
    synced: tuple[int, ...]
    kinds: tuple[bytes, ...]  # count, kind and the key's length
    keys: tuple[bytes, ...]
    values: tuple[bytes, ...]


class SealedColumns(NamedTuple):
    """The fields of sealed puts of one size that follow each other."""

    offset: int  # of the first frame
    size: int  # of a frame
    headers: tuple[bytes, ...]  # without the checksums, with the nonces
    nonces: tuple[bytes, ...]
    sealed: tuple[bytes, ...]  # where the first has a large value: as far as that
    synced: tuple[int, ...]


GoodFrame: TypeAlias = tuple[int, int, int, int]
"""Offset, end, kind, and count of operations."""


class ValidFrames:
    """The good frames of data[start:stop], in order, up to the first that is not good. After the iteration, it tells
    where they end, and why.

    A frame is good if its CRC, salt, position and sequence are right. If only zeros are left, nothing was written: no
    stop_reason, but the end is before the stop. From the header on, sequences begin with the header's; from later on,
    with the first frame's.

    Puts of one shape, with keys and values of equal lengths, come as columns, many at once: that costs a third of
    checking them one by one (measured with their use: 2.5 µs before, 0.85 after)."""

    __slots__ = ("_data", "_header", "_start", "_stop", "closed", "end", "frames", "next_sequence", "operations",
                 "stop_reason", "synced")  # fmt: skip

    def __init__(self, data: Mapped, header: SegmentHeader, start: int, stop: int) -> None:
        self._data = data
        self._header = header
        self._start = start
        self._stop = stop
        self.end = start  # offset after the last good frame
        self.next_sequence = header.first_sequence
        self.synced = header.synced  # the highest synced position that a good frame named
        self.frames = 0
        self.operations = 0
        self.closed = False  # an end frame came last
        self.stop_reason = ""  # why it ended; "" at the stop, or if only zeros are left

    def __iter__(self) -> Iterator[GoodFrame | Columns | SealedColumns]:
        data, header, stop, view = self._data, self._header, self._stop, memoryview(self._data)
        base, salt = header.base, header.salt
        sequence = header.first_sequence if self._start == HEADER_BYTES else -1
        offset, last_kind, stop_reason = self._start, 0, ""
        highest, frames, operations, last_length, batch = header.synced, 0, 0, 0, MIN_GROUP_FRAMES
        while offset < stop:
            # 1. The header, which tells the frame's end.
            if offset + FRAME_BYTES > stop:
                stop_reason = _flaw(data, header, offset, stop, sequence)
                break
            crc, length, frame_salt, position, first, synced, count, kind = _FRAME.unpack_from(data, offset)
            frame_end = offset + FRAME_BYTES + length
            # 2. After a put of the same size: many at once.
            if length == last_length and kind in _GROUPED:
                tried = min(batch, min(stop - offset, MAX_GROUP_BYTES) // (frame_end - offset))
                equal = self._equal_puts if kind == FRAME_PUT else self._equal_sealed
                columns = equal(offset, frame_end, tried, sequence)
                batch = min(8 * batch, MAX_GROUP_FRAMES) if columns is not None and tried == batch else MIN_GROUP_FRAMES
                if columns is not None:
                    highest = max(highest, *columns.synced)
                    frames += tried
                    operations += tried
                    offset += tried * (frame_end - offset)
                    sequence += tried
                    last_kind = kind
                    yield columns
                    continue
            last_length = length
            # 3. One by one: is it good?
            if (
                frame_salt != salt
                or position != base + offset
                or not length
                or frame_end > stop
                or crc != crc32(view[offset + 4 : frame_end])
                or first != sequence >= 0
            ):
                stop_reason = _flaw(data, header, offset, stop, sequence)
                break
            # 4. It is.
            yield offset, frame_end, kind, count
            if synced > highest:
                highest = synced
            frames += 1
            operations += count
            sequence = first + count
            offset, last_kind = frame_end, kind
        self.end, self.next_sequence = offset, max(sequence, header.first_sequence)
        self.synced, self.frames, self.operations = highest, frames, operations
        self.closed = last_kind == FRAME_END
        self.stop_reason = "" if stop_reason and is_blank(data, offset, stop) else stop_reason

    def _equal_puts(self, offset: int, frame_end: int, number: int, sequence: int) -> Columns | None:
        """The columns of `number` frames from the offset on, if all are good puts of the first one's shape; that one
        ends at `frame_end`."""
        data, header, size = self._data, self._header, frame_end - offset
        body = offset + FRAME_BYTES + 4
        key_size = int.from_bytes(data[body - 4 : body], "little")
        if number < 2 or key_size > frame_end - body:
            return None
        frames = data[offset : offset + number * size]
        fields, rest = _structs_of_puts(number, key_size, frame_end - body - key_size)
        flat = fields.unpack(frames)
        columns = Columns(*[flat[place::8] for place in range(8)])
        first = header.base + offset
        heads, kinds = columns.heads, columns.kinds
        if (
            len(set(heads)) > 1
            or len(set(kinds)) > 1
            or heads[0][4:] != header.salt
            or kinds[0][:4] != _ONE
            or columns.positions != tuple(range(first, first + number * size, size))
            or columns.sequences != tuple(range(sequence, sequence + number))
            or columns.checksums != tuple(map(crc32, rest.unpack(frames)))
        ):
            return None
        return columns

    def _equal_sealed(self, offset: int, frame_end: int, number: int, sequence: int) -> SealedColumns | None:
        """What `_equal_puts` gives, of sealed puts of the first one's size."""
        data, header, size = self._data, self._header, frame_end - offset
        if number < 2 or size < FRAME_BYTES + SEAL_BYTES:
            return None
        frames = data[offset : offset + number * size]
        text = size - FRAME_BYTES - NONCE_BYTES
        if frames[FRAME_BYTES - 1] & WITH_VALUES:  # as far as its large value
            text = min(text, 4 + int.from_bytes(frames[FRAME_BYTES + NONCE_BYTES :][:4], "little"))
        fields, covered, rest = _structs_of_sealed(number, size, text)
        flat = fields.unpack(frames)
        checksums, heads, positions, sequences, synced, kinds, nonces, sealed = (flat[place::8] for place in range(8))
        first = header.base + offset
        if (
            len(set(heads)) > 1
            or len(set(kinds)) > 1
            or heads[0][4:] != header.salt
            or kinds[0][:4] != _ONE
            or positions != tuple(range(first, first + number * size, size))
            or sequences != tuple(range(sequence, sequence + number))
            or checksums != tuple(map(crc32, covered.unpack(frames)))
        ):
            return None
        return SealedColumns(offset, size, rest.unpack(frames), nonces, sealed, synced)


class FrameHeader(NamedTuple):
    """The fields of a frame, up to its payload."""

    checksum: int
    length: int
    salt: bytes
    position: int
    first_sequence: int
    synced: int
    operations: int
    kind: int


def read_frame_header(data: Mapped, offset: int) -> FrameHeader:
    """The fields of the frame at the offset, unchecked."""
    return FrameHeader._make(_FRAME.unpack_from(data, offset))


def _flaw(data: Mapped, header: SegmentHeader, offset: int, stop: int, sequence: int) -> str:
    """Why there is no good frame with this sequence at the offset."""
    if offset + FRAME_BYTES > stop:
        return "a frame's header is cut off"
    found = read_frame_header(data, offset)
    end = offset + FRAME_BYTES + found.length
    if found.salt != header.salt:
        return "not a frame of this segment"
    if found.position != header.base + offset or not found.length or end > stop:
        return "a frame's header is wrong"
    if found.checksum != crc32(memoryview(data)[offset + 4 : end]):
        return "a frame's checksum does not match"
    return f"sequence {found.first_sequence} follows where {sequence} should"


@dataclass(frozen=True, slots=True)
class FoundFrame:
    """Where a good frame lies, and what its header says."""

    offset: int
    end: int
    first_sequence: int
    count: int
    synced: int


def find_frames(data: Mapped, header: SegmentHeader, start: int, stop: int) -> Iterator[FoundFrame]:
    """The good frames from `start` to `stop`, also those after damage: checksum, salt and position are right."""
    salt = header.salt
    view = memoryview(data)
    found = data.find(salt, start + SALT.start)
    while found >= 0:
        offset, following = found - SALT.start, found + 1
        if offset + FRAME_BYTES <= stop:
            crc, length, _, position, first, synced, count, kind = _FRAME.unpack_from(data, offset)
            end = offset + FRAME_BYTES + length
            if position == header.base + offset and kind and length and end <= stop:  # noqa: SIM102
                if crc == crc32(view[offset + 4 : end]):
                    yield FoundFrame(offset, end, first, count, synced)
                    following = end + SALT.start
        found = data.find(salt, following)


def highest_claimed_sync(data: Mapped, header: SegmentHeader, start: int) -> int:
    """The highest synced position that good frames after `start` name, though the bytes before them are damaged."""
    return max((frame.synced for frame in find_frames(data, header, start, len(data))), default=0)


def maybe_header_of_frame(data: Mapped, offset: int, can_be_base: Callable[[int], bool]) -> SegmentHeader | None:
    """The part of a damaged header that a good frame at the offset tells (salt, base, sequence, synced); None if there
    is none."""
    if len(data) < offset + FRAME_BYTES:
        return None
    crc, length, salt, position, first, synced, _, kind = _FRAME.unpack_from(data, offset)
    end = offset + FRAME_BYTES + length
    if not kind or not length or end > len(data) or synced > position or position < offset:
        return None
    if not can_be_base(position - offset) or crc != crc32(memoryview(data)[offset + 4 : end]):
        return None
    return SegmentHeader(b"", 0, salt, position - offset, first, 0, 0, synced)


def is_blank(data: Mapped, start: int, end: int) -> bool:
    """Whether there are only zeros. The first bytes, a checksum and a length, decide in nearly every case."""
    return not any(data[start : min(start + 8, end)]) and data[start:end] == bytes(end - start)


def check_sizes(keys: Iterable[bytes], size: int) -> None:
    """LimitError if a key is too long, or the payload longer than its frame can say."""
    longest = max(map(len, keys), default=0)
    if longest > MAX_KEY_BYTES:
        raise LimitError("a key", longest, MAX_KEY_BYTES)
    if size > MAX_PAYLOAD_BYTES:
        raise LimitError("a commit's bytes", size, MAX_PAYLOAD_BYTES)


def _encode_puts(points: Mapping[bytes, Entry]) -> list[bytes | bytearray]:
    values: list[bytes] = list(points.values())  # type: ignore[arg-type]  # all are bytes: tested by the caller
    return [_lengths(points, values), *points, *values]


def _encode_operations(points: Mapping[bytes, Entry], ranges: Sequence[Range]) -> list[bytes | bytearray]:
    keys = [start for start, _ in ranges]
    keys += points
    values: list[Any] = [stop for _, stop in ranges]
    values += points.values()
    # A server's batch has few entries with tags among many plain ones: 120 ns an entry, 210 were each looked at.
    special = [place for place, entry in enumerate(values) if type(entry) is not bytes]
    count = len(keys)
    if len(special) == count and set(map(type, values)) == {type(TOMBSTONE)}:  # a sweep's: column by column
        columns = [bytes((KIND_DELETE,)) * count, bytes(count), bytes(8 * count)]
        return [*columns, _lengths(keys, repeat(b"", count)), b"".join(keys)]
    kinds = bytearray(_RANGE_DELETE * len(ranges) + _PUT * len(points))
    tags, expiries = bytearray(count), bytearray(8 * count)
    for place in special:
        if values[place] is TOMBSTONE:
            values[place], kinds[place] = b"", KIND_DELETE
        else:
            values[place], expires_at_ms, tags[place] = values[place]
            if expires_at_ms:
                _EXPIRY.pack_into(expiries, 8 * place, expires_at_ms)
    return [kinds, tags, expiries, _lengths(keys, values), *keys, *values]


class Replaces(Protocol):
    """What puts pointers in the places of large values (wal/large_values.py)."""

    def replaced(self, values: Iterable[bytes], stop: int) -> list[bytes]:
        """The values, which follow each other up to the offset `stop` of the segment."""


def decode_payload(
    kind: int, payload: bytes, count: int, path: str, offset: int, large: Replaces | None = None
) -> tuple[list[Range], list[tuple[bytes, Entry]]]:
    """The range deletes and points of a good frame of kind puts or operations. Raises CorruptionError if its lengths do
    not add up, FormatVersionError for any other kind. (Written out in wal.replay.replay.)"""
    frame_end = offset + FRAME_BYTES + len(payload)
    if kind == FRAME_PUTS:
        keys, values = _decode_columns(payload, 0, count, path, offset)
        if large is not None:
            values = large.replaced(values, frame_end)
        return [], list(zip(keys, values, strict=True))
    if kind != FRAME_OPERATIONS:
        raise FormatVersionError(path, f"the frame at offset {offset} is of kind {kind}; a newer Flin wrote it")
    if len(payload) < 10 * count:
        raise CorruptionError(path, offset, "a commit is shorter than its count of operations needs")
    keys, values = _decode_columns(payload, 10 * count, count, path, offset)
    kinds, tags = payload[:count], payload[count : 2 * count]
    if large is not None:
        others = kinds.rfind(KIND_RANGE_DELETE) + 1  # these come first; what else has a value is a put
        values = values[:others] + large.replaced(values[others:], frame_end)
    expiries = struct.unpack_from(f"<{count}q", payload, 2 * count)
    ranges: list[Range] = []
    points: list[tuple[bytes, Entry]] = []
    for operation, tag, expires_at_ms, key, value in zip(kinds, tags, expiries, keys, values, strict=True):
        if operation == KIND_PUT:
            points.append((key, make_entry(value, expires_at_ms, tag)))
        elif operation == KIND_DELETE:
            points.append((key, TOMBSTONE))
        elif operation == KIND_RANGE_DELETE:
            ranges.append((key, value))
        else:
            raise FormatVersionError(path, f"an operation at offset {offset} is of kind {operation}: from a newer Flin")
    return ranges, points


def _decode_columns(payload: bytes, start: int, count: int, path: str, offset: int) -> tuple[list[bytes], list[bytes]]:
    """The keys and values after their lengths, which begin at `start`."""
    blobs = start + 8 * count
    if not count or len(payload) < blobs:
        raise CorruptionError(path, offset, "a commit is shorter than its count of operations needs")
    lengths = struct.unpack_from(f"<{2 * count}I", payload, start)
    if blobs + sum(lengths) != len(payload):
        raise CorruptionError(path, offset, "a commit's lengths do not add up")
    at = blobs
    pieces = [payload[at : (at := at + length)] for length in lengths]
    return pieces[:count], pieces[count:]


_U32: Final[Literal["I", "L"]] = "I" if array("I").itemsize == 4 else "L"


def _lengths(keys: Iterable[bytes], values: Iterable[bytes]) -> bytes:
    """The column of the keys' lengths, then that of the values'."""
    lengths = array(_U32, [*map(len, keys), *map(len, values)])
    if byteorder == "big":
        lengths.byteswap()
    return lengths.tobytes()
