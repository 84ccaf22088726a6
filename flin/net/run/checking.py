"""FLIN.CHECK: one check of the whole database at a time, in a thread; who asks meanwhile waits for the same one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import TypeAlias

from flin.engine.thread_start import start_thread
from flin.errors import FlinError

logger = logging.getLogger(__name__)

Check: TypeAlias = "Callable[[], Sequence[object]]"
"""Reads and verifies everything, and gives the problems. Blocks; raises FlinError."""


class Checks:
    """The server's: at most one is under way."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._newest: Checking | None = None

    def join(self) -> Checking:
        """The check that is under way, or a new one."""
        if self._newest is None or not self._newest.is_running:
            self._newest = Checking(self._check)
        return self._newest


class Checking:
    """One run of a check."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._ended = Event()
        self._problems: Sequence[str] = ()
        self._error: FlinError | None = None
        # A daemon: the end of the process does not wait for it.
        start_thread(Thread(target=self._run, name="flin-check", daemon=True))

    @property
    def is_running(self) -> bool:
        return not self._ended.is_set()

    def wait(self, seconds: float) -> None:
        """Until it has ended, but not longer."""
        self._ended.wait(seconds)

    def problems(self) -> Sequence[str]:
        """What it has found, once it has ended. Raises what kept it from its end."""
        if self._error is not None:
            raise self._error
        return self._problems

    def _run(self) -> None:
        try:
            self._problems = [str(problem) for problem in self._check()]
            for problem in self._problems:
                logger.error("check: %s", problem)
        except FlinError as error:
            self._error = error
        except Exception:
            logger.exception("a check failed")
            self._error = FlinError("the check failed unexpectedly: the log says how")
        finally:
            self._ended.set()
