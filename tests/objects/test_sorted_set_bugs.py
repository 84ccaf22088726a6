"""The test of sorted sets is tested: each of these bugs, switched on alone, is caught by it.

Each is a function that patches the code; its docstring is the rule that it breaks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from flin.objects import spread_order
from flin.objects.pieces import Pieces
from flin.objects.rank_index import RankIndex
from flin.objects.sorted_set import SortedSet
from flin.objects.spread_order import SpreadOrder, Window
from flin.objects.whole_order import WholeOrder
from tests.objects.test_sorted_set import Machine, small_limits

Patch = pytest.MonkeyPatch
Bug = Callable[[Patch], None]

BUGS: Final[list[tuple[Bug, int, int]]] = []


def with_limits(packed: int = 2, whole: int = 0) -> Callable[[Bug], Bug]:
    """Up to how many members one is packed, and may be whole."""

    def add(bug: Bug) -> Bug:
        BUGS.append((bug, packed, whole))
        return bug

    return add


@with_limits()
def floor_too_high(patch: Patch) -> None:
    """no place is below the floor"""
    patch.setattr(spread_order, "floor_of", lambda place: place[:64] + b"\0" if place else place)


@with_limits()
def floor_not_lowered(patch: Patch) -> None:
    """a place that is added below the floor lowers it"""
    _after_add(patch, lambda meta, floor, _: setattr(meta, "floor", floor))


@with_limits()
def ceiling_not_raised(patch: Patch) -> None:
    """a place that is added above the ceiling raises it"""
    _after_add(patch, lambda meta, _, ceiling: setattr(meta, "ceiling", ceiling))


def _after_add(patch: Patch, restore: Callable[[Any, bytes, bytes], None]) -> None:
    def note(self: SpreadOrder, place: bytes) -> None:
        floor, ceiling = self._meta.floor, self._meta.ceiling
        original(self, place)
        restore(self._meta, floor, ceiling)

    original = SpreadOrder._note
    patch.setattr(SpreadOrder, "_note", note)


@with_limits()
def ceiling_cut_off(patch: Patch) -> None:
    """a ceiling that is cut at 64 bytes is rounded up"""
    patch.setattr(spread_order, "ceiling_of", lambda place: place[:64])


@with_limits(whole=5)
def floor_of_a_whole_one_not_lowered(patch: Patch) -> None:
    """floor and ceiling are right while nobody reads by them"""
    patch.setattr(
        SortedSet,
        "_narrow",
        lambda self, spread: spread.narrow_to(self._whole.places()[-1], b"") if self._whole else None,
    )


@with_limits()
def window_not_told(patch: Patch) -> None:
    """a window knows what is added within it"""
    patch.setattr(Window, "add", lambda self, place: None)


@with_limits()
def window_keeps_what_is_gone(patch: Patch) -> None:
    """a window forgets what is removed"""
    patch.setattr(Window, "remove", lambda self, place: None)


@with_limits(packed=64)
def second_move_hides_the_first(patch: Patch) -> None:
    """the order takes a member out where it was when the order was right"""

    def moved(self: WholeOrder, member: bytes, before: float | None) -> None:
        if self._places is not None:
            self._moved[member] = before

    patch.setattr(WholeOrder, "moved", moved)


@with_limits()
def old_place_stays(patch: Patch) -> None:
    """a new score deletes the old place"""

    def put(self: SortedSet, member: bytes, score: float, before: float | None) -> None:
        spread = self._spread
        if spread is None or before is None:
            original(self, member, score, before)
            return
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(SpreadOrder, "remove", lambda self, place: None)
            original(self, member, score, before)

    original = SortedSet._put
    patch.setattr(SortedSet, "_put", put)


@with_limits()
def old_places_stay(patch: Patch) -> None:
    """new scores of several members delete their old places"""
    original = SpreadOrder.move
    patch.setattr(SpreadOrder, "move", lambda self, gone, places: original(self, (), places))


@with_limits()
def window_not_told_of_many(patch: Patch) -> None:
    """a window knows what is added within it together with others, and removed"""
    patch.setattr(SpreadOrder, "_in_windows", lambda self, places: [])


@with_limits(whole=5)
def whole_one_not_told_of_many(patch: Patch) -> None:
    """the order of a whole one is told of several members that move at once"""

    def put_spread(self: SortedSet, members: Any, scores: Any, before: Any) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(WholeOrder, "moved", lambda self, member, before: None)
            original(self, members, scores, before)

    original = SortedSet._put_spread
    patch.setattr(SortedSet, "_put_spread", put_spread)


@with_limits()
def sums_not_spoiled(patch: Patch) -> None:
    """a change of a count spoils the sums that have it"""

    def change(self: RankIndex, piece: int, by: int) -> None:
        self._counts[piece] += by

    patch.setattr(RankIndex, "_change", change)


@with_limits()
def rest_of_a_divided_piece_not_counted(patch: Patch) -> None:
    """what was not read of a piece that is divided stays in its last part"""
    original = RankIndex.split

    def split(self: RankIndex, start: bytes, keys: list[bytes]) -> None:
        self._counts[self._starts.index(start)] = len(keys)
        original(self, start, keys)

    patch.setattr(RankIndex, "split", split)


@with_limits()
def ranks_not_told(patch: Patch) -> None:
    """the rank index counts what is added"""
    patch.setattr(Pieces, "added", lambda self, suffixes: None)


@pytest.mark.parametrize(("bug", "packed", "whole"), BUGS, ids=[bug.__name__ for bug, _, _ in BUGS])
def test_seeded_bug_is_caught(bug: Bug, packed: int, whole: int, monkeypatch: Patch) -> None:
    small_limits(monkeypatch, packed, whole)
    bug(monkeypatch)
    sizes = settings(max_examples=150, stateful_step_count=40, deadline=None, phases=[Phase.generate], database=None)
    with pytest.raises((AssertionError, IndexError, ValueError, KeyError)):
        run_state_machine_as_test(seed(12)(Machine), settings=sizes)
