"""Runners: where jobs run. Inline (tests, deterministic), in a thread, or in helper processes.

All run the same `run_job`. The helper process is the default wherever load can come: a thread that computes
beside a busy server takes the interpreter's lock from it for 5 ms at a time (measured: 98,000 requests/s become
6,600), another process only a share of the cores.

The helper (helper.py) is started at the first job, so that a small use never has one, as a fresh interpreter that
imports nothing of the host program, with the host's `sys.path` so that it finds the same Flin. It may be killed at any
moment: its jobs then fail with HelperDiedError, what they wrote is removed, and the next job starts another. It ends
when its input pipe does, however this process ends. A forked child of this process closes its copies of the pipes,
or it would keep the helper alive. Where no helper can start, jobs run in threads, `fallback_reason` says why, and later
jobs try again.

Flushes come first, then small compactions (JobGate).
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Event, Lock, Thread
from time import monotonic
from typing import Any, Final, Protocol, TypeAlias

from flin.engine import job_wire
from flin.engine.fs import STANDARD_ERROR, FileSystem, HeldDirectory, OsFileSystem, after_fork_in_child, pipe
from flin.engine.job import FlushJob, Job, JobCancelled, JobResult, check_result, remove_outputs, run_job
from flin.engine.job_wire import Message, WireError
from flin.errors import ClosedError, FlinError, HelperDiedError, JobFailedError

logger = logging.getLogger("flin.engine")

START_SECONDS: Final = 30.0
"""A fresh interpreter says hello within 0.1 s; a machine that swaps is given longer before threads take over."""

RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 300.0
"""Where no helper could start, the next job tries again after the first, then after twice as long, up to the second:
a helper killed as it started, or a moment without memory or files, must not leave jobs in threads for good."""

CLOSE_SECONDS: Final = 5.0
"""The helper ends within milliseconds of the end of its input; one that hangs in the kernel is killed."""

_BOOT: Final = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from flin.engine.helper import main; main()"
)


@dataclass(slots=True)
class RunnerStatistics:
    jobs: int = 0  # ended well
    failures: int = 0  # ended otherwise, cancelled ones included
    cpu_seconds: float = 0.0  # of the jobs that ended well
    starts: int = 0  # of helper processes
    deaths: int = 0  # of those, the ones nobody asked for
    fallback_reason: str = ""  # why jobs run in threads though a helper was asked for


class JobHandle:
    """A submitted job. Threads may share it."""

    def __init__(self, job: Job, on_cancel: Callable[[], None] | None = None) -> None:
        self.job = job
        self.cancelled = Event()
        self._on_cancel = on_cancel
        self._ended = Event()
        self._result: JobResult | None = None
        self._error: Exception | None = None

    def result(self, timeout_seconds: float | None = None) -> JobResult:
        """Wait for the end; the result, or what the job raised. TimeoutError if it takes longer."""
        if not self._ended.wait(timeout_seconds):
            raise TimeoutError(f"job {self.job.number} still runs")
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def cancel(self) -> None:
        """Ask for the end at the next checkpoint; the result is then JobCancelled, unless the job was faster."""
        self.cancelled.set()
        if self._on_cancel is not None:
            self._on_cancel()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def end(self, outcome: JobResult | Exception) -> None:
        """Wake those who wait."""
        if isinstance(outcome, JobResult):
            self._result = outcome
        else:
            self._error = outcome
        self._ended.set()


class Runner(Protocol):
    @property
    def statistics(self) -> RunnerStatistics: ...

    @property
    def pids(self) -> list[int]:
        """Of the helper processes that there are."""

    def prepare(self) -> None:
        """A first flush is near: start what it will need."""

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

    def wake(self) -> None:
        """Have those who wait look at their cancelled flag."""
        with self._changed:
            self._changed.notify_all()

    def _pass(self, rank: _Rank, cancelled: Event) -> None:
        if rank[0] and self._first < rank:
            with self._changed:
                self._changed.wait_for(lambda: self._first >= rank or cancelled.is_set())
        _stop_if(cancelled)


_Rank: TypeAlias = tuple[int, int]
"""Work and order of arrival."""


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

    def prepare(self) -> None:
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
        _end(handle, outcome, self.statistics, self._lock)
        return handle

    def run(self, job: Job) -> JobResult:
        return self.submit(job).result()

    def close(self) -> None:
        self._closed.set()


class ThreadRunner:
    """Runs each job in a thread of its own."""

    def __init__(self, fs: FileSystem) -> None:
        self.statistics = RunnerStatistics()
        self.pids: list[int] = []
        self._fs = fs
        self._lock = Lock()
        self._gate = JobGate()
        self._running: dict[JobHandle, Thread] = {}
        self._closed = False

    def prepare(self) -> None:
        """Nothing is needed."""

    def submit(self, job: Job) -> JobHandle:
        handle = JobHandle(job, self._gate.wake)
        # A daemon: an interpreter that ends without close() does not wait for it, and its files are nobody's.
        thread = Thread(target=self._work, args=(handle,), name=f"flin job {job.number}", daemon=True)
        with self._lock:
            if self._closed:
                raise ClosedError("the runner is closed")
            thread.start()  # RuntimeError where the operating system has no room for one more
            self._running[handle] = thread
        return handle

    def run(self, job: Job) -> JobResult:
        return self.submit(job).result()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            running = list(self._running.items())
        for handle, _ in running:
            handle.cancel()
        for _, thread in running:
            thread.join()

    def _work(self, handle: JobHandle) -> None:
        outcome: JobResult | Exception
        try:
            outcome = self._gate.run(self._fs, handle)
        except (FlinError, JobCancelled) as error:
            outcome = error
        except BaseException:  # the outermost frame of a worker: whoever waits gets the traceback
            outcome = JobFailedError(traceback.format_exc())
        _end(handle, outcome, self.statistics, self._lock)
        with self._lock:
            del self._running[handle]


class HelperRunner:
    """Runs jobs in a helper process; in threads where none can start."""

    def __init__(
        self, fs: FileSystem, *, command: list[str] | None = None, start_seconds: float = START_SECONDS
    ) -> None:
        self.statistics = RunnerStatistics()
        self._fs = fs
        self._command = command  # None: this interpreter
        self._start_seconds = start_seconds
        self._lock = Lock()  # guards the fields below and the starting
        self._helper: _Helper | None = None
        self._threads: ThreadRunner | None = None  # once no helper could start
        self._retry_seconds = RETRY_SECONDS
        self._retry_at = 0.0
        self._next_id = 1
        self._closed = False

    @property
    def pid(self) -> int | None:
        helper = self._helper
        return helper.pid if helper is not None and helper.alive else None

    @property
    def pids(self) -> list[int]:
        pid = self.pid
        return [] if pid is None else [pid]

    def prepare(self) -> None:
        with self._lock:
            if not self._closed:
                self._ready_helper()

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

    def close(self) -> None:
        with self._lock:
            self._closed = True
            helper, threads = self._helper, self._threads
        if helper is not None:
            helper.close()
        if threads is not None:
            threads.close()

    def _ready_helper(self) -> _Helper | None:
        """The running helper, a new one, or None where none can start. Called under the lock."""
        if self._helper is not None and self._helper.alive:
            return self._helper
        if self.statistics.fallback_reason and monotonic() < self._retry_at:
            return None
        try:
            self._helper = _Helper(self._fs, self._command or own_command(), self._start_seconds, self.statistics)
            self.statistics.fallback_reason = ""
            self._retry_seconds = RETRY_SECONDS
        except (OSError, RuntimeError, WireError) as error:  # RuntimeError: no thread could be started
            self._helper = None
            self.statistics.fallback_reason = f"no helper process: {error}"
            self._retry_at = monotonic() + self._retry_seconds
            self._retry_seconds = min(2 * self._retry_seconds, LONGEST_RETRY_SECONDS)
            if self._threads is None:
                self._threads = ThreadRunner(self._fs)
                self._threads.statistics = self.statistics
            logger.warning("flushes and compactions run in threads of this process: %s", error)
        return self._helper


class PairRunner:
    """Two helper processes, started when they are needed: one for flushes, one for compactions.

    In one process a flush and a compaction take turns, and while writers keep flushes coming, compactions starve, the
    runs pile up, and each flush has to ask more of them (count.py). Two processes share the cores as the kernel and
    their priorities say: a million puts of 100 B in random order, until compaction was quiet, on two cores: 64,000/s
    with one, 104,000/s with two, which cost 20 MB more."""

    def __init__(self, fs: FileSystem) -> None:
        self.flushes: Final = HelperRunner(fs)
        self.compactions: Final = HelperRunner(fs)

    @property
    def statistics(self) -> RunnerStatistics:
        """Of both."""
        one, other = self.flushes.statistics, self.compactions.statistics
        return RunnerStatistics(
            one.jobs + other.jobs,
            one.failures + other.failures,
            one.cpu_seconds + other.cpu_seconds,
            one.starts + other.starts,
            one.deaths + other.deaths,
            one.fallback_reason or other.fallback_reason,
        )

    @property
    def pids(self) -> list[int]:
        return [*self.flushes.pids, *self.compactions.pids]

    def prepare(self) -> None:
        self.flushes.prepare()

    def submit(self, job: Job) -> JobHandle:
        return (self.flushes if isinstance(job, FlushJob) else self.compactions).submit(job)

    def run(self, job: Job) -> JobResult:
        return self.submit(job).result()

    def close(self) -> None:
        self.flushes.close()
        self.compactions.close()


class _Helper:
    """One helper process, from its start to its end, and the thread that reads what it says."""

    def __init__(self, fs: FileSystem, command: list[str], start_seconds: float, statistics: RunnerStatistics) -> None:
        self.alive = True
        self._fs = fs
        self._statistics = statistics
        self._lock = Lock()  # guards `_pending`, `_closing` and the statistics
        self._send_lock = Lock()
        self._pending: dict[int, JobHandle] = {}
        self._closing = False
        self._greeted = Event()
        self._problem = ""  # what ended it, if that was on this side
        # A process group of its own: what a terminal sends to the group of this process does not reach it. Only
        # the pipes and stderr are passed on.
        held = dict(fs.held) if isinstance(fs, OsFileSystem) else {}
        self._process, self._input, self._output = _started(command, held)
        _helpers.add(self)
        statistics.starts += 1
        self.pid = self._process.pid
        self._reader = Thread(target=self._read_all, name="flin helper reader", daemon=True)
        try:
            self._reader.start()
        except RuntimeError:  # no room for one more thread
            self._process.kill()
            self._process.wait()
            raise
        if not self._greeted.wait(start_seconds):
            self._problem = "it did not say hello in time"
            self._process.kill()
        if self._problem or not self.alive:
            self.close()
            raise WireError(self._problem)
        self._send(job_wire.encode_held(held))

    def submit(self, job_id: int, job: Job) -> JobHandle:
        handle = JobHandle(job, lambda: self._send({"type": "cancel", "id": job_id}))
        message = {"type": "job", "id": job_id, **job_wire.encode_job(job)}
        with self._lock:
            dead = not self.alive
            if not dead:
                self._pending[job_id] = handle
        if dead:
            handle.end(self._end_error())
        else:
            self._send(message)
        return handle

    def close(self) -> None:
        """End the helper: its input ends, and it with that. What it was doing is cancelled."""
        with self._lock:
            self._closing = True
        with self._send_lock:
            self._input.close()
        self._reader.join(CLOSE_SECONDS)
        if self._reader.is_alive():
            self._process.kill()
            self._reader.join()

    def forget_in_child(self) -> None:
        """In a forked child: the helper is not its own. No lock is taken: its holder may not exist here."""
        self.alive = False
        self._process.returncode = 0  # or its finalizer would wait for a process that is not its child
        self._input.close()
        self._output.close()

    def _send(self, message: Message) -> None:
        """A helper that is gone does not hear it: the reader finds out and fails what is pending."""
        data = memoryview(job_wire.encode_message(message))
        try:
            with self._send_lock:
                while data:
                    data = data[self._input.write(data) :]
        except (BrokenPipeError, ValueError):  # ValueError: closed on this side
            return

    def _read_all(self) -> None:
        try:
            while (message := job_wire.read_message(self._output.read)) is not None:
                self._take(message)
        except (WireError, OSError) as error:
            self._problem = str(error)
        except Exception:  # the outermost frame of a worker: nobody may wait for ever
            self._problem = traceback.format_exc()
        self._end()

    def _take(self, message: Message) -> None:
        kind = message["type"]
        if kind == "hello":
            if message.get("protocol") != job_wire.PROTOCOL:
                raise WireError(f"it speaks protocol {message.get('protocol')}, not {job_wire.PROTOCOL}")
            self._greeted.set()
            return
        with self._lock:
            handle = self._pending.pop(message.get("id", 0), None)
        if handle is None:
            raise WireError(f"{kind} of a job that does not run")
        try:
            if kind == "result":
                result = job_wire.decode_result(message.get("result"))
                check_result(self._fs, handle.job, result)
                _end(handle, result, self._statistics, self._lock)
            elif kind == "error":
                _end(handle, job_wire.decode_error(message.get("error")), self._statistics, self._lock)
            else:
                raise WireError(f"a message of type {kind!r}")
        except FlinError as error:  # of check_result
            self._fail(handle, error)
        except WireError as error:
            self._fail(handle, JobFailedError(str(error)))
            raise

    def _end(self) -> None:
        """The helper's output ended, or cannot be understood: end it, clear up behind it, tell those who wait."""
        self._process.kill()
        self._process.wait()
        with self._lock:
            self.alive = False
            closing = self._closing
            pending = list(self._pending.values())
            self._pending.clear()
            self._statistics.deaths += not closing
        with self._send_lock:
            self._input.close()
        self._output.close()
        self._problem = self._problem or f"it ended with status {self._process.returncode}"
        self._greeted.set()
        for handle in pending:
            self._fail(handle, JobCancelled() if closing else self._end_error())

    def _fail(self, handle: JobHandle, error: Exception) -> None:
        try:
            remove_outputs(self._fs, handle.job)
        except FlinError as refused:
            error.add_note(f"and its files are still there: {refused}")
        _end(handle, error, self._statistics, self._lock)

    def _end_error(self) -> HelperDiedError:
        return HelperDiedError(f"the helper process {self.pid} is gone: {self._problem}")


