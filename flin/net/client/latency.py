"""What LATENCY shows: when an event took longer than the threshold, and for how long.

Nothing is noted while the threshold is 0. Of each event the newest HISTORY are kept, at most one for each second: the
longest. Redis has the same figures.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

HISTORY: Final = 160


@dataclass(slots=True)
class Sample:
    at_seconds: int
    milliseconds: int


class Event:
    """One kind of event: its samples, oldest first, and the longest since LATENCY RESET."""

    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=HISTORY)
        self.longest = 0

    def add(self, at_seconds: int, milliseconds: int) -> None:
        self.longest = max(self.longest, milliseconds)
        if self.samples and self.samples[-1].at_seconds == at_seconds:
            self.samples[-1].milliseconds = max(self.samples[-1].milliseconds, milliseconds)
        else:
            self.samples.append(Sample(at_seconds, milliseconds))


class Latency:
    def __init__(self) -> None:
        self.events: dict[bytes, Event] = {}

    def add(self, event: bytes, now_ms: int, milliseconds: int) -> None:
        """Note an event that has just ended."""
        self.events.setdefault(event, Event()).add(now_ms // 1000, milliseconds)

    def reset(self, names: list[bytes]) -> int:
        """Forget these events, or all. Returns how many there were."""
        forgotten = [name for name in (names or list(self.events)) if self.events.pop(name, None) is not None]
        return len(forgotten)
