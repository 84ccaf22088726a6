"""A pipeline of requests that are alike: one command, arguments of the same lengths. Recognised by its bytes alone.

Where only the arguments differ, every request is as long as the first, and what stands between the arguments stands in
all of them: so one `struct` cuts the whole chunk, and the chunk put together again from its pieces and the first
request's own headers must be what arrived. That comparison is the proof, whatever the arguments hold; nothing is
parsed. Keys of fixed width (hashes, UUIDs, padded numbers) make such pipelines.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

LEAST_REQUESTS: Final = 4
"""From so many on it pays to look."""

LONGEST_ARGUMENT: Final = 1024
"""Longer ones gain nothing: copying them is what costs."""

_COUNTS: Final = {b"*2\r\n": 2, b"*3\r\n": 3}
_LENGTHS: Final = {b"$%d" % length: length for length in range(LONGEST_ARGUMENT + 1)}

Row = tuple[bytes, ...]
"""A request's arguments behind its name."""


def maybe_alike(data: bytes, most: int) -> tuple[bytes, list[Row]] | None:
    """The command's name as sent, and the other arguments of each request, if these bytes are from LEAST_REQUESTS to
    `most` whole requests alike, of two or three arguments each. None says nothing: the parsers look."""
    count = _COUNTS.get(data[:4])
    if count is None:
        return None
    parts = data.split(b"\r\n", 2 * count)  # the count, then headers and arguments in turn, then all the rest
    lengths = [_LENGTHS.get(header, -1) for header in parts[1::2]]
    if len(lengths) != count or min(lengths) < 0 or lengths[0] != len(parts[2]):
        return None
    head = data[: 10 + len(parts[1]) + lengths[0] + len(parts[3])]
    between = b"\r\n%b\r\n" % parts[5] if count == 3 else b""
    size = len(head) + sum(lengths[1:]) + len(between) + 2
    number, rest = divmod(len(data), size)
    if rest or not LEAST_REQUESTS <= number <= most:
        return None
    rows = list(_cutter(len(head), lengths[1], len(between), lengths[-1] if count == 3 else 0)(data))
    bodies = [between.join(row) for row in rows] if count == 3 else [key for (key,) in rows]
    if head + (b"\r\n" + head).join(bodies) + b"\r\n" != data:
        return None
    return parts[2], rows


@lru_cache(256)
def _cutter(head: int, first: int, between: int, second: int) -> Callable[[bytes], Iterator[Row]]:
    """Cuts requests of this layout into rows."""
    rest = f"{between}x{second}s" if between else ""
    return struct.Struct(f"{head}x{first}s{rest}2x").iter_unpack
