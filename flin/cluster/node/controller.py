"""The controller: one node that says which nodes hold which group, and who should lead it. It is on no write's way.

Every node has one, of which one acts: it puts `controller` each second, and another one takes its place when it has not
for a whole lease. Whatever it writes is a transaction that compares the key, so one that stood still and wakes changes
nothing any more, and what it was decided from. It never takes a leader's place: it says who is preferred, and the
leader itself hands over (takeover.py). Copies move by the steps of moves.py.

A `Controller` decides; its calls to etcd are those of a KeyValueStore and of a `Membership`, so a simulation drives it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Final, Protocol

from flin.cluster.etcd.key_value import Delete, Found, Get, KeyValueStore, ModRevision, Operation, Pair, Put
from flin.cluster.keys import (
    AliveValue,
    AppliedValue,
    ControllerValue,
    Keys,
    MembersValue,
    RefusedValue,
    ReplicasValue,
    group_of,
    name_of,
)
from flin.cluster.node.moves import Scene, advanced
from flin.cluster.node.placement import REPLACE_SECONDS, Standing, placed
from flin.cluster.node.presence import Presence, Readiness, refusals
from flin.cluster.replica.lease import LEASE_SECONDS, Clock, Vigil, boot_seconds
from flin.cluster.slot_map import RACK, SlotMap, is_leaving, leader_of, map_of, understood
from flin.errors import CorruptionError

logger = logging.getLogger(__name__)

STEP_SECONDS: Final = 1.0
"""Between two steps. A node that joins waits for one, a leader that should hand over for two."""

AWAY_SECONDS: Final = 5.0
"""A node that has not shown itself for so long is asked to lead nothing. Longer than a lease: by then others lead its
groups, and until then a short stop changes no plan."""

REFUSED_SECONDS: Final = 600.0
"""A node that could not make a copy is given none for so long, unless it has the room that it lacked. Each try costs
the giver a flush, and perhaps a whole copy over the network."""

TIMEOUT_SECONDS: Final = 2.0


class Membership(Protocol):
    """Whose etcd votes (own_etcd.py)."""

    def promote_one(self) -> MembersValue:
        """Let the next learner vote, if it is time; who votes then. Raises KeyValueError."""


class NodesMembership:
    """Where etcd is not Flin's: each node counts as one that votes, since a majority of copies is asked of no node."""

    def __init__(self, nodes: Callable[[], Mapping[str, object]]) -> None:
        self._nodes = nodes

    def promote_one(self) -> MembersValue:
        return MembersValue(tuple(sorted(self._nodes())))


