"""Elements of a dense list that were read and stay in memory: neighbours, one page of them.

Pops at an end read tables ahead of what is asked for: a look there costs 10 µs for one element and 40 for a hundred
neighbours. How far is read ahead doubles with each page, so that a list of which one element is taken reads one.

A range that was read stays, too: who reads the newest hundred again and again then pays 10 ns for each, not 150.
"""

from __future__ import annotations

from typing import Final

MAX_ELEMENTS: Final = 256
MAX_BYTES: Final = 1 << 16
"""A page that is read ahead has so many, if its elements are as large as those before."""

BEGIN: Final = 1
SECOND: Final = 8
"""Elements of the first two pages, if no more are asked for."""

ELEMENT_BYTES: Final = 50
"""An element in memory beside its bytes."""


MAX_KEPT: Final = 1024
MAX_KEPT_BYTES: Final = 1 << 18
"""The longest range that is kept."""

MIN_KEPT: Final = 4
"""Fewer are read again as fast."""


class ReadAhead:
    """`elements` are those at the indices from `start` on. Its owner says which indices the list has left (`cut`), and
    forgets it all before an element in the middle changes."""

    __slots__ = ("_asked", "_reach", "elements", "held_bytes", "start")

    def __init__(self) -> None:
        self.start = 0
        self.elements: list[bytes] = []
        self.held_bytes = 0  # at most
        self._reach = BEGIN
        self._asked = -1  # where the range began that was read last

    def find(self, start: int, stop: int) -> list[bytes] | None:
        """The elements at these indices, if all of them are here."""
        begin, end = start - self.start, stop - self.start
        return self.elements[begin:end] if begin >= 0 and end <= len(self.elements) else None

    def reach(self, count: int) -> int:
        """How many elements to read where so many are wanted."""
        return max(count, self._reach)

    def fill(self, start: int, elements: list[bytes]) -> None:
        size = sum(map(len, elements)) + ELEMENT_BYTES * len(elements)
        self.start, self.elements, self.held_bytes = start, elements, size
        self._reach = min(max(2 * self._reach, SECOND), MAX_ELEMENTS, max(1, MAX_BYTES * len(elements) // size))

    def keep(self, start: int, elements: list[bytes]) -> bool:
        """Keep a range that was read twice in turn, if it is neither short nor long. Returns whether it is kept."""
        if start != self._asked or not MIN_KEPT <= len(elements) <= MAX_KEPT:
            self._asked = start
            return False
        size = sum(map(len, elements)) + ELEMENT_BYTES * len(elements)
        if size > MAX_KEPT_BYTES:
            return False
        self.start, self.elements, self.held_bytes = start, elements.copy(), size
        return True

    def cut(self, head: int, tail: int) -> None:
        """The list has the indices from head to below tail now, no more than before."""
        if not self.elements:
            return
        before = head - self.start
        if before > 0:
            del self.elements[:before]
            self.start = head
        behind = self.start + len(self.elements) - tail
        if behind > 0:
            del self.elements[-behind:]
        if not self.elements:
            self.held_bytes = 0

    def forget(self) -> None:
        self.elements = []
        self.held_bytes = 0
