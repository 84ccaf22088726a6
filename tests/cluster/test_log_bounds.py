"""How much of the logs is kept, and when etcd needs care: tables, and what always holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flin.cluster.etcd.etcd_maintenance import Status
from flin.cluster.log.log_bounds import (
    MAX_LOG_BYTES,
    FlushRule,
    GroupLogState,
    append_delay,
    floor_of,
    floors,
    is_cut,
    to_defragment,
    too_large,
)

MIB = 1 << 20
QUOTA = 100 * MIB
ALL = ("a", "b", "c")


def status(size: int, used: int, member: int = 1, leader: int = 9) -> Status:
    return Status(member, "3.4.23", leader, size * MIB, used * MIB, 0, False, (), 0)


@pytest.mark.parametrize(
    ("applied", "replicas", "floor"),
    [
        ({"a": 70, "b": 50, "c": 60}, ALL, 50),
        ({"a": 70, "b": 50}, ALL, 1),  # c has never said what it has
        ({"a": 70, "b": 50}, ("a", "b"), 1),  # a third one is still to join
        ({"a": 70, "b": 50, "c": 60, "gone": 3}, ALL, 50),
        ({}, (), 1),
    ],
)
def test_what_nobody_needs(applied: dict[str, int], replicas: tuple[str, ...], floor: int) -> None:
    assert floor_of(GroupLogState(1, 100, applied, replicas), 3) == floor


def test_the_newest_entry_stays() -> None:
    all_of_it = GroupLogState(5, 100, dict.fromkeys(ALL, 101), ALL)
    assert floors({0: all_of_it}, 3, 0) == {0: 100}
    assert floors({0: GroupLogState(100, 100, dict.fromkeys(ALL, 101), ALL)}, 3, 0) == {}
    assert floors({0: GroupLogState(0, 0, {}, ALL)}, 3, 0) == {}


def test_the_longest_logs_are_cut_when_it_is_too_much() -> None:
    behind = {"a": 1, "b": 1001, "c": 1001}
    groups = {0: GroupLogState(1, 1000, behind, ALL), 1: GroupLogState(1, 100, behind, ALL)}
    assert floors(groups, 3, MAX_LOG_BYTES) == {}
    cut = floors(groups, 3, MAX_LOG_BYTES + 1)
    assert cut == {0: 551}  # 450 and 100 are the half of 1,100
    assert is_cut(groups, 0, 551)
    assert not is_cut(groups, 1, 1)


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.integers(0, 5),
        st.builds(
            lambda first, more, applied: GroupLogState(first, first + more, applied, ALL),
            st.integers(1, 50),
            st.integers(0, 200),
            st.dictionaries(st.sampled_from(ALL), st.integers(1, 300)),
        ),
    ),
    st.booleans(),
)
def test_what_always_holds(groups: dict[int, GroupLogState], is_too_much: bool) -> None:
    chosen = floors(groups, 3, MAX_LOG_BYTES + 1 if is_too_much else 0)
    for number, floor in chosen.items():
        group = groups[number]
        assert group.first < floor <= group.last
        assert is_too_much or not is_cut(groups, number, floor)
    if is_too_much:
        kept = sum(group.last - chosen.get(number, group.first) + 1 for number, group in groups.items())
        total = sum(group.entries for group in groups.values())
        assert kept <= max(total // 2, len(groups))


@pytest.mark.parametrize(
    ("statuses", "chosen"),
    [
        ({"a": status(60, 20)}, []),
        ({"a": status(70, 20)}, ["a"]),
        ({"a": status(79, 40)}, []),
        ({"a": status(80, 40)}, ["a"]),
        ({"a": status(80, 56)}, []),
        ({"a": status(70, 20, 1, 1), "b": status(70, 20, 2, 1)}, ["b", "a"]),
        ({"a": status(70, 20, 1, 1), "b": status(20, 20, 2, 1)}, ["a"]),
    ],
)
def test_who_is_defragmented(statuses: dict[str, Status], chosen: list[str]) -> None:
    assert to_defragment(statuses, QUOTA) == chosen


def test_room_for_writes() -> None:
    assert too_large({"a": status(79, 1), "b": status(10, 1)}, QUOTA) == []
    assert too_large({"a": status(80, 80, 1, 1), "b": status(90, 90), "c": status(10, 1)}, QUOTA) == ["b", "a"]


@pytest.mark.parametrize(("share", "seconds"), [(0.0, 0.0), (0.8, 0.0), (0.9, 0.5), (1.0, 1.0), (1.5, 1.0)])
def test_writers_are_slowed(share: float, seconds: float) -> None:
    assert append_delay(share) == pytest.approx(seconds)


def test_a_replica_flushes_after_so_much_of_its_log() -> None:
    rule = FlushRule(6)
    assert not rule.is_due(32 * MIB - 1)
    assert rule.is_due(32 * MIB)
    assert not rule.is_due(63 * MIB)
    assert rule.is_due(64 * MIB)
    assert FlushRule(64).is_due(8 * MIB)
