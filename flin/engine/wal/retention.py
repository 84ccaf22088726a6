"""Which segments are kept for those who watch, though tables hold what is in them (`wal_retention`).

No file names them: each segment's header names its predecessor, so the newest of them lead to the older ones, and a
segment that is missing ends the chain. Without retention, or in an older Flin, they are leftovers, and are removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from flin.engine.disk.file_name import maybe_parse
from flin.engine.disk.fs import FileSystem, join
from flin.engine.wal.frames import HEADER_BYTES, SegmentHeader, decode_header
from flin.errors import CorruptionError


class ChainedSegment(NamedTuple):
    name: str
    header: SegmentHeader


def segments_of(fs: FileSystem, directory: str) -> dict[int, str]:
    """The names of all segments, by number. Raises OSError."""
    names: dict[int, str] = {}
    for name in fs.names(directory):
        parsed = maybe_parse(name)
        if parsed is not None and parsed.role == "wal":
            names.setdefault(parsed.number, name)
    return names


def chain(
    fs: FileSystem, directory: str, database_id: bytes, names: Mapping[int, str], newest: int, end: int
) -> Iterator[ChainedSegment]:
    """The segment with the number `newest`, which begins before the position `end`, then its predecessor, and so on, as
    far as they are there. Raises OSError."""
    number = newest
    while number in names:
        header = _maybe_header(fs, join(directory, names[number]))
        if header is None or (header.database_id, header.number) != (database_id, number) or header.base >= end:
            return
        yield ChainedSegment(names[number], header)
        number, end = header.predecessor, header.base


def kept_segments(
    fs: FileSystem, directory: str, database_id: bytes, floor: int, position: int, retention_bytes: int
) -> list[ChainedSegment]:
    """The segments below the floor that hold the last `retention_bytes` before the position, newest first."""
    if not retention_bytes:
        return []
    kept = []
    names = segments_of(fs, directory)
    newest = max((number for number in names if number < floor), default=0)
    for segment in chain(fs, directory, database_id, names, newest, position):
        kept.append(segment)
        if segment.header.base <= position - retention_bytes:
            break
    return kept


def _maybe_header(fs: FileSystem, path: str) -> SegmentHeader | None:
    """The header; None if it is damaged, or if the file has gone."""
    try:
        file = fs.open(path)
    except FileNotFoundError:
        return None
    try:
        return decode_header(file.pread(HEADER_BYTES, 0), path)
    except CorruptionError:
        return None
    finally:
        file.close()
