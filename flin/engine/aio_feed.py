"""A feed for `async for`, on any event loop that asyncio's own functions run on (its own, uvloop).

A little is read on the event loop itself; much in a thread. A commit of another thread wakes the loop by
`call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Final

from flin.engine.feed import LOOK_SECONDS, Event, Feed

INLINE_BYTES: Final = 1 << 16
"""Bytes of the log that are read on the event loop: 400 events of 100 B, half a millisecond."""


class AsyncFeed:
    """`async for event in AsyncFeed(db.watch(b"user:")):`. For one task at a time; a task that is cancelled while it
    waits loses no event."""

    def __init__(self, feed: Feed) -> None:
        self.feed: Final = feed
        self._fetching: asyncio.Future[bool] | None = None  # in a thread; it outlives the task that waits for it

    def __aiter__(self) -> AsyncFeed:
        return self

    async def __anext__(self) -> Event:
        while not self.feed.is_closed:
            if self._fetching is not None or self.feed.backlog() > INLINE_BYTES:
                await self._fetch()
            event = self.feed.poll()
            if event is not None:
                return event
            await self._wait()
        raise StopAsyncIteration

    @property
    def sequence(self) -> int:
        """As `Feed.sequence`."""
        return self.feed.sequence

    def close(self) -> None:
        """End the iteration. Idempotent."""
        self.feed.close()

    async def __aenter__(self) -> AsyncFeed:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _fetch(self) -> None:
        fetching = self._fetching
        if fetching is None:
            fetching = self._fetching = asyncio.ensure_future(asyncio.to_thread(self.feed.fetch))
        try:
            await asyncio.shield(fetching)
        finally:
            if fetching.done():
                self._fetching = None

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(_finish, woken)

        try:
            if self.feed.wake(wake):
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await woken
        finally:
            self.feed.sleep_no_more(wake)


def _finish(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
