"""The flow of a connection: every transition, and when its transport is read, without a socket."""

from __future__ import annotations

from itertools import product

import pytest

from flin.net.serve.flow import (
    BLOCKED,
    CLOSED,
    ENDING,
    HELD,
    READING,
    TRANSITIONS,
    TURN_OVER,
    WAITING,
    Event,
    Flow,
    State,
)

WAIT, BLOCK, END_TURN, FINISH, HOLD, STOP, LOSE = Event


# The transitions, with an example of each; a pair that is missing changes nothing.
CHANGES = {
    (READING, WAIT): WAITING,  # a cold read
    (READING, BLOCK): BLOCKED,  # BLPOP
    (READING, END_TURN): TURN_OVER,  # a long pipeline
    (READING, HOLD): HELD,  # the client stops reading while none of its requests runs
    (READING, STOP): ENDING,  # QUIT
    (WAITING, BLOCK): BLOCKED,  # BLPOP of a key that had to be read from the disk
    (WAITING, END_TURN): TURN_OVER,  # the request that waited has a long reply, and others follow it
    (WAITING, FINISH): READING,
    (WAITING, STOP): ENDING,  # CLIENT KILL from elsewhere
    (BLOCKED, END_TURN): TURN_OVER,
    (BLOCKED, FINISH): READING,  # it has its reply
    (BLOCKED, STOP): ENDING,
    (TURN_OVER, BLOCK): BLOCKED,
    (TURN_OVER, WAIT): WAITING,
    (TURN_OVER, FINISH): READING,
    (TURN_OVER, HOLD): HELD,  # its turn comes, and its client does not read
    (TURN_OVER, STOP): ENDING,
    (HELD, END_TURN): TURN_OVER,  # the client has read, and there is more to run
    (HELD, FINISH): READING,  # or there is not
    (HELD, STOP): ENDING,
    **{(state, LOSE): CLOSED for state in State},
}


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_transition(state: State, event: Event) -> None:
    flow = Flow()
    flow.state = state
    expected = CHANGES.get((state, event), state)
    assert flow.on(event) is expected
    assert flow.state is expected
    assert flow.is_over == (expected in (ENDING, CLOSED))


def test_the_table_is_whole() -> None:
    assert TRANSITIONS.keys() == set(State)
    assert all(row.keys() == set(Event) for row in TRANSITIONS.values())


def test_nothing_comes_back_from_the_end() -> None:
    assert set(TRANSITIONS[ENDING].values()) == {ENDING, CLOSED}
    assert set(TRANSITIONS[CLOSED].values()) == {CLOSED}


def test_every_state_can_be_reached_and_left() -> None:
    reached = {READING}
    for _ in State:
        reached |= {after for state in reached for after in TRANSITIONS[state].values()}
    assert reached == set(State)
    assert all(CLOSED in TRANSITIONS[state].values() for state in State)


FACTS = ("is_unread", "is_overheld", "is_last", "may_read")


@pytest.mark.parametrize(("state", "facts"), list(product(State, product((False, True), repeat=len(FACTS)))))
def test_when_the_transport_is_read(state: State, facts: tuple[bool, ...]) -> None:
    flow = Flow()
    flow.state = state
    for name, fact in zip(FACTS, facts, strict=True):
        setattr(flow, name, fact)
    is_unread, is_overheld, is_last, may_read = facts
    assert flow.is_blocked == (is_unread or is_overheld)
    assert not flow.wants_reading(is_full=True)
    if is_last or not may_read or state in (WAITING, TURN_OVER, ENDING, CLOSED):
        assert not flow.wants_reading(is_full=False)
    elif state in (READING, BLOCKED):
        assert flow.wants_reading(is_full=False)
    else:
        assert flow.wants_reading(is_full=False) == (not is_overheld), "who only does not read is read on"


def test_a_connection_begins_reading() -> None:
    flow = Flow()
    assert (flow.state, flow.is_reading, flow.is_blocked, flow.is_over) == (READING, True, False, False)
    assert flow.wants_reading(is_full=False)
