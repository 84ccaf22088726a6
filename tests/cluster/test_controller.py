"""The controller over the store in memory: one acts at a time, and what it decides too late changes nothing."""

from __future__ import annotations

from collections import Counter

from flin.cluster.controller import AWAY_SECONDS, LEAVING, Controller
from flin.cluster.key_value import Put
from flin.cluster.keys import AliveValue, Keys, MembersValue, NodeValue
from flin.cluster.lease import LEASE_SECONDS
from flin.cluster.memory_key_value import MemoryKeyValues
from flin.cluster.node_directory import NodeRecord
from flin.cluster.node_keys import begin, register
from flin.cluster.placement import REPLACE_SECONDS

KEYS = Keys("c1")


class Scene:
    """Nodes with a controller each, and a clock that stands still between steps."""

    def __init__(self) -> None:
        self.values = MemoryKeyValues()
        self.now = 100.0
        self.controllers: dict[str, Controller] = {}
        self.store = self.values.client()

    def add(self, name: str) -> Controller:
        record = NodeRecord(name, "c1", 6, 3)
        value = NodeValue("h", tuple((group, 7000 + group, 0) for group in range(6)))
        if self.controllers:
            register(self.store, KEYS, record, value, is_new=True)
        else:
            begin(self.store, KEYS, record, value)
        made = Controller(self.values.client(), KEYS, name, f"start-{name}", clock=lambda: self.now)
        self.controllers[name] = made
        return made

    def pass_seconds(self, seconds: float, *living: str) -> None:
        """Living nodes show themselves and take their steps, twice a second."""
        for count in range(int(seconds * 2)):
            self.now += 0.5
            for name in living:
                self.store.txn((), (Put(KEYS.alive(name), AliveValue(count, "s").encode()),), timeout=1)
            for name in living:
                self.controllers[name].step()

    def acting(self) -> list[str]:
        return [name for name, each in self.controllers.items() if each.is_acting]

    def led(self) -> Counter[str]:
        self.controllers["n3"].step()
        return Counter(value.preferred for value in self.controllers["n3"].map.replicas.values())


def three() -> Scene:
    scene = Scene()
    for name in ("n1", "n2", "n3"):
        scene.add(name)
        scene.pass_seconds(1, *scene.controllers)
    return scene


def test_the_first_node_holds_all_and_others_get_their_share() -> None:
    scene = Scene()
    scene.add("n1").step()
    assert {each.nodes for each in scene.controllers["n1"].map.replicas.values()} == {("n1",)}
    scene = three()
    assert scene.acting() == ["n1"]
    assert scene.led() == {"n1": 2, "n2": 2, "n3": 2}
    found = scene.controllers["n3"].map
    assert found.members == MembersValue(("n1", "n2", "n3"))
    assert all(sorted(each.nodes) == ["n1", "n2", "n3"] for each in found.replicas.values())


def test_another_one_takes_over_and_the_old_one_changes_nothing() -> None:
    scene = three()
    scene.pass_seconds(LEASE_SECONDS - 0.5, "n2", "n3")
    assert not scene.controllers["n2"].is_acting
    scene.pass_seconds(AWAY_SECONDS, "n2", "n3")
    assert scene.controllers["n2"].is_acting or scene.controllers["n3"].is_acting
    assert scene.led() == {"n2": 3, "n3": 3}
    before = scene.store.get(*KEYS.map, timeout=1).pairs
    # It had read before it stood still, and goes on with what it decided then.
    stale = scene.controllers["n1"]
    stale._act(scene.now)
    assert scene.store.get(*KEYS.map, timeout=1).pairs == before
    scene.pass_seconds(2, "n1", "n2", "n3")
    assert len(scene.acting()) == 1
    assert scene.led() == {"n1": 2, "n2": 2, "n3": 2}, "it has come back"


def test_a_lost_node_is_replaced_after_a_while() -> None:
    scene = three()
    scene.add("n4")
    scene.pass_seconds(10, "n1", "n2", "n3", "n4")
    assert {"n4"} & {name for each in scene.controllers["n3"].map.replicas.values() for name in each.nodes} == set()
    scene.pass_seconds(REPLACE_SECONDS - 30, "n2", "n3", "n4")
    assert scene.controllers["n3"].away() == ["n1"]
    assert all("n1" in each.nodes for each in scene.controllers["n3"].map.replicas.values())
    scene.pass_seconds(60, "n2", "n3", "n4")
    scene.controllers["n3"].step()
    assert {each.nodes[0:0] or tuple(sorted(each.nodes)) for each in scene.controllers["n3"].map.replicas.values()} == {
        ("n2", "n3", "n4")
    }


def test_one_that_leaves_gets_nothing() -> None:
    scene = three()
    value = scene.controllers["n3"].map.nodes["n1"]
    marked = NodeValue(value.host, value.ports, labels=((LEAVING, "yes"),))
    scene.store.txn((), (Put(KEYS.node("n1"), marked.encode()),), timeout=1)
    scene.pass_seconds(2, "n1", "n2", "n3")
    assert scene.led() == {"n2": 3, "n3": 3}
    assert all(sorted(each.nodes) == ["n2", "n3"] for each in scene.controllers["n3"].map.replicas.values())
