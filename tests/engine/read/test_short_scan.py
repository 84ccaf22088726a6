"""The beginning of a scan in one page, against the sources and pages of a long one."""

from __future__ import annotations

import random
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.boundaries import boundaries_of
from flin.engine.catalog.version import Version
from flin.engine.entry import TOMBSTONE, Entry, Range
from flin.engine.key import KEYS_END
from flin.engine.memtable import Memtable
from flin.engine.read.merge import join_heads
from flin.engine.read.read_path import from_tables
from flin.engine.read.read_state import ReadState, heads_of
from flin.engine.read.short_scan import HeadOf, head_pages
from flin.engine.slot import shard_of_stored
from flin.engine.sstable import TableOptions
from flin.engine.table.block_cache import BlockCache
from flin.engine.table.bloom import hash_key
from tests.engine.layers import OPTIONS, memtable_of, run_of, state_of
from tests.engine.plain_ranges import covers
from tests.engine.table_file import SHORT_KEYS

ENTRIES = st.one_of(st.binary(max_size=3), st.just(TOMBSTONE), st.tuples(st.binary(max_size=3), st.just(9), st.just(0)))
POINTS = st.dictionaries(SHORT_KEYS, ENTRIES, max_size=40)
RANGES = st.lists(st.tuples(SHORT_KEYS, SHORT_KEYS).filter(lambda pair: pair[0] < pair[1]), max_size=2)
LAYERS = st.tuples(POINTS, RANGES)


@given(
    LAYERS,
    st.lists(LAYERS, max_size=2),
    st.lists(st.tuples(LAYERS.filter(any), st.lists(SHORT_KEYS, max_size=2), OPTIONS), max_size=3),
    RANGES,
    st.lists(st.tuples(SHORT_KEYS, SHORT_KEYS, st.integers(1, 12)), min_size=1, max_size=6),
    st.sampled_from([0, 3000, 1 << 20]),
)
def test_a_head_is_how_the_pages_begin(
    active: tuple[dict[bytes, Any], list[Range]],
    memtables: list[tuple[dict[bytes, Any], list[Range]]],
    runs: list[tuple[tuple[dict[bytes, Any], list[Range]], list[bytes], TableOptions]],
    dead: list[Range],
    bounds: list[tuple[bytes, bytes, int]],
    capacity: int,
) -> None:
    """With any range deletes in every layer, and with stretches that the caller knows to be dead."""
    cache = BlockCache(capacity)
    tables = [run_of(points, cuts, options, cache, ranges) for (points, ranges), cuts, options in runs]
    state = state_of(Memtable(), [memtable_of(active), *map(memtable_of, memtables)], tables)
    written = state_of(memtable_of(active), list(map(memtable_of, memtables)), list(state.runs[0]))
    for start, stop, count in bounds * 4:  # cold, counted, cached
        pairs = list(chain.from_iterable(zip(*page, strict=True) for page in state.pages(start, max(start, stop))))
        expected = [pair for pair in pairs if not covers(dead, pair[0])][:count]
        found = written.head(start, max(start, stop), count, dead=boundaries_of(dead))
        assert found is not None
        assert list(zip(*found, strict=True)) == expected
        head = state.plain_head(start, max(start, stop), count)
        if head is None:  # it met too many tombstones
            assert sum(type(entry) is bytes for _, entry in pairs[: 4 * count]) < count
            continue
        keys, entries = head
        assert list(zip(keys, entries, strict=True)) == pairs[: len(keys)]
        assert len(keys) == len(pairs) or sum(type(entry) is bytes for entry in entries) >= count
        keys.clear()  # the caller's own
        entries.clear()
        other = written.plain_head(start, max(start, stop), count)
        assert other is not None, "the same again"
        assert list(zip(*other, strict=True)) == pairs[: len(other[0])]
        assert len(other[0]) == len(pairs) or sum(type(entry) is bytes for entry in other[1]) >= count
    cache._check()


@given(
    st.lists(st.tuples(POINTS.filter(bool), st.lists(SHORT_KEYS, max_size=3), OPTIONS), max_size=3),
    st.lists(SHORT_KEYS, min_size=1, max_size=20),
)
def test_lookups_in_runs_of_many_tables(
    runs: list[tuple[dict[bytes, Any], list[bytes], TableOptions]], keys: list[bytes]
) -> None:
    """from_tables, whose calls are written out, against TableRun.find."""
    state = state_of(Memtable(), [], [run_of(*run, BlockCache(1 << 20)) for run in runs])
    for key in keys + [key for points, *_ in runs for key in points]:
        hashed = hash_key(key)
        says = [run.find(key, hashed, nowait=False) for run in state.runs[0]]
        expected = next((entry for entry in says if entry is not None), None)
        assert from_tables(state, 0, key, hashed) == expected
        assert from_tables(state, 0, key, hashed, wait=False) == expected


@given(st.lists(POINTS.filter(bool), min_size=2, max_size=6), SHORT_KEYS, st.integers(1, 12))
def test_a_head_of_shards(points: list[dict[bytes, Any]], start: bytes, count: int) -> None:
    """Each shard has a run, a sealed memtable and an active one."""
    shards = 4
    layers: list[list[dict[bytes, Any]]] = [[{}, {}, {}] for _ in range(shards)]
    for index, batch in enumerate(points):
        for key, entry in batch.items():
            layers[shard_of_stored(key, shards)][index % 3][key] = entry
    runs = tuple((run_of(run, [], TableOptions(), BlockCache(0)),) if run else () for run, _, _ in layers)
    memtables = tuple((Memtable(memtable),) for _, memtable, _ in layers)
    state = ReadState(tuple(Memtable(active) for *_, active in layers), memtables, (), runs, Version(((),) * shards), 0)
    everything = {key: entry for each in layers for layer in each for key, entry in layer.items()}
    expected = sorted(item for item in everything.items() if start <= item[0] < KEYS_END)
    head = state.head(start, KEYS_END, count)
    assert head is not None
    assert list(zip(*head, strict=True)) == expected[:count]


