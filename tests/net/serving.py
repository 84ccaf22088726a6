"""A server over a fake or a real store, in a thread of its own, and handlers without any socket."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import flin.net.commands.every  # noqa: F401 - declares them
from flin.engine.expiring import ExpiringSteps
from flin.net.client.link import NO_LINK
from flin.net.client.session import KnownPeer
from flin.net.run.checking import Check
from flin.net.run.context import Context
from flin.net.run.services import Services, make_services, no_expiries, nothing_to_do
from flin.net.serve.dispatch import resume, run_gated
from flin.net.serve.neighbours import Neighbours
from flin.net.serve.wait import WaitForDisk, WaitForSlices
from flin.net.server import Server
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from flin.testing.process import PATIENCE_SECONDS
from tests.net.fake_store import FakeStore


class ServerThread:
    """`with ServerThread() as server:` answers on `server.port` until the block ends."""

    def __init__(
        self,
        store: Any = None,
        *,
        uvloop: bool = True,
        compact: Callable[[], None] = nothing_to_do,
        back_up: Callable[[], None] = nothing_to_do,
        check: Check = tuple,
        neighbours: Neighbours | None = None,
        role: Any = None,  # a ReplicaRole
        **options: Any,
    ) -> None:
        self._neighbours = neighbours
        self._role = role
        self.store = FakeStore() if store is None else store
        self.options = ServerOptions(**{"port": 0, **options})
        self._uvloop = uvloop
        self._compact = compact
        self._back_up = back_up
        self._check = check
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: BaseException | None = None
        self.server: Server
        self.loop: asyncio.AbstractEventLoop
        self.port = 0
        self.tls_port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE_SECONDS), "the server did not start"
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server was told to stop before
            self.loop.call_soon_threadsafe(self.server.request_stop)
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the server did not stop"
        if self._failure is not None:
            raise self._failure

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function on the server's loop."""
        done: list[Any] = []
        finished = threading.Event()

        def run() -> None:
            done.append(function())
            finished.set()

        self.loop.call_soon_threadsafe(run)
        assert finished.wait(PATIENCE_SECONDS)
        return done[0]

    def _run(self) -> None:
        factory = asyncio.new_event_loop
        if self._uvloop:
            import uvloop

            factory = uvloop.new_event_loop
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.server = Server(self.options, self.store, neighbours=self._neighbours, role=self._role)
        await self.server.start(compact=self._compact, back_up=self._back_up, check=self._check)
        self.port = self.server.port
        self.tls_port = self.server.listeners.tls_port
        self._ready.set()
        await self.server.wait()
        await self.server.stop()


class HandlerClient:
    """One session without a socket: `client.call(b"SET", b"k", b"v")` gives the reply's bytes."""

    def __init__(
        self,
        store: Any = None,
        services: Services | None = None,
        clock: Callable[[], int] | None = None,
        expiring: Callable[[], ExpiringSteps] = no_expiries,
        **options: Any,
    ) -> None:
        if services is None:
            store = FakeStore(clock) if store is None else store
            services = make_services(store, Config(ServerOptions(**options)), lambda callback: None, expiring=expiring)
        self.store: Any = services.store
        self.pending = services.pending
        self.tick = services.tick
        self.services = services
        self.context = Context(
            services,
            services.clients.open_session(NO_LINK, KnownPeer("127.0.0.1:1", "127.0.0.1:2"), self.tick.steady_ms),
        )
        self.out: list[bytes] = []
        self.append = self.out.append

    def another(self) -> HandlerClient:
        """A second session of the same server."""
        return HandlerClient(services=self.services)

    def call(self, *request: bytes, commit: bool = True) -> bytes:
        """Run one command to its end, slices and reads of the disk included, and commit its writes."""
        self.pending.refresh_clock()
        self.out.clear()
        wait = run_gated(self, list(request))
        while isinstance(wait, WaitForSlices | WaitForDisk):
            if wait.load is not None:
                wait.load()
            wait = resume(self, wait)
        if commit:
            self.pending.commit()
        return b"".join(self.out)
