"""The nodes of a cluster, and which slots each of them has: a value. Workers' never change while they run; in a cluster
of machines a role gives another one after each change (role.py)."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from flin.net.cluster.slots import SLOTS

_ID: Final = re.compile(r"[0-9a-f]{40}")
_MAX_PORT: Final = 65_535

NOBODY: Final = "-"
"""In the place of a leader's id: nobody leads the group."""


@dataclass(frozen=True, slots=True)
class Node:
    """A server of the cluster. It has the slots from `first` to `last`, both included."""

    id: str
    """40 hexadecimal digits, in lower case."""
    host: str
    """As clients are told it; empty: the address by which the client has reached the server that it asks."""
    port: int
    first: int
    last: int
    tls_port: int = 0
    """What clients are told that speak TLS themselves; 0: `port`."""
    replica_of: str = ""
    """The id of the node that leads its group; NOBODY: none does; empty: it leads."""
    is_away: bool = False
    """It does not show itself, as far as is known."""


@dataclass(frozen=True, slots=True)
class Group:
    """The nodes that have the same slots."""

    first: int
    last: int
    leader: Node | None
    followers: tuple[Node, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All of them, the one that leads first."""
        return self.followers if self.leader is None else (self.leader, *self.followers)


@dataclass(frozen=True, slots=True)
class Topology:
    """All nodes, in the order of their slots. ValueError if a slot has none, or two that lead, or if a node cannot
    be."""

    nodes: tuple[Node, ...]
    own: int
    """The index of this server."""
    groups: tuple[Group, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        following = 0
        groups: list[Group] = []
        for (first, last), alike in groupby(self.nodes, lambda node: (node.first, node.last)):
            of_group = [*alike]
            for node in of_group:
                _check(node)
            if first != following or last < first:
                raise ValueError(f"node {of_group[0].id} has the slots {first} to {last}, not from {following} on")
            following = last + 1
            groups.append(_group(first, last, of_group))
        if following != SLOTS:
            raise ValueError(f"the nodes have {following} slots, not {SLOTS}")
        if len({node.id for node in self.nodes}) < len(self.nodes):
            raise ValueError("two nodes have the same id")
        if not 0 <= self.own < len(self.nodes):
            raise ValueError(f"the server is node {self.own} of {len(self.nodes)}")
        object.__setattr__(self, "groups", tuple(groups))

    @property
    def own_node(self) -> Node:
        return self.nodes[self.own]

    def group_of(self, slot: int) -> Group:
        return self.groups[bisect_right(self.groups, slot, key=lambda group: group.first) - 1]

    def node_of(self, slot: int) -> Node | None:
        """The node that leads the group of the slot; None: nobody does."""
        return self.group_of(slot).leader


def _check(node: Node) -> None:
    if _ID.fullmatch(node.id) is None:
        raise ValueError(f"a node's id is {node.id!r}, it must be 40 hexadecimal digits")
    if not 0 < node.port <= _MAX_PORT or not 0 <= node.tls_port <= _MAX_PORT:
        raise ValueError(f"node {node.id} has the port {node.port} or the TLS port {node.tls_port}")


def _group(first: int, last: int, nodes: list[Node]) -> Group:
    leaders = [node for node in nodes if not node.replica_of]
    if len(leaders) > 1:
        raise ValueError(f"the nodes {leaders[0].id} and {leaders[1].id} both have the slots {first} to {last}")
    leader = leaders[0] if leaders else None
    for node in nodes:
        if node.replica_of not in ("", NOBODY if leader is None else leader.id):
            raise ValueError(f"node {node.id} follows {node.replica_of}, which does not lead its group")
    return Group(first, last, leader, tuple(node for node in nodes if node.replica_of))
