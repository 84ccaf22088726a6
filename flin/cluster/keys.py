"""The keys of a cluster in etcd: their names, and what their values say. Pure.

    /flin/CLUSTER/map/cluster         how many groups and replicas there are        once, by who makes it
                  map/leader/G        who leads group G                             a change of leader, nothing else
                  map/nodes/ID        a node's addresses                            the node
                  map/replicas/G      who follows                                   the controller
                  map/room            how full etcd is, when that matters           the controller
                  map/refused/ID      why a node is given no copies for now         the controller
                  joining/ID          a node that is to run an etcd, until it is in map/nodes      who admits it
                  alive/ID            put each second by a node's supervisor        the node
                  applied/G/ID        what a replica has in its tables              the replica
                  controller          who is the controller                         the controller
                  lease/G             put each second by the worker that leads      the leader
                  log/G/N             one entry of the log                          the leader

G is a group's number, with two digits, N an entry's, with sixteen hexadecimal ones, so they sort as numbers do. The
revision of `map/leader/G` is the fence of that group. What all workers must know to send clients elsewhere lies under
`map/` alone, and changes seldom: one watch shows it. Values are JSON, for the eyes of whoever must look.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from math import inf
from typing import Any, ClassVar, Final, Self, TypeAlias, get_args, get_origin, get_type_hints

from flin.cluster.etcd.key_value import Pair
from flin.engine.slot import SLOTS
from flin.errors import CorruptionError

ROOT: Final = b"/flin/"

MAX_PORT: Final = 65535

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NUMBER: Final = re.compile(rb"[0-9a-f]{16}")

_FLAT: Final = ([b"alive"], [b"joining"])
"""Where nodes' keys lie directly below the cluster's; others lie below `map/` or below a group of `applied/`."""

_TOO_LARGE: Final = 1 << 63
"""No number of a value is as large: they go into fields of eight bytes."""

Range: TypeAlias = tuple[bytes, bytes]
"""From a key to another, the last excluded, as `KeyValueStore.get` takes them."""


def check_name(name: str, what: str = "a node's id") -> str:
    """ValueError if a cluster or a node cannot be called so: names are parts of keys and of directories."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{what} is {name!r}: it must be of 1 to 64 letters, digits, '.', '_' and '-'")
    return name


def group_of(key: bytes) -> int:
    """The group that a key of a leader, lease or replicas names. CorruptionError if it is no such key: another program,
    or a person, may have put it."""
    digits = key.rpartition(b"/")[2]
    if not digits.isdigit() or digits != b"%02d" % int(digits) or int(digits) >= SLOTS:
        raise _no_key(key, "names no group")
    return int(digits)


def entry_number_of(key: bytes) -> int:
    """The number of an entry, from its key. CorruptionError as above."""
    digits = key.rpartition(b"/")[2]
    if _NUMBER.fullmatch(digits) is None:
        raise _no_key(key, "names no entry")
    return int(digits, 16)


def name_of(key: bytes) -> str:
    """The node that a key names at its end. CorruptionError as above."""
    *place, last = key.split(b"/")
    name = last.decode(errors="replace")
    if not _is_name(name) or len(place) != (4 if place[3:4] in _FLAT else 5):
        raise _no_key(key, "names no node")
    return name


def _no_key(key: bytes, why: str) -> CorruptionError:
    return CorruptionError(f"etcd: {key.decode(errors='backslashreplace')}", 0, why)


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


class Keys:
    """The keys of one cluster."""

    def __init__(self, cluster: str) -> None:
        root = ROOT + check_name(cluster, "the cluster's name").encode() + b"/"
        self._root: Final = root
        self.all: Final = _under(root)
        self.map: Final = _under(root + b"map/")
        self.cluster: Final = root + b"map/cluster"
        self.members: Final = root + b"map/members"
        self.room: Final = root + b"map/room"
        self.leaders: Final = _under(root + b"map/leader/")
        self.nodes: Final = _under(root + b"map/nodes/")
        self.replica_sets: Final = _under(root + b"map/replicas/")
        self.refusals: Final = _under(root + b"map/refused/")
        self.joining: Final = _under(root + b"joining/")
        self.alive_nodes: Final = _under(root + b"alive/")
        self.all_applied: Final = _under(root + b"applied/")
        self.controller: Final = root + b"controller"
        self.leases: Final = _under(root + b"lease/")
        self.logs: Final = _under(root + b"log/")

    def leader(self, group: int) -> bytes:
        return b"%smap/leader/%02d" % (self._root, group)

    def node(self, name: str) -> bytes:
        return b"%smap/nodes/%s" % (self._root, name.encode())

    def joining_node(self, name: str) -> bytes:
        return b"%sjoining/%s" % (self._root, name.encode())

    def replicas(self, group: int) -> bytes:
        return b"%smap/replicas/%02d" % (self._root, group)

    def refused(self, node: str) -> bytes:
        return b"%smap/refused/%s" % (self._root, node.encode())

    def alive(self, node: str) -> bytes:
        return b"%salive/%s" % (self._root, node.encode())

    def applied(self, group: int, node: str) -> bytes:
        return b"%sapplied/%02d/%s" % (self._root, group, node.encode())

    def applied_in(self, group: int) -> Range:
        """All replicas' of a group."""
        return _under(b"%sapplied/%02d/" % (self._root, group))

    def lease(self, group: int) -> bytes:
        return b"%slease/%02d" % (self._root, group)

    def entry(self, group: int, number: int) -> bytes:
        return b"%slog/%02d/%016x" % (self._root, group, number)

    def log(self, group: int) -> Range:
        return _under(b"%slog/%02d/" % (self._root, group))


