"""Who leads after a process that has died."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from flin.cluster.etcd.key_value import Put
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.keys import AppliedValue, Keys, LeaderValue, ReplicasValue
from flin.cluster.node.succession import Succession
from tests.cluster.takeover_simulation import CALM, Faults, Simulation

KEYS = Keys("c1")
GROUP = 0


class Scene:
    """a1 leads; b and c follow."""

    def __init__(self) -> None:
        self.store = MemoryKeyValues().client()
        self.put(
            Put(KEYS.replicas(GROUP), ReplicasValue(("a", "b", "c"), "a").encode()),
            Put(KEYS.leader(GROUP), LeaderValue(4, "a", "a1").encode()),
            *(self.sign(name, f"{name}1") for name in "abc"),
        )

    def put(self, *puts: Put) -> None:
        self.store.txn((), puts, timeout=1)

    def sign(self, name: str, start: str) -> Put:
        return Put(KEYS.applied(GROUP, name), AppliedValue(ord(name), start).encode())

    def leader(self) -> LeaderValue:
        return LeaderValue.decode(self.store.get(KEYS.leader(GROUP), timeout=1).pairs[0].value)

    def pass_on(self, start: str = "a1", away: Collection[str] = ()) -> str:
        return Succession(self.store, KEYS, "a", lambda: away).pass_on(GROUP, start)


def test_the_furthest_of_the_others_leads_at_once() -> None:
    scene = Scene()
    assert scene.pass_on() == "c"
    assert scene.leader() == LeaderValue(5, "c", "c1")
    assert scene.pass_on() == "", "it leads no more"


@pytest.mark.parametrize("start", ["a0", "a2"])
def test_only_the_process_that_has_died_loses_its_place(start: str) -> None:
    scene = Scene()
    assert scene.pass_on(start) == ""
    assert scene.leader() == LeaderValue(4, "a", "a1")


def test_a_process_that_has_died_is_given_nothing() -> None:
    scene = Scene()
    Succession(scene.store, KEYS, "c", lambda: ()).pass_on(GROUP, "c1")
    assert scene.leader() == LeaderValue(4, "a", "a1"), "it followed"
    told = scene.store.get(KEYS.applied(GROUP, "c"), timeout=1).pairs[0].value
    assert AppliedValue.decode(told) == AppliedValue(ord("c"), ""), "what its tables hold stays known"
    assert scene.pass_on() == "b"


def test_who_is_away_or_has_ended_gets_nothing() -> None:
    scene = Scene()
    scene.put(scene.sign("b", ""))
    assert scene.pass_on(away=["c"]) == ""
    assert scene.leader().node == "a"
    assert scene.pass_on() == "c"


def test_an_etcd_that_does_not_answer_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.store.close()
    assert scene.pass_on() == ""
    assert "is not given away" in caplog.text


def test_kills_in_virtual_time() -> None:
    simulation = Simulation(1)
    simulation.faults = Faults(kill=0.1, stop=0, cut=0, hand_over=0, lost=0, slow=0)
    simulation.run(200)
    simulation.faults = CALM
    simulation.run(20)
    simulation.check_log()
    assert simulation.broken == []
    assert simulation.buried > 5
