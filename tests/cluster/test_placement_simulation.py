"""Whole clusters in virtual time: nothing is lost, and all comes to rest; each broken rule is found out there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import pytest

from flin.cluster.etcd.key_value import Put
from flin.cluster.keys import AppliedValue, LeaderValue, ReplicasValue
from flin.cluster.node.controller import Controller
from flin.cluster.node.moves import Scene, advanced
from tests.cluster.placement_simulation import KEYS, Node, Seen, World, main, story


def test_fourteen_nodes() -> None:
    world = World(12, 8, 7)
    story(world, 2, 1)
    assert world.broken == []
    assert world.uneven() <= 1
    assert world.moves > 8


def test_nodes_whose_disks_are_full() -> None:
    """One that says so, and one that finds it out: neither gets anything, though the acting controller is killed and a
    rack burns. Once they have room, all is even."""
    world = World(10, 10, 5)
    world.settle()
    full = [world.join(), world.join()]
    full[0].free_bytes, full[1].free_bytes = 0, 999
    world.settle()
    assert world.broken == []
    assert [*world.found.refused] == [full[1].name]
    tried = world.moves
    world.kill_controller()
    world.settle()
    assert world.moves == tried, "nobody is asked in vain again"
    world.destroy("r3")
    world.settle()
    assert world.broken == []
    held = Counter(name for value in world.found.replicas.values() for name in value.nodes)
    assert not any(held[node.name] for node in full)
    for node in full:
        node.free_bytes = 10_000
    world.settle()
    assert world.broken == []
    assert world.found.refused == {}
    assert world.uneven() <= 1


class TakesPlaces(Controller):
    """It does not wait until a leader hands over."""

    def _act(self, now: float) -> None:
        super()._act(now)
        for group, value in self.map.replicas.items():
            leader = self.map.leaders.get(group)
            told = self._store.get(KEYS.applied(group, value.preferred), timeout=1).pairs
            if leader is not None and told and leader.node != value.preferred:
                start = AppliedValue.decode(told[0].value).start
                put = Put(KEYS.leader(group), LeaderValue(leader.epoch + 1, value.preferred, start).encode())
                self._store.txn((), [put], timeout=1)


class RemovesBeforeOthersAreReady(Node):
    def held(self, seen: Seen) -> set[int]:
        return super().held(seen) - seen.going.get(self.name, set())

    def may_be_removed(self, value: ReplicasValue, leader: str, there: set[str]) -> bool:
        return leader != self.name


def counts_at_once(value: ReplicasValue, leader: str, there: Collection[str], scene: Scene) -> ReplicasValue:
    return advanced(value, leader, {*there, value.coming}, scene)


def gives_away_first(value: ReplicasValue, leader: str, there: Collection[str], scene: Scene) -> ReplicasValue:
    """So a second move of the group goes below the number of copies."""
    if value.going and value.going != leader:
        value = replace(value, nodes=tuple(node for node in value.nodes if node != value.going))
    return advanced(value, leader, there, scene)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (TakesPlaces, "has 2 leaders"),
        (RemovesBeforeOthersAreReady, "removes its copy of group"),
        (counts_at_once, "copies of group"),
        (gives_away_first, "copies of group"),
    ],
)
def test_broken_rules_are_found(broken: object, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    for seed in range(1, 20):
        world = World(8, 8, seed)
        if isinstance(broken, type) and issubclass(broken, Controller):
            world = World(8, 8, seed, controller=broken)
        elif isinstance(broken, type) and issubclass(broken, Node):
            world = World(8, 8, seed, node=broken)
        else:
            monkeypatch.setattr("flin.cluster.node.controller.advanced", broken)
        story(world, 2, 1)
        if found := [each for each in world.broken if expected in each]:
            break
    assert found


@pytest.mark.slow
def test_fifty_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nodes", "50", "--seed", "3"]) == 0, capsys.readouterr().out
