"""The checker of histories: it refuses what no order explains, and only that."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.testing.cluster.history import (
    Call,
    Outcome,
    Reply,
    decode_call,
    encode_call,
    longest_gap_ns,
    read_history,
    write_history,
)
from flin.testing.cluster.linearizable import NotLinearizable, Undecided, apply, check
from tests.testing.broken_service import BUGS, Service, run

UNKNOWN, REFUSED = Outcome.UNKNOWN, Outcome.REFUSED


def call(began: int, ended: int, said: str, *replies: Reply, outcome: Outcome = Outcome.DONE) -> Call:
    """`said`: the client's name, then a command, or several with a comma between them."""
    client, _, words = said.partition(" ")
    commands = tuple(tuple(each.split()) for each in words.split(", "))
    return Call(client, "x", commands, began, ended, outcome, replies)


GOOD: dict[str, list[Call]] = {
    "nothing": [],
    "one after the other": [call(0, 1, "a INCR x", 1), call(2, 3, "b INCR x", 2), call(4, 5, "a GET x", "2")],
    "a read during a write, before it": [call(0, 9, "a SET x 1", "OK"), call(2, 3, "b GET x", None)],
    "and after it": [call(0, 9, "a SET x 1", "OK"), call(2, 3, "b GET x", "1"), call(4, 5, "b GET x", "1")],
    "at one moment": [call(0, 5, "a SET x 1", "OK"), call(5, 6, "b GET x", None)],
    "an unknown write took effect": [call(0, 1, "a INCR x", outcome=UNKNOWN), call(2, 3, "b INCR x", 2)],
    "or not": [call(0, 1, "a INCR x", outcome=UNKNOWN), call(2, 3, "b INCR x", 1)],
    "or late": [
        call(0, 1, "a SET x 1", outcome=UNKNOWN), call(2, 3, "b GET x", None), call(4, 5, "b GET x", "1"),
    ],
    "two of three that do the same": [
        *(call(n, n, "a INCR x", outcome=UNKNOWN) for n in range(3)), call(5, 6, "b GET x", "2"),
    ],
    "refused ones count for nothing": [call(0, 1, "a INCR x", outcome=REFUSED), call(2, 3, "b INCR x", 1)],
    "a transaction": [
        call(0, 5, "a DEL x, APPEND y one", 0, 3), call(1, 6, "b APPEND y two, GET y", 6, "onetwo"),
    ],
    "a value is taken and put": [call(0, 1, "a SET x 1", "OK"), call(2, 3, "b GETSET x 2", "1")],
}  # fmt: skip

