"""What the server of a replica is told of its role: a view of what pulse, log and map know."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

from flin.cluster.log.leader import GroupLog
from flin.cluster.replica.lease import LEASE_SECONDS, Clock, Lease
from flin.cluster.replica.map_view import MapView
from flin.cluster.replica.takeover import Place
from flin.cluster.slot_map import client_id
from flin.cluster.workers.assignment import ReplicaPlace
from flin.net.cluster.role import ReplicaFigures
from flin.net.cluster.topology import Topology

UNKNOWN_LAG_MS: Final = 1 << 40
"""A follower that has never been abreast of its leader."""


class WorkerRole:
    """A `ReplicaRole`."""

    def __init__(
        self,
        is_leading: bool,
        worker: ReplicaPlace,
        view: MapView,
        place: Place,
        log: GroupLog,
        lease: Lease,
        *,
        take_over: Callable[[], None] = lambda: None,
    ) -> None:
        self.is_leading: Final = is_leading
        self.has_lease: Final[Callable[[], bool]] = lease.is_held
        self._worker = worker
        self._view = view
        self._place = place
        self._log = log
        self._clock: Clock = lease.clock
        self._fresh_at = -inf
        self.skew_ms = 0
        self.has_room = True
        self.take_over: Final = take_over

    def confirm(self) -> None:
        self._log.confirm()

    def sees_leader(self) -> bool:
        place = self._place
        return place.leader is not None and self._clock() - place.lease_seen_at < LEASE_SECONDS

    @property
    def topology(self) -> Topology:
        return self._view.topology

    def figures(self) -> ReplicaFigures:
        found, place = self._view.map, self._place
        followers = {
            client_id(self._worker.cluster, name, self._worker.group): value.index
            for name, value in place.peers.applied.items()
            if name != self._worker.node
        }
        return ReplicaFigures(
            voting_nodes=len(found.members.voting),
            epoch=0 if place.leader is None else place.leader.epoch,
            index=self._log.index,
            lag_ms=0 if self.is_leading else self._lag_ms(),
            skew_ms=self.skew_ms,
            has_room=self.has_room,
            etcd_used_share=found.room.used_share,
            refusal=found.refused[self._worker.node].why if self._worker.node in found.refused else "",
            followers=followers if self.is_leading else {},
        )

    def _lag_ms(self) -> int:
        """Since when this follower has not been known to have all that the leader had. A leader that is still catching
        up does not say how much it has."""
        value, seen_at = self._place.lease_value, self._place.lease_seen_at
        if value is not None and 0 < value.index <= self._log.index + 1:
            self._fresh_at = seen_at
        lag = self._clock() - self._fresh_at
        return UNKNOWN_LAG_MS if lag == inf else int(lag * 1000)
