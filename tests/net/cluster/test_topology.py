"""The nodes of a cluster: which node a slot has, and what is no cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flin.net.cluster.slots import SLOTS
from flin.net.cluster.topology import NOBODY, Node, Topology
from flin.net.settings.options import ConfigError, ServerOptions
from flin.net.settings.reading import with_values

A = Node("a" * 40, "", 7000, 0, 8191)
B = Node("b" * 40, "host", 7100, 8192, SLOTS - 1)


def test_each_slot_has_a_node() -> None:
    topology = Topology((A, B), 1)
    assert [topology.node_of(slot) for slot in (0, 8191, 8192, SLOTS - 1)] == [A, A, B, B]
    assert topology.own_node is B
    assert Topology((replace(A, last=SLOTS - 1),), 0).node_of(5) == replace(A, last=SLOTS - 1)


@pytest.mark.parametrize(
    ("nodes", "own", "error"),
    [
        ((), 0, "0 slots"),
        ((A,), 0, "8192 slots"),
        ((A, replace(B, first=8193)), 0, "8193 to 16383"),
        ((A, replace(B, first=8191)), 0, "8191 to 16383"),
        ((A, replace(B, last=SLOTS)), 0, "16385 slots"),
        ((A, replace(B, id="B" * 40)), 0, "40 hexadecimal"),
        ((A, replace(B, id=A.id)), 0, "same id"),
        ((A, replace(B, port=0)), 0, "port 0"),
        ((A, replace(B, tls_port=70_000)), 0, "TLS port 70000"),
        ((A, B), 2, "node 2 of 2"),
    ],
)
def test_what_is_no_cluster(nodes: tuple[Node, ...], own: int, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Topology(nodes, own)


def test_a_file_cannot_make_a_cluster() -> None:
    assert ServerOptions().topology is None
    with pytest.raises(ConfigError, match="there is no option 'topology'"):
        with_values(ServerOptions(), {"topology": 1})


FIRST, SECOND = replace(A, id="c" * 40, replica_of=A.id), replace(B, id="d" * 40, replica_of=NOBODY)


def test_a_group_has_a_leader_and_followers() -> None:
    topology = Topology((FIRST, A, SECOND), 0)
    assert [(group.leader, group.followers) for group in topology.groups] == [(A, (FIRST,)), (None, (SECOND,))]
    assert topology.node_of(0) is A
    assert topology.node_of(SLOTS - 1) is None
    assert topology == Topology((FIRST, A, SECOND), 0)


@pytest.mark.parametrize(
    ("nodes", "error"),
    [
        ((A, replace(A, id="c" * 40), B), "both have the slots 0 to 8191"),
        ((A, FIRST, replace(B, replica_of=A.id)), "does not lead its group"),
        ((A, replace(FIRST, replica_of=NOBODY), B), "follows -, which"),
        ((A, B, FIRST), "has the slots 0 to 8191"),
    ],
)
def test_what_is_no_group(nodes: tuple[Node, ...], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Topology(nodes, 0)
