"""The pending batch's pieces in order: what a ranged read of a collection lays over the store's page.

Nobody keeps the batch sorted. The first ranged read of a batch sorts the pieces that are there, and each later one adds
those that came since: the batch is a dict, and new keys stand at its end. So a pipeline of ZADD and reads of ranges
costs 1 µs for each new piece, where a walk over the whole batch costs 30 ns for each piece that it holds, at each read.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from sortedcontainers import SortedList

from flin.engine.entry import Entry
from flin.engine.key import PIECES_START

MIN_SORTED: Final = 48
"""Entries in a smaller batch are looked through: 1.5 µs."""


class PieceOrder:
    """`points` is the batch's own dict; whoever takes keys out of it tells."""

    __slots__ = ("_keys", "_points", "_seen")

    def __init__(self, points: dict[bytes, Entry]) -> None:
        self._points: Final = points
        self._keys: Any = None  # a SortedList
        self._seen = 0  # the first so many keys of the batch are sorted

    def between(self, start: bytes, stop: bytes) -> dict[bytes, Entry]:
        """The batch's pieces of [start, stop), in order if they are many."""
        points = self._points
        if len(points) < MIN_SORTED:
            return {key: entry for key, entry in points.items() if start <= key < stop}
        if self._keys is None:
            self._keys = SortedList([key for key in points if key >= PIECES_START])
        elif len(points) > self._seen:
            new = islice(reversed(points), len(points) - self._seen)
            self._keys.update([key for key in new if key >= PIECES_START])
        self._seen = len(points)
        return {key: points[key] for key in self._keys.irange(start, stop, (True, False))}

    def gone(self, key: bytes) -> None:
        """A piece was taken out of the batch."""
        if self._keys is not None and key in self._keys:
            self._keys.remove(key)
            self._seen -= 1

    def forget(self) -> None:
        """Many were, or all."""
        self._keys = None
        self._seen = 0
