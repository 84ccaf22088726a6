"""The connections to etcd's members: one at a time is spoken to, the next one when that fails; and what etcd's errors
mean.

A call is made once. Whoever gets Unavailable calls again, and then another member is asked. Only if it is certain that
a request has not reached a member, the next one is tried at once.

A member that stands still, or behind a cut line, is noticed by pings that it does not answer. Members that Flin starts
take them that often (etcd_member.py); an etcd that others run takes one each 5 s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from flin.cluster.key_value import Compacted, KeyValueError, NoSpace, Refused, Unavailable

try:
    import grpc
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("a cluster needs grpcio: pip install 'flin[cluster]'", name=error.name) from error

from flin.cluster.etcd_pb2_grpc import ClusterStub, KVStub, MaintenanceStub, WatchStub

if TYPE_CHECKING:
    from flin.cluster.certificates import Certificates

METADATA: Final = (("hasleader", "true"),)
"""A member that knows no leader of etcd says so at once, and ends its watches."""

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


class Stubs(NamedTuple):
    """A connection to one member, and what may be asked there."""

    endpoint: str
    channel: Any
    kv: Any
    watch: Any
    cluster: Any
    maintenance: Any


Method: TypeAlias = Callable[[Stubs], Callable[..., Any]]
"""Which of the calls. Example: `attrgetter("kv.Txn")`."""


class Channels:
    """A channel for each endpoint that was spoken to. All calls may be made from any thread."""

    def __init__(self, endpoints: Sequence[str], access: Access = OPEN) -> None:
        """endpoints: `host:port` each, or URLs; the first one is preferred in the beginning."""
        self._access = access
        self._lock = threading.Lock()
        self._channels: dict[str, Stubs] = {}
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
            self._endpoints = targets
            self._current = targets.index(spoken_to) if spoken_to in targets else 0
            gone = [self._channels.pop(target) for target in list(self._channels) if target not in targets]
        for stubs in gone:
            stubs.channel.close()

    def pick(self) -> Stubs:
        """Those of the endpoint that is spoken to. Raises Unavailable after the end."""
        with self._lock:
            return self._stubs(self._endpoints[self._current])

    def at(self, endpoint: str) -> Stubs:
        """Those of one endpoint, which need not be among the others."""
        (target,) = _targets([endpoint])
        with self._lock:
            return self._stubs(target)

    def _stubs(self, endpoint: str) -> Stubs:
        if self.is_closed:
            raise Unavailable("the client of etcd is closed")
        stubs = self._channels.get(endpoint)
        if stubs is None:
            channel = _open(endpoint, self._access)
            made = (kind(channel) for kind in (KVStub, WatchStub, ClusterStub, MaintenanceStub))
            stubs = self._channels[endpoint] = Stubs(endpoint, channel, *made)
        return stubs

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

    def call_at(self, stubs: Stubs, method: Method, request: Any, timeout: float) -> Any:
        """Ask this member and no other. Raises KeyValueError."""
        try:
            return method(stubs)(request, timeout=timeout, metadata=METADATA)
        except grpc.RpcError as error:
            meaning = meaning_of(error, stubs.endpoint)
        except ValueError as error:  # the channel was closed meanwhile
            meaning = Unavailable(f"etcd at {stubs.endpoint}: {error}")
        if isinstance(meaning, Unavailable):
            self.give_up(stubs.endpoint)
        raise meaning

    def close(self) -> None:
        with self._lock:
            self.is_closed = True
            stubs = list(self._channels.values())
            self._channels.clear()
        for each in stubs:
            each.channel.close()


class NotSent(Unavailable):
    """It certainly has not been executed: it did not reach a member that would."""


def meaning_of(error: Any, endpoint: str) -> KeyValueError:
    """What an error of gRPC says of the request."""
    code, details = error.code(), error.details() or ""
    text = f"etcd at {endpoint}: {details or code.name}"
    if "required revision has been compacted" in details:
        return Compacted(0)
    if "database space exceeded" in details:
        return NoSpace(text)
    if any(each in details for each in _NOT_SENT):
        return NotSent(text)
    if code in _REFUSED and not any(each in details for each in _TEMPORARY):
        return Refused(text)
    return Unavailable(text)


_NOT_SENT: Final = (
    "failed to connect to all addresses",  # gRPC: no connection, so nothing was sent
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
_REFUSED: Final = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,  # larger than the largest message
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
)


def _targets(endpoints: Sequence[str]) -> tuple[str, ...]:
    """`http://host:2379` as host:2379."""
    if not endpoints:
        raise ValueError("no endpoint of etcd is given")
    return tuple(each.rpartition("://")[2].rstrip("/") for each in endpoints)


def _open(endpoint: str, access: Access) -> Any:
    options = [
        ("grpc.max_receive_message_length", -1),  # a list has no bound but what was asked for
        ("grpc.max_send_message_length", -1),  # etcd says what is too large
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),  # who calls decides whether to call again
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 500),  # also the time that a connection has to come about
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.keepalive_time_ms", int(access.ping_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", int(PONG_SECONDS * 1000)),
        # Of gRPC's pings one is under way at most; one that measures the line waits for 60 s by default.
        ("grpc.http2.ping_timeout_ms", int(PONG_SECONDS * 1000)),
        ("grpc.http2.max_pings_without_data", 0),  # a watch may be silent for as long as it likes
    ]
    if access.certificates is None:
        return grpc.insecure_channel(endpoint, options)
    files = access.certificates
    credentials = grpc.ssl_channel_credentials(files.authority_bytes(), files.key_bytes(), files.certificate_bytes())
    return grpc.secure_channel(endpoint, credentials, options)
