"""Blocking commands over real connections: clients that wait, and commands of a test alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from flin.net.command.command import ALL_KEYS, Command, Flag, Handler, Keys
from flin.net.command.registry import BY_NAME
from flin.testing.process import PATIENCE_SECONDS
from tests.net.raw_client import RawClient
from tests.net.serving import ServerThread


class Clients:
    """Clients of a server. They close with the block."""

    def __init__(self, server: ServerThread) -> None:
        self.server = server
        self._open = ExitStack()

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def new(self) -> RawClient:
        return self._open.enter_context(RawClient(self.server.port))

    def waiting(self, request: str) -> RawClient:
        """A new client that has sent the request and waits for a key."""
        before = self.blocked()
        client = self.new()
        client.send([request.encode().split()])
        self.until_blocked(before + 1)
        return client

    def blocked(self) -> int:
        """How many clients wait for keys."""
        number: int = self.server.call(lambda: self.server.server.services.waiters.number)
        return number

    def until_blocked(self, number: int) -> None:
        eventually(lambda: self.blocked() == number)


def eventually(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


def say(client: RawClient, *requests: str) -> list[bytes]:
    """The replies to a pipeline of requests, as bytes."""
    return [reply.data for reply in client.pipeline([request.encode().split() for request in requests])]


def add_command(
    monkeypatch: pytest.MonkeyPatch, name: str, handler: Handler, *, group: str = "list", keys: Keys = ALL_KEYS
) -> None:
    """A blocking command of one test."""
    flags = Flag.WRITE | Flag.BLOCKING
    added = Command(name.lower(), handler, arity=-2, flags=flags, keys=keys, group=group, summary="")
    monkeypatch.setitem(BY_NAME, name.encode(), added)


def bulk_pair(key: bytes, value: bytes) -> bytes:
    return b"*2\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(value), value)
