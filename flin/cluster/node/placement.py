"""Which nodes hold which groups, and who should lead: a pure function of what is known of the nodes.

Copies are spread so that no node has more than one above another, and no two copies of a group lie in one rack, where
that can be. Between nodes with equally many, *rendezvous hashing* chooses: each node has a weight for each group, a
hash of both names, and the heaviest gets it. What is even stays as it is, so a node that comes gets just its share, and
one that goes gives away just what it had.

A copy takes the place of another one by a *move* (moves.py), which this begins, few at a time: the data of a whole
group goes over the network meanwhile, and etcd keeps its log. A group that has fewer copies than it should gets one at
once. A node that is away keeps its place until it has been away for long: most come back, and a new copy costs a whole
database. Its groups are led by others meanwhile, and what they would need to be even waits. A node without room on its
disk is given nothing, unless a group has too few copies and nobody else is there; what it has it may give.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

from flin.cluster.keys import ReplicasValue

REPLACE_SECONDS: Final = 300
"""How long a node is away before others get what it had: longer than a restart of its machine."""

MOVING_SHARE: Final = 4
"""One of so many nodes may get a copy at the same time. Another one gives it: half of them are left alone."""

MIN_MOVES: Final = 2

NOBODY: Final = ReplicasValue(())


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the nodes that stay in the cluster."""

    racks: Mapping[str, str]
    """All of them, and what each may be lost together with; empty: with no other one."""
    alive: Collection[str]
    lost: Collection[str] = ()
    """Those that were away for too long; they keep a place if nobody can take it."""
    full: Collection[str] = ()
    """Those that cannot take a copy."""

    @property
    def max_moves(self) -> int:
        return max(MIN_MOVES, len(self.alive) // MOVING_SHARE)


def standing(nodes: Iterable[str], alive: Collection[str] | None = None, lost: Collection[str] = ()) -> Standing:
    """Without racks. alive: None: all."""
    racks = dict.fromkeys(nodes, "")
    return Standing(racks, racks.keys() if alive is None else alive, lost)


def placed(groups: int, wanted: int, nodes: Standing, before: Mapping[int, ReplicasValue]) -> dict[int, ReplicasValue]:
    """The replicas of each group, the moves that should be under way, and who should lead; nothing for any group where
    no node is there to hold it. wanted: copies of each group. before: what is so now."""
    if not nodes.racks:
        return {}
    plan = _Plan(groups, wanted, nodes, before)
    plan.add_missing()
    plan.replace_bad()
    plan.part_racks()
    plan.make_even()
    held = {group: _ranked(group, {*value.nodes}, nodes.lost) for group, value in plan.values.items()}
    leading = _spread(_able(plan.values, held, set(nodes.alive)), {g: value.preferred for g, value in before.items()})
    return {
        group: replace(value, nodes=held[group], preferred=leading.get(group, ""))
        for group, value in plan.values.items()
    }


def weight(group: int, node: str) -> bytes:
    return blake2b(f"{group}/{node}".encode(), digest_size=8).digest()


def _ranked(group: int, nodes: Iterable[str], lost: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(nodes, key=lambda node: (node in lost, weight(group, node))))


class _Plan:
    """One decision. `values` is what it comes to; `after` who holds a group when all moves are done."""

    def __init__(self, groups: int, wanted: int, nodes: Standing, before: Mapping[int, ReplicasValue]) -> None:
        self.values = {group: before.get(group, NOBODY) for group in range(groups)}
        self._wanted = wanted
        self._nodes = nodes
        self._rack = {name: rack or f"/{name}" for name, rack in nodes.racks.items()}  # no label has a slash
        self._alive = {name for name in nodes.racks if name in nodes.alive and name not in nodes.lost}
        self._able = self._alive - {*nodes.full}
        self._after = {
            group: {*value.hosts} - {value.going} if value.is_moving else {*value.nodes}
            for group, value in self.values.items()
        }
        self._had: dict[str, set[int]] = {name: set() for name in self._alive}
        for group, names in self._after.items():
            for name in names & self._alive:
                self._had[name].add(group)
        moving = [value for value in self.values.values() if value.is_moving]
        self._busy = {name for value in moving for name in (value.coming, value.going)}
        self._left = nodes.max_moves - sum(bool(value.coming) for value in moving)

    # What must be.

    def add_missing(self) -> None:
        for group, value in self.values.items():
            while len(self._after[group]) < self._wanted:
                node = self._best(group, self._able) or self._best(group, self._alive)
                if node is None:
                    break
                self.values[group] = value = replace(value, nodes=(*value.nodes, node))
                self._give(group, node)

    def replace_bad(self) -> None:
        """Copies on nodes that leave or are lost, where most are bad first."""
        staying = self._nodes.racks.keys() - set(self._nodes.lost)
        bad = {
            group: [node for node in value.nodes if node not in staying]
            for group, value in self.values.items()
            if not value.is_moving
        }
        for group in sorted(bad, key=lambda group: -len(bad[group])):
            for node in sorted(bad[group], key=lambda name: name not in self._nodes.lost):
                if self._left > 0 and (node in self._nodes.lost or node not in self._busy):
                    taker = self._best(group, self._able - self._busy, node)
                    if taker is not None:
                        self._move(group, node, taker, is_pinned=False)
                        break
                if node not in self._nodes.racks and staying <= self._after[group]:  # nobody else is there
                    self.values[group] = replace(self.values[group], going=node)
                    break

    # What should be.

    def part_racks(self) -> None:
        """Copies that would be lost together."""
        for group in self.values:
            names = self._after[group]
            if self._left <= 0 or not self._is_settled(group) or not self._alike(names):
                continue
            racks = Counter(self._rack[name] for name in names)
            giving = [name for name in names - self._busy if racks[self._rack[name]] > 1]
            for node in sorted(giving, key=lambda name: -len(self._had[name])):
                taker = self._best(group, self._able - self._busy, node)
                if taker is not None and self._alike(names - {node} | {taker}) < self._alike(names):
                    self._move(group, node, taker)
                    break

    def make_even(self) -> None:
        while self._left > 0:
            move = self._direct() or (None if self._busy else self._indirect())
            if move is None:
                break
            self._move(*move)

    def _direct(self) -> tuple[int, str, str] | None:
        """A group, who has too many, and who has too few."""
        idle = sorted(self._alive - self._busy, key=lambda name: (len(self._had[name]), name))
        for giver in reversed(idle):
            for taker in idle:
                if len(self._had[giver]) - len(self._had[taker]) < 2:
                    break  # those after it have no fewer
                if taker in self._able and (groups := self._movable(giver, taker)):
                    return min(groups, key=lambda group: weight(group, taker)), giver, taker
            if len(self._had[giver]) - len(self._had[idle[0]]) < 2:
                break
        return None

    def _indirect(self) -> tuple[int, str, str] | None:
        """Where racks forbid what would be direct: the last link of the shortest chain from one who has the most to
        one who has at least two fewer. Then the chain is shorter. Nothing else moves meanwhile, or it would not be."""
        most = max(map(len, self._had.values()), default=0)
        waiting = deque(name for name in self._had if len(self._had[name]) == most)
        seen = {*waiting}
        while waiting:
            giver = waiting.popleft()
            for taker in self._able - seen:
                if groups := self._movable(giver, taker):
                    if len(self._had[taker]) <= most - 2:
                        return min(groups), giver, taker
                    seen.add(taker)
                    waiting.append(taker)
        return None

    # Words of the above.

    def _is_settled(self, group: int) -> bool:
        """It may be moved for order's sake: none of its copies is in danger, and nobody has said where they lie."""
        value = self.values[group]
        is_whole = self._alive >= self._after[group] and len(value.nodes) == self._wanted
        return is_whole and not value.is_moving and not value.is_pinned

    def _movable(self, giver: str, taker: str) -> list[int]:
        return [
            group
            for group in self._had[giver] - self._had[taker]
            if self._is_settled(group)
            and self._alike(self._after[group] - {giver} | {taker}) <= self._alike(self._after[group])
        ]

    def _alike(self, names: Collection[str]) -> int:
        """How many copies are in the rack of another one."""
        return len(names) - len({self._rack.get(name, name) for name in names})

    def _best(self, group: int, nodes: Collection[str], without: str = "") -> str | None:
        """Who should get a copy, if `without` has none any more."""
        names = self._after[group] - {without}
        racks = {self._rack.get(name, name) for name in names}
        held = {*self._after[group], *self.values[group].nodes}  # who gives one away has it till then
        able = [node for node in nodes if node not in held]
        order = [(self._rack[node] in racks, len(self._had[node]), weight(group, node), node) for node in able]
        return min(order)[-1] if order else None

    def _give(self, group: int, node: str) -> None:
        self._after[group].add(node)
        self._had[node].add(group)

    def _move(self, group: int, giver: str, taker: str, *, is_pinned: bool | None = None) -> None:
        value = self.values[group]
        pinned = value.is_pinned if is_pinned is None else is_pinned
        self.values[group] = replace(value, coming=taker, going=giver, is_pinned=pinned)
        self._give(group, taker)
        self._after[group].discard(giver)
        self._had.get(giver, set()).discard(group)
        self._busy |= {giver, taker}
        self._left -= 1


# Leaders.


def _able(
    values: Mapping[int, ReplicasValue], held: Mapping[int, Sequence[str]], alive: Collection[str]
) -> dict[int, list[str]]:
    """Who may lead each group: those that live, but one whose copy goes only if there is no other, and nobody else
    while the one is there that an operator has chosen."""
    found = {}
    for group, nodes in held.items():
        living = [node for node in nodes if node in alive]
        staying = [node for node in living if node != values[group].going] or living
        found[group] = [node for node in staying if node == values[group].chosen] or staying
    return found


def _spread(able: Mapping[int, Sequence[str]], before: Mapping[int, str]) -> dict[int, str]:
    """Who should lead each group: as even as can be, with the leaders that are preferred already where that is so, and
    with as few changes as that takes: each is a pause for clients."""
    leading: dict[int, str] = {}
    led: dict[str, set[int]] = {node: set() for nodes in able.values() for node in nodes}
    for group, nodes in able.items():
        if before.get(group) in nodes:
            leading[group] = before[group]
            led[before[group]].add(group)
    for group, nodes in able.items():
        if group not in leading and nodes:
            leading[group] = min(nodes, key=lambda node: (len(led[node]), nodes.index(node)))
            led[leading[group]].add(group)
    while chain := _lighter(able, led):
        for group, node in chain:
            led[leading[group]].remove(group)
            led[node].add(group)
            leading[group] = node
    return leading


def _lighter(able: Mapping[int, Sequence[str]], led: Mapping[str, Collection[int]]) -> list[tuple[int, str]]:
    """Groups and their new leaders that take one from a node that leads the most and give one to a node that leads at
    least two fewer, perhaps through others; [] if none can. The shortest such chain."""
    most = max(map(len, led.values()), default=0)
    if all(len(groups) >= most - 1 for groups in led.values()):
        return []
    reached: dict[str, list[tuple[int, str]]] = {node: [] for node, groups in led.items() if len(groups) == most}
    waiting = deque(reached)
    while waiting:
        node = waiting.popleft()
        if len(led[node]) <= most - 2:
            return reached[node]
        for group in sorted(led[node]):
            for other in able[group]:
                if other not in reached:
                    reached[other] = [*reached[node], (group, other)]
                    waiting.append(other)
    return []
