"""The handshakes of TLS that are under way: how many at once, for how long, and in which order they begin.

The first answer of a handshake is a signature: 0.2 to 1.5 ms of the event loop's thread. So that a thousand clients
that connect at the same time do not stop the others for a second, one handshake begins in each round of the loop, and
at most AT_ONCE are under way. A client takes its place when its first bytes arrive: one that sends nothing costs
nothing until its time is over. One that does not go on loses its place, and may still end its handshake in time.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

logger = logging.getLogger(__name__)

AT_ONCE: Final = 64

SECONDS: Final = 10.0
"""For the first bytes, and again for the handshake. What a client waits for its place does not count."""

PATIENCE_SECONDS: Final = 0.2
"""Who is under way for longer, while others stand in line, keeps no place: a wait for its client costs nothing. Else
AT_ONCE clients that send a byte each would keep everybody out for SECONDS."""

LOG_EVERY_SECONDS: Final = 1.0
"""At most one line for handshakes that fail: anybody who reaches the port can make them fail."""


class Timer(Protocol):
    def cancel(self) -> None: ...


class Loop(Protocol):
    def call_soon(self, callback: Callable[[], object], /) -> object: ...

    def call_later(self, delay: float, callback: Callable[..., object], /, *args: object) -> Timer: ...

    def time(self) -> float: ...


class Handshake(Protocol):
    """A client that is not let in yet."""

    def begin(self) -> None:
        """Its turn has come: answer what has arrived."""

    def give_up(self) -> None:
        """Its time is over: close."""


class Handshakes:
    """Call `expect`, then `line_up`, then `end`; `end` alone is right at any time, also twice."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._timers: dict[Handshake, Timer] = {}  # of those that are expected, and those under way
        self._line: deque[Handshake] = deque()
        self._under_way: dict[Handshake, float] = {}  # when each began; in this order
        self._is_scheduled = False
        self._alarm: Timer | None = None  # for the oldest under way, while others stand in line
        self.failures = 0
        self._failures_shown = 0
        self._shown_at = float("-inf")

    def __len__(self) -> int:
        """Clients that are not let in yet."""
        return len(self._timers) + len(self._line)

    def expect(self, handshake: Handshake) -> None:
        """A client has connected and sent nothing yet."""
        self._start_timer(handshake)

    def line_up(self, handshake: Handshake) -> None:
        """Its first bytes have arrived; `begin` is called when its turn comes."""
        self._timers.pop(handshake).cancel()
        self._line.append(handshake)
        self._maybe_schedule()

    def end(self, handshake: Handshake) -> None:
        """It is let in, or its connection is lost."""
        timer = self._timers.pop(handshake, None)
        if timer is not None:
            timer.cancel()
            self._under_way.pop(handshake, None)
        elif handshake in self._line:
            self._line.remove(handshake)
        self._maybe_schedule()

    def fail(self, address: str, reason: str) -> None:
        """Count a handshake that came to nothing, and log one a second."""
        self.failures += 1
        now = self._loop.time()
        if now - self._shown_at < LOG_EVERY_SECONDS:
            return
        others = self.failures - self._failures_shown - 1
        logger.warning("no TLS handshake with %s: %s%s", address, reason, f" (and {others} others)" if others else "")
        self._shown_at = now
        self._failures_shown = self.failures

    def close(self) -> None:
        """Give all of them up."""
        for handshake in [*self._timers, *self._line]:
            handshake.give_up()
        if self._alarm is not None:
            self._alarm.cancel()

    def _start_timer(self, handshake: Handshake) -> None:
        self._timers[handshake] = self._loop.call_later(SECONDS, handshake.give_up)

    def _maybe_schedule(self) -> None:
        if self._line and not self._is_scheduled and self._has_place():
            self._is_scheduled = True
            self._loop.call_soon(self._begin_next)

    def _has_place(self) -> bool:
        """Whether the next one may begin; if not, it is looked at again in time."""
        if len(self._under_way) < AT_ONCE:
            return True
        oldest, began = next(iter(self._under_way.items()))
        left = began + PATIENCE_SECONDS - self._loop.time()
        if left <= 0:
            del self._under_way[oldest]
            return True
        if self._alarm is None:
            self._alarm = self._loop.call_later(left, self._ring)
        return False

    def _ring(self) -> None:
        self._alarm = None
        self._maybe_schedule()

    def _begin_next(self) -> None:
        self._is_scheduled = False
        if self._line:
            handshake = self._line.popleft()
            self._under_way[handshake] = self._loop.time()
            self._start_timer(handshake)
            handshake.begin()
        self._maybe_schedule()
