"""Hubs of several nodes on one loop: real pages, real links; in the place of workers the far ends of their lines."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

from flin.admin.endpoints import Extension
from flin.admin.server import Page
from flin.cluster.node.hub import Hub
from flin.cluster.node.node_link import PATH
from flin.net.cluster.board import Board, new_board
from flin.net.messages.line import Frames, encode_frame
from flin.net.settings.options import ServerOptions
from flin.testing.process import PATIENCE_SECONDS

SECRET = b"a secret that is long enough"
WORKERS = 2


async def until(holds: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0.005)
    assert holds(), what


async def soon(result: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(result, PATIENCE_SECONDS)


class FarWorker:
    """A worker as its hub sees it."""

    def __init__(self, hub: Hub, number: int) -> None:
        self._socket, end = socket.socketpair()
        self._socket.setblocking(False)
        hub.attach(number, end)
        self._frames = Frames()
        self.heard: list[bytes] = []

    async def publish(self, *payloads: bytes) -> None:
        data = b"".join(encode_frame(b"news", payload) for payload in payloads)
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    def look(self) -> list[bytes]:
        """All payloads that it was sent by now."""
        try:
            while data := self._socket.recv(1 << 20):
                self.heard += [payload for _, payload in self._frames.feed(data)]
        except BlockingIOError:
            pass
        return self.heard

    def close(self) -> None:
        self._socket.close()


class HubNode:
    """A node that consists of its hub and its page."""

    def __init__(
        self,
        name: str,
        kind: type[Hub] = Hub,
        secret: bytes = SECRET,
        contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
        port: int = 0,
    ) -> None:
        """contexts: of its page, and of its links."""
        self.name = name
        descriptor = new_board(WORKERS + 1)
        self.board = Board(descriptor, WORKERS + 1)
        os.close(descriptor)
        server, client = contexts or (None, None)
        self.hub = kind(self.board, WORKERS, name, secret, client)
        self._page = Page(ServerOptions(http=f"127.0.0.1:{port}"))
        self._page.extend(Extension("/cluster/", secret, {}, {}, str, {PATH: self.hub.receive}), server)
        self.port = self._page.port
        self.address = f"127.0.0.1:{self.port}"
        self.workers: list[FarWorker] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> HubNode:
        await self._stack.enter_async_context(self._page.served(()))
        await self._stack.enter_async_context(self.hub)
        self.workers = [FarWorker(self.hub, number) for number in range(WORKERS)]
        for number, worker in enumerate(self.workers):
            self.board.set_listening(number, True)
            self._stack.callback(worker.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def link(self, other: str) -> Any:
        return self.hub.told()["to"][other]

    def follow(self, *others: HubNode) -> None:
        self.hub.follow({other.name: other.address for other in others})

    async def wait_until_linked(self) -> None:
        await until(lambda: all(link["is_up"] for link in self.hub.told()["to"].values()), "all links are up")


async def linked(*nodes: HubNode) -> None:
    for node in nodes:
        node.follow(*(other for other in nodes if other is not node))
    for node in nodes:
        await node.wait_until_linked()
        others = sorted(other.name for other in nodes if other is not node)
        await until(lambda node=node, others=others: node.hub.told()["from"] == others, "each is reached")  # type: ignore[misc]
