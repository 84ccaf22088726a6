"""Recovery: reads, at open, what the WAL holds and no table holds. It changes nothing.

The rules (docs/formats.md gives their reasons):

1. Segments form a chain: each header names its predecessor and the predecessor's valid end. Bytes after that end are
   left from a failed write, and are ignored.
2. A bad frame ends the replay. If a good frame or header anywhere vouches that the WAL was synced beyond it, something
   that was promised is damaged: CorruptionError. Otherwise it is a torn tail: recovery ends there, and later segments,
   none of which was ever synced, are discarded whole. So the recovered state is a prefix of the accepted writes.
3. A file without a good header was begun and never synced, or it is damaged: decided by rule 2. Frames after a lost
   header vouch, too, if the damaged stretch is not too long (lost_header.py).

Segments become generations again: those that fit together into one generation's memory are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from flin.engine.catalog.manifest import Manifest
from flin.engine.disk.file_name import maybe_parse
from flin.engine.disk.fs import FileSystem, Mapped, join
from flin.engine.memtable import ENTRY_OVERHEAD_BYTES, Memtable
from flin.engine.wal.frames import (
    END_BYTES,
    HEADER_BYTES,
    SegmentHeader,
    SegmentSlice,
    decode_header,
    highest_claimed_sync,
)
from flin.engine.wal.lost_header import claimed_sync_without_header, lost_headers
from flin.engine.wal.replay import replay
from flin.engine.wal.sealed import maybe_opener
from flin.errors import CorruptionError

EPOCH_SHIFT: Final = 20
"""Segments of an epoch are numbered from epoch << 20 on, so that no number is used twice, not even that of a segment
whose name was lost in a power cut: its stale bytes in the blocks of a new segment never pass for the new one's. A
million segments, each of megabytes, are more than one open writes; if not, the numbers just go on."""


@dataclass(slots=True)
class RecoveredGeneration:
    """Segments and the memtable that they replay to, not yet split by shard."""

    memtable: Memtable = field(default_factory=Memtable)
    segments: list[SegmentSlice] = field(default_factory=list)
    bytes: int = 0
    operations: int = 0
    end_position: int = 0
    next_sequence: int = 0
    next_segment: int = 0


@dataclass(slots=True)
class Recovery:
    """The state of the WAL, and the place where writing goes on."""

    generations: list[RecoveredGeneration]  # oldest first
    position: int
    next_sequence: int
    last_segment: int  # the accepted one with the highest number, 0 if there is none
    last_end: int  # its valid end
    next_number: int  # above every number in the directory
    synced: int = 0  # the highest position that was known to be synced
    end_positions: dict[str, int] = field(default_factory=dict)  # by file name, of each accepted segment
    operations: int = 0
    torn: str = ""  # what was cut off, "" if nothing was
    clean: bool = True  # the last run closed the WAL, or never began it


@dataclass(slots=True)
class _Segment:
    number: int
    name: str
    path: str
    data: Mapped
    header: SegmentHeader | None  # None if it is bad
    stop_reason: str


def recover(fs: FileSystem, directory: str, manifest: Manifest, generation_bytes: int) -> Recovery:
    """Replay every live segment. CorruptionError if something that was synced is damaged or missing."""
    segments = _live_segments(fs, directory, manifest)
    highest = max((segment.number for segment in segments), default=manifest.wal_floor - 1)
    next_number = max(highest + 1, (manifest.epoch + 1) << EPOCH_SHIFT)
    result = Recovery([], manifest.wal_position, manifest.next_sequence, 0, 0, next_number)
    good = [segment for segment in segments if segment.header is not None]
    bad = [segment for segment in segments if segment.header is None]
    stop_reason = ""
    damaged, at = (segments[0].path, 0) if segments else (directory, 0)
    for index, segment in enumerate(good):
        reason = _broken_link(segment, result)
        if not reason:
            follower = good[index + 1] if index + 1 < len(good) else None
            reached = _replay_segment(fs, segment, follower, result, generation_bytes)
            reason, damaged, at = reached.stop_reason, segment.path, reached.end
            result.clean = reached.closed
        if reason:
            stop_reason = f"{segment.name}: {reason}"
            lost = [each for each in bad if result.last_segment < each.number < segment.number]
            if lost and segment.number != result.last_segment:  # that is why it does not follow
                damaged, at = lost[0].path, 0
            break
    if bad and not stop_reason:
        stop_reason, damaged, at = f"{bad[-1].name}: {bad[-1].stop_reason}", bad[-1].path, 0
    if not stop_reason and result.synced > result.position:
        stop_reason = "the WAL ends"
    if stop_reason:
        if _vouched_by(segments, result.position) > result.position:
            raise CorruptionError(damaged, at, f"{stop_reason}, before a position that was synced")
        result.torn, result.clean = stop_reason, False
    return result


def without_wal(fs: FileSystem, directory: str, manifest: Manifest) -> Recovery:
    """Replay no segment: the contents are those of the tables, as a replica begins that applies its log after them. A
    manifest with `next_number` for its floor frees all segments that are there."""
    parsed = [found for name in fs.names(directory) if (found := maybe_parse(name)) is not None]
    highest = max((found.number for found in parsed if found.role == "wal"), default=0)
    next_number = max(highest + 1, (manifest.epoch + 1) << EPOCH_SHIFT)
    return Recovery([], manifest.wal_position, manifest.next_sequence, 0, 0, next_number)


def _broken_link(segment: _Segment, result: Recovery) -> str:
    """Why the segment does not follow the segments replayed so far; "" if it does."""
    header = segment.header
    assert header is not None
    if result.last_segment and header.predecessor != result.last_segment:
        return f"it follows segment {header.predecessor}, which is missing or damaged"
    if header.base != result.position or header.first_sequence != result.next_sequence:
        return (
            f"it begins at position {header.base}, sequence {header.first_sequence}; what is before it ends at"
            f" {result.position}, {result.next_sequence}"
        )
    return ""


@dataclass(slots=True)
class _Reached:
    end: int
    stop_reason: str
    closed: bool


def _replay_segment(
    fs: FileSystem, segment: _Segment, follower: _Segment | None, result: Recovery, generation_bytes: int
) -> _Reached:
    """Apply one segment to the last generation, or to a new one if that is full."""
    header = segment.header
    assert header is not None
    limit = len(segment.data)
    limit_is_named = False
    if follower is not None and follower.header is not None and follower.header.predecessor == segment.number:
        limit, limit_is_named = follower.header.predecessor_end, True
    if not result.generations or result.generations[-1].bytes >= generation_bytes:
        result.generations.append(RecoveredGeneration())
    generation = result.generations[-1]
    memtable = generation.memtable
    before = len(memtable.entries)
    opener = maybe_opener(fs, header, segment.path)
    done = replay(segment.data, header, segment.path, memtable, end=min(limit, len(segment.data)), opener=opener)
    if not done.stop_reason and done.end < limit and limit_is_named:
        done.stop_reason = f"the segment ends at {done.end}, its successor says {limit}"
    end = done.end
    if done.closed and not limit_is_named:
        # The sync after the end frame may have failed, and the kernel may show a frame that is not on the disk: the
        # next segment continues at the end before it, which that frame vouches for.
        end -= END_BYTES
    generation.segments.append(SegmentSlice(segment.name, HEADER_BYTES, end))
    generation.bytes += end + (len(memtable.entries) - before) * ENTRY_OVERHEAD_BYTES
    generation.operations += done.operations
    result.operations += done.operations
    result.synced = max(result.synced, done.synced)
    result.position = header.base + end
    result.end_positions[segment.name] = result.position
    result.next_sequence = done.next_sequence
    result.last_segment, result.last_end = segment.number, end
    generation.end_position, generation.next_sequence = result.position, done.next_sequence
    generation.next_segment = segment.number + 1
    return _Reached(end, done.stop_reason, done.closed)


def _live_segments(fs: FileSystem, directory: str, manifest: Manifest) -> list[_Segment]:
    segments: dict[int, _Segment] = {}
    parsed_names = [(parsed, name) for name in fs.names(directory) if (parsed := maybe_parse(name)) is not None]
    for parsed, name in sorted(parsed_names, key=lambda pair: pair[0].epoch):
        if parsed.role != "wal" or parsed.number < manifest.wal_floor:
            continue
        if parsed.number in segments:
            continue  # the copy that an open began (opening.py) and did not finish: the original is still there
        path = join(directory, name)
        if not fs.is_file(path):
            raise CorruptionError(path, 0, "not a regular file")
        file = fs.open(path)
        try:
            data = file.map()
        finally:
            file.close()
        segments[parsed.number] = _read_header(parsed.number, name, path, data, manifest)
    return [segments[number] for number in sorted(segments)]


def _read_header(number: int, name: str, path: str, data: Mapped, manifest: Manifest) -> _Segment:
    try:
        header = decode_header(data, path)
    except CorruptionError as error:
        return _Segment(number, name, path, data, None, error.reason)
    if header.database_id != manifest.database_id:
        if all(found.salt == header.salt for found in lost_headers(data, lambda base: base >= manifest.wal_position)):
            raise CorruptionError(path, 12, "the segment belongs to another database")
        # A power cut left another database's bytes in the header's place: there are frames that do not belong to it.
        return _Segment(number, name, path, data, None, "another database's bytes are in the place of its header")
    if header.number != number:
        # A power cut may leave an older segment's bytes in the blocks of a new one.
        return _Segment(number, name, path, data, None, f"the segment says it is number {header.number}")
    return _Segment(number, name, path, data, header, "")


def _vouched_by(segments: Sequence[_Segment], position: int) -> int:
    """The highest position that a good frame or header in the segments vouches for. `position`: the end of the
    replay."""
    highest = 0
    last_base = position + sum(len(segment.data) for segment in segments)

    def can_be_base(base: int) -> bool:
        """Whether a segment that was not replayed can have this base. What its blocks held before lies below."""
        return position <= base <= last_base

    for segment in segments:
        header = segment.header
        if header is None:
            # Its header may be damaged, or was never on the disk: frames that vouch for a sync decide.
            highest = max(highest, claimed_sync_without_header(segment.data, can_be_base))
        else:
            highest = max(highest, header.synced, highest_claimed_sync(segment.data, header, HEADER_BYTES))
    return highest
