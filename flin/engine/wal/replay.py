"""Replay: applies a segment's good frames to a memtable. wal/frames.py decides which frames are good."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from flin.engine.disk.fs import FileSystem, Mapped, join
from flin.engine.entry import KIND_DELETE, TOMBSTONE, Entry, Range
from flin.engine.memtable import Memtable
from flin.engine.wal.frames import (
    DELETE_BYTES,
    END_BYTES,
    FRAME_BYTES,
    FRAME_END,
    FRAME_OPERATIONS,
    FRAME_PUT,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    SEALED,
    SEALED_KINDS,
    Columns,
    GoodFrame,
    SealedColumns,
    SegmentHeader,
    SegmentSlice,
    ValidFrames,
    decode_header,
    decode_payload,
    is_blank,
    read_frame_header,
)
from flin.engine.wal.large_values import LargeValues
from flin.engine.wal.sealed import FrameOpener, maybe_opener
from flin.errors import CorruptionError, EncryptionError

SINGLE_FRAMES: Final = 64
"""Frames between two checkpoints, if they are not replayed in columns: half a millisecond, if each is a put of 1 KiB or
a batch of ten."""


@dataclass(slots=True)
class Replay:
    """The result of a replay: how far it came."""

    end: int  # offset after the last good frame
    next_sequence: int
    synced: int  # the highest synced position that a good frame named
    frames: int = 0
    operations: int = 0
    closed: bool = False  # an end frame came last
    stop_reason: str = ""  # why it ended; "" at the limit, or if only zeros are left


def replay(
    data: Mapped,
    header: SegmentHeader,
    path: str,
    memtable: Memtable,
    *,
    start: int = HEADER_BYTES,
    end: int,
    large: LargeValues | None = None,
    checkpoint: Callable[[], None] | None = None,
    opener: FrameOpener | None = None,
) -> Replay:
    """Apply the good frames of data[start:end] to the memtable, up to the first that is not good (wal.ValidFrames).
    `large`: put pointers in the places of large values. `checkpoint` is called at least once per half a millisecond.
    `opener`: that of an encrypted database (sealed.maybe_opener), all frames of which are sealed.

    CorruptionError for a good frame whose payload does not fit its count or whose seal is broken, FormatVersionError
    for a kind that only a newer Flin knows, EncryptionError for a sealed frame where there is no opener."""
    valid = ValidFrames(data, header, start, end)
    entries = memtable.entries
    threshold = MAX_PAYLOAD_BYTES if large is None else large.threshold
    for found in valid if checkpoint is None else _with_checkpoints(valid, checkpoint):
        if opener is not None:
            _apply_sealed(data, path, memtable, found, large, opener)
            continue
        if isinstance(found, SealedColumns):
            raise _no_key(path)
        if isinstance(found, Columns):
            values: Sequence[bytes] = found.values
            if large is not None and len(values[0]) >= threshold:
                first = found.positions[0] - header.base + FRAME_BYTES + 4 + len(found.keys[0])
                size = found.positions[1] - found.positions[0]
                values = large.pointers(range(first, first + size * len(values), size), values)
            entries.update(zip(found.keys, values, strict=True))
            continue
        offset, frame_end, kind, count = found
        if kind == FRAME_PUT:  # every put of the hot path comes by here: decoded in place
            body = offset + FRAME_BYTES + 4
            value_start = body + int.from_bytes(data[body - 4 : body], "little")
            if value_start > frame_end or count != 1:
                raise CorruptionError(path, offset, "a put's key is longer than its frame")
            value = data[value_start:frame_end]
            if large is not None and len(value) >= threshold:
                value = large.pointer(value_start, value)
            entries[data[body:value_start]] = value
        elif kind == FRAME_OPERATIONS and count == 1 and data[offset + FRAME_BYTES] == KIND_DELETE:
            # So does every delete. Its key is the rest after the columns; its length must say so.
            # Written out: wal.frames.decode_payload
            body = offset + FRAME_BYTES + DELETE_BYTES
            if int.from_bytes(data[body - 8 : body], "little") != frame_end - body:
                raise CorruptionError(path, offset, "a commit's lengths do not add up")
            entries[data[body:frame_end]] = TOMBSTONE
        elif kind in SEALED_KINDS:
            raise _no_key(path)
        elif kind != FRAME_END:
            payload = data[offset + FRAME_BYTES : frame_end]
            memtable.apply(*decode_payload(kind, payload, count, path, offset, large))
        else:
            check_end(count, frame_end, path, offset)
    return Replay(
        valid.end, valid.next_sequence, valid.synced, valid.frames, valid.operations, valid.closed, valid.stop_reason
    )


def _apply_sealed(
    data: Mapped,
    path: str,
    memtable: Memtable,
    found: GoodFrame | Columns | SealedColumns,
    large: LargeValues | None,
    opener: FrameOpener,
) -> None:
    if isinstance(found, SealedColumns):
        memtable.entries.update(zip(*opener.columns(data, found, large), strict=True))
        return
    if isinstance(found, Columns):
        raise CorruptionError(path, 0, "puts are not sealed, as all of an encrypted database are")
    offset, frame_end, kind, count = found
    if kind == SEALED | FRAME_PUT:
        _, [(key, value)] = opener.points(data, offset, frame_end, kind, count, large)
        memtable.entries[key] = value
    elif kind != FRAME_END:
        memtable.apply(*opener.points(data, offset, frame_end, kind, count, large))
    else:
        check_end(count, frame_end, path, offset)


def check_end(operations: int, frame_end: int, path: str, offset: int) -> None:
    """CorruptionError if an end counts operations, or is of another length than ends are: then it was a commit, which
    somebody hides. Ends are not sealed; of one as short as an end the next frame shows that numbers are missing."""
    if operations:
        raise CorruptionError(path, offset, f"the end of a segment counts {operations} operations")
    if frame_end - offset != END_BYTES:
        raise CorruptionError(path, offset, f"the end of a segment takes {frame_end - offset} bytes, not {END_BYTES}")


def _no_key(path: str) -> EncryptionError:
    return EncryptionError(f"{path} is of an encrypted database: give its key (encryption_key, --encryption-key-file)")


def _with_checkpoints(
    valid: ValidFrames, checkpoint: Callable[[], None]
) -> Iterator[GoodFrame | Columns | SealedColumns]:
    for number, found in enumerate(valid):
        yield found
        if isinstance(found, Columns | SealedColumns) or number % SINGLE_FRAMES == 0:
            checkpoint()


def load_segment(
    fs: FileSystem,
    directory: str,
    piece: SegmentSlice,
    memtable: Memtable,
    large: LargeValues | None = None,
    checkpoint: Callable[[], None] | None = None,
) -> Replay:
    """Apply the whole slice of a segment, in a file of the directory, to the memtable. CorruptionError on damage."""
    path = join(directory, piece.file)
    data = map_segment(fs, directory, piece)
    header = decode_header(data, path)
    opener = maybe_opener(fs, header, path)
    done = replay(
        data,
        header,
        path,
        memtable,
        start=piece.start,
        end=piece.end,
        large=large,
        checkpoint=checkpoint,
        opener=opener,
    )
    if done.stop_reason or done.end != piece.end:
        raise CorruptionError(path, done.end, done.stop_reason or "the segment holds zeros where frames should be")
    return done


def map_segment(fs: FileSystem, directory: str, piece: SegmentSlice) -> Mapped:
    """The bytes of a segment's file. CorruptionError if it is shorter than the slice."""
    path = join(directory, piece.file)
    file = fs.open(path)
    try:
        data = file.map()
    finally:
        file.close()
    if len(data) < piece.end:
        raise CorruptionError(path, len(data), f"the segment is shorter than its {piece.end} valid bytes")
    return data


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, decoded. Range deletes are older than the points."""

    offset: int
    end: int
    kind: int
    first_sequence: int
    count: int
    synced: int
    ranges: list[Range]
    points: list[tuple[bytes, Entry]]


def read_frames(
    data: Mapped, header: SegmentHeader, path: str, *, end: int, opener: FrameOpener | None = None
) -> Iterator[Frame]:
    """Every frame up to `end`, decoded one by one (for people to read: replay is the fast way).

    CorruptionError at the first that is not good.
    """
    offset = HEADER_BYTES
    while offset < end and not is_blank(data, offset, end):
        memtable = Memtable()
        if offset + FRAME_BYTES > end:
            raise CorruptionError(path, offset, "a frame's header is cut off")
        fields = read_frame_header(data, offset)
        frame_end = offset + FRAME_BYTES + fields.length
        single = replay(data, header, path, memtable, start=offset, end=min(frame_end, end), opener=opener)
        if single.stop_reason:
            raise CorruptionError(path, offset, single.stop_reason)
        points = list(memtable.entries.items())
        yield Frame(
            offset,
            frame_end,
            fields.kind,
            fields.first_sequence,
            fields.operations,
            fields.synced,
            list(memtable.ranges),
            points,
        )
        offset = frame_end
