"""Why a connection cannot go on; its later requests wait, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flin.net.command.command import Command
    from flin.net.wire.replies import Slices


class Wait:
    """`load` runs in a reader thread first."""

    __slots__ = ("load",)

    def __init__(self, load: Callable[[], None] | None = None) -> None:
        self.load = load


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


class WaitForWriters(Wait):
    """The engine stalls writers: run the same request again after `delay_seconds`."""

    __slots__ = ("attempt", "delay_seconds", "request")

    def __init__(self, request: list[bytes], delay_seconds: float, attempt: int) -> None:
        super().__init__()
        self.request = request
        self.delay_seconds = delay_seconds
        self.attempt = attempt  # cold reads that came before


TURN_IS_OVER: Final = Wait()
"""The budget is used up: continue after the other connections."""

STOP: Final = Wait()
"""Nothing more is run on this connection: QUIT, SHUTDOWN."""
