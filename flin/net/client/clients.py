"""The clients of the server: who is there, who is let in, what their buffers hold, and the gate that they share.

This module knows no transport: a `Client` is what a connection shows of itself.
"""

from __future__ import annotations

import logging
from enum import IntFlag
from typing import TYPE_CHECKING, Final, Protocol

from flin.net.access.users import Users
from flin.net.client.link import Link
from flin.net.client.session import Peer, Session
from flin.net.client.unread import Unread
from flin.net.settings.output_limits import CLOSE_BYTES, NORMAL, PUBSUB, UNTRUSTED_OUTPUT_BYTES
from flin.net.wire.resp_python import RequestLimits

if TYPE_CHECKING:
    from flin.net.batch.pending import Pending
    from flin.net.batch.refusal import Refusal
    from flin.net.batch.store import Stall, StoreLike
    from flin.net.client.counters import Counters
    from flin.net.messages.pubsub import PubSub
    from flin.net.settings.config import Config
    from flin.net.settings.output_limits import OutputLimit

logger = logging.getLogger(__name__)

PROTECTED: Final = (
    "DENIED Flin is running in protected mode because no password is set. In this mode connections are only accepted "
    "from the loopback interface. To connect from another computer set a password (requirepass), or turn protected "
    "mode off (protected-mode no) if you are sure that nobody else can reach this port."
)


class ServerClosure(IntFlag):
    """Why the gates of all sessions are closed, beside the state of the engine."""

    NONE = 0
    MONITOR = 1  # somebody is shown every command
    PAUSE = 2  # CLIENT PAUSE
    SCRIPT = 4  # a long script runs in its thread: nothing else touches a database
    NO_ROOM = 8  # commands that may need room are refused


class Client(Link, Protocol):
    """A connection that was admitted."""

    @property
    def unread(self) -> Unread: ...

    @property
    def session(self) -> Session: ...

    @property
    def is_full(self) -> bool:
        """Whether its backlog is full: nothing more is read until the client has read."""

    @property
    def is_incomplete(self) -> bool:
        """Whether a request has begun to arrive and its end has not."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing of this client is running, waiting or unsent."""

    @property
    def is_ending(self) -> bool:
        """Whether it closes as soon as the client has read its last replies."""

    def close(self) -> None:
        """Close once what was written has been sent; nothing more is read or run."""

    def finish(self) -> bool:
        """At the server's end: read nothing more. Returns whether everything read has been answered and sent."""

    def refuse_held(self, synced_position: int) -> None:
        """See tick.ReplySink."""


