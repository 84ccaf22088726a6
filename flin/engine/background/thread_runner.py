"""The runner of jobs in threads of this process."""

from __future__ import annotations

import traceback
from threading import Lock, Thread

from flin.engine.background.job import Job, JobCancelled, JobResult
from flin.engine.background.job_gate import JobGate
from flin.engine.background.job_handle import JobHandle, RunnerStatistics, end_job, whatever_comes
from flin.engine.disk.fs import FileSystem
from flin.engine.reentry import holds_lock
from flin.engine.thread_start import start_thread
from flin.errors import ClosedError, FlinError, JobFailedError


class ThreadRunner:
    """Runs each job in a thread of its own; in the caller's if none can start, as at the interpreter's end."""

    def __init__(self, fs: FileSystem) -> None:
        self.statistics = RunnerStatistics()
        self.pids: list[int] = []
        self._fs = fs
        self._lock = Lock()
        self._gate = JobGate()
        self._running: dict[JobHandle, Thread | None] = {}  # None: in the caller's
        self._closed = False

    def prepare(self, flush_bytes: int) -> None:
        """Do nothing: nothing is needed."""

    def runs_apart(self, flush_bytes: int) -> bool:
        return True

    @holds_lock
    def submit(self, job: Job) -> JobHandle:
        handle = JobHandle(job, self._gate.wake)
        # A daemon: an interpreter that ends without close() does not wait for it, and its files are discarded.
        thread = Thread(target=self._work, args=(handle,), name=f"flin job {job.number}", daemon=True)
        has_thread = True
        with self._lock:
            if self._closed:
                raise ClosedError("the runner is closed")
            self._running[handle] = handle.worker = thread
            try:
                start_thread(thread)
            except RuntimeError:  # no room for one more, or the interpreter is ending
                self._running[handle] = handle.worker = None
                has_thread = False
            except BaseException:  # an interrupt, perhaps after the start: no caller will have the handle
                handle.cancel()
                if not thread.is_alive():
                    self._running.pop(handle, None)
                raise
        if not has_thread:
            self._work_here(handle)
        return handle

    def run(self, job: Job) -> JobResult:
        return self.submit(job).result()

    @holds_lock
    def close(self) -> None:
        with self._lock:
            self._closed = True
            running = list(self._running.items())
        for handle, _ in running:
            handle.cancel()
        for handle, thread in running:
            if thread is None:
                handle.wait()
            else:
                thread.join()

    @holds_lock
    def _work(self, handle: JobHandle) -> None:
        try:
            self._run_gated(handle)
        except BaseException:  # the outermost frame of a worker: the waiting caller gets the traceback
            whatever_comes(lambda: self._end(handle, JobFailedError(traceback.format_exc())))

    @holds_lock
    def _work_here(self, handle: JobHandle) -> None:
        try:
            self._run_gated(handle)
        except BaseException:  # an interrupt, meant for the caller
            self._end(handle, JobCancelled())
            raise

    def _run_gated(self, handle: JobHandle) -> None:
        outcome: JobResult | Exception
        try:
            outcome = self._gate.run(self._fs, handle)
        except (FlinError, JobCancelled) as error:
            outcome = error
        self._end(handle, outcome)

    @holds_lock
    def _end(self, handle: JobHandle, outcome: JobResult | Exception) -> None:
        end_job(handle, outcome, self.statistics, self._lock)
        with self._lock:
            self._running.pop(handle, None)  # an interrupt may have come before it was known to run
