"""Waits for scripts that have left the loop (run/long_script.py): a client's own, and that of another client."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flin.net.serve.wait import Wait, WaitForSlices

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle

    from flin.net.command.command import Command
    from flin.net.run.long_script import Job, LongScript
    from flin.net.wire.replies import Value


class WaitForScript(Wait):
    """A long script runs: run the same request again, or go on with `slices`, once it has ended; or answer BUSY."""

    __slots__ = ("_long_script", "_timer", "attempt", "has_waited", "request", "seconds", "slices")

    def __init__(
        self,
        long_script: LongScript,
        request: list[bytes],
        seconds: float,
        attempt: int,
        has_waited: bool,
        slices: WaitForSlices | None = None,
    ) -> None:
        super().__init__()
        self.request = request
        self.seconds = seconds
        self.attempt = attempt  # cold reads that came before
        self.has_waited = has_waited  # for the stall
        self.slices = slices
        self._long_script = long_script
        self._timer: TimerHandle | None = None

    def begin(self, loop: AbstractEventLoop, wake: Callable[[Wait], None]) -> None:
        """wake: called once, unless `leave` is."""

        def wake_now() -> None:
            self.leave()
            loop.call_soon(wake, self)  # each in its turn

        self._long_script.held[self] = wake_now
        self._timer = loop.call_later(self.seconds, wake_now)

    def leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._long_script.held.pop(self, None)

    def close(self) -> None:
        self.leave()
        if self.slices is not None:
            self.slices.close()


class WaitForOwnScript(Wait):
    """The client's own script has left the loop. It runs to its end, also if the client is gone."""

    __slots__ = ("_job", "_wake", "command", "error", "nanoseconds", "request", "value")

    def __init__(self, long_script: LongScript, command: Command, request: list[bytes], job: Job) -> None:
        super().__init__()
        self.command = command
        self.request = request
        self.value: Value = None
        self.error: Exception | None = None
        self.nanoseconds = 0
        self._job = job
        self._wake: Callable[[Wait], None] | None = None
        long_script.begin(job, self._end)

    def begin(self, loop: AbstractEventLoop, wake: Callable[[Wait], None]) -> None:
        self._wake = wake

    def _end(self) -> None:
        try:
            self.value = self._job.end()
        except Exception as error:
            self.error = error
        self.nanoseconds = self._job.nanoseconds
        if self._wake is not None:
            self._wake(self)
