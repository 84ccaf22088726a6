"""Boundaries of range deletes, against pairs, each of which is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flin.engine.boundaries import (
    add,
    added,
    boundaries_of,
    covered_slices,
    covers,
    covers_all,
    cut_boundaries,
    cut_page,
    joined,
    meets,
    ranges_of,
    reaching,
    skip,
    skip_back,
    without,
)
from flin.engine.entry import Range
from tests.engine import plain_ranges

KEYS = st.one_of(st.binary(max_size=2), st.integers(0, 40).map(lambda number: b"k%02d" % number))
RANGES = st.lists(st.tuples(KEYS, KEYS).filter(lambda pair: pair[0] < pair[1]), max_size=12)
MANY = st.lists(st.integers(0, 999), max_size=120).map(
    lambda numbers: [(b"k%03d" % number, b"k%03d\1" % number) for number in numbers]
)


def edges(ranges: list[Range]) -> list[bytes]:
    """Keys that reveal a boundary that is off by one."""
    return [key for pair in ranges for bound in pair for key in (bound, bound + b"\0", bound[:-1])]


@given(RANGES, KEYS)
def test_covers(ranges: list[Range], key: bytes) -> None:
    boundaries = boundaries_of(ranges)
    assert boundaries == sorted(set(boundaries)), "ascending, and neighbours are joined"
    assert boundaries_of(ranges_of(boundaries)) == boundaries
    for each in [key, *edges(ranges)]:
        assert covers(boundaries, each) == plain_ranges.covers(ranges, each)


@given(RANGES, RANGES)
def test_added_one_by_one_or_joined(first: list[Range], second: list[Range]) -> None:
    left, right = boundaries_of(first), boundaries_of(second)
    expected = boundaries_of([*first, *second])
    assert added(left, second) == joined(left, right) == joined(right, left) == expected
    assert left == boundaries_of(first), "the list that readers may see stays"
    for start, stop in second:
        add(left, start, stop)
    assert left == expected


@given(MANY, RANGES.map(lambda ranges: ranges[:1]))
def test_few_are_joined_with_many(many: list[Range], few: list[Range]) -> None:
    expected = boundaries_of([*many, *few])
    assert joined(boundaries_of(many), boundaries_of(few)) == expected == added(boundaries_of(many), few)


@given(RANGES, KEYS, KEYS)
def test_cut_boundaries(ranges: list[Range], start: bytes, stop: bytes) -> None:
    expected = [(max(low, start), min(high, stop)) for low, high in ranges_of(boundaries_of(ranges))]
    expected = [pair for pair in expected if pair[0] < pair[1]]
    assert list(ranges_of(cut_boundaries(boundaries_of(ranges), start, stop))) == expected
    if start < stop:
        assert meets(boundaries_of(ranges), start, stop) == bool(expected)


@given(RANGES, KEYS)
def test_without_a_key(ranges: list[Range], key: bytes) -> None:
    before = boundaries_of(ranges)
    after = without(before, key)
    assert after == sorted(set(after))
    for each in [key + b"\0", *edges(ranges)]:
        assert covers(after, each) == (covers(before, each) and each != key)
    assert not covers(after, key)
    assert before == boundaries_of(ranges)


@given(RANGES, st.sets(KEYS), KEYS, KEYS)
def test_ascending_keys(ranges: list[Range], some: set[bytes], first: bytes, last: bytes) -> None:
    keys: list[bytes] = sorted(some)
    entries: list[Any] = [b"of " + key for key in keys]
    boundaries = boundaries_of(ranges)
    covered = [key for key in keys if plain_ranges.covers(ranges, key)]
    assert [key for begin, end in covered_slices(keys, boundaries) for key in keys[begin:end]] == covered
    kept = [key for key in keys if key not in covered]
    assert cut_page((keys, entries), boundaries) == (kept, [b"of " + key for key in kept])
    assert keys == sorted(some), "the page itself is not changed"
    first, last = min(first, last), max(first, last)
    whole = any(start <= first and last < stop for start, stop in ranges_of(boundaries))
    assert covers_all(boundaries, first, last) == whole


@given(st.lists(RANGES, max_size=3), KEYS)
def test_skip(lists: list[list[Range]], start: bytes) -> None:
    ranges = [pair for each in lists for pair in each]
    hidden = [boundaries_of(each) for each in lists]
    union = boundaries_of(ranges)
    expected = next((high for low, high in ranges_of(union) if low <= start < high), start)
    assert skip(hidden, start) == expected
    below = next((low for low, high in ranges_of(union) if low < start <= high), start)
    assert skip_back(hidden, start) == below


@given(st.lists(RANGES, max_size=3), KEYS, KEYS)
def test_reaching(lists: list[list[Range]], start: bytes, stop: bytes) -> None:
    hidden = [boundaries_of(each) for each in lists]
    left = reaching(hidden, start, stop)
    assert [] not in left
    assert all(each in hidden for each in left)
    for key in edges([(start, stop), *(pair for each in lists for pair in each)]):
        if start <= key < stop:
            assert any(covers(each, key) for each in left) == any(covers(each, key) for each in hidden)
    if hidden and hidden[0]:
        assert reaching(hidden[:1], hidden[0][-1], b"\xff") == [], "all of them lie below"
        assert reaching(hidden[:1], b"", hidden[0][0]) == [], "all of them lie above"


class Counted(bytes):
    """A key that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: bytes) -> bool:
        Counted.compared += 1
        return bytes.__lt__(self, other)

    def __gt__(self, other: bytes) -> bool:
        Counted.compared += 1
        return bytes.__gt__(self, other)


def compared(count: int) -> dict[str, int]:
    """How often each call compares keys, among `count` ranges."""
    boundaries = boundaries_of([(b"k%06d" % number, b"k%06d\1" % number) for number in range(count)])
    few: list[bytes] = [Counted(b"a"), Counted(b"k%06d" % (count // 2)), Counted(b"z")]
    entries: list[Any] = [b"", b"", b""]
    found = {}
    calls: dict[str, Callable[[], object]] = {
        "covers": lambda: covers(boundaries, few[1]),
        "add": lambda: added(boundaries, [(few[1], Counted(few[1] + b"\2"))]),
        "cut_page": lambda: cut_page((few, entries), boundaries),
        "skip": lambda: skip([boundaries], few[1]),
    }
    for name, call in calls.items():
        Counted.compared = 0
        call()
        found[name] = Counted.compared
    return found


def test_what_a_call_compares_does_not_grow_with_the_ranges() -> None:
    """64 times as many ranges cost six more comparisons for each bisect, of which a call makes at most six."""
    few, many = compared(1000), compared(64_000)
    assert all(few[name] > 0 for name in few)
    assert {name: many[name] - few[name] for name in few if many[name] - few[name] > 36} == {}
