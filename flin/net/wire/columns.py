"""A pipeline as columns: one command, arguments of the same lengths. Recognised by its bytes alone.

If only the arguments differ, every request is as long as the first, and the bytes between the arguments are equal in
all of them: so one `struct` cuts the whole chunk. The chunk formatted anew from its arguments and the first request's
headers must equal what arrived. That comparison is the proof, whatever the arguments hold; nothing is parsed. Keys of
fixed width (hashes, UUIDs, padded numbers) make such pipelines.

Cut and formatted as one, 16 requests cost 50 ns each for a GET, 120 for a SET, 150 for an HSET; request by request it
was 115, 225 and 320. Chunks of several connections that are of one length are joined and cut as if they were one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Final

MIN_REQUESTS: Final = 4
"""The least number of requests for which the look pays."""

MAX_ARGUMENT: Final = 1024
"""Longer ones gain nothing: their cost is the copying."""

MAX_COUNT: Final = 64
"""Words of a request: those of an untimed command (command.py) at most."""

_COUNTS: Final = {b"*%d" % count: count for count in range(2, MAX_COUNT + 1)}
_LENGTHS: Final = {b"$%d" % length: length for length in range(MAX_ARGUMENT + 1)}
_HEADERS: Final = {length: header for header, length in _LENGTHS.items()}

MOST_CUT: Final = 1024
"""Arguments that are cut by one `struct`: a larger one saves nothing more, and is kept."""

_LINE_FEED: Final = ord("\n")
_line_feeds: Final = bytes.count

Column = tuple[bytes, ...]
"""One argument of all requests."""


class Layout:
    """How such requests are laid out: all but the arguments after the name."""

    __slots__ = ("_arguments", "_cuts", "_cutter", "_most", "_pattern", "name", "size")

    def __init__(self, name: bytes, headers: Sequence[bytes], lengths: Sequence[int]) -> None:
        """The name as sent, the header of the request and of each argument, and the length of each argument, where the
        name is the first."""
        head = b"%b\r\n%b\r\n%b\r\n" % (headers[0], headers[1], name)
        skipped = [len(head) + len(headers[2]) + 2, *(len(header) + 4 for header in headers[3:])]
        self.name = name
        self._arguments = len(lengths) - 1  # after the name
        self._most = 1 << ((MOST_CUT // self._arguments).bit_length() - 1)  # requests that one struct cuts
        self._cutter = "".join(f"{skip}x{length}s" for skip, length in zip(skipped, lengths[1:], strict=True)) + "2x"
        self._pattern = head.replace(b"%", b"%%") + b"".join(b"%b\r\n%%b\r\n" % header for header in headers[2:])
        self._cuts: dict[int, Callable[[bytes, int], Column]] = {}  # of so many requests, a power of two
        self.size = struct.calcsize(self._cutter)  # bytes of a request

    def columns(self, data: bytes, fewest: int, most: int) -> list[Column] | None:
        """The arguments, a column each, if these bytes are so many requests of this layout."""
        number, rest = divmod(len(data), self.size)
        if rest or not fewest <= number <= most:
            return None
        flat = self._flat(data, number)
        if self._pattern * number % flat != data:
            return None
        count = self._arguments
        return [flat] if count == 1 else [flat[position::count] for position in range(count)]

    def _flat(self, data: bytes, number: int) -> Column:
        """The arguments of all requests, one request after another. A `struct` for each power of two: one for any
        number would be made for nearly every round anew, which takes longer than it saves."""
        flat: Column = ()
        offset = 0
        while number:
            power = min(1 << (number.bit_length() - 1), self._most)
            cut = self._cuts.get(power)
            if cut is None:
                cut = self._cuts[power] = struct.Struct(self._cutter * power).unpack_from
            flat += cut(data, offset)
            offset += power * self.size
            number -= power
        return flat


KEPT_LAYOUTS: Final = 128
"""Each has some 80 bytes for each argument that it cuts at once: 10 MB in all, were they of the largest."""

_layouts: Final[dict[tuple[int, bytes], Layout]] = {}
"""By a chunk's length and first bytes: a guess, which the comparison proves as it proves every layout."""


