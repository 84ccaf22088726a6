"""The controller over the store in memory: one acts at a time, and what it decides too late changes nothing."""

from __future__ import annotations

from collections import Counter

import pytest

from flin.cluster.etcd.key_value import Delete, Pair, Put
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.keys import (
    AliveValue,
    AppliedValue,
    ClusterValue,
    Keys,
    LeaderValue,
    MembersValue,
    NodeValue,
    ReplicasValue,
)
from flin.cluster.node.controller import AWAY_SECONDS, Controller
from flin.cluster.node.node_directory import NodeRecord
from flin.cluster.node.node_keys import ClusterError, begin, register
from flin.cluster.replica.lease import LEASE_SECONDS
from flin.cluster.slot_map import LEAVING
from flin.errors import CorruptionError

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
        self.full: dict[str, str] = {}
        """Nodes that cannot make a copy, and why."""
        self.free: dict[str, int] = {}
        """How much room they say that they have."""

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
                self.store.txn(
                    (), (Put(KEYS.alive(name), AliveValue(count, "s", self.free.get(name, -1)).encode()),), timeout=1
                )
                self._show_copies(name, count)
            for name in living:
                self.controllers[name].step()

    def _show_copies(self, name: str, count: int) -> None:
        """As the replicas of a node do; they also hand over to who should lead."""
        for group, value in self.replicas().items():
            if name in value.hosts:
                applied = AppliedValue(count, "s", is_abreast=name in value.nodes or name not in self.slow)
                if name in self.full and name not in value.nodes:
                    applied = AppliedValue(count, "", has_room=False, refusal=self.full[name], needs_bytes=1000)
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


def coming(scene: Scene) -> list[str]:
    return [value.coming for value in scene.replicas().values() if value.coming]


def test_a_move_to_a_full_disk_is_given_up_until_there_is_room(caplog: pytest.LogCaptureFixture) -> None:
    scene = three()
    scene.add("n4")
    scene.full, scene.free = {"n4": "its disk is full"}, {"n4": 999}
    scene.pass_seconds(10, *scene.controllers)
    assert coming(scene) == []
    assert scene.held() == {"n1": 6, "n2": 6, "n3": 6}, "all stays as it was"
    found = scene.controllers["n2"].map
    assert found.refused["n4"].why == "its disk is full"
    assert f"group {found.refused['n4'].group}: the copy on n4 is not made: its disk is full." in caplog.text
    assert caplog.text.count("is not made") == 1, "it is not tried again and again"
    scene.full, scene.free = {}, {"n4": 1000}
    scene.pass_seconds(40, *scene.controllers)
    assert sorted(scene.held().values()) == [4, 4, 5, 5]
    assert scene.controllers["n2"].map.refused == {}


def test_it_is_asked_again_after_a_while_by_any_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flin.cluster.node.controller.REFUSED_SECONDS", 30.0)
    scene = three()
    scene.add("n4")
    scene.full = {"n4": "its disk fails"}
    scene.pass_seconds(10, *scene.controllers)
    acting = scene.acting()
    others = [name for name in scene.controllers if name not in acting]
    scene.full, scene.slow = {}, {"n4"}
    scene.pass_seconds(15, *scene.controllers)
    assert coming(scene) == [], "nobody knows of room"
    scene.pass_seconds(LEASE_SECONDS + 1, *others)
    scene.pass_seconds(5, *scene.controllers)
    assert coming(scene) == ["n4"]


def test_another_node_is_chosen_for_one_that_is_lost() -> None:
    scene = three()
    scene.add("n4")
    scene.add("n5")
    scene.full = {"n4": "its disk is full"}
    scene.pass_seconds(40, *scene.controllers)
    assert scene.held()["n4"] == 0
    scene.pass_seconds(LOST + 40, "n1", "n2", "n4", "n5")
    assert scene.held() == {"n1": 6, "n2": 6, "n5": 6}


def test_one_that_says_that_it_has_no_room_is_not_even_asked() -> None:
    scene = three()
    scene.free = {"n4": 0}
    scene.add("n4")
    scene.pass_seconds(10, *scene.controllers)
    assert scene.held() == {"n1": 6, "n2": 6, "n3": 6}
    assert scene.controllers["n1"].map.refused == {}
    scene.free = {"n4": 1}
    scene.pass_seconds(40, *scene.controllers)
    assert sorted(scene.held().values()) == [4, 4, 5, 5]


def test_a_damaged_sign_of_life_is_one() -> None:
    scene = three()
    scene.controllers["n1"]._alive = (Pair(KEYS.alive("n9"), b"\xff{", 1, 1, 1),)
    scene.controllers["n1"]._act(scene.now)
    assert scene.led() == {"n1": 2, "n2": 2, "n3": 2}


