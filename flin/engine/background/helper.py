"""The helper process: runs jobs that another process sends, and nothing else.

    standard input    jobs and cancellations (job_wire.py); its end is the end of this process, at once
    standard output   a hello, then results and errors in the order in which jobs end
    standard error    inherited; silent unless this program itself is broken

It holds no state between jobs. Each job has a thread; they wait for each other as job_gate.JobGate says. The process
ends when its input ends: the kernel closes the pipe however the parent ended, kill -9 included. If a forked child of
the parent holds a copy of the pipe, the change of parent is noticed within a second. Interrupts and terminations are
ignored: they may come to a whole group of processes, and the parent may still need its jobs done.

It ends by os._exit: no thread is waited for. Files of unfinished jobs stay; the parent, or the next open, removes them.

Priorities. The process that answers users should win where cores are few, but in the end writers wait for flushes. A
flush behind which another generation waits, or that a caller waits for, has no lower priority than the writers, who
will wait for it next. Any other has the time that a generation takes to fill, which is many times its own: it has nice
10 and rests between slices of a millisecond (slices.py). At nice 5, with two other busy processes on two cores, the
kernel leaves an urgent compaction about a quarter of a core; alone it has all it wants. Other compactions are
SCHED_IDLE: they stop whenever another process has work, which halves the p99 of reads at the same time. They are
urgent once a shard has more runs than it should, and begin anew as urgent if processors hardly ever idle (patience.py).
Linux sets this per thread; elsewhere all jobs get nice 2.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from contextlib import suppress
from threading import Lock, Thread, get_native_id
from time import monotonic, sleep
from typing import Final, NoReturn

from flin.engine.background import job_wire
from flin.engine.background.job import CompactionJob, CountJob, FlushJob, Job
from flin.engine.background.job_gate import JobGate
from flin.engine.background.job_handle import JobHandle
from flin.engine.background.job_wire import Message
from flin.engine.background.patience import Patience
from flin.engine.disk.descriptor import STANDARD_ERROR, above_standard
from flin.engine.disk.fs import FileSystem, OsFileSystem
from flin.engine.thread_start import start_thread

NICE_URGENT_FLUSH: Final = 0
NICE_FLUSH: Final = 10
NICE_COUNT: Final = 2
NICE_COMPACTION: Final = 5
NICE_PROCESS: Final = 2
"""Where threads have no priorities."""

WATCH_SECONDS: Final = 1.0
"""How often it checks that the parent lives; ordinarily the end of the input tells, and at once."""

READ_BYTES: Final = 1 << 20

STANDARD_INPUT: Final = 0
STANDARD_OUTPUT: Final = 1


class Helper:
    """The jobs under way and the pipe to the parent."""

    def __init__(self, fs: OsFileSystem, input_fd: int, output_fd: int) -> None:
        self._fs = fs
        self._input_fd = input_fd
        self._output_fd = output_fd
        self._gate = JobGate()
        self._lock = Lock()
        self._running: dict[int, JobHandle] = {}
        self._send_lock = Lock()

    def serve(self) -> None:
        """Serve until the input ends. WireError if it is not understood."""
        self._send({"type": "hello", "protocol": job_wire.PROTOCOL, "pid": os.getpid()})
        while (message := job_wire.read_message(self._read)) is not None:
            if message["type"] == "held":
                self._fs.held.update(job_wire.decode_held(message))
            elif message["type"] == "job":
                self._begin(message)
            elif message["type"] == "cancel":
                self._cancel(message["id"], bool(message.get("unless_half")))
            else:
                raise job_wire.WireError(f"a message of type {message['type']!r}")

    def _begin(self, message: Message) -> None:
        job_id = message["id"]
        handle = JobHandle(job_wire.decode_job(message), self._gate.wake)
        fs = job_wire.with_keys(self._fs, message)
        with self._lock:
            self._running[job_id] = handle
        start_thread(Thread(target=self._work, args=(job_id, handle, fs), daemon=True))

    def _cancel(self, job_id: int, unless_half: bool) -> None:
        with self._lock:
            handle = self._running.get(job_id)
        if handle is not None:  # else it has just ended
            handle.cancel(unless_half=unless_half)

    def _work(self, job_id: int, handle: JobHandle, fs: FileSystem) -> None:
        try:
            self._answer(job_id, handle, fs)
        except BaseException:  # no memory even to report it: the parent sees the end, and runs the job again
            os._exit(1)

    def _answer(self, job_id: int, handle: JobHandle, fs: FileSystem) -> None:
        patience = Patience() if lower_priority(handle.job) else None
        answer: Message
        try:
            result = self._gate.run(fs, handle, patience)
            answer = {"type": "result", "id": job_id, "result": job_wire.encode_result(result)}
        except Exception as error:  # the outermost frame of a worker: the parent gets it
            answer = {"type": "error", "id": job_id, "error": job_wire.encode_error(error, traceback.format_exc())}
        with self._lock:
            del self._running[job_id]
            idle = not self._running
        self._send(answer)
        if idle:
            gc.collect()

    def _send(self, message: Message) -> None:
        data = memoryview(job_wire.encode_message(message))
        with self._send_lock:
            try:
                while data:
                    data = data[os.write(self._output_fd, data) :]
            except BrokenPipeError:
                os._exit(0)  # the parent is gone

    def _read(self, size: int) -> bytes:
        return os.read(self._input_fd, min(size, READ_BYTES))


def main() -> NoReturn:
    """The program of the helper process; never returns."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    input_fd, output_fd = _take_streams()
    sys.stdout = sys.stderr  # a stray print must not look like a message
    # Jobs make lists of bytes, no cycles: the collector would only walk through them, again and again.
    gc.disable()
    try:
        start_thread(Thread(target=_watch_parent, args=(os.getppid(),), daemon=True))
        Helper(OsFileSystem(), input_fd, output_fd).serve()
    except BaseException:
        # Whatever it was, the process must end here, without waiting for its threads.
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _take_streams() -> tuple[int, int]:
    """The pipes' descriptors, moved away from the standard streams: what a library prints there must not look like a
    message, and goes to standard error. Nor does a file of the database get one of these numbers, whatever was
    closed."""
    input_fd, output_fd = above_standard(os.dup(STANDARD_INPUT)), above_standard(os.dup(STANDARD_OUTPUT))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, STANDARD_INPUT)
    os.dup2(STANDARD_ERROR, STANDARD_OUTPUT)  # the parent has made sure that it is open
    os.close(null)
    return input_fd, output_fd


def _watch_parent(parent: int) -> None:
    due = monotonic()
    while os.getppid() == parent:
        due += WATCH_SECONDS
        sleep(max(0.0, due - monotonic()))
    os._exit(0)


def _nice_of(job: Job) -> int:
    if isinstance(job, FlushJob):
        return NICE_URGENT_FLUSH if job.urgent else NICE_FLUSH
    return NICE_COUNT if isinstance(job, CountJob) and job.urgent else NICE_COMPACTION


def lower_priority(job: Job) -> bool:
    """Lower the priority of this thread, which will run the job; elsewhere than on Linux, where threads have none, that
    of the process, once. Returns whether the thread runs only while processors idle.

    Without privileges there is no way back, hence a thread for each job."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _nice_of(job))
        if isinstance(job, CompactionJob) and not job.urgent:
            with suppress(PermissionError):  # a container's filter may refuse the call; then nice must do
                os.sched_setscheduler(get_native_id(), os.SCHED_IDLE, os.sched_param(0))
                return True
    elif os.getpriority(os.PRIO_PROCESS, 0) < NICE_PROCESS:
        os.setpriority(os.PRIO_PROCESS, 0, NICE_PROCESS)
    return False
