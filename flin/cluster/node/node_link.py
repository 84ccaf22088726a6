"""A link to another node: what is published here goes there, in one direction; the other node makes one of its own.

It is a WebSocket to the node's page. It is made anew whenever it ends; what waited for it then is lost, as messages are
that nobody hears.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from flin.cluster.workers.lines import MAX_NODE_MESSAGE_BYTES
from flin.net.serve.neighbours import MAX_UNSENT_BYTES, READ_BYTES

if TYPE_CHECKING:
    import ssl

logger = logging.getLogger(__name__)

PATH: Final = "/cluster/messages"

HEARTBEAT_SECONDS: Final = 10.0
"""A side that has answered nothing for half as long again is given up: its machine is lost, or stands still."""

CONNECT_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 1.0
"""For the other side to close its end, too; one that hangs holds up nobody's end for longer."""

RETRY_SECONDS: Final = (0.2, 2.0)
"""At first, since both sides may have just been started; then twice as long each time, up to this."""

JOINED_BYTES: Final = 1 << 18
"""What waits is joined into messages of about this size: each costs both sides some 70 µs together."""

MAX_LINK_MESSAGE_BYTES: Final = MAX_NODE_MESSAGE_BYTES + JOINED_BYTES + READ_BYTES
"""The longest that a hub sends: the longest message after some that wait, with what a worker has sent around it."""


class NodeLink:
    """On the loop. on_change: called when `is_up` has changed."""

    def __init__(
        self,
        node: str,
        address: str,
        own: str,
        session: Any,
        context: ssl.SSLContext | None,
        on_change: Callable[[], None],
    ) -> None:
        """address: the node's `--http`. own: this node's name. session: aiohttp's, which shows the secret."""
        self.address: Final = address
        self.is_up = False
        self._node = node
        scheme = "http" if context is None else "https"
        self._url = f"{scheme}://{address}{PATH}"
        self._own = own
        self._session = session
        self._context = context
        self._on_change = on_change
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._has_some = asyncio.Event()
        self._problem = ""
        self._task = asyncio.ensure_future(self._run())

    def send(self, frames: bytes) -> bool:
        """Send it when the other side takes it. False: there is no link, or too much waits, so it is dropped."""
        if not self.is_up or self._unsent_bytes >= MAX_UNSENT_BYTES:
            return False
        self._unsent.append(frames)
        self._unsent_bytes += len(frames)
        self._has_some.set()
        return True

    def told(self) -> dict[str, Any]:
        return {"is_up": self.is_up, "unsent_bytes": self._unsent_bytes, "problem": self._problem}

    def end(self) -> None:
        self._task.cancel()

    async def close(self) -> None:
        """End it, and wait for that."""
        self.end()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        from aiohttp import ClientError, ClientWSTimeout

        pause, longest = RETRY_SECONDS
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    link = await self._session.ws_connect(
                        self._url, params={"node": self._own}, ssl=self._context or True, heartbeat=HEARTBEAT_SECONDS,
                        timeout=ClientWSTimeout(ws_close=CLOSE_SECONDS), max_msg_size=READ_BYTES, compress=0,
                    )  # fmt: skip
                self._set_up(True)
                logger.info("what is published reaches %s", self._node)
                pause = RETRY_SECONDS[0]
                await self._use(link)
                problem = "it has ended the link"
            except (ClientError, OSError) as error:  # a TimeoutError is one
                problem = str(error) or type(error).__name__
            except Exception:  # the outermost frame of the link, which is made anew
                logger.exception("an unexpected exception in the link to %s", self._node)
                problem = "an unexpected exception"
            finally:
                self._set_up(False)
            if problem != self._problem:
                logger.warning("what is published does not reach %s: %s", self._node, problem)
            self._problem = problem
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    def _set_up(self, is_up: bool) -> None:
        if is_up:
            self._problem = ""
        if is_up != self.is_up:
            self.is_up = is_up
            self._unsent.clear()
            self._unsent_bytes = 0
            self._on_change()

    async def _use(self, link: Any) -> None:
        """Until it ends. The other side sends nothing but pongs."""
        sending = asyncio.ensure_future(self._send_all(link))
        hearing = asyncio.ensure_future(link.receive())
        try:
            await asyncio.wait((sending, hearing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, hearing):
                task.cancel()
            await asyncio.gather(sending, hearing, return_exceptions=True)
            await link.close()

    async def _send_all(self, link: Any) -> None:
        while True:
            await self._has_some.wait()
            self._has_some.clear()
            while self._unsent:
                frames = self._joined()
                await link.send_bytes(frames)  # returns when most of what was sent before is taken
                self._unsent_bytes -= len(frames)

    def _joined(self) -> bytes:
        """The next message."""
        taken, size = [], 0
        while self._unsent and size < JOINED_BYTES:
            taken.append(self._unsent.popleft())
            size += len(taken[-1])
        return b"".join(taken)
