"""What the frames of a segment tell if its header is damaged: its salt, its base, and what was synced.

A bad sector takes the header and the first frames with it, and then the salt is unknown. But each later frame can be
checked by itself: its checksum is right, its numbers fit each other, and its base (its position less its offset) is one
that the segment can have. Old bytes in these blocks that were never written over have another base.

Theory. A frame may begin at any byte, so all are tried. A regular expression finds, at 15 to 60 ns a byte, where the
highest bytes of a position, a sequence and a synced position are 0 and a kind follows them. The checksum is computed
only at these places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from flin.engine.disk.fs import Mapped
from flin.engine.wal.frames import SALT, SegmentHeader, find_frames, maybe_header_of_frame

_SHAPE: Final = re.compile(rb"(?s)(?=.{23}\0.{7}\0.{7}\0.{4}[\x01-\x04\x81-\x83\xc1-\xc3])")
"""A pattern of a frame's header (wal/frames.py). It consumes no bytes: the next one may begin at the very next byte."""


def lost_headers(data: Mapped, can_be_base: Callable[[int], bool]) -> Iterator[SegmentHeader]:
    """The part of a header that the first good frame of each salt tells: salt, base, sequence, synced."""
    salts: set[bytes] = set()
    for match in _SHAPE.finditer(data):
        offset = match.start()
        if data[offset + SALT.start : offset + SALT.stop] not in salts:
            found = maybe_header_of_frame(data, offset, can_be_base)
            if found is not None:
                salts.add(found.salt)
                yield found


def maybe_lost_header(data: Mapped) -> SegmentHeader | None:
    """The header that the first good frame tells, whatever its base; None if there is no such frame."""
    return next(lost_headers(data, lambda _: True), None)


def claimed_sync_without_header(data: Mapped, can_be_base: Callable[[int], bool]) -> int:
    """The highest synced position that good frames with a possible base name; 0 if there are none."""
    headers = list(lost_headers(data, can_be_base))
    return max((frame.synced for header in headers for frame in find_frames(data, header, 0, len(data))), default=0)
