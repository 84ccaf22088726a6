"""Directories of copies go when the cluster has enough others, and not before, whatever ends the node amid it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flin.cluster.etcd.key_value import Delete, Put
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.keys import AppliedValue, ClusterValue, Keys, LeaderValue, NodeValue, ReplicasValue
from flin.cluster.node.old_copies import OldCopies
from flin.cluster.workers.groups import Group

KEYS = Keys("c1")


class Scene:
    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.store = MemoryKeyValues().client()
        groups = [Group(number, "id", 0, 1, folder / f"group-{number:02}") for number in range(2)]
        self.copies = OldCopies(self.store, KEYS, "a", groups, lambda: self.now)
        for each in groups:
            each.directory.mkdir()
            (each.directory / "file").write_text("text")
        self.directory = groups[0].directory
        puts = [Put(KEYS.node(name), NodeValue("h", ()).encode()) for name in "abcd"]
        self.put(Put(KEYS.cluster, ClusterValue(2, 3).encode()), *puts)
        self.hold(0, "bcd")
        self.lead("b")

    def put(self, *puts: Put) -> None:
        self.store.txn((), puts, timeout=1)

    def hold(self, group: int, nodes: str) -> None:
        self.put(Put(KEYS.replicas(group), ReplicasValue(tuple(nodes), nodes[0]).encode()))

    def lead(self, node: str) -> None:
        self.put(Put(KEYS.leader(0), LeaderValue(1, node, "s").encode()))

    def show(self, *names: str) -> None:
        """Twice, since the first look proves nothing."""
        for _ in range(2):
            self.now += 1
            for name in names:
                self.put(Put(KEYS.applied(0, name), AppliedValue(1, "s", is_abreast=True).encode()))
            self.removed = self.copies.remove([0])


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_one_that_is_not_needed_goes(scene: Scene) -> None:
    scene.put(Put(KEYS.applied(0, "a"), AppliedValue(7, "").encode()))
    assert scene.copies.there() == [0, 1]
    scene.show(*"bcd")
    assert scene.removed == [0]
    assert scene.copies.there() == [1]
    assert not scene.store.get(KEYS.applied(0, "a"), timeout=1).pairs, "nobody keeps the log for it"


def test_one_that_is_needed_stays(scene: Scene) -> None:
    scene.show(*"bc")
    assert scene.directory.exists(), "d is not there"
    scene.lead("a")
    scene.show(*"bcd")
    assert scene.directory.exists(), "it leads"
    scene.lead("b")
    scene.hold(0, "abcd")
    scene.show(*"bcd")
    assert scene.directory.exists(), "it counts"
    scene.hold(0, "bcd")
    scene.show(*"bcd")
    assert not scene.directory.exists()


def test_it_stays_while_nothing_says_how_many_there_are_to_be(scene: Scene) -> None:
    scene.store.txn((), (Delete(KEYS.cluster),), timeout=1)
    scene.show(*"bcd")
    assert (scene.removed, scene.directory.exists()) == ([], True)


def test_a_change_at_the_last_moment_keeps_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    txn = scene.store.txn

    def late(compares, success, failure=(), *, timeout):  # type: ignore[no-untyped-def]
        if compares:
            txn((), [Put(KEYS.replicas(0), ReplicasValue(tuple("bcd"), "b", "a", "b").encode())], timeout=1)
        return txn(compares, success, failure, timeout=timeout)

    monkeypatch.setattr(scene.store, "txn", late)
    scene.show(*"bcd")
    assert scene.removed == []
    assert scene.directory.exists()


def test_an_end_amid_it_leaves_all_or_what_is_removed_later(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("flin.cluster.node.old_copies.shutil.rmtree", lambda *_, **__: None)
        scene.show(*"bcd")
    assert not scene.directory.exists()
    assert scene.copies.there() == [0, 1], "its files are still there, under another name"
    scene.show(*"bcd")
    assert scene.copies.there() == [1]