def test_a_head_leaps_over_what_is_hidden_in_one_stretch_only() -> None:
    old = Memtable({b"%04d" % number: b"old" for number in range(2000)})
    of_all, of_each = (
        [b"0", b"1999"],
        [bound for number in range(1999) for bound in (b"%04d" % number, b"%04d\1" % number)],
    )
    for deleting, expected in ((of_all, ([b"1999"], [b"old"])), (of_each, None)):
        assert state_of(Memtable(), [Memtable({}, deleting), old], []).head(b"", KEYS_END, 1) == expected
        assert state_of(Memtable({}, deleting), [old], []).head(b"", KEYS_END, 1) == expected


def test_a_range_delete_that_comes_while_a_head_is_read() -> None:
    """Older entries were read without it: then the pages must tell."""

    def meanwhile(*args: Any) -> list[Any] | None:
        active.deleted = [b"a", b"c"]
        active.entries[b"b"] = b"new"
        return heads_of(*args)

    active, old = Memtable({b"z": b""}), Memtable({b"a": b"old", b"b": b"old"})
    assert state_of(active, [old], []).head(b"", KEYS_END, 9, meanwhile) is None
    assert state_of(active, [old], []).head(b"", KEYS_END, 9) == ([b"b", b"z"], [b"new", b""])


NUMBERS = st.integers(0, 400).map(lambda number: b"%03d" % number)


@given(
    st.lists(st.dictionaries(NUMBERS, ENTRIES, max_size=150), min_size=1, max_size=8),
    NUMBERS,
    NUMBERS,
    st.integers(1, 90),
)
def test_heads_by_shares(layers: list[dict[bytes, Any]], start: bytes, stop: bytes, count: int) -> None:
    """However uneven the layers are, their shares are enough for the first entries of all."""
    memtables = [Memtable(layer) for layer in layers]
    pages = head_pages([HeadOf(memtable.head, len(memtable.entries)) for memtable in memtables], start, stop, count)
    merged: dict[bytes, Any] = {}
    for layer in layers:
        merged.update(layer)
    expected = sorted(item for item in merged.items() if start <= item[0] < stop)[:count]
    assert list(zip(*join_heads(pages, count), strict=True)) == expected


def test_join_heads() -> None:
    newer: tuple[list[bytes], list[Entry]] = ([b"b", b"d"], [b"new", TOMBSTONE])
    older: tuple[list[bytes], list[Entry]] = ([b"a", b"b", b"c"], [b"1", b"old", b"3"])
    assert join_heads([older, newer], 4) == ([b"a", b"b", b"c", b"d"], [b"1", b"new", b"3", TOMBSTONE])
    assert join_heads([older, newer], 2) == ([b"a", b"b"], [b"1", b"new"])
    assert len(older[0]) == len(older[1]) == 3, "what is joined stays as it is"
    assert join_heads([newer], 2) == newer
    assert join_heads([], 2) == ([], [])


def test_what_lies_above_a_full_head_is_not_asked_for() -> None:
    """Else a scan in a large database would copy as many entries of a small memtable, which lie far above."""
    asked: list[bytes] = []

    def noted(active: Any, deleted: Any, dead: Any, start: bytes, stop: bytes, count: int) -> list[Any] | None:
        asked.append(stop)
        return heads_of(active, deleted, dead, start, stop, count)

    active = Memtable({b"b": b"new", b"x": b"new"})
    state = state_of(active, [Memtable({b"a": b"1", b"b": b"2", b"c": b"3", b"d": b"4"})], [])
    assert state.head(b"", KEYS_END, 3, noted) == ([b"a", b"b", b"c"], [b"1", b"new", b"3"])
    assert state.head(b"", KEYS_END, 9, noted) == ([b"a", b"b", b"c", b"d", b"x"], [b"1", b"new", b"3", b"4", b"new"])
    assert asked == [b"c\0", KEYS_END]


@pytest.mark.parametrize("value_cache", [True, False])
def test_short_scans_of_an_engine(open_engine: Any, value_cache: bool) -> None:
    """Written, flushed, deleted, expired, in a range delete: a scan with a limit gives the beginning of one without."""
    chance = random.Random(5)
    db = open_engine(value_cache=value_cache, runner="inline")
    for round_ in range(6):
        for _ in range(120):
            key = b"%03d" % chance.randrange(300)
            chance.choice([db.put, db.put, lambda key, _: db.delete(key)])(key, b"%d" % round_)
        if round_ == 4:
            db.delete_range(b"100", b"150")
        if round_ in (1, 3, 4):
            db.flush()
        everything = list(db.scan())
        for start in range(0, 300, 7):
            bound = b"%03d" % start
            expected = [pair for pair in everything if pair[0] >= bound]
            for limit in (1, 10, 256, 257):
                assert list(db.scan(start=bound, limit=limit)) == expected[:limit]
            assert db.next_key(bound) == next((key for key, _ in expected if key > bound), None)
