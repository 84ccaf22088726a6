"""A visit counter behind uvicorn, with the engine inside its one process.

uvicorn --app-dir examples asgi_embedded:application

The lifespan opens the engine before the first request and closes it after the last. A read or write of one key takes
microseconds, so it may run on the event loop; what takes longer belongs into a thread.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import flin.engine

PATH = os.environ.get("VISITS", "visits")


class Visits:
    """The ASGI application."""

    def __init__(self) -> None:
        self._engine: flin.engine.Engine | None = None

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["path"] == "/all":
            text = await asyncio.to_thread(self._all)
        else:
            text = b"%d by %d\n" % (self._open_engine().incr(b"visits:" + scope["path"].encode()), os.getpid())
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    async def _live(
        self, receive: Callable[[], Awaitable[dict[str, Any]]], send: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    self._engine = flin.engine.open(PATH)
                except flin.engine.FlinError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await asyncio.to_thread(self._open_engine().close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _open_engine(self) -> flin.engine.Engine:
        assert self._engine is not None, "run it with --lifespan on"
        return self._engine

    def _all(self) -> bytes:
        return b"".join(b"%s %s\n" % pair for pair in self._open_engine().scan(prefix=b"visits:"))


application = Visits()
