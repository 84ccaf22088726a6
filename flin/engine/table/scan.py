"""Ordered reads of one table: pages of neighbouring entries, forwards or backwards.

Theory. A seek often needs ten entries, so the first page has sixteen, cut out of its block; whole blocks follow, joined
to ever larger pages, since a caller spends about a microsecond on each page. Raw blocks are decoded where they lie in
the mapping; only the block that a scan begins in may enter the cache, or long scans would flood it. Past all caches
(compaction) one pread reads many blocks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from flin.engine.entry import Page
from flin.engine.table import block, stored_block
from flin.engine.table import footer as table_footer
from flin.engine.table.block import COMPRESSED
from flin.engine.table.state import PACKED, TableState
from flin.engine.table.stored_block import CHECKSUM_SIZE

_FIRST_ENTRIES: Final = 16
_PAGE_ENTRIES: Final = 256
_PAGE_SIZE: Final = 256 << 10
"""Stored bytes from which on no more blocks join a page: 256 large values would be hundreds of megabytes."""

_SPAN_SIZE: Final = 256 << 10
"""Bytes per pread past the caches: the system call is then 2 % of the decoding."""

Decode: TypeAlias = Callable[[bytes, int], tuple[list[bytes], Any]]
"""Payload and its start → keys, and an entry or a kind for each (block.decode, block.decode_kinds)."""

_Located: TypeAlias = Iterator[tuple[int, bytes, int]]
"""Block number, source, and the start of the payload in it."""


def scan(
    state: TableState, decode: Decode, start: bytes, stop: bytes, reverse: bool, cached: bool
) -> Iterator[tuple[list[bytes], Any]]:
    """Pages from start (inclusive) to stop (exclusive); the caller owns the lists. See Table.pages."""
    separators = state.separators
    if start >= stop or not separators:
        return
    low = max(bisect_right(separators, start) - 1, 0) if start else 0
    is_bounded = stop <= state.largest
    # The last block whose separator is below stop.
    high = max(bisect_left(separators, stop) - 1, low) if is_bounded else len(separators) - 1
    first, last = (high, low) if reverse else (low, high)
    lower, upper = start if first == low else b"", stop if first == high and is_bounded else None
    yield from _begin(state, decode, first, lower, upper, reverse, cached)
    if first == last:
        return
    starts = state.starts
    size = 0
    wanted = _FIRST_ENTRIES  # each page is twice as large as the one before: most scans end soon
    keys: list[bytes] = []
    items: Any = []
    for number, source, at in (_locate if cached else _read_spans)(state, first, last, reverse):
        more_keys, more_items = decode(source, at)
        if number == last:
            more_keys, more_items = _trim(more_keys, more_items, start, stop)
        if reverse:
            more_keys.reverse()
            more_items = more_items[::-1]
        if keys:
            keys += more_keys
            items += more_items
        else:
            keys, items = more_keys, more_items
        size += starts[number + 1] - starts[number]
        if len(keys) >= wanted or size >= _PAGE_SIZE:
            wanted = min(2 * len(keys), _PAGE_ENTRIES)
            yield keys, items
            keys, items, size = [], [], 0
    if keys:
        yield keys, items


def scan_nowait(state: TableState, start: bytes, stop: bytes, reverse: bool) -> Iterator[Page]:
    """The entries from start to stop, block by block, for who must not wait: ColdRead where a block is not in memory.
    Those that are read enter the cache, so that asking again gets further."""
    first, behind = state.blocks_between(start, stop)
    for number in reversed(range(first, behind)) if reverse else range(first, behind):
        keys, entries = state.page_nowait(number)
        begin, end = bisect_left(keys, start), bisect_left(keys, stop)
        if begin < end:
            keys, entries = keys[begin:end], entries[begin:end]
            yield (keys[::-1], entries[::-1]) if reverse else (keys, entries)


def _begin(
    state: TableState, decode: Decode, number: int, start: bytes, stop: bytes | None, reverse: bool, cached: bool
) -> Iterator[tuple[list[bytes], Any]]:
    """The block that a scan begins in, between bounds: a few entries at once, the others later."""
    found = state.blocks[number] if cached and decode is block.decode else None
    page = found.page() if found is not None and found.entries is not None else None
    source, at = seek(state, number, cached) if page is None else (b"", 0)
    if page is None:
        begin = block.lower_bound(source, at, start) if start else 0
        end = block.entry_count(source, at) if stop is None else block.lower_bound(source, at, stop)
    else:
        begin = bisect_left(page[0], start)
        end = len(page[0]) if stop is None else bisect_left(page[0], stop)
    middle = max(end - _FIRST_ENTRIES, begin) if reverse else min(begin + _FIRST_ENTRIES, end)
    for head, tail in ((middle, end), (begin, middle)) if reverse else ((begin, middle), (middle, end)):
        if head >= tail:
            continue
        if page is None:
            keys, items = _cut(decode, source, at, head, tail)
        else:
            keys, items = page[0][head:tail], page[1][head:tail]
        yield (keys[::-1], items[::-1]) if reverse else (keys, items)


def seek(state: TableState, number: int, cached: bool) -> tuple[bytes, int]:
    """The payload of the block that a scan begins in."""
    start = state.starts[number]
    if not cached:
        size = state.starts[number + 1] - start
        stored = table_footer.read_part(state.file, start, size)
        stored_block.verify(stored, start - state.base, state.path, state.base)
        return stored_block.unpack(stored, state.path, start), 0
    if (state.marks[number] or state.verify(number)) != PACKED:
        return state.data, start
    found = state.blocks[number]
    if found is None:
        found = state.admit(number, state.unpack(number))
    payload = found.payload
    return (state.unpack(number) if payload is None else payload), 0


def _cut(decode: Decode, source: bytes, at: int, begin: int, end: int) -> tuple[list[bytes], Any]:
    """The entries from index begin to end of one block."""
    items: Any
    if decode is block.decode and end - begin <= _FIRST_ENTRIES:
        keys, items = block.decode_slice(source, at, begin, end)
    else:
        keys, items = decode(source, at)
        keys, items = keys[begin:end], items[begin:end]
    return keys, items


def _trim(keys: list[bytes], items: Any, start: bytes, stop: bytes) -> tuple[list[bytes], Any]:
    begin = bisect_left(keys, start)
    end = bisect_left(keys, stop, begin)
    return keys[begin:end], items[begin:end]


def _locate(state: TableState, first: int, last: int, reverse: bool) -> _Located:
    """The blocks after first up to last, from mapping and cache."""
    data, starts, marks = state.data, state.starts, state.marks
    for number in range(first - 1, last - 1, -1) if reverse else range(first + 1, last + 1):
        if (marks[number] or state.verify(number)) != PACKED:
            yield number, data, starts[number]
        else:
            found = state.blocks[number]
            payload = None if found is None else found.payload
            if payload is None:
                payload = state.unpack(number)
                has_room = found is None and state.cache is not None and state.cache.has_room()
                if has_room and state.heat.on_miss(number, False):  # the second scan: it costs a tenth of one
                    state.admit(number, payload)
            yield number, payload, 0


def _read_spans(state: TableState, first: int, last: int, reverse: bool) -> _Located:
    """The blocks of a scan, with preads of many at once."""
    starts, path, base = state.starts, state.path, state.base
    low, high = (last, first) if reverse else (first + 1, last + 1)
    while low < high:
        if reverse:
            end = high
            begin = high = min(bisect_left(starts, max(starts[end] - _SPAN_SIZE, 0), low, end), end - 1)
        else:
            begin = low
            end = low = max(bisect_right(starts, starts[begin] + _SPAN_SIZE, begin, high + 1) - 1, begin + 1)
        origin = starts[begin]
        span = table_footer.read_part(state.file, origin, starts[end] - origin)
        view = memoryview(span)
        for number in range(end - 1, begin - 1, -1) if reverse else range(begin, end):
            start, stop = starts[number] - origin, starts[number + 1] - origin
            stored_block.verify(view[start:stop], start + origin - base, path, base)
            if span[start] < COMPRESSED:
                block.check(span, start, stop - CHECKSUM_SIZE, path, start + origin)
                yield number, span, start
            else:
                yield number, stored_block.unpack(span[start:stop], path, start + origin), 0
