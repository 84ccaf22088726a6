"""redis-py's client-side cache, unmodified, against Flin: what it has cached is never old."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.net.blocking import eventually
from tests.net.serving import ServerThread

redis = pytest.importorskip("redis", reason="redis-py is not installed")
cache = pytest.importorskip("redis.cache", reason="this redis-py has no client-side cache")


@pytest.fixture
def server() -> Iterator[ServerThread]:
    # redis-py asks for 7.4, though what it needs is in 6.0.
    with ServerThread(redis_version="7.4.0") as server:
        yield server


def cached_client(server: ServerThread) -> Any:
    return redis.Redis(port=server.port, protocol=3, cache_config=cache.CacheConfig())


def gets(server: ServerThread) -> int:
    from flin.net.command.registry import find

    found = find(b"get")
    assert found is not None
    return found.calls


def test_a_second_read_asks_nobody_until_the_key_changes(server: ServerThread) -> None:
    client, other = cached_client(server), redis.Redis(port=server.port)
    other.set("a", 1)
    assert client.get("a") == b"1"
    before = gets(server)
    assert [client.get("a") for _ in range(10)] == [b"1"] * 10
    assert gets(server) == before, "from its cache"
    other.set("a", 2)
    eventually(lambda: client.get("a") == b"2")
    assert client.get_cache().size == 1
    other.flushall()
    eventually(lambda: client.get("a") is None)
    client.set("a", 3)
    eventually(lambda: client.get("a") == b"3")
    other.eval("redis.call('set', KEYS[1], 4)", 1, "a")
    eventually(lambda: client.get("a") == b"4")


def test_the_cache_follows_a_writer_in_another_thread(server: ServerThread) -> None:
    client, other = cached_client(server), redis.Redis(port=server.port)
    keys = [f"k{number}" for number in range(8)]
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            pipeline = other.pipeline(transaction=number % 2 == 0)
            for key in keys:
                pipeline.set(key, number)
            pipeline.execute()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            for key in keys:
                client.get(key)
    finally:
        stop.set()
        writer.join()
    for key in keys:
        eventually(lambda key=key: client.get(key) == other.get(key))  # type: ignore[misc]
