"""The table of who has read what: a plain model of it, its bounds, and what it takes in memory."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from flin.net.messages.tracking_table import OLDEST_KEYS, TrackingTable, numbers_of


@pytest.mark.parametrize("seed", range(5))
def test_it_is_a_set_of_readers_for_each_key(seed: int) -> None:
    draw = random.Random(seed)
    table, plain = TrackingTable(), dict[bytes, set[int]]()
    for _ in range(3000):
        key, client = b"k%d" % draw.randrange(40), draw.randint(1, 30)
        action = draw.random()
        if action < 0.7:
            table.add(key, client)
            plain.setdefault(key, set()).add(client)
        elif action < 0.9:
            readers = table.take(key)
            assert (None if readers is None else set(numbers_of(readers))) == plain.pop(key, None)
            if readers is not None and action < 0.75:
                table.put_back(key, readers)
                plain[key] = set(numbers_of(readers))
        elif action < 0.95:
            for key, readers in table.evict(20, 1 << 30):
                assert plain.pop(key) == numbers_of(readers)
            assert len(table) <= 20
        assert table.has(key, client) == (client in plain.get(key, ()))
        assert (len(table), table.number_of_readers) == (len(plain), sum(map(len, plain.values())))
    for key in list(plain):
        table.take(key)
    assert (len(table), table.number_of_readers, table.size_bytes) == (0, 0, 0)


def test_the_oldest_go_first_within_a_batch() -> None:
    table = TrackingTable()
    keys = [b"%05d" % number for number in range(5 * OLDEST_KEYS)]
    for key in keys:
        table.add(key, 1)
    table.take(keys[3])
    evicted = [key for key, _ in table.evict(len(table) - 10, 1 << 30)]
    assert evicted == [*keys[:3], *keys[4:11]]
    table.add(keys[0], 1)  # read again: it is young
    assert keys[0] not in [key for key, _ in table.evict(100, 1 << 30)]


@pytest.mark.parametrize(("keys", "readers"), [(90_000, 1), (120_000, 1), (5_000, 2), (5_000, 7), (2_000, 40)])
def test_what_it_says_of_its_memory_is_no_less_than_it_takes(keys: int, readers: int) -> None:
    table = TrackingTable()
    numbers = [10_000 + number for number in range(readers)]
    tracemalloc.start()
    try:
        for key in range(keys):
            name = b"%012d" % key  # a key is kept by the table alone
            for number in numbers:
                table.add(name, number)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken <= table.size_bytes * 1.05 < taken * 2.1
