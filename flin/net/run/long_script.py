"""The long script: one that has left the loop and runs in a thread of its own, alone.

A script that has not ended after 50 ms is taken back and begins anew in a thread, so that the loop goes on: it serves
what touches no database, ends waits whose time is over, and notices clients that leave. Everything else waits, for the
batch and the databases are the thread's: no command reads or writes, no batch is committed, nothing is reaped or swept,
and the clock of expiries stands still. After `busy-reply-threshold` those who wait get BUSY.

This module knows no Lua: a script is a `Job` here. What it does to the batch ends on the loop (`Job.end`), so that
watchers, waiters and subscribers are told there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from flin.engine.thread_start import start_thread
from flin.errors import CommandError
from flin.net.client.clients import ServerClosure
from flin.net.command.command import Flag

if TYPE_CHECKING:
    from flin.net.batch.pending import Pending
    from flin.net.client.clients import Clients
    from flin.net.client.pause import Pause
    from flin.net.command.command import Command
    from flin.net.data.databases import Databases
    from flin.net.run.tick import Tick
    from flin.net.settings.config import Config
    from flin.net.wire.replies import Value

logger = logging.getLogger(__name__)

BUSY: Final = "BUSY Redis is busy running a script. You can only call {} KILL or SHUTDOWN NOSAVE."

LONGEST_WAIT_SECONDS: Final = 86_400.0
"""Whoever waits longer looks again: loops take no timer of centuries."""


class Job(Protocol):
    """A script that runs in the thread."""

    nanoseconds: int
    """What it took."""

    @property
    def is_function(self) -> bool:
        """Whether it is called by FCALL: FUNCTION KILL ends it."""

    def begin(self) -> None:
        """On the loop: from here on the batch is the script's."""

    def run(self) -> None:
        """In the thread: run to the end. Raises nothing."""

    def kill(self) -> None:
        """End it soon, from any thread."""

    def end(self) -> Value:
        """On the loop: keep what it did or take it back. Returns its value, or raises its error."""


class LongScriptError(Exception):
    """Raised by the handler whose script must go on in the thread, once it has been taken back."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.job = job


class ScriptRunsError(Exception):
    """A gate: the request waits for the end of the long script, at most so many seconds; then it asks again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class LongScript:
    """`job` is the one that runs; None: there is none. Methods belong to the loop, where they do not say otherwise."""

    def __init__(
        self,
        pending: Pending,
        databases: Databases,
        pause: Pause,
        clients: Clients,
        config: Config,
        tick: Tick,
        wake: Callable[[Callable[[], None]], object] | None,
    ) -> None:
        """wake: the loop's call_soon_threadsafe. None: no script can leave the loop."""
        self.job: Job | None = None
        self.held: dict[object, Callable[[], None]] = {}  # who waits for its end, each with what wakes it
        self.wake: Final = wake
        self._pending = pending
        self._databases = databases
        self._pause = pause
        self._clients = clients
        self._config = config
        self._tick = tick
        self._since_ms = 0
        self._has_ended: threading.Event | None = None
        self._on_end: Callable[[], None] = _nothing
        self._clock: Callable[[], int] = pending.clock

    def begin(self, job: Job, on_end: Callable[[], None]) -> None:
        """From now on everybody waits, and once the tick has ended the job runs. on_end: called on the loop, before the
        others are woken: it ends the job (`Job.end`)."""
        assert self.wake is not None
        self.job = job
        self._on_end = on_end
        self._has_ended = threading.Event()
        self._since_ms = self._tick.steady_clock()
        self._clients.close_gates(ServerClosure.SCRIPT)
        self.wake(self._start)  # behind the end of the tick, which commits its batch

    def _start(self) -> None:
        assert self.job is not None
        assert self.wake is not None
        self._pending.commit()
        self._databases.block_reads(blocking=True)
        self._pause.fit_sweep()
        self._clock = self._pending.clock
        self._pending.refresh_clock()
        now_ms = self._pending.now_ms
        self._pending.clock = lambda: now_ms
        self.job.begin()
        thread = threading.Thread(target=self._run, args=(self.job, self.wake), name="flin-script", daemon=True)
        try:
            start_thread(thread)
        except (MemoryError, RuntimeError):  # there are too many threads
            logger.warning("no thread for a long script could be started: nothing else is answered until it has ended")
            self._run(self.job, self.wake)

    def _run(self, job: Job, wake: Callable[[Callable[[], None]], object]) -> None:
        assert self._has_ended is not None
        job.run()
        self._has_ended.set()
        try:
            wake(self._end)
        except RuntimeError:  # the loop is closed
            logger.warning("a script ended after the server")

    def _end(self) -> None:
        on_end, self._on_end = self._on_end, _nothing
        self._pending.clock = self._clock
        self._pending.refresh_clock()
        self._databases.block_reads(blocking=False)
        self.job = None
        self._clients.open_gates(ServerClosure.SCRIPT)
        self._pause.fit_sweep()
        on_end()
        self._tick.schedule_end()  # it may be that nobody is there to get a reply
        held, self.held = self.held, {}
        for wake in held.values():
            wake()

    # Others.

    def check(self, command: Command, *, is_queued: bool) -> None:
        """Return if the command may run now: whatever touches no database. Else raises ScriptRunsError, or CommandError
        BUSY. is_queued: it would only join a queue."""
        job = self.job
        if job is None:
            return
        touches_nothing = command.group == "connection" and not command.keys.first
        if command.flags & Flag.ALLOW_BUSY and not command.keys.first:
            return
        threshold_ms = self._config.busy_reply_threshold_ms
        left_ms = self._since_ms + threshold_ms - self._tick.steady_clock() if threshold_ms > 0 else None
        if left_ms is not None and left_ms <= 0:
            raise CommandError(BUSY.format("FUNCTION" if job.is_function else "SCRIPT"))
        if not touches_nothing and not is_queued:
            raise ScriptRunsError(LONGEST_WAIT_SECONDS if left_ms is None else left_ms / 1000)

    def kill(self, *, is_function: bool) -> None:
        """SCRIPT KILL and FUNCTION KILL. CommandError if there is nothing to kill, or it is of the other kind."""
        if self.job is None:
            raise CommandError("NOTBUSY No scripts in execution right now.")
        if self.job.is_function != is_function:
            raise CommandError(BUSY.format("FUNCTION" if self.job.is_function else "SCRIPT"))
        self.job.kill()

    def duration_ms(self) -> int:
        """Since when the job runs."""
        return self._tick.steady_clock() - self._since_ms

    def has_ended(self, seconds: float) -> bool:
        """At the server's end, in any thread: kill the script, and wait for it. False: it did not end. (What no hook
        reaches is a pathological pattern.)"""
        job, has_ended = self.job, self._has_ended
        if job is None or has_ended is None:
            return True
        job.kill()
        return has_ended.wait(seconds)


def _nothing() -> None:
    pass
