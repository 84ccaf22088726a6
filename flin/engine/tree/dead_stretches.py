"""Dead stretches: ranges in which nothing lives, so that scans need not pass every tombstone of a queue each time.

Theory. Each take from the front of a queue, or from the end of a stack, leaves a tombstone there, and the next search
for the first key passes all of them. So a scan that has passed many reports how far they reach: nothing lives there,
and later scans leap over this stretch, as over a range delete that hides the entries of every memtable and table. A
stretch stays true whatever is deleted, flushed or merged; a put into it splits it. Expired entries are alive here: the
clock may be set back.

A scan takes time, and puts go on. It is registered before it begins, under the lock under which it gets its copy of the
active memtables; keys that are put meanwhile are left out of its stretch. A reader without a lock takes `parted` and
`known`, then the state, and afterwards checks that `parted` is still the same: then nothing was put into a stretch.

All methods are called under the commit lock. This module knows only keys.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

from flin.engine.boundaries import add, without
from flin.engine.entry import TOMBSTONE, Entry

MAX_STRETCHES: Final = 1024
"""The most stretches, and so queues of a database; with more, they are forgotten and found anew: the list of them is
copied when one changes (5 µs)."""

MAX_PUTS: Final = 1024
"""The most puts that come before a scan has found the first live key; nothing is learned from a longer scan."""

MAX_SEARCHES: Final = 16
"""The most scans that are tracked at once; then the oldest are given up, such as one that an interrupt has ended."""


class Search:
    """A scan of [start, stop) that has not found a live key yet."""

    __slots__ = ("puts", "start", "stop")

    def __init__(self, start: bytes, stop: bytes) -> None:
        self.start = start
        self.stop = stop
        self.puts: list[bytes] = []  # keys put within these bounds since it began


class DeadStretches:
    def __init__(self) -> None:
        self.known: list[bytes] = []  # boundaries: replaced, never changed
        self.parted = 0  # how often a put came into a stretch
        self.learns = False  # scans find out how far tombstones reach: once one has passed many
        self.heeds_puts = False  # puts must be reported
        self._searches: list[Search] = []

    def put(self, key: bytes) -> None:
        """The key is about to be put."""
        known = self.known
        if known and bisect_right(known, key) & 1:
            self.parted += 1
            self.known = without(known, key) if len(known) < 2 * MAX_STRETCHES else []
        for search in self._searches[:]:
            if search.start <= key < search.stop:
                search.puts.append(key)
                if len(search.puts) > MAX_PUTS:
                    self._searches.remove(search)

    def commit(self, points: Mapping[bytes, Entry]) -> None:
        """The points are about to be written."""
        known = self.known
        # Mostly all of them are after the last stretch, or between two: two passes in C.
        if points and not self._searches and known:
            at = bisect_right(known, min(points))
            if not at & 1 and at == bisect_right(known, max(points)):
                return
        for key, entry in points.items():
            if entry is not TOMBSTONE:
                self.put(key)

    def begin(self, start: bytes, stop: bytes) -> Search:
        """Register a scan, which gets its state now."""
        search = Search(start, stop)
        self._searches = [*self._searches[1 - MAX_SEARCHES :], search]
        self.heeds_puts = True
        return search

    def end(self, search: Search, start: bytes = b"", stop: bytes = b"") -> None:
        """The scan has ended, and found that nothing lives from start to stop in its state (nothing is learned if that
        range is empty)."""
        if search in self._searches:  # else it was given up
            self._searches.remove(search)
            if start < stop:
                known = list(self.known) if len(self.known) < 2 * MAX_STRETCHES else []
                add(known, start, stop)
                for key in search.puts:
                    known = without(known, key)
                self.known = known
        self._look_again()

    def forget(self) -> None:
        """Forget all stretches, since a merge has dropped tombstones: useful ones are soon found again."""
        self.known = []
        self._look_again()

    def reset(self) -> None:
        """Forget all stretches and scans: other entries are shown from now on, and nobody has told of each."""
        self.parted += 1
        self._searches = []
        self.forget()

    def _look_again(self) -> None:
        self.heeds_puts = bool(self.known or self._searches)
