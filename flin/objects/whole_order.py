"""The order of a sorted set that is in memory: its places, sorted when somebody asks.

A *place* is where a member stands: the score's ordered 8 bytes (score.py), then the member. So places sort as sorted
sets do, by score and then by the member's bytes.

To keep a sorted list right with each ZADD costs 1.5 to 3 µs; writers that nobody reads after pay none of it. Members
that moved are noted, and the next question takes them out of the list and puts them in again where they are now. Of
many the list is made anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sortedcontainers import SortedList

from flin.objects import limits
from flin.objects.score import encode_score

_MANY: Final = 8
"""If more than an eighth of the members moved, to sort all of them is quicker."""


class WholeOrder:
    """`scores` is the sorted set's own dict; whoever changes it tells `moved`."""

    __slots__ = ("_moved", "_places", "_scores")

    def __init__(self, scores: dict[bytes, float]) -> None:
        self._scores: Final = scores
        self._places: Any = None  # a SortedList
        self._moved: dict[bytes, float | None] = {}  # since the list was right: what the score was then

    def moved(self, member: bytes, before: float | None) -> None:
        """The score was this; None: it was no member."""
        if self._places is not None:
            self._moved.setdefault(member, before)
            if self._are_many(len(self._moved)):  # also those that came and went again, any number of them
                self._places, self._moved = None, {}

    def _are_many(self, moved: int) -> bool:
        return moved * _MANY > len(self._scores) + limits.MAX_PACKED_ELEMENTS

    @property
    def is_sorted(self) -> bool:
        """Whether somebody has asked."""
        return self._places is not None

    def places(self) -> Any:
        """The SortedList of all places."""
        if self._moved:
            self._catch_up()
        if self._places is None:
            self._places = SortedList([encode_score(score) + member for member, score in self._scores.items()])
        return self._places

    def _catch_up(self) -> None:
        moved, self._moved = self._moved, {}
        if self._are_many(len(moved)):
            self._places = None
            return
        for member, before in moved.items():
            now = self._scores.get(member)
            if now != before:
                if before is not None:
                    self._places.remove(encode_score(before) + member)
                if now is not None:
                    self._places.add(encode_score(now) + member)

    # Questions. Bounds are places, or beginnings of them: start inclusive, stop exclusive; None: no bound.

    def part(
        self, start: bytes, stop: bytes | None, count: int, *, reverse: bool = False, skip: int = 0
    ) -> list[bytes]:
        """Up to `count` places of the range after the first `skip`; in reverse from the last one downwards."""
        places = self.places()
        first = places.bisect_left(start) if start else 0
        last = len(places) if stop is None else places.bisect_left(stop)
        return _slice(places, first, last, count, reverse=reverse, skip=skip)

    def from_rank(self, rank: int, count: int, *, reverse: bool = False) -> list[bytes]:
        """Up to `count` places from a rank on, 0 for the first; in reverse 0 is the last one, and they go downwards."""
        places = self.places()
        return _slice(places, 0, len(places), count, reverse=reverse, skip=rank)

    def rank_of(self, place: bytes) -> int:
        """How many places come before it."""
        rank: int = self.places().bisect_left(place)
        return rank

    def count(self, start: bytes, stop: bytes | None) -> int:
        """How many places lie in the range."""
        last = len(self._scores) if stop is None else self.rank_of(stop)
        return max(0, last - self.rank_of(start))

    is_ranked: Final = True

    def knows_ranks(self, *_: bytes | None) -> bool:
        return True

    def rank_some(self) -> bool:
        return True

    def parts(self, start: bytes, stop: bytes | None, *, reverse: bool = False) -> Iterator[list[bytes]]:
        """All of the range, a page at a time, as of this call."""
        found = self.part(start, stop, len(self._scores), reverse=reverse)
        return (found[at : at + limits.PAGE] for at in range(0, len(found), limits.PAGE))

    frozen_parts = parts


def _slice(places: Any, first: int, last: int, count: int, *, reverse: bool, skip: int) -> list[bytes]:
    if reverse:
        last -= skip
        found: list[bytes] = places[max(first, last - count) : last] if first < last else []
        found.reverse()
        return found
    first += skip
    return list(places[first : min(last, first + count)]) if first < last else []
