"""Who leads a group: when a replica claims the place of a dead leader, and to whom a leader gives its own. Pure.

    FOLLOWING ──claim succeeds, or the leader hands over to it──► LEADING ──fenced, or it has handed over──► ENDED

A `Place` makes the transactions, and is told what came of them; who calls it sends them (replica.py), or a simulation
does. Every one compares the revision of `map/leader/G`, so it does not matter how late it is executed, or how often.
Whether a claim has succeeded is never concluded from silence: the next look shows who leads.

A place ends with its turn to lead. If the worker's store may hold commits that the log does not, its process ends, too,
and the next one opens it anew; else it goes on with a new place and a new lease, and follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf
from typing import Final

from flin.cluster.etcd.key_value import Found, Get, ModRevision, Operation, Outcome, Pair, Put
from flin.cluster.keys import AppliedValue, Keys, LeaderValue, LeaseValue, ReplicasValue, name_of
from flin.cluster.replica.lease import LEASE_SECONDS, RENEW_SECONDS, Lease, Vigil
from flin.errors import CorruptionError

RANK_SECONDS: Final = 0.7
"""How much longer each following replica waits before it claims, so that the first has claimed and has been seen: a
look and a half."""

LOOK_SECONDS: Final = 0.5
"""Between two looks of a follower. By so much, at most, is a renewal seen late, and a claim made late."""

SETTLED_SECONDS: Final = 10.0
"""So long a leader leads before it gives its place to the preferred one: a replica that has just lost its place to a
fault is not to have it back at once, and lose it again."""

ALIVE_SECONDS: Final = 2.5
"""A node whose `alive` was put so recently is there: two puts may come late."""

APPLIED_SECONDS: Final = 4.0
"""Between two signs of a replica's process, by which it also tells how much of the log its tables hold. What they hold
changes more seldom. But a leader must not hand over to a process that has just died."""

THERE_SECONDS: Final = 6.0
"""A replica whose sign came so recently is there: one may come late."""


class Role(Enum):
    FOLLOWING = auto()
    LEADING = auto()
    ENDED = auto()


class Kind(Enum):
    LOOK = auto()
    CLAIM = auto()
    RENEW = auto()
    HANDOVER = auto()


@dataclass(frozen=True, slots=True)
class Request:
    """A transaction of a place."""

    kind: Kind
    compares: tuple[ModRevision, ...]
    success: tuple[Operation, ...]
    failure: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True)
class Myself:
    """This worker."""

    group: int
    node: str
    start: str
    """Names the process. It holds the lock of the node's workers, so every other start of this node has ended."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a follower knows of its leader."""

    leader: LeaderValue | None
    replicas: ReplicasValue | None
    seconds: float
    """How long the leader and its lease have not changed."""


def claim_delay(myself: Myself, sight: Sight) -> float:
    """After how many seconds without a change this worker claims; infinity: it does not.

    Rank is the place among the group's replicas, the present leader's node left out."""
    replicas, leader = sight.replicas, sight.leader
    if replicas is None or myself.node not in replicas.nodes:
        return inf
    if leader is not None and leader.node == myself.node:
        return 0
    others = [node for node in replicas.nodes if leader is None or node != leader.node]
    rank = others.index(myself.node)
    if leader is None:
        first = replicas.preferred if replicas.preferred in replicas.nodes else replicas.nodes[0]
        return 0 if myself.node == first else LEASE_SECONDS + rank * RANK_SECONDS
    return LEASE_SECONDS + rank * RANK_SECONDS


