"""cashews: its cache, decorators, counters; its locks, rate limits and tags, which are scripts."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from flin.testing.process import PATIENCE_SECONDS
from tests.programs.served import Served
from tests.tool import needs_package

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_cache(served: Served) -> None:
    cashews = needs_package("cashews")
    made = count(1)

    async def use() -> None:
        cache = cashews.Cache()
        cache.setup(served.url, client_side=False)

        @cache(ttl="1h", key="user:{name}", tags=["users"])
        async def user(name: str) -> dict[str, object]:
            return {"name": name, "made": next(made)}

        assert [(await user(name))["made"] for name in ("a", "b", "a")] == [1, 2, 1]
        await cache.set("plain", {1, 2}, expire=1000)
        await cache.set_many({"x": 1, "y": [2]}, expire=1000)
        assert await cache.incr("counter") == 1
        assert await cache.incr("counter", 5) == 6
        await asyncio.to_thread(served.kill_and_start)
        assert await cache.get("plain") is None, "its connection is found dead, and it goes on without the cache"
        assert (await user("b"))["made"] == 2
        assert await cache.get("plain") == {1, 2}
        assert await cache.get_many("x", "absent", "y") == (1, None, [2])
        assert [key async for key in cache.scan("user:*")] in (["user:a", "user:b"], ["user:b", "user:a"])
        assert await cache.set("plain", 1, exist=False) is False
        await cache.delete_match("user:a*")
        assert (await user("a"))["made"] == 3
        await cache.clear()
        assert await cache.get("plain") is None
        await cache.close()

    asyncio.run(use())


def test_scripts(served: Served) -> None:
    cashews = needs_package("cashews")
    made, inside, most = count(1), 0, 0

    async def use() -> None:
        cache = cashews.Cache()
        cache.setup(served.url, client_side=False)

        @cache.locked(ttl="100s", key="busy")
        async def alone() -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

        @cache.slice_rate_limit(limit=3, period="1h", key="limit:{name}")
        async def limited(name: str) -> str:
            return name

        @cache(ttl="1h", key="tagged:{name}", tags=["users"])
        async def tagged(name: str) -> int:
            return next(made)

        await asyncio.gather(*(alone() for _ in range(5)))
        assert (inside, most) == (0, 1)
        assert [await tagged("a"), await tagged("b"), await tagged("a")] == [1, 2, 1]
        assert [await limited("ada") for _ in range(3)] == ["ada"] * 3
        assert await cache.set_lock("held", "mine", expire=1000)
        await asyncio.to_thread(served.kill_and_start)
        assert await cache.get("plain") is None, "its connection is found dead, and it goes on without the cache"
        with pytest.raises(cashews.RateLimitError):
            await limited("ada")
        assert not await cache.set_lock("held", "other", expire=1000)
        assert not await cache.unlock("held", "other")
        assert await cache.unlock("held", "mine")
        await cache.delete_tags("users")
        assert [await tagged("a"), await tagged("b")] == [3, 4]
        await cache.close()

    asyncio.run(use())


def test_client_side(served: Served) -> None:
    """A reader keeps values in its own memory, until a writer's change is told (in RESP2, by a redirection)."""
    cashews = needs_package("cashews")

    async def use() -> None:
        reader, writer = cashews.Cache(), cashews.Cache()
        for cache in (reader, writer):
            cache.setup(f"{served.url}?protocol=2", client_side=True, client_side_prefix="app:")
        await writer.set("key", "first", expire=1000)
        assert [await reader.get("key") for _ in range(3)] == ["first"] * 3
        with served.client() as client:
            client.config_resetstat()
            assert await reader.get("key") == "first"
            assert "cmdstat_get" not in client.info("commandstats"), "nothing was asked"
        await writer.set("key", "second", expire=1000)
        while await reader.get("key") != "second":
            await asyncio.sleep(0.001)
        await reader.close()
        await writer.close()

    asyncio.run(asyncio.wait_for(use(), PATIENCE_SECONDS))
