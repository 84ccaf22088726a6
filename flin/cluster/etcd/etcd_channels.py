"""The members of etcd: one at a time is spoken to, the next one when that fails; and what etcd's errors mean.

A call is made once. Whoever gets Unavailable calls again, and then another member is asked. Only if it is certain that
a request has not reached a member, the next one is tried at once.

Each call has a connection for itself while it lasts; those that are idle are used again, the last one first. A member
that stands still, or behind a cut line, is noticed by calls that take too long, and by the pings of watches that it
does not answer. Members that Flin starts take them that often (etcd_member.py); an etcd that others run takes one each
5 s.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flin.cluster.etcd.etcd_connection import CallError, EtcdConnection
from flin.cluster.etcd.grpc_headers import WireError
from flin.cluster.etcd.key_value import Compacted, KeyValueError, NoSpace, Refused, Unavailable

if TYPE_CHECKING:
    from flin.cluster.etcd.certificates import Certificates

OWN_PING_SECONDS: Final = 1.5
FOREIGN_PING_SECONDS: Final = 6.0
"""etcd's --grpc-keepalive-min-time is 5 s by default; who pings more often is cut off."""

PONG_SECONDS: Final = 2.0
"""Longer than an election; on a machine that is overloaded a member may need a second to answer."""


@dataclass(frozen=True)
class Access:
    """How etcd is reached."""

    certificates: Certificates | None = None
    """For TLS, on both sides; without them nothing is encrypted."""
    ping_seconds: float = OWN_PING_SECONDS


OPEN: Final = Access()


class Method(NamedTuple):
    """One of etcd's calls."""

    path: str
    """Example: `/etcdserverpb.KV/Txn`."""
    answer: Any
    """The class of its answer's messages."""


class Channels:
    """The connections to each endpoint. All calls may be made from any thread."""

    def __init__(self, endpoints: Sequence[str], access: Access = OPEN) -> None:
        """endpoints: `host:port` each, or URLs; the first one is preferred in the beginning."""
        self.access: Final = access
        self._lock = threading.Lock()
        self._open: set[EtcdConnection] = set()
        self._idle: dict[str, list[EtcdConnection]] = {}
        self._endpoints = _targets(endpoints)
        self._current = 0
        self.is_closed = False

    @property
    def endpoints(self) -> tuple[str, ...]:
        return self._endpoints

    def set_endpoints(self, endpoints: Sequence[str]) -> None:
        """From now on these; the one that is spoken to stays, if it is among them."""
        targets = _targets(endpoints)
        with self._lock:
            spoken_to = self._endpoints[self._current]
            gone = set(self._endpoints) - set(targets)
            self._endpoints = targets
            self._current = targets.index(spoken_to) if spoken_to in targets else 0
            self._end(each for each in [*self._open] if each.endpoint in gone)

    def pick(self) -> str:
        """The endpoint that is spoken to. Raises Unavailable after the end."""
        self._check_open()
        return self._endpoints[self._current]

    def _check_open(self) -> None:
        if self.is_closed:
            raise Unavailable("the client of etcd is closed")

    def give_up(self, endpoint: str) -> None:
        """It failed: the next one is spoken to, unless somebody else has seen to that."""
        with self._lock:
            if self._endpoints[self._current] == endpoint:
                self._current = (self._current + 1) % len(self._endpoints)

    def call(self, method: Method, request: Any, timeout: float) -> Any:
        """Raises KeyValueError."""
        for _ in self._endpoints[1:]:
            with suppress(NotSent):
                return self.call_at(self.pick(), method, request, timeout)
        return self.call_at(self.pick(), method, request, timeout)

    def call_at(self, endpoint: str, method: Method, request: Any, timeout: float) -> Any:
        """Ask this member (`host:port`, or a URL, which need not be among the others) and no other. Raises
        KeyValueError."""
        (endpoint,) = _targets([endpoint])
        try:
            answer = self._call(endpoint, method.path, request.SerializeToString(), timeout)
        except Unavailable:
            self.fail(endpoint)
            raise
        return method.answer.FromString(answer)

    def _call(self, endpoint: str, path: str, message: bytes, timeout: float) -> bytes:
        connection = self._take(endpoint, timeout)
        try:
            return connection.call(path, message, timeout)
        except (CallError, OSError, WireError) as error:
            raise meaning_of(error, endpoint) from None
        finally:
            self._give_back(connection)

    def fail(self, endpoint: str) -> None:
        """It has not answered: another one is asked, and its idle connections are not trusted any more."""
        self.give_up(endpoint)
        with self._lock:
            self._end([*self._idle.get(endpoint, ())])

    def connect(self, endpoint: str, timeout: float) -> EtcdConnection:
        """A connection of its own, to be given to `leave` in the end. Raises KeyValueError."""
        self._check_open()
        try:
            connection = EtcdConnection(endpoint, self.access.certificates, timeout)
        except OSError as error:
            raise NotSent(f"etcd at {endpoint}: {error}") from error
        with self._lock:
            if not self.is_closed:
                self._open.add(connection)
                return connection
        connection.close()
        raise Unavailable("the client of etcd is closed")

    def leave(self, connection: EtcdConnection) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.close()

    def _take(self, endpoint: str, timeout: float) -> EtcdConnection:
        """An idle one, or a new one."""
        while True:
            with self._lock:
                idle = self._idle.get(endpoint)
                connection = idle.pop() if idle else None
            if connection is None:
                return self.connect(endpoint, timeout)
            if connection.is_alive():
                return connection
            self.leave(connection)

    def _give_back(self, connection: EtcdConnection) -> None:
        """After a call."""
        with self._lock:
            is_kept = connection in self._open and connection.is_usable
            if is_kept:
                self._idle.setdefault(connection.endpoint, []).append(connection)
        if not is_kept:
            self.leave(connection)

    def _end(self, connections: Iterable[EtcdConnection]) -> None:
        """Under the lock. Those that are in use are closed by who uses them."""
        for each in connections:
            self._open.discard(each)
            idle = self._idle.get(each.endpoint, [])
            if each in idle:
                idle.remove(each)
                each.close()
            else:
                each.shut()

    def close(self) -> None:
        with self._lock:
            self.is_closed = True
            self._end([*self._open])


