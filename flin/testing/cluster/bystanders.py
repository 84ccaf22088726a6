"""Clients that nobody tells of a change: each keeps its connection to one replica, and asks it again and again, without
waiting for answers.

Clients of a cluster leave a leader that does not answer, so nobody would ask one that was stopped, was replaced, and
goes on. What it then answers to a question of that time must not be older than what the next leader has acknowledged.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache
from time import monotonic_ns
from typing import Final

from flin.testing.cluster.history import Call, Outcome
from flin.testing.cluster.load import KINDS, Objects
from flin.testing.cluster.nodes import group_of, slot_of

ASK_SECONDS: Final = 0.1
"""Between two questions to a replica: a stop of eight seconds leaves eighty to be answered at once."""

AGAIN_SECONDS: Final = 0.2
"""Before a replica that is away is tried again."""

Asked = deque[tuple[str, str, int]]
"""Object, key and moment of each question that has no answer yet."""


class Bystanders:
    """From start() to stop(). Only what was answered is noted: a refusal says nothing, and a question does nothing."""

    def __init__(self, objects: Objects, places: Mapping[int, Sequence[tuple[str, int]]], groups: int) -> None:
        """places: where each group's replicas are."""
        self._objects = objects
        self._places = places
        self._group = cache(lambda name: group_of(slot_of(name), groups))
        self._random = random.Random(0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="bystanders")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What was asked by now may be answered no more. Idempotent."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end)
            self._thread.join()

    def _end(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def _run(self) -> None:
        tasks = [
            self._loop.create_task(self._ask(group, *place))
            for group, places in self._places.items()
            for place in places
        ]
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _ask(self, group: int, host: str, port: int) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            asked: Asked = deque()
            listening = asyncio.ensure_future(self._listen(reader, asked, port))
            try:
                while not listening.done():
                    if here := [name for name in self._objects.now if self._group(name) == group]:
                        name = self._random.choice(here)
                        key = f"{name}{self._random.choice(KINDS)}"
                        asked.append((name, key, monotonic_ns()))
                        writer.write(_encoded("GET", key))
                    await asyncio.sleep(ASK_SECONDS)
            finally:
                listening.cancel()
                writer.transport.abort()

    async def _listen(self, reader: asyncio.StreamReader, asked: Asked, port: int) -> None:
        try:
            while line := await reader.readline():
                reply: str | None = None
                if line[:1] == b"$" and (size := int(line[1:])) >= 0:
                    reply = (await reader.readexactly(size + 2))[:-2].decode()
                name, key, began = asked.popleft()
                if line[:1] == b"$":
                    self._objects.note(
                        Call(f"at {port}", name, (("GET", key),), began, monotonic_ns(), Outcome.DONE, (reply,))
                    )
        except (OSError, asyncio.IncompleteReadError):  # it is away
            return


def _encoded(*words: str) -> bytes:
    return "".join([f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]).encode()