def test_a_cluster_is_not_begun_again_over_its_copies() -> None:
    """Somebody has deleted what it says of itself. Whoever began it wrote anew that it alone has copies."""
    scene = Scene()
    for name in "abc":
        scene.add(name)
    scene.pass_seconds(5, *"abc")
    before = list(scene.store.get(*KEYS.replica_sets, timeout=1).pairs)
    scene.store.txn((), (Delete(KEYS.cluster),), timeout=1)
    record, value = NodeRecord("a", "c1", 6, 3), NodeValue("h", ())
    begin(scene.store, KEYS, record, value)
    assert list(scene.store.get(*KEYS.replica_sets, timeout=1).pairs) == before
    with pytest.raises(ClusterError, match="there is no cluster c1") as raised:
        register(scene.store, KEYS, record, value, is_new=False)
    told = str(raised.value).rpartition(" ")[2]
    scene.store.txn((), (Put(KEYS.cluster, told.encode()),), timeout=1)
    assert register(scene.store, KEYS, record, value, is_new=False)


def test_a_node_puts_anew_what_somebody_has_changed_of_it(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.add("a")
    scene.store.txn((), (Put(KEYS.node("a"), b"{"),), timeout=1)
    value = NodeValue("h", ((0, 7000, 0),))
    register(scene.store, KEYS, NodeRecord("a", "c1", 6, 3), value, is_new=False)
    assert NodeValue.of(scene.store.get(KEYS.node("a"), timeout=1).pairs[0]) == value
    assert "etcd: /flin/c1/map/nodes/a" in caplog.text


@pytest.mark.parametrize("end", [b"\xff", b"", b"a b", b"x/a"])
def test_keys_that_no_node_has_put_stop_no_controller(end: bytes) -> None:
    scene = Scene()
    scene.add("a")
    scene.add("b")
    scene.store.txn((), (Put(KEYS.alive_nodes[0] + end, b"{"),), timeout=1)
    scene.pass_seconds(20, *"ab")
    controller = scene.controllers["a"]
    assert controller.away() == []
    assert {name for value in controller.map.replicas.values() for name in value.nodes} == {*"ab"}


def test_another_number_of_groups_moves_nothing() -> None:
    scene = Scene()
    scene.add("a")
    controller = Controller(scene.values.client(), KEYS, "a", "s", clock=lambda: scene.now, groups=6)
    controller.step()
    for groups in (5, 7):
        scene.store.txn((), (Put(KEYS.cluster, ClusterValue(groups, 3).encode()),), timeout=1)
        with pytest.raises(CorruptionError):
            controller.step()
        assert controller.map.groups == 6
    for count in range(9):  # who is there is seen all the same
        scene.now += 1
        scene.store.txn((), (Put(KEYS.alive("a"), AliveValue(count, "s").encode()),), timeout=1)
        with pytest.raises(CorruptionError):
            controller.step()
    assert controller.away() == []


def test_while_a_group_is_damaged_the_others_are_cared_for() -> None:
    """Nobody touches that group, and it counts as it was known: no copy moves because of it."""
    scene = Scene()
    for name in "abc":
        scene.add(name)
    scene.pass_seconds(5, *"abc")
    before = scene.controllers["a"].map
    damaged = [KEYS.replicas(2), KEYS.leader(3), KEYS.replica_sets[0] + b"zz", KEYS.leaders[0] + b"99"]
    scene.store.txn((), [Put(key, b"{") for key in damaged], timeout=1)
    for count in range(30):
        scene.now += 1
        for name in "ab":
            scene.store.txn((), (Put(KEYS.alive(name), AliveValue(count, "s").encode()),), timeout=1)
            with pytest.raises(CorruptionError, match="map/leader/03"):
                scene.controllers[name].step()
    found = scene.controllers["a"].map
    assert {*found.replicas} == {*range(6)}
    assert found.replicas[2] == before.replicas[2]
    assert {group: value.nodes for group, value in found.replicas.items()} == {
        group: value.nodes for group, value in before.replicas.items()
    }
    led = {value.preferred for group, value in found.replicas.items() if group not in (2, 3)}
    assert led == {"a", "b"}, "c is away"
    assert [pair.value for key in damaged for pair in scene.store.get(key, timeout=1).pairs] == [b"{"] * 4
    fresh = Controller(scene.values.client(), KEYS, "a", "s2", clock=lambda: scene.now)
    with pytest.raises(CorruptionError):
        fresh.step()
    assert fresh.map.groups == 0, "it does not know how the group was"


@pytest.mark.parametrize("key", [KEYS.node("c"), KEYS.members, KEYS.cluster])
def test_while_anything_else_is_damaged_nothing_moves(key: bytes) -> None:
    scene = Scene()
    for name in "abc":
        scene.add(name)
    scene.pass_seconds(5, *"abc")
    before = scene.store.get(*KEYS.map, timeout=1).pairs
    scene.store.txn((), (Put(key, b"{"),), timeout=1)
    for count in range(30):
        scene.now += 1
        scene.store.txn((), (Put(KEYS.alive("a"), AliveValue(count, "s").encode()),), timeout=1)
        with pytest.raises(CorruptionError):
            scene.controllers["a"].step()
    after = scene.store.get(*KEYS.map, timeout=1).pairs
    assert [pair for pair in after if pair.key != key] == [pair for pair in before if pair.key != key]
