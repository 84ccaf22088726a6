"""The patience of a job that runs while processors idle: on a machine where they never do, it would run for hours.

Meanwhile no other merge may touch its inputs, and what they overwrite and delete stays on the disk: in an hour of
writes to three nodes on two busy cores the directories grew to 2.6 times their size, beside a merge of 26 minutes.
"""

from __future__ import annotations

from time import monotonic, thread_time
from typing import Final

PATIENCE_SECONDS: Final = 10.0
"""So long it waits for a first share: bursts of requests and other jobs are mostly over by then."""

LEAST_SHARE: Final = 0.1
"""The share of a core that is worth waiting for. The work is lost when it begins anew: at most this share."""

QUEUED_SHARE: Final = 0.5
"""The share of the time that it was ready to run and had no processor. One that waits for a slow disk uses as little,
and would read and write all of it once more."""


class Patience:
    """Whether a job should begin anew, as urgent. In its thread."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._used = thread_time()
        self._queued = queued_seconds()
        self._waited = 0.0

    def note_wait(self, seconds: float) -> None:
        """It has waited for another job: that is no lack of processors."""
        self._waited += seconds

    def is_over(self) -> bool:
        seconds = monotonic() - self._began - self._waited
        if seconds < PATIENCE_SECONDS or thread_time() - self._used >= LEAST_SHARE * seconds:
            return False
        return queued_seconds() - self._queued >= QUEUED_SHARE * seconds


def queued_seconds() -> float:
    """How long this thread has been ready to run and did not, as Linux counts it (run_delay of sched-stats). Where
    nobody does, how long it did not run: a merge that lasts for hours is worse than one that is made twice."""
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:
            ran, queued, _ = map(int, file.read().split())
    except (OSError, ValueError):
        ran = queued = 0
    return queued / 1e9 if ran else monotonic() - thread_time()  # a kernel without it has a line of zeros
