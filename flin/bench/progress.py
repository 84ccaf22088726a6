"""Progress of a long run on stderr: one line per step, so that it reads well in a file too."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TextIO


class Progress:
    """Counts steps of a known number."""

    def __init__(self, steps: int, stream: TextIO | None = None) -> None:
        self.steps = steps
        self.done = 0
        self._stream = stream if stream is not None else sys.stderr
        self._started = monotonic()

    def step(self, text: str) -> None:
        """One more step is done; the text says what came of it."""
        self.done += 1
        elapsed = monotonic() - self._started
        left = elapsed / self.done * max(0, self.steps - self.done)
        self.say(f"[{self.done:3}/{self.steps}, about {left:.0f} s left] {text}")

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
