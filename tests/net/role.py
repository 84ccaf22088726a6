"""A role whose lease and topology are set by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

from flin.net.cluster.role import ReplicaFigures
from flin.net.cluster.slots import SLOTS
from flin.net.cluster.topology import Node, Topology

LEADER = Node("a" * 40, "", 7000, 0, SLOTS - 1)
FOLLOWER = Node("b" * 40, "", 7001, 0, SLOTS - 1, replica_of=LEADER.id)
OTHER = Node("c" * 40, "host", 7002, 0, SLOTS - 1, replica_of=LEADER.id)
NODES = (LEADER, FOLLOWER, OTHER)


@dataclass
class FakeRole:
    is_leading: bool = True
    topology: Topology = field(default_factory=lambda: Topology(NODES, 0))
    is_leased: bool = True
    is_seen: bool = True
    asked: int = 0
    shown: ReplicaFigures = field(default_factory=ReplicaFigures)

    def has_lease(self) -> bool:
        return self.is_leased

    def confirm(self) -> None:
        """It leads, as far as anybody knows."""

    def sees_leader(self) -> bool:
        return self.is_seen

    def take_over(self) -> None:
        self.asked += 1

    def figures(self) -> ReplicaFigures:
        return self.shown


def following() -> FakeRole:
    return FakeRole(is_leading=False, topology=Topology(NODES, 1))
