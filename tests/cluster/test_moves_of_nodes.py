"""Moves between real nodes, whose logs no longer go back to the beginning: to one whose disk has no room, and one that
an operator gives up. And a node whose directory is moved away under it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from flin.testing.cluster.faults import Scene
from flin.testing.cluster.nodes import Nodes
from flin.testing.cluster.small import DISK_BYTES, SmallDisk
from flin.testing.process import wait_until
from tests.cluster.test_copies_of_nodes import MORE, VALUE_BYTES, oldest
from tests.cluster.test_nodes import Capture, asked, client, status
from tests.tool import needs_tool

pytestmark = [pytest.mark.slow, pytest.mark.long(seconds=30)]

VALUES = 150
"""More than the reserve leaves, in the test below."""

RESERVE_BYTES = DISK_BYTES // 10

LEFT_BYTES = RESERVE_BYTES + (1 << 20)


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Four, each with an etcd; the disk of the last one is small."""
    needs_tool("etcd")
    pytest.importorskip("google.protobuf")
    monkeypatch.chdir(tmp_path)
    with SmallDisk(tmp_path / "flin-data" / "node4") as disk:
        if not disk.is_there:
            pytest.skip("nothing can be mounted here")
        made = Nodes(tmp_path, 1, more=MORE, disk=disk, count=4)
        yield made
        made.kill()


def test_a_copy_that_finds_no_room_and_one_that_is_given_up(nodes: Nodes, capsys: Capture) -> None:
    disk = nodes.disk
    assert disk is not None
    nodes.start()
    first = nodes.machines[0]
    chance = random.Random(5)
    with client(nodes) as it:
        for number in range(VALUES):
            it.set(f"key{number}", chance.randbytes(VALUE_BYTES // 2).hex())
    wait_until(lambda: oldest(nodes) > VALUES // 2, "the log is truncated")
    holders = {*status(capsys, first)["groups"][0]["replicas"]}
    if "node4" in holders:  # it was among the first three that were there
        spare = next(each.name for each in nodes.machines if each.name not in holders)
        assert asked(capsys, first, "move", "0", "node4", spare)[0] == 0
        wait_until(lambda: "node4" not in status(capsys, first)["groups"][0]["replicas"], "it has no copy")
    leading = nodes.machine_of(Scene(nodes, chance).leader(0))
    [giver, *_] = {*status(capsys, first)["groups"][0]["replicas"]} - {leading.name}
    folder = disk.folder

    def copies() -> list[str]:
        return [each.name for each in folder.glob("group-00*")]

    def held() -> list[str] | None:
        """None: something moves."""
        group = status(capsys, first)["groups"][0]
        return None if group["move"] else sorted(group["replicas"])

    wait_until(lambda: not copies(), "what it had is removed")
    before = held()
    disk.leave(LEFT_BYTES)
    assert asked(capsys, first, "move", "0", giver, "node4")[0] == 0
    wait_until(lambda: status(capsys, first)["refused"], "the move is given up")
    assert held() == before
    refused = status(capsys, first)["refused"]["node4"]
    assert refused["group"] == 0
    assert "free beyond the reserve, and the copy takes" in refused["why"]
    code, out, _ = asked(capsys, first, "status")
    assert code == 1
    assert "node4 is given no copies for now: it could not take group 0, since its disk has" in out
    assert any("group 0: the copy on node4 is not made: its disk" in each.printed() for each in nodes.machines)
    wait_until(lambda: not copies(), "what it took is removed")
    disk.empty()
    wait_until(lambda: not status(capsys, first)["refused"], "it has room")

    (nodes.folder / "slowly").touch()
    assert asked(capsys, first, "move", "0", giver, "node4")[0] == 0
    wait_until(copies, "it begins")
    said = asked(capsys, first, "cancel", "0")
    assert said[:2] == (0, f"group 0: it does not move; copies are on {' '.join(status_nodes(said[1]))}\n")
    wait_until(lambda: not copies(), "what it took is removed")
    assert held() == before
    assert "group 0 is not moving" in asked(capsys, first, "cancel", "0")[2]

    (nodes.folder / "slowly").unlink()
    assert asked(capsys, first, "move", "0", giver, "node4")[0] == 0
    wait_until(lambda: held() == sorted({*(before or ()), "node4"} - {giver}), "the copy has moved")
    wait_until(lambda: asked(capsys, first, "check")[0] == 0, "the copies are equal")
    with client(nodes) as it:
        assert len(it.get("key7") or "") == VALUE_BYTES
    nodes.stop()


def test_a_node_whose_directory_is_moved_away_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leads until then; what was answered is there, at the others and when the directory is back."""
    needs_tool("etcd")
    pytest.importorskip("google.protobuf")
    monkeypatch.chdir(tmp_path)
    nodes = Nodes(tmp_path, 1)
    try:
        nodes.start()
        with client(nodes) as it:
            it.set("key", "value")
        leading = nodes.machine_of(Scene(nodes, random.Random(1)).leader(0))
        path = tmp_path / "flin-data" / leading.name
        path.rename(tmp_path / "elsewhere")
        wait_until(lambda: not leading.is_running, "it ends")
        assert f"flin-data/{leading.name} was moved away, removed or replaced" in leading.printed()
        assert leading.end() != 0
        assert not path.exists(), "nothing else is begun there"
        with client(nodes) as it:
            assert it.get("key") == "value"
            it.set("later", "than that")
        (tmp_path / "elsewhere").rename(path)
        leading.start()
        nodes.wait_until_whole()
        nodes.wait_until_equal(["key", "later"])
        nodes.stop()
    finally:
        nodes.kill()


def status_nodes(said: str) -> list[str]:
    """The nodes that are named at the end."""
    return said.strip().rpartition("copies are on ")[2].split()
