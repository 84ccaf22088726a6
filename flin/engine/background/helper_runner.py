"""The runner of jobs in a helper process, and how one is started.

The helper (helper.py) is started at the first job, so that a small use never needs one. It is a fresh interpreter that
imports nothing of the host program, with the host's `sys.path`, so that it finds the same Flin. It may be killed at any
moment: its jobs then fail with HelperDiedError, their files are removed, and the next job starts another. It ends when
its input pipe does, however this process ends. If no helper can start, jobs run in threads, `fallback_reason` says why,
and later jobs try again.
"""

from __future__ import annotations

import logging
from threading import Lock
from time import monotonic
from typing import Final

from flin.engine.background.helper_process import HelperProcess, own_command
from flin.engine.background.job import Job, JobResult
from flin.engine.background.job_handle import JobHandle, RunnerStatistics
from flin.engine.background.job_wire import WireError
from flin.engine.background.thread_runner import ThreadRunner
from flin.engine.disk.fs import FileSystem
from flin.engine.reentry import holds_lock
from flin.errors import ClosedError

logger = logging.getLogger("flin.engine")

HELLO_SECONDS: Final = 1.0
"""A fresh interpreter says hello within 0.1 s. After ten times as long, threads take over; the helper is used by the
first job that finds it ready, so that a machine that swaps loses little."""

START_SECONDS: Final = 30.0
"""A helper that has said nothing by then never will: it is ended, and another one is tried later."""

RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 300.0
"""If no helper could start, the next one is tried RETRY_SECONDS later, then after twice as long, up to the maximum: a
helper killed as it started, or a moment without memory or files, must not leave jobs in threads for good."""


class HelperRunner:
    """Runs jobs in a helper process; in threads if none can start."""

    def __init__(self, fs: FileSystem, *, command: list[str] | None = None) -> None:
        self.statistics = RunnerStatistics()
        self._fs = fs
        self._command = command  # None: this interpreter
        self._lock = Lock()  # guards the fields below and the starting
        self._helper: HelperProcess | None = None
        self._threads: ThreadRunner | None = None  # once a job could not wait for a helper
        self._retry_seconds = RETRY_SECONDS
        self._retry_at = 0.0
        self._next_id = 1
        self._closed = False

    @property
    def pid(self) -> int | None:
        helper = self._helper
        return helper.pid if helper is not None and helper.is_ready and helper.alive else None

    @property
    def pids(self) -> list[int]:
        pid = self.pid
        return [] if pid is None else [pid]

    @holds_lock
    def prepare(self, flush_bytes: int) -> None:
        with self._lock:
            if not self._closed:
                self._ready_helper()

    def runs_apart(self, flush_bytes: int) -> bool:
        return True

    @holds_lock
    def submit(self, job: Job) -> JobHandle:
        with self._lock:
            if self._closed:
                raise ClosedError("the runner is closed")
            helper = self._ready_helper()
            threads = self._threads
            job_id = self._next_id
            self._next_id += 1
        if helper is not None:
            return helper.submit(job_id, job)
        assert threads is not None
        return threads.submit(job)

    def run(self, job: Job) -> JobResult:
        return self.submit(job).result()

    @holds_lock
    def close(self) -> None:
        with self._lock:
            self._closed = True
            helper, threads = self._helper, self._threads
        if helper is not None:
            helper.close()
        if threads is not None:
            threads.close()

    def _ready_helper(self) -> HelperProcess | None:
        """The running helper, or None while it has not said hello, or if none can start. Called under the lock."""
        helper = self._helper
        if helper is not None and helper.is_ready:
            if helper.alive:
                return helper
            helper = self._helper = None
        try:
            if helper is None:
                if self.statistics.fallback_reason and monotonic() < self._retry_at:
                    return None
                helper = self._helper = HelperProcess(self._fs, self._command or own_command(), self.statistics)
            waited = monotonic() - helper.started_at
            if helper.wait_for_hello(max(0.0, HELLO_SECONDS - waited)):
                self.statistics.fallback_reason = ""
                self._retry_seconds = RETRY_SECONDS
                return helper
            if waited > START_SECONDS:
                helper.close()
                raise WireError("it did not say hello in time")
            if not self.statistics.fallback_reason:  # no warning yet: probably the machine is slow
                self._use_threads(
                    f"it has not said hello in {HELLO_SECONDS:g} s, and is used once it has", logging.INFO
                )
        except (OSError, RuntimeError, WireError) as error:  # RuntimeError: no thread could be started
            self._helper = None
            self._retry_at = monotonic() + self._retry_seconds
            self._retry_seconds = min(2 * self._retry_seconds, MAX_RETRY_SECONDS)
            self._use_threads(str(error))
        return None

    def _use_threads(self, reason: str, level: int = logging.WARNING) -> None:
        self.statistics.fallback_reason = f"no helper process: {reason}"
        if self._threads is None:
            self._threads = ThreadRunner(self._fs)
            self._threads.statistics = self.statistics
        logger.log(level, "flushes and compactions run in threads of this process: %s", reason)
