"""Dead stretches: where nothing lives, so that a scan need not pass every tombstone of a queue again and again.

Theory. Who takes from the front of a queue, or from the end of a stack, leaves a tombstone there each time, and the
next one to ask for the first key passes all of them. So a scan that has passed many says how far they reach: between
there nothing lives, and whoever comes next leaps over it, as over a range delete that hides what every part and table
holds. A stretch stays true whatever is deleted, flushed or merged; a put into it parts it. Expired entries are alive
here: the clock may be set back.

A scan takes time, and puts go on. It is registered before it begins, under the lock under which it gets its copy of
the active parts; what is put meanwhile is left out of what it has found. A reader without a lock takes `parted` and
`known`, then the state, and looks afterwards whether `parted` is the same still: then nothing was put into a stretch.

All methods are called under the commit lock. It knows keys only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

from flin.engine.boundaries import add, without
from flin.engine.entry import TOMBSTONE, Entry

MAX_STRETCHES: Final = 1024
"""As many queues may be in one database before they are forgotten and found anew: a list of them is copied when one
changes (5 µs)."""

MAX_PUTS: Final = 1024
"""Puts that a scan may meet before it has found the first live key; of a scan that takes longer nothing is kept."""

MAX_SEARCHES: Final = 16
"""Scans that are looked after at once; of more, and of one that an interrupt ended unseen, the oldest are given up."""


class Search:
    """A scan of [start, stop) that has not found a live key yet."""

    __slots__ = ("puts", "start", "stop")

    def __init__(self, start: bytes, stop: bytes) -> None:
        self.start = start
        self.stop = stop
        self.puts: list[bytes] = []  # into these bounds since it began


class DeadStretches:
    def __init__(self) -> None:
        self.known: list[bytes] = []  # boundaries: replaced, never changed
        self.parted = 0  # how often a put came into one of them
        self.learns = False  # scans look how far tombstones reach: from the first on that has passed many
        self.heeds_puts = False  # puts must be told
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
        """These are about to be written."""
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
        """A scan gets its state now."""
        search = Search(start, stop)
        self._searches = [*self._searches[1 - MAX_SEARCHES :], search]
        self.heeds_puts = True
        return search

    def end(self, search: Search, start: bytes = b"", stop: bytes = b"") -> None:
        """It has ended, and found that in its state nothing lives from start to stop (nothing is learned if that is
        empty)."""
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
        """A merge has dropped tombstones: what is still worth knowing is soon found again."""
        self.known = []
        self._look_again()

    def _look_again(self) -> None:
        self.heeds_puts = bool(self.known or self._searches)
