"""The block cache: bounded in bytes, against a plain CLOCK; what was hit stays; threads."""

from __future__ import annotations

import threading
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from flin.engine.table.block import encode
from flin.engine.table.block_cache import BlockCache, CacheRow
from flin.engine.table.cached_block import CachedBlock
from tests.engine.intruder import intruding

TABLES = 3
BLOCKS = 8


def _block(size: int) -> CachedBlock:
    return CachedBlock(encode([b"key"], [bytes(size)], 3, size))


class PlainCache:
    """(table, block number, charge, was hit since the last look), in the order of the clock."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.ring: list[tuple[int, int, int, bool]] = []

    def put(self, table: int, number: int, charge: int) -> None:
        if charge * 8 <= self.capacity and not self.find(table, number):
            self.ring.append((table, number, charge, False))
            while sum(entry[2] for entry in self.ring) > self.capacity:
                table, number, charge, hit = self.ring.pop(0)
                if hit:
                    self.ring.append((table, number, charge, False))

    def find(self, table: int, number: int) -> bool:
        return any(entry[:2] == (table, number) for entry in self.ring)

    def hit(self, table: int, number: int) -> None:
        self.ring = [(*entry[:3], entry[3] or entry[:2] == (table, number)) for entry in self.ring]

    def discard_all(self, table: int) -> None:
        self.ring = [entry for entry in self.ring if entry[0] != table]


places = (st.integers(0, TABLES - 1), st.integers(0, BLOCKS - 1))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("hit"), *places),
        st.tuples(st.just("put"), *places, st.integers(0, 900)),
        st.tuples(st.just("discard"), places[0]),
    ),
    max_size=60,
)


@given(st.integers(0, 12_000), steps)
def test_it_is_bounded(capacity: int, script: list[tuple[str, int, int, int]]) -> None:
    cache, plain = BlockCache(capacity), PlainCache(capacity)
    tables: list[CacheRow] = [[None] * BLOCKS for _ in range(TABLES)]
    for name, table, *rest in script:
        if name == "put":
            block = _block(rest[1])
            cache.put(tables[table], rest[0], block)
            plain.put(table, rest[0], block.charge_bytes())
        elif name == "hit":
            found = tables[table][rest[0]]
            assert (found is not None) == plain.find(table, rest[0])
            if found is not None:
                found.hits += 1
                plain.hit(table, rest[0])
        else:
            cache.gone.extend((tables[table], tables[table]))
            cache.drop_gone()
            plain.discard_all(table)
        cache._check()
    held = {(table, number) for table, slots in enumerate(tables) for number, found in enumerate(slots) if found}
    assert held == {entry[:2] for entry in plain.ring}
    assert cache.used_bytes == sum(entry[2] for entry in plain.ring)


def test_statistics() -> None:
    charge = _block(10).charge_bytes()
    cache = BlockCache(8 * charge)
    slots: CacheRow = [None] * 10
    for number in range(10):
        assert cache.is_full == (number == 9), "the ninth took another's place"
        cache.put(slots, number, _block(10))
        found = slots[number]
        if found is not None:
            found.hits = number
    assert cache.statistics() == {
        "entries": 8, "used_bytes": 8 * charge, "capacity_bytes": 8 * charge, "hits": 36, "misses": 0, "evictions": 2,
    }  # fmt: skip


def test_a_block_that_grows_makes_room_for_itself() -> None:
    charge = _block(10).charge_bytes()
    cache = BlockCache(8 * charge)
    slots: CacheRow = [None] * 8
    for number in range(8):
        cache.put(slots, number, _block(10))
    last = slots[7]
    assert last is not None
    last.expand()
    cache.recharge(last)
    cache._check()
    assert slots[0] is None
    assert slots[7] is last
    evicted = _block(10)
    cache.recharge(evicted)
    cache._check()


def test_a_large_block_does_not_empty_it() -> None:
    cache = BlockCache(8000)
    slots: CacheRow = [None] * 2
    cache.put(slots, 0, _block(10))
    cache.put(slots, 1, _block(1000))
    assert slots[0] is not None
    assert slots[1] is None


def test_resize() -> None:
    charge = _block(10).charge_bytes()
    cache = BlockCache(10 * charge)
    slots: CacheRow = [None] * 10
    for number in range(10):
        cache.put(slots, number, _block(10))
    cache.resize(8 * charge)
    assert [found is None for found in slots] == [True] * 2 + [False] * 8
    assert cache.is_full
    cache._check()
    cache.resize(9 * charge)
    assert not cache.is_full
    cache.resize(0)
    assert cache.used_bytes == len(cache) == 0
    assert cache.is_full


def test_the_blocks_of_those_that_have_gone_go_with_the_next_that_is_put() -> None:
    charge = _block(10).charge_bytes()
    cache = BlockCache(8 * charge)
    dead: list[CacheRow] = [[None] * 4 for _ in range(3)]
    for slots in dead:
        for number in range(4):
            cache.put(slots, number, _block(10))
    assert (len(cache), cache.is_full) == (8, True)
    cache.gone.extend(dead)
    assert len(cache) == 8, "whoever goes takes no lock"
    living: CacheRow = [None]
    cache.put(living, 0, _block(10))
    assert (len(cache), cache.used_bytes, cache.is_full, len(cache.gone)) == (1, charge, False, 0)
    assert living[0] is not None
    cache._check()


class Interrupt(BaseException):
    """Raised by a signal handler."""


def test_an_interrupt_while_dead_blocks_go_takes_no_room_from_others() -> None:
    charge = _block(10).charge_bytes()
    place = 0
    is_through = False
    while not is_through:
        place += 1
        cache = BlockCache(8 * charge)
        dead: list[CacheRow] = [[None] * 2 for _ in range(3)]
        living: CacheRow = [None] * 8
        for row in dead:
            for number in range(2):
                cache.put(row, number, _block(10))
        cache.put(living, 0, _block(10))
        cache.gone.extend(dead)
        places = 0

        def interrupt(_: int, where: str, place: int = place) -> None:
            nonlocal places
            places += where.endswith((" _drop_gone", " _drop"))
            if places == place:
                places += 1
                raise Interrupt

        with suppress(Interrupt), intruding(interrupt):
            cache.drop_gone()
            is_through = True
        cache.drop_gone()
        for number in range(1, 8):
            cache.put(living, number, _block(10))
        assert all(living), f"the interrupt at the {place}th line left less room"
        assert (len(cache), cache.used_bytes, len(cache.gone)) == (8, 8 * charge, 0)
        cache._check()
    assert place > 10


def test_what_is_hit_all_the_time_is_evicted_too() -> None:
    cache = BlockCache(400 * _block(10).charge_bytes())
    slots: CacheRow = [None] * 1000
    for number in range(1000):
        cache.put(slots, number, _block(10))
        for found in slots:
            if found is not None:
                found.hits += 1
    assert len(cache) == 400
    cache._check()


def test_threads() -> None:
    cache = BlockCache(20_000)
    tables: list[CacheRow] = [[None] * 50 for _ in range(3)]

    def work(seed: int) -> None:
        for index in range(3000):
            slots, number = tables[index % 3], index * (seed + 7) % 50
            found = slots[number]
            if found is None:
                cache.put(slots, number, _block(number))
            else:
                found.hits += 1
                found.expand()
                cache.recharge(found)
                assert found.find(b"key") == bytes(number)
            if index % 50 == 0:
                cache.gone.append(slots)
            if index % 100 == 0:
                cache.drop_gone()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    cache._check()
