"""A client without a socket: its transport holds what the client has not read yet, like a kernel with small buffers.

`Clients` is a whole server around them: a fake store, a loop that runs when it is told to, a clock that is set by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, cast

import flin.net.commands.every  # noqa: F401 - declares them
from flin.errors import FlinError
from flin.net.batch.following_store import FollowingStore
from flin.net.run.leased_tick import LeasedTick
from flin.net.run.services import Services, make_services
from flin.net.serve.acceptor import accept
from flin.net.serve.cold import ColdReads
from flin.net.serve.connection import Connection
from flin.net.serve.housekeeping import STEPS_PER_ROUND, Housekeeping
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from flin.net.wire.resp import encode_requests
from tests.net.fake_store import FakeStore

CHUNK_BYTES = 1 << 16


class FakeTransport:
    """Buffers like asyncio's: above the high mark it pauses the protocol, below a quarter of it it resumes."""

    def __init__(self) -> None:
        self.connection: Connection
        self.unread = bytearray()
        self.is_reading = True
        self.is_closed = False
        self._closing = False
        self._high = 1 << 16
        self._is_paused = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.unread += data
        if len(self.unread) > self._high and not self._is_paused:
            self._is_paused = True
            self.connection.pause_writing()

    def read(self, size: int) -> bytes:
        """The client reads up to `size` bytes."""
        data = bytes(self.unread[:size])
        del self.unread[:size]
        if self._is_paused and len(self.unread) <= self._high // 4:
            self._is_paused = False
            self.connection.resume_writing()
        self._maybe_lose()
        return data

    def get_extra_info(self, name: str) -> Any:
        return None if name == "socket" else ("127.0.0.1", 1)

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return len(self.unread)

    def set_write_buffer_limits(self, high: int) -> None:
        self._high = high

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading
        self.is_reading = True

    def close(self) -> None:
        self._closing = True
        self._maybe_lose()

    def abort(self) -> None:
        self._closing = True
        self.unread.clear()
        self._maybe_lose()

    def _maybe_lose(self) -> None:
        if self._closing and not self.unread and not self.is_closed:
            self.is_closed = True
            connection = self.connection
            del self.connection
            connection.connection_lost(None)


class FakeTimer:
    def __init__(self, function: Callable[[], None]) -> None:
        self.function: Callable[[], None] | None = function

    def cancel(self) -> None:
        self.function = None


class FakeLoop:
    """Runs what is due when it is told to; reader threads finish at once."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.later: list[tuple[float, FakeTimer]] = []

    def call_soon(self, function: Callable[..., None], *args: Any) -> None:
        self.soon.append(partial(function, *args) if args else function)

    def call_later(self, seconds: float, function: Callable[..., None], *args: Any) -> FakeTimer:
        timer = FakeTimer(lambda: function(*args))
        self.later.append((seconds, timer))
        return timer

    def submit(self, load: Callable[[], None], then: Callable[[], None]) -> None:
        load()
        self.soon.append(then)

    def run(self) -> None:
        while self.soon:
            self.soon.pop(0)()

    def run_later(self) -> None:
        """End all delays."""
        later, self.later = self.later, []
        self.soon += [timer.function for _, timer in later if timer.function is not None]
        self.run()


class PromptExecutor(Executor):
    """Runs calls at once."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except FlinError as error:
            future.set_exception(error.with_traceback(None))  # its frames hold the future
        return future


class Peer:
    """One client and its connection."""

    def __init__(self, services: Services, loop: FakeLoop) -> None:
        self._loop = loop
        self._unsent = bytearray()
        self.transport = FakeTransport()
        self.connection = accept(services, cast(ColdReads, loop), cast(Any, loop), cast(Any, self.transport))
        self.transport.connection = self.connection

    @property
    def is_closed(self) -> bool:
        return self.transport.is_closed

    def send(self, *requests: bytes) -> None:
        """Send requests, given as words separated by spaces."""
        self.send_raw(encode_requests([request.split() for request in requests]))

    def send_raw(self, data: bytes, chunk_bytes: int = CHUNK_BYTES) -> int:
        """Send as far as the server reads, a round for each chunk. Returns how many bytes are still unsent."""
        self._unsent += data
        while self._unsent and self.transport.is_reading and not self.is_closed:
            chunk = bytes(self._unsent[:chunk_bytes])
            del self._unsent[:chunk_bytes]
            self.connection.data_received(chunk)
            self._loop.run()
        return len(self._unsent)

    def say(self, *requests: bytes | list[bytes]) -> None:
        """Send without ending the round: others may send in it, too."""
        words = [request if isinstance(request, list) else request.split() for request in requests]
        self.connection.data_received(encode_requests(words))

    def read(self, size: int = 1 << 60) -> bytes:
        """Read what has arrived, and let the server go on."""
        data = self.transport.read(size)
        self._loop.run()
        self.send_raw(b"")
        return data

    def read_all(self) -> bytes:
        """Read until nothing more comes."""
        parts = []
        while part := self.read(1 << 18):
            parts.append(part)
        return b"".join(parts)

    def ask(self, *requests: bytes) -> bytes:
        self.send(*requests)
        return self.read_all()


class Clients:
    """A server that answers peers, a round at a time."""

    def __init__(
        self,
        store: Any = None,
        *,
        role: Any = None,  # a ReplicaRole
        executor: Any = None,
        **options: Any,
    ) -> None:
        self.wall_ms = 1_800_000_000_000
        self.store = FakeStore(clock=lambda: self.wall_ms) if store is None else store
        self.loop = FakeLoop()
        self.steady_ms = 10**9
        if role is not None and not role.is_leading:
            self.store = FollowingStore(self.store)
        self.services = make_services(
            self.store,
            Config(ServerOptions(**options)),
            self.loop.call_soon,
            executor=executor or PromptExecutor(),
            role=role,
            wake=self.loop.call_soon,
            steady_clock=lambda: self.steady_ms,
        )
        if isinstance(self.services.tick, LeasedTick):  # no time goes by, so an append is never waited with
            self.services.tick._clock = lambda: self.steady_ms / 1000
        self.pending = self.services.pending
        self.guard = Housekeeping(self.services)

    def connect(self) -> Peer:
        return Peer(self.services, self.loop)

    def pass_seconds(self, seconds: int) -> None:
        """Let time pass; in every second of it the housekeeping checks all clients."""
        for _ in range(seconds):
            for _ in range(STEPS_PER_ROUND):
                self.steady_ms += 1000 // STEPS_PER_ROUND
                self.guard.step()
            self.loop.run()
