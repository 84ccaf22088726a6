"""A cluster as its nodes see it: what lies under `map/` in etcd, as one value; and of that the topology for clients.

All of it is read by one `get` and kept up by one watch, so nodes that have seen the same changes send clients to the
same places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha1
from typing import Any, Final

from flin.cluster.etcd.key_value import Event, Pair
from flin.cluster.keys import (
    ClusterValue,
    Keys,
    LeaderValue,
    MembersValue,
    NodeValue,
    RefusedValue,
    ReplicasValue,
    RoomValue,
    group_of,
    name_of,
)
from flin.cluster.workers.groups import slots_of
from flin.errors import CorruptionError
from flin.net.cluster.topology import NOBODY, Node, Topology

LEAVING: Final = "leaving"
"""The label of a node that is to give everything away."""

RACK: Final = "rack"
"""The label that says what a node may be lost together with."""


@dataclass(frozen=True, slots=True)
class SlotMap:
    """Unchanging; `changed` gives another one."""

    cluster: ClusterValue | None = None
    """None: nobody has made the cluster yet."""
    members: MembersValue = field(default_factory=MembersValue)
    room: RoomValue = field(default_factory=RoomValue)
    nodes: Mapping[str, NodeValue] = field(default_factory=dict)
    replicas: Mapping[int, ReplicasValue] = field(default_factory=dict)
    leaders: Mapping[int, LeaderValue] = field(default_factory=dict)
    refused: Mapping[str, RefusedValue] = field(default_factory=dict)
    """Nodes that are given no copies for now."""
    revisions: Mapping[bytes, int] = field(default_factory=dict)
    """When each key was changed last, for transactions that rest on it."""

    @property
    def groups(self) -> int:
        return 0 if self.cluster is None else self.cluster.groups

    @property
    def wanted(self) -> int:
        """As many copies as there are to be of each group."""
        return 0 if self.cluster is None else self.cluster.replicas

    def holders(self, group: int) -> tuple[str, ...]:
        """The nodes that are to have a copy."""
        return self.replicas[group].nodes if group in self.replicas else ()


def is_leaving(value: NodeValue) -> bool:
    return (LEAVING, "yes") in value.labels


def leader_of(found: SlotMap, group: int) -> str:
    """Who leads a group, or did last; empty: nobody ever has."""
    return found.leaders[group].node if group in found.leaders else ""


def map_of(keys: Keys, pairs: Iterable[Pair], groups: int = 0) -> SlotMap:
    """What a `get` of `keys.map` has found. CorruptionError if a value is none. groups: how many the cluster has, for
    whoever knows."""
    return changed(SlotMap(), keys, (Event(pair) for pair in pairs), groups)


def understood(keys: Keys, pairs: Sequence[Pair], groups: int = 0) -> tuple[SlotMap, dict[bytes, CorruptionError]]:
    """What `map_of` gives of the pairs that are something, and by key why the others are not."""
    with suppress(CorruptionError):
        return map_of(keys, pairs, groups), {}
    found, wrong = SlotMap(), {}
    for pair in pairs:  # each copies the map: only where something is wrong
        try:
            found = changed(found, keys, (Event(pair),), groups)
        except CorruptionError as error:
            wrong[pair.key] = error
    return found, wrong


def changed(old: SlotMap, keys: Keys, events: Iterable[Event], groups: int = 0) -> SlotMap:
    """The map after these events of a watch of `keys.map`. CorruptionError if a value is none. groups: as above."""
    cluster, members, room = old.cluster, old.members, old.room
    nodes, replicas, leaders, refused = dict(old.nodes), dict(old.replicas), dict(old.leaders), dict(old.refused)
    revisions = dict(old.revisions)
    count = groups or old.groups
    for pair, is_delete in events:
        key = pair.key
        if not is_delete:
            revisions[key] = pair.mod_revision
        elif revisions.pop(key, None) is None:
            continue  # it was none of the map's
        if key == keys.cluster:
            cluster = None if is_delete else _cluster(keys, pair, count)
            count = count if cluster is None else cluster.groups
        elif key == keys.members:
            members = MembersValue() if is_delete else MembersValue.of(pair)
        elif key == keys.room:
            room = RoomValue() if is_delete else RoomValue.of(pair)
        elif _is_in(keys.nodes, key):
            _set(nodes, name_of(key), None if is_delete else NodeValue.of(pair))
        elif _is_in(keys.replica_sets, key):
            _set(
                replicas,
                group_of(key) if is_delete else _group(pair, count),
                None if is_delete else ReplicasValue.of(pair),
            )
        elif _is_in(keys.leaders, key):
            _set(
                leaders,
                group_of(key) if is_delete else _group(pair, count),
                None if is_delete else LeaderValue.of(pair),
            )
        elif _is_in(keys.refusals, key):
            _set(refused, name_of(key), None if is_delete else RefusedValue.of(pair))
    return SlotMap(cluster, members, room, nodes, replicas, leaders, refused, revisions)


def endpoints_of(found: SlotMap, node: str) -> tuple[str, ...]:
    """Where a process of this node asks etcd: the node's own member first, those that only learn last (they answer
    nothing). Empty: no node runs a member."""
    members = {name: value.etcd for name, value in found.nodes.items() if value.etcd}
    return tuple(members[name] for name in sorted(members, key=lambda name: _rank(found, name, node)))


def _rank(found: SlotMap, name: str, own: str) -> tuple[bool, bool, str]:
    return name in found.members.learning, name != own, name


def _cluster(keys: Keys, pair: Pair, groups: int) -> ClusterValue:
    """groups: as many as were known before; 0: none were."""
    found = ClusterValue.of(pair)
    if groups not in (0, found.groups):
        reason = f"the cluster has {groups} groups, and never {found.groups}"
        raise CorruptionError(f"etcd: {keys.cluster.decode()}", 0, reason)
    return found


def _group(pair: Pair, count: int) -> int:
    """The one that a key names. count: how many there are; 0: nobody knows. The cluster stands before all groups, in
    lists and in time."""
    group = group_of(pair.key)
    if 0 < count <= group:
        raise CorruptionError(f"etcd: {pair.key.decode()}", 0, f"there are {count} groups")
    return group


def _is_in(place: tuple[bytes, bytes], key: bytes) -> bool:
    """Keys of a newer Flin are in none, and are passed over."""
    return place[0] <= key < place[1] and b"/" not in key[len(place[0]) :]


def _set(values: dict[Any, Any], name: Any, value: Any) -> None:
    if value is None:
        values.pop(name, None)
    else:
        values[name] = value


def client_id(cluster: str, node: str, group: int) -> str:
    """The id of a replica as clients know nodes: 40 hexadecimal digits, the same as long as the cluster lives."""
    return sha1(f"{cluster}/{node}/{group}".encode(), usedforsecurity=False).hexdigest()


def topology_of(
    found: SlotMap, cluster: str, node: str, group: int, away: Iterable[str] = (), own: Node | None = None
) -> Topology:
    """What the replica of a group on a node tells its clients. cluster: its name. away: nodes that do not show
    themselves.

    own: the replica itself as it knows that (its id and slots do not matter), for as long as the map does not name it:
    a node that is starting, or is to give its copy away. ValueError if there is no such cluster, or if it is not named
    and not given."""
    if found.cluster is None:
        raise ValueError("the cluster is not made yet")
    away = set(away)
    nodes: list[Node] = []
    place = -1
    for number in range(found.groups):
        first, last = slots_of(number, found.groups)
        leader = found.leaders[number].node if number in found.leaders else ""
        listed = found.replicas[number].nodes if number in found.replicas else ()
        if leader and leader not in listed:
            listed = (leader, *listed)
        rows = {name: _node_of(found, name, number) for name in listed}
        known = {name: row for name, row in rows.items() if row is not None}
        if number == group and node not in known and own is not None:
            known[node] = own
        if not known:
            raise ValueError(f"no node has group {number}")
        leader_id = client_id(cluster, leader, number) if leader in known else NOBODY
        for name in sorted(known, key=lambda name: (name != leader, name)):
            if (name, number) == (node, group):
                place = len(nodes)
            nodes.append(
                replace(
                    known[name],
                    id=client_id(cluster, name, number),
                    first=first,
                    last=last,
                    replica_of="" if name == leader else leader_id,
                    is_away=name in away,
                )
            )
    return Topology(tuple(nodes), place)


def _node_of(found: SlotMap, name: str, group: int) -> Node | None:
    """Its address, for clients; None: it has not told one."""
    value = found.nodes.get(name)
    for number, port, tls_port in value.ports if value is not None else ():
        if number == group and value is not None:
            return Node("", value.host, port or tls_port, 0, 0, tls_port)
    return None
