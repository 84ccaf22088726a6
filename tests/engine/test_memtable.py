"""A memtable against a dict: points, range deletes, ordered pages in both directions, joining; and many readers at
once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine import memtable
from flin.engine.boundaries import boundaries_of, ranges_of
from flin.engine.entry import TOMBSTONE, Entry, Range
from flin.engine.memtable import PAGE_ENTRIES, Memtable, add_counts, join_memtables
from tests.engine.plain_ranges import covers

keys = st.one_of(st.binary(max_size=2), st.integers(0, 40).map(lambda number: b"k%02d" % number))
entries: st.SearchStrategy[Any] = st.one_of(st.binary(max_size=3), st.just(TOMBSTONE), st.just((b"v", 99, 1)))
ranges = st.tuples(keys, keys).filter(lambda pair: pair[0] < pair[1])
commits = st.tuples(st.lists(ranges, max_size=2), st.dictionaries(keys, entries, max_size=6))


class PlainMemtable:
    """The plainest memtable: points, and ranges in which everything older is hidden."""

    def __init__(self) -> None:
        self.points: dict[bytes, Entry] = {}
        self.ranges: list[Range] = []

    def apply(self, ranges: Iterable[Range], points: dict[bytes, Entry]) -> None:
        for start, stop in ranges:
            self.points = {key: entry for key, entry in self.points.items() if not start <= key < stop}
            self.ranges.append((start, stop))
        self.points |= points

    def get(self, key: bytes) -> Entry | None:
        return self.points.get(key, TOMBSTONE if covers(self.ranges, key) else None)


def all_pages(memtable: Memtable, start: bytes, stop: bytes, *, reverse: bool) -> list[tuple[bytes, Entry]]:
    return [pair for page in memtable.pages(start, stop, reverse=reverse) for pair in zip(*page, strict=True)]


def model_items(model: PlainMemtable, start: bytes, stop: bytes, *, reverse: bool) -> list[tuple[bytes, Entry]]:
    found = [key for key in model.points if start <= key < stop]
    return [(key, model.points[key]) for key in sorted(found, reverse=reverse)]


@pytest.mark.parametrize("ordered_from", [0, 3, memtable.ORDERED_DELETE_ENTRIES])
@given(st.lists(st.tuples(commits, st.booleans()), max_size=8), keys, keys, st.booleans())
def test_a_memtable_is_a_dict_with_order(
    ordered_from: int, script: list[Any], start: bytes, stop: bytes, reverse: bool
) -> None:
    """Range deletes of small memtables, and those by means of the ordered view, against a plain model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memtable, "ORDERED_DELETE_ENTRIES", ordered_from)
        _compare_with_the_model(script, start, stop, reverse)


def _compare_with_the_model(script: list[Any], start: bytes, stop: bytes, reverse: bool) -> None:
    memtable, model = Memtable(), PlainMemtable()
    assert not memtable
    for (deleted, points), scans in script:
        memtable.apply(deleted, points)
        model.apply(deleted, points)
        if scans:  # so that the ordered view is extended, and made again, at different moments
            assert all_pages(memtable, start, stop, reverse=reverse) == model_items(model, start, stop, reverse=reverse)
    assert memtable.entries == model.points
    assert bool(memtable) == bool(model.points or model.ranges)
    assert list(memtable.sorted_keys()) == sorted(model.points)
    for key in [*model.points, start, stop, b"k20", b""]:
        assert memtable.get(key) == model.get(key)
    assert all_pages(memtable, start, stop, reverse=reverse) == model_items(model, start, stop, reverse=reverse)


def test_points_may_be_pairs() -> None:
    memtable = Memtable()
    memtable.apply([], [(b"a", b"1"), (b"a", b"2")])
    assert memtable.entries == {b"a": b"2"}


