"""How far a follower's clock is from its leader's, by the entries of the log. Pure.

Each entry says when it was made. Until it is applied some time goes by, which is no skew: a busy machine, much to catch
up. That only adds. So the least difference of many entries is the closest to the truth, as in NTP's own clock filter
(RFC 5905, section 10).
"""

from __future__ import annotations

from typing import Final

WINDOW_SECONDS: Final = 60.0
"""Differences of the last one to two windows count: clocks that were wrong are put right."""

LEAST_ENTRIES: Final = 8
"""As many as NTP's filter has. Of fewer all may have been late."""


class ClockSkew:
    __slots__ = ("_before", "_began", "_found", "_least")

    def __init__(self) -> None:
        self._before: int | None = None  # the least of the window before
        self._least = 0  # of this one, if any was found
        self._found = 0
        self._began = 0.0

    def note(self, difference_ms: int, now: float) -> None:
        """An entry was made so long ago by this clock; less than 0: it will be made. now: seconds, steady."""
        if now - self._began > WINDOW_SECONDS:
            self._before = self._told()
            self._found, self._began = 0, now
        self._least = min(self._least, difference_ms) if self._found else difference_ms
        self._found += 1

    @property
    def ms(self) -> int:
        """More than 0: this clock is ahead of the leader's, or no entry came soon. 0: not known."""
        told = [each for each in (self._before, self._told()) if each is not None]
        return min(told, default=0)

    def _told(self) -> int | None:
        return self._least if self._found >= LEAST_ENTRIES else None
