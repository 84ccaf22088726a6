"""Runners: where jobs run. Inline (tests, deterministic), in a thread, or in helper processes.

All run the same `run_job`. The helper process is the default wherever load can come: a thread that computes
beside a busy server takes the interpreter's lock from it for 5 ms at a time (measured: 98,000 requests/s become
6,600), another process only a share of the cores.

The helper (helper.py) is started at the first job, so that a small use never has one, as a fresh interpreter that
imports nothing of the host program, with the host's `sys.path` so that it finds the same Flin. It may be killed at any
moment: its jobs then fail with HelperDiedError, what they wrote is removed, and the next job starts another. It ends
when its input pipe does, however this process ends. Where no helper can start, jobs run in threads, `fallback_reason`
says why, and later jobs try again.

Flushes come first, then small compactions (JobGate).
"""

from __future__ import annotations

import logging
import traceback
from threading import Condition, Event, Lock, Thread
from time import monotonic
from typing import Final, Protocol, TypeAlias

from flin.engine.fs import FileSystem
from flin.engine.helper_process import HelperProcess, own_command
from flin.engine.job import FlushJob, Job, JobCancelled, JobResult, run_job
from flin.engine.job_handle import JobHandle, RunnerStatistics, end_job
from flin.engine.job_wire import WireError
from flin.engine.reentry import holds_lock
from flin.errors import ClosedError, FlinError, JobFailedError

logger = logging.getLogger("flin.engine")

HELLO_SECONDS: Final = 1.0
"""A fresh interpreter says hello within 0.1 s. After ten times as long threads take over; the helper is used from the
job on that finds it ready, so that a machine that swaps loses little."""

START_SECONDS: Final = 30.0
"""What has said nothing by then never will: it is ended, and another one is tried later."""

SMALL_JOB_BYTES: Final = 1 << 20
"""What reads less is done in the thread that asks for it (10 ms): to start a helper costs 200 ms of processor time."""

RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 300.0
"""Where no helper could start, the next job tries again after the first, then after twice as long, up to the second:
a helper killed as it started, or a moment without memory or files, must not leave jobs in threads for good."""


class Runner(Protocol):
    @property
    def statistics(self) -> RunnerStatistics: ...

    @property
    def pids(self) -> list[int]:
        """Of the helper processes that take jobs."""

    def prepare(self, flush_bytes: int) -> None:
        """A first flush is near, which will have to read about so much: start what it will need."""

    def submit(self, job: Job) -> JobHandle:
        """Begin a job. ClosedError after close."""

    def run(self, job: Job) -> JobResult:
        """Submit and wait. StorageError, CorruptionError, FormatVersionError of the job, HelperDiedError, JobCancelled,
        or JobFailedError for anything else that it raised, with its traceback."""

    def close(self) -> None:
        """Cancel what runs and wait for its end. Twice is fine."""


class JobGate:
    """Lets the job with the least work go first; the others wait at their checkpoints.

    Flushes never wait, since writers wait for them. Among compactions the smaller one goes first: while a merge of
    everything takes minutes, the young runs above it still have to be merged among themselves."""

    def __init__(self) -> None:
        self._changed = Condition(Lock())
        self._running: list[_Rank] = []
        self._first: _Rank = (0, 0)  # of those that run
        self._entered = 0

    @holds_lock
    def run(self, fs: FileSystem, handle: JobHandle) -> JobResult:
        """The handle's job in this thread."""
        work = _work_of(handle.job)
        with self._changed:
            self._entered += 1
            rank = work, self._entered
            self._running.append(rank)
            self._first = min(self._running)
        try:
            return run_job(fs, handle.job, lambda: self._pass(rank, handle.cancelled))
        finally:
            with self._changed:
                self._running.remove(rank)
                self._first = min(self._running, default=(0, 0))
                self._changed.notify_all()

    @holds_lock
    def wake(self) -> None:
        """Have those who wait look at their cancelled flag."""
        with self._changed:
            self._changed.notify_all()

    @holds_lock
    def _pass(self, rank: _Rank, cancelled: Event) -> None:
        if rank[0] and self._first < rank:
            with self._changed:
                self._changed.wait_for(lambda: self._first >= rank or cancelled.is_set())
        _stop_if(cancelled)


_Rank: TypeAlias = tuple[int, int]
"""Work and order of arrival."""


def bytes_of(job: Job) -> int:
    """How much a job has to read: of the WAL, or of tables."""
    if isinstance(job, FlushJob):
        return sum(segment.end - segment.start for segment in job.segments)
    return sum(table.length for run in job.inputs for table in run)


def _work_of(job: Job) -> int:
    """Bytes to be rewritten; 0 for a flush."""
    return 0 if isinstance(job, FlushJob) else 1 + sum(table.length for run in job.inputs for table in run)


