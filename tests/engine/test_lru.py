"""The cache: bounded in bytes, what was used least recently goes; against a plain list; threads."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from flin.engine.lru import LruCache


class PlainLru:
    """(key, value, charge), the least recently used first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.items: list[tuple[int, int, int]] = []

    def get(self, key: int) -> int | None:
        for item in self.items:
            if item[0] == key:
                self.items.remove(item)
                self.items.append(item)
                return item[1]
        return None

    def put(self, key: int, value: int, charge: int) -> None:
        self.discard(key)
        if charge * 8 <= self.capacity:
            self.items.append((key, value, charge))
            while sum(item[2] for item in self.items) > self.capacity:
                self.items.pop(0)

    def discard(self, key: int) -> None:
        self.items = [item for item in self.items if item[0] != key]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("get"), st.integers(0, 9)),
        st.tuples(st.just("put"), st.integers(0, 9), st.integers(1, 99), st.integers(1, 20)),
        st.tuples(st.just("discard"), st.integers(0, 9)),
    ),
    max_size=60,
)


@given(st.integers(0, 140), steps)
def test_it_is_a_bounded_list(capacity: int, script: list[tuple[str, ...]]) -> None:
    cache, plain = LruCache(capacity), PlainLru(capacity)
    for name, *arguments in script:
        assert getattr(cache, name)(*arguments) == getattr(plain, name)(*arguments)
        assert cache.keys() == [key for key, _, _ in plain.items]
        cache._check()
    assert cache.used_bytes == sum(charge for _, _, charge in plain.items)
    assert len(cache) == len(plain.items)


def test_statistics() -> None:
    cache = LruCache(100)
    for key in range(12):
        cache.put(key, str(key), 10)
    assert cache.get(11) == "11"
    assert cache.get(0) is None
    assert cache.statistics() == {
        "entries": 10, "used_bytes": 100, "capacity_bytes": 100, "hits": 1, "misses": 1, "evictions": 2,
    }  # fmt: skip


def test_discard_many_and_clear() -> None:
    cache = LruCache(100)
    for key in range(5):
        cache.put(key, "v", 10)
    cache.discard_many([0, 1, 9])
    assert (cache.keys(), cache.used_bytes) == ([2, 3, 4], 30)
    cache.clear()
    assert (cache.keys(), cache.used_bytes) == ([], 0)


def test_a_large_entry_does_not_empty_it() -> None:
    cache = LruCache(100)
    cache.put("small", "v", 10)
    cache.put("large", "v", 13)
    assert cache.keys() == ["small"]
    cache.put("small", "now large", 13)
    assert cache.keys() == [], "the old value must not stay"


def test_resize() -> None:
    cache = LruCache(100)
    for key in range(10):
        cache.put(key, "v", 10)
    cache.resize(25)
    assert cache.keys() == [8, 9]
    cache._check()
    cache.resize(100)
    cache.put(1, "v", 10)
    assert len(cache) == 3


def test_threads() -> None:
    cache = LruCache(1000)

    def work(number: int) -> None:
        for index in range(3000):
            key = (index * (number + 7)) % 200
            if cache.get(key) is None:
                cache.put(key, str(key), 1 + key % 30)
            if index % 50 == 0:
                cache.discard(key)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    cache._check()
    assert all(cache.get(key) == str(key) for key in cache.keys())  # noqa: SIM118  a copy of the keys
