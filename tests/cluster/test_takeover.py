"""Who leads: the rules by tables, and whole groups in virtual time; each broken rule is found out there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from math import inf
from typing import Any

import pytest

from flin.cluster.etcd.key_value import Outcome, Pair, Put
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.keys import AppliedValue, LeaderValue, ReplicasValue
from flin.cluster.replica.lease import LEASE_SECONDS, Lease, Vigil
from flin.cluster.replica.takeover import (
    RANK_SECONDS,
    SETTLED_SECONDS,
    Kind,
    Myself,
    Peers,
    Place,
    Request,
    Role,
    Sight,
    claim_delay,
    target_of,
)
from flin.errors import CorruptionError
from tests.cluster.takeover_simulation import CALM, GROUP, KEYS, Faults, Simulation, leader_of

HARD = Faults(kill=0.03, stop=0.06, cut=0.06, hand_over=0.06, lost=0.03, slow=0.1, rate=0.049)


def run(seed: int, faults: Faults = HARD, **broken: Any) -> Simulation:
    """A minute of faults, then half a minute without."""
    simulation = Simulation(seed, **broken)
    simulation.faults = faults
    simulation.run(60)
    simulation.faults = CALM
    simulation.run(25)
    simulation.check_log()
    return simulation


def holds(seed: int) -> None:
    simulation = run(seed)
    assert simulation.broken == []
    before = len(simulation.acknowledged)
    simulation.run(3)
    assert len(simulation.acknowledged) > before + 20, "without faults there is a leader that writes"


@pytest.mark.parametrize("seed", range(10))
def test_one_leader_and_nothing_lost(seed: int) -> None:
    holds(seed)


@pytest.mark.slow
def test_one_leader_and_nothing_lost_at_length() -> None:
    for seed in range(10, 300):
        holds(seed)


class CountsFromTheAnswer(Lease):
    """A lease that lasts from when the put was answered."""

    def renew(self, sent_at: float) -> None:
        super().renew(self.clock())


class TooLong(Lease):
    """A margin on the wrong side."""

    def renew(self, sent_at: float) -> None:
        super().renew(sent_at + 2)


class NeverEnds(Lease):
    """It goes on after a handover."""

    def end(self) -> None:
        return None


class DoesNotLookAtTheLease(Place):
    """A claim that compares only who leads."""

    def _change(self, kind: Kind, value: LeaderValue) -> Request:
        request = super()._change(kind, value)
        return Request(kind, request.compares[:1], request.success, request.failure)


class RenewsWhatItLost(Place):
    """A renewal that does not compare who leads."""

    def _renewal(self) -> Request:
        request = super()._renewal()
        return Request(request.kind, (), request.success, request.failure)


class SawItWhenItAsked(Place):
    """A vigil that begins when the look was sent."""

    def note(self, request: Request, outcome: Outcome, sent_at: float, arrived_at: float) -> None:
        super().note(request, outcome, sent_at, sent_at if request.kind is Kind.LOOK else arrived_at)


class Impatient(Place):
    """A claim after half of the time."""

    def request(self, now: float) -> Request:
        return super().request(now + LEASE_SECONDS / 2)


@pytest.mark.parametrize(
    "broken",
    [
        {"lease": TooLong},
        {"place": DoesNotLookAtTheLease},
        {"place": RenewsWhatItLost},
        {"place": Impatient},
        {"buries_the_living": True},
    ],
    ids=str,
)
def test_each_broken_rule_is_found_out(broken: dict[str, Any]) -> None:
    assert any(run(seed, **broken).broken for seed in range(60))


def slow_leader(seconds: float, **broken: Any) -> Simulation:
    """A renewal is answered late, then its leader is cut off."""
    simulation = calm(20, 1, **broken)
    leader = simulation.leading()
    leader.slow_answers = 1.9
    simulation.run(4 + seconds)
    leader.cut_until = simulation.now + 8
    simulation.run(8)
    return simulation


def slow_followers(seconds: float, **broken: Any) -> Simulation:
    """Looks reach etcd late, then the leader is cut off, and the claim is quick."""
    simulation = calm(20, 1, **broken)
    leader = simulation.leading()
    for machine in simulation.nodes:
        if machine is not leader:
            machine.slow_requests = 1.9
    simulation.run(4 + seconds)
    leader.cut_until = simulation.now + 8
    simulation.run(2.5)
    for machine in simulation.nodes:
        machine.slow_requests = 0
    simulation.run(4)
    return simulation


def slow_handover(seconds: float, **broken: Any) -> Simulation:
    """A leader learns late that its place has been taken over, as it wanted."""
    simulation = calm(20, 1, **broken)
    simulation.run(seconds)
    leader = simulation.leading()
    leader.slow_answers = 1.5
    assert leader.worker is not None
    leader.worker.wants_end = True
    simulation.run(8)
    return simulation


@pytest.mark.parametrize(
    ("scene", "broken"),
    [
        (slow_handover, {"lease": NeverEnds}),
        (slow_leader, {"lease": CountsFromTheAnswer}),
        (slow_followers, {"place": SawItWhenItAsked}),
    ],
)
def test_moments_are_counted_from_the_right_side(scene: Callable[..., Simulation], broken: dict[str, Any]) -> None:
    """Whatever part of a second it happens in."""
    assert not any(scene(part / 8).broken for part in range(8))
    assert any(scene(part / 8, **broken).broken for part in range(8))


def test_nobody_else_may_name_a_leader() -> None:
    """A controller that takes the place of one that lives: the old one reads from its lease beside the new one."""

    def depose(simulation: Simulation) -> None:
        leader = leader_of(simulation)
        other = next(each.worker for each in simulation.nodes if each.name != leader.node and each.worker)
        value = LeaderValue(leader.epoch + 1, other.machine.name, other.start)
        simulation.store.txn((), (Put(KEYS.leader(GROUP), value.encode()),), timeout=1)

    simulation = calm(20, 1)
    depose(simulation)
    simulation.run(10)
    assert simulation.broken


def test_leaders_that_hand_over_go_on_as_followers() -> None:
    simulation = calm(20, 4)
    for _ in range(20):
        worker = simulation.leading().worker
        assert worker is not None
        worker.wants_end = True
        simulation.run(12)
    assert simulation.broken == []
    assert simulation.followed == 20
    assert [machine.starts for machine in simulation.nodes] == [1, 1, 1]
    assert leader_of(simulation).epoch == 21
    simulation.check_log()
    assert simulation.broken == []


def calm(seconds: float, seed: int, **broken: Any) -> Simulation:
    simulation = Simulation(seed, **broken)
    simulation.faults = CALM
    simulation.run(seconds)
    return simulation


def test_a_killed_leader_is_replaced_soon() -> None:
    gaps = []
    for seed in range(10):
        simulation = calm(20, seed)
        leader = leader_of(simulation)
        simulation.leading().worker = None
        simulation.run(20)
        assert leader_of(simulation).epoch == leader.epoch + 1
        gaps.append(simulation.longest_gap)
    assert max(gaps) < 6


def test_a_worker_whose_process_has_ended_is_replaced_at_once() -> None:
    simulation = calm(20, 3)
    leader, machine = leader_of(simulation), simulation.leading()
    machine.worker = None
    machine.start()
    simulation.run(10)
    assert leader_of(simulation).start == f"{leader.node}2"
    assert simulation.longest_gap < 1
    assert not simulation.broken


REPLICAS = ReplicasValue(("a", "b", "c"), "b")


@pytest.mark.parametrize(
    ("node", "leader", "replicas", "delay"),
    [
        ("a", None, None, inf),
        ("d", None, REPLICAS, inf),
        ("b", None, REPLICAS, 0),
        ("a", None, REPLICAS, LEASE_SECONDS),
        ("a", None, ReplicasValue(("a", "b")), 0),
        ("a", None, ReplicasValue(("a", "b"), "gone"), 0),
        ("a", LeaderValue(1, "b", "b1"), REPLICAS, LEASE_SECONDS),
        ("b", LeaderValue(1, "b", "b1"), REPLICAS, 0),
        ("c", LeaderValue(1, "b", "b1"), REPLICAS, LEASE_SECONDS + RANK_SECONDS),
    ],
)
def test_when_a_claim_is_due(
    node: str, leader: LeaderValue | None, replicas: ReplicasValue | None, delay: float
) -> None:
    myself = Myself(0, node, "now")
    assert claim_delay(myself, Sight(leader, replicas, 0)) == delay


def test_to_whom_a_leader_gives_its_place() -> None:
    myself = Myself(0, "a", "a1")
    able = {"b": AppliedValue(5, "b1"), "c": AppliedValue(7, "c1"), "d": AppliedValue(9, "d1")}
    assert target_of(myself, REPLICAS, able) == ("b", "b1")
    assert target_of(myself, ReplicasValue(("a", "b", "c")), able) == ("c", "c1")
    assert target_of(myself, REPLICAS, {"a": able["b"], "c": able["c"], "d": able["d"]}) == ("c", "c1")
    full = {**able, "b": AppliedValue(5, "b1", has_room=False)}
    assert target_of(myself, REPLICAS, full) == ("c", "c1"), "it has room"
    assert target_of(myself, REPLICAS, {"b": full["b"]}) == ("b", "b1"), "there is no other"
    assert target_of(myself, REPLICAS, {}) is None
    assert target_of(myself, None, able) is None


def test_who_can_be_given_a_group() -> None:
    def found(key: bytes, value: bytes, revision: int) -> list[Pair]:
        return [Pair(key, value, 1, revision, 1)]

    def look(alive: int, applied: int, start: str, now: float) -> None:
        value = AppliedValue(9, start).encode()
        peers.note(found(KEYS.alive("b"), b"{}", alive), found(KEYS.applied(0, "b"), value, applied), now)

    peers = Peers()
    assert not peers.perhaps(0)
    look(5, 6, "b1", 0)
    assert not peers.able(0), "both may have been there for long"
    assert peers.perhaps(6)
    assert not peers.perhaps(7), "by then it would have shown itself"
    look(7, 6, "b1", 1)
    assert not peers.able(1), "the node is there, its process perhaps not"
    look(8, 9, "b1", 2)
    assert peers.able(2) == {"b": AppliedValue(9, "b1")}
    assert not peers.able(2, seconds=3)
    look(10, 11, "b1", 5)
    assert peers.able(5, seconds=3)
    look(12, 13, "b2", 6)
    assert peers.able(6)
    assert not peers.able(6, seconds=3), "another process"
    look(14, 13, "b2", 13)
    assert not peers.able(13), "the process has not shown itself for long"
    look(15, 16, "b2", 14)
    assert not peers.able(17), "nor has the node"
    look(17, 18, "", 18)
    assert not peers.able(18), "it has ended"


def test_who_has_just_begun_to_lead_gives_its_place_to_one_that_may_be_there() -> None:
    """All were started at once, and one ends again: to wait for proof would cost the group a lease."""
    store = MemoryKeyValues().client()
    there = (Put(KEYS.alive(name), b"1") for name in ("n2", "n3"))
    signs = (
        Put(KEYS.applied(GROUP, "n2"), AppliedValue(9, "").encode()),
        Put(KEYS.applied(GROUP, "n3"), AppliedValue(5, "s3").encode()),
    )
    store.txn(
        (), (Put(KEYS.replicas(GROUP), ReplicasValue(("n1", "n2", "n3"), "n1").encode()), *there, *signs), timeout=1
    )
    place = Place(KEYS, Myself(GROUP, "n1", "s1"), Lease(lambda: 0))
    for kind in (Kind.LOOK, Kind.CLAIM, Kind.RENEW):
        assert place.target(0) is None
        request = place.request(0)
        assert request.kind is kind
        place.note(request, store.txn(request.compares, request.success, request.failure, timeout=1), 0, 0)
    assert place.target(0) == ("n3", "s3"), "n2 has said that it ends"
    assert place.target(7) is None


def moments(*values: float) -> Callable[[], float]:
    return iter(values).__next__


def test_a_lease_lasts_from_its_sending_less_the_margin() -> None:
    lease = Lease(moments(0, 13.5, 13.7, 13.5))
    assert not lease.is_held()
    lease.renew(10)
    lease.renew(9)  # an answer that was overtaken
    assert lease.is_held()
    assert not lease.is_held()
    lease.end()
    lease.renew(20)
    assert not lease.is_held()


def test_a_vigil_begins_anew_with_each_change() -> None:
    vigil = Vigil()
    assert vigil.seconds(5) == -inf
    vigil.note((1, 2), 5)
    vigil.note((1, 2), 6)
    assert vigil.seconds(7) == 2
    vigil.note((1, 3), 8)
    assert vigil.seconds(9) == 1


def test_a_leader_sees_that_another_one_should_lead() -> None:
    now = 100.0
    store = MemoryKeyValues().client()
    store.txn((), (Put(KEYS.replicas(GROUP), ReplicasValue(("n1", "n2"), "n1").encode()),), timeout=1)
    place = Place(KEYS, Myself(GROUP, "n1", "s1"), Lease(lambda: now))

    def ask(kind: Kind) -> None:
        request = place.request(now)
        assert request.kind is kind
        outcome = store.txn(request.compares, request.success, request.failure, timeout=1)
        place.note(request, outcome, now, now)

    ask(Kind.LOOK)
    ask(Kind.CLAIM)
    ask(Kind.RENEW)
    moved = Put(KEYS.replicas(GROUP), ReplicasValue(("n2",), "n2").encode())
    others = Put(KEYS.alive("n2"), b"1"), Put(KEYS.applied(GROUP, "n2"), AppliedValue(1, "s2").encode())
    store.txn((), (moved, *others), timeout=1)
    now += SETTLED_SECONDS
    ask(Kind.RENEW)
    assert place.replicas == ReplicasValue(("n2",), "n2")
    store.txn((), others, timeout=1)
    ask(Kind.RENEW)
    assert place.target(now) == ("n2", "s2")
    assert place.maybe_target(now) is None, "that process may be about to end"
    now += SETTLED_SECONDS
    store.txn((), others, timeout=1)
    ask(Kind.RENEW)
    assert place.maybe_target(now) == ("n2", "s2")
    full = Put(KEYS.applied(GROUP, "n2"), AppliedValue(1, "s2", has_room=False).encode())
    store.txn((), (full,), timeout=1)
    ask(Kind.RENEW)
    assert place.maybe_target(now) is None, "what it would be given it could not write"
    assert place.maybe_target(now, has_room=False) is None
    store.txn((), (Put(KEYS.replicas(GROUP), ReplicasValue(("n1", "n2"), "n1").encode()), *others), timeout=1)
    ask(Kind.RENEW)
    assert place.maybe_target(now) is None, "it is preferred itself"
    assert place.maybe_target(now, has_room=False) == ("n2", "s2")


def test_who_leads_is_seen_though_the_replicas_are_none() -> None:
    """A leader that is fenced ends, and who follows takes its place; who claims is known."""
    now = 100.0
    store = MemoryKeyValues().client()
    store.txn((), (Put(KEYS.replicas(GROUP), ReplicasValue(("n1", "n2"), "n1").encode()),), timeout=1)
    first, second = (Place(KEYS, Myself(GROUP, name, "s"), Lease(lambda: now)) for name in ("n1", "n2"))

    def ask(place: Place, kind: Kind, *, is_damaged: bool = False) -> None:
        request = place.request(now)
        assert request.kind is kind
        outcome = store.txn(request.compares, request.success, request.failure, timeout=1)
        with pytest.raises(CorruptionError) if is_damaged else nullcontext():
            place.note(request, outcome, now, now)

    ask(first, Kind.LOOK)
    ask(second, Kind.LOOK)
    ask(first, Kind.CLAIM)
    store.txn((), (Put(KEYS.replicas(GROUP), b"{"),), timeout=1)
    ask(second, Kind.LOOK, is_damaged=True)
    now += 2 * LEASE_SECONDS
    ask(second, Kind.CLAIM, is_damaged=True)
    assert second.role is Role.LEADING
    ask(first, Kind.RENEW, is_damaged=True)
    assert first.role is Role.ENDED
