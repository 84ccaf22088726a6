"""The flow of a connection: its state, the events, and the state after each. Pure: no transport, no bytes.

    READING    what arrives is run at once
    WAITING    a request waits: for the disk, for its next slice, for stalled writers
    BLOCKED    a request waits for a key (BLPOP); what arrives is read, and kept
    TURN_OVER  the others have their turns, then it goes on
    HELD       the way out is blocked: nothing is run until some of the replies have left
    ENDING     nothing is run any more; it closes as soon as all replies have left
    CLOSED     the transport is gone

A blocked way out (the client does not read, or too much waits for a sync) holds a connection back before it begins to
run: one that is READING at once, one in TURN_OVER when its turn comes. A request that waits is still answered.

Whether the transport is read follows from the state (`wants_reading`). One that is HELD because its client does not
read is still read: most libraries send a whole pipeline before they read anything, and would wait forever for a server
that waits for them. One that is BLOCKED is read, because a transport that is not read notices no end of its client:
the next job would go to a worker that has died. Where its backlog is full it is closed, for the same reason.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class State(Enum):
    __hash__ = object.__hash__  # Enum's own is a function of Python

    READING = auto()
    WAITING = auto()
    BLOCKED = auto()
    TURN_OVER = auto()
    HELD = auto()
    ENDING = auto()
    CLOSED = auto()


class Event(Enum):
    __hash__ = object.__hash__

    WAIT = auto()
    """A request must wait."""
    BLOCK = auto()
    """A request must wait for a key."""
    END_TURN = auto()
    """Its turn is over, and there is more to run."""
    FINISH = auto()
    """All that was read has run."""
    HOLD = auto()
    """It would run now, but its way out is blocked."""
    STOP = auto()
    """Nothing more is to be run: QUIT, an error of the protocol, the last request of all, somebody closes it."""
    LOSE = auto()
    """The transport is gone."""


READING: Final = State.READING
WAITING: Final = State.WAITING
BLOCKED: Final = State.BLOCKED
TURN_OVER: Final = State.TURN_OVER
HELD: Final = State.HELD
ENDING: Final = State.ENDING
CLOSED: Final = State.CLOSED

_EVENTS: Final = (Event.WAIT, Event.BLOCK, Event.END_TURN, Event.FINISH, Event.HOLD, Event.STOP, Event.LOSE)

TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    state: dict(zip(_EVENTS, after, strict=True))
    for state, after in {
        #           WAIT     BLOCK    END_TURN   FINISH   HOLD     STOP    LOSE
        READING: (WAITING, BLOCKED, TURN_OVER, READING, HELD, ENDING, CLOSED),
        WAITING: (WAITING, BLOCKED, TURN_OVER, READING, WAITING, ENDING, CLOSED),
        BLOCKED: (BLOCKED, BLOCKED, TURN_OVER, READING, BLOCKED, ENDING, CLOSED),
        TURN_OVER: (WAITING, BLOCKED, TURN_OVER, READING, HELD, ENDING, CLOSED),
        HELD: (HELD, HELD, TURN_OVER, READING, HELD, ENDING, CLOSED),
        ENDING: (ENDING, ENDING, ENDING, ENDING, ENDING, ENDING, CLOSED),
        CLOSED: (CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED),
    }.items()
}
"""By event and state: the next state."""


class Flow:
    """The flow of one connection: its state, and flags that are independent of it."""

    __slots__ = ("is_last", "is_overheld", "is_reading", "is_unread", "may_read", "state")

    def __init__(self) -> None:
        self.state = READING
        self.is_unread = False  # the client does not read its replies
        self.is_overheld = False  # too many replies wait for a sync
        self.is_last = False  # the client sends nothing more; what it has sent is still answered
        self.may_read = True  # False once the server ends
        self.is_reading = True  # as the transport was last told

    def on(self, event: Event) -> State:
        self.state = TRANSITIONS[self.state][event]
        return self.state

    @property
    def is_blocked(self) -> bool:
        return self.is_unread or self.is_overheld

    @property
    def is_over(self) -> bool:
        """Whether nothing is run any more."""
        return self.state is ENDING or self.state is CLOSED

    def wants_reading(self, *, is_full: bool) -> bool:
        """Whether the transport should be read. is_full: the backlog is full, so what arrives must wait in the
        kernel."""
        if is_full or self.is_last or not self.may_read:
            return False
        return self.state is READING or self.state is BLOCKED or (self.state is HELD and not self.is_overheld)
