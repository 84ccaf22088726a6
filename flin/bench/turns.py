"""Turns of an event loop, and what each of their milliseconds went to, from the scheduler's own events.

A turn begins when a poll has something to return, and ends when the loop polls again. Somebody who waits for this
server waits for all of it, not only for what the loop computes. So each turn is divided by what its thread was doing:

    computing          it was on a core
    waits for a core   it could run, and another thread had the core: whose, is told
    sleeps for a lock  it had given up the core in the middle of a turn: for the interpreter's lock, mostly
    waits for a disk   it slept so that no signal wakes it: the kernel waits for the disk, or for pages

Pure: it reads the lines of `perf script` (trace.py records them), and knows neither processes nor Flin.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

COMPUTING: Final = "computing"
LOCK: Final = "sleeps for a lock"
DISK: Final = "waits for a disk"
CORE: Final = "waits for a core"


class Event(NamedTuple):
    at_ms: float
    name: str
    core: int
    pid: int
    tid: int
    details: str


@dataclass(slots=True)
class Turn:
    began_ms: float
    ended_ms: float = 0.0
    parts: list[tuple[str, float, float, int]] = field(default_factory=list)
    """What it did, from when to when, and on which core it ran afterwards."""

    @property
    def milliseconds(self) -> float:
        return self.ended_ms - self.began_ms


_LINE: Final = re.compile(r"\s*.*?\s+(-?\d+)/(-?\d+)\s+\[(\d+)\]\s+([\d.]+):\s+(\S+):\s*(.*)")
_SWITCH: Final = re.compile(r"prev_pid=(\d+) .*prev_state=(\S+) ==> .* next_pid=(\d+)")
_WOKEN: Final = re.compile(r" pid=(\d+)")


def maybe_event(line: str) -> Event | None:
    """A line of `perf script --fields comm,pid,tid,cpu,time,event,trace`; None if it is something else."""
    matched = _LINE.match(line)
    if matched is None:
        return None
    pid, tid, core, seconds, name, details = matched.groups()
    return Event(float(seconds) * 1000, name, int(core), int(pid), int(tid), details)


class Trace:
    """The turns of one thread, and who had the cores meanwhile."""

    def __init__(self, loop: int) -> None:
        """`loop`: the number of the thread."""
        self._loop = loop
        self.turns: list[Turn] = []
        self.process_of: dict[int, int] = {}  # of each thread that was seen
        self._ran: defaultdict[int, tuple[list[float], list[int]]] = defaultdict(lambda: ([], []))  # by core
        self._turn: Turn | None = None
        self._doing = ""  # what the loop does, since when; "" while it is not known
        self._since = 0.0

    def read(self, events: Iterable[Event]) -> Trace:
        for event in events:
            self._read(event)
        return self

    def _read(self, event: Event) -> None:
        self.process_of[event.tid] = event.pid
        if event.name == "sched:sched_switch":
            self._switch(event)
        elif event.name == "sched:sched_waking":
            woken = _WOKEN.search(f" {event.details}")
            if woken is not None and int(woken[1]) == self._loop and self._doing in (LOCK, DISK):
                if self._turn is None:
                    self._turn = Turn(event.at_ms)
                self._now(event, CORE)
        elif event.tid == self._loop and "epoll" in event.name:
            self._poll(event)

    def _switch(self, event: Event) -> None:
        matched = _SWITCH.search(event.details)
        if matched is None:
            return
        before, state, after = int(matched[1]), matched[2], int(matched[3])
        moments, threads = self._ran[event.core]
        moments.append(event.at_ms)
        threads.append(after)
        if before == self._loop:
            self._now(event, {"S": LOCK, "D": DISK}.get(state[0], CORE))
        elif after == self._loop:
            self._now(event, COMPUTING)

    def _poll(self, event: Event) -> None:
        if "sys_exit" in event.name:
            if self._turn is None:
                self._turn = Turn(event.at_ms)
            self._now(event, COMPUTING)
        elif self._turn is not None:
            self._now(event, COMPUTING)
            turn, self._turn = self._turn, None
            turn.ended_ms = event.at_ms
            self.turns.append(turn)

    def _now(self, event: Event, doing: str) -> None:
        """The loop does something else from this event on."""
        if self._turn is not None and self._doing:
            began = max(self._since, self._turn.began_ms)
            if event.at_ms > began:
                self._turn.parts.append((self._doing, began, event.at_ms, event.core))
        self._doing, self._since = doing, event.at_ms

    def runners(self, core: int, began_ms: float, ended_ms: float) -> list[tuple[int, float]]:
        """The threads that ran on a core between two moments, each time with its milliseconds."""
        moments, threads = self._ran[core]
        found = []
        for place in range(max(bisect_right(moments, began_ms) - 1, 0), len(moments)):
            if moments[place] >= ended_ms:
                break
            end = moments[place + 1] if place + 1 < len(moments) else ended_ms
            overlap = min(end, ended_ms) - max(moments[place], began_ms)
            if overlap > 0:
                found.append((threads[place], overlap))
        return found


@dataclass(slots=True)
class Pauses:
    """The turns that took longer than a limit, and where their time went."""

    turns: int = 0  # all
    pauses: int = 0
    longest_ms: float = 0.0
    milliseconds: dict[str, float] = field(default_factory=dict)  # by cause, of the pauses
    main_cause: dict[str, int] = field(default_factory=dict)  # how many pauses have most of their time from each


def pauses_of(trace: Trace, limit_ms: float, role_of: Callable[[int], str]) -> Pauses:
    """Divide the long turns by cause. `role_of` names the role of a process, such as "its helpers"."""
    found = Pauses(turns=len(trace.turns))
    totals: defaultdict[str, float] = defaultdict(float)
    mains: defaultdict[str, int] = defaultdict(int)
    for turn in trace.turns:
        if turn.milliseconds <= limit_ms:
            continue
        found.pauses += 1
        found.longest_ms = max(found.longest_ms, turn.milliseconds)
        causes = _causes(trace, turn, role_of)
        for cause, milliseconds in causes.items():
            totals[cause] += milliseconds
        mains[max(causes, key=lambda cause: causes[cause])] += 1
    found.milliseconds, found.main_cause = dict(totals), dict(mains)
    return found


def _causes(trace: Trace, turn: Turn, role_of: Callable[[int], str]) -> dict[str, float]:
    causes: defaultdict[str, float] = defaultdict(float)
    for doing, began, ended, core in turn.parts:
        if doing != CORE:
            causes[doing] += ended - began
            continue
        for thread, milliseconds in trace.runners(core, began, ended):
            causes[f"{CORE}: {role_of(trace.process_of.get(thread, thread))}"] += milliseconds
    causes[COMPUTING] += 0.0  # a turn of no known part computed
    return dict(causes)
