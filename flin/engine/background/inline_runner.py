"""The runner without threads: each job at once, in the caller's thread. It makes tests deterministic."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock

from flin.engine.background.job import Job, JobCancelled, JobResult
from flin.engine.background.job_gate import stop_if
from flin.engine.background.job_handle import JobHandle, RunnerStatistics, end_job
from flin.engine.background.job_run import run_job
from flin.engine.disk.fs import FileSystem
from flin.errors import ClosedError, FlinError


class InlineRunner:
    """Runs each job at once, in the caller's thread. `checkpoint` is called between the slices of a job; it may raise
    JobStarved, as the helper does on a machine that is busy."""

    def __init__(self, fs: FileSystem) -> None:
        self.checkpoint: Callable[[Job], None] = lambda job: None
        self.statistics = RunnerStatistics()
        self.pids: list[int] = []
        self._fs = fs
        self._lock = Lock()
        self._closed = Event()

    def prepare(self, flush_bytes: int) -> None:
        """Do nothing: nothing is needed."""

    def runs_apart(self, flush_bytes: int) -> bool:
        return False

    def submit(self, job: Job) -> JobHandle:
        if self._closed.is_set():
            raise ClosedError("the runner is closed")
        handle = JobHandle(job)
        outcome: JobResult | Exception
        try:
            outcome = run_job(self._fs, job, lambda: self._pass(job))
        except (FlinError, JobCancelled) as error:
            outcome = error
        end_job(handle, outcome, self.statistics, self._lock)
        return handle

    def run(self, job: Job) -> JobResult:
        return self.submit(job).result()

    def close(self) -> None:
        self._closed.set()

    def _pass(self, job: Job) -> None:
        stop_if(self._closed)
        self.checkpoint(job)
