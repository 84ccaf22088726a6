"""The fuzzer of rounds on a node of a cluster: the same runs every time, and that they find seeded bugs of the gate."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from flin.net.cluster import own_slots
from flin.net.cluster.own_slots import OwnSlots
from flin.net.run.slot_gate import SlotGate
from fuzz.rounds import check, random_scene
from tests.net.data.seeded_bug import Patch, check_caught

SCENES = 80


def scenes() -> None:
    for seed in range(SCENES):
        check(random_scene(Random(seed), in_cluster=True), in_cluster=True)


def test_random_scenes() -> None:
    scenes()


def columns_pass_the_gate(patch: Patch) -> None:
    """a node of a cluster looks at each key of a column"""
    patch.setattr(SlotGate, "leading", lambda self, command, columns, known: len(columns[0]))


def absent_keys_are_own(patch: Patch) -> None:
    """a GET in a column whose key is absent is sent to the key's node"""
    patch.setattr(OwnSlots, "has", lambda self, key: 1)


def one_key_of_several_is_looked_at(patch: Patch) -> None:
    """all keys of a request are of one slot"""
    original = OwnSlots.leading
    patch.setattr(OwnSlots, "leading", lambda self, columns: original(self, columns[:1]))


def hash_tags_are_no_tags(patch: Patch) -> None:
    """a hash tag decides on a key's slot"""
    patch.setattr(own_slots, "_hashed", lambda keys: keys)


@pytest.mark.parametrize(
    "bug",
    [columns_pass_the_gate, absent_keys_are_own, one_key_of_several_is_looked_at, hash_tags_are_no_tags],
    ids=lambda each: each.__name__,
)
def test_bugs_are_caught(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    check_caught(bug, scenes, monkeypatch)