def _under(prefix: bytes) -> Range:
    """All keys that begin with a prefix, which ends with '/'; the byte after that is '0'."""
    return prefix, prefix[:-1] + b"0"


@dataclass(frozen=True, slots=True)
class _Value:
    """What a key says. Unknown members are ignored, so that a newer node may add some."""

    what: ClassVar[str]

    def problem(self) -> str:
        """Why it cannot be, though each member is of its type; empty: it can."""
        return ""

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes, place: str = "etcd") -> Self:
        """CorruptionError if it is no such value; place: named there."""
        try:
            content = json.loads(data)
            if type(content) is not dict:
                raise TypeError("no object")
            known = {name: _tuples(content[name]) for name in _types_of(cls) if name in content}
            made = cls(**known)
        except (ValueError, TypeError, RecursionError) as error:
            raise CorruptionError(f"{place}: {cls.what}", 0, f"{data[:60]!r} is none") from error
        for name, value in known.items():
            if not _is(value, _types_of(cls)[name]):
                raise CorruptionError(f"{place}: {cls.what}", 0, f"{data[:60]!r} is none: {name} is no such thing")
        if problem := made.problem():
            raise CorruptionError(f"{place}: {cls.what}", 0, f"{data[:60]!r} is none: {problem}")
        return made

    @classmethod
    def of(cls, pair: Pair) -> Self:
        """What a key says; CorruptionError, which names the key."""
        return cls.decode(pair.value, f"etcd: {pair.key.decode(errors='backslashreplace')}")


_types: dict[str, dict[str, Any]] = {}


def _types_of(kind: type[_Value]) -> dict[str, Any]:
    """By the name of each member. To find them takes longer than all else."""
    found = _types.get(kind.what)
    if found is None:
        hints = get_type_hints(kind)
        found = _types[kind.what] = {field.name: hints[field.name] for field in fields(kind)}
    return found


def _is(value: Any, wanted: Any) -> bool:
    """Whether a value is of a type: a plain one, or a tuple of those. A whole number is a float, too."""
    if get_origin(wanted) is not tuple:
        if type(value) is int:
            return wanted in (int, float) and -1 <= value < _TOO_LARGE
        return type(value) is wanted
    inner = get_args(wanted)
    if inner[-1] is Ellipsis:
        inner = inner[:1] * len(value) if isinstance(value, tuple) else inner
    return isinstance(value, tuple) and len(value) == len(inner) and all(map(_is, value, inner))


def _tuples(value: Any) -> Any:
    """JSON has lists only."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class ClusterValue(_Value):
    """`map/cluster`."""

    what = "cluster"
    groups: int
    """Their number, which never changes. Group number g has the slots that `groups.slots_of` says."""
    replicas: int
    """As many as there should be of each group, the leader among them."""

    def problem(self) -> str:
        """Options allow fewer groups, simulations want more; 10**9 of them would take all memory."""
        return "" if 1 <= self.groups <= SLOTS and self.replicas >= 1 else "there are no such numbers"


@dataclass(frozen=True, slots=True)
class MembersValue(_Value):
    """`map/members`. Where etcd is not Flin's, every node counts as one that votes."""

    what = "members"
    voting: tuple[str, ...] = ()
    """Nodes of which a majority must live."""
    learning: tuple[str, ...] = ()
    """Nodes that have a copy of etcd, and no vote yet."""


