"""Runners: where jobs run. Inline (tests, deterministic), in a thread, or in helper processes.

All run the same `run_job`. The helper process is the default wherever load can come: a thread that computes in a busy
server takes the interpreter's lock from it for 5 ms at a time (measured: 98,000 requests/s become 6,600), another
process only a share of the cores.
"""

from __future__ import annotations

from typing import Protocol

from flin.engine.background.inline_runner import InlineRunner
from flin.engine.background.job import Job, JobResult
from flin.engine.background.job_handle import JobHandle, RunnerStatistics
from flin.engine.background.pair_runner import SMALL_JOB_BYTES, PairRunner
from flin.engine.background.thread_runner import ThreadRunner
from flin.engine.disk.fs import OsFileSystem
from flin.engine.disk.sealed_files import raw_of
from flin.engine.options import Options


class Runner(Protocol):
    @property
    def statistics(self) -> RunnerStatistics: ...

    @property
    def pids(self) -> list[int]:
        """The helper processes that take jobs."""

    def prepare(self, flush_bytes: int) -> None:
        """The first flush is near and will read about `flush_bytes`: start what it will need."""

    def runs_apart(self, flush_bytes: int) -> bool:
        """Whether a flush that reads so many bytes runs beside its caller, not within `submit`."""

    def submit(self, job: Job) -> JobHandle:
        """Begin a job. ClosedError after close."""

    def run(self, job: Job) -> JobResult:
        """Submit a job and wait for its result. Raises the job's StorageError, CorruptionError or FormatVersionError,
        HelperDiedError, JobCancelled, or JobFailedError with the traceback for anything else that it raised."""

    def close(self) -> None:
        """Cancel the running jobs and wait for their end. Idempotent."""


def runner_of(options: Options) -> Runner:
    """The runner that the options ask for. It starts nothing."""
    if options.runner == "inline":
        return InlineRunner(options.fs)
    if options.runner == "thread" or not isinstance(raw_of(options.fs), OsFileSystem):
        return ThreadRunner(options.fs)  # another process would not see a disk that exists in this one only
    # If the options name the helper, it runs every job.
    return PairRunner(options.fs, small_bytes=SMALL_JOB_BYTES if options.runner == "auto" else 0)
