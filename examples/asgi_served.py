"""A visit counter behind uvicorn with many worker processes. One more process, `flin serve`, has the database open.

flin serve --dir visits --port 6380
uvicorn --app-dir examples --workers 4 asgi_served:application
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio

client = redis.asyncio.Redis(port=int(os.environ.get("FLIN_PORT", "6380")))


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    visits = await client.incr("visits:" + scope["path"])
    text = b"%d by %d\n" % (visits, os.getpid())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})