class Controller:
    """Steps come from one thread."""

    def __init__(
        self,
        store: KeyValueStore,
        keys: Keys,
        node: str,
        start: str,
        membership: Membership | None = None,
        clock: Clock = boot_seconds,
        replace_seconds: float = REPLACE_SECONDS,
        groups: int = 0,
    ) -> None:
        """membership: None where etcd is not Flin's. replace_seconds: how long a node is away before others get what
        it had. groups: how many the cluster has; 0: as many as it says."""
        self._store = store
        self._keys = keys
        self._node = node
        self._start = start
        self._clock = clock
        self._membership = membership or NodesMembership(lambda: self.map.nodes)
        self._vigil = Vigil()
        self._presence = Presence()
        self._readiness = Readiness()
        self._replace_seconds = replace_seconds
        self._groups = groups
        self._held: set[int] = set()
        """Groups of which a value is none."""
        self._alive: Sequence[Pair] = ()
        self._refused: dict[str, tuple[int, float]] = {}  # the revision of each refusal, and since when it is known
        self._revision = 0  # of `controller`, while it is this one's
        self._count = 0
        self.map = SlotMap()
        """As of the last step."""

    @property
    def is_acting(self) -> bool:
        """Whether it was the one that acts, when it looked last."""
        return self._revision > 0

    def away(self) -> list[str]:
        """The nodes that do not show themselves."""
        now = self._clock()
        return [name for name in self.map.nodes if self._presence.seconds_away(name, now) > AWAY_SECONDS]

    def step(self) -> None:
        """Look, and act if it is this one's business. Raises KeyValueError; CorruptionError, at its end if only groups
        are damaged."""
        keys = self._keys
        reads = (Get(*keys.map), Get(*keys.alive_nodes), Get(keys.controller))
        mapped, alive, holder = self._store.txn((), reads, timeout=TIMEOUT_SECONDS).found
        now = self._clock()
        problem: CorruptionError | None = None
        try:
            self.map = map_of(keys, mapped.pairs, self._groups)
            self._held = set()
        except CorruptionError as error:
            self._hold(mapped.pairs)
            problem = error
        finally:  # who is there is seen, whatever somebody has done to the map
            self._presence.note(alive.pairs, self.map.nodes, now)
        self._alive = alive.pairs
        for name in self.map.refused:
            revision = self.map.revisions[keys.refused(name)]
            if self._refused.get(name, (0, 0.0))[0] != revision:
                self._refused[name] = revision, now
        if self._is_mine(holder, now):
            self._act(now)
        if problem is not None:
            raise problem

    def _hold(self, pairs: Sequence[Pair]) -> None:
        """The map, though values of some groups are none: such a group counts as it was, and is left alone.
        CorruptionError if that is not known, or for anything else: a node that nobody understands would look as if it
        were gone."""
        keys, known = self._keys, self.map
        found, wrong = understood(keys, pairs, self._groups)
        held = set()
        for key, error in wrong.items():
            if not any(start <= key < end for start, end in (keys.replica_sets, keys.leaders)):
                raise error
            with suppress(CorruptionError):  # else it is no group's, and changes nothing
                held.add(group_of(key))
        held &= {*range(found.groups)}
        replicas = {group: value for group, value in known.replicas.items() if group in held} | {**found.replicas}
        leaders = {group: value for group, value in known.leaders.items() if group in held} | {**found.leaders}
        if not held <= replicas.keys():
            raise next(iter(wrong.values()))
        self.map, self._held = replace(found, replicas=replicas, leaders=leaders), held

    def _is_mine(self, holder: Found, now: float) -> bool:
        """Keep the key, or take it, if it is this one's or nobody's."""
        revision = holder.pairs[0].mod_revision if holder.pairs else 0
        self._vigil.note((revision,), now)
        if revision and revision != self._revision and self._vigil.seconds(now) < LEASE_SECONDS:
            self._revision = 0
            return False
        self._count += 1
        value = ControllerValue(self._node, self._start, self._count).encode()
        key = self._keys.controller
        outcome = self._store.txn([ModRevision(key, revision)], [Put(key, value)], timeout=TIMEOUT_SECONDS)
        if outcome.succeeded and not self._revision:
            logger.info("this node is the controller now")
        self._revision = outcome.revision if outcome.succeeded else 0
        return outcome.succeeded

    def _act(self, now: float) -> None:
        found = self.map
        seconds_away = {name: self._presence.seconds_away(name, now) for name in found.nodes}
        is_moving = any(value.is_moving for value in found.replicas.values())
        there, refusing = self._told(now) if is_moving else ({}, {})
        full = self._full(now)
        for group, value in plan(found, seconds_away, there, self._replace_seconds, {*refusing}, full).items():
            before = found.replicas.get(group, ReplicasValue(()))
            if value != before and group not in self._held:
                told = refusing.get(group)
                _tell(group, before, value, "" if told is None else _why(told))
                refusal = [] if told is None else [self._refusal(group, before.coming, told)]
                self._put(self._keys.replicas(group), value, self._rests_on(group, before, value), refusal)
        members = self._membership.promote_one()
        if members != found.members:
            logger.info("etcd members that vote: %s; that learn: %s", *map(_list, (members.voting, members.learning)))
            self._put(self._keys.members, members)

    def _told(self, now: float) -> tuple[dict[int, set[str]], dict[int, AppliedValue]]:
        """The copies that are abreast, and of which groups one cannot be made. Only moves need to know."""
        pairs = self._store.get(*self._keys.all_applied, timeout=TIMEOUT_SECONDS).pairs
        return self._readiness.note(pairs, now), refusals(pairs, self.map, self._keys)

    def _full(self, now: float) -> set[str]:
        """The nodes that can take no copy, or have not said yet. Refusals whose time is over are forgotten."""
        free = _free_bytes(self._alive)
        full = {name for name in self.map.nodes if free.get(name, 0) == 0}
        for name, value in self.map.refused.items():
            has_room = 0 < value.needs_bytes <= free.get(name, -1)
            if has_room or now - self._refused[name][1] >= REFUSED_SECONDS or name not in self.map.nodes:
                logger.info("%s may be given copies again", name)
                self._change(self._keys.refused(name), [Delete(self._keys.refused(name))])
            else:
                full.add(name)
        return full

    def _refusal(self, group: int, node: str, told: AppliedValue) -> Operation:
        return Put(self._keys.refused(node), RefusedValue(group, _why(told), told.needs_bytes).encode())

    def _rests_on(self, group: int, before: ReplicasValue, value: ReplicasValue) -> list[bytes]:
        """What else must be as it was for this change: nobody has left meanwhile who gets a copy, and if one goes,
        nobody else leads."""
        gets = {*value.hosts} - {*before.nodes}
        return [self._keys.leader(group)] * (value.nodes != before.nodes) + [self._keys.node(name) for name in gets]

    def _put(
        self,
        key: bytes,
        value: ReplicasValue | MembersValue,
        rests_on: Sequence[bytes] = (),
        also: Sequence[Operation] = (),
    ) -> None:
        self._change(key, [Put(key, value.encode()), *also], rests_on)

    def _change(self, key: bytes, operations: Sequence[Operation], rests_on: Sequence[bytes] = ()) -> None:
        compares = [
            ModRevision(self._keys.controller, self._revision),
            *(ModRevision(each, self.map.revisions.get(each, 0)) for each in (key, *rests_on)),
        ]
        if not self._store.txn(compares, operations, timeout=TIMEOUT_SECONDS).succeeded:
            logger.info("what the controller has decided came too late, and changes nothing")


