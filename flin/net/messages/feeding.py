"""FLIN.WATCH: what the engine's feed gives, sent to one client as messages, no faster than the client reads.

Events are read from the log, not queued: while the client has UNREAD_BYTES to read, nothing more is. So a client that
is slow is not closed by its output's limits; it falls behind, and if it falls behind what is kept of the log, its watch
ends with an error that says where it may go on.

A message is an array (a push in RESP3): flin.watch, the sequence, the kind, the key, the value, expires_at_ms, the
sequence of the commit, and the stop of a range delete. Two kinds are no events of the engine's: `progress` says now and
then that all up to its sequence was looked at, `error` is the last message, with the reason in the place of the value.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from flin.engine.aio_feed import AsyncFeed
from flin.engine.feed import Event, Feed
from flin.engine.key import prefix_stop
from flin.errors import FeedGapError, FlinError
from flin.net.messages.message import OF_NO_BATCH, message_of

logger = logging.getLogger(__name__)

UNREAD_BYTES: Final = 1 << 20
"""With more than this unread, the client gets nothing further for the moment."""

MESSAGE_EVENTS: Final = 256
"""The most events that are encoded at once: half a millisecond."""

PAUSE_SECONDS: Final = 0.02
"""How often one looks whether the client has read."""

PROGRESS_SECONDS: Final = 5.0
"""How long a watch is silent while others write: then it tells how far it has looked, so that the client may go on from
there even if its own keys are rarely written."""

NAME: Final = b"flin.watch"
GAP: Final = "FEEDGAP"


class Client(Protocol):
    """Who watches, as far as this module knows it."""

    def push(self, data: bytes) -> None: ...

    def output_bytes(self) -> int: ...


class Feeding:
    """One watch. `begin` it on the event loop; `end` it there."""

    def __init__(
        self,
        feed: Feed,
        prefixes: Sequence[bytes],
        client: Client,
        encode: Callable[[list[Any]], bytes],
        is_allowed: Callable[[], bool],
        on_end: Callable[[], None],
    ) -> None:
        """feed: of all keys with the common beginning of the prefixes. encode: a message, in the client's protocol.
        is_allowed: whether the client may still see it; else `on_end` is called, as after an error."""
        self._feed: Final = AsyncFeed(feed)
        self._prefixes: Final = tuple(prefixes)
        self._stops: Final = [(prefix, prefix_stop(prefix)) for prefix in prefixes]
        self._client: Final = client
        self._encode: Final = encode
        self._is_allowed: Final = is_allowed
        self._on_end: Final = on_end
        self._told = feed.sequence
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def end(self) -> None:
        """Send nothing more. Idempotent."""
        self._feed.close()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while (events := await self._next()) is not None and self._is_allowed():
                self._send(map(message, filter(self._concerns, events)))
                sequence = events[-1].sequence if events else self._feed.sequence
                if not events and sequence > self._told:
                    self._send([[NAME, sequence, b"progress", None, None, 0, sequence, None]])
                self._told = sequence
                while self._client.output_bytes() > UNREAD_BYTES:
                    await asyncio.sleep(PAUSE_SECONDS)
        except FlinError as error:
            text = f"{GAP} {error}" if isinstance(error, FeedGapError) else f"ERR {error}"
            logger.warning("a watch ends: %s", error)
            self._send([[NAME, self._told, b"error", None, text.encode(), 0, self._told, None]])
        self._on_end()

    async def _next(self) -> list[Event] | None:
        """The next events; none if none came for a while. None: it was ended."""
        try:
            async with asyncio.timeout(PROGRESS_SECONDS):
                first = await anext(self._feed)
        except TimeoutError:
            return []
        except StopAsyncIteration:
            return None
        return [first, *self._feed.feed.take(MESSAGE_EVENTS)]

    def _concerns(self, event: Event) -> bool:
        if event.kind != "delete_range":
            return event.key.startswith(self._prefixes)
        return any(
            (stop is None or event.key < stop) and (event.stop is None or event.stop > prefix)
            for prefix, stop in self._stops
        )

    def _send(self, messages: Iterable[list[Any]]) -> None:
        data = b"".join(map(self._encode, messages))
        if data:
            self._client.push(message_of(data, OF_NO_BATCH))


def message(event: Event) -> list[Any]:
    """An event as a message."""
    return [
        NAME,
        event.sequence,
        event.kind.encode(),
        event.key,
        event.value,
        event.expires_at_ms,
        event.commit,
        event.stop,
    ]


def common_prefix(prefixes: Sequence[bytes]) -> bytes:
    """What all of them begin with."""
    first, last = min(prefixes), max(prefixes)
    same = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[:same]
