"""The nodes of a cluster, and which slots each of them has, as the server is told when it starts. They do not change
while it runs."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from flin.net.cluster.slots import SLOTS

_ID: Final = re.compile(r"[0-9a-f]{40}")
_MAX_PORT: Final = 65_535


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


@dataclass(frozen=True, slots=True)
class Topology:
    """All nodes, in the order of their slots. ValueError if a slot has none, or two, or if a node cannot be."""

    nodes: tuple[Node, ...]
    own: int
    """The index of this server."""

    def __post_init__(self) -> None:
        following = 0
        for node in self.nodes:
            if _ID.fullmatch(node.id) is None:
                raise ValueError(f"a node's id is {node.id!r}, it must be 40 hexadecimal digits")
            if not 0 < node.port <= _MAX_PORT or not 0 <= node.tls_port <= _MAX_PORT:
                raise ValueError(f"node {node.id} has the port {node.port} or the TLS port {node.tls_port}")
            if node.first != following or node.last < node.first:
                raise ValueError(f"node {node.id} has the slots {node.first} to {node.last}, not from {following} on")
            following = node.last + 1
        if following != SLOTS:
            raise ValueError(f"the nodes have {following} slots, not {SLOTS}")
        if len({node.id for node in self.nodes}) < len(self.nodes):
            raise ValueError("two nodes have the same id")
        if not 0 <= self.own < len(self.nodes):
            raise ValueError(f"the server is node {self.own} of {len(self.nodes)}")

    @property
    def own_node(self) -> Node:
        return self.nodes[self.own]

    def node_of(self, slot: int) -> Node:
        return self.nodes[bisect_right(self.nodes, slot, key=lambda node: node.first) - 1]
