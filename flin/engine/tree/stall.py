"""Whether writers must wait for the background, and how long: a pure function of the waiting work.

Writers are slowed before they are stopped, so that the background catches up while all still make progress.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flin.engine.options import MAX_SEALED_GENERATIONS

SLOW_RUNS: Final = 24
"""Runs of a shard from which writers are slowed: twice what compaction keeps, so it is clearly behind."""

STOP_RUNS: Final = 48
"""Runs from which writers are stopped: a lookup would ask 48 filters, about 15 µs."""

LARGE_BYTES: Final = 10 << 30
"""Above this a shard may have more runs: their merges are wider (compaction.py)."""

LARGE_SLOW_RUNS: Final = 36
LARGE_STOP_RUNS: Final = 64

SLOW_UNSEEN: Final = 0.35
MOST_UNSEEN: Final = 1.35
"""Garbage in value files that no merge has found, as a share of what lives there, from which writers are slowed, and at
which they are slowed the most: merges begin at 0.3 at the latest, and what they have not found fills the disk."""

SLOWEST_DELAY_SECONDS: Final = 0.01
"""The longest delay of one commit while slowed: 100 commits a second is still progress."""


LOOK_SECONDS: Final = 0.1
"""A stopped writer is woken when the stall ends; this only decides how soon it notices its timeout."""


@dataclass(frozen=True, slots=True)
class Stall:
    """What a writer must do: nothing, wait `delay_seconds` once, or wait until it is no longer stopped."""

    delay_seconds: float = 0.0
    stopped: bool = False
    reason: str = ""

    def __bool__(self) -> bool:
        return self.stopped or self.delay_seconds > 0


NO_STALL: Final = Stall()


def stall_of(sealed_generations: int, runs: int, *, is_large: bool = False, unseen: float = 0.0) -> Stall:
    """The stall. `runs`: those of the shard with the most; `is_large`: it holds more than LARGE_BYTES; `unseen`: the
    share of the live values that is probably garbage which no merge has found yet."""
    slow, stop = (LARGE_SLOW_RUNS, LARGE_STOP_RUNS) if is_large else (SLOW_RUNS, STOP_RUNS)
    if sealed_generations > MAX_SEALED_GENERATIONS:
        return Stall(stopped=True, reason=f"{sealed_generations} generations wait for their flush")
    if runs >= stop:
        return Stall(stopped=True, reason=f"{runs} runs wait for compaction")
    if runs >= slow:
        share = (runs - slow + 1) / (stop - slow)
        return Stall(delay_seconds=SLOWEST_DELAY_SECONDS * share, reason=f"{runs} runs wait for compaction")
    if unseen > SLOW_UNSEEN:
        share = min(1.0, (unseen - SLOW_UNSEEN) / (MOST_UNSEEN - SLOW_UNSEEN))
        return Stall(delay_seconds=SLOWEST_DELAY_SECONDS * share, reason="overwritten values wait for compaction")
    return NO_STALL
