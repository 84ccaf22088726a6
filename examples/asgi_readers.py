"""A price list behind uvicorn: many workers read the database that one other process writes (prices.py).

uvicorn --app-dir examples --workers 4 asgi_readers:application

A refresh takes 30 to 60 microseconds while little is written, so it may run on the event loop; if much is written
between two requests, put it into a thread: `await asyncio.to_thread(prices.refresh)`.
"""

import os
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import flin.engine

PATH = os.environ.get("PRICES", "prices")


@cache
def reader() -> flin.engine.Engine:
    """This worker's reader."""
    return flin.engine.open(PATH, read_only=True, memory_limit="64mb")


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    prices = reader()
    prices.refresh()
    text = b"%b by %d\n" % (prices.get(scope["path"][1:].encode(), b"?"), os.getpid())
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})
