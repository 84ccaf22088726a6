"""A job under way: its handle, and the figures of the runner that runs it."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from math import inf
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import Final

from flin.engine.background.job import Job, JobResult
from flin.engine.reentry import holds_lock
from flin.errors import JobFailedError, drop_traceback

NO_MEMORY_SECONDS: Final = 0.1
"""The pause after a step found no memory, until it is tried again: nothing next to the duration of a job."""


LOOK_SECONDS: Final = 1.0
"""How often a waiting caller checks that the worker is alive: without memory a thread can end without a word."""


@dataclass(slots=True)
class RunnerStatistics:
    jobs: int = 0  # ended well
    failures: int = 0  # ended otherwise, cancelled ones included
    cpu_seconds: float = 0.0  # of the jobs that ended well
    starts: int = 0  # helper processes started
    deaths: int = 0  # helper processes that ended unasked
    fallback_reason: str = ""  # why jobs run in threads though a helper was asked for


class JobHandle:
    """A submitted job. Threads may share it."""

    def __init__(self, job: Job, on_cancel: Callable[[bool], None] | None = None) -> None:
        self.job = job
        self.cancelled = Event()
        self.progress = 0.0  # the share of a merge that is done, where the job runs
        self._unless_half = False
        self.worker: Thread | None = None  # the thread that will end it; None: the one that submitted it
        self._on_cancel = on_cancel
        self._ended = Event()
        self._result: JobResult | None = None
        self._error: Exception | None = None

    def result(self, timeout_seconds: float | None = None) -> JobResult:
        """Wait for the end, and return the result or raise what the job raised. TimeoutError if it takes longer."""
        if not self.wait(timeout_seconds):
            raise TimeoutError(f"job {self.job.number} still runs")
        if self._error is not None:
            raise copy(self._error)  # the copy's frames are freed when it is handled
        assert self._result is not None
        return self._result

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until it has ended, in whatever way, or the time is over. Returns whether it has ended."""
        over_at = inf if timeout_seconds is None else monotonic() + timeout_seconds
        while not self._ended.wait(min(LOOK_SECONDS, max(0.0, over_at - monotonic()))):
            if self.worker is not None and not self.worker.is_alive():
                self.end(JobFailedError(f"nobody works on job {self.job.number} any more: no memory, most likely"))
            elif monotonic() >= over_at:
                return False
        return True

    def cancel(self, *, unless_half: bool = False) -> None:
        """Ask the job to end at its next checkpoint; it then raises JobCancelled, unless it was faster. With
        `unless_half` it goes on if half of its work is done by then."""
        if unless_half:
            self._unless_half = True
        else:
            self.cancelled.set()
        if self._on_cancel is not None:
            self._on_cancel(unless_half)

    @property
    def is_unwanted(self) -> bool:
        """Whether the job should end at this checkpoint."""
        return self.cancelled.is_set() or (self._unless_half and self.progress < 0.5)

    def note_progress(self, done: float) -> None:
        self.progress = done

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def end(self, outcome: JobResult | Exception) -> None:
        """Set the outcome and wake those who wait. Of several outcomes the first counts."""
        if self._ended.is_set():
            self._ended.set()  # memory may have run out before all of them were woken
            return
        if isinstance(outcome, JobResult):
            self._result = outcome
        else:
            drop_traceback(outcome)
            self._error = outcome
        self._ended.set()


@holds_lock
def end_job(handle: JobHandle, outcome: JobResult | Exception, statistics: RunnerStatistics, lock: Lock) -> None:
    with lock:
        if isinstance(outcome, JobResult):
            statistics.jobs += 1
            statistics.cpu_seconds += outcome.statistics.cpu_seconds
        else:
            statistics.failures += 1
    handle.end(outcome)


def whatever_comes(act: Callable[[], None]) -> None:
    """Do what must be done, since a caller waits for it; if memory runs out, try again."""
    while True:
        try:
            act()
            return
        except MemoryError:
            sleep(NO_MEMORY_SECONDS)
