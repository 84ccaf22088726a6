"""Memoized functions whose callers are tasks: `@db.memoize()` of an `async def` (memoize.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flin.engine.memoize import Memo

P = ParamSpec("P")
Result = TypeVar("Result")


def memoized_by_tasks(function: Callable[P, Awaitable[Result]], memo: Memo[P], db: Any) -> Any:
    """The memoized function. `db` has `get` and `put`, awaited, and `delete_prefix`. A task that is cancelled while it
    computes leaves nothing; one of those who wait computes then."""

    async def compute(key: bytes, arguments: Any, named: Any) -> bytes:
        data: bytes | None = None
        try:
            data = await db.get(key)  # of one who has ended just before
            if data is None:
                computed = memo.codec.encode(await function(*arguments, **named))
                await db.put(key, computed, ttl=memo.ttl)
                data = computed
            return data
        finally:
            memo.flights.end(key, data)

    @wraps(function)
    async def memoized(*arguments: P.args, **named: P.kwargs) -> Result:
        key = memo.cache_key(*arguments, **named)
        data = await db.get(key)
        while data is None:
            flight = memo.flights.join(key, asyncio.current_task())
            if flight is None:
                data = await compute(key, arguments, named)
            else:  # a task that is cancelled here must not cancel what the others wait for
                data = await asyncio.shield(asyncio.wrap_future(flight))
        result: Result = memo.codec.decode(data)
        return result

    return memo.equipped(memoized, db)
