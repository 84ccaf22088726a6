"""Why a connection cannot go on; its later requests wait, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle

    from flin.net.command.command import Command
    from flin.net.run.context import Context
    from flin.net.wire.replies import Slices


class Wait:
    """`load` runs in a reader thread first."""

    __slots__ = ("load",)

    def __init__(self, load: Callable[[], None] | None = None) -> None:
        self.load = load

    def leave(self) -> None:
        """Nobody waits any more: let go of what would wake it."""

    def close(self) -> None:
        """The connection is gone."""


class WaitForDisk(Wait):
    """A cold read: run `load` in a reader thread, then the same request again."""

    __slots__ = ("attempt", "has_waited", "request")

    load: Callable[[], None]

    def __init__(self, request: list[bytes], load: Callable[[], None], attempt: int, has_waited: bool) -> None:
        super().__init__(load)
        self.request = request
        self.attempt = attempt
        self.has_waited = has_waited  # for the stall, as in WaitForWriters: it need not wait again


class WaitForSlices(Wait):
    """A command in slices: advance the generator between other connections' turns."""

    __slots__ = ("attempt", "command", "nanoseconds", "request", "slices")

    def __init__(self, command: Command, request: list[bytes], slices: Slices, attempt: int) -> None:
        super().__init__()
        self.command = command
        self.request = request
        self.slices = slices
        self.nanoseconds = 0
        self.attempt = attempt  # cold reads that came before

    def close(self) -> None:
        self.slices.close()


class WaitForWriters(Wait):
    """The engine stalls writers: run the same request again after `delay_seconds`."""

    __slots__ = ("attempt", "delay_seconds", "request")

    def __init__(self, request: list[bytes], delay_seconds: float, attempt: int) -> None:
        super().__init__()
        self.request = request
        self.delay_seconds = delay_seconds
        self.attempt = attempt  # cold reads that came before


LONGEST_TIMER_SECONDS: Final = 86_400.0
"""Loops take no timer of centuries; whoever wakes too early waits again."""


class WaitForPause(Wait):
    """CLIENT PAUSE: run the same request again when it has ended. From `begin` to `leave` the pause holds it, and wakes
    it if somebody ends it before its time."""

    __slots__ = ("_pause", "_session", "_timer", "attempt", "has_waited", "request", "seconds")

    def __init__(self, context: Context, request: list[bytes], seconds: float, attempt: int, has_waited: bool) -> None:
        super().__init__()
        self.request = request
        self.seconds = seconds
        self.attempt = attempt  # cold reads that came before
        self.has_waited = has_waited  # for the stall
        self._pause = context.services.pause
        self._session = context.session
        self._timer: TimerHandle | None = None

    def begin(self, loop: AbstractEventLoop, wake: Callable[[Wait], None]) -> None:
        def wake_soon() -> None:
            loop.call_soon(wake, self)

        self._session.is_waiting = True
        self._pause.held[self] = wake_soon
        self._timer = loop.call_later(min(self.seconds, LONGEST_TIMER_SECONDS), wake, self)

    def leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._session.is_waiting = False
        self._pause.held.pop(self, None)


TURN_IS_OVER: Final = Wait()
"""The budget is used up: continue after the other connections."""

STOP: Final = Wait()
"""Nothing more is run on this connection: QUIT, SHUTDOWN."""