def plan(
    found: SlotMap,
    seconds_away: Mapping[str, float],
    there: Mapping[int, Collection[str]],
    replace_seconds: float = REPLACE_SECONDS,
    refusing: Collection[int] = (),
    full: Collection[str] = (),
) -> dict[int, ReplicasValue]:
    """Where the groups should be. seconds_away: for how long each node has not shown itself. there: by group, the nodes
    whose copies are abreast of its log. refusing: the groups whose copies cannot be made where they are to come. full:
    nodes that can take no copy."""
    staying = {name: value for name, value in found.nodes.items() if not is_leaving(value)}
    away = {name: seconds_away.get(name, inf) for name in found.nodes}
    lost = {name for name, seconds in away.items() if seconds > (replace_seconds if name in staying else AWAY_SECONDS)}
    lost |= {name for value in found.replicas.values() for name in value.hosts if name not in found.nodes}
    unable = {found.replicas[group].coming for group in refusing}
    scene = Scene({name: away[name] for name in staying}, lost, found.wanted, unable)
    before = {
        group: advanced(value, leader_of(found, group), there.get(group, ()), scene) if value.is_moving else value
        for group, value in found.replicas.items()
    }
    alive = {name for name in staying if away[name] <= AWAY_SECONDS}
    racks = {name: dict(value.labels).get(RACK, "") for name, value in sorted(staying.items())}
    return placed(found.groups, found.wanted, Standing(racks, alive, lost, {*full, *unable}), before)


def _free_bytes(alive: Iterable[Pair]) -> dict[str, int]:
    """How much room each node says that it has. What nobody understands says nothing."""
    free: dict[str, int] = {}
    for pair in alive:
        with suppress(CorruptionError):
            name = name_of(pair.key)
            free[name] = -1
            free[name] = AliveValue.of(pair).free_bytes
    return free


def _why(told: AppliedValue) -> str:
    return told.refusal or "its disk is full, or fails"


def _tell(group: int, before: ReplicasValue, value: ReplicasValue, refusal: str = "") -> None:
    if value.preferred != before.preferred:
        logger.info("group %d: %s should lead", group, value.preferred or "nobody")
    if value.coming and value.coming != before.coming:
        logger.info("group %d: a copy moves from %s to %s", group, value.going or "nobody", value.coming)
    if refusal:
        logger.warning(
            "group %d: the copy on %s is not made: %s. That node is given none until it has room, or for %g minutes",
            group, before.coming, refusal, REFUSED_SECONDS / 60,
        )  # fmt: skip
    elif before.coming and not value.coming:
        what = "is there" if before.coming in value.nodes else "is not made: the node is away"
        logger.info("group %d: the copy on %s %s", group, before.coming, what)
    if {*value.nodes} != {*before.nodes}:
        logger.info("group %d: copies are on %s", group, _list(value.nodes))


def _list(names: tuple[str, ...]) -> str:
    return " ".join(names) or "none"
