"""A session: what is remembered of a client between two requests. Its transport is connection.py's.

`skips_gates` joins the gates of dispatch that are usually open; it is computed again (`refresh`) whenever one of its
causes changes, so that an ordinary request tests one boolean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntFlag, auto
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from flin.net.access.user import User
from flin.net.client.link import NO_LINK, Link
from flin.net.wire.replies import Value
from flin.net.wire.resp import encode2, encode3

if TYPE_CHECKING:
    from flin.net.command.command import Command
    from flin.net.data.keyspace import Keyspace
    from flin.net.messages.pubsub import Outlet, Push, Subscriptions
    from flin.net.messages.tracking import Tracker

Remark: TypeAlias = "tuple[list[bytes], list[tuple[Command, list[bytes]]] | int] | None"
"""What must be known of a tick in addition to its requests: an EXEC, or a script, and the requests that it ran; a
request and the number of frames that are its reply, if that is not one (SUBSCRIBE, CLIENT REPLY OFF); None: from here
on the session reads another database, or speaks another protocol."""

RESP2: Final = 2
RESP3: Final = 3

WATCHED_KEY_BYTES: Final = 350
AWAITED_KEY_BYTES: Final = 450
"""A key in the tables of those who watch or wait, beside its bytes (measured with tracemalloc, CPython 3.11)."""

NO_NAME: Final = b"NULL"
"""The name in CLIENT LIST if no command has run yet, or the newest one is unknown."""


class Closure(IntFlag):
    """Why the gates of one session are closed, beside those that every session has: while there is a cause, each of its
    requests passes all gates, one by one. An ordinary session has none, and pays nothing for what it does not use."""

    NONE = 0
    RESTRICTED = 1  # its user may not run every command on every key and channel
    TRACKING = 2  # it is told of changes of the keys that it reads
    SUBSCRIBED = 4  # in RESP2: it may only send what is about subscriptions
    REPLY = 8  # CLIENT REPLY OFF or SKIP
    MONITOR = 16  # it shows what others run
    FEED = 32  # it is sent changes of keys: this closes no gate


class Silence(Enum):
    """CLIENT REPLY: which requests are answered."""

    NONE = auto()
    THIS = auto()  # the next reply is left out, and then the one after it: SKIP is answered by nothing itself
    NEXT = auto()  # the next reply is left out
    ALL = auto()


class Growing(Protocol):
    """A reply that is not finished."""

    def size_bytes(self) -> int: ...


class Peer(Protocol):
    """Who is at the other end of a session's connection."""

    @property
    def address(self) -> str:
        """`host:port`, or the path of a Unix socket."""

    @property
    def local_address(self) -> str:
        """This end's, in the same form."""

    @property
    def descriptor(self) -> int:
        """Its socket's, for CLIENT LIST; -1: there is none."""

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """One whose addresses are known."""

    address: str
    local_address: str
    descriptor: int = -1
    is_local: bool = True


_NOTHING_BEGUN: Final[dict[Closure, Callable[[], None]]] = {}


def _no_reply() -> None:
    """None is made in slices."""