@dataclass(frozen=True, slots=True)
class RoomValue(_Value):
    """`map/room`."""

    what = "room"
    used_share: float = 0.0
    """How much of its quota etcd uses; 0: less than NOTICE_SHARE (log_bounds.py). Leaders slow their writers by it."""

    def problem(self) -> str:
        return "" if 0 <= self.used_share < inf else "it is no share"


@dataclass(frozen=True, slots=True)
class LeaderValue(_Value):
    """`map/leader/G`."""

    what = "leader"
    epoch: int
    """1 for the first leader, and 1 more with each change."""
    node: str
    start: str
    """Names one process: a worker that is started again on the same node is another one."""

    def problem(self) -> str:
        return "" if _is_name(self.node) else "it names no node"


@dataclass(frozen=True, slots=True)
class LeaseValue(_Value):
    """`lease/G`. What counts is its revision: somebody has put it."""

    what = "lease"
    epoch: int
    count: int
    index: int = 0
    """The number of the leader's next entry: a follower that has applied all before it has nothing to catch up with."""


@dataclass(frozen=True, slots=True)
class NodeValue(_Value):
    """`map/nodes/ID`."""

    what = "node"
    host: str
    """As clients are told it."""
    ports: tuple[tuple[int, int, int], ...]
    """Group, port, TLS port (0: none) of each worker."""
    http: str = ""
    """HOST:PORT"""
    etcd: str = ""
    """The URL of the client address of its member; empty if it has none."""
    raft: str = ""
    """HOST:PORT, likewise."""
    version: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    def problem(self) -> str:
        """Its addresses go to clients, as parts of lines."""
        addresses = self.host, self.http, self.etcd, self.raft
        if not self.host or not all(each.isprintable() and " " not in each for each in addresses):
            return "an address is none"
        return "" if all(0 <= port <= MAX_PORT for _, *ports in self.ports for port in ports) else "a port is none"


@dataclass(frozen=True, slots=True)
class ReplicasValue(_Value):
    """`map/replicas/G`."""

    what = "replicas"
    nodes: tuple[str, ...]
    """Where the group has a copy, by rank: who of them is earlier claims the place of a dead leader earlier."""
    preferred: str = ""
    """Who should lead. The leader hands over to it; nobody takes the place from a leader that lives."""
    coming: str = ""
    """Which node makes a copy that does not count yet (moves.py); empty: none."""
    going: str = ""
    """Which of `nodes` is to be without its copy, as soon as it is not needed; empty: none."""
    is_pinned: bool = False
    """An operator has chosen its nodes: copies are not moved to be even."""
    chosen: str = ""
    """Whom an operator has told to lead (CLUSTER FAILOVER): it is preferred as long as it is there."""

    def problem(self) -> str:
        named = *self.nodes, *filter(None, (self.preferred, self.coming, self.going, self.chosen))
        return "" if all(map(_is_name, named)) else "it names no nodes"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The nodes that have a process for it."""
        return (*self.nodes, self.coming) if self.coming else self.nodes

    @property
    def is_moving(self) -> bool:
        return bool(self.coming or self.going)


@dataclass(frozen=True, slots=True)
class RefusedValue(_Value):
    """`map/refused/ID`: a move to this node was given up, and it is asked for no other one for a while."""

    what = "refused"
    group: int
    why: str
    needs_bytes: int
    """As in AppliedValue."""


@dataclass(frozen=True, slots=True)
class JoiningValue(_Value):
    """`joining/ID`. A member of etcd has no name before it is started: this says whose it is."""

    what = "joining"
    peer_url: str


@dataclass(frozen=True, slots=True)
class AliveValue(_Value):
    """`alive/ID`."""

    what = "alive"
    count: int
    start: str
    """Names one process of the supervisor."""
    free_bytes: int = -1
    """How much more than its reserve the disk has free; -1: it is not known."""


@dataclass(frozen=True, slots=True)
class AppliedValue(_Value):
    """`applied/G/ID`."""

    what = "applied"
    index: int
    """Entries below this number are in the replica's tables: it never needs them again."""
    start: str
    """The worker that says so, as in LeaderValue; empty: it has ended, and nobody can be given the group there."""
    is_abreast: bool = False
    """It has applied all that the leader had when that renewed its lease last; or it leads."""
    has_room: bool = True
    """Its disk is not full."""
    refusal: str = ""
    """Why this node cannot make the copy that it is to make."""
    needs_bytes: int = 0
    """How much its disk would have to have free for that; 0: room is not all that it lacks."""


@dataclass(frozen=True, slots=True)
class ControllerValue(_Value):
    """`controller`, put each second."""

    what = "controller"
    node: str
    start: str
    count: int