@dataclass(slots=True)
class Peers:
    """The other replicas, as the leader's renewals show them."""

    applied: dict[str, AppliedValue] = field(default_factory=dict)
    _changed: dict[bytes, tuple[int, float]] = field(default_factory=dict)
    """The revision of each key, and when it was first seen. The first look proves nothing."""
    _starts: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Each replica's process, and when it was first seen."""
    _alive: dict[str, bytes] = field(default_factory=dict)
    _there: dict[str, bytes] = field(default_factory=dict)
    _first_at: float = inf
    """When it was looked for the first time."""

    def note(self, alive: Sequence[Pair], applied: Sequence[Pair], now: float) -> None:
        """alive: of the group's nodes alone, however many others there are."""
        self._first_at = min(self._first_at, now)
        for pair in (*alive, *applied):
            known = self._changed.get(pair.key)
            if known is None or known[0] != pair.mod_revision:
                self._changed[pair.key] = pair.mod_revision, -inf if known is None else now
        self._alive = {name_of(pair.key): pair.key for pair in alive}
        self._there, self.applied = {}, {}
        for pair in applied:
            with suppress(CorruptionError):  # to a leader it is as if it were not there; whoever moves copies says it
                name = name_of(pair.key)
                self._there[name], self.applied[name] = pair.key, AppliedValue.of(pair)
        for name, value in self.applied.items():
            if name not in self._starts or self._starts[name][0] != value.start:
                self._starts[name] = value.start, now

    def able(self, now: float, seconds: float = 0) -> dict[str, AppliedValue]:
        """Those that can be given the group: their node and process have just shown themselves, and it is the same
        process for so many seconds."""
        return {
            name: value
            for name, value in self.applied.items()
            if value.start
            and now - self._starts[name][1] >= seconds
            and now - self._changed[self._there[name]][1] <= THERE_SECONDS
            and name in self._alive
            and now - self._changed[self._alive[name]][1] <= ALIVE_SECONDS
        }

    def perhaps(self, now: float) -> dict[str, AppliedValue]:
        """Those that have not said that they end, as long as it is too early to know more. If none of them is there,
        the group is without a leader for a lease, as it would be without a handover."""
        is_early = now - self._first_at <= THERE_SECONDS
        return {name: value for name, value in self.applied.items() if value.start and is_early}


def target_of(
    myself: Myself, replicas: ReplicasValue | None, able: Mapping[str, AppliedValue]
) -> tuple[str, str] | None:
    """To whom a leader that must end gives its place: node and start. One that has room, the preferred one, else whose
    tables are furthest; None: nobody is there. able: who can be given it."""
    others = [] if replicas is None else [node for node in replicas.nodes if node != myself.node and node in able]
    if replicas is None or not others:
        return None
    best = max(others, key=lambda node: (able[node].has_room, node == replicas.preferred, able[node].index))
    return best, able[best].start


def _with_room(able: Mapping[str, AppliedValue]) -> dict[str, AppliedValue]:
    return {name: value for name, value in able.items() if value.has_room}


