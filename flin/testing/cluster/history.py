"""Calls of clients, as they saw them: what was sent when, and what was answered when. A file of them has one JSON
object in each line, which programs in other languages can write too:

    {"client": "ioredis-1", "object": "{a}", "commands": [["INCR", "{a}n"]], "began": 5, "ended": 9,
     "outcome": "done", "replies": [1]}

Times are nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share: `time.monotonic_ns()` in Python,
process.hrtime in Node.js.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

Reply = int | str | None
Command = tuple[str, ...]


class Outcome(StrEnum):
    DONE = "done"
    """Answered."""
    UNKNOWN = "unknown"
    """It may take effect at any time from its beginning on, or never: the connection was lost, or `-UNCERTAIN`."""
    REFUSED = "refused"
    """An answer that says that it was not executed: `-CLUSTERDOWN`, `-MOVED`, `-TRYAGAIN`, `-READONLY`."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: a command, or a MULTI with several."""

    client: str
    object: str
    """What is checked on its own: a key, or all keys of a hash tag."""
    commands: tuple[Command, ...]
    began: int
    ended: int
    """When its outcome was known to the client; of an unknown one, when the client gave up."""
    outcome: Outcome = Outcome.DONE
    replies: tuple[Reply, ...] = ()
    """One for each command, if it is done."""

    def __str__(self) -> str:
        said = ", ".join(" ".join(command) for command in self.commands)
        told = ", ".join(map(repr, self.replies)) if self.outcome is Outcome.DONE else self.outcome
        return f"{self.client} {self.began}..{self.ended}: {said} -> {told}"


def by_object(calls: Iterable[Call]) -> dict[str, list[Call]]:
    """The calls of each object, by their beginnings."""
    found: dict[str, list[Call]] = {}
    for call in sorted(calls, key=lambda each: each.began):
        found.setdefault(call.object, []).append(call)
    return found


def longest_gap_ns(calls: Sequence[Call]) -> int:
    """The longest time between two answers."""
    ends = sorted(call.ended for call in calls if call.outcome is Outcome.DONE)
    return max((later - earlier for earlier, later in pairwise(ends)), default=0)


def encode_call(call: Call) -> str:
    return json.dumps(asdict(call))


def decode_call(line: str) -> Call:
    """Raises ValueError if the line is none of a history."""
    try:
        fields = json.loads(line)
        fields["commands"] = tuple(map(tuple, fields["commands"]))
        fields["replies"] = tuple(fields.get("replies", ()))
        return Call(**fields | {"outcome": Outcome(fields["outcome"])})
    except (TypeError, KeyError) as error:
        raise ValueError(f"no call of a history: {line!r}") from error


def write_history(path: Path, calls: Iterable[Call]) -> None:
    path.write_text("".join(f"{encode_call(call)}\n" for call in calls), encoding="utf-8")


def read_history(path: Path) -> Iterator[Call]:
    """Raises ValueError. A last line that was cut off, as by a kill of the program that wrote it, is left out."""
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            yield decode_call(line)
