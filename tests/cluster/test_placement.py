"""Which nodes hold which groups: whatever nodes come, go and return."""

from __future__ import annotations

from collections import Counter
from random import Random

from flin.cluster.keys import ReplicasValue
from flin.cluster.placement import placed


def names(count: int) -> list[str]:
    return [f"node{number}" for number in range(1, count + 1)]


def led(plan: dict[int, ReplicasValue]) -> Counter[str]:
    return Counter(value.preferred for value in plan.values())


def test_three_nodes_lead_two_of_six_groups_each() -> None:
    three = names(3)
    plan: dict[int, ReplicasValue] = {}
    for count in (1, 2, 3):
        plan = placed(6, 3, three[:count], three[:count], (), plan)
    assert all(sorted(value.nodes) == three for value in plan.values())
    assert led(plan) == dict.fromkeys(three, 2)
    assert len({value.nodes for value in plan.values()}) > 1, "the ranks differ from group to group"


def test_nothing_changes_without_a_reason() -> None:
    five = names(5)
    plan = placed(16, 3, five, five, (), {})
    assert placed(16, 3, five, five, (), plan) == plan
    assert placed(6, 3, [], [], (), {}) == {}


def test_one_that_is_away_keeps_its_copies_and_leads_none() -> None:
    three = names(3)
    plan = placed(6, 3, three, three, (), {})
    away = placed(6, 3, three, three[1:], (), plan)
    assert {group: value.nodes for group, value in away.items()} == {
        group: value.nodes for group, value in plan.items()
    }
    assert led(away) == {"node2": 3, "node3": 3}
    changed = [group for group in plan if away[group].preferred != plan[group].preferred]
    assert {plan[group].preferred for group in changed} == {"node1"}
    assert led(placed(6, 3, three, three, (), away)) == dict.fromkeys(three, 2)
    assert {value.preferred for value in placed(6, 3, three, [], (), plan).values()} == {""}


def test_one_that_is_lost_is_replaced_where_somebody_can() -> None:
    four = names(4)
    plan = placed(8, 3, four, four, (), {})
    after = placed(8, 3, four, four[1:], {"node1"}, plan)
    assert all(sorted(value.nodes) == four[1:] for value in after.values())
    three = placed(8, 3, four[:3], four[1:3], {"node1"}, {})
    assert all("node1" in value.nodes for value in three.values())


def test_any_history_is_even_and_stays_where_it_can() -> None:
    random = Random(18)
    for _ in range(60):
        every, groups, replicas = names(random.randint(1, 8)), random.randint(1, 24), random.randint(1, 4)
        plan: dict[int, ReplicasValue] = {}
        for _ in range(6):
            nodes = random.sample(every, random.randint(1, len(every)))
            alive = random.sample(nodes, random.randint(0, len(nodes)))
            lost = random.sample(nodes, random.randint(0, len(nodes) - len(alive))) if len(alive) < len(nodes) else []
            lost = [node for node in lost if node not in alive]
            new = placed(groups, replicas, nodes, alive, lost, plan)
            for group, value in new.items():
                assert len(set(value.nodes)) == len(value.nodes) == min(replicas, len(nodes))
                assert value.preferred in (*value.nodes, "")
                assert bool(value.preferred) == any(node in alive for node in value.nodes)
                usable = [node for node in nodes if node not in lost]
                if group in plan:
                    stayed = [node for node in plan[group].nodes if node in usable]
                    assert set(stayed[:replicas]) <= set(value.nodes)
                if len(usable) >= replicas:
                    assert not set(value.nodes) & set(lost)
            if set(alive) == set(nodes) and replicas >= len(nodes):
                loads = [led(new)[node] for node in nodes]
                assert max(loads) - min(loads) <= 1
            assert placed(groups, replicas, nodes, alive, lost, new) == new
            plan = new
