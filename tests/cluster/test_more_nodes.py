"""Six real nodes, three copies of each group: nodes join and leave, one is lost for good, and clients write on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import pytest

from flin.testing.cluster.failover import Run, World
from flin.testing.cluster.faults import Scene
from flin.testing.cluster.machine import Machine
from flin.testing.cluster.nodes import Nodes
from flin.testing.process import wait_until
from tests.cluster.test_nodes import Capture, asked, leave, status
from tests.tool import needs_tool

pytestmark = [pytest.mark.slow, pytest.mark.long(seconds=60)]

GROUPS = 2

ASK_SECONDS = 0.5

QUICK = """
import flin.cluster.replica.takeover as takeover
takeover.SETTLED_SECONDS = 2.0
"""
"""Leaders hand over sooner to those that should lead."""


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Three of the six are started."""
    needs_tool("etcd")
    pytest.importorskip("google.protobuf")
    monkeypatch.chdir(tmp_path)
    made = Nodes(tmp_path, GROUPS, ["-replace-after=6s"], more=QUICK, count=6)
    everybody = [*made.machines]
    for machine in everybody[:3]:
        machine.start()
    for machine in everybody[:3]:
        machine.wait_until_ready()
    made.wait_until_led()
    yield made
    for machine in everybody:
        machine.kill()


def held(capsys: Capture, machine: Machine) -> dict[str, int]:
    """Copies by node, when nothing moves; else nothing. A question costs all nodes something."""
    sleep(ASK_SECONDS)
    found = status(capsys, machine)
    if any(each["move"] for each in found["groups"]):
        return {}
    return dict(Counter(name for each in found["groups"] for name in each["replicas"]))


def directories(nodes: Nodes, machine: Machine) -> int:
    return len([*(nodes.folder / "flin-data" / machine.name).glob("group-*")])


def test_nodes_join_and_leave_and_one_is_lost(nodes: Nodes, capsys: Capture, tmp_path: Path) -> None:
    first, second, third, *others = nodes.machines
    addresses = [*nodes.addresses]

    def take_part(*places: int) -> None:
        """From now on these are the cluster, for clients and for whoever waits for its nodes."""
        nodes.machines[:] = [(first, second, third, *others)[place] for place in places]
        nodes.addresses[:] = [addresses[place] for place in places]

    def story(_: Scene) -> None:
        others[0].start()
        others[0].wait_until_ready()
        wait_until(lambda: sorted(held(capsys, third).values()) == [1, 1, 2, 2], "four nodes are even")
        for machine in others[1:]:
            machine.start()
            machine.wait_until_ready()
        wait_until(lambda: sorted(held(capsys, third).values()) == [1, 1, 1, 1, 1, 1], "six nodes are even")
        take_part(1, 2, 3, 4, 5)
        said = leave(capsys, third, "node1")
        assert said.splitlines()[-1] == "node1 has left; there are node2 node3 node4 node5 node6"
        wait_until(lambda: not first.is_running, "it ends")
        second.kill()
        take_part(2, 3, 4, 5)
        wait_until(lambda: "node2" not in held(capsys, third) and held(capsys, third), "others have what it had")

    take_part(0, 1, 2)
    run = Run(nodes, tmp_path, World.OWN)
    run.episode(story, 1)
    wait_until(lambda: sorted(held(capsys, third).values()) == [1, 1, 2, 2], "four nodes are even again")
    for machine in nodes.machines:
        wait_until(lambda machine=machine: directories(nodes, machine) <= 2, "what moved away is removed")  # type: ignore[misc]
    found = status(capsys, third)
    etcds = {name: bool(node["etcd"]) for name, node in found["nodes"].items()}
    assert etcds == {"node2": True, "node3": True, "node4": True, "node5": True, "node6": False}
    wait_until(lambda: asked(capsys, third, "check")[0] == 0, "the copies are equal")
    run.check_all()
    guest = others[-1]
    assert guest.end() == 0, guest.printed()
    guest.start()
    guest.wait_until_ready()
    nodes.stop()
