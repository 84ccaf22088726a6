"""flin/cluster/keys.py: names that sort, ranges that hold what they should, values in both directions."""

from __future__ import annotations

import pytest

from flin.cluster.etcd.key_value import Pair
from flin.cluster.keys import (
    AliveValue,
    AppliedValue,
    ClusterValue,
    ControllerValue,
    Keys,
    LeaderValue,
    LeaseValue,
    MembersValue,
    NodeValue,
    RefusedValue,
    ReplicasValue,
    RoomValue,
    check_name,
    entry_number_of,
    group_of,
    name_of,
)
from flin.errors import CorruptionError

KEYS = Keys("main")


def holds(bounds: tuple[bytes, bytes], key: bytes) -> bool:
    return bounds[0] <= key < bounds[1]


def test_names_and_their_parts() -> None:
    assert KEYS.leader(3) == b"/flin/main/map/leader/03"
    assert group_of(KEYS.lease(63)) == 63
    assert entry_number_of(KEYS.entry(5, 0x1F00)) == 0x1F00
    assert name_of(KEYS.applied(1, "node-2.a")) == "node-2.a"


def test_entries_sort_as_their_numbers_do() -> None:
    numbers = [0, 1, 9, 10, 255, 256, 1 << 40]
    keys = [KEYS.entry(7, number) for number in numbers]
    assert sorted(keys) == keys


def test_ranges_hold_their_own_alone() -> None:
    mapped = [KEYS.cluster, KEYS.members, KEYS.leader(0), KEYS.node("a"), KEYS.replicas(0)]
    others = [KEYS.alive("a"), KEYS.applied(0, "a"), KEYS.controller, KEYS.lease(0), KEYS.entry(0, 1)]
    assert all(holds(KEYS.all, key) for key in mapped + others)
    assert all(holds(KEYS.map, key) for key in mapped)
    assert not any(holds(KEYS.map, key) for key in others)
    assert holds(KEYS.log(1), KEYS.entry(1, (1 << 64) - 1))
    assert not holds(KEYS.log(1), KEYS.entry(2, 0))
    assert not holds(KEYS.log(1), KEYS.entry(11, 0))
    assert not holds(Keys("mai").all, KEYS.cluster)


VALUES = [
    ClusterValue(6, 3),
    MembersValue(("node1",), ("node2",)),
    LeaderValue(1, "node1", "f00d"),
    LeaseValue(1, 7, 9),
    NodeValue("h", ((0, 6380, 0), (1, 6480, 7480)), "h:8080", "https://h:9180", "h:9080", "1.0", (("rack", "a"),)),
    NodeValue("h", ()),
    ReplicasValue(("b", "a", "c"), "a"),
    AliveValue(3, "f00d"),
    AliveValue(3, "f00d", 1 << 40),
    AppliedValue(9, "f00d"),
    AppliedValue(9, "", has_room=False, refusal="its disk is full", needs_bytes=7),
    RefusedValue(3, "its disk is full", 7),
    ControllerValue("node1", "f00d", 5),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.what)
def test_values_are_read_as_they_were_written(value: LeaderValue) -> None:
    assert type(value).decode(value.encode()) == value
    assert type(value).decode(value.encode()[:-1] + b',"newer":[1]}') == value


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b"null", b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_value_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptionError):
        LeaderValue.decode(data)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (LeaderValue, b'{"epoch":"1","node":"a","start":"s"}'),
        (LeaderValue, b'{"epoch":true,"node":"a","start":"s"}'),
        (ReplicasValue, b'{"nodes":"abc"}'),
        (ReplicasValue, b'{"nodes":["a",1]}'),
        (ReplicasValue, b'{"nodes":["a"],"is_pinned":0}'),
        (NodeValue, b'{"host":"h","ports":[[1,2]]}'),
        (NodeValue, b'{"host":"h","ports":[7]}'),
        (RoomValue, b'{"used_share":"0.9"}'),
        (AppliedValue, b'{"index":1.5,"start":""}'),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_key(kind: type[LeaderValue], data: bytes) -> None:
    with pytest.raises(CorruptionError, match=r"^etcd: /flin/c/x.* is no such thing"):
        kind.of(Pair(b"/flin/c/x", data, 1, 1, 1))
    assert RoomValue.decode(b'{"used_share":1}') == RoomValue(1.0)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (ClusterValue, b'{"groups":0,"replicas":3}'),
        (ClusterValue, b'{"groups":1000000000,"replicas":3}'),
        (ClusterValue, b'{"groups":6,"replicas":0}'),
        (RoomValue, b"[]"),
        (RoomValue, b'{"used_share":NaN}'),
        (RoomValue, b'{"used_share":-1}'),
        (LeaderValue, b'{"epoch":9223372036854775808,"node":"a","start":"s"}'),
        (LeaderValue, b'{"epoch":-7,"node":"a","start":"s"}'),
        (LeaderValue, rb'{"epoch":1,"node":"\ud800","start":"s"}'),
        (ReplicasValue, b'{"nodes":["a"],"coming":"a/b"}'),
        (ReplicasValue, rb'{"nodes":["\ud800"]}'),
        (NodeValue, b'{"host":"","ports":[]}'),
        (NodeValue, rb'{"host":"h\r\n+OK","ports":[]}'),
        (NodeValue, b'{"host":"h","ports":[[0,65536,0]]}'),
    ],
)
def test_a_value_that_cannot_be_is_refused(kind: type[LeaderValue], data: bytes) -> None:
    """Each ended a replica, or a node, or would have."""
    with pytest.raises(CorruptionError):
        kind.decode(data)


@pytest.mark.parametrize(
    "end", [b"", b"-1", b"+1", b"1", b"1_", b" 1", b"007", b"16384", b"a", b"\xff", b"0000000000000ag0"]
)
def test_keys_that_no_flin_has_put(end: bytes) -> None:
    for part in (group_of, entry_number_of):
        with pytest.raises(CorruptionError, match=r"^etcd: /flin/main/map/x/"):
            part(b"/flin/main/map/x/" + end)
    if not end[:1].isalnum():
        with pytest.raises(CorruptionError, match="names no node"):
            name_of(b"/flin/main/alive/" + end)


def test_names_stand_where_flin_puts_them() -> None:
    """A key below another one would speak for a node that has not put it."""
    keys = Keys("main")
    of_nodes = (keys.alive("a"), keys.joining_node("a"), keys.node("a"), keys.refused("a"), keys.applied(3, "a"))
    assert {*map(name_of, of_nodes)} == {"a"}
    for key in of_nodes:
        with pytest.raises(CorruptionError, match="names no node"):
            name_of(key.removesuffix(b"a") + b"x/a")


def test_names_cannot_leave_their_place() -> None:
    assert check_name("node-1.a_B") == "node-1.a_B"
    for name in ("", "a/b", ".", "..", "-x", "a b", "ä", "a" * 65, "a\n"):
        with pytest.raises(ValueError, match="letters, digits"):
            check_name(name)
