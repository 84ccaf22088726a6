"""The steps of a move, by tables, and whole moves under random faults: no copy goes before others are there."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from flin.cluster.etcd.key_value import Pair, Put
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.keys import AppliedValue, Keys, ReplicasValue
from flin.cluster.node.moves import TAKER_SECONDS, Scene, advanced, begun, cancelled, may_be_removed
from flin.cluster.node.presence import Readiness, refusals
from flin.cluster.replica.takeover import THERE_SECONDS
from flin.cluster.slot_map import SlotMap

KEYS = Keys("c1")
ABCD = dict.fromkeys("abcd", 0.0)
SCENE = Scene(ABCD, (), 3)
BEGUN = ReplicasValue(("a", "c", "d"), "a", "b", "a")
WAITING = replace(BEGUN, nodes=("a", "c", "d", "b"), coming="")
DONE = replace(BEGUN, nodes=("c", "d", "b"), coming="", going="")


@pytest.mark.parametrize(
    ("value", "leader", "there", "scene", "expected"),
    [
        (BEGUN, "a", "acd", SCENE, BEGUN),  # it makes its copy
        (BEGUN, "a", "abcd", SCENE, WAITING),  # which counts, and the leader is to hand over
        (WAITING, "a", "abcd", SCENE, WAITING),
        (WAITING, "c", "abcd", SCENE, DONE),
        (BEGUN, "c", "abcd", SCENE, DONE),  # both at once
        (WAITING, "c", "abc", SCENE, WAITING),  # d is not abreast: three others must be
        (WAITING, "c", "b", replace(SCENE, lost="a"), DONE),  # nobody waits for what is lost
        (WAITING, "c", "", replace(SCENE, lost="a"), WAITING),
        (BEGUN, "c", "cd", replace(SCENE, lost="a"), BEGUN),
        (BEGUN, "c", "acd", Scene({**ABCD, "b": TAKER_SECONDS}, (), 3), BEGUN),  # it is restarting
        (BEGUN, "c", "acd", Scene({**ABCD, "b": TAKER_SECONDS + 1}, (), 3), replace(DONE, nodes=BEGUN.nodes)),
        (BEGUN, "c", "acd", Scene(dict.fromkeys("acd", 0.0), (), 3), replace(DONE, nodes=BEGUN.nodes)),  # it leaves
        (replace(WAITING, going="x"), "a", "", SCENE, replace(WAITING, going="")),
        (BEGUN, "c", "acd", replace(SCENE, refusing="b"), replace(DONE, nodes=BEGUN.nodes)),  # its disk is full
        (BEGUN, "c", "abcd", replace(SCENE, refusing="b"), replace(DONE, nodes=BEGUN.nodes)),
        (WAITING, "a", "abcd", replace(SCENE, refusing="ab"), WAITING),  # it counts already
    ],
)
def test_steps(value: ReplicasValue, leader: str, there: str, scene: Scene, expected: ReplicasValue) -> None:
    assert advanced(value, leader, there, scene) == expected
    assert advanced(expected, leader, there, scene) == expected or expected.is_moving


def test_a_copy_that_goes_without_another_one() -> None:
    """A cluster of three that one leaves: two are all that there can be."""
    scene = Scene(dict.fromkeys("ab", 0.0), (), 3)
    value = ReplicasValue(("a", "b", "c"), "a", going="c")
    assert advanced(value, "a", "ac", scene).nodes == ("a", "b", "c")
    assert advanced(value, "a", "abc", scene).nodes == ("a", "b")


def test_what_an_operator_may_ask_for() -> None:
    groups = {0: ReplicasValue(("a", "b", "c"), "a"), 1: replace(BEGUN, going="d", coming="e")}
    found = begun(groups, 0, "a", "f", "abcdef")
    assert (found.nodes, found.going, found.coming, found.is_pinned) == (("a", "b", "c"), "a", "f", True)
    for group, giver, taker, error in (
        (2, "a", "d", "there is no group 2: there are 0 to 1"),
        (1, "a", "f", "group 1 is moving already"),
        (0, "f", "d", "f has no copy of group 0: a b c have"),
        (0, "a", "b", "b has a copy of group 0 already"),
        (0, "a", "x", "x can take no copy"),
        (0, "a", "d", "another copy is moving from or to d"),
    ):
        with pytest.raises(ValueError, match=error):
            begun(groups, group, giver, taker, "abcdef")


def test_what_an_operator_may_give_up() -> None:
    found = cancelled({0: BEGUN}, 0)
    assert found == replace(BEGUN, coming="", going="", is_pinned=True)
    for group, error in ((0, "group 0 is not moving"), (1, "counts already, so that on a goes"), (2, "is not moving")):
        with pytest.raises(ValueError, match=error):
            cancelled({0: DONE, 1: WAITING}, group)


def test_when_a_directory_may_go() -> None:
    assert may_be_removed(DONE, "a", "c", "bcd", 3)
    assert not may_be_removed(DONE, "a", "a", "bcd", 3), "it leads"
    assert not may_be_removed(DONE, "a", "c", "abc", 3), "its own does not count"
    assert not may_be_removed(WAITING, "a", "c", "bcd", 3)
    assert not may_be_removed(BEGUN, "b", "c", "acd", 3), "it is being made"


def test_what_is_merely_there_proves_nothing() -> None:
    def pair(node: str, revision: int, value: AppliedValue) -> Pair:
        return Pair(KEYS.applied(3, node), value.encode(), 1, revision, 1)

    good = AppliedValue(9, "s", is_abreast=True)
    it = Readiness()
    assert it.note([pair("a", 5, good)], 0) == {}
    assert it.note([pair("a", 5, good)], 1) == {}
    assert it.note([pair("a", 6, good), pair("b", 7, good)], 2) == {3: {"a", "b"}}
    assert it.note([pair("a", 6, good), pair("b", 8, AppliedValue(9, "s"))], 3) == {3: {"a"}}
    assert it.note([pair("a", 9, AppliedValue(9, "", is_abreast=True))], 4) == {}, "its process has ended"
    assert it.note([pair("a", 10, good)], 5) == {3: {"a"}}
    assert it.note([pair("a", 10, good)], 5 + THERE_SECONDS + 0.1) == {}
    assert it.note([pair("a", 11, good)], 6 + 2 * THERE_SECONDS) == {}, "nobody has looked for long"
    stray = Pair(KEYS.applied_in(3)[0] + b"x/a", good.encode(), 1, 13, 1)
    damaged = Pair(KEYS.applied(3, "b"), b"{", 1, 14, 1)
    assert it.note([damaged, pair("a", 12, good), stray], 7 + 2 * THERE_SECONDS) == {3: {"a"}}


def test_what_was_said_before_a_move_is_no_answer() -> None:
    def found(revision: int, value: ReplicasValue = BEGUN) -> SlotMap:
        return SlotMap(replicas={3: value}, revisions={KEYS.replicas(3): revision})

    no = AppliedValue(1, "", has_room=False, refusal="full", needs_bytes=9)
    pairs = [Pair(KEYS.applied(3, "b"), no.encode(), 1, 5, 1), Pair(KEYS.applied(4, "b"), no.encode(), 1, 50, 1)]
    assert refusals(pairs, found(4), KEYS) == {3: no}
    assert refusals(pairs, found(5), KEYS) == {}
    assert refusals(pairs, found(4, WAITING), KEYS) == {}, "nothing is to come"
    assert refusals([Pair(pairs[0].key, AppliedValue(1, "").encode(), 1, 5, 1)], found(4), KEYS) == {}
    assert refusals([Pair(pairs[0].key, b"{", 1, 5, 1)], found(4), KEYS) == {}
    assert refusals([], found(4), KEYS) == {}


def test_random_moves_leave_as_many_copies_as_there_should_be() -> None:
    """Who has a whole copy is followed beside the steps: those that counted at the start, and those that were abreast
    once, until they are dropped."""
    for seed in range(300):
        random = Random(seed)
        value, whole, leader = ReplicasValue(tuple("abc")), {*"abc"}, "a"
        for _ in range(40):
            there = {name for name in value.hosts if random.random() < 0.7}
            away = {name: random.choice([0.0, 0.0, 0.0, TAKER_SECONDS + 1]) for name in "abcdef"}
            there -= {name for name in away if away[name]}
            whole |= there
            if not value.is_moving and random.random() < 0.5:
                coming = random.choice([name for name in "abcdef" if name not in value.nodes])
                value = replace(value, coming=coming, going=random.choice(value.nodes))
            if random.random() < 0.3:
                leader = random.choice(value.nodes)
            refusing = {name for name in "abcdef" if random.random() < 0.1}
            value = advanced(value, leader, there, Scene(away, (), 3, refusing))
            assert leader in value.nodes
            assert len(value.nodes) >= 3
            assert {*value.nodes} <= whole, "each copy that counts is one"
            for name in "abcdef":
                if may_be_removed(value, name, leader, there, 3):
                    whole.discard(name)


def test_a_value_of_an_older_flin_is_understood() -> None:
    store = MemoryKeyValues().client()
    store.txn((), (Put(b"k", b'{"nodes":["a"],"preferred":"a"}'),), timeout=1)
    assert ReplicasValue.decode(store.get(b"k", timeout=1).pairs[0].value) == ReplicasValue(("a",), "a")
