"""etcd's pairs as a topology for clients."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flin.cluster.etcd.key_value import Event, Pair
from flin.cluster.keys import ClusterValue, Keys, LeaderValue, MembersValue, NodeValue, ReplicasValue
from flin.cluster.slot_map import SlotMap, changed, client_id, map_of, topology_of, understood
from flin.errors import CorruptionError
from flin.net.cluster.topology import NOBODY, Node

KEYS = Keys("c1")


def pair(key: bytes, value: bytes = b"", revision: int = 5) -> Pair:
    return Pair(key, value, revision, revision, 1)


def node(host: str, port: int) -> NodeValue:
    return NodeValue(host, ((0, port, 0), (1, port + 100, port + 101)))


PAIRS = [
    pair(KEYS.cluster, ClusterValue(2, 3).encode(), 2),
    pair(KEYS.members, MembersValue(("n1", "n2"), ("n3",)).encode()),
    pair(KEYS.node("n1"), node("h1", 7000).encode()),
    pair(KEYS.node("n2"), node("h2", 7001).encode()),
    pair(KEYS.replicas(0), ReplicasValue(("n1", "n2"), "n1").encode()),
    pair(KEYS.replicas(1), ReplicasValue(("n2", "n1"), "n2").encode(), 9),
    pair(KEYS.leader(0), LeaderValue(1, "n1", "a").encode()),
    pair(KEYS.leader(1), LeaderValue(4, "n1", "b").encode(), 17),
]


def test_all_is_read() -> None:
    found = map_of(KEYS, PAIRS)
    assert found.cluster == ClusterValue(2, 3)
    assert (found.groups, found.wanted) == (2, 3)
    assert found.members == MembersValue(("n1", "n2"), ("n3",))
    assert found.nodes == {"n1": node("h1", 7000), "n2": node("h2", 7001)}
    assert found.replicas[1] == ReplicasValue(("n2", "n1"), "n2")
    assert found.leaders[1] == LeaderValue(4, "n1", "b")
    assert found.revisions[KEYS.leader(1)] == 17
    assert found.revisions[KEYS.cluster] == 2


def test_events_change_it() -> None:
    found = map_of(KEYS, PAIRS)
    new = changed(found, KEYS, [Event(pair(KEYS.leader(1), LeaderValue(5, "n2", "c").encode(), 30))])
    assert new.leaders == {**found.leaders, 1: LeaderValue(5, "n2", "c")}
    assert new.revisions[KEYS.leader(1)] == 30
    assert found.leaders[1].epoch == 4, "the old one has not changed"
    every = [Event(pair(each.key), is_delete=True) for each in PAIRS]
    assert changed(found, KEYS, every) == SlotMap()
    assert changed(found, KEYS, [Event(pair(KEYS.map[0] + b"later/x", b"of a newer Flin"))]).nodes == found.nodes
    assert changed(found, KEYS, [Event(pair(KEYS.node("n1") + b"/n2", b"likewise"))]).nodes == found.nodes


def test_keys_of_groups_that_are_not_there_are_refused_till_they_go() -> None:
    """They made a node end: it was to have a process for the group."""
    found = map_of(KEYS, PAIRS)
    for key, value in ((KEYS.replicas(2), ReplicasValue(("n1",))), (KEYS.leader(2), LeaderValue(1, "n1", "a"))):
        with pytest.raises(CorruptionError, match=f"^etcd: {key.decode()}: .*there are 2 groups"):
            map_of(KEYS, [*PAIRS, pair(key, value.encode())])
        assert changed(found, KEYS, [Event(pair(key), is_delete=True)]) == found


def test_a_group_that_was_accepted_while_nobody_knew_how_many_there_are_can_go() -> None:
    stray = pair(KEYS.replicas(2), ReplicasValue(("n1",)).encode())
    gone = changed(map_of(KEYS, PAIRS), KEYS, [Event(pair(KEYS.cluster), is_delete=True)])
    there = changed(gone, KEYS, [Event(stray), Event(PAIRS[0])])
    assert 2 in there.replicas
    assert changed(there, KEYS, [Event(pair(stray.key), is_delete=True)]) == map_of(KEYS, PAIRS)
    with pytest.raises(CorruptionError, match="there are 2 groups"):
        changed(gone, KEYS, [Event(stray)], 2)


def test_what_is_understood_of_a_map() -> None:
    wrong = [pair(KEYS.leader(1), b"{"), pair(KEYS.replicas(7), ReplicasValue(("n1",)).encode())]
    found, errors = understood(KEYS, [*PAIRS[:-1], *wrong])
    assert found == map_of(KEYS, PAIRS[:-1])
    assert {*errors} == {each.key for each in wrong}


@pytest.mark.parametrize("groups", [1, 3])
def test_the_number_of_groups_never_changes(groups: int) -> None:
    found = map_of(KEYS, PAIRS, 2)
    other = pair(KEYS.cluster, ClusterValue(groups, 3).encode())
    with pytest.raises(CorruptionError, match="2 groups, and never"):
        changed(found, KEYS, [Event(other)])
    with pytest.raises(CorruptionError):
        map_of(KEYS, [other, *PAIRS[1:]], 2)
    gone = changed(found, KEYS, [Event(pair(KEYS.cluster), is_delete=True)], 2)
    assert gone.cluster is None
    with pytest.raises(CorruptionError):
        changed(gone, KEYS, [Event(other)], 2)
    assert changed(gone, KEYS, [Event(PAIRS[0])], 2) == found


@pytest.mark.parametrize(
    "wrong",
    [
        pair(KEYS.cluster, b"{}"),
        pair(KEYS.leader(1), b"\xff"),
        pair(KEYS.leaders[0] + b"x", LeaderValue(1, "n1", "a").encode()),
        pair(KEYS.nodes[0] + b"\xff", node("h", 1).encode()),
    ],
)
def test_what_is_none_is_told(wrong: Pair) -> None:
    with pytest.raises(CorruptionError):
        map_of(KEYS, [wrong])


def test_the_topology_of_a_replica() -> None:
    ids = {(name, group): client_id("c1", name, group) for name in ("n1", "n2") for group in (0, 1)}
    assert len({*ids.values()}) == 4
    found = topology_of(map_of(KEYS, PAIRS), "c1", "n2", 1, away=["n1"])
    assert found.nodes == (
        Node(ids["n1", 0], "h1", 7000, 0, 8191, is_away=True),
        Node(ids["n2", 0], "h2", 7001, 0, 8191, replica_of=ids["n1", 0]),
        Node(ids["n1", 1], "h1", 7100, 8192, 16383, 7101, is_away=True),
        Node(ids["n2", 1], "h2", 7101, 8192, 16383, 7102, replica_of=ids["n1", 1]),
    )
    assert found.own == 3


def test_groups_without_a_leader_and_leaders_that_are_not_listed() -> None:
    without = map_of(KEYS, PAIRS[:-1])
    found = topology_of(without, "c1", "n1", 1)
    assert {each.replica_of for each in found.nodes[2:]} == {NOBODY}
    moved = pair(KEYS.replicas(0), ReplicasValue(("n2",), "n2").encode())
    found = topology_of(map_of(KEYS, [*PAIRS, moved]), "c1", "n1", 0)
    assert [each.host for each in found.nodes[:2]] == ["h1", "h2"], "it leads till it has handed over"
    gone = changed(map_of(KEYS, PAIRS), KEYS, [Event(pair(KEYS.node("n1")), is_delete=True)])
    found = topology_of(gone, "c1", "n2", 0)
    assert [(each.host, each.replica_of) for each in found.nodes] == [("h2", NOBODY), ("h2", NOBODY)]


def test_a_replica_that_the_map_does_not_name() -> None:
    found = map_of(KEYS, PAIRS)
    with pytest.raises(ValueError, match="the server is node -1 of 4"):
        topology_of(found, "c1", "n3", 0)
    own = Node("", "h3", 7002, 0, 0)
    topology = topology_of(found, "c1", "n3", 0, own=own)
    assert topology.own_node == replace(
        own, id=client_id("c1", "n3", 0), last=8191, replica_of=client_id("c1", "n1", 0)
    )
    with pytest.raises(ValueError, match="not made yet"):
        topology_of(SlotMap(), "c1", "n1", 0)
    with pytest.raises(ValueError, match="no node has group 0"):
        topology_of(map_of(KEYS, PAIRS[:1]), "c1", "n1", 1)
