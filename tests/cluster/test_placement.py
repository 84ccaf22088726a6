"""Which nodes hold which groups: whatever nodes come, go and return."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from random import Random

from flin.cluster.keys import ReplicasValue
from flin.cluster.node.placement import Standing, placed, standing


def names(count: int) -> list[str]:
    return [f"node{number}" for number in range(1, count + 1)]


def led(plan: dict[int, ReplicasValue]) -> Counter[str]:
    return Counter(value.preferred for value in plan.values())


def test_three_nodes_lead_two_of_six_groups_each() -> None:
    three = names(3)
    plan: dict[int, ReplicasValue] = {}
    for count in (1, 2, 3):
        plan = placed(6, 3, standing(three[:count]), plan)
    assert all(sorted(value.nodes) == three for value in plan.values())
    assert led(plan) == dict.fromkeys(three, 2)
    assert len({value.nodes for value in plan.values()}) > 1, "the ranks differ from group to group"


def test_nothing_changes_without_a_reason() -> None:
    five = names(5)
    plan = placed(16, 3, standing(five), {})
    assert placed(16, 3, standing(five), plan) == plan
    assert placed(6, 3, standing([]), {}) == {}


def test_one_that_is_away_keeps_its_copies_and_leads_none() -> None:
    three = names(3)
    plan = placed(6, 3, standing(three), {})
    away = placed(6, 3, standing(three, three[1:]), plan)
    assert {group: value.nodes for group, value in away.items()} == {
        group: value.nodes for group, value in plan.items()
    }
    assert led(away) == {"node2": 3, "node3": 3}
    changed = [group for group in plan if away[group].preferred != plan[group].preferred]
    assert {plan[group].preferred for group in changed} == {"node1"}
    assert led(placed(6, 3, standing(three), away)) == dict.fromkeys(three, 2)
    assert {value.preferred for value in placed(6, 3, standing(three, []), plan).values()} == {""}


def test_whom_an_operator_has_chosen_leads_while_it_is_there() -> None:
    three = names(3)
    plan = placed(6, 3, standing(three), {})
    group = next(group for group, value in plan.items() if value.preferred == "node1")
    plan[group] = replace(plan[group], preferred="node2", chosen="node2")
    plan = placed(6, 3, standing(three), plan)
    assert plan[group].preferred == "node2"
    assert led(plan) == dict.fromkeys(three, 2), "another one goes in its place"
    away = placed(6, 3, standing(three, ["node1", "node3"]), plan)
    assert away[group].preferred != "node2"
    assert placed(6, 3, standing(three), away)[group].preferred == "node2", "it is back"


def settle(
    groups: int, wanted: int, nodes: Standing, plan: dict[int, ReplicasValue]
) -> tuple[dict[int, ReplicasValue], int]:
    """Where all moves end, one round after the other, and how many there were. No more are under way than may be."""
    moves = 0
    while True:
        plan = placed(groups, wanted, nodes, plan)
        moving = [value for value in plan.values() if value.is_moving]
        if not moving:
            return plan, moves
        moves += len(moving)
        taking = [value.coming for value in moving if value.coming]
        giving = [value.going for value in moving if value.coming and value.going not in nodes.lost]
        assert len({*taking, *giving}) == len(taking) + len(giving), "one at a time for each node"
        assert len(taking) <= nodes.max_moves
        for group, value in plan.items():
            kept = tuple(node for node in value.hosts if node != value.going)
            plan[group] = replace(value, nodes=kept, coming="", going="")


def held(plan: dict[int, ReplicasValue]) -> Counter[str]:
    return Counter(node for value in plan.values() for node in value.nodes)


def spread(counts: Counter[str], nodes: Iterable[str]) -> int:
    found = [counts[node] for node in nodes]
    return max(found) - min(found)


def test_one_that_is_lost_is_replaced_where_somebody_can() -> None:
    four = names(4)
    plan = placed(8, 3, standing(four), {})
    had = held(plan)["node1"]
    after, moves = settle(8, 3, standing(four, four[1:], {"node1"}), plan)
    assert all(sorted(value.nodes) == four[1:] for value in after.values())
    assert moves == had == 6
    three = placed(8, 3, standing(four[:3], four[1:3], {"node1"}), placed(8, 3, standing(four[:3]), {}))
    assert all("node1" in value.nodes and not value.is_moving for value in three.values())


def test_whoever_gives_a_copy_away_is_not_given_it_meanwhile() -> None:
    """An operator moves one before those that are missing were given."""
    before = {0: ReplicasValue(("a", "b"), "a", coming="d", going="b")}
    assert placed(1, 3, standing("abd"), before)[0].nodes in {("a", "b"), ("b", "a")}
    plan = placed(1, 3, standing("abcd"), before)[0]
    assert sorted(plan.nodes) == ["a", "b", "c"]
    assert (plan.coming, plan.going) == ("d", "b")


def test_a_node_that_counts_twice_counts_once() -> None:
    """An older Flin could put that, amid such a move."""
    plan = placed(1, 3, standing("abcd"), {0: ReplicasValue(("a", "b", "b"), "a")})[0]
    assert len({*plan.nodes}) == len(plan.nodes) == 3


def test_one_that_comes_gets_its_share_and_nothing_else_moves() -> None:
    for groups, count in ((6, 3), (6, 4), (6, 5), (16, 8), (64, 20)):
        before = placed(groups, 3, standing(names(count)), {})
        assert spread(held(before), names(count)) <= 1
        plan, moves = settle(groups, 3, standing(names(count + 1)), before)
        assert spread(held(plan), names(count + 1)) <= 1
        assert moves == groups * 3 // (count + 1) == held(plan)[f"node{count + 1}"]
        assert spread(led(plan), names(count + 1)) <= 1


def test_one_that_leaves_gives_away_what_it_has_and_nothing_else_moves() -> None:
    for groups, count in ((6, 4), (6, 5), (6, 6), (16, 9), (64, 21)):
        before = placed(groups, 3, standing(names(count)), {})
        plan, moves = settle(groups, 3, standing(names(count)[1:]), before)
        assert held(plan)["node1"] == 0
        assert spread(held(plan), names(count)[1:]) <= 1
        assert moves == held(before)["node1"]
        assert all(len(value.nodes) == 3 for value in plan.values())


def test_where_nobody_can_take_it_the_copy_of_one_that_leaves_goes_alone() -> None:
    three = names(3)
    plan = placed(6, 3, standing(three), {})
    after = placed(6, 3, standing(three[:2]), plan)
    assert {(value.coming, value.going) for value in after.values()} == {("", "node3")}
    assert spread(led(after), three[:2]) == 0
    assert led(after)["node3"] == 0


def racked(*counts: int) -> Standing:
    racks = {f"{rack}{number}": rack for rack, count in zip("abcdefg", counts, strict=False) for number in range(count)}
    return Standing(racks, racks.keys())


def racks_of(value: ReplicasValue) -> set[str]:
    return {node[0] for node in value.nodes}


def test_no_two_copies_lie_in_one_rack_where_that_can_be() -> None:
    nodes = racked(2, 2, 2)
    plan = placed(12, 3, nodes, {})
    assert all(len(racks_of(value)) == 3 for value in plan.values())
    assert spread(held(plan), nodes.racks) == 0
    more, moves = settle(12, 3, racked(2, 2, 3), plan)
    assert all(len(racks_of(value)) == 3 for value in more.values())
    assert moves == 4, "as many as lie in each rack stay there: only the third rack becomes even"
    without = placed(12, 3, standing(nodes.racks), {})
    assert any(len(racks_of(value)) < 3 for value in without.values())
    parted, _ = settle(12, 3, nodes, without)
    assert all(len(racks_of(value)) == 3 for value in parted.values())
    two = placed(6, 3, racked(2, 2), {})
    assert all(len(racks_of(value)) == 2 for value in two.values())


def test_an_operators_choice_stays_and_others_make_it_even() -> None:
    four = names(4)
    plan = placed(8, 3, standing(four), {})
    group = next(group for group, value in plan.items() if "node4" not in value.nodes)
    chosen = ("node4", *sorted(plan[group].nodes)[1:])
    plan[group] = replace(plan[group], nodes=chosen, is_pinned=True)
    after, moves = settle(8, 3, standing(four), plan)
    assert set(after[group].nodes) == set(chosen)
    assert moves == 1
    assert spread(held(after), four) == 0
    lost, _ = settle(8, 3, standing(four, four[:3], {"node4"}), after)
    assert not lost[group].is_pinned


def test_any_history_is_even_and_stays_where_it_can() -> None:
    random = Random(18)
    for _ in range(60):
        every, groups, wanted = names(random.randint(1, 8)), random.randint(1, 24), random.randint(1, 4)
        racks = {node: random.choice(["", *"abc"]) for node in every}
        plan: dict[int, ReplicasValue] = {}
        for _ in range(6):
            staying = random.sample(every, random.randint(1, len(every)))
            alive = random.sample(staying, random.randint(1, len(staying)))
            lost = {node for node in every if node not in alive and random.random() < 0.5}
            nodes = Standing({node: racks[node] for node in staying}, alive, lost)
            before = plan
            plan, _ = settle(groups, wanted, nodes, plan)
            for group, value in plan.items():
                assert len(set(value.nodes)) == len(value.nodes) <= wanted
                assert len(value.nodes) >= min(wanted, len(alive))
                assert value.preferred in (*value.nodes, "")
                assert bool(value.preferred) == any(node in alive for node in value.nodes)
                away = {node for node in staying if node not in alive and node not in lost}
                if group in before:
                    assert away & {*before[group].nodes} <= {*value.nodes}, "most come back"
                if len(alive) >= wanted:
                    assert not lost & {*value.nodes}
            if set(alive) == set(staying) and not any(nodes.racks.values()):
                assert spread(held(plan), staying) <= 1
            assert placed(groups, wanted, nodes, plan) == plan


def test_a_node_without_room_gets_nothing_and_may_give() -> None:
    """Of what it has it gives as any other does; once it has room all is even again."""
    for seed in range(40):
        random = Random(seed)
        five = names(5)
        plan = placed(10, 3, standing(five[:4]), {})
        nodes = replace(standing(five), full=random.sample(five, random.randrange(1, 3)))
        before = {name: sum(name in value.nodes for value in plan.values()) for name in five}
        plan = moved(plan, nodes)
        after = {name: sum(name in value.nodes for value in plan.values()) for name in five}
        assert all(after[name] <= before[name] for name in nodes.full)
        if "node5" not in nodes.full:
            assert max(after.values()) - after["node5"] <= 1
        plan = moved(plan, standing(five))
        after = {name: sum(name in value.nodes for value in plan.values()) for name in five}
        assert max(after.values()) - min(after.values()) <= 1
        assert all(len(value.nodes) == 3 for value in plan.values())


def test_a_lost_node_s_copies_wait_for_room() -> None:
    plan = placed(6, 3, standing(names(3)), {})
    lost = Standing(dict.fromkeys(names(4), ""), names(4)[1:], ["node1"], ["node4"])
    assert not any(value.is_moving for value in placed(6, 3, lost, plan).values())
    assert any(value.is_moving for value in placed(6, 3, replace(lost, full=()), plan).values())


def test_where_copies_are_missing_one_without_room_is_better_than_none() -> None:
    two = Standing(dict.fromkeys(names(2), ""), names(2), (), ["node1"])
    assert placed(1, 1, two, {})[0].nodes == ("node2",)
    assert sorted(placed(1, 2, two, {})[0].nodes) == ["node1", "node2"]


def moved(plan: dict[int, ReplicasValue], nodes: Standing) -> dict[int, ReplicasValue]:
    """Until all that this begins is done."""
    while True:
        plan = placed(len(plan), 3, nodes, plan)
        if not any(value.is_moving for value in plan.values()):
            return plan
        plan = {
            group: replace(
                value,
                nodes=tuple({*value.hosts} - {value.going}),
                coming="",
                going="",
            )
            if value.is_moving
            else value
            for group, value in plan.items()
        }
