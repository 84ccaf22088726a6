"""Slices: a job that nobody waits for works a millisecond at a time, and leaves the core in between.

Where cores are few, the kernel takes one away from the thread that answers users and gives it to a job for as long as
its tick, 4 ms, whatever their priorities: users wait for that long. A job that sleeps by itself after a millisecond is
waited for no longer.
"""

from __future__ import annotations

from time import sleep, thread_time
from typing import Final

WORK_SECONDS: Final = 0.001
"""Processor time between two rests. The rest and its two switches of threads cost some 20 µs of it."""

REST_SECONDS: Final = 0.001
"""As long as the work: a job takes at most twice as long as without rests, if it has a core for itself."""


class Slices:
    """The slices of one job, in its thread."""

    def __init__(self) -> None:
        self._ends_at = thread_time() + WORK_SECONDS

    def maybe_rest(self) -> None:
        """Rest if the slice is over."""
        if thread_time() >= self._ends_at:
            sleep(REST_SECONDS)
            self._ends_at = thread_time() + WORK_SECONDS