class InlineRunner:
    """Runs each job at once, in the thread that asks."""

    def __init__(self, fs: FileSystem) -> None:
        self.statistics = RunnerStatistics()
        self.pids: list[int] = []
        self._fs = fs
        self._lock = Lock()
        self._closed = Event()

    def prepare(self, flush_bytes: int) -> None:
        """Nothing is needed."""

    def submit(self, job: Job) -> JobHandle:
        if self._closed.is_set():
            raise ClosedError("the runner is closed")
        handle = JobHandle(job)
        outcome: JobResult | Exception
        try:
            outcome = run_job(self._fs, job, lambda: _stop_if(self._closed))
        except (FlinError, JobCancelled) as error:
            outcome = error
        end_job(handle, outcome, self.statistics, self._lock)
        return handle

    def run(self, job: Job) -> JobResult:
        return self.submit(job).result()

    def close(self) -> None:
        self._closed.set()


class ThreadRunner:
    """Runs each job in a thread of its own; in the caller's where none can start, as at the interpreter's end."""

    def __init__(self, fs: FileSystem) -> None:
        self.statistics = RunnerStatistics()
        self.pids: list[int] = []
        self._fs = fs
        self._lock = Lock()
        self._gate = JobGate()
        self._running: dict[JobHandle, Thread | None] = {}  # None: in the caller's
        self._closed = False

    def prepare(self, flush_bytes: int) -> None:
        """Nothing is needed."""

    @holds_lock
    def submit(self, job: Job) -> JobHandle:
        handle = JobHandle(job, self._gate.wake)
        # A daemon: an interpreter that ends without close() does not wait for it, and its files are nobody's.
        thread = Thread(target=self._work, args=(handle,), name=f"flin job {job.number}", daemon=True)
        has_thread = True
        with self._lock:
            if self._closed:
                raise ClosedError("the runner is closed")
            self._running[handle] = thread
            try:
                thread.start()
            except RuntimeError:  # no room for one more, or the interpreter is ending
                self._running[handle], has_thread = None, False
            except BaseException:  # an interrupt, behind the start perhaps: nobody will have the handle
                handle.cancel()
                if thread.ident is None:
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
        except BaseException:  # the outermost frame of a worker: whoever waits gets the traceback
            self._end(handle, JobFailedError(traceback.format_exc()))

    @holds_lock
    def _work_here(self, handle: JobHandle) -> None:
        try:
            self._run_gated(handle)
        except BaseException:  # an interrupt, which is the caller's
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


class HelperRunner:
    """Runs jobs in a helper process; in threads where none can start."""

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
        """The running helper, or None while it has not said hello, or where none can start. Called under the lock."""
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
            if not self.statistics.fallback_reason:  # no warning yet: most likely the machine is slow
                self._use_threads(
                    f"it has not said hello in {HELLO_SECONDS:g} s, and is used once it has", logging.INFO
                )
        except (OSError, RuntimeError, WireError) as error:  # RuntimeError: no thread could be started
            self._helper = None
            self._retry_at = monotonic() + self._retry_seconds
            self._retry_seconds = min(2 * self._retry_seconds, LONGEST_RETRY_SECONDS)
            self._use_threads(str(error))
        return None

    def _use_threads(self, reason: str, level: int = logging.WARNING) -> None:
        self.statistics.fallback_reason = f"no helper process: {reason}"
        if self._threads is None:
            self._threads = ThreadRunner(self._fs)
            self._threads.statistics = self.statistics
        logger.log(level, "flushes and compactions run in threads of this process: %s", reason)


class PairRunner:
    """Two helper processes, started when they are needed: one for flushes, one for compactions.

    In one process a flush and a compaction take turns, and while writers keep flushes coming, compactions starve, the
    runs pile up, and each flush has to ask more of them (count.py). Two processes share the cores as the kernel and
    their priorities say: a million puts of 100 B in random order, until compaction was quiet, on two cores: 64,000/s
    with one, 104,000/s with two, which cost 20 MB more."""

    def __init__(self, fs: FileSystem, *, small_bytes: int = 0) -> None:
        self.flushes: Final = HelperRunner(fs)
        self.compactions: Final = HelperRunner(fs)
        self._small_bytes = small_bytes
        self._small: Final = InlineRunner(fs)

    @property
    def statistics(self) -> RunnerStatistics:
        """Of both, and of what was done here."""
        one, other, small = self.flushes.statistics, self.compactions.statistics, self._small.statistics
        return RunnerStatistics(
            one.jobs + other.jobs + small.jobs,
            one.failures + other.failures + small.failures,
            one.cpu_seconds + other.cpu_seconds + small.cpu_seconds,
            one.starts + other.starts,
            one.deaths + other.deaths,
            one.fallback_reason or other.fallback_reason,
        )

    @property
    def pids(self) -> list[int]:
        return [*self.flushes.pids, *self.compactions.pids]

    def prepare(self, flush_bytes: int) -> None:
        if flush_bytes >= self._small_bytes:
            self.flushes.prepare(flush_bytes)

    def submit(self, job: Job) -> JobHandle:
        if bytes_of(job) < self._small_bytes:
            return self._small.submit(job)
        return (self.flushes if isinstance(job, FlushJob) else self.compactions).submit(job)

    def run(self, job: Job) -> JobResult:
        return self.submit(job).result()

    def close(self) -> None:
        self._small.close()
        self.flushes.close()
        self.compactions.close()


def _stop_if(cancelled: Event) -> None:
    if cancelled.is_set():
        raise JobCancelled
