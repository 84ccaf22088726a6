"""What is remembered of the use of keys, and who goes first."""

from __future__ import annotations

from random import Random

import pytest

from flin.engine.eviction.policy import POLICIES, victims
from flin.engine.eviction.worth import EVICTED, STEPS, StoreAge, Unused, UseAge, UseCount, slots_for
from flin.engine.options import EvictionPolicy

SLOTS = 1 << 22
"""Hashes differ in each process: of 20 keys in 65,536 slots two share one in 3 of 1,000 runs."""


def test_ages_count_from_the_last_write_or_read() -> None:
    stored, used = StoreAge(SLOTS), UseAge(SLOTS)
    for worth in (stored, used):
        worth.stored(b"old")
        worth.age()
        worth.stored(b"new")
        assert worth.of(b"unknown") < worth.of(b"old") < worth.of(b"new") < EVICTED
        worth.age()
        worth.read(b"old")
    assert stored.of(b"old") < stored.of(b"new")
    assert used.of(b"old") > used.of(b"new")
    for _ in range(5 * STEPS):
        used.age()
    assert used.of(b"old") == used.of(b"unknown"), "ages end"


def test_counts_are_halved() -> None:
    worth = UseCount(SLOTS)
    worth.all_read([b"often"] * 40)
    worth.stored(b"once")
    assert worth.all_of([b"often", b"once", b"never"]) == [40, 1, 0]
    for _ in range(STEPS):
        worth.age()
    assert worth.all_of([b"often", b"once", b"never"]) == [20, 0, 0]
    worth.all_read([b"often"] * 1000)
    assert worth.of(b"often") == EVICTED - 1


@pytest.mark.parametrize("make", [Unused, StoreAge, UseAge, UseCount])
def test_what_was_evicted_is_not_chosen_again_until_it_is_written_or_time_has_passed(
    make: type[Unused | StoreAge | UseCount],
) -> None:
    worth = make(SLOTS)
    worth.evicted([b"a", b"b"])
    assert worth.all_of([b"a", b"b", b"c"]) == [EVICTED, EVICTED, 0]
    worth.stored(b"a")
    assert worth.of(b"a") < EVICTED
    for _ in range(2 * STEPS):
        worth.age()
    assert worth.of(b"b") < EVICTED


def test_the_least_of_a_sample_go() -> None:
    policy = POLICIES["least-recently-used"]
    worth = policy.make_worth(SLOTS)
    keys = [b"%d" % number for number in range(20)]
    for key in keys:
        worth.age()
        worth.stored(key)
    worth.evicted([b"0"])
    sample = dict.fromkeys(Random(1).sample(keys, 20), b"value")
    assert [*victims(policy, worth, sample, 5, 100)] == [b"1", b"2", b"3", b"4"]
    assert [*victims(policy, worth, sample, 5, 2)] == [b"1", b"2"]
    assert [*victims(policy, worth, {b"9": b""}, 5, 2)] == [b"9"], "at least one"
    assert victims(policy, worth, {}, 5, 2) == {}


def test_what_expires_soonest_goes_first() -> None:
    policy = POLICIES["soonest-expiring"]
    worth = policy.make_worth(SLOTS)
    sample = {b"%d" % moment: (b"", moment, 0) for moment in (30, 10, 20)}
    assert victims(policy, worth, sample, 1, 2) == {b"10": 10, b"20": 20}


@pytest.mark.parametrize(
    ("limit", "memory", "slots"),
    [(1 << 18, 1 << 28, 1 << 14), (1 << 27, 1 << 28, 1 << 23), (1 << 40, 1 << 28, 1 << 24)],
)
def test_several_bytes_for_each_entry_within_the_memory_limit(limit: int, memory: int, slots: int) -> None:
    assert slots_for(limit, memory) == slots


def test_every_policy_has_a_name() -> None:
    assert {*POLICIES} | {"none"} == {*EvictionPolicy.__args__}  # type: ignore[attr-defined]
