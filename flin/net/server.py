"""The server: it opens the engine, listens, and ends cleanly.

`serve` is the whole life of `flin serve`. `Server` is the part that runs on an event loop over an open store: tests
start it on a free port over the store they want.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import flin.net.commands.every  # noqa: F401 - declares every command
from flin.engine.engine import store_of
from flin.engine.expiring import Expiring, ExpiringSteps
from flin.key_file import read_key
from flin.net.access.users import Users
from flin.net.batch.confirmed_store import ConfirmedStore
from flin.net.batch.following_store import FollowingStore
from flin.net.commands.info import resident_bytes
from flin.net.data.cursors import keep_cursors, recall_cursors
from flin.net.diagnostics import Diagnostics, database_line, start_line
from flin.net.pid_file import pid_file
from flin.net.run.checking import Check
from flin.net.run.follower_gate import FollowerGate
from flin.net.run.services import Services, make_services, no_expiries, nothing_to_do
from flin.net.serve.cold import ColdReads
from flin.net.serve.eviction import Eviction
from flin.net.serve.housekeeping import STEP_SECONDS, Housekeeping
from flin.net.serve.listeners import BoundSockets, Listeners
from flin.net.serve.neighbours import Neighbours
from flin.net.serve.reaping import Reaping
from flin.net.serve.watchman import Watchman
from flin.net.service_manager import ServiceManager
from flin.net.settings.config import Config
from flin.net.settings.file_limit import make_room
from flin.net.settings.options import ServerOptions
from flin.net.settings.reloading import reload

uvloop: Any
try:
    import uvloop
except ImportError:  # asyncio's own loop does, too, more slowly
    uvloop = None

if TYPE_CHECKING:
    from flin.engine.tree.store import Store
    from flin.net.batch.store import StoreLike
    from flin.net.cluster.role import ReplicaRole

logger = logging.getLogger(__name__)

FINISH_SECONDS: Final = 2.0
"""At the end: the time to answer what was read, and to send it. The engine has the rest of the five seconds."""

FINISH_POLL_SECONDS: Final = 0.01

COLLECT_EVERY: Final = 50_000
"""Allocations between two collections of young objects. A request is a list, freed by its last reference, so the
collector finds nothing; at its default of 700 it looks every 15 pipelined requests (measured: 4 % of a GET)."""


SWITCH_SECONDS: Final = 0.0005
"""How long the loop waits for the interpreter's lock while a thread of the engine has it and computes (only a call of C
takes longer); then it is given to the loop. By default that is 5 ms: in that time 100 requests arrive. Measured beside
flushes and merges, in turn: five waits of 5 ms in three runs of 7 s before, none since; SETs and GETs cost the same."""

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
"""Parameters of glibc's mallopt."""

KEPT_FREE_BYTES: Final = 64 << 20
"""Freed memory that stays with the process. Every tick allocates and frees its requests and its frame; by default glibc
gives their memory back each time, and the kernel fills the pages with zeros again. Measured on SETs of 1 KiB over 256
connections: 34,000 to 46,000 page faults in 80,000 requests before, 1,600 to 3,000 after; the processor time of a
request varies more between equal runs than by this (22.9 and 22.3 µs before, 18.1 and 24.6 after)."""

MAX_KEPT_BYTES: Final = 4 << 20
"""A longer block is mapped by itself and goes back when it is freed."""


def _store_of_replica(store: StoreLike, role: ReplicaRole, is_strict: bool) -> StoreLike:
    if not role.is_leading:
        return FollowingStore(store)
    return cast("StoreLike", ConfirmedStore(store, role.confirm)) if is_strict else store