@pytest.mark.parametrize("count", [0, 1, PAGE_ENTRIES - 1, PAGE_ENTRIES, PAGE_ENTRIES + 1, 2 * PAGE_ENTRIES])
@pytest.mark.parametrize("reverse", [False, True])
def test_pages_at_their_edges(count: int, reverse: bool) -> None:
    memtable = Memtable({b"%05d" % number: b"%d" % number for number in range(count)})
    pages = list(memtable.pages(b"", b"\xff", reverse=reverse))
    assert all(pages)
    assert all(0 < len(page[0]) <= PAGE_ENTRIES for page in pages)
    assert [key for page in pages for key in page[0]] == sorted(memtable.entries, reverse=reverse)


def test_a_page_has_a_limit_and_says_when_there_is_no_more() -> None:
    memtable = Memtable({bytes([number]): b"" for number in range(10)})
    assert memtable.page(b"", b"\xff", limit=3)[0] == [b"\0", b"\1", b"\2"]
    assert memtable.page(b"", b"\xff", reverse=True, limit=2)[0] == [b"\t", b"\x08"]
    assert memtable.page(b"\7", b"\xff", limit=9)[0] == [b"\7", b"\x08", b"\t"]
    assert memtable.page(b"\7", b"\7")[0] == memtable.page(b"\x08", b"\7")[0] == []


def test_a_range_delete_is_older_than_every_point() -> None:
    memtable = Memtable()
    memtable.apply([], {b"a": b"1", b"b": b"1", b"c": b"1"})
    memtable.apply([(b"a", b"c")], {b"b": b"2"})
    assert memtable.entries == {b"b": b"2", b"c": b"1"}
    assert (memtable.get(b"a"), memtable.get(b"b"), memtable.get(b"c"), memtable.get(b"d")) == (
        TOMBSTONE,
        b"2",
        b"1",
        None,
    )


def test_order_after_a_range_delete_and_as_many_new_keys() -> None:
    """There are as many keys as when the view was made, but it must not be taken for unchanged."""
    memtable = Memtable({b"a": b"", b"b": b"", b"c": b""})
    assert list(memtable.sorted_keys()) == [b"a", b"b", b"c"]
    memtable.apply([(b"a", b"c")], {b"x": b"", b"y": b""})
    assert list(memtable.sorted_keys()) == [b"c", b"x", b"y"]


@given(commits, commits, commits)
def test_join_memtables(oldest: Any, middle: Any, newest: Any) -> None:
    memtables = []
    model = PlainMemtable()
    for deleted, points in (oldest, middle, newest):
        memtables.append(Memtable())
        memtables[-1].apply(deleted, points)
        model.apply(deleted, points)
    before = [(dict(memtable.entries), memtable.ranges) for memtable in memtables]
    joined = join_memtables(join_memtables(memtables[2], memtables[1]), memtables[0])
    assert joined.entries == model.points
    assert joined.ranges == ranges_of(boundaries_of(model.ranges))
    assert [(memtable.entries, memtable.ranges) for memtable in memtables] == before


def test_key_count_deltas_add_up_if_both_are_known() -> None:
    newer, older = Memtable({b"a": b""}), Memtable({b"b": b""})
    newer.key_count_delta = {0: 1, 3: 2}
    assert join_memtables(newer, older).key_count_delta is None
    older.key_count_delta = {0: -1, 4: 5}
    assert join_memtables(newer, older).key_count_delta == {3: 2, 4: 5}
    assert add_counts({}, {1: 0}) == {}


def test_many_readers_order_a_frozen_memtable_at_once() -> None:
    """It was scanned while it was active, then grew and was frozen: every reader finds a view that must be extended."""
    threads, switch = 4, sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(60):
            memtable = Memtable({b"%05d" % number: b"" for number in range(0, 400, 2)})
            memtable.sorted_keys()
            memtable.apply((), {b"%05d" % number: b"" for number in range(1, 400, 2)})
            seen: list[list[bytes]] = []
            start = threading.Barrier(threads)

            def read(
                memtable: Memtable = memtable, seen: list[list[bytes]] = seen, start: threading.Barrier = start
            ) -> None:
                start.wait(60)
                seen.append([key for page in memtable.pages(b"", b"\xff") for key in page[0]])

            readers = [threading.Thread(target=read) for _ in range(threads)]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join(60)
            assert seen == [sorted(memtable.entries)] * threads
    finally:
        sys.setswitchinterval(switch)
