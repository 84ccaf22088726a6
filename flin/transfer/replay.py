"""Requests run on a database as a server runs them, without one: the commands of an append-only file."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import flin.net.commands.every  # noqa: F401 - declares them
from flin.engine.options import wall_clock_ms
from flin.errors import ImportDataError
from flin.net.client.link import NO_LINK
from flin.net.client.session import KnownPeer
from flin.net.run.context import Context
from flin.net.run.services import make_services
from flin.net.serve.dispatch import resume, run_gated
from flin.net.serve.wait import TURN_IS_OVER, Wait, WaitForDisk, WaitForSlices, WaitForWriters
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from flin.transfer.record import Request

_BEFORE_ALL_MS: Final = 0

_PAUSE_SECONDS: Final = 0.005
"""Writers wait until flushes and merges have caught up."""


_SCRIPTS: Final = frozenset((b"EVAL", b"EVALSHA", b"FCALL"))
"""They stand in the files of Redis before 7.0, and their expiries count from now. So for them it is now."""


class _ReplayContext(Context):
    """Its clock is that of the keyspaces, in which nothing has expired. What says how long, counts from now."""

    __slots__ = ()

    @property
    def now_ms(self) -> int:
        return wall_clock_ms()


class Replay:
    """A client of a server that has no other, and in which nothing expires: a request was made before what it changes
    had expired, and may have given it a later expiry. So does Redis when it loads such a file."""

    def __init__(self, store: Any, path: str) -> None:
        """path: of the file, for errors."""
        self._path: Final = path
        services = make_services(store, Config(ServerOptions()), lambda callback: None)
        services.databases.block_reads(blocking=True)
        self.pending: Final = services.pending
        peer = KnownPeer("import", "import")
        self.context: Final = _ReplayContext(
            services, services.clients.open_session(NO_LINK, peer, services.tick.steady_ms)
        )
        self._out: Final[list[bytes]] = []
        self.append: Final[Callable[[bytes], None]] = self._out.append

    def run(self, request: Request) -> None:
        """ImportDataError for one that is answered with an error, or would wait for another client."""
        self.pending.now_ms = wall_clock_ms() if request.words[0].upper() in _SCRIPTS else _BEFORE_ALL_MS
        self._out.clear()
        wait = run_gated(self, request.words)
        while wait is not None and wait is not TURN_IS_OVER:  # a long reply ends a client's turn: there are no others
            wait = self._on(wait, request)
        if self._out and self._out[0].startswith(b"-"):
            text = self._out[0][1:].decode(errors="replace").strip()
            name = request.words[0][:50].decode(errors="replace")
            raise ImportDataError(self._path, request.place, f"{name} is answered with: {text}")

    def _on(self, wait: Wait, request: Request) -> Wait | None:
        if isinstance(wait, WaitForSlices | WaitForDisk):
            if wait.load is not None:
                wait.load()
        elif isinstance(wait, WaitForWriters):
            time.sleep(_PAUSE_SECONDS)
        else:
            name = request.words[0][:50].decode(errors="replace")
            raise ImportDataError(self._path, request.place, f"{name} waits for another client, and there is none")
        return resume(self, wait)
