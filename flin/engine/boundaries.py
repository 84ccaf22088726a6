"""Range deletes as boundaries: one flat list of start, stop, start, stop, …, ascending, of ranges that share no key.

Theory. A key is covered if an odd number of boundaries lies at or below it, so one `bisect` answers (measured with
8,000 ranges: 0.3 µs; a loop over pairs takes 1.1 ms), and a range is added by one slice (1.9 µs; 1.8 ms). Work on
ascending keys leaps: from a key to the next boundary, from there to the next key. So it costs no more than the smaller
number of both, however many ranges there are elsewhere.

A list that a reader may see is never changed: `added` and `joined` make new ones. `add` is for the owner of a list.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from flin.engine.entry import Page, Range

Boundaries: TypeAlias = Sequence[bytes]

_MIN_RATIO: Final = 16
"""If the longer list has at least this many times as many boundaries, the shorter is added to it range by range: each
moves the boundaries after it (5 ns each), while a sort of both costs 100 ns for each."""


def covers(boundaries: Boundaries, key: bytes) -> bool:
    """Whether one of the ranges holds the key. (Written out in read.read_path.read_older.)"""
    return bool(bisect_right(boundaries, key) & 1)


def covers_all(boundaries: Boundaries, first: bytes, last: bytes) -> bool:
    """Whether one range holds all keys from first to last, both inclusive."""
    at = bisect_right(boundaries, first)
    return bool(at & 1) and last < boundaries[at]


def reaching(lists: Iterable[Boundaries], start: bytes, stop: bytes) -> list[Boundaries]:
    """Those lists of boundaries that may cover a key of [start, stop): a scan of users' keys pays nothing for range
    deletes of collections' pieces, which lie above all of them."""
    return [each for each in lists if each and each[0] < stop and start < each[-1]]


def meets(boundaries: Boundaries, start: bytes, stop: bytes) -> bool:
    """Whether one of the ranges holds a key of [start, stop)."""
    at = bisect_right(boundaries, start)
    return bool(at & 1) or (at < len(boundaries) and boundaries[at] < stop)


def add(boundaries: list[bytes], start: bytes, stop: bytes) -> None:
    """Add the range [start, stop), start < stop, in place; ranges that touch it become one with it."""
    low = bisect_left(boundaries, start)
    high = bisect_right(boundaries, stop, low)
    boundaries[low:high] = [start][low & 1 :] + [stop][high & 1 :]  # inside a range there is nothing to begin or end


def added(boundaries: Boundaries, ranges: Iterable[Range]) -> list[bytes]:
    """A new list that has these ranges, too."""
    result = list(boundaries)
    for start, stop in ranges:
        add(result, start, stop)
    return result


def boundaries_of(ranges: Iterable[Range]) -> list[bytes]:
    """The boundaries of ranges, which may overlap and come in any order."""
    result: list[bytes] = []
    for start, stop in sorted(ranges):
        if result and start <= result[-1]:
            result[-1] = max(result[-1], stop)
        else:
            result += (start, stop)
    return result


def joined(left: Boundaries, right: Boundaries) -> list[bytes]:
    """The boundaries of what either list covers."""
    few, many = (left, right) if len(left) < len(right) else (right, left)
    if len(few) * _MIN_RATIO <= len(many):
        return added(many, ranges_of(few))
    return boundaries_of([*ranges_of(few), *ranges_of(many)])


def ranges_of(boundaries: Boundaries) -> tuple[Range, ...]:
    """The ranges as pairs."""
    return tuple(zip(boundaries[::2], boundaries[1::2], strict=True))


def cut_boundaries(boundaries: Boundaries, start: bytes, stop: bytes) -> list[bytes]:
    """The part of the boundaries within [start, stop)."""
    low = bisect_right(boundaries, start)
    high = max(bisect_left(boundaries, stop), low)
    cut = [start][: low & 1] + list(boundaries[low:high]) + [stop][: high & 1]
    return cut if start < stop else []


def without(boundaries: Boundaries, key: bytes) -> list[bytes]:
    """A new list that does not cover the key: a range that holds it is split into those below and above it."""
    at = bisect_right(boundaries, key)
    result = list(boundaries)
    if at & 1:
        above = key + b"\0"  # the next possible key
        result[at - 1 : at + 1] = [
            *((boundaries[at - 1], key) if boundaries[at - 1] < key else ()),
            *((above, boundaries[at]) if above < boundaries[at] else ()),
        ]
    return result


def covered_slices(keys: Sequence[bytes], boundaries: Boundaries) -> Iterator[tuple[int, int]]:
    """Which of the ascending keys are covered, as slices (begin, end)."""
    at, count = 0, len(keys)
    while at < count:
        number = bisect_right(boundaries, keys[at])
        if number == len(boundaries):
            return
        end = bisect_left(keys, boundaries[number], at + 1)
        if number & 1:
            yield at, end
        at = end


def cut_page(page: Page, boundaries: Boundaries) -> Page:
    """An ascending page without the covered keys; the page itself if there are none."""
    keys, entries = page
    slices = list(covered_slices(keys, boundaries))
    if not slices:
        return page
    kept_keys, kept_entries, at = [], [], 0
    for begin, end in slices:
        kept_keys += keys[at:begin]
        kept_entries += entries[at:begin]
        at = end
    return kept_keys + keys[at:], kept_entries + entries[at:]


def skip(hidden: Iterable[Boundaries], start: bytes) -> bytes:
    """The first possible key from start on that none of the lists covers."""
    return _beyond(hidden, start, bisect_right, 0)


def skip_back(hidden: Iterable[Boundaries], stop: bytes) -> bytes:
    """The lowest bound such that no uncovered key lies between it and stop (exclusive)."""
    return _beyond(hidden, stop, bisect_left, -1)  # leave the range that holds, or ends with, the key just below


def _beyond(hidden: Iterable[Boundaries], bound: bytes, bisect: Callable[[Boundaries, bytes], int], end: int) -> bytes:
    """Move the bound out of a range of one list, perhaps into that of another, until it lies in none."""
    lists = list(hidden)
    moved = True
    while moved:
        moved = False
        for boundaries in lists:
            at = bisect(boundaries, bound)
            if at & 1:
                bound, moved = boundaries[at + end], True
    return bound
