"""The hub: carries what is published between the workers of this node and the other nodes. It lives in the supervisor.

    worker ─ line ─► hub ─ link ─► hub of another node ─ line ─► each of its workers that listens

A worker sends to the hub as to another worker; what comes from a worker goes to all other nodes, what comes from a node
goes to the workers only, so nothing goes around. Each hub makes the links to the others and sends there (node_link.py);
they come to its page (`--http`), which asks for the cluster's secret, and speaks TLS where the cluster does. A message
on a link is some whole frames (net/messages/line.py), so nothing of a link that ends is kept.

Everything goes to all nodes, as in Redis Cluster: to know who listens there would be known too late. A client that was
told `subscribe` by one node may publish through another one at once.

Nothing is sent again. What a worker or a node does not take is kept up to MAX_UNSENT_BYTES, then whole messages are
dropped and counted on the board.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final

from flin.cluster.node.node_link import CLOSE_SECONDS, HEARTBEAT_SECONDS, MAX_LINK_MESSAGE_BYTES, NodeLink
from flin.net.messages.line import encode_frame, number_of_frames
from flin.net.serve.neighbours import Neighbour

if TYPE_CHECKING:
    import socket
    import ssl

    from flin.net.cluster.board import Board

logger = logging.getLogger(__name__)


class Hub:
    """`async with` it, on the loop of the page. board: the node's; `number` is the hub's place there."""

    def __init__(self, board: Board, number: int, node: str, secret: bytes, context: ssl.SSLContext | None) -> None:
        """node: this one. context: for links to others; None: without TLS."""
        self.number: Final = number
        self._board = board
        self._node = node
        self._secret = secret
        self._context = context
        self._workers: dict[int, Neighbour] = {}
        self._links: dict[str, NodeLink] = {}
        self._incoming: dict[Any, str] = {}
        self._session: Any = None

    async def __aenter__(self) -> Hub:
        from aiohttp import ClientSession

        self._session = ClientSession(headers={"Authorization": f"Bearer {self._secret.decode()}"})
        return self

    async def __aexit__(self, *error: object) -> None:
        """Other nodes are told, so none of their links is left to the page's own end."""
        links = [*self._links.values()]
        self._links.clear()
        self._note_links()
        await asyncio.gather(*(link.close() for link in links), *(link.close() for link in self._incoming))
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()
        await self._session.close()

    def follow(self, addresses: Mapping[str, str]) -> None:
        """These are the other nodes, and their `--http`."""
        for name, link in [*self._links.items()]:
            if addresses.get(name) != link.address:
                del self._links[name]
                link.end()
        for name, address in addresses.items():
            if name not in self._links:
                link = NodeLink(name, address, self._node, self._session, self._context, self._note_links)
                self._links[name] = link
        self._note_links()

    def told(self) -> dict[str, Any]:
        """How the links are, for whoever operates the cluster."""
        return {
            "to": {name: link.told() for name, link in sorted(self._links.items())},
            "from": sorted(self._incoming.values()),
            "missed": self._board.missed,
        }

    def _note_links(self) -> None:
        """While there is no link, a PUBLISH costs its worker a look at the board."""
        self._board.set_listening(self.number, any(link.is_up for link in self._links.values()))

    # From workers.

    def attach(self, worker: int, end: socket.socket) -> None:
        """The line to a worker that starts."""
        self._detach(worker)
        loop = asyncio.get_running_loop()
        self._workers[worker] = Neighbour(loop, end, self._pass_on, partial(self._detach, worker))

    def _detach(self, worker: int) -> None:
        if old := self._workers.pop(worker, None):
            old.close()

    def _pass_on(self, messages: list[tuple[bytes, bytes]]) -> None:
        if messages:
            frames = b"".join(starmap(encode_frame, messages))
            for link in self._links.values():
                if not link.send(frames):
                    self._board.add_missed(self.number, len(messages))

    # From nodes.

    async def receive(self, request: Any) -> Any:
        """Answers at node_link.PATH, as long as the link lives. request: aiohttp's, with the cluster's secret."""
        from aiohttp import WSMsgType, web

        link = web.WebSocketResponse(
            timeout=CLOSE_SECONDS, heartbeat=HEARTBEAT_SECONDS, max_msg_size=MAX_LINK_MESSAGE_BYTES, compress=False
        )  # fmt: skip
        await link.prepare(request)
        name = request.query.get("node", "")[:64]
        self._incoming[link] = name
        try:
            async for message in link:
                if message.type is not WSMsgType.BINARY:
                    raise ValueError(f"{message.type.name}: {str(message.data)[:100]}")
                self._deliver(message.data)
        except ValueError as error:
            logger.error("the link from %r is closed: it carries what is no message: %s", name, error)
            await link.close(code=1003, message=b"no message of Flin")
        finally:
            del self._incoming[link]
        return link

    def _deliver(self, frames: bytes) -> None:
        """ValueError if these are none."""
        number = number_of_frames(frames)
        for worker in self._board.listeners(self.number):
            neighbour = self._workers.get(worker)
            if neighbour is not None and not neighbour.send(frames):
                self._board.add_missed(self.number, number)