def own_command() -> list[str]:
    """How to start a helper with this interpreter. OSError where it is none that can be started."""
    if not sys.executable or getattr(sys, "frozen", False):
        raise OSError("this program is no Python interpreter that could be started again")
    flags = ["-P"]  # nothing is imported from the working directory
    flags += ["-E"] if sys.flags.ignore_environment else []
    flags += ["-s"] if sys.flags.no_user_site else []
    return [sys.executable, *flags, "-c", _BOOT, json.dumps([os.path.abspath(entry) for entry in sys.path])]


def _started(command: list[str], held: dict[str, HeldDirectory]) -> tuple[subprocess.Popen[bytes], Any, Any]:
    """The helper process, with the descriptors of the directories that it is to work in; its input and its output."""
    child_input, parent_input = pipe()
    parent_output, child_output = pipe()
    try:
        process = subprocess.Popen(
            command,
            stdin=child_input,
            stdout=child_output,
            stderr=None if _is_open(STANDARD_ERROR) else subprocess.DEVNULL,
            bufsize=0,
            pass_fds=[each.fd for each in held.values()],
            process_group=0,
        )
    except BaseException:
        os.close(parent_input)
        os.close(parent_output)
        raise
    finally:
        os.close(child_input)
        os.close(child_output)
    return process, os.fdopen(parent_input, "wb", buffering=0), os.fdopen(parent_output, "rb", buffering=0)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _stop_if(cancelled: Event) -> None:
    if cancelled.is_set():
        raise JobCancelled


def _end(handle: JobHandle, outcome: JobResult | Exception, statistics: RunnerStatistics, lock: Lock) -> None:
    with lock:
        if isinstance(outcome, JobResult):
            statistics.jobs += 1
            statistics.cpu_seconds += outcome.statistics.cpu_seconds
        else:
            statistics.failures += 1
    handle.end(outcome)


_helpers: weakref.WeakSet[_Helper] = weakref.WeakSet()


def _forget_helpers() -> None:
    for helper in list(_helpers):
        helper.forget_in_child()
    _helpers.clear()


after_fork_in_child(_forget_helpers)
