"""The controller over the store in memory: one acts at a time, and what it decides too late changes nothing."""

from __future__ import annotations

from collections import Counter

from flin.cluster.etcd.key_value import Put
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.keys import AliveValue, AppliedValue, Keys, LeaderValue, MembersValue, NodeValue, ReplicasValue
from flin.cluster.node.controller import AWAY_SECONDS, Controller
from flin.cluster.node.node_directory import NodeRecord
from flin.cluster.node.node_keys import begin, register
from flin.cluster.replica.lease import LEASE_SECONDS
from flin.cluster.slot_map import LEAVING

KEYS = Keys("c1")
LOST = 30
"""Seconds after which a node is replaced."""


class Scene:
    """Nodes with a controller each, and a clock that stands still between steps."""

    def __init__(self) -> None:
        self.values = MemoryKeyValues()
        self.now = 100.0
        self.controllers: dict[str, Controller] = {}
        self.store = self.values.client()
        self.slow: set[str] = set()
        """Nodes whose copies that do not count yet are not abreast."""
        self.stuck: set[int] = set()
        """Groups whose leaders do not hand over."""

    def add(self, name: str) -> Controller:
        record = NodeRecord(name, "c1", 6, 3)
        value = NodeValue("h", tuple((group, 7000 + group, 0) for group in range(6)))
        if self.controllers:
            register(self.store, KEYS, record, value, is_new=True)
        else:
            begin(self.store, KEYS, record, value)
        made = Controller(
            self.values.client(), KEYS, name, f"start-{name}", clock=lambda: self.now, replace_seconds=LOST
        )
        self.controllers[name] = made
        return made

    def pass_seconds(self, seconds: float, *living: str) -> None:
        """Living nodes show themselves and take their steps, twice a second."""
        for count in range(int(seconds * 2)):
            self.now += 0.5
            for name in living:
                self.store.txn((), (Put(KEYS.alive(name), AliveValue(count, "s").encode()),), timeout=1)
                self._show_copies(name, count)
            for name in living:
                self.controllers[name].step()

    def _show_copies(self, name: str, count: int) -> None:
        """As the replicas of a node do; they also hand over to who should lead."""
        for group, value in self.replicas().items():
            if name in value.hosts:
                applied = AppliedValue(count, "s", is_abreast=name in value.nodes or name not in self.slow)
                self.store.txn((), (Put(KEYS.applied(group, name), applied.encode()),), timeout=1)
            if name == value.preferred and name not in self.slow and group not in self.stuck:
                led = Put(KEYS.leader(group), LeaderValue(1, name, "s").encode())
                self.store.txn((), (led,), timeout=1)

    def replicas(self) -> dict[int, ReplicasValue]:
        pairs = self.store.get(*KEYS.replica_sets, timeout=1).pairs
        return {group: ReplicasValue.decode(pair.value) for group, pair in enumerate(pairs)}

    def held(self) -> Counter[str]:
        return Counter(name for value in self.replicas().values() for name in value.nodes)

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


def test_a_node_that_comes_gets_its_share_by_moves() -> None:
    scene = three()
    scene.add("n4")
    scene.slow = {"n4"}
    scene.pass_seconds(10, *scene.controllers)
    moving = [value for value in scene.replicas().values() if value.is_moving]
    assert [value.coming for value in moving] == ["n4"], "one at a time for each node"
    assert scene.held() == {"n1": 6, "n2": 6, "n3": 6}, "it is not abreast"
    scene.slow = set()
    scene.pass_seconds(40, *scene.controllers)
    assert sorted(scene.held().values()) == [4, 4, 5, 5]
    assert not any(value.is_moving for value in scene.replicas().values())
    assert sorted(scene.led().values()) == [1, 1, 2, 2]


def test_one_that_leads_hands_over_before_its_copy_goes() -> None:
    scene = three()
    scene.pass_seconds(2, *scene.controllers)
    scene.stuck = {*range(6)}
    leaders = {group: value.preferred for group, value in scene.replicas().items()}
    scene.add("n4")
    scene.pass_seconds(30, *scene.controllers)
    waiting = {group: value for group, value in scene.replicas().items() if value.is_moving}
    assert waiting
    for group, value in waiting.items():
        assert value.going == leaders[group] != value.preferred
        assert {value.going, "n4"} <= {*value.nodes}
    scene.stuck = set()
    scene.pass_seconds(30, *scene.controllers)
    assert not any(value.is_moving for value in scene.replicas().values())


def test_a_move_to_one_that_dies_is_given_up_and_another_one_is_chosen() -> None:
    scene = three()
    scene.add("n4")
    scene.slow = {"n4", "n5"}
    scene.pass_seconds(3, *scene.controllers)
    assert [value.coming for value in scene.replicas().values() if value.coming] == ["n4"]
    scene.pass_seconds(LOST - 5, "n1", "n2", "n3")
    assert [value.coming for value in scene.replicas().values() if value.coming] == ["n4"], "it may be restarting"
    scene.add("n5")
    scene.pass_seconds(40, "n1", "n2", "n3", "n5")
    assert [value.coming for value in scene.replicas().values() if value.coming] == ["n5"]


def test_a_lost_node_is_replaced_after_a_while() -> None:
    scene = three()
    scene.add("n4")
    scene.pass_seconds(25, "n1", "n2", "n3", "n4")
    had = scene.held()["n1"]
    scene.pass_seconds(LOST - 5, "n2", "n3", "n4")
    assert scene.controllers["n3"].away() == ["n1"]
    assert scene.held()["n1"] == had > 0
    scene.pass_seconds(30, "n2", "n3", "n4")
    assert scene.held() == {"n2": 6, "n3": 6, "n4": 6}


def leave(scene: Scene, name: str) -> None:
    value = scene.controllers["n3"].map.nodes[name]
    marked = NodeValue(value.host, value.ports, labels=((LEAVING, "yes"),))
    scene.store.txn((), (Put(KEYS.node(name), marked.encode()),), timeout=1)


def test_one_that_leaves_gets_nothing() -> None:
    scene = three()
    leave(scene, "n1")
    scene.pass_seconds(10, "n1", "n2", "n3")
    assert scene.led() == {"n2": 3, "n3": 3}
    assert all(sorted(each.nodes) == ["n2", "n3"] for each in scene.controllers["n3"].map.replicas.values())


def test_one_that_leaves_keeps_what_the_others_do_not_have_yet() -> None:
    scene = three()
    scene.pass_seconds(2, *scene.controllers)
    leave(scene, "n1")
    scene.pass_seconds(10, "n1", "n2")
    assert scene.held()["n1"] == 6, "n3 is away"
    scene.add("n4")
    scene.pass_seconds(40, "n1", "n2", "n3", "n4")
    assert scene.held() == {"n2": 6, "n3": 6, "n4": 6}
