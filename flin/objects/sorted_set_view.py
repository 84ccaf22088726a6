"""A sorted set as an embedded program reads it: a mapping of members to scores, in the order of scores."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from math import inf
from typing import overload

from flin.engine.buffers import BytesLike, Default, as_bytes
from flin.objects.reading import Reading
from flin.objects.score import ScoreRange
from flin.objects.sorted_set import SortedSet, pair_at


class SortedSetView(Mapping[bytes, float]):
    """Members and their scores, in the order of scores, and of bytes where these are equal. An iteration sees one
    state. See TypedKeys for absent keys. A rank in a large one is found by a walk from its nearer end."""

    def __init__(self, reading: Reading, key: BytesLike) -> None:
        self._reading = reading
        self._key = as_bytes("a key", key)
        self._found()

    def _found(self) -> SortedSet | None:
        return self._reading.find(self._key, SortedSet)

    @overload
    def get(self, member: BytesLike) -> float | None: ...
    @overload
    def get(self, member: BytesLike, default: Default) -> float | Default: ...
    def get(self, member: BytesLike, default: object = None) -> object:
        """The score."""
        found = self._found()
        score = None if found is None else found.score(as_bytes("a member", member))
        return default if score is None else score

    def __getitem__(self, member: BytesLike) -> float:
        score = self.get(member)
        if score is None:
            raise KeyError(member)
        return score

    def __contains__(self, member: object) -> bool:
        return self.get(as_bytes("a member", member)) is not None

    def __len__(self) -> int:
        found = self._found()
        return 0 if found is None else len(found)

    def __iter__(self) -> Iterator[bytes]:
        return (member for member, _ in self.by_score())

    def __reversed__(self) -> Iterator[bytes]:
        return (member for member, _ in self.by_score(reverse=True))

    def items(self) -> ItemsView[bytes, float]:
        return _Items(self)

    def values(self) -> ValuesView[float]:
        return _Values(self)

    def rank(self, member: BytesLike) -> int | None:
        """How many members come before it; None: it is no member."""
        found = self._found()
        return None if found is None else found.rank(as_bytes("a member", member))

    def by_rank(self, ranks: slice, *, reverse: bool = False) -> list[tuple[bytes, float]]:
        """The members of some ranks with their scores; with `reverse` rank 0 is the last member.

        Example: the ten best are `db.sorted_set(b"board").by_rank(slice(10), reverse=True)`.
        """
        found = self._found()
        if found is None:
            return []
        wanted = range(len(found))[ranks]
        if not wanted:
            return []
        first, last = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
        places = found.order.from_rank(first, last + 1 - first, reverse=reverse)
        return [pair_at(places[rank - first]) for rank in wanted]

    def by_score(
        self,
        minimum: float = -inf,
        maximum: float = inf,
        *,
        include_minimum: bool = True,
        include_maximum: bool = True,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, float]]:
        """The members whose score is from the minimum to the maximum, with it. ConflictError for NaN."""
        bounds = ScoreRange(minimum, maximum, not include_minimum, not include_maximum).bounds()
        found = self._found()
        if found is None or bounds[0] >= bounds[1]:
            return iter(())
        return (pair_at(place) for part in found.order.frozen_parts(*bounds, reverse=reverse) for place in part)

    def __repr__(self) -> str:
        return f"<SortedSetView {self._key!r}>"


class _Items(ItemsView[bytes, float]):
    _mapping: SortedSetView

    def __iter__(self) -> Iterator[tuple[bytes, float]]:
        return self._mapping.by_score()


class _Values(ValuesView[float]):
    _mapping: SortedSetView

    def __iter__(self) -> Iterator[float]:
        return (score for _, score in self._mapping.by_score())
