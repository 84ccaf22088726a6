"""The server's parts as handlers and dispatch reach them: one object, shared by every session.

It names no transport. `server.py` builds it; tests build one around a fake store.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from flin.engine.key import namespace_prefix
from flin.net.cursors import Cursors
from flin.net.damage import Damage
from flin.net.dispatch import run_transaction
from flin.net.hot_keys import HotKeys
from flin.net.keyspace import Keyspace
from flin.net.namespaces import STORED_KEY, decode, encode, recall
from flin.net.registry import with_subcommands
from flin.net.resp_python import RequestLimits
from flin.net.session import Session
from flin.net.slowlog import Slowlog

if TYPE_CHECKING:
    from flin.engine.expiring import Expiries, ExpiringSteps
    from flin.net.config import Config
    from flin.net.connection import Connection
    from flin.net.context import Context
    from flin.net.pending import Pending
    from flin.net.refusal import Refusal
    from flin.net.replies import Value
    from flin.net.store import Store
    from flin.net.tick import Tick

PROTECTED = (
    "DENIED Flin is running in protected mode because no password is set. In this mode connections are only accepted "
    "from the loopback interface. To connect from another computer set a password (requirepass), or turn protected "
    "mode off (protected-mode no) if you are sure that nobody else can reach this port."
)


@dataclass(slots=True)
class Counters:
    """Since the start or CONFIG RESETSTAT."""

    connections: int = 0
    rejected_connections: int = 0
    commands: int = 0
    errors: dict[str, int] = field(default_factory=dict)  # by prefix
    internal_errors: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    cold_reads: int = 0
    clients_closed_for_output: int = 0
    protocol_errors: int = 0

    def reset(self) -> None:
        """In place: connections hold a reference."""
        for field_ in fields(self):
            setattr(self, field_.name, {} if field_.name == "errors" else 0)

    def count_error(self, text: str) -> None:
        prefix = text.partition(" ")[0]
        # A handler's own prefixes are few; a flood of made-up ones must not grow this without bound.
        if prefix in self.errors or len(self.errors) < 128:
            self.errors[prefix] = self.errors.get(prefix, 0) + 1


class Services:
    """`is_open` joins what all sessions' gates have in common; `refresh` computes it and tells every session."""

    def __init__(self, store: Store, pending: Pending, tick: Tick, config: Config) -> None:
        self.store = store
        self.pending = pending
        self.tick = tick
        self.config = config
        self.keyspaces = make_keyspaces(store, pending, config)
        self._is_swapped = False  # by the pending batch
        self._recall_databases()
        self.counters = Counters()
        self.slowlog = Slowlog()
        self.damage = Damage(config.options.dir)
        self.started_steady_ms = tick.steady_ms
        self.cursors = Cursors(store.now_ms())
        self.sessions: dict[int, Session] = {}
        self.connections: dict[int, Connection] = {}  # those that were admitted, by session id
        self.is_open = True
        self.stop: Callable[[], None] = _nothing  # SHUTDOWN
        self.request_limits = RequestLimits(bulk_bytes=config.longest_bulk_bytes)
        self.bound_buffers: Callable[[], None] = _nothing  # the guard's
        self._unbounded_bytes = 0  # that came since the buffers were last looked at
        self.engine_statistics: Callable[[], Mapping[str, Any]] = dict
        self.expiries: dict[int, Expiries] = {}  # the newest figures of `expiring`, for INFO
        self.startup_memory_bytes = 0
        self.peak_memory_bytes = 0
        self.started_at_seconds = store.now_ms() // 1000
        self.expiring: Callable[[], ExpiringSteps] = _no_expiries
        self._next_session_id = 1
        self.port = 0
        self.event_loop = "asyncio"
        self.run_id = secrets.token_hex(20)
        self.commands_per_second = 0
        self.refresh()
        pending.listeners.insert(0, self)  # before the tick: replies are judged by the databases as they are then

    def refresh(self) -> None:
        """After a change of the stall, of read-only, of CONFIG: who is in, and which gates every session looks at."""
        self.is_open = self._gates_are_open()
        for session in self.sessions.values():
            session.let_in(needs_password=self.config.requires_password)
            session.refresh(server_is_open=self.is_open)

    def batch_committed(self) -> None:
        self.maybe_refresh()

    def batch_refused(self, refusal: Refusal) -> None:
        self.maybe_refresh()

    def maybe_refresh(self) -> None:
        """After each batch and by the clock: tell the sessions only if something changed."""
        if self._is_swapped:
            self._recall_databases()
        if self._gates_are_open() != self.is_open:
            self.refresh()

    def _gates_are_open(self) -> bool:
        stall = self.store.stall()
        return not (
            stall.stopped
            or stall.delay_seconds
            or self.store.read_only_reason is not None
            or self.config.times_every_command
        )

    def buffered_bytes(self) -> int:
        """What all clients' buffers hold."""
        return sum(connection.output_bytes() + connection.input_bytes() for connection in self.connections.values())

    def note_input(self, size_bytes: int) -> None:
        """So much has arrived at once: the buffers' bound is looked at again after every sixteenth of it, since a
        second, the guard's round, is long enough to fill the memory."""
        self._unbounded_bytes += size_bytes
        if self._unbounded_bytes > self.config.buffers_bytes // 16:
            self._unbounded_bytes = 0
            self.bound_buffers()

    @property
    def uptime_seconds(self) -> int:
        return (self.tick.steady_ms - self.started_steady_ms) // 1000

    def open_session(self, address: str, local_address: str) -> Session:
        """A new client's session. Without a password everybody is authenticated."""
        session = Session(
            self._next_session_id,
            address,
            local_address,
            self.tick.steady_ms,
            authenticated=not self.config.requires_password,
        )
        self._next_session_id += 1
        session.refresh(server_is_open=self.is_open)
        self.sessions[session.id] = session
        return session

    def close_session(self, session: Session) -> None:
        session.leave()
        self.sessions.pop(session.id, None)
        self.connections.pop(session.id, None)

    def refusal_of(self, session: Session) -> str | None:
        """Why a new connection is turned away, or None."""
        if self.config.protected_mode and not self.config.requires_password and not is_loopback(session.address):
            return PROTECTED
        if len(self.connections) >= self.config.maxclients:
            return "ERR max number of clients reached"
        return None

    def run_transaction(self, context: Context, request: list[bytes]) -> Value:
        """EXEC, which is dispatch's work: contexts cannot name dispatch, which runs on them."""
        return run_transaction(context, request)

    def block_reads(self, *, blocking: bool) -> None:
        """See Keyspace.block_reads; for every database, since a command may touch two."""
        for keyspace in self.keyspaces:
            keyspace.block_reads(blocking=blocking)

    def reset_counters(self) -> None:
        self.counters.reset()
        self.damage.errors = 0
        for keyspace in self.keyspaces:
            keyspace.hits = keyspace.misses = 0
            keyspace.hot.hits = keyspace.hot.misses = keyspace.hot.evictions = 0
        for command in with_subcommands():
            command.reset_counters()

    def swap_databases(self, first: int, second: int) -> None:
        """SWAPDB. The numbers are checked, and neither is 0."""
        self.keyspaces[first].exchange(self.keyspaces[second])
        self._namespaces[first], self._namespaces[second] = self._namespaces[second], self._namespaces[first]
        self.pending.points[STORED_KEY] = encode(self._namespaces)
        self._is_swapped = True

    def _recall_databases(self) -> None:
        """At the start, and once a batch with a SWAPDB is committed, has failed, or was rolled back in part."""
        pending = self.pending.points.get(STORED_KEY)
        self._is_swapped = pending is not None
        self._namespaces = recall(self.store) if pending is None else decode(pending)
        for keyspace, namespace in zip(self.keyspaces, self._namespaces, strict=False):
            if keyspace.namespace != namespace:
                keyspace.hold(namespace)
                keyspace.hot.clear()

    def clear_all(self) -> None:
        """FLUSHALL."""
        for keyspace in self.keyspaces:
            keyspace.note_clear()
        self.pending.delete_range(b"", namespace_prefix(0xFFFF))  # what lies there is about databases, in none
        for keyspace in self.keyspaces:
            keyspace.hot.clear()


def is_loopback(address: str) -> bool:
    """Whether a peer's address, as `host:port`, is this machine's own; a Unix socket's is."""
    host = address.rpartition(":")[0].strip("[]")
    return not host or host == "::1" or host.startswith(("127.", "::ffff:127.")) or host == "?"


def make_keyspaces(store: Store, pending: Pending, config: Config) -> list[Keyspace]:
    """Database 0 gets three quarters of the hot keys' memory: it is the one that nearly everybody uses."""
    count = config.databases
    capacity = config.hot_keys_bytes
    first = capacity if count == 1 else capacity * 3 // 4
    rest = 0 if count == 1 else (capacity - first) // (count - 1)
    return [Keyspace(database, store, pending, HotKeys(rest if database else first)) for database in range(count)]


def _no_expiries() -> ExpiringSteps:
    """Of a store that knows none."""
    yield
    return {}


def _nothing() -> None:
    pass