BAD: dict[str, list[Call]] = {
    "an answered write is lost": [call(0, 1, "a SET x 1", "OK"), call(2, 3, "b GET x", None)],
    "a count is lost": [call(0, 1, "a INCR x", 1), call(2, 3, "b INCR x", 1)],
    "a count is done twice": [call(0, 1, "a INCR x", 1), call(2, 3, "b INCR x", 3)],
    "a read goes back": [
        call(0, 9, "a SET x 1", "OK"), call(2, 3, "b GET x", "1"), call(4, 5, "b GET x", None),
    ],
    "two readers see two orders": [
        call(0, 1, "a SET x 1", "OK"), call(2, 20, "b SET x 2", "OK"), call(3, 4, "c GET x", "2"),
        call(5, 6, "d GET x", "1"),
    ],
    "an unknown write is done and undone": [
        call(0, 1, "a SET x 1", outcome=UNKNOWN), call(2, 3, "b GET x", "1"), call(4, 5, "b GET x", None),
    ],
    "an unknown write is done twice": [
        call(0, 1, "a INCR x", outcome=UNKNOWN), call(2, 3, "b INCR x", 3),
    ],
    "an unknown write before it was sent": [
        call(0, 1, "b GET x", "1"), call(2, 3, "a SET x 1", outcome=UNKNOWN),
    ],
    "a refused one was done": [call(0, 1, "a INCR x", outcome=REFUSED), call(2, 3, "b INCR x", 2)],
    "an appended piece is lost": [
        call(0, 1, "a APPEND x one", 3), call(2, 3, "b APPEND x two", 6), call(4, 5, "a GET x", "two"),
    ],
    "pieces in another order": [
        call(0, 1, "a APPEND x one", 3), call(2, 3, "b APPEND x two", 6), call(4, 5, "a GET x", "twoone"),
    ],
    "half of a transaction": [
        call(0, 1, "a INCR x, INCR y", 1, 1), call(2, 3, "b GET x, GET y", "1", None),
    ],
    "half of an unknown transaction": [
        call(0, 1, "a INCR x, INCR y", outcome=UNKNOWN), call(2, 3, "b GET x, GET y", "1", None),
    ],
    "a value from nowhere": [call(0, 1, "a GET x", "7")],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_accepted(name: str) -> None:
    assert check(GOOD[name]) == min(1, len(GOOD[name]))


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    with pytest.raises(NotLinearizable, match=r"^x: no order explains"):
        check(BAD[name])


def test_objects_are_checked_apart() -> None:
    good, bad = GOOD["one after the other"], BAD["a count is lost"]
    others = [Call(each.client, "y", each.commands, each.began, each.ended, each.outcome, each.replies) for each in bad]
    assert check([*good, *others[:1]]) == 2
    with pytest.raises(NotLinearizable, match=r"^y: "):
        check([*good, *others])


def test_a_search_that_is_given_up_is_no_success() -> None:
    calls = [call(n, 100 + n, f"{n} SET x {n}", "OK") for n in range(12)]
    with pytest.raises(Undecided, match=r"^x: not decided after 500 steps, 13 calls done, 0 unknown"):
        check([*calls, call(200, 201, "b GET x", "none of them")], max_steps=500)


def test_many_reads_at_once_make_no_search_long() -> None:
    """As clients have them under way at a leader that is stopped: each would double what is tried."""
    before = [call(0, 1, "a SET x 1", "OK")]
    during = [call(2 + n, 200 + n, f"{n} GET x", "1" if n % 2 else "2") for n in range(100)]
    writes = [call(150 + n, 152 + n, f"b SET x {n % 2 + 1}", "OK") for n in range(1, 7, 3)]
    assert check([*before, *during, *writes], max_steps=500) == 1
    with pytest.raises(NotLinearizable):
        check([*before, *writes, *during, call(302, 303, "c GET x", "3")], max_steps=500)
    late = [call(160 + n, 200 + n, f"{n} GET x", "1") for n in range(100)]
    with pytest.raises(NotLinearizable):
        check([*before, call(150, 152, "b SET x 2", "OK"), *late], max_steps=500)


# Beside the plainest checker: all orders of all choices of what was done.

COMMANDS = ["SET x 1", "SET x 2", "GET x", "INCR x", "DEL x", "APPEND x 1", "GETSET x 2", "INCR x, GET x"]
REPLIES: list[Reply] = [None, 0, 1, 2, "OK", "1", "2", "11"]


def plainly(calls: Sequence[Call]) -> bool:
    """Whether it is linearizable."""
    done = [each for each in calls if each.outcome is Outcome.DONE]
    unknown = [each for each in calls if each.outcome is UNKNOWN]
    chosen = ([*done, *(each for n, each in enumerate(unknown) if bits >> n & 1)] for bits in range(1 << len(unknown)))
    return any(explains(order) for some in chosen for order in permutations(some))


def explains(order: Sequence[Call]) -> bool:
    state: tuple[tuple[str, str], ...] = ()
    latest = -1
    for each in order:
        latest = max(latest, each.began)
        if each.outcome is Outcome.DONE and latest > each.ended:
            return False
        state, replies = apply(state, each.commands)
        if each.outcome is Outcome.DONE and replies != each.replies:
            return False
    return True


@st.composite
def histories(draw: st.DrawFn) -> list[Call]:
    """Replies come from an order that was drawn, but for one, so that a good part of the histories is linearizable."""
    count = draw(st.integers(1, 5))
    moments = draw(st.permutations(range(2 * count)))
    state: tuple[tuple[str, str], ...] = ()
    calls = []
    for number in range(count):
        began, ended = sorted(moments[2 * number : 2 * number + 2])
        commands = tuple(tuple(each.split()) for each in draw(st.sampled_from(COMMANDS)).split(", "))
        outcome = draw(st.sampled_from([Outcome.DONE, Outcome.DONE, Outcome.DONE, UNKNOWN, REFUSED]))
        replies: tuple[Reply, ...] = ()
        if outcome is not REFUSED:
            state, replies = apply(state, commands)
        if number == count - 1 and draw(st.booleans()):
            replies = tuple(draw(st.sampled_from(REPLIES)) for _ in commands)
        calls.append(
            Call(str(number), "x", commands, began, ended, outcome, replies if outcome is Outcome.DONE else ())
        )
    return calls


@given(histories())
def test_as_all_orders_say(calls: list[Call]) -> None:
    try:
        check(calls)
    except NotLinearizable:
        assert not plainly(calls)
    else:
        assert plainly(calls)


# Services: one that is right under loss and delay, and those that are broken in the ways that replication can break.


def test_a_service_that_is_right() -> None:
    histories = [run(Service(random.Random(seed)), clients=6, calls=300) for seed in range(8)]
    assert [check(calls) for calls in histories] == [6] * len(histories)
    assert {each.outcome for calls in histories for each in calls} == set(Outcome)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_each_broken_service_is_refused(bug: type[Service]) -> None:
    """Within a few seeds: each bug needs its moment."""
    assert any(_is_refused(run(bug(random.Random(seed)), clients=6, calls=300)) for seed in range(10))


def _is_refused(calls: list[Call]) -> bool:
    try:
        check(calls)
    except NotLinearizable:
        return True
    return False


def test_long_histories_are_decided() -> None:
    """Of one object, with a few calls of unknown outcome: a load takes another object before there are many."""
    service = Service(random.Random(1))
    service.failover_chance = service.loss_chance = 0.001
    assert check(run(service, clients=12, calls=1200, objects=1)) == 1


# Files of histories.


def _all_calls() -> Iterator[Call]:
    for each in (*GOOD.values(), *BAD.values()):
        yield from each


def test_a_history_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "history"
    write_history(path, _all_calls())
    assert list(read_history(path)) == list(_all_calls())
    with path.open("a") as file:
        file.write(encode_call(GOOD["at one moment"][0])[:-3])  # its writer was killed
    assert list(read_history(path)) == list(_all_calls())


@pytest.mark.parametrize("line", ["", "7", "{}", '{"client": "a"}', encode_call(BAD["a value from nowhere"][0])[1:]])
def test_no_history(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_call(line)


def test_the_longest_gap() -> None:
    assert longest_gap_ns([]) == 0
    refused = call(3, 5, "a INCR x", outcome=REFUSED)
    assert longest_gap_ns([call(0, 9, "b INCR x", 1), refused, call(0, 2, "a INCR x", 2)]) == 7