class Server:
    """Answers clients from an open store until `stop`. Call all methods on the loop that it was started on."""

    def __init__(
        self,
        options: ServerOptions,
        store: StoreLike,
        bound: BoundSockets | None = None,
        neighbours: Neighbours | None = None,
        role: ReplicaRole | None = None,
        before: Server | None = None,
    ) -> None:
        """neighbours: the other workers of the server, if it is one of several. role: of a replica, whose server ends
        when its role does, and whose neighbours stay. Of one that follows, `run.foreign.apply_foreign` is how the store
        changes. before: the server of its last role, of which what CONFIG SET and ACL have changed stays."""
        if role is not None:
            options = replace(options, topology=role.topology)
        self.options = options.check()
        self.role = role
        self.store = store if role is None else _store_of_replica(store, role, options.read_concern == "strict")
        self._bound = bound or BoundSockets()
        self._neighbours = neighbours
        self._kept: tuple[Config, Users | None] | None = None
        if before is not None:
            self._kept = before.services.config.heir(self.options.topology), before.services.users
        self.services: Services
        self.port = 0
        self.listeners: Listeners
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()
        self._is_stopped = False

    async def start(
        self,
        engine_statistics: Callable[[], Mapping[str, Any]] = dict,
        expiring: Callable[[], ExpiringSteps] = no_expiries,
        compact: Callable[[], None] = nothing_to_do,
        back_up: Callable[[], None] = nothing_to_do,
        check: Check = tuple,
    ) -> None:
        """Listen. Raises ConfigError where an address cannot be had."""
        loop = self._loop = asyncio.get_running_loop()
        self._sync_thread = ThreadPoolExecutor(1, thread_name_prefix="flin-sync")
        self._cold = ColdReads(loop.call_soon_threadsafe)
        self._fit_file_limit()
        config, users = self._kept or (Config(self.options), None)
        self._kept = None  # they know the former server
        services = self.services = make_services(
            self.store,
            config,
            loop.call_soon,
            executor=self._sync_thread,
            wake=loop.call_soon_threadsafe,
            stop=self.request_stop,
            engine_statistics=engine_statistics,
            expiring=expiring,
            compact=compact,
            back_up=back_up,
            check=check,
            event_loop="uvloop" if uvloop is not None and isinstance(loop, uvloop.Loop) else "asyncio",
            startup_memory_bytes=resident_bytes(),
            role=self.role,
            users=users,
        )
        if self._neighbours is not None:
            self._neighbours.begin(services, loop)
        if self.role is None:  # cursors do not outlive a role
            recall_cursors(services.cursors, self.store)
        self._housekeeping = Housekeeping(services)
        self.reaping = Reaping(services, self._cold)
        self._watchman = Watchman(services, self._cold)
        self._eviction = None
        if self.role is None or self.role.is_leading:  # what a leader evicts comes by the log
            self._eviction = Eviction(services, cast("Store", self.store), self._cold, loop.call_soon_threadsafe)
            services.pause.fit_sweep()
        self.listeners = Listeners(self.options, services, self._cold, loop, self._bound)
        await self.listeners.open()
        self.port = self.listeners.port
        services.process.port = self.port or self.listeners.tls_port
        self._timer = loop.call_later(STEP_SECONDS, self._step)

    def _fit_file_limit(self) -> None:
        """Keep maxclients within the files that the operating system lets this process open."""
        fitting = make_room(self.options.maxclients)
        if fitting < self.options.maxclients:
            logger.warning("maxclients is %d: the operating system does not let this process open more files", fitting)
            self.options = replace(self.options, maxclients=fitting)

    def _step(self) -> None:
        self._timer = self._loop.call_later(STEP_SECONDS, self._step)
        if type(self.services.slot_gate) is FollowerGate:
            self.services.slot_gate.look_at_lag()
        self._housekeeping.step()
        self.reaping.step()
        self._watchman.step()
        if self._eviction is not None:
            self._eviction.step()
        if self._neighbours is not None:
            self._neighbours.beat()

    def request_stop(self) -> None:
        """Begin the end: SIGTERM, SIGINT, SHUTDOWN."""
        self._stopping.set()

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    async def wait(self) -> None:
        """Wait until the end is asked for."""
        await self._stopping.wait()

    async def stop(self) -> None:
        """Stop accepting, answer what was read, send it, make everything durable, close. Idempotent."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._stopping.set()
        self.listeners.close()
        if not await self._loop.run_in_executor(None, self.services.long_script.has_ended, FINISH_SECONDS):
            logger.error("a script did not end within %g s: nothing of it is kept", FINISH_SECONDS)
        await self._finish_connections()
        if self._timer is not None:
            self._timer.cancel()
        if self._eviction is not None:
            self._eviction.close()
        self.services.tick.end_all()
        connections = list(self.services.clients.admitted.values())
        if self.role is not None:  # the log may not answer: who waits for it is told so
            for connection in connections:
                connection.refuse_held(self.store.synced_position)
        elif self.store.read_only_reason is None:
            keep_cursors(self.services.cursors, self.store)
            await self._loop.run_in_executor(self._sync_thread, self.store.sync)
        for connection in connections:
            connection.close()
        await asyncio.sleep(0)  # transports close in the loop's next round
        for connection in connections:
            connection.abort()
        await asyncio.sleep(0)
        if self._neighbours is not None:
            self._neighbours.rest() if self.role is not None else self._neighbours.close()
        await self._loop.run_in_executor(None, self._cold.close)
        self._sync_thread.shutdown(wait=self.role is None)

    async def _finish_connections(self) -> None:
        deadline = self._loop.time() + FINISH_SECONDS
        while self._loop.time() < deadline:
            if all([connection.finish() for connection in self.services.clients.admitted.values()]):  # noqa: C419 - each
                return
            await asyncio.sleep(FINISH_POLL_SECONDS)
        logger.warning("some clients did not read their replies within %g s", FINISH_SECONDS)


Attend: TypeAlias = "Callable[[Server, Any], AbstractAsyncContextManager[None]]"
"""Something that lives on the loop beside the server, over the same engine: from when clients are answered until the
last one has been."""

WhenReady: TypeAlias = "Callable[[Server, int, float], None]"
"""Called once clients are answered, with the records that were recovered, and the seconds that all of it took."""


def serve(
    options: ServerOptions,
    remark: str = "",
    *,
    name: str = "",
    bound: BoundSockets | None = None,
    neighbours: Neighbours | None = None,
    when_ready: WhenReady | None = None,
    attend: Attend | None = None,
) -> int:
    """Open the engine and answer clients until SIGTERM, SIGINT or SHUTDOWN. The exit code: 0 after a clean end.

    It prints a line when it is ready, with the remark, unless `when_ready` does something else. name: stands in every
    line of the log. Raises ConfigError, and what opening the engine raises.
    """
    options.check()
    # If the terminal of `flin serve &` closes, the server stays, as redis-server does. The helpers inherit this.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    keep_freed_memory(options.memory_limit)

    manager = ServiceManager()
    with Diagnostics(options, name) as diagnostics:

        def announce(server: Server, recovered: int, seconds: float) -> None:
            line = start_line(server.listeners.places, database_line(options), recovered, seconds) + remark
            diagnostics.announce(line)
            manager.ready(line)

        ready, attending = when_ready or announce, attend or _alone
        serving = _serve(options, bound or BoundSockets(), neighbours, ready, attending, diagnostics, manager)
        return run_on_loop(serving)


def run_on_loop(serving: Coroutine[Any, Any, int]) -> int:
    """What the coroutine gives, on the fastest loop there is."""
    if uvloop is not None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serving)
    return asyncio.run(serving)


@asynccontextmanager
async def _alone(server: Server, engine: Any) -> AsyncIterator[None]:
    yield


async def _serve(
    options: ServerOptions,
    bound: BoundSockets,
    neighbours: Neighbours | None,
    when_ready: WhenReady,
    attend: Attend,
    diagnostics: Diagnostics,
    manager: ServiceManager,
) -> int:
    began = time.monotonic()
    engine = _open_engine(options)
    pids = ExitStack()
    try:
        pids.enter_context(pid_file(options.pidfile))
        store = store_of(engine)
        server = Server(options, store, bound, neighbours)
        back_up = partial(_back_up, engine, options)
        await server.start(engine.stats, Expiring(store).steps, engine.compact, back_up, engine.verify)
        store.listeners.on_expired = server.reaping.note_expired
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.request_stop)
        if options.config_file or options.tls_port is not None:
            loop.add_signal_handler(signal.SIGHUP, hang_up, server)
        loop.add_signal_handler(signal.SIGUSR1, diagnostics.reopen)
        server.services.config.on_log_level = diagnostics.set_level
        async with attend(server, engine):
            when_ready(server, engine.stats()["wal"]["replayed_operations"], time.monotonic() - began)
            tune_interpreter()
            manager.keep_watch(loop)
            await server.wait()
            logger.info("stopping")
            manager.stopping()
            await server.stop()
    finally:
        # In a thread: signals are still handled, and a second one changes nothing.
        await asyncio.get_running_loop().run_in_executor(None, engine.close)
        pids.close()
    return 0


def hang_up(server: Server) -> None:
    """SIGHUP: the configuration and the certificates are read again."""
    if server.options.config_file:
        reload(server.services.config)
    server.listeners.reload()


def _open_engine(options: ServerOptions) -> Any:
    import flin.engine

    # The server keeps cached replies of hot keys instead of the engine's values.
    return flin.engine.open(
        options.dir,
        sync=options.sync,
        memory_limit=options.memory_limit,
        shards=options.shards,
        value_threshold=options.value_threshold,
        wal_retention=options.wal_retention,
        encryption_key=partial(_key_in, options.encryption_key_file) if options.encryption_key_file else None,
        value_cache=False,
        # The server holds writers back by their connections; a commit must not wait on the loop.
        stall_writers=False,
    )


def _key_in(path: str) -> bytes:
    """The key in a file; the log warns if others can read it."""
    key, warning = read_key(path)
    if warning:
        logger.warning("%s", warning)
    return key


def _back_up(engine: Any, options: ServerOptions) -> None:
    if options.backup_dir:
        engine.backup(options.backup_dir, keep=options.backup_keep or None)


def tune_interpreter() -> None:
    """Once everything is loaded and open."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 20, 100)


def keep_freed_memory(memory_limit_bytes: int) -> None:
    """Keep at most a sixteenth of the limit. Does nothing where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    kept = min(KEPT_FREE_BYTES, memory_limit_bytes // 16)
    mallopt(M_TRIM_THRESHOLD, kept)
    mallopt(M_MMAP_THRESHOLD, min(MAX_KEPT_BYTES, kept))
