"""What may be done while nothing is written: when that is, and which merge pays then. Pure: no thread, no clock.

A lookup asks a filter of each run, and a seek reads a block in each, so one run is worth a merge that the picker would
not make: seeks took 119 µs with the runs that a load left, and 68 with one. But a small run is not merged into one that
is many times larger, else each flush that is followed by a pause would rewrite the whole database: what is above must
weigh a quarter. So a few runs may stay, each at least four times as large as all above it.

Each plan leaves fewer runs in a range, so they end.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from flin.engine.background.compaction import (
    Compaction,
    CompactionOptions,
    Shard,
    gather,
    in_order,
    plan,
    run_bytes,
)
from flin.engine.background.run_profile import RunProfile
from flin.engine.background.value_garbage import options_for
from flin.engine.catalog.version import Version

REASON: Final = "nothing is written"

SHARE: Final = 0.25
"""The share of a run's size that the runs above it must have. Each byte is then rewritten at most five times for each
byte that came, on each of the levels that are four times as large as the one above."""

QUIET_SECONDS: Final = 1.0
"""The time without writes after which merging begins."""

MAX_QUIET_SECONDS: Final = 64.0
"""That time doubles with each merge that a write has cancelled, up to this: its work was for nothing."""


class Quiet:
    """Tells for how long nothing has been written, by the WAL's position. Moments are those of one monotonic clock."""

    def __init__(self) -> None:
        self._position = -1
        self._since = 0.0
        self._wanted_seconds = QUIET_SECONDS

    def reached(self, position: int, now: float) -> bool:
        """Whether nothing has been written for long enough."""
        if position != self._position:
            self._since = now  # first: threads share it
            self._position = position
        return now - self._since >= self._wanted_seconds

    def end(self, *, cancelled: bool) -> None:
        """A merge has ended, or a write has cancelled it."""
        self._wanted_seconds = min(2 * self._wanted_seconds, MAX_QUIET_SECONDS) if cancelled else QUIET_SECONDS


def pick_idle(version: Version, options: CompactionOptions, busy: Collection[Compaction] = ()) -> Compaction | None:
    """A merge that leaves fewer runs; None if none pays, or while something else is done. A plan that rewrites nothing
    may settle a shard's only run."""
    if busy:
        return None
    options = options_for(version, options)
    for number, runs in enumerate(version.shards):
        if runs:
            sized = options.at(sum(map(run_bytes, runs)))
            shard = Shard(number, runs, version.unsettled[number], version.fences[number], sized)
            found = _settled_as_it_is(shard) or _merged(shard, options.range_bytes)
            if found is not None:
                return found
    return None


def _settled_as_it_is(shard: Shard) -> Compaction | None:
    if not shard.unsettled or len(shard.runs) > 1:
        return None
    found = plan(shard, 0, 1, list(enumerate(shard.runs)), REASON)
    return found if found is not None and found.trivial else None


def _merged(shard: Shard, most_bytes: int) -> Compaction | None:
    runs, fences = shard.runs, shard.fences
    sizes = [RunProfile.of(run, fences).sizes for run in runs]
    for index in range(len(fences) + 1):
        start, stop = fences[index - 1] if index else b"", fences[index] if index < len(fences) else None
        stack = [run for run in range(len(runs)) if sizes[run][index]]
        for last in range(len(stack) - 1, 0, -1):
            if sum(sizes[run][index] for run in stack[:last]) < SHARE * sizes[stack[last]][index]:
                continue
            first, after = stack[0], stack[last] + 1 if last + 1 < len(stack) else len(runs)
            chosen = gather(runs, first, after, start, stop, most_bytes)
            if chosen is None or len(chosen) < 2:
                continue
            found = plan(shard, first, after, chosen, REASON)
            found = found and in_order(shard, found, first, after)
            if found is not None:
                return found
    return None
