"""Keyspace events beside a real redis-server: after each random request, of all types, what a subscriber of all of them
was told, in order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.net.differential import schedule
from tests.net.generator import Request
from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread

ALL: Final = b"KEAmn"
END: Final = (b"__keyevent@0__:end", b"")
"""What a third client publishes behind each request: nothing comes after it."""


class Listener:
    """Two clients that send requests, and one who is told of all events."""

    def __init__(self, port: int, classes: bytes) -> None:
        self._clients = [RawClient(port) for _ in range(2)]
        self.has_failed = False
        self._listening, self._ending = RawClient(port), RawClient(port)
        for client in self._clients:
            client.call(b"FLUSHALL")
        self._ending.call(b"CONFIG", b"SET", b"notify-keyspace-events", classes)
        self._listening.call(b"PSUBSCRIBE", b"__key*__:*")

    def events(self, request: Request) -> list[tuple[bytes, bytes]]:
        """Send a request, and return what was told of it: channels and payloads."""
        reply = self._clients[request.connection].call(*request.words)
        self.has_failed = reply.is_error or any(item.is_error for item in reply.items)
        self._ending.call(b"PUBLISH", *END)
        told = []
        while (event := self._read()) != END:
            told.append(event)
        return told

    def _read(self) -> tuple[bytes, bytes]:
        _, _, channel, payload = self._listening.read().items
        return channel.payload, payload.payload

    def close(self) -> None:
        for client in (*self._clients, self._listening, self._ending):
            client.close()


@contextmanager
def listening(*ports: int, classes: bytes = ALL) -> Iterator[list[Listener]]:
    listeners = [Listener(port, classes) for port in ports]
    yield listeners
    for listener in listeners:
        listener.close()


LEFT_OUT: Final = frozenset(("config|set", "reset"))


def told_alike(
    request: Request, expected: list[tuple[bytes, bytes]], seen: list[tuple[bytes, bytes]], failed: bool
) -> bool:
    """Equal, but for what was missed by a command that fails, and by SORT's BY and GET: those tell of no miss."""
    if failed or request.name in ("sort", "sort_ro", "exec"):
        expected, seen = ([event for event in told if b"keymiss" not in b"".join(event)] for told in (expected, seen))
    return expected == seen


def compare(directory: Path, seed: int, each: int) -> None:
    with (
        running_redis(directory) as redis_port,
        ServerThread() as server,
        listening(redis_port, server.port) as (redis, flin),
    ):
        before: list[bytes] = []
        for request in schedule(seed, each):
            if request.name in LEFT_OUT:
                continue
            before = [*before[-8:], b" ".join(request.words)[:300]]
            expected, seen = redis.events(request), flin.events(request)
            assert told_alike(request, expected, seen, redis.has_failed), (before, expected, seen)


def test_random_requests_of_all_types_tell_what_redis_tells(tmp_path: Path) -> None:
    compare(tmp_path, 1, 1)


@pytest.mark.slow
def test_many_random_requests(tmp_path: Path) -> None:
    for seed in range(int(os.environ.get("FLIN_DIFFERENTIAL_SEEDS", "1"))):
        compare(tmp_path, 100 + seed, 12)
