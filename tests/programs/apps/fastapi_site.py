"""A FastAPI site whose answers fastapi-cache2 keeps. For uvicorn."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import redis.asyncio
from fastapi import FastAPI
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache

made = count(1)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    client = redis.asyncio.from_url(os.environ["URL"])
    FastAPICache.init(RedisBackend(client), prefix="site")
    yield
    await client.aclose()


app = FastAPI(lifespan=lifespan)


@app.get("/item/{name}")
@cache(expire=1000)
async def item(name: str) -> dict[str, object]:
    return {"name": name, "made": next(made)}
