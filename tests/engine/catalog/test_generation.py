"""Generations: splitting a memtable by shard, joining neighbours, the copies of scans; the read state above them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.catalog.generation import (
    SealedGeneration,
    copy_bounded,
    due_of,
    empty_memtables,
    join_neighbours,
    split_memtable,
)
from flin.engine.catalog.version import Version
from flin.engine.entry import TOMBSTONE, Entry
from flin.engine.key import KEYS_END
from flin.engine.memtable import Memtable
from flin.engine.read.read_path import from_memtables, from_tables
from flin.engine.read.read_state import ReadState, TableRun, live_pages
from flin.engine.slot import shard_of_stored
from flin.engine.table.bloom import hash_key
from tests.engine.table_file import open_table, write_table

keys = st.one_of(st.binary(max_size=3), st.binary(max_size=3).map(lambda rest: b"\xff\0" + rest))


@given(st.dictionaries(keys, st.binary(max_size=2)), st.sampled_from([1, 2, 16, 64]))
def test_split_memtable(points: dict[bytes, Any], shards: int) -> None:
    memtable = Memtable(dict(points), [b"a", b"c"])
    memtables = split_memtable(memtable, shards)
    assert len(memtables) == shards
    for shard, piece in enumerate(memtables):
        assert piece.ranges == ((b"a", b"c"),), "a range delete concerns every shard"
        assert all(shard_of_stored(key, shards) == shard for key in piece.entries)
    assert {key: entry for piece in memtables for key, entry in piece.entries.items()} == points


def test_join_neighbours_leaves_about_log_n() -> None:
    memtables: tuple[Memtable, ...] = ()
    for number in range(1000):
        memtables = join_neighbours((Memtable({b"%d" % number: b"v"}), *memtables))
        assert sum(len(memtable.entries) for memtable in memtables) == number + 1
        assert len(memtables) <= (number + 1).bit_length() + 1
        sizes = [len(memtable.entries) for memtable in memtables]
        assert sizes == sorted(sizes)


def test_due_of() -> None:
    memtable = Memtable({b"a": b"v", b"b": (b"v", 50, 0), b"c": (b"v", 0, 7), b"d": (b"v", 20, 0), b"e": TOMBSTONE})
    assert sorted(due_of(memtable)) == [(20, b"d"), (50, b"b")]
    assert due_of(memtable)[0] == (20, b"d"), "a heap"


@pytest.mark.parametrize("reverse", [False, True])
def test_copy_bounded(reverse: bool) -> None:
    memtable = Memtable({b"%02d" % number: b"v" if number % 2 else TOMBSTONE for number in range(20)})
    everything = sorted(memtable.entries, reverse=reverse)
    assert copy_bounded(memtable, b"", b"\xff", reverse, 50, None) == (
        (everything, [memtable.entries[key] for key in everything]), b"", b"\xff",
    )  # fmt: skip
    assert copy_bounded(memtable, b"", b"\xff", reverse, 10, None) is None, "more than one page: freeze"
    assert copy_bounded(memtable, b"", b"\xff", reverse, 10, 6) is None, "too few of the copied ones are values"
    found = copy_bounded(memtable, b"", b"\xff", reverse, 10, 5)
    assert found is not None
    (page, low, high) = found
    assert page[0] == everything[:10]
    inside = [key for key in everything if low <= key < high]
    assert inside == page[0], "the bounds are those within which the copy is whole"


# The read state.


def _run(*layers: dict[bytes, Entry], ranges: list[tuple[bytes, bytes]] | None = None) -> TableRun:
    tables = []
    for index, layer in enumerate(layers):
        data, meta = write_table(layer, ranges=(ranges or []) if index == 0 else [])
        tables.append(open_table(data, meta))
    return TableRun(tables)


def _state() -> ReadState:
    """A state with every place where an entry can be: one key begins in each, and is overwritten in all newer ones."""
    names = [b"active", b"frozen1", b"frozen0", b"sealed1", b"sealed0", b"run1", b"run0"]
    layers: list[dict[bytes, Entry]] = [
        {b"k%d" % other: name for other in range(number, len(names))} for number, name in enumerate(names)
    ]
    return ReadState(
        active=(Memtable(layers[0]),),
        frozen=((Memtable(layers[1]), Memtable(layers[2])),),
        sealed=(
            SealedGeneration(((Memtable(layers[3]),),), (), 0, 0, 0),
            SealedGeneration(((Memtable(layers[4]),),), (), 0, 0, 0),
        ),
        runs=((_run(layers[5]), _run(layers[6])),),
        version=Version(((),)),
        flushes=0,
    )


def test_the_first_that_says_anything_is_right() -> None:
    state = _state()
    for number in range(7):
        key = b"k%d" % number
        found = from_memtables(state, 0, key)
        if found is None:
            found = from_tables(state, 0, key, hash_key(key))
        assert found == b"active"
    state.active[0].entries.clear()
    assert from_memtables(state, 0, b"k0") is None
    assert from_memtables(state, 0, b"k1") == b"frozen1"
    assert from_memtables(state, 0, b"k9") is None
    assert from_tables(state, 0, b"k6", hash_key(b"k6")) == b"run1"
    pairs = {key: entry for page in state.pages() for key, entry in zip(*page, strict=True)}
    assert pairs == {b"k%d" % number: b"frozen1" for number in range(1, 7)}


def test_range_deletes_hide_what_is_older_wherever_they_are() -> None:
    older: dict[bytes, Entry] = {b"a": b"1", b"b": b"1", b"c": b"1"}
    newer = _run({b"b": b"2"}, ranges=[(b"a", b"c")])
    state = ReadState((Memtable(),), ((),), (), ((newer, _run(older)),), Version(((),)), 0)
    assert [from_tables(state, 0, key, hash_key(key)) for key in (b"a", b"b", b"c", b"d")] == [
        TOMBSTONE,
        b"2",
        b"1",
        None,
    ]
    in_memory = ReadState((Memtable({b"b": b"2"}, [b"a", b"c"]),), ((),), (), ((_run(older),),), Version(((),)), 0)
    assert [from_memtables(in_memory, 0, key) for key in (b"a", b"b", b"c")] == [TOMBSTONE, b"2", None]
    for reverse in (False, True):
        found = [key for page in live_pages(state.pages(reverse=reverse)) for key in page[0]]
        assert found == sorted([b"b", b"c"], reverse=reverse)


def _find(run: TableRun, key: bytes) -> Entry | None:
    return run.find(key, hash_key(key), False)


def test_a_run_asks_the_table_whose_range_holds_the_key() -> None:
    run = _run({b"a": b"1", b"c": b"3"}, {b"e": b"5", b"g": b"7"}, {b"i": b"9"})
    assert run.plain_table is None
    assert [_find(run, key) for key in (b"a", b"c", b"g", b"i")] == [b"1", b"3", b"7", b"9"]
    assert [_find(run, key) for key in (b"", b"b", b"d", b"f", b"z")] == [None] * 5


def test_a_range_delete_may_end_where_the_next_table_begins() -> None:
    first = _run({b"a": b"1"}, ranges=[(b"b", b"e")]).tables[0]
    second = _run({b"e": b"5", b"g": b"7"}).tables[0]
    run = TableRun([first, second])
    assert [_find(run, key) for key in (b"a", b"b", b"d", b"e", b"f")] == [b"1", TOMBSTONE, TOMBSTONE, b"5", None]
    assert TableRun([first]).plain_table is None
    assert TableRun([second]).plain_table is second


@pytest.mark.parametrize(("start", "stop"), [(b"", KEYS_END), (b"b", b"f"), (b"c", b"c"), (b"h", b"i"), (b"g", b"j")])
def test_pages_of_a_run_are_bounded(start: bytes, stop: bytes) -> None:
    run = _run({b"a": b"", b"c": b""}, {b"e": b"", b"g": b""}, {b"i": b""})
    for reverse in (False, True):
        found = [key for page in run.pages(start, stop, reverse=reverse) for key in page[0]]
        assert found == sorted([key for key in [b"a", b"c", b"e", b"g", b"i"] if start <= key < stop], reverse=reverse)


def test_live_pages() -> None:
    pages: list[Any] = [([b"a", b"b"], [b"1", TOMBSTONE]), ([b"c"], [TOMBSTONE]), ([b"d"], [b"2"])]
    assert list(live_pages(iter(pages))) == [([b"a"], [b"1"]), ([b"d"], [b"2"])]


def test_empty_memtables_are_all_different() -> None:
    one, other = empty_memtables(2)
    assert one is not other
    assert not one
