"""The workers as their supervisor sees them: what is to be done when one is ready, or has ended, or all must end.

Pure: every call returns the steps to take, in order. The rules:

- Until all are ready for the first time the server has not started: if one ends, it is over, and says why. Nobody
  depends on it yet, and what is wrong now (a damaged directory) is wrong next time, too.
- From then on a worker that dies is started again, the others go on meanwhile. If it dies again soon, it waits longer.
- One that cannot get ready several times in a row ends the server with its reason: part of the slots without anybody
  to serve them is a state that nobody should be in for long, and restarts that never succeed would hide it.
- One that ends cleanly by itself was told so, by SHUTDOWN or a signal, and stays away.
- One that does not end when all must is killed.
- One that ends to begin anew (a replica whose group has another leader now) is started again at once.
- One that is not wanted any more (a replica that another node has now) is told to end, and may be wanted again later.
- Those that nobody misses are started once the others are ready, or after some seconds.
- One that came later than the others (a copy that does not count yet) ends nothing if it cannot start.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final, TypeAlias

FIRST_DELAY_SECONDS: Final = 0.1
"""Before a dead worker is started again. Enough for its sockets and files to be closed; a client's retry is slower."""

MAX_DELAY_SECONDS: Final = 10.0
"""A start costs about half a second of processor time: one that dies at once, again and again, takes 5 % of a core."""

STABLE_SECONDS: Final = 60.0
"""A worker that has answered for so long did not die of its start: its next death is a first one."""

LATER_SECONDS: Final = 5.0
"""How long those wait at the start that nobody misses: the others are ready within that, if they lack nothing."""

END_SECONDS: Final = 60.0
"""How long a worker may take to end. It takes less than 5 s, and longer only where the disk stalls under its last sync;
one that hangs would be waited for without end. systemd kills all after 90 s by default: before that, the log can say
who it was. Every write that it has answered is in its write-ahead log, as after any kill."""

MAX_STARTS: Final = 5
"""Starts in a row that never became ready; 3 s with the delays. A passing cause (memory that others have) has a
chance, and nobody waits long for what does not pass."""


ANEW: Final = 75
"""The exit code of a worker that is to be started again: EX_TEMPFAIL in sysexits.h, which nothing else here uses."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a worker has ended."""

    code: int
    """As Popen gives it: negative for a signal."""
    failure: str = ""
    """What it has said, if it could."""

    @property
    def was_asked_for(self) -> bool:
        """Whether a signal or SHUTDOWN has ended it as it should. One that was starting dies of the signal."""
        return self.code in (0, -signal.SIGTERM, -signal.SIGINT)

    def __str__(self) -> str:
        if self.failure:
            return self.failure
        if self.code >= 0:
            return f"ended with exit code {self.code}"
        try:
            return f"ended by {signal.Signals(-self.code).name}"
        except ValueError:  # a real-time signal between the first and the last, which has no name
            return f"ended by signal {-self.code}"


@dataclass(frozen=True, slots=True)
class Start:
    number: int
    after_seconds: float


@dataclass(frozen=True, slots=True)
class Signal:
    number: int
    signal: int


@dataclass(frozen=True, slots=True)
class Expire:
    """Call `Fleet.expire` after this time: all were told to end now."""

    after_seconds: float


@dataclass(frozen=True, slots=True)
class Abandon:
    """Close its sockets: nobody will answer there, so nobody should wait."""

    number: int


@dataclass(frozen=True, slots=True)
class Announce:
    """All are ready for the first time."""


@dataclass(frozen=True, slots=True)
class Note:
    """For the log."""

    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """All have ended. problem: why that is an error; empty: it is none."""

    problem: str


Step: TypeAlias = Start | Signal | Expire | Abandon | Announce | Note | Finish


class State(Enum):
    STARTING = auto()
    READY = auto()
    WAITING = auto()  # to be started again
    ENDED = auto()


@dataclass(slots=True)
class Member:
    """One worker."""

    state: State = State.STARTING
    vain_starts: int = 0
    """Starts in a row that never became ready."""
    quick_deaths: int = 0
    """Deaths in a row, each less than STABLE_SECONDS after it was ready."""
    ready_at: float = 0.0
    is_wanted: bool = True
    is_extra: bool = False
    """It came after the start: the others do not depend on it."""
    is_told: bool = False
    """It has ended cleanly by itself."""


