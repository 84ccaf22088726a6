"""The model: what a database may hold after a crash, given the calls that were made and their answers.

Theory. The accepted commits are a sequence. After a crash the database must hold the state after some *prefix* of it:
at least all promised commits, at most all that were begun. A commit that was begun and neither answered nor refused may
be there or not, but only as a whole. The same is true of a refused commit, since its frame may have reached the disk
before the error. But it may only be the last commit of the prefix, never followed by one that was accepted later.

An expired key may have been swept; a sweep is not a commit of the program. So after the clock was set back, each key
that had expired at the latest time of the clock is either gone or, if the clock now says so, there again.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Put:
    key: bytes
    value: bytes
    expires_at_ms: int = 0  # 0: never


@dataclass(frozen=True, slots=True)
class Delete:
    key: bytes


@dataclass(frozen=True, slots=True)
class DeleteRange:
    start: bytes  # inclusive
    stop: bytes | None  # exclusive; None: no end


Step: TypeAlias = Put | Delete | DeleteRange
State: TypeAlias = dict[bytes, tuple[bytes, int]]
"""Key → (value, expires_at_ms or 0)."""


def apply(state: State, steps: Iterable[Step]) -> State:
    """The state after the steps of one commit, in order; the old state is not changed."""
    after = dict(state)
    for step in steps:
        if isinstance(step, Put):
            after[step.key] = (step.value, step.expires_at_ms)
        elif isinstance(step, Delete):
            after.pop(step.key, None)
        else:
            for key in [key for key in after if step.start <= key and (step.stop is None or key < step.stop)]:
                del after[key]
    return after


def view(state: State, now_ms: int) -> dict[bytes, bytes]:
    """What a reader sees of a state at this moment: nothing expired."""
    return {key: value for key, (value, expires) in state.items() if not expires or expires > now_ms}


@dataclass(frozen=True, slots=True)
class Expectation:
    """The states that may be found after a crash at one moment."""

    states: tuple[State, ...]  # by the number of answered commits applied
    unanswered: tuple[tuple[int, State], ...]  # after that number and one more, which was refused or is under way
    promised: int  # commits that were promised durable: they survive a power cut
    latest_ms: int = 0  # keys that had expired by then may be gone, whatever the clock says now
    expiring: Set[bytes] = frozenset()  # keys that ever had an expiry: they may be there without being shown

    def allowed(self, *, power_cut: bool) -> list[State]:
        """The allowed states, the most likely first. If only the process dies, no answered write is lost."""
        lowest = self.promised if power_cut else len(self.states) - 1
        surfaced = [state for base, state in self.unanswered if base >= lowest]
        return [*self.states[: lowest - 1 if lowest else None : -1], *surfaced]

    def fits(self, state: State, found: State, now_ms: int) -> bool:
        """Whether `found` is the state, except for expired keys, which may have been swept."""
        if not found.items() <= state.items():
            return False
        latest_ms = max(now_ms, self.latest_ms)
        return all(0 < state[key][1] <= latest_ms for key in state.keys() - found.keys())

    def match(self, found: State, now_ms: int, *, power_cut: bool) -> State:
        """What was found, if it is an allowed state except for swept keys; else AssertionError says what is wrong.

        Expired keys that were not swept are part of it, since two states may differ in these alone."""
        for state in self.allowed(power_cut=power_cut):
            if self.fits(state, found, now_ms):
                return found
        lowest = self.promised if power_cut else len(self.states) - 1
        raise AssertionError(self._explain(found, lowest))

    def _explain(self, found: State, lowest: int) -> str:
        if found in self.states:
            return f"only {self.states.index(found)} commits are there, {lowest} were promised"
        last = self.states[-1]
        wrong = {key: (found.get(key), last.get(key)) for key in {*found, *last}}
        different = {key: pair for key, pair in sorted(wrong.items()) if pair[0] != pair[1]}
        return (
            f"no prefix of the {len(self.states) - 1} commits gives this state ({lowest} were promised); "
            f"beside the last one, found and expected: {different}"
        )


class Model:
    """Follows one engine: `begin` before a commit, `answer` if it returned; `promise` when all so far is durable."""

    def __init__(self, state: State | None = None, latest_ms: int = 0) -> None:
        self.latest_ms = latest_ms
        """The latest that the clock has said."""
        self._states: list[State] = [dict(state or {})]
        self._expiring = {key for key, entry in self.state.items() if entry[1]}
        self._unanswered: list[tuple[int, State]] = []
        self._promised = 0

    @property
    def state(self) -> State:
        """The state after all answered commits."""
        return self._states[-1]

    def view(self, now_ms: int) -> dict[bytes, bytes]:
        return view(self.state, now_ms)

    def begin(self, steps: Iterable[Step]) -> None:
        after = apply(self.state, steps)
        self._unanswered.append((len(self._states) - 1, after))
        self._expiring.update(key for key, entry in after.items() if entry[1])

    def answer(self) -> None:
        self._states.append(self._unanswered.pop()[1])

    def set_back(self, found: State, now_ms: int) -> None:
        """The clock was set back: from here on, expired keys that are still there count."""
        state = self.expectation().match(found, now_ms, power_cut=False)
        if state != self.state:
            self._states.append(state)

    def reopened(self, found: State, now_ms: int) -> None:
        """The engine was opened again without a power cut: from here on, what it holds counts."""
        state = self.expectation().match(found, now_ms, power_cut=False)
        self._unanswered.clear()
        self._states.append(state)

    def promise(self) -> None:
        """Every answered commit is durable from here on."""
        self._promised = len(self._states) - 1

    def expectation(self) -> Expectation:
        """The states that a crash at this moment may leave."""
        states, unanswered = tuple(self._states), tuple(self._unanswered)
        return Expectation(states, unanswered, self._promised, self.latest_ms, frozenset(self._expiring))
