"""How a copy moves from one node to another: the steps of a move, and when a directory may go. Pure.

    nodes (a, c, d)                    the controller: b comes, a goes            (placement.py, or an operator)
    nodes (a, c, d)  + b, - a          b makes a copy, and follows the log; it may neither lead nor count
    nodes (a, b, c, d)     - a         b is abreast: it counts. If a leads, it hands over first
    nodes (b, c, d)                    enough others are there, and a does not lead: its process ends, its files go

Each line is a transaction that compares what it was made from. So nobody is without a copy that counted on somebody
who has none yet, whoever is killed at whatever moment: what is not done is done by the next controller, or by the node
when it is back. A node whose copy was lost with it need not agree. A node that says that it cannot make its copy (its
disk is full) is not waited for: all stays as it was, and another one may be chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from flin.cluster.keys import ReplicasValue

TAKER_SECONDS: Final = 60.0
"""A node that is to make a copy may be away for so long, as for a restart: what it has taken is there then. After that
another one is chosen."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a move is judged by."""

    staying: Mapping[str, float]
    """The nodes that stay in the cluster, and for how long each has not shown itself."""
    lost: Collection[str]
    """Nodes that are not waited for."""
    wanted: int
    """Copies of each group."""
    refusing: Collection[str] = ()
    """Nodes that say that they cannot make the copy that is to come to them."""

    @property
    def needed(self) -> int:
        """As many others must be there before a copy goes."""
        return min(self.wanted, len(self.staying))


def advanced(value: ReplicasValue, leader: str, there: Collection[str], scene: Scene) -> ReplicasValue:
    """Where a move has got to. leader: the node that leads the group, or led it last; there: the nodes whose copies
    are abreast of the log."""
    coming, going, nodes = value.coming, value.going, value.nodes
    if coming and coming in scene.refusing:
        coming = going = ""
    elif coming and coming in there:
        nodes, coming = (*nodes, coming), ""
    elif coming and (coming in scene.lost or scene.staying.get(coming, TAKER_SECONDS + 1) > TAKER_SECONDS):
        coming = going = ""
    if going and not coming and (going not in nodes or _may_go(going, nodes, leader, there, scene)):
        nodes, going = tuple(node for node in nodes if node != going), ""
    return replace(value, nodes=nodes, coming=coming, going=going)


def _may_go(going: str, nodes: Collection[str], leader: str, there: Collection[str], scene: Scene) -> bool:
    others = [node for node in nodes if node != going and node in there]
    return going != leader and (len(others) >= scene.needed or (going in scene.lost and bool(others)))


def begun(
    replicas: Mapping[int, ReplicasValue], group: int, giver: str, taker: str, able: Collection[str]
) -> ReplicasValue:
    """What an operator asks for: the copy on `giver` goes to `taker`. It stays there until it must be replaced. able:
    the nodes that can take one. ValueError if it cannot be."""
    value = replicas.get(group)
    if value is None:
        raise ValueError(f"there is no group {group}: there are 0 to {len(replicas) - 1}")
    if value.is_moving:
        raise ValueError(f"group {group} is moving already, from {value.going} to {value.coming or 'nobody'}: wait")
    if giver not in value.nodes:
        raise ValueError(f"{giver} has no copy of group {group}: {' '.join(value.nodes)} have")
    if taker in value.nodes:
        raise ValueError(f"{taker} has a copy of group {group} already")
    if taker not in able:
        raise ValueError(f"{taker} can take no copy: it is away, is leaving, or there is no such node")
    busy = {name for each in replicas.values() if each.is_moving for name in (each.coming, each.going)}
    for name in (giver, taker):
        if name in busy:
            raise ValueError(f"another copy is moving from or to {name}: one at a time for each node. Ask again later")
    return replace(value, coming=taker, going=giver, is_pinned=True)


def cancelled(replicas: Mapping[int, ReplicasValue], group: int) -> ReplicasValue:
    """An operator gives a move up: all stays where it is, until it must be replaced. ValueError if it cannot be."""
    value = replicas.get(group)
    if value is None or not value.is_moving:
        raise ValueError(f"group {group} is not moving")
    if not value.coming:
        raise ValueError(
            f"the new copy of group {group} counts already, so that on {value.going} goes: wait, then move it back"
        )
    return replace(value, coming="", going="", is_pinned=True)


def may_be_removed(value: ReplicasValue, node: str, leader: str, there: Collection[str], needed: int) -> bool:
    """Whether the directory of a node's copy is of no use any more. needed: copies that must be abreast elsewhere."""
    is_over = node not in value.hosts and node != leader
    return is_over and sum(other in there for other in value.nodes if other != node) >= needed