@dataclass(slots=True)
class Fleet:
    """Times are any steady clock's, in seconds."""

    members: list[Member]
    is_announced: bool = False
    is_stopping: bool = False
    problem: str = field(default="")
    later: Collection[int] = ()
    """Those that nobody misses."""

    def begin(self) -> list[Step]:
        """Members that have ended are not started yet: `add` does that."""
        for number in self.later:
            self.members[number].state = State.WAITING
        starts = [Start(number, 0) for number, each in enumerate(self.members) if each.state is State.STARTING]
        rest = [Start(number, LATER_SECONDS) for number in self.later]
        return [*starts, *rest, *self._maybe_announce()]

    def _maybe_rest(self) -> list[Step]:
        """The others are ready."""
        if any(each.state is State.STARTING for each in self.members):
            return []
        numbers, self.later = self.later, ()
        return [Start(number, 0) for number in numbers if self.note_started(number)]

    def add(self, number: int) -> list[Step]:
        """Start one that was not wanted until now; nothing, if it is there, or was told to end by somebody else."""
        member = self.members[number]
        if self.is_stopping or member.state is not State.ENDED or member.is_told:
            return []
        self.members[number] = Member(is_extra=True)
        return [Start(number, 0)]

    def remove(self, number: int) -> list[Step]:
        """It is not wanted any more. Idempotent."""
        member = self.members[number]
        if not member.is_wanted or member.state is State.ENDED or self.is_stopping:
            return []
        member.is_wanted = False
        if member.state is not State.WAITING:
            return [Signal(number, signal.SIGTERM)]
        return self._note_removed(member, number)

    def _note_removed(self, member: Member, number: int) -> list[Step]:
        member.state, member.is_wanted = State.ENDED, True
        return [Note(f"worker {number} is not needed here any more"), *self._maybe_announce()]

    def _maybe_announce(self) -> list[Step]:
        if self.is_announced or not all(each.state in (State.READY, State.ENDED) for each in self.members):
            return []
        self.is_announced = True
        return [Announce()]

    def note_ready(self, number: int, now: float) -> list[Step]:
        member = self.members[number]
        member.state, member.ready_at, member.vain_starts = State.READY, now, 0
        if self.is_announced:
            return [Note(f"worker {number} is ready again")]
        return [*self._maybe_rest(), *self._maybe_announce()]

    def note_started(self, number: int) -> bool:
        """Whether a worker whose time has come is to be started indeed; then it counts as starting."""
        if self.is_stopping or self.members[number].state is not State.WAITING:
            return False
        self.members[number].state = State.STARTING
        return True

    def note_end(self, number: int, ending: Ending, now: float) -> list[Step]:
        member = self.members[number]
        was_ready = member.state is State.READY
        member.state = State.ENDED
        if self.is_stopping:
            # One that was still starting dies of the signal, which is no loss: it is as safe as a kill. So is one that
            # was about to begin anew, since its place is another's now, or it does not know whether it is.
            if not ending.was_asked_for and ending.code != ANEW:
                self.problem = self.problem or f"worker {number}: {ending}"
            return self._maybe_finish()
        if not member.is_wanted:
            return self._note_removed(member, number)
        if ending.code == ANEW:
            return self._again(member, number, now, Note(f"worker {number} begins anew"))
        if not self.is_announced:
            if ending.was_asked_for:
                # Some stop a server by a signal to all its processes: then ours is on its way.
                return [Note(f"worker {number} was told to end during the start, so all end"), *self.stop()]
            return self.give_up(f"worker {number}: {ending}")
        if was_ready and ending.code == 0:
            member.is_told = True
            note = Note(f"worker {number} was told to end, and its slots are served no more till all are started anew")
            return [note, Abandon(number), *self._maybe_finish()]
        if not was_ready:
            member.vain_starts += 1
            if member.vain_starts >= MAX_STARTS and not member.is_extra:
                return self.give_up(f"worker {number} could not be started {MAX_STARTS} times: {ending}")
        return self._again(member, number, now, Note(f"worker {number}: {ending}", is_error=True))

    def _again(self, member: Member, number: int, now: float, note: Note) -> list[Step]:
        if not member.vain_starts and now - member.ready_at >= STABLE_SECONDS:
            member.quick_deaths = 0
        member.quick_deaths += 1
        member.state = State.WAITING
        delay = delay_after(member.quick_deaths)
        return [replace(note, text=f"{note.text}; it is started again in {delay:g} s"), Start(number, delay)]

    def stop(self) -> list[Step]:
        """SIGTERM, SIGINT. Idempotent."""
        if self.is_stopping:
            return []
        self.is_stopping = True
        steps: list[Step] = [Abandon(number) for number in range(len(self.members))]
        for number, member in enumerate(self.members):
            if member.state in (State.STARTING, State.READY):
                steps.append(Signal(number, signal.SIGTERM))
            else:
                member.state = State.ENDED
        return steps + (self._maybe_finish() or [Expire(END_SECONDS)])

    def expire(self) -> list[Step]:
        """The time to end is over."""
        steps: list[Step] = []
        for number, member in enumerate(self.members):
            if member.state is not State.ENDED:
                text = f"worker {number} did not end within {END_SECONDS:g} s"
                self.problem = self.problem or text
                steps += [Note(f"{text}, so it is killed", is_error=True), Signal(number, signal.SIGKILL)]
        return steps

    def pass_on(self, number: int) -> list[Step]:
        """SIGHUP, SIGUSR1: files are to be read, or opened, again. One that is still starting does so anyway, and would
        die of it."""
        return [Signal(each, number) for each, member in enumerate(self.members) if member.state is State.READY]

    def give_up(self, problem: str) -> list[Step]:
        """All must end, and why. Idempotent."""
        self.problem = problem
        return self.stop()

    def _maybe_finish(self) -> list[Step]:
        return [Finish(self.problem)] if all(each.state is State.ENDED for each in self.members) else []


def delay_after(quick_deaths: int) -> float:
    """Seconds before the next start, after so many deaths in a row.

    >>> [delay_after(deaths) for deaths in (1, 2, 3, 7, 8, 2000)]
    [0.1, 0.2, 0.4, 6.4, 10.0, 10.0]
    """
    return min(math.ldexp(FIRST_DELAY_SECONDS, min(quick_deaths - 1, 10)), MAX_DELAY_SECONDS)
