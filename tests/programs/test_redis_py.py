"""redis-py, as programs use it: pipelines and transactions, synchronous and asyncio, its Lock, messages."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from flin.testing.process import PATIENCE_SECONDS
from tests.programs.served import Served

pytestmark = pytest.mark.slow

PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3])


@PROTOCOLS
def test_pipelines(served: Served, protocol: int) -> None:
    with served.client(protocol=protocol, decode_responses=True) as client:
        with client.pipeline() as pipeline:
            for number in range(1000):
                pipeline.hset("hash", str(number), number).rpush("list", number).incr("count")
            assert pipeline.execute()[-3:] == [1, 1000, 1000]

        def move(pipeline: Any) -> None:
            amount = int(pipeline.get("count"))
            pipeline.multi()
            pipeline.set("count", amount - 100).incrby("other", 100)

        client.transaction(move, "count")
        served.kill_and_start()
        assert client.mget("count", "other") == ["900", "100"]
        assert (client.hlen("hash"), client.lrange("list", -2, -1)) == (1000, ["998", "999"])


@PROTOCOLS
def test_asyncio(served: Served, protocol: int) -> None:
    async def use() -> None:
        async with redis.asyncio.Redis(port=served.port, protocol=protocol) as client:

            async def count(times: int) -> None:
                for _ in range(times):
                    async with client.pipeline(transaction=True) as pipeline:
                        pipeline.incr("count")
                        pipeline.lpush("list", "x")
                        await pipeline.execute()

            await asyncio.gather(*(count(20) for _ in range(10)))
            await asyncio.to_thread(served.kill_and_start)
            await client.connection_pool.disconnect()  # in RESP3 a client tells of a lost connection before it retries
            assert [await client.get("count"), await client.llen("list")] == [b"200", 200]
            waiting: Any = client.blpop("later", timeout=0)
            popped, _ = await asyncio.gather(waiting, client.rpush("later", "come"))
            assert tuple(popped) == (b"later", b"come")

    asyncio.run(use())


def test_client_that_waits_for_a_server(served: Served) -> None:
    """A client that retries does not notice that the server was away."""
    retry = Retry(ConstantBackoff(0.05), 1000)
    with served.client(retry=retry, retry_on_error=[redis.ConnectionError], decode_responses=True) as client:
        client.set("a", "1")
        served.kill()
        starter = threading.Thread(target=served.start)
        starter.start()
        try:
            assert client.get("a") == "1"
        finally:
            starter.join()


def test_lock(served: Served) -> None:
    with served.client() as client, served.client() as other:
        counter = {"value": 0, "most": 0, "inside": 0}

        def work() -> None:
            with redis.Redis(port=served.port) as own:
                for _ in range(20):
                    with own.lock("lock", timeout=100, sleep=0.001):
                        counter["inside"] += 1
                        counter["most"] = max(counter["most"], counter["inside"])
                        counter["value"] += 1
                        counter["inside"] -= 1

        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        assert counter == {"value": 100, "most": 1, "inside": 0}
        lock = client.lock("held", timeout=1000)
        assert lock.acquire()
        served.kill_and_start()
        assert not other.lock("held").acquire(blocking=False), "it is still held"
        assert lock.owned()
        assert lock.extend(2000, replace_ttl=True)
        assert 1000 < client.ttl("held") <= 2000
        assert lock.reacquire()
        lock.release()
        with pytest.raises(redis.exceptions.LockError):
            lock.release()


@PROTOCOLS
def test_messages(served: Served, protocol: int) -> None:
    with served.client(protocol=protocol, decode_responses=True) as client, client.pubsub() as subscriber:
        heard: list[tuple[str, Any]] = []
        subscriber.subscribe(news=lambda message: heard.append(("news", message["data"])))
        subscriber.psubscribe(**{"sport.*": lambda message: heard.append((message["channel"], message["data"]))})
        for _ in range(2):
            subscriber.get_message(timeout=PATIENCE_SECONDS)
        assert client.pubsub_numsub("news") == [("news", 1)]
        assert client.publish("news", "first") == 1
        assert client.publish("sport.chess", "second") == 1
        while len(heard) < 2:
            subscriber.get_message(timeout=PATIENCE_SECONDS)
        served.kill_and_start()
        subscriber.get_message(timeout=PATIENCE_SECONDS)  # it connects and subscribes again
        while client.pubsub_numpat() == 0 or client.pubsub_numsub("news") == [("news", 0)]:
            subscriber.get_message(timeout=0.01)
        client.publish("news", "third")
        while len(heard) < 3:
            subscriber.get_message(timeout=PATIENCE_SECONDS)
        assert heard == [("news", "first"), ("sport.chess", "second"), ("news", "third")]


def test_client_side_caching(served: Served) -> None:
    """redis-py asks for Redis 7.4 first, as it does of Redis 7.0. With --redis-version it works:
    tests/net/test_redis_py_cache.py."""
    from redis.cache import CacheConfig

    with (
        served.client(protocol=3, cache_config=CacheConfig()) as client,
        pytest.raises(redis.ConnectionError, match=r"7\.4"),
    ):
        client.get("key")


def test_functions(served: Served) -> None:
    code = "#!lua name=counters\nredis.register_function('add', function(keys, given)\n"
    code += "  return redis.call('INCRBY', keys[1], given[1])\nend)\n"
    with served.client() as client:
        assert client.function_load(code) == b"counters"
        assert client.fcall("add", 1, "count", 40) == 40
        served.kill_and_start()
        assert client.fcall("add", 1, "count", 2) == 42, "functions are data"
        dump = client.function_dump()
        assert client.function_flush()
        assert client.function_list() == []
        assert client.function_restore(dump)
        assert client.fcall("add", 1, "count", 1) == 43
