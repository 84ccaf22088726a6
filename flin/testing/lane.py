"""The writes of killed processes: lanes of commits, each commit a pure function of its number.

A lane is one thread, or one connection, with keys of its own. So the number of commits of each lane determines the
whole state. Every commit changes the lane's counter, which also records how many commits of the other lanes were
answered when it began: no commit may be there without those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

KEYS: Final = 499  # prime, so that commits of every kind meet on every key

LARGE: Final = 70_000
"""Bytes of a rare value: more than the WAL maps at once, so its frame takes the other way."""

VALUE_BYTES: Final = tuple(1024 << step for step in range(7))
"""Bytes of larger values, one commit in 22: 1 to 64 KiB, with a value threshold on pointers to value files. Keys are
written again and again, so that merges collect what is left in files that are mostly garbage."""

VALUE_THRESHOLD: Final = 1024

COUNTER: Final = b"%d:last"


class Violation(AssertionError):
    """The database does not keep the promise."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit does in addition to counting."""

    puts: dict[bytes, bytes]
    deletes: tuple[bytes, ...] = ()

    @property
    def writes(self) -> int:
        """Keys written, the counter included."""
        return len(self.puts) + len(self.deletes) + 1


def commit_of(lane: int, number: int) -> Commit:
    """The commit of this number. Every second one only counts: a single put, the way of most writes."""
    if number % 2:
        return Commit({})
    half = number // 2
    if half % 10 == 0:
        return Commit({_key(lane, half * 7 + step): b"%d in a batch" % number for step in range(5)})
    if half % 7 == 0:
        return Commit({}, (_key(lane, half * 3), _key(lane, half * 3 + 1)))
    if half % 1009 == 0:
        return Commit({_key(lane, half): b"%07d" % number * (LARGE // 7)})
    if half % 11 == 5:
        return Commit({_key(lane, half): (b"%07d " % number * (VALUE_BYTES[-1] // 8))[: VALUE_BYTES[half // 11 % 7]]})
    return Commit({_key(lane, half): b"%d " % number * (number % 61)})


def writes_between(lane: int, begin: int, end: int) -> int:
    """How many keys the commits begin+1 to end write."""
    return sum(commit_of(lane, number).writes for number in range(begin + 1, end + 1))


def counter_key(lane: int) -> bytes:
    return COUNTER % lane


def counter_value(number: int, known: Sequence[int]) -> bytes:
    """The counter's value of commit `number`, begun when `known` commits of each lane were answered."""
    return b" ".join(b"%d" % each for each in (number, *known))


def parse_counter(value: bytes | None) -> list[int]:
    return [int(word) for word in value.split()] if value is not None else [0]


def _key(lane: int, number: int) -> bytes:
    return b"%d:%03d" % (lane, number % KEYS)


@dataclass(slots=True)
class LaneState:
    """One lane's keys after a number of its commits."""

    lane: int
    number: int = 0
    entries: dict[bytes, bytes] = field(default_factory=dict)

    def advance(self, number: int) -> None:
        for each in range(self.number + 1, number + 1):
            commit = commit_of(self.lane, each)
            self.entries |= commit.puts
            for key in commit.deletes:
                self.entries.pop(key, None)
        self.number = number


class Lanes:
    """What a database that is killed again and again must hold."""

    def __init__(self) -> None:
        self._states: list[LaneState] = []

    def recovered(self, count: int) -> list[int]:
        """How many commits of each of `count` lanes are there for good."""
        self._grow(count)
        return [state.number for state in self._states]

    def recover(self, found: Mapping[bytes, bytes], least: Sequence[int], most: Sequence[int]) -> dict[bytes, bytes]:
        """The whole state that must be there, with counters, if each lane has from `least` to `most` commits.

        Violation if what was found is not a prefix, or too short."""
        self._grow(len(least))
        counters = [parse_counter(found.get(counter_key(state.lane))) for state in self._states]
        numbers = [counter[0] for counter in counters]
        for lane, (number, low, high) in enumerate(zip(numbers, least, most, strict=True)):
            if not low <= number <= high:
                raise Violation(f"lane {lane}: {number} commits are there, {low} were answered, {high} were sent")
        for lane, counter in enumerate(counters):
            for other, known in enumerate(counter[1:]):
                if numbers[other] < known:
                    raise Violation(
                        f"commit {numbers[lane]} of lane {lane} knew of {known} of lane {other}; {numbers[other]} left"
                    )
        expected: dict[bytes, bytes] = {}
        for state, number in zip(self._states, numbers, strict=True):
            state.advance(number)
            expected |= state.entries
        counted = {counter_key(lane): found[counter_key(lane)] for lane, number in enumerate(numbers) if number}
        return expected | counted

    def _grow(self, count: int) -> None:
        self._states += [LaneState(lane) for lane in range(len(self._states), count)]