class Clients:
    """`gates_open` joins what all sessions' gates have in common; `refresh` computes it and tells every session."""

    def __init__(
        self, store: StoreLike, pending: Pending, config: Config, counters: Counters, pubsub: PubSub, users: Users
    ) -> None:
        self.sessions: dict[int, Session] = {}
        self.admitted: dict[int, Client] = {}  # by session id
        self.request_limits = RequestLimits(bulk_bytes=config.longest_bulk_bytes)
        self._store = store
        self._config = config
        self._counters = counters
        self._pubsub = pubsub
        self._users = users
        self._next_session_id = 1
        self._unbounded_bytes = 0  # arrived since the buffers were last looked at
        self.closed_by = ServerClosure.NONE
        self._seen_stall: Stall | None = None  # and why nothing is written, as they were when the gates were computed
        self._seen_reason: str | None = None
        self.gates_open = self._gates_are_open()
        pending.listen(self)

    # Who is there.

    def open_session(self, link: Link, peer: Peer, steady_ms: int) -> Session:
        """A new client's session: it is the default user, logged in where that needs no password."""
        number, users = self._next_session_id, self._users
        session = Session(number, link, peer, steady_ms, user=users.default, authenticated=not users.needs_password)
        self._next_session_id += 1
        session.refresh(server_gates_open=self.gates_open)
        self.sessions[session.id] = session
        return session

    def close_session(self, session: Session) -> None:
        self._pubsub.leave(session)
        session.leave()
        self._forget(session)

    def kill(self, session: Session) -> None:
        """Close its connection now: what it has not read is lost. Nobody finds it any more, though the connection is
        lost in the next round of the loop."""
        session.link.abort()
        self._forget(session)

    def _forget(self, session: Session) -> None:
        self.sessions.pop(session.id, None)
        self.admitted.pop(session.id, None)

    def refusal_of(self, session: Session) -> str | None:
        """Why a new connection is turned away, or None."""
        config = self._config
        if config.protected_mode and self._users.default.has_nopass and not session.peer.is_local:
            return PROTECTED
        if len(self.admitted) >= config.maxclients:
            return "ERR max number of clients reached"
        return None

    # The gate that all clients share.

    def refresh(self) -> None:
        """After a change of the stall, of read-only, of CONFIG or of a user: compute who is let in, and tell every
        session which gates to look at."""
        self.gates_open = self._gates_are_open()
        for session in self.sessions.values():
            session.let_in(needs_password=self._users.needs_password)
            session.note_rules(server_gates_open=self.gates_open)

    def close_gates(self, cause: ServerClosure) -> None:
        """From now on every request of every session passes all gates."""
        self.closed_by |= cause
        self.maybe_refresh()

    def open_gates(self, cause: ServerClosure) -> None:
        """This cause is over."""
        self.closed_by &= ~cause
        self.maybe_refresh()

    def maybe_refresh(self) -> None:
        """After each batch and by the clock: tell the sessions only if something changed."""
        if self._gates_are_open() != self.gates_open:
            self.refresh()

    def batch_committed(self) -> None:
        """What a commit may change of the gates: few calls, since every commit makes them."""
        store = self._store
        if store.stall() is not self._seen_stall or store.read_only_reason is not self._seen_reason:
            self.maybe_refresh()

    def batch_refused(self, refusal: Refusal) -> None:
        self.maybe_refresh()

    def _gates_are_open(self) -> bool:
        return self.is_usual and self.takes_writes()

    @property
    def is_usual(self) -> bool:
        """Whether nothing but the engine may close all gates."""
        config = self._config
        return not (self.closed_by or config.times_every_command or config.notified)

    def takes_writes(self) -> bool:
        """Whether the engine takes writes now, without a delay."""
        stall = self._seen_stall = self._store.stall()
        reason = self._seen_reason = self._store.read_only_reason
        return not (stall.stopped or stall.delay_seconds or reason is not None)

    # The clients' buffers.

    def buffered_bytes(self) -> int:
        """Bytes in all clients' buffers, with what their sessions keep."""
        return sum(map(_size_of, self.admitted.values()))

    def output_limit_of(self, session: Session) -> OutputLimit:
        """How much of its output this client may leave unread."""
        return self._config.output_limits[PUBSUB if session.is_listener else NORMAL]

    def most_unread_bytes(self, session: Session) -> int:
        """What it may leave unread before its connection is closed by the next reply."""
        if not session.is_authenticated:
            return UNTRUSTED_OUTPUT_BYTES
        return self.output_limit_of(session).hard_bytes or CLOSE_BYTES

    def note_input(self, size_bytes: int) -> None:
        """Count a large chunk that has arrived. The buffers are checked after every sixteenth of their bound, since one
        round of the housekeeping, a second, is long enough to fill the memory."""
        self._unbounded_bytes += size_bytes
        if self._unbounded_bytes > self._config.buffers_bytes // 16:
            self._unbounded_bytes = 0
            self.bound_buffers()

    def bound_buffers(self) -> None:
        """Keep all clients' buffers together below their share; the client with the largest is closed first."""
        share = self._config.buffers_bytes
        if self.buffered_bytes() <= share:
            return
        sizes = {client: _size_of(client) for client in self.admitted.values() if not client.session.is_no_evict}
        excess = sum(sizes.values()) - share
        for client in sorted(sizes, key=lambda client: sizes[client], reverse=True):
            if excess <= 0:
                return
            excess -= sizes[client]
            self._counters.clients_closed_for_output += 1
            logger.warning(
                "closing %s: clients' buffers exceed their share of %d bytes, and %d of them are its own",
                client.session.address,
                share,
                sizes[client],
            )
            self.kill(client.session)


def _size_of(client: Client) -> int:
    return client.output_bytes() + client.input_bytes() + client.session.kept_bytes()


def is_loopback(address: str) -> bool:
    """Whether a peer's address, as `host:port`, is this machine's own; a Unix socket's, an absolute path, is."""
    host = address.rpartition(":")[0].strip("[]")
    return not host or host in ("::1", "?") or host.startswith(("/", "127.", "::ffff:127."))
