"""A pipeline as columns: one command, arguments of the same lengths. Recognised by its bytes alone.

If only the arguments differ, every request is as long as the first, and the bytes between the arguments are equal in
all of them: so one `struct` cuts the whole chunk. The chunk rebuilt from its arguments and the first request's headers
must equal what arrived. That comparison is the proof, whatever the arguments hold; nothing is parsed. Keys of fixed
width (hashes, UUIDs, padded numbers) make such pipelines.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final, NamedTuple

MIN_REQUESTS: Final = 4
"""The least number of requests for which the look pays."""

MAX_ARGUMENT: Final = 1024
"""Longer ones gain nothing: their cost is the copying."""

_COUNTS: Final = {b"*2\r\n": 2, b"*3\r\n": 3}
_LENGTHS: Final = {b"$%d" % length: length for length in range(MAX_ARGUMENT + 1)}

Column = tuple[bytes, ...]
"""One argument of all requests."""


class Layout(NamedTuple):
    """How the requests of such a pipeline are laid out: all but the arguments after the name."""

    name: bytes
    head: bytes  # what stands before the first argument
    between: bytes  # between the first and the second; empty: there is no second
    number: int  # how many requests
    cut: Callable[[bytes], Iterator[tuple[bytes, ...]]]


KEPT_LAYOUTS: Final = 256

_layouts: Final[dict[tuple[int, bytes], Layout]] = {}
"""By a chunk's length and first bytes: a guess, which the comparison proves as it proves every layout."""


def maybe_columns(data: bytes, limit: int) -> tuple[bytes, list[Column]] | None:
    """The command's name as sent, and the other arguments, a column each, if these bytes are from MIN_REQUESTS to
    `limit` whole requests of such a pipeline, of two or three arguments each. None says nothing: the parsers look."""
    clue = len(data), data[:17]  # as far as the length of the key, after a name of three letters
    layout = _layouts.get(clue)
    columns = None if layout is None else _columns(layout, data)
    if columns is None:
        layout = _layout_of(data)
        columns = None if layout is None else _columns(layout, data)
        if layout is None or columns is None:
            return None
        if len(_layouts) >= KEPT_LAYOUTS:
            _layouts.clear()
        _layouts[clue] = layout
    assert layout is not None
    return (layout.name, columns) if layout.number <= limit else None


def _columns(layout: Layout, data: bytes) -> list[Column] | None:
    """The arguments, if the bytes have this layout."""
    _, head, between, _, cut = layout
    if between:
        rows = list(cut(data))
        columns = list(zip(*rows, strict=True))
        bodies: Iterable[bytes] = map(between.join, rows)
    else:
        bodies = tuple(chain.from_iterable(cut(data)))
        columns = [bodies]
    return columns if head + (b"\r\n" + head).join(bodies) + b"\r\n" == data else None


def _layout_of(data: bytes) -> Layout | None:
    """The layout of the first request, if whole ones of its length fill the chunk."""
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
    if rest or number < MIN_REQUESTS:
        return None
    second = f"{len(between)}x{lengths[2]}s" if between else ""
    cutter = struct.Struct(f"{len(head)}x{lengths[1]}s{second}2x")
    return Layout(parts[2], head, between, number, cutter.iter_unpack)
