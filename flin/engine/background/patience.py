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


class Patience:
    """Whether a job should begin anew, as urgent. In its thread."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._used = thread_time()
        self._waited = 0.0

    def note_wait(self, seconds: float) -> None:
        """It has waited for another job: that is no lack of processors."""
        self._waited += seconds

    def is_over(self) -> bool:
        seconds = monotonic() - self._began - self._waited
        return seconds >= PATIENCE_SECONDS and thread_time() - self._used < LEAST_SHARE * seconds
