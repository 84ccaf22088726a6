"""A clock that stands still until a test moves it."""

from __future__ import annotations

from typing import Final

START_MS: Final = 1_700_000_000_000
"""Any moment far from 0, so that an expiry in the past is possible."""


class ManualClock:
    """A clock for the engine's `clock_ms`; calling it returns the milliseconds since 1970."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
