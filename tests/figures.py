"""How much one run of the suite has tried, and the minimum that it must reach (docs/crash-safety.md, "Figures").

Tests count through the fixture `figures`, in each worker of pytest-xdist. The sums are printed at the end; a run of the
whole suite that falls short of its column fails in CI, so that nothing gets lost when a test is made smaller.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from flin.testing.crash_checker import CrashChecker

STATES: Final = "distinct crash states"
RECOVERIES: Final = "crashes during a recovery"
FAILED_CALLS: Final = "runs with a failed call"
KILLS: Final = "kill -9 cycles under load"
CAUGHT: Final = "seeded bugs caught"
BITS: Final = "bits turned over"

LEAST: Final = {
    "ordinary": {STATES: 8_000, RECOVERIES: 1_000, FAILED_CALLS: 800, KILLS: 5, CAUGHT: 8, BITS: 1_250},
    "slow": {STATES: 50_000, RECOVERIES: 6_000, FAILED_CALLS: 4_000, KILLS: 20, CAUGHT: 40, BITS: 10_000},
}
"""The minimum by suite. Bits: every 64th and every 8th of the files of tests/engine/damage.py, which have some
87,000."""


class Figures:
    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._states: set[int] = set()

    def add(self, what: str, number: int) -> None:
        self._counts[what] += number

    def checked(self, checker: CrashChecker) -> None:
        """Count what one checker has seen; a state that two of them saw counts once."""
        self.saw(checker.found)
        self.add(RECOVERIES, checker.during_recovery)

    def saw(self, states: Iterable[int]) -> None:
        """Count crash states, given their digests."""
        self._states.update(states)

    def of(self, what: str) -> int:
        return self._counts[what] + (len(self._states) if what == STATES else 0)

    def packed(self) -> tuple[dict[str, int], bytes]:
        """The figures for another process, in types that pytest-xdist can send."""
        return dict(self._counts), array("Q", self._states).tobytes()

    def add_packed(self, packed: tuple[dict[str, int], bytes]) -> None:
        """Add what another process has tried; a state that both saw counts once, as its digest is the same in both."""
        counts, states = packed
        self._counts.update(counts)
        self._states.update(array("Q", states))

    def lines(self, suite: str) -> Iterator[str]:
        for what, least in LEAST[suite].items():
            yield f"{self.of(what):>9,} {what} (at least {least:,} in the whole {suite} suite)"

    def short(self, suite: str) -> list[str]:
        """The figures that the whole suite has not reached."""
        return [what for what, least in LEAST[suite].items() if self.of(what) < least]
