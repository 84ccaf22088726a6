"""Pages of a sorted view against its runs, which are asked one by one."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.catalog.version import Version
from flin.engine.entry import TOMBSTONE, Range
from flin.engine.key import KEYS_END
from flin.engine.memtable import Memtable
from flin.engine.read import sorted_view
from flin.engine.read.read_state import ReadState, TableRun
from flin.engine.read.sorted_view import TOUCHES, SortedView, build_view
from flin.engine.sstable import TableOptions
from flin.engine.table.block_cache import BlockCache
from flin.engine.table.bloom import hash_key
from flin.errors import CorruptionError
from tests.engine.layers import OPTIONS, run_of
from tests.engine.plain_ranges import covers
from tests.engine.table_file import SHORT_KEYS, open_table, write_table

ENTRIES = st.one_of(st.binary(max_size=3), st.just(TOMBSTONE), st.tuples(st.binary(max_size=3), st.just(9), st.just(0)))
POINTS = st.dictionaries(SHORT_KEYS, ENTRIES, min_size=1, max_size=40)
RANGES = st.lists(st.tuples(SHORT_KEYS, SHORT_KEYS).filter(lambda pair: pair[0] < pair[1]), max_size=2)
RUNS = st.lists(st.tuples(POINTS, st.lists(SHORT_KEYS, max_size=2), OPTIONS, RANGES), min_size=1, max_size=4)


def _plain_find(runs: list[TableRun], key: bytes) -> Any:
    says = [run.find(key, hash_key(key), nowait=False) for run in runs]
    return next((entry for entry in says if entry is not None), None)


def _state(runs: list[TableRun]) -> ReadState:
    return ReadState((Memtable(),), ((),), (), (tuple(runs),), Version(((),)), 0)


@given(RUNS, st.lists(SHORT_KEYS, min_size=1, max_size=10), st.sampled_from([300, 3000, 1 << 20]), st.integers(1, 12))
def test_the_sorted_view_says_what_the_runs_say(
    runs: list[tuple[dict[bytes, Any], list[bytes], TableOptions, list[Range]]],
    keys: list[bytes],
    capacity: int,
    count: int,
) -> None:
    cache = BlockCache(capacity)
    opened = [run_of(points, cuts, options, cache, ranges) for points, cuts, options, ranges in runs]
    view = SortedView(opened, cache)  # also where build_view would see that the pages cannot all be kept
    merged: dict[bytes, Any] = {}
    for points, _, _, ranges in reversed(runs):
        merged = {key: entry for key, entry in merged.items() if not covers(ranges, key)} | points
    for _ in range(TOUCHES + 2):  # counted, made, read
        for key in [*keys, *merged]:
            found = [view.find(key, hash_key(key)), _plain_find(opened, key)]
            if key in merged:
                assert found == [merged[key]] * 2
            else:  # if a range delete covers the key, the answer may be TOMBSTONE
                assert set(found) <= {None, TOMBSTONE}
        for start, stop in ((b"", KEYS_END), (min(keys), max(keys) + b"\0"), (keys[0], KEYS_END)):
            head = view.head(start, stop, count)
            expected = sorted(item for item in merged.items() if start <= item[0] < stop)[:count]
            assert head is None or list(zip(*head, strict=True)) == expected
            if head is not None:
                head[0].clear()  # the caller's own
                head[1].clear()
    cache._check()
    if capacity == 1 << 20 and not any(ranges for *_, ranges in runs):  # or that page may be empty
        assert view.head(b"", KEYS_END, 1) is not None, "the first page is there by now"


def _two_runs(cache: BlockCache) -> tuple[list[TableRun], list[bytes]]:
    keys = [b"%04d" % number for number in range(400)]
    options = TableOptions(block_size_bytes=500, codec="none")
    older = run_of({key: b"old" + key for key in keys}, [], options, cache)
    newer = run_of({key: b"new" + key for key in keys[::3]}, [], options, cache)
    return [newer, older], keys


def test_pages_stay_with_the_state_until_the_runs_change() -> None:
    cache = BlockCache(1 << 20)
    runs, keys = _two_runs(cache)
    state = _state(runs)
    (view,) = state.sorted_views
    assert view is not None
    for _ in range(TOUCHES + 2):
        assert view.find(keys[0], hash_key(keys[0])) == b"new0000"
    assert any(view.view[1])
    assert replace(state, active=(Memtable({b"a": b"1"}),)).sorted_views == (view,)
    again = replace(state, runs=((TableRun(runs[0].tables), TableRun(runs[1].tables)),))
    assert again.sorted_views == (view,), "the same tables"
    other = replace(state, runs=((runs[1],),))
    assert other.sorted_views[0] is not view
    del state, again, view
    gc.collect()
    (view,) = other.sorted_views
    assert view is not None
    for _ in range(TOUCHES + 2):
        assert view.find(keys[0], hash_key(keys[0])) == b"old0000"
    cache._check()
    assert len(cache) == 1, "the pages of the runs before have gone"


def test_no_pages_where_they_cannot_be_kept() -> None:
    runs, _ = _two_runs(BlockCache(10_000))
    assert build_view(runs) is None
    assert build_view([]) is None
    assert build_view([TableRun([open_table(*write_table({b"a": b"1"}), None)])]) is None


def test_absent_keys_make_no_pages() -> None:
    cache = BlockCache(1 << 20)
    runs, keys = _two_runs(cache)
    view = SortedView(runs, cache)
    for key in keys:
        for _ in range(TOUCHES + 2):
            assert view.find(key + b"x", hash_key(key + b"x")) is None
    assert len(cache) <= 2, "but for what the filters let through"


def test_the_first_seek_in_one_table_makes_its_page() -> None:
    cache = BlockCache(1 << 20)
    keys = [b"%04d" % number for number in range(400)]
    run = run_of({key: b"v" + key for key in keys}, [], TableOptions(block_size_bytes=500, codec="none"), cache)
    view = SortedView([run], cache)
    expected = keys[7:17], [b"v" + key for key in keys[7:17]]
    assert view.head(keys[7], KEYS_END, 10) == expected
    made = [page for page in view.view[1] if page is not None]
    assert made
    assert len(cache) == len(made), "the table's own blocks are not cached, too"
    assert view.head(keys[7], KEYS_END, 10) == expected
    cache._check()


def test_in_a_full_cache_seeks_are_counted_first() -> None:
    cache = BlockCache(1 << 20)
    keys = [b"%04d" % number for number in range(400)]
    run = run_of({key: b"v" + key for key in keys}, [], TableOptions(block_size_bytes=500, codec="none"), cache)
    cache.is_full = True
    view = SortedView([run], cache)
    assert view.head(keys[7], KEYS_END, 10) is None
    assert len(cache) == 0


def test_a_range_with_too_many_blocks_is_read_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_view, "_MAX_BLOCKS", 0)
    cache = BlockCache(1 << 20)
    runs, keys = _two_runs(cache)
    view = SortedView(runs, cache)
    for _ in range(TOUCHES + 2):
        assert [view.find(key, hash_key(key)) for key in keys] == [_plain_find(runs, key) for key in keys]
    assert not any(view.view[1])
    assert view.head(b"", KEYS_END, 3) is None
    blocks = [block for run in runs for table in run.tables if table.state for block in table.state.blocks]
    assert any(block and block.entries for block in blocks), "but in the tables' own blocks"


def test_damage_is_reported_by_reads_of_the_damaged_entries() -> None:
    """A page also holds neighbours, and entries of other runs."""
    cache = BlockCache(1 << 20)
    options = TableOptions(block_size_bytes=1000)
    keys = [b"%04d" % number for number in range(100)]
    data, meta = write_table(dict.fromkeys(keys[::2], b"old" * 9), options)
    broken = open_table(data[:30] + bytes((data[30] ^ 1,)) + data[31:], meta, cache)
    newer = run_of(dict.fromkeys(keys[1::2], b"new"), [], options, cache)
    view = SortedView([newer, TableRun([broken])], cache)
    for _ in range(TOUCHES + 2):
        assert view.find(keys[1], hash_key(keys[1])) == b"new"
        with pytest.raises(CorruptionError):
            view.find(keys[0], hash_key(keys[0]))
        assert view.head(b"", KEYS_END, 1) is None
