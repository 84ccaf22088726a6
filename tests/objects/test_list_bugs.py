"""The test of lists is tested: each of these bugs, switched on alone, is caught by it (test_list.py).

Each is a function that patches the code; its docstring is the rule that it breaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from flin.objects import limits, read_ahead, spread_list
from flin.objects.list import List
from flin.objects.list_position import INDEX_BYTES
from flin.objects.pieces import Pieces
from flin.objects.read_ahead import ReadAhead
from flin.objects.spread_list import SpreadList
from tests.objects.test_list import Machine

Patch = pytest.MonkeyPatch

OWN_MISTAKE: Final = re.compile(r"\b(TypeError|NameError|UnboundLocalError|ImportError)\b")
"""What a patch that no longer fits raises: that is not a violation."""

HUNT: Final = settings(
    max_examples=300, stateful_step_count=40, deadline=None, database=None, derandomize=True, phases=[Phase.generate]
)


def all_is_taken_back(patch: Patch) -> None:
    """what the store may hold is deleted by a tombstone"""
    patch.setattr(SpreadList, "begin_batch", SpreadList.begin_new)


def ends_that_are_not_told(patch: Patch) -> None:
    """head and tail are those of the first and the last element, after LREM too"""

    def set_ends(self: SpreadList, first: int, last: int) -> None:
        original(self, min(first, self.meta.head), max(last, self.meta.tail - 1))

    original = SpreadList._set_ends
    patch.setattr(SpreadList, "_set_ends", set_ends)


def fractions_that_nobody_notes(patch: Patch) -> None:
    """a list with a fraction does not count as dense when its holes have left"""

    def insert(self: SpreadList, suffix: bytes, element: bytes) -> None:
        original(self, suffix, element)
        self.meta.has_fractions = False

    original = SpreadList.insert
    patch.setattr(SpreadList, "insert", insert)


def ranks_that_are_not_kept(patch: Patch) -> None:
    """the rank index is told of what is pushed and inserted"""
    patch.setattr(Pieces, "added", lambda *_: None)


def right_of_the_pivot(patch: Patch) -> None:
    """BEFORE is before"""

    def beside(self: SpreadList, suffix: bytes, *, is_before: bool) -> Any:
        return original(self, suffix, is_before=False)

    original = SpreadList.maybe_position_beside
    patch.setattr(SpreadList, "maybe_position_beside", beside)


def written_anew_in_place(patch: Patch) -> None:
    """a list that is written anew has a version of its own"""

    def write_anew(self: List, elements: list[bytes]) -> None:
        assert self.spread is not None
        if not self.is_dirty:
            self.spread.begin_batch()
        self.spread.drop(0, len(self) - 1)
        self.spread.put(self.spread.position_at(0), elements[0])
        self.spread.push_right(elements[1:])
        self.objects.touch(self)

    patch.setattr(List, "_write_anew", write_anew)
    patch.setattr(SpreadList, "_delete_at", lambda *_: None)


def one_too_many_by_a_range(patch: Patch) -> None:
    """a range delete at an end stops before what stays"""

    def drop(self: SpreadList, left: int, right: int) -> None:
        prefix, last = self._prefix, self.position_at(self.meta.count - right - 1)
        original(self, left, right)
        if right > spread_list.MAX_TOMBSTONES and len(last) == INDEX_BYTES:
            self._host.delete_pieces(prefix + last, prefix + last + b"\0")

    original = SpreadList.drop
    patch.setattr(SpreadList, "drop", drop)


def read_ahead_for_ever(patch: Patch) -> None:
    """what was read ahead is forgotten before an element in the middle changes"""
    patch.setattr(ReadAhead, "forget", lambda _: None)


def read_ahead_beyond_the_ends(patch: Patch) -> None:
    """an index that the list has left, and may come to again, is not among those that were read ahead"""
    patch.setattr(ReadAhead, "cut", lambda *_: None)


BUGS: Final[list[Callable[[Patch], None]]] = [
    all_is_taken_back,
    ends_that_are_not_told,
    fractions_that_nobody_notes,
    ranks_that_are_not_kept,
    right_of_the_pivot,
    written_anew_in_place,
    one_too_many_by_a_range,
    read_ahead_for_ever,
    read_ahead_beyond_the_ends,
]


def hunt(patch: Patch) -> None:
    patch.setattr(limits, "MAX_PACKED_ELEMENTS", 4)
    patch.setattr(limits, "PAGE", 3)
    patch.setattr(read_ahead, "BEGIN", 3)
    patch.setattr(spread_list, "NEAR", 2)
    patch.setattr(spread_list, "MAX_TOMBSTONES", 4)
    run_state_machine_as_test(Machine, settings=HUNT)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_seeded_bug_is_caught(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever it is, the hunt has found something
        hunt(monkeypatch)
    assert not OWN_MISTAKE.search(repr(caught.value)), f"the patch no longer fits: {caught.value!r}"
