"""Merging against a dict: any number of runs, any paging, range deletes, both directions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.boundaries import boundaries_of
from flin.engine.entry import TOMBSTONE, Entry, Page, Range
from flin.engine.read.merge import Source, merge_pages
from tests.engine.plain_ranges import covers

Layer = tuple[dict[bytes, Entry], list[Range], list[int]]  # points, range deletes, sizes of pages

keys = st.one_of(st.binary(max_size=2), st.integers(0, 30).map(lambda number: b"k%02d" % number))
entries: st.SearchStrategy[Any] = st.one_of(st.binary(max_size=3), st.just(TOMBSTONE), st.just((b"v", 5, 0)))
ranges = st.tuples(keys, keys).filter(lambda pair: pair[0] < pair[1])
layers = st.lists(
    st.tuples(
        st.dictionaries(keys, entries, max_size=12),
        st.lists(ranges, max_size=2),
        st.lists(st.integers(0, 5), max_size=6),
    ),
    max_size=5,
)


def pages(layer: Layer, *, reverse: bool) -> Iterator[Page]:
    """The layer's points cut into pages of the given sizes, empty ones among them, the rest in one."""
    points, _, sizes = layer
    order = sorted(points, reverse=reverse)
    for size in sizes:
        yield order[:size], [points[key] for key in order[:size]]
        order = order[size:]
    yield order, [points[key] for key in order]


def merged(newest_first: list[Layer], *, reverse: bool) -> list[tuple[bytes, Entry]]:
    sources = [Source(pages(layer, reverse=reverse), boundaries_of(layer[1])) for layer in newest_first]
    found = list(merge_pages(sources, reverse=reverse))
    assert all(page[0] for page in found), "pages are never empty"
    return [pair for page in found for pair in zip(*page, strict=True)]


def expected(newest_first: list[Layer], *, reverse: bool) -> list[tuple[bytes, Entry]]:
    """A dict, filled oldest first: a layer's range deletes hide older entries, then its own points come."""
    state: dict[bytes, Entry] = {}
    for points, deleted, _ in reversed(newest_first):
        state = {key: entry for key, entry in state.items() if not covers(deleted, key)}
        state |= points
    return [(key, state[key]) for key in sorted(state, reverse=reverse)]


@given(layers, st.booleans())
def test_merge_is_a_dict(newest_first: list[Layer], reverse: bool) -> None:
    assert merged(newest_first, reverse=reverse) == expected(newest_first, reverse=reverse)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_runs_of_many_pages(count: int, reverse: bool) -> None:
    newest_first: list[Layer] = [
        ({b"%04d" % number: b"%d" % run for number in range(run, 600, run + 1)}, [], [37] * 20) for run in range(count)
    ]
    assert merged(newest_first, reverse=reverse) == expected(newest_first, reverse=reverse)


def test_tombstones_come_out() -> None:
    assert merged([({b"a": TOMBSTONE}, [], []), ({b"a": b"1", b"b": b"2"}, [], [])], reverse=False) == [
        (b"a", TOMBSTONE), (b"b", b"2"),
    ]  # fmt: skip


def test_a_range_delete_hides_only_what_is_older() -> None:
    middle: Layer = ({b"a": b"middle"}, [(b"a", b"c")], [])
    newest: Layer = ({b"b": b"newest"}, [], [])
    oldest: Layer = ({b"a": b"oldest", b"b": b"oldest", b"c": b"oldest"}, [], [])
    assert merged([newest, middle, oldest], reverse=False) == [
        (b"a", b"middle"), (b"b", b"newest"), (b"c", b"oldest"),
    ]  # fmt: skip


def test_a_source_that_is_all_hidden() -> None:
    hidden: Layer = ({b"%d" % number: b"" for number in range(9)}, [], [2, 2, 2])
    for reverse in (False, True):
        assert merged([({}, [(b"", b"\xff")], []), hidden], reverse=reverse) == []


def test_pages_are_read_as_they_are_needed() -> None:
    """A scan that stops after its first page has read one page of each source."""
    read = [0, 0]

    def counted(index: int) -> Iterator[Page]:
        for number in range(index, 1000, 2):
            read[index] += 1
            yield [b"%04d" % number], [b""]

    found = merge_pages([Source(counted(0)), Source(counted(1))])
    assert read == [0, 0]
    assert next(found) == ([b"0000"], [b""])
    assert read == [1, 1]


def test_one_source_passes_as_it_is() -> None:
    page: Page = ([b"a", b"b"], [b"1", b"2"])
    (found,) = merge_pages([Source([page])])
    assert found[0] is page[0]
    assert found[1] is page[1]
    assert list(merge_pages([])) == []