class Session:
    """One client's state. `link` is its connection."""

    __slots__ = (
        "awaited_bytes",
        "close_after_reply",
        "closed_by",
        "created_ms",
        "database",
        "encode",
        "endings",
        "growing",
        "has_authenticated",
        "id",
        "is_authenticated",
        "is_dirty",
        "is_no_evict",
        "is_no_touch",
        "is_readonly",
        "is_waiting",
        "last_command",
        "last_ms",
        "library_name",
        "library_version",
        "link",
        "name",
        "peer",
        "protocol",
        "queue",
        "queue_bytes",
        "queue_failed",
        "remarks",
        "silence",
        "skips_gates",
        "subscriptions",
        "tracker",
        "user",
        "watched",
        "watched_bytes",
    )

    def __init__(
        self,
        session_id: int,
        link: Link,
        peer: Peer,
        steady_ms: int,
        *,
        user: User,
        authenticated: bool,
    ) -> None:
        self.id = session_id
        self.link = link
        self.peer = peer
        self.created_ms = steady_ms
        self.last_ms = steady_ms
        self.has_authenticated = authenticated  # by a password, or because it connected while none was needed
        self.is_authenticated = authenticated  # or none is needed now
        self.user = user
        self.protocol = RESP2
        self.encode: Callable[[Value], bytes] = encode2
        self.database = 0
        self.name = b""
        self.library_name = b""
        self.library_version = b""
        self.last_command = NO_NAME  # the newest command's name, as sent, or its path; CLIENT LIST looks it up
        self.is_no_evict = False
        self.is_no_touch = False
        self.is_readonly = False  # READONLY on a node of a cluster: it could go to a replica, too
        self.is_waiting = False  # blocked: it waits for a key
        self.awaited_bytes = 0  # then: of the keys
        self.growing: Callable[[], Growing | None] = _no_reply  # the one that its command makes in slices
        # A transaction: None outside MULTI, else the queued commands with their requests.
        self.queue: list[tuple[Command, list[bytes]]] | None = None
        self.remarks: list[Remark] = []  # shared with its transcript
        self.queue_bytes = 0
        self.queue_failed = False  # a command was refused while queueing: EXEC answers EXECABORT
        self.watched: list[tuple[Keyspace, bytes, bool]] = []  # keyspace, key, whether it was there
        self.watched_bytes = 0
        self.is_dirty = False  # a watched key was touched: EXEC answers null
        self.subscriptions: Subscriptions | None = None  # None: it has none
        self.closed_by = Closure.NONE if user.is_unrestricted else Closure.RESTRICTED
        self.endings: dict[Closure, Callable[[], None]] = _NOTHING_BEGUN  # what ends with it, or at RESET
        self.tracker: Tracker | None = None  # None: it does not track
        self.silence = Silence.NONE  # unless it is NONE, its gates are closed by REPLY
        self.skips_gates = False
        self.close_after_reply = False

    @property
    def address(self) -> str:
        return self.peer.address

    @property
    def local_address(self) -> str:
        return self.peer.local_address

    def set_protocol(self, protocol: int) -> None:
        """RESP2 or RESP3 from the next reply on."""
        self.protocol = protocol
        self.remarks.append(None)
        self.encode = encode3 if protocol == RESP3 else encode2

    def log_in(self, user: User, authenticated: bool, *, server_gates_open: bool) -> None:
        """AUTH, HELLO … AUTH; RESET, which makes it the default user again, who may need a password."""
        self.user = user
        self.has_authenticated = authenticated
        self.let_in(needs_password=True)
        self.note_rules(server_gates_open=server_gates_open)

    def note_rules(self, *, server_gates_open: bool) -> None:
        """After a change of its user, or of its rules: a user who may do everything closes no gate."""
        if self.user.is_unrestricted:
            self.open_gates(Closure.RESTRICTED, server_gates_open=server_gates_open)
        else:
            self.close_gates(Closure.RESTRICTED)

    def let_in(self, *, needs_password: bool) -> None:
        """Compute whether this client may run commands, as in Redis: one that connected while no password was needed
        stays in when one is set; one that gave none may do everything while none is needed. The parser's limits
        follow."""
        authenticated = self.has_authenticated or not needs_password
        if self.is_authenticated != authenticated:
            self.is_authenticated = authenticated
            self.link.trust(authenticated)

    def refresh(self, *, server_gates_open: bool) -> None:
        """Compute the boolean of the usually open gates. Call it after authentication, MULTI, EXEC, DISCARD, RESET."""
        self.skips_gates = server_gates_open and self.is_authenticated and self.queue is None and not self.closed_by

    def close_gates(self, cause: Closure) -> None:
        """From the next request on, all gates are looked at."""
        self.closed_by |= cause
        self.skips_gates = False

    def open_gates(self, cause: Closure, *, server_gates_open: bool) -> None:
        """This cause is over."""
        self.closed_by &= ~cause
        self.refresh(server_gates_open=server_gates_open)

    def note_subscriptions(self, *, server_gates_open: bool) -> None:
        """After a change of its subscriptions or its protocol."""
        if self.subscriptions is not None and self.protocol == RESP2:
            self.close_gates(Closure.SUBSCRIBED)
        elif self.closed_by & Closure.SUBSCRIBED:
            self.open_gates(Closure.SUBSCRIBED, server_gates_open=server_gates_open)

    @property
    def is_listener(self) -> bool:
        """Whether it is sent messages: then it may be silent itself."""
        return self.subscriptions is not None or Closure.FEED in self.endings

    @property
    def push(self) -> Push:
        return self.link.push

    @property
    def outlet(self) -> Outlet:
        """Its connection's."""
        return self.link.outlet

    def set_silence(self, silence: Silence, *, server_gates_open: bool) -> None:
        """CLIENT REPLY."""
        self.silence = silence
        if silence is Silence.NONE:
            self.open_gates(Closure.REPLY, server_gates_open=server_gates_open)
        else:
            self.close_gates(Closure.REPLY)

    def leave_out(self, request: list[bytes], *, server_gates_open: bool) -> None:
        """The reply to the request is due now, and left out: `silence` is not NONE."""
        self.remarks.insert(0, (request, 0))  # before others about it
        self.note_reply(server_gates_open=server_gates_open)

    def note_reply(self, *, server_gates_open: bool) -> None:
        """A reply was due."""
        if self.silence is Silence.THIS:
            self.silence = Silence.NEXT
        elif self.silence is Silence.NEXT:
            self.set_silence(Silence.NONE, server_gates_open=server_gates_open)

    def begin_queue(self) -> None:
        """MULTI."""
        self.queue = []
        self.queue_failed = False
        self.skips_gates = False

    def end_queue(self, *, server_gates_open: bool) -> None:
        """EXEC and DISCARD: no transaction and no watched keys any more."""
        self.queue = None
        self.queue_bytes = 0
        self.queue_failed = False
        self.unwatch()
        self.refresh(server_gates_open=server_gates_open)

    def begin(self, cause: Closure, ending: Callable[[], None]) -> None:
        """It begins something that `ending` ends: when it is told to, when it is reset, or its connection is closed."""
        self.endings = {**self.endings, cause: ending}

    def end(self, cause: Closure) -> None:
        """End it, if it has begun."""
        endings = {**self.endings}
        ending = endings.pop(cause, None)
        if ending is not None:
            self.endings = endings
            ending()

    def end_everything(self) -> None:
        """End all that it has begun."""
        for cause in self.endings:
            self.end(cause)

    def leave(self) -> None:
        """Its connection is closed: neither keeps the other, so both go with their last reference."""
        self.end_everything()
        self.unwatch()
        self.link = NO_LINK
        self.queue = None
        self.remarks = []

    def watch(self, keyspace: Keyspace, key: bytes, is_there: bool) -> None:
        if keyspace.watches.add(key, self):
            self.watched.append((keyspace, key, is_there))
            self.watched_bytes += len(key) + WATCHED_KEY_BYTES

    def unwatch(self) -> None:
        self.is_dirty = False
        if self.watched:
            for keyspace, key, _ in self.watched:
                keyspace.watches.discard(key, self)
            self.watched.clear()
            self.watched_bytes = 0

    def kept_bytes(self) -> int:
        """What it keeps for its client beside requests and finished replies: one that still grows, watched and awaited
        keys, subscriptions, names."""
        names = len(self.name) + len(self.library_name) + len(self.library_version)
        growing = self.growing()
        if self.tracker is not None:
            names += self.tracker.prefixes_bytes
        grown = 0 if growing is None else growing.size_bytes()
        subscribed = 0 if self.subscriptions is None else self.subscriptions.size_bytes
        return self.watched_bytes + self.awaited_bytes + subscribed + names + grown

    def touch(self) -> None:
        """A watched key was written."""
        self.is_dirty = True
