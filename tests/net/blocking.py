"""Blocking commands over real connections: clients that wait, and commands of a test alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from flin.net.command.arguments import timeout_seconds
from flin.net.command.command import ALL_KEYS, Command, Flag, Handler, Keys
from flin.net.command.registry import BY_NAME
from flin.net.run.context import Context
from flin.net.wire.replies import NULL_ARRAY, Value, WaitForKeys
from flin.objects.list import List
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


# Commands of the tests, while the server has no blocking commands of its own.


def _pop(found: List, *, is_left: bool) -> bytes:
    return found.pop_left() if is_left else found.pop_right()


def _pop_first(context: Context, args: list[bytes]) -> Value:
    for key in args[1:-1]:
        found = context.keyspace.objects.find(key, List)
        if found is not None:
            return [key, _pop(found, is_left=args[0].upper() == b"BLPOP")]
    return WaitForKeys(args[1:-1], timeout_seconds(args[-1]), NULL_ARRAY)


def _move(context: Context, args: list[bytes]) -> Value:
    source, destination, *sides = args[1:-1] if len(args) == 6 else [*args[1:3], b"RIGHT", b"LEFT"]
    found = context.keyspace.objects.find(source, List)
    if found is None:
        return WaitForKeys([source], timeout_seconds(args[-1]), None)
    target = context.keyspace.objects.find_or_make(destination, List)
    if target is found and len(found) == 1:
        return found.at(0)
    element = _pop(found, is_left=sides[0] == b"LEFT")
    (target.push_left if sides[1] == b"LEFT" else target.push_right)([element])
    return element


def _pop_some(context: Context, args: list[bytes]) -> Value:
    keys = args[3 : 3 + int(args[2])]
    side = args[3 + len(keys)]
    count = int(args[-1]) if args[-2] == b"COUNT" else 1
    for key in keys:
        found = context.keyspace.objects.find(key, List)
        if found is not None:
            return [key, [_pop(found, is_left=side == b"LEFT") for _ in range(min(count, len(found)))]]
    return WaitForKeys(keys, timeout_seconds(args[1]), NULL_ARRAY)


def _keys_after_number(args: list[bytes]) -> list[int]:
    return list(range(3, 3 + int(args[2])))


def waiting_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: list[tuple[str, Handler, Keys]] = [
        ("BLPOP", _pop_first, Keys(1, -2, 1)),
        ("BRPOP", _pop_first, Keys(1, -2, 1)),
        ("BLMOVE", _move, Keys(1, 2, 1)),
        ("BRPOPLPUSH", _move, Keys(1, 2, 1)),
        ("BLMPOP", _pop_some, Keys(find=_keys_after_number)),
    ]
    for name, handler, keys in handlers:
        if name.encode() not in BY_NAME:
            add_command(monkeypatch, name, handler, keys=keys)
