"""A node's link to etcd: proxies that hold bytes back, one way or both, delay them, or lose them with the connection.

    with Links() as links:
        link = links.add([("127.0.0.1", 2379)])
        link.answers.hold()   # requests arrive and are executed, nobody learns of it
        link.reset()          # and never will
        link.answers.release()

Bytes that are held and then released arrive late; bytes that are held when the connection is reset are lost, as on a
network: TCP loses no bytes out of the middle.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final, Self, TypeVar

READ_BYTES: Final = 1 << 16

T = TypeVar("T")


class Way:
    """One direction of a link. Used from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_open = asyncio.Event()
        self._is_open.set()
        self.delay_seconds = 0.0

    def hold(self) -> None:
        self._loop.call_soon_threadsafe(self._is_open.clear)

    def release(self) -> None:
        self.delay_seconds = 0.0
        self._loop.call_soon_threadsafe(self._is_open.set)

    async def passage(self) -> None:
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        await self._is_open.wait()


class Link:
    """Between one node and all members of etcd; `ports` are those that the node is told instead of theirs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.requests = Way(loop)
        self.answers = Way(loop)
        self.ports: list[int] = []
        self._loop = loop
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        self.requests.hold()
        self.answers.hold()

    def heal(self) -> None:
        self.requests.release()
        self.answers.release()

    def reset(self) -> None:
        """Lose what is held, and every connection."""
        self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def open(self, targets: Sequence[tuple[str, int]]) -> None:
        for target in targets:
            server = await asyncio.start_server(self._serving(target), "127.0.0.1", 0)
            self._servers.append(server)
            self.ports.append(server.sockets[0].getsockname()[1])

    def close(self) -> None:
        for server in self._servers:
            server.close()
        self._abort()

    def _serving(
        self, target: tuple[str, int]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                others_reader, others_writer = await asyncio.open_connection(*target)
            except OSError:  # the member is away
                writer.transport.abort()
                return
            both = {writer, others_writer}
            self._writers |= both
            try:
                # Cancelled at the end of all; the stream that made this task would print that as an error.
                with suppress(asyncio.CancelledError):
                    async with asyncio.TaskGroup() as ways:
                        ways.create_task(_pump(reader, others_writer, self.requests))
                        ways.create_task(_pump(others_reader, writer, self.answers))
            finally:
                self._writers -= both
                for each in both:
                    each.transport.abort()

        return serve


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
    with suppress(OSError):  # either end is away
        while data := await reader.read(READ_BYTES):
            await way.passage()
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


class Links:
    """Their event loop, in a thread of its own."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._links: list[Link] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="links")
        self._thread.start()
        return self

    def add(self, targets: Sequence[tuple[str, int]]) -> Link:
        link = Link(self._loop)
        self._links.append(link)
        self._wait(link.open(targets))
        return link

    def __exit__(self, *exception: object) -> None:
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for link in self._links:
            link.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
