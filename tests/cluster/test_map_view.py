"""What a replica knows of the cluster's map, while somebody damages that."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest

from flin.cluster.etcd.key_value import Delete, Put
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.keys import ClusterValue, Keys, NodeValue, ReplicasValue
from flin.cluster.replica import map_view
from flin.cluster.replica.map_view import MapView
from flin.cluster.workers.assignment import ReplicaPlace
from flin.net.cluster.topology import Node
from flin.testing.process import PATIENCE_SECONDS, wait_until

KEYS = Keys("c1")
OWN = Node("a" * 40, "h", 7000, 0, 8191)


class Scene:
    def __init__(self) -> None:
        self.store = MemoryKeyValues().client()
        self.put(KEYS.cluster, ClusterValue(2, 1).encode())
        self.put(KEYS.node("a"), NodeValue("h", ((0, 7000, 0), (1, 7001, 0))).encode())
        for group in (0, 1):
            self.put(KEYS.replicas(group), ReplicasValue(("a",), "a").encode())
        self.view = MapView(self.store, KEYS, ReplicaPlace("c1", "a", 0, 2, "s", ()), OWN, lambda: None)

    def put(self, key: bytes, value: bytes) -> None:
        self.store.txn((), (Put(key, value),), timeout=1)

    def delete(self, key: bytes) -> None:
        self.store.txn((), (Delete(key),), timeout=1)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(map_view, "RETRY_SECONDS", 0.01)
    made = Scene()
    yield made
    made.view.end()


@pytest.mark.parametrize("damage", ["value", "group"])
def test_a_replica_that_begins_waits_for_a_whole_map(
    scene: Scene, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If it ended, its node would end, with all groups that it leads."""
    key = KEYS.refused("x") if damage == "value" else KEYS.replicas(1)
    if damage == "value":
        scene.put(key, b"{")
    else:
        scene.delete(key)
    begun: list[bool] = []
    thread = Thread(target=lambda: begun.append(scene.view.begin()))
    thread.start()
    wait_until(lambda: "cannot be used until it is put right" in caplog.text, "it says so")
    if damage == "value":
        scene.delete(key)
    else:
        scene.put(key, ReplicasValue(("a",), "a").encode())
    thread.join(PATIENCE_SECONDS)
    assert begun == [True]
    assert caplog.text.count("until it is put right") == 1
    assert len(scene.view.topology.groups) == 2


def test_another_number_of_groups_is_never_believed(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Also if it comes after none: slots would be other groups'."""
    assert scene.view.begin()
    before = scene.view.topology
    scene.delete(KEYS.cluster)
    scene.put(KEYS.cluster, ClusterValue(1, 1).encode())
    wait_until(lambda: "2 groups, and never 1" in caplog.text, "it says so")
    assert scene.view.topology is before
    scene.put(KEYS.cluster, ClusterValue(2, 1).encode())
    wait_until(lambda: scene.view.map.groups == 2, "the map is whole")
    assert scene.view.topology == before
