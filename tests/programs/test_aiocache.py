"""aiocache: its cache, its decorators, and its lock against a stampede."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest
import redis

from tests.programs.served import Served
from tests.tool import needs_package

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_cache(served: Served) -> None:
    aiocache = needs_package("aiocache")

    async def use() -> None:
        async with aiocache.Cache(
            aiocache.Cache.REDIS, endpoint="127.0.0.1", port=served.port, namespace="site",
            serializer=aiocache.serializers.PickleSerializer(),
        ) as cache:  # fmt: skip
            assert await cache.add("first", {"a": [1]}, ttl=1000)
            with pytest.raises(ValueError, match="already exists"):
                await cache.add("first", 2)
            await cache.multi_set([(f"many:{number}", number) for number in range(100)], ttl=1000)
            assert await cache.multi_get(["many:7", "absent", "many:8"]) == [7, None, 8]
            await asyncio.to_thread(served.kill_and_start)
            with pytest.raises(redis.ConnectionError):
                await cache.get("first")  # aiocache tells its user of a lost connection, and makes another
            assert await cache.get("first") == {"a": [1]}
            assert await cache.exists("many:99")
            assert await cache.expire("first", 0)
            assert await cache.get("first") == {"a": [1]}
            assert await cache.delete("first") == 1
            with served.client() as client:
                assert len(ttls := [client.ttl(key) for key in client.keys("site*many*")]) == 100
                assert all(900 < ttl <= 1000 for ttl in ttls)
            await cache.clear(namespace="site")
            assert await cache.multi_get(["many:7", "many:8"]) == [None, None]

    asyncio.run(use())


def test_decorator(served: Served) -> None:
    aiocache = needs_package("aiocache")
    made = count(1)

    async def use() -> None:
        options: dict[str, Any] = {"cache": aiocache.Cache.REDIS, "endpoint": "127.0.0.1", "port": served.port}
        options["serializer"] = aiocache.serializers.JsonSerializer()

        @aiocache.cached(ttl=1000, **options)
        async def squared(number: int) -> list[int]:
            return [number * number, next(made)]

        assert [await squared(4), await squared(5), await squared(4)] == [[16, 1], [25, 2], [16, 1]]
        await asyncio.to_thread(served.kill_and_start)
        assert await squared(6) == [36, 3], "its connection is found dead, and it goes on without the cache"
        assert await squared(5) == [25, 2]
        await squared.cache.close()

    asyncio.run(use())


def test_locks(served: Served) -> None:
    """Scripts release the one and check the other."""
    aiocache = needs_package("aiocache")
    made = count(1)

    async def use() -> None:
        options: dict[str, Any] = {"endpoint": "127.0.0.1", "port": served.port}

        @aiocache.cached_stampede(lease=100, ttl=1000, key="slow", cache=aiocache.Cache.REDIS, **options)
        async def slow() -> int:
            await asyncio.sleep(0.01)
            return next(made)

        assert await asyncio.gather(*(slow() for _ in range(5))) == [1] * 5, "one makes it, the others wait for it"
        async with aiocache.Cache(aiocache.Cache.REDIS, **options) as cache:
            assert not await cache.exists("slow-lock")
            await cache.set("value", "first")
            async with aiocache.lock.OptimisticLock(cache, "value") as lock:
                await lock.cas("second")
            assert await cache.get("value") == "second"
            async with aiocache.lock.OptimisticLock(cache, "value") as lock:
                await cache.set("value", "of another")
                with pytest.raises(aiocache.lock.OptimisticLockError):
                    await lock.cas("third")
        await slow.cache.close()

    asyncio.run(use())