class Place:
    """This worker's place in its group. Calls come from one thread at a time."""

    def __init__(self, keys: Keys, myself: Myself, lease: Lease) -> None:
        self.role = Role.FOLLOWING
        self.leader: LeaderValue | None = None
        self.leader_revision = 0
        """The fence, while this worker leads."""
        self.lease_value: LeaseValue | None = None
        self.lease_seen_at = -inf
        """When the present one had arrived."""
        self.replicas: ReplicasValue | None = None
        """As the map says."""
        self.index = 0
        """The number of the next entry: told with the lease, so that followers know how far they are."""
        self.peers = Peers()
        self.led_since = inf
        self._keys = keys
        self._myself = myself
        self._lease = lease
        self._vigil = Vigil()
        self._leader_key = keys.leader(myself.group)
        self._lease_key = keys.lease(myself.group)
        self._look = Get(self._leader_key), Get(self._lease_key), Get(keys.replicas(myself.group))
        self._count = 0

    # What to send.

    def request(self, now: float) -> Request:
        """The next look, claim or renewal."""
        if self.role is not Role.FOLLOWING:
            return self._renewal()
        sight = Sight(self.leader, self.replicas, self._vigil.seconds(now))
        if self._vigil.revisions and sight.seconds >= claim_delay(self._myself, sight):
            return self._claim()
        return Request(Kind.LOOK, (), self._look)

    def is_abreast(self, next_applied: int) -> bool:
        """Whether this worker has applied all that the leader had told of, or leads. next_applied: the number of the
        first entry that is not applied; asked after the last look."""
        told = self.index if self.role is Role.LEADING else 0 if self.lease_value is None else self.lease_value.index
        return 0 < told <= next_applied

    def pause(self) -> float:
        """Seconds until the next request."""
        return RENEW_SECONDS if self.role is Role.LEADING else LOOK_SECONDS

    def handover(self, target: tuple[str, str]) -> Request:
        """Give the place to a replica: when commands are refused, the last append is known, and the lease has ended.
        If there is no answer, this very request is to be sent again: it may still be executed."""
        assert self.leader is not None
        return self._change(Kind.HANDOVER, LeaderValue(self.leader.epoch + 1, *target))

    def target(self, now: float) -> tuple[str, str] | None:
        """Where a leader that ends gives its place; None: nobody is there."""
        peers = self.peers
        return target_of(self._myself, self.replicas, peers.able(now)) or target_of(
            self._myself, self.replicas, peers.perhaps(now)
        )

    def maybe_target(self, now: float, *, has_room: bool = True) -> tuple[str, str] | None:
        """Where a leader gives its place, though it does not end: to one that has room, if it has none itself, else to
        the preferred replica."""
        if self.role is not Role.LEADING:
            return None
        if not has_room:
            return target_of(self._myself, self.replicas, _with_room(self.peers.able(now)))
        replicas = self.replicas
        is_wanted = replicas is not None and replicas.preferred not in ("", self._myself.node)
        if not is_wanted or now - self.led_since < SETTLED_SECONDS:
            return None
        target = target_of(self._myself, replicas, _with_room(self.peers.able(now, SETTLED_SECONDS)))
        return target if target and replicas and target[0] == replicas.preferred else None

    def _renewal(self) -> Request:
        self._count += 1
        assert self.leader is not None
        return Request(
            Kind.RENEW,
            (ModRevision(self._leader_key, self.leader_revision),),
            (
                Put(self._lease_key, LeaseValue(self.leader.epoch, self._count, self.index).encode()),
                self._look[2],
                Get(*self._keys.applied_in(self._myself.group)),
                *(Get(self._keys.alive(node)) for node in (self.replicas.nodes if self.replicas else ())),
            ),
            self._look,
        )

    def _claim(self) -> Request:
        epoch = 1 if self.leader is None else self.leader.epoch + 1
        return self._change(Kind.CLAIM, LeaderValue(epoch, self._myself.node, self._myself.start))

    def _change(self, kind: Kind, value: LeaderValue) -> Request:
        """The lease is put, too: whoever waits for its end begins to wait anew."""
        compares = [ModRevision(self._leader_key, self.leader_revision)]
        is_own = self.leader is not None and self.leader.node == self._myself.node
        if (
            kind is Kind.CLAIM and not is_own
        ):  # what has ended may have left a renewal on its way, which changes nothing
            compares.append(ModRevision(self._lease_key, self._vigil.revisions[1]))
        lease = Put(self._lease_key, LeaseValue(value.epoch, 0, self.index).encode())
        return Request(kind, tuple(compares), (Put(self._leader_key, value.encode()), lease, *self._look), self._look)

    # What came of it.

    def note(self, request: Request, outcome: Outcome, sent_at: float, arrived_at: float) -> None:
        """The answer to a request; the moments are the lease's clock's."""
        if request.kind is Kind.RENEW and outcome.succeeded:
            if self.role is Role.LEADING:
                replicas, applied, *alive = outcome.found
                self._lease.renew(sent_at)
                self.peers.note([pair for each in alive for pair in each.pairs], applied.pairs, arrived_at)
                self._see_replicas(replicas)
            return
        self._see(outcome.found, arrived_at)

    def _see_replicas(self, found: Found) -> None:
        """Who has a copy, and who should lead. A leader sees a change of that, too."""
        self.replicas = ReplicasValue.of(found.pairs[0]) if found.pairs else None

    def _see(self, found: Sequence[Found], arrived_at: float) -> None:
        """The leader, its lease and the replicas are such and such."""
        leader, lease = (each.pairs[0] if each.pairs else None for each in found[:2])
        revision = leader.mod_revision if leader else 0
        lease_revision = lease.mod_revision if lease else 0
        if self.role is not Role.FOLLOWING and revision != self.leader_revision:
            self.role = Role.ENDED
            self._lease.end()
        if (revision, lease_revision) != self._vigil.revisions:
            self.leader = LeaderValue.of(leader) if leader else None
            self.lease_value = LeaseValue.of(lease) if lease else None
            self.leader_revision = revision
            self.lease_seen_at = arrived_at
        self._vigil.note((revision, lease_revision), arrived_at)
        is_own = self.leader is not None and (self.leader.node, self.leader.start) == (
            self._myself.node,
            self._myself.start,
        )
        if self.role is Role.FOLLOWING and is_own:
            self.role, self.led_since = Role.LEADING, arrived_at
        self._see_replicas(found[2])  # at last: if it is none, who leads is known all the same
