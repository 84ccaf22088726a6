"""Handlers alone: a context over a store in memory and a clock that stands still until it is moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import GeneratorType
from typing import Any, cast

from flin.engine.entry import Live
from flin.engine.key import stored_key
from flin.errors import CommandError
from flin.net.client.link import NO_LINK
from flin.net.client.session import KnownPeer, Session
from flin.net.command.command import Command
from flin.net.command.registry import find
from flin.net.commands import every
from flin.net.run.context import Context
from flin.net.run.services import make_services
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from flin.net.wire.replies import Reply
from tests.net.fake_store import FakeStore

DECLARING = every  # importing it declares every command

START_MS = 1_800_000_000_000
LIST_TAG = 7
"""The tag of some type that this version does not know."""


class Handling:
    """`call` runs one request's handler; `talk` a dialogue."""

    def __init__(self, store: Any = None) -> None:
        """store: an engine's, in place of one in memory; then the clock is its own."""
        self.now_ms = START_MS
        self.store: FakeStore = FakeStore(clock=lambda: self.now_ms) if store is None else store
        self.services = make_services(self.store, Config(ServerOptions()), _ignore)
        self.pending = self.services.pending
        peer = KnownPeer("127.0.0.1:1", "127.0.0.1:2")
        self.session = Session(1, NO_LINK, peer, START_MS, user=self.services.users.default, authenticated=True)
        self.context = Context(self.services, self.session)

    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        self.pending.refresh_clock()

    def put(self, key: bytes, entry: Live) -> None:
        """Put an entry behind the server's back, as if it had been in the store before."""
        self.store.entries[stored_key(key)] = entry

    def call(self, *words: bytes) -> Any:
        """Run the handler. Returns its result: a finished reply as its bytes, an error as its text."""
        try:
            value = self.handle(*words)
            return _plain(_exhausted(value) if isinstance(value, GeneratorType) else value)
        except CommandError as error:
            return f"-{error}"

    def handle(self, *words: bytes) -> Any:
        """The handler's own value, which may be slices. Raises what the handler raises."""
        request = list(words)
        return _command(request).handler(self.context, request)

    def wire(self, *words: bytes) -> bytes:
        """The reply's bytes in the session's protocol."""
        value = self.handle(*words)
        return self.session.encode(_exhausted(value) if isinstance(value, GeneratorType) else value)

    def talk(self, dialogue: Iterable[tuple[str, Any]]) -> None:
        """Run requests, split at spaces ('' is an empty word), and check the answer of each."""
        for line, expected in dialogue:
            words = [b"" if word == "''" else word.encode("latin-1") for word in line.split(" ")]
            assert self.call(*words) == expected, line


def _command(request: list[bytes]) -> Command:
    found = find(request[0])
    assert found is not None, request
    if found.subcommands is not None:
        found = found.subcommands[request[1].lower()]
    assert found.minimum <= len(request) <= found.maximum, request
    return found


def _exhausted(slices: GeneratorType[None, None, Any]) -> Any:
    while True:
        try:
            next(slices)
        except StopIteration as end:
            return end.value


def _plain(value: Any) -> Any:
    return cast(object, value.data) if isinstance(value, Reply) else value


def _ignore(call: Callable[[], None]) -> None:
    pass
