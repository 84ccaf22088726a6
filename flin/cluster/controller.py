"""The controller: one node that says which nodes hold which group, and who should lead it. It is on no write's way.

Every node has one, of which one acts: it puts `controller` each second, and another one takes its place when it has not
for a whole lease. Whatever it writes is a transaction that compares the key, so one that stood still and wakes changes
nothing any more, and what it was decided from. It never takes a leader's place: it says who is preferred, and the
leader itself hands over (takeover.py).

A `Controller` decides; its calls to etcd are those of a KeyValueStore and of a `Membership`, so a simulation drives it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final, Protocol

from flin.cluster.key_value import Found, Get, KeyValueStore, ModRevision, Operation, Pair, Put
from flin.cluster.keys import ControllerValue, Keys, MembersValue, ReplicasValue, name_of
from flin.cluster.lease import LEASE_SECONDS, Clock, Vigil, boot_seconds
from flin.cluster.placement import REPLACE_SECONDS, placed
from flin.cluster.slot_map import SlotMap, map_of

logger = logging.getLogger(__name__)

STEP_SECONDS: Final = 1.0
"""Between two steps. A node that joins waits for one, a leader that should hand over for two."""

AWAY_SECONDS: Final = 5.0
"""A node that has not shown itself for so long is asked to lead nothing. Longer than a lease: by then others lead its
groups, and until then a short stop changes no plan."""

TIMEOUT_SECONDS: Final = 2.0

LEAVING: Final = "leaving"
"""The label of a node that is to give everything away."""


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


@dataclass(slots=True)
class Presence:
    """Which nodes show themselves: since when each one's `alive` has been as it is."""

    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def note(self, pairs: tuple[Pair, ...], names: Mapping[str, object], now: float) -> None:
        """What was read at `now`. One that is seen for the first time counts from then on."""
        revisions = dict.fromkeys(names, 0) | {name_of(pair.key): pair.mod_revision for pair in pairs}
        for name, revision in revisions.items():
            if name not in self._seen or self._seen[name][0] != revision:
                self._seen[name] = revision, now
        for name in self._seen.keys() - revisions.keys():
            del self._seen[name]

    def seconds_away(self, name: str, now: float) -> float:
        return now - self._seen[name][1] if name in self._seen else inf


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
    ) -> None:
        """membership: None where etcd is not Flin's."""
        self._store = store
        self._keys = keys
        self._node = node
        self._start = start
        self._clock = clock
        self._membership = membership or NodesMembership(lambda: self.map.nodes)
        self._vigil = Vigil()
        self._presence = Presence()
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
        """Look, and act if it is this one's business. Raises KeyValueError, CorruptionError."""
        keys = self._keys
        reads = (Get(*keys.map), Get(*keys.alive_nodes), Get(keys.controller))
        mapped, alive, holder = self._store.txn((), reads, timeout=TIMEOUT_SECONDS).found
        now = self._clock()
        self.map = map_of(keys, mapped.pairs)
        self._presence.note(alive.pairs, self.map.nodes, now)
        if self._is_mine(holder, now):
            self._act(now)

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
        for group, value in plan(found, {name: self._presence.seconds_away(name, now) for name in found.nodes}).items():
            before = found.replicas.get(group)
            if value != before:
                if before is None or value.preferred != before.preferred:
                    logger.info("group %d: %s should lead", group, value.preferred or "nobody")
                if before is not None and value.nodes != before.nodes:
                    logger.info("group %d: copies should be on %s", group, _list(value.nodes))
                self._put(self._keys.replicas(group), value)
        members = self._membership.promote_one()
        if members != found.members:
            logger.info("etcd members that vote: %s; that learn: %s", *map(_list, (members.voting, members.learning)))
            self._put(self._keys.members, members)

    def _put(self, key: bytes, value: ReplicasValue | MembersValue) -> None:
        compares = [
            ModRevision(self._keys.controller, self._revision),
            ModRevision(key, self.map.revisions.get(key, 0)),
        ]
        operations: list[Operation] = [Put(key, value.encode())]
        if not self._store.txn(compares, operations, timeout=TIMEOUT_SECONDS).succeeded:
            logger.info("what the controller has decided came too late, and changes nothing")


def plan(found: SlotMap, seconds_away: Mapping[str, float]) -> dict[int, ReplicasValue]:
    """Where the groups should be. seconds_away: for how long each node has not shown itself."""
    staying = [name for name, value in found.nodes.items() if (LEAVING, "yes") not in value.labels]
    alive = [name for name in staying if seconds_away.get(name, inf) <= AWAY_SECONDS]
    lost = [name for name in staying if seconds_away.get(name, inf) > REPLACE_SECONDS]
    return placed(found.groups, found.wanted, sorted(staying), alive, lost, found.replicas)


def _list(names: tuple[str, ...]) -> str:
    return " ".join(names) or "none"
