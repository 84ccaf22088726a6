"""The cache of hot values: what it admits, what a flush evicts, its bound; threads."""

from __future__ import annotations

import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flin.engine.entry import TOMBSTONE, Entry
from flin.engine.memtable import Memtable
from flin.engine.read.value_cache import DOORKEEPER_SLOTS, ValueCache
from flin.engine.table.bloom import hash_key


def _fill(cache: ValueCache, key: bytes, entry: Entry, flushes: int) -> None:
    """As by two reads: the second one admits."""
    for _ in range(2):
        cache.fill(key, entry, hash_key(key), flushes)


def _keys(cache: ValueCache) -> list[bytes]:
    cache._check()
    return sorted([*cache.young, *cache.old])


def test_a_second_read_admits() -> None:
    cache = ValueCache(1 << 20)
    cache.fill(b"a", b"1", hash_key(b"a"), 0)
    assert cache.get(b"a") is None
    cache.fill(b"a", b"1", hash_key(b"a"), 0)
    assert cache.get(b"a") == b"1"
    assert (cache.hits, cache.misses) == (1, 2)


def test_reads_spread_over_much_data_admit_almost_nothing() -> None:
    cache = ValueCache(1 << 30)
    count = 4 * DOORKEEPER_SLOTS
    for _ in range(2):
        for number in range(count):
            key = b"%d" % number
            cache.fill(key, b"", hash_key(key), 0)
    assert len(cache) < count // 25, "4 keys share a slot: e**-4 of them met nobody else's, 2/256 were mistaken"
    cache._check()


def test_a_flush_evicts_what_it_covers() -> None:
    cache = ValueCache(1 << 20)
    for key in (b"a", b"b", b"m", b"z"):
        _fill(cache, key, b"old", 0)
    cache.begin_flush(1, [Memtable({b"a": b"new"}), Memtable({}, [b"l", b"n"])])
    assert _keys(cache) == [b"b", b"z"]
    _fill(cache, b"a", b"old", 0)
    assert cache.get(b"a") is None, "read from a state before the flush"
    _fill(cache, b"a", b"new", 1)
    assert cache.get(b"a") == b"new"
    points: dict[bytes, Entry] = {b"%d" % number: b"" for number in range(50)}
    cache.begin_flush(2, [Memtable({**points, b"a": b""})])
    assert cache.get(b"a") is None


def test_an_edit_evicts_what_has_expired() -> None:
    """A merge may have emptied it: it is gone, even if the clock is set back."""
    cache = ValueCache(1 << 20)
    _fill(cache, b"never", (b"1", 0, 7), 0)
    _fill(cache, b"later", (b"1", 300, 0), 0)
    for expires_at_ms in (100, 200):
        _fill(cache, b"soon", (b"1", expires_at_ms, 0), 0)
        cache.begin_edit(expires_at_ms - 1)
        assert _keys(cache) == [b"later", b"never", b"soon"]
        cache.begin_edit(expires_at_ms)
        assert _keys(cache) == [b"later", b"never"]
    cache.begin_edit(50)
    _fill(cache, b"soon", (b"1", 200, 0), 0)
    assert cache.get(b"soon") is None, "read from a state before the edit"
    cache.begin_edit(300)
    assert _keys(cache) == [b"never"]


def test_tombstones_are_not_cached() -> None:
    cache = ValueCache(1 << 20)
    _fill(cache, b"a", TOMBSTONE, 0)
    _fill(cache, b"b", (b"v", 5, 0), 0)
    assert _keys(cache) == [b"b"]


def test_large_values_are_not_cached() -> None:
    cache = ValueCache(8000)
    _fill(cache, b"a", bytes(1000), 0)
    _fill(cache, b"b", bytes(500), 0)
    assert _keys(cache) == [b"b"]
    nothing = ValueCache(0)
    _fill(nothing, b"a", b"", 0)
    assert _keys(nothing) == []


def test_what_is_read_stays_and_what_is_not_goes() -> None:
    cache = ValueCache(100 * 220)
    for number in range(1000):
        _fill(cache, b"%04d" % number, bytes(16), 0)
        cache._check()
        assert number < 1 or cache.get(b"0001") == bytes(16)
    assert cache.get(b"0500") is None
    assert cache.get(b"0999") is not None
    assert cache.evictions + len(cache) == 1000


KEYS = st.sampled_from([b"%d" % number for number in range(12)])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), KEYS),
        st.tuples(st.just("late read"), KEYS),
        st.tuples(st.just("flush"), st.dictionaries(KEYS, st.binary(max_size=3), max_size=4)),
        st.tuples(st.just("delete range"), KEYS, KEYS),
    ),
    max_size=60,
)


@given(STEPS, st.integers(0, 4000))
def test_what_it_holds_is_what_the_tables_say(script: list[tuple[Any, ...]], capacity: int) -> None:
    cache, tables, before, flushes = ValueCache(capacity), dict[bytes, bytes](), dict[bytes, bytes](), 0
    for step in script:
        if step[0] == "read":
            entry = cache.get(step[1])
            assert entry is None or entry == tables[step[1]]
            if entry is None and step[1] in tables:
                _fill(cache, step[1], tables[step[1]], flushes)
        elif step[0] == "late read":  # by someone who read the tables before the last flush
            if step[1] in before:
                _fill(cache, step[1], before[step[1]], flushes - 1)
        else:
            before, flushes = dict(tables), flushes + 1
            if step[0] == "flush":
                cache.begin_flush(flushes, [Memtable(step[1])])
                tables.update(step[1])
            else:
                low, high = sorted(step[1:])
                cache.begin_flush(flushes, [Memtable({}, [low, high] if low < high else [])])
                tables = {key: value for key, value in tables.items() if not low <= key < high}
        cache._check()


def test_threads() -> None:
    cache = ValueCache(50_000)
    wrong: list[bytes] = []

    def work(seed: int) -> None:
        for index in range(5000):
            key = b"%d" % (index * (seed + 7) % 300)
            entry = cache.get(key)
            if entry is None:
                _fill(cache, key, key * 3, cache.flushes)
            elif entry != key * 3:
                wrong.append(key)
            if seed == 0 and index % 100 == 0:
                cache.begin_flush(cache.flushes + 1, [Memtable({key: key * 3})])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    cache._check()