def maybe_columns(data: bytes, limit: int) -> tuple[bytes, list[Column]] | None:
    """The command's name as sent, and the other arguments, a column each, if these bytes are from MIN_REQUESTS to
    `limit` whole requests of such a pipeline. None says nothing: the parsers look."""
    return _cut(data, data, MIN_REQUESTS, limit)


def columns_of_chunks(chunks: Sequence[bytes]) -> tuple[bytes, list[Column]] | None:
    """What `maybe_columns` gives, of several chunks that begin with the same eleven bytes, one chunk after another: if
    all are of one length, and whole requests of one layout; or if each is one request, with as many arguments, and no
    argument holds a line end."""
    data = b"".join(chunks)
    if len(set(map(len, chunks))) == 1:
        found = _cut(chunks[0], data, 1, len(data))
        if found is not None:
            return found
    return _split(data, chunks)


def _split(data: bytes, chunks: Sequence[bytes]) -> tuple[bytes, list[Column]] | None:
    """The chunks, joined to `data`, as columns, if each is one request.

    Split at its line ends, a request is its count, then the header and the bytes of each argument in turn; the lengths
    that the headers say must be those of the bytes. Each chunk has the line ends of one request, not only all together:
    else one that is cut within its request could be completed by the next one, another client's. (Counted are line
    feeds, of which there are at least as many: that costs half.)"""
    count = _COUNTS.get(data[:4].partition(b"\r")[0], 0)
    stride = 2 * count + 1
    if not count or set(map(_line_feeds, chunks, repeat(_LINE_FEED))) != {stride}:
        return None
    number, parts = len(chunks), data.split(b"\r\n")
    if len(parts) != stride * number + 1 or parts[-1] or parts[::stride].count(parts[0]) != number:
        return None
    for place in range(1, stride, 2):
        arguments = parts[place + 1 : -1 : stride]
        if place == 1 and arguments.count(arguments[0]) != number:
            return None
        if parts[place:-1:stride] != [*map(_HEADERS.get, map(len, arguments))]:
            return None
    return parts[2], [tuple(parts[place:-1:stride]) for place in range(4, stride, 2)]


def _cut(first: bytes, data: bytes, fewest: int, most: int) -> tuple[bytes, list[Column]] | None:
    """The bytes, which begin with the chunk `first`, as columns, if they are so many requests."""
    clue = len(first), first[:17]  # as far as the length of the key, after a name of three letters
    layout = _layouts.get(clue)
    columns = None if layout is None else layout.columns(data, fewest, most)
    if columns is None:
        layout = _layout_of(first)
        columns = None if layout is None else layout.columns(data, fewest, most)
        if layout is None or columns is None:
            return None
        if len(_layouts) >= KEPT_LAYOUTS:
            _layouts.clear()
        _layouts[clue] = layout
    assert layout is not None
    return layout.name, columns


def _layout_of(data: bytes) -> Layout | None:
    """The layout of the first request, if so long ones can be all of the data: else it would be made in vain, for each
    mixed pipeline that begins and ends alike."""
    count = _COUNTS.get(data[:4].partition(b"\r")[0])
    if count is None:
        return None
    parts = data.split(b"\r\n", 2 * count)  # the count, then headers and arguments in turn, then all the rest
    headers = parts[1::2]
    lengths = [_LENGTHS.get(header, -1) for header in headers]
    if len(lengths) != count or min(lengths) < 0 or lengths[0] != len(parts[2]):
        return None
    if len(data) % (len(data) - len(parts[-1]) + lengths[-1] + 2):
        return None
    return Layout(parts[2], [parts[0], *headers], lengths)
