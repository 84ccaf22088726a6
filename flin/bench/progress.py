"""The progress of a long run on stderr: one line per step, so that it also reads well in a file.

The parts of a run differ in the length of their steps, so each part says about how many seconds it takes on a common
machine; the remaining time is estimated from how long the finished parts really took.
"""

from __future__ import annotations

import sys
from time import monotonic
from typing import TextIO


class Progress:
    """Counts the steps of a part, and the expected seconds of the whole."""

    def __init__(self, steps: int = 0, stream: TextIO | None = None, *, seconds: float = 0.0) -> None:
        """`steps`: those of the only part; `seconds`: the expected time of all parts."""
        self.steps = steps
        self.done = 0
        self._stream = stream if stream is not None else sys.stderr
        self._started = monotonic()
        self._expected = seconds or float(steps)
        self._passed = 0.0  # expected seconds of the finished parts
        self._per_step = 1.0
        self._after_part = float(steps)

    def begin(self, name: str, steps: int, seconds: float) -> None:
        """A part begins; the one before has ended, perhaps before all its steps."""
        self._passed = self._after_part if self.steps else 0.0
        self._after_part = self._passed + seconds
        self.steps, self.done = steps, 0
        self._per_step = seconds / max(1, steps)
        self.say(f"{name}:")

    def step(self, text: str) -> None:
        """One more step is done; the text is its result."""
        self.done += 1
        self._passed = min(self._passed + self._per_step, self._after_part)
        elapsed = monotonic() - self._started
        left = elapsed / self._passed * max(0.0, self._expected - self._passed) if self._passed else 0.0
        self.say(f"[{self.done:3}/{self.steps}, about {left:.0f} s left] {text}")

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
