"""How members of etcd become a quorum, whatever the order of what happens."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from flin.cluster.node.forming import (
    MAX_MEMBERS,
    Add,
    Admitted,
    Guest,
    Promote,
    Refuse,
    Remove,
    admission,
    to_promote,
    unnamed,
)


class Member(NamedTuple):
    id: int
    name: str
    peer_urls: tuple[str, ...]
    is_learner: bool = False


def url(number: int) -> str:
    return f"http://localhost:{9080 + number}"


def voter(number: int) -> Member:
    return Member(number, f"node{number}", (url(number),))


def with_vote(members: list[Member], chosen: int) -> list[Member]:
    return [each._replace(is_learner=each.is_learner and each.id != chosen) for each in members]


def test_the_second_learns_and_the_third_makes_both_vote() -> None:
    first, second = voter(1), voter(2)
    learner = second._replace(is_learner=True)
    assert admission([first], "node2", url(2)) == Add()
    assert admission([first, learner._replace(name="")], "node2", url(2)) == Admitted()
    assert to_promote([first, learner]) is None, "two that vote stop when either stops"
    assert admission([first, learner], "node3", url(3)) == Promote(2, "node2")
    assert admission([first, second], "node3", url(3)) == Add()
    third = voter(3)._replace(is_learner=True)
    assert to_promote([first, second, third._replace(name="")]) is None, "it has not started"
    assert to_promote([first, second, third]) == third
    assert to_promote([first, second, voter(3)]) is None


def test_what_is_refused() -> None:
    three = [voter(1), voter(2), voter(3)]
    again = admission(three, "node3", url(3))
    assert isinstance(again, Refuse)
    assert again.reason.startswith(
        f"node3 at {url(3)} is a member already. If its directory is lost: flin cluster leave"
    )
    taken = admission(three, "node3", url(7))
    assert isinstance(taken, Refuse)
    assert "there is a node node3 already" in taken.reason
    assert admission([voter(number) for number in range(MAX_MEMBERS)], "node9", url(9)) == Guest()


def test_one_that_died_before_its_etcd_was_started() -> None:
    """It has no name, so it could never vote, and nobody else could join."""
    members = [voter(1), voter(2), voter(3), voter(4)._replace(name="", is_learner=True)]
    joining = {"node4": url(4)}
    assert admission(members, "node4", url(4), joining) == Admitted()
    assert admission(members, "node4", url(7), joining) == Remove(4), "it comes again at another address"
    assert admission(members, "node5", url(5), joining) == Promote(4, ""), "which cannot be done"
    assert unnamed(members, url(4)) == members[3]
    assert unnamed(members, url(3)) is None


def test_any_order_of_joins_starts_and_promotions_ends_with_all_voting() -> None:
    random = Random(18)
    for _ in range(200):
        members = [voter(1)]
        waiting = [*range(2, random.randint(2, MAX_MEMBERS) + 1)]
        wanted = len(waiting) + 1
        for _ in range(500):
            choice = random.randrange(3)
            at = random.randrange(len(members))
            if choice == 0 and waiting:
                number = random.choice(waiting)
                match admission(members, f"node{number}", url(number)):
                    case Add():
                        members.append(Member(number, "", (url(number),), True))
                    case Promote(member, name):
                        if name and random.random() < 0.7:  # else it is behind
                            members = [
                                each._replace(is_learner=each.is_learner and each.id != member) for each in members
                            ]
                    case Admitted():
                        waiting.remove(number)
                    case other:
                        raise AssertionError(other)
            elif choice == 1 and members[at].id not in waiting:
                members[at] = members[at]._replace(name=f"node{members[at].id}")
            elif (chosen := to_promote(members)) is not None:
                members = with_vote(members, chosen.id)
            assert sum(each.is_learner for each in members) <= 1, "etcd 3.4 takes one learner at a time"
            voting = sum(not each.is_learner for each in members)
            assert voting != 2 or len(members) >= 2
        assert not waiting
        assert len(members) == wanted
        if wanted >= 3:
            assert not any(each.is_learner for each in members)
        elif wanted == 2:
            assert [each.is_learner for each in members] == [False, True]