class NotSent(Unavailable):
    """It certainly has not been executed: it did not reach a member that would."""


def meaning_of(error: Exception, endpoint: str) -> KeyValueError:
    """What an error of a call says of the request."""
    if not isinstance(error, CallError):
        return Unavailable(f"etcd at {endpoint}: {error}")
    text, details = f"etcd at {endpoint}: {error}", error.details
    if "required revision has been compacted" in details:
        return Compacted(0)
    if "database space exceeded" in details:
        return NoSpace(text)
    if not error.was_sent or any(each in details for each in _NOT_SENT):
        return NotSent(text)
    if error.code in _REFUSED and not any(each in details for each in _TEMPORARY):
        return Refused(text)
    return Unavailable(text)


_NOT_SENT: Final = (
    "etcdserver: no leader",  # refused before it was proposed
    "not supported for learner",
    "etcdserver: too many requests",
)
_TEMPORARY: Final = (
    "too many requests",
    "in sync with leader",  # of a learner that is to be promoted
    "not enough started members",
    "is a future revision",  # a member that is behind
)

INVALID_ARGUMENT: Final = 3
NOT_FOUND: Final = 5
ALREADY_EXISTS: Final = 6
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
FAILED_PRECONDITION: Final = 9
OUT_OF_RANGE: Final = 11
UNIMPLEMENTED: Final = 12
UNAUTHENTICATED: Final = 16
"""gRPC's codes."""

_REFUSED: Final = (
    INVALID_ARGUMENT, OUT_OF_RANGE, FAILED_PRECONDITION, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, UNAUTHENTICATED,
    UNIMPLEMENTED,
    RESOURCE_EXHAUSTED,  # larger than the largest message
)  # fmt: skip


def _targets(endpoints: Sequence[str]) -> tuple[str, ...]:
    """`http://host:2379` as host:2379."""
    if not endpoints:
        raise ValueError("no endpoint of etcd is given")
    return tuple(each.rpartition("://")[2].rstrip("/") for each in endpoints)
