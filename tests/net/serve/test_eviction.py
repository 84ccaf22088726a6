"""`maxmemory` and its policies: how large the data becomes, which keys go, and who is told."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

import flin.engine
from flin.engine.engine import Engine, store_of
from flin.engine.eviction.data_size import DataSize
from flin.engine.key import PIECES_START, PIECES_STOP
from flin.testing.process import wait_until
from tests.net.serving import ServerThread

LIMIT = 1 << 19
VALUE = b"v" * 200
ENTRY = 8 + len(VALUE)

Serve = Callable[..., Any]


@pytest.fixture
def engine() -> Iterator[Engine]:
    with flin.engine.open(":memory:", runner="thread", memory_limit="16mb", stall_writers=False) as engine:
        yield engine
        assert engine.verify() == []


@pytest.fixture
def serve(engine: Engine) -> Iterator[Serve]:
    with ServerThread(store_of(engine), memory_limit=16 << 20) as server:
        clients = []

        def connect(policy: str = "", **options: Any) -> Any:
            client: Any = Redis(port=server.port, **options)
            clients.append(client)
            if policy:
                client.config_set("maxmemory-policy", policy)
                client.config_set("maxmemory", LIMIT)
                wait_until(lambda: store_of(engine).listeners.on_growth is not None, "the limit is in force")
            return client

        yield connect
        for client in clients:
            client.close()


def fill(client: Any, start: int, stop: int, **options: Any) -> None:
    for first in range(start, stop, 100):
        with client.pipeline(transaction=False) as pipeline:
            for number in range(first, min(first + 100, stop)):
                pipeline.set(b"%08d" % number, VALUE, **options)
            pipeline.execute()


def write_until(client: Any, happened: Callable[[], bool], what: str) -> None:
    """Write new keys until something happened to an old one: which keys a sample takes is chance, so no number of them
    is sure to be enough."""
    numbers = count(100, 100)

    def written() -> bool:
        number = next(numbers)
        fill(client, number, number + 100)
        return happened()

    wait_until(written, what)


def size(client: Any) -> int:
    return int(client.dbsize()) * ENTRY


def evicted(client: Any) -> int:
    return int(client.info("stats")["evicted_keys"])


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_the_data_stays_near_the_limit(serve: Serve, policy: str) -> None:
    client = serve(policy)
    for start in range(0, 9000, 1000):
        fill(client, start, start + 1000)
        assert size(client) < LIMIT * 3 // 2
    assert size(client) > LIMIT // 2
    wait_until(lambda: evicted(client) == 9000 - int(client.dbsize()), "the evictor is done")
    memory = client.info("memory")
    assert (memory["maxmemory"], memory["maxmemory_policy"]) == (LIMIT, policy)
    client.config_resetstat()
    assert evicted(client) < 1000


@pytest.mark.parametrize(
    ("policy", "way"), [("allkeys-lru", "alone"), ("allkeys-lfu", "in pipelines"), ("volatile-lru", "in MGET")]
)
def test_what_is_read_stays(serve: Serve, policy: str, way: str) -> None:
    client = serve(policy)
    hot = [b"%08d" % number for number in range(100)]
    for start in range(0, 8000, 250):
        fill(client, start, start + 250, ex=1000)
        if way == "in MGET":
            client.mget(hot)
        else:
            with client.pipeline(transaction=False) as pipeline:
                for key in hot:
                    client.get(key) if way == "alone" else pipeline.get(key)
                pipeline.execute()
    assert sum(value is not None for value in client.mget(hot)) > 85


def test_only_what_expires_goes_and_then_writes_are_refused(serve: Serve) -> None:
    client = serve("volatile-ttl")
    fill(client, 0, 1000)
    fill(client, 1000, 4000, ex=1000)
    fill(client, 4000, 4500, ex=9000)
    assert client.exists(*(b"%08d" % number for number in range(1000))) == 1000
    assert client.exists(*(b"%08d" % number for number in range(4000, 4500))) > 450
    with pytest.raises(OutOfMemoryError):
        fill(client, 10_000, 20_000)
    assert client.exists(*(b"%08d" % number for number in range(1000))) == 1000


def test_without_eviction_what_needs_room_is_refused_as_in_redis(serve: Serve, redis_port: int) -> None:
    client = serve("noeviction")
    with pytest.raises(OutOfMemoryError) as refused:
        fill(client, 0, 10_000)
    assert size(client) < LIMIT * 3 // 2
    assert client.get(b"%08d" % 0) == VALUE
    with Redis(port=redis_port) as redis:
        redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(OutOfMemoryError) as expected:
                redis.set("k", "v")
        finally:
            redis.config_set("maxmemory", 0)
    assert str(refused.value).endswith(str(expected.value))
    with pytest.raises(OutOfMemoryError), client.pipeline() as transaction:
        transaction.set("k", "v").execute()
    with pytest.raises(ResponseError, match="command not allowed when used memory"):
        client.eval("#!lua\nreturn redis.call('SET', 'k', 'v')", 0)
    client.delete(*(b"%08d" % number for number in range(1500)))
    wait_until(lambda: _takes_writes(client), "writes are taken again")
    with pytest.raises(OutOfMemoryError):
        fill(client, 0, 10_000)
    client.config_set("maxmemory", 0)
    wait_until(lambda: _takes_writes(client), "writes are taken again")
    fill(client, 0, 4000)
    assert client.dbsize() >= 4000


def _takes_writes(client: Any) -> bool:
    try:
        return bool(client.set("k", "v"))
    except OutOfMemoryError:
        return False


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru"])
def test_far_beyond_the_limit_deletions_make_room(serve: Serve, policy: str) -> None:
    client = serve()
    fill(client, 0, 6000)
    serve(policy)
    wait_until(lambda: not _takes_writes(client), "writes are refused")
    for number in range(0, 4500, 300):
        client.delete(*(b"%08d" % each for each in range(number, number + 300)))
        if number < 1500:  # of deleted neighbours a sample is wrong by a tenth of all
            assert not _takes_writes(client), "too much is left"
    wait_until(lambda: _takes_writes(client), "writes are taken again")
    assert client.exists(*(b"%08d" % number for number in range(4500, 6000))) == 1500


@pytest.mark.parametrize("shares", [(0.9,), (1.1, 0.7)], ids=["after others", "the last one"])
def test_what_was_measured_badly_refuses_writes_for_a_moment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, shares: tuple[float, ...]
) -> None:
    """Though nothing is written afterwards."""
    client = serve("noeviction")
    with pytest.raises(OutOfMemoryError):
        fill(client, 0, 10_000)
    left = iter(shares)
    monkeypatch.setattr(DataSize, "_sampled", lambda *_: (LIMIT * next(left, shares[-1]), (LIMIT / 10) ** 2))
    client.delete(b"%08d" % 0)
    wait_until(lambda: _takes_writes(client), "writes are taken again")


@pytest.mark.slow  # 15 s of expiries and small merges
def test_what_gets_an_expiry_may_go_again(serve: Serve) -> None:
    client = serve()
    fill(client, 0, 6000)
    serve("volatile-random")
    wait_until(lambda: not _takes_writes(client), "writes are refused")
    for number in range(5000):
        client.expire(b"%08d" % number, 1000)
    wait_until(lambda: _takes_writes(client), "writes are taken again")
    assert evicted(client) > 3000
    assert client.exists(*(b"%08d" % number for number in range(5000, 6000))) == 1000


def test_collections_go_whole(serve: Serve, engine: Engine) -> None:
    client = serve("allkeys-random")
    fields = {b"field %d" % number: b"v" * 50 for number in range(300)}
    for number in range(60):
        client.hset(b"hash %d" % number, mapping=fields)
        client.rpush(b"list %d" % number, *range(20))
    wait_until(lambda: evicted(client) > 10, "evictions")
    lengths = {client.hlen(b"hash %d" % number) for number in range(60)}
    assert lengths == {0, 300}
    assert {client.llen(b"list %d" % number) for number in range(60)} <= {0, 20}
    client.config_set("maxmemory", 0)
    alive = sum(client.exists(b"hash %d" % number) for number in range(60))

    def pieces() -> int:
        store = store_of(engine)
        return sum(len(keys) for keys, _ in store.pages(store.freeze(), PIECES_START, PIECES_STOP))

    wait_until(lambda: pieces() < (alive + 1) * 301, "the pieces are gone")
    assert alive > 10, "what is being reaped makes room, too"


def test_all_databases_count_and_are_chosen_from(serve: Serve) -> None:
    first, second = serve("allkeys-lru"), serve(db=1)
    fill(second, 0, 3000)
    fill(first, 0, 3000)
    assert first.dbsize() > second.dbsize()
    assert size(first) + size(second) < LIMIT * 3 // 2
    second.swapdb(1, 2)
    fill(second, 5000, 8000)
    assert second.get(b"%08d" % 7999) == VALUE
    assert size(first) + size(second) < LIMIT * 3 // 2


def test_listeners_watchers_and_caches_learn_of_it(serve: Serve) -> None:
    client = serve("allkeys-lru")
    client.config_set("notify-keyspace-events", "Ee")
    with serve().pubsub() as listener, serve().pipeline() as watcher:
        listener.subscribe("__keyevent@0__:evicted")
        fill(client, 0, 1)
        watcher.watch(b"%08d" % 0)
        told: set[bytes] = set()

        def heard() -> bool:
            while message := listener.get_message(timeout=0):
                if message["type"] == "message":
                    told.add(message["data"])
            return b"%08d" % 0 in told

        write_until(client, heard, "the event")
        watcher.multi()
        watcher.set("k", "v")
        with pytest.raises(Exception, match="Watched variable changed"):
            watcher.execute()


def test_a_clients_cache_learns_of_it(serve: Serve) -> None:
    client = serve("allkeys-lru")
    fill(client, 0, 1)
    key = b"%08d" % 0
    with socket.create_connection(("127.0.0.1", client.get_connection_kwargs()["port"]), timeout=60) as caching:
        caching.sendall(b"HELLO 3\r\nCLIENT TRACKING ON\r\nGET %b\r\n" % key)
        received = b""
        while VALUE not in received:
            received += caching.recv(4096)
        caching.setblocking(False)

        def told() -> bool:
            nonlocal received
            with contextlib.suppress(BlockingIOError):
                received += caching.recv(1 << 16)
            return b">2\r\n$10\r\ninvalidate\r\n*1\r\n$8\r\n%b\r\n" % key in received

        write_until(client, told, "the invalidation")
    assert client.get(key) is None


def test_collections_that_are_read_stay(serve: Serve) -> None:
    client = serve("allkeys-lru")
    for number in range(50):
        client.hset(b"hash %d" % number, mapping={"a": 1, "b": 2})
        client.rpush(b"list %d" % number, 1, 2)
        client.zadd(b"sorted %d" % number, {"a": 1})
    for start in range(0, 8000, 250):
        fill(client, start, start + 250)
        with client.pipeline(transaction=False) as pipeline:
            for number in range(50):
                pipeline.hget(b"hash %d" % number, "a")
                pipeline.lrange(b"list %d" % number, 0, -1)
                pipeline.zscore(b"sorted %d" % number, "a")
            pipeline.execute()
    alive = client.exists(
        *(b"%s %d" % (kind, number) for kind in (b"hash", b"list", b"sorted") for number in range(50))
    )
    assert alive > 130


def test_where_all_is_read_something_goes_all_the_same(serve: Serve) -> None:
    client = serve("allkeys-lru")
    for start in range(0, 6000, 250):
        fill(client, start, start + 250)
        for first in range(0, start, 250):
            client.mget([b"%08d" % number for number in range(first, first + 250)])
            client.get(b"%08d" % first)
    assert size(client) < LIMIT * 3 // 2


def test_object_freq(serve: Serve) -> None:
    client = serve("allkeys-lfu")
    wait_until(lambda: bool(client.set("k", "v", ex=1000)) and _frequency(client, "k") > 0, "the policy")
    before = _frequency(client, "k")
    for _ in range(20):
        client.get("k")
    assert _frequency(client, "k") >= before + 20
    client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(ResponseError, match="LFU maxmemory policy is not selected"):
        client.object("freq", "k")


def _frequency(client: Any, key: str) -> int:
    try:
        return int(client.object("freq", key))
    except ResponseError:  # it learns of a policy within a tenth of a second
        return 0
