"""cashews: its cache, decorators, tags, counters, locks."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

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
