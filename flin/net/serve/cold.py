"""Cold reads: what is not in memory is read by threads, so that the loop never waits for the disk.

A read that would wait raises ColdRead; the command unwinds, a reader thread runs the load, which fills the caches, and
the connection goes on with the same request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from flin.errors import CorruptionError

logger = logging.getLogger(__name__)

READERS: Final = 4
"""Enough to keep a disk's queue busy; each load spends its time in pread, which releases the interpreter lock."""


class ColdReads:
    """The reader threads. They start at the first cold read."""

    def __init__(self, wake: Callable[[Callable[[], None]], object]) -> None:
        """wake: the loop's call_soon_threadsafe."""
        self._wake = wake
        self._executor = ThreadPoolExecutor(READERS, thread_name_prefix="flin-reader")
        self._is_closed = False

    def submit(self, load: Callable[[], None], then: Callable[[], None]) -> None:
        """Run load in a reader thread, then `then` on the loop. If a load fails, the command runs again, fails too and
        reports the damage."""

        def finished(future: Future[None]) -> None:
            if future.cancelled():  # by close
                return
            error = future.exception()
            if error is not None and not isinstance(error, CorruptionError):
                logger.error("a cold read failed: %s", error)
            if not self._is_closed:
                self._wake(then)

        self._executor.submit(load).add_done_callback(finished)

    def close(self) -> None:
        """Wait for the loads that run; those that have not begun never run, and their `then` is not called."""
        self._is_closed = True
        self._executor.shutdown(wait=True, cancel_futures=True)
