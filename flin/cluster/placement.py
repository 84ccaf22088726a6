"""Which nodes hold which groups, and who should lead: a pure function of what is known of the nodes.

Nodes are chosen by *rendezvous hashing*: each node has a weight for each group, a hash of both names, and the heaviest
hold it. So a node that comes or goes changes only what it gets or had. Leaders are then spread evenly, with as few
changes as that takes: a change of leader is a pause for clients.

A node that is away keeps its place until it has been away for long: most come back, and a new copy costs a whole
database. Its groups are led by others meanwhile.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from flin.cluster.keys import ReplicasValue

REPLACE_SECONDS: Final = 300.0
"""How long a node is away before others get what it had: longer than a restart of its machine."""


def placed(
    groups: int,
    replicas: int,
    nodes: Collection[str],
    alive: Collection[str],
    lost: Collection[str],
    before: Mapping[int, ReplicasValue],
) -> dict[int, ReplicasValue]:
    """The replicas of each group, and its preferred leader; nothing for any group where no node is there to hold it.

    alive: of the nodes. lost: those that were away for too long; they keep a place if nobody can take it. before: what
    is so now."""
    held = {group: _holders(group, replicas, nodes, lost, before.get(group)) for group in range(groups)}
    if not nodes:
        return {}
    leading = _spread(held, set(alive), {group: value.preferred for group, value in before.items()})
    return {group: ReplicasValue(held[group], leading.get(group, "")) for group in held}


def weight(group: int, node: str) -> bytes:
    return blake2b(f"{group}/{node}".encode(), digest_size=8).digest()


def _holders(
    group: int, replicas: int, nodes: Collection[str], lost: Collection[str], before: ReplicasValue | None
) -> tuple[str, ...]:
    """In the order of their ranks. A copy that is there stays, beyond what hashing says: moving it would buy nothing
    but evenness, and it needs a node with all the data meanwhile."""
    ranked = sorted(nodes, key=lambda node: (node in lost, weight(group, node)))
    kept = [node for node in (before.nodes if before else ()) if node in nodes and node not in lost]
    chosen = kept[:replicas] + [node for node in ranked if node not in kept][: max(0, replicas - len(kept))]
    return tuple(node for node in ranked if node in chosen)


def _spread(held: Mapping[int, Sequence[str]], alive: Collection[str], before: Mapping[int, str]) -> dict[int, str]:
    """Who should lead each group: as even as can be, with the leaders that are preferred already where that is so."""
    leading: dict[int, str] = {}
    loads = Counter({node: 0 for nodes in held.values() for node in nodes if node in alive})
    for group, nodes in held.items():
        if before.get(group) in alive and before[group] in nodes:
            leading[group] = before[group]
            loads[before[group]] += 1
    for group, nodes in held.items():
        able = [node for node in nodes if node in alive]
        if group not in leading and able:
            leading[group] = min(able, key=lambda node: (loads[node], nodes.index(node)))
            loads[leading[group]] += 1
    while chain := _lighter(held, leading, loads):
        for group, node in chain:
            loads[leading[group]] -= 1
            loads[node] += 1
            leading[group] = node
    return leading


def _lighter(
    held: Mapping[int, Sequence[str]], leading: Mapping[int, str], loads: Mapping[str, int]
) -> list[tuple[int, str]]:
    """Groups and their new leaders that take one from a node that leads the most and give one to a node that leads at
    least two fewer, perhaps through others; [] if none can. The shortest such chain."""
    if not loads:
        return []
    most = max(loads.values())
    reached: dict[str, list[tuple[int, str]]] = {node: [] for node in loads if loads[node] == most}
    waiting = deque(reached)
    while waiting:
        node = waiting.popleft()
        if loads[node] <= most - 2:
            return reached[node]
        for group, leader in leading.items():
            for other in held[group] if leader == node else ():
                if other in loads and other not in reached:
                    reached[other] = [*reached[node], (group, other)]
                    waiting.append(other)
    return []
