"""A helper process, seen from the process that started it: its start, the messages to and from it, its end.

A forked child of this process closes its copies of the pipes, or it would keep the helper alive.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
import weakref
from contextlib import ExitStack
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, Final

from flin.engine.background import job_wire
from flin.engine.background.job import Job, JobCancelled
from flin.engine.background.job_handle import JobHandle, RunnerStatistics, end_job, whatever_comes
from flin.engine.background.job_run import check_result, remove_outputs
from flin.engine.background.job_wire import Message, WireError
from flin.engine.disk.descriptor import STANDARD_ERROR
from flin.engine.disk.directory_lock import HeldDirectory
from flin.engine.disk.fs import FileSystem, OsFileSystem, after_fork_in_child, pipe
from flin.engine.disk.sealed_files import raw_of
from flin.engine.reentry import holds_lock
from flin.engine.thread_start import start_thread
from flin.errors import FlinError, HelperDiedError, JobFailedError

CLOSE_SECONDS: Final = 5.0
"""A helper ends within milliseconds of the end of its input; one that hangs in the kernel is killed after this time."""

_BOOT: Final = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from importlib.util import find_spec, module_from_spec; "
    "sys.modules['flin.engine'] = module_from_spec(find_spec('flin.engine')); "
    "from flin.engine.background.helper import main; main()"
)
"""It finds the engine's package but does not run it: its face, which jobs do not need, is half of the imports (0.3 s of
processor time, now 0.17). Writers wait for the first flush, and so for the helper's start."""


class HelperProcess:
    """One helper process, from its start to its end, and the thread that reads its messages."""

    def __init__(self, fs: FileSystem, command: list[str], statistics: RunnerStatistics) -> None:
        """Start the helper, without waiting for its hello. OSError or RuntimeError if that is not possible."""
        self.alive = True
        self.is_ready = False  # it takes jobs: it has said hello and knows its directories
        self.started_at = monotonic()
        self._fs = fs
        self._statistics = statistics
        self._lock = Lock()  # guards `_pending`, `_closing` and the statistics
        self._send_lock = Lock()
        self._pending: dict[int, JobHandle] = {}
        self._closing = False
        self._has_ended = False
        self._greeted = Event()
        self._problem = ""  # the cause of its end, if that was on this side
        # A process group of its own: signals that a terminal sends to this process's group do not reach it. Only the
        # pipes and stderr are passed on.
        disk = raw_of(fs)
        held = dict(disk.held) if isinstance(disk, OsFileSystem) else {}
        self._directories = job_wire.encode_held(held)  # with the descriptors that the helper inherits
        self._process, self._input, self._output = _started(command, held)
        _helpers.add(self)
        statistics.starts += 1
        self.pid = self._process.pid
        self._reader = Thread(target=self._read_all, name="flin helper reader", daemon=True)
        try:
            start_thread(self._reader)
        except BaseException:  # no room for one more thread, or an interrupt, perhaps after the start
            self.alive = False
            self._process.kill()
            self._process.wait()
            self._input.close()
            self._output.close()
            raise

    def wait_for_hello(self, seconds: float) -> bool:
        """Whether it takes jobs now. WireError if it ended instead, or sent something else. One thread at a time."""
        if not self._greeted.wait(seconds):
            return False
        if self._problem or not self.alive:
            self.close()
            raise WireError(self._problem)
        self._send(self._directories)
        self.is_ready = True
        return True

    @holds_lock
    def submit(self, job_id: int, job: Job) -> JobHandle:
        handle = JobHandle(
            job, lambda unless_half: self._send({"type": "cancel", "id": job_id, "unless_half": unless_half})
        )
        handle.worker = self._reader
        message = {"type": "job", "id": job_id, **job_wire.encode_job(job), **job_wire.encode_keys(self._fs)}
        with self._lock:
            dead = not self.alive
            if not dead:
                self._pending[job_id] = handle
        if dead:
            handle.end(self._end_error())
        else:
            self._send(message)
        return handle

    @holds_lock
    def close(self) -> None:
        """End the helper by ending its input. Its jobs are cancelled."""
        with self._lock:
            self._closing = True
        if not self._greeted.is_set():  # it may be no helper at all, and has no job yet
            self._process.kill()
        with self._send_lock:
            self._input.close()
        self._reader.join(CLOSE_SECONDS)
        if self._reader.is_alive():
            self._process.kill()
            self._reader.join()

    def forget_in_child(self) -> None:
        """In a forked child: drop the parent's helper. No lock is taken: its holder may not exist here."""
        self.alive = False
        self._process.returncode = 0  # else its finalizer would wait for a process that is not its child
        self._input.close()
        self._output.close()

    @holds_lock
    def _send(self, message: Message) -> None:
        """Send a message. If the helper is gone, the reader finds out and fails the pending jobs."""
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
        except MemoryError:
            self._problem = "this process had no memory to understand it"
        except Exception:  # the outermost frame of a worker: no caller may wait forever
            self._problem = traceback.format_exc()
        finally:
            self.alive = False  # a job that is submitted from now on fails at once
            whatever_comes(self._end)

    @holds_lock
    def _take(self, message: Message) -> None:
        kind = message["type"]
        if kind == "hello":
            if message.get("protocol") != job_wire.PROTOCOL:
                raise WireError(f"it speaks protocol {message.get('protocol')}, not {job_wire.PROTOCOL}")
            self._greeted.set()
            return
        job_id = message.get("id", 0)
        handle = self._pending.get(job_id)
        if handle is None:
            raise WireError(f"{kind} of a job that does not run")
        try:
            if kind == "result":
                result = job_wire.decode_result(message.get("result"))
                check_result(self._fs, handle.job, result)
                end_job(handle, result, self._statistics, self._lock)
            elif kind == "error":
                end_job(handle, job_wire.decode_error(message.get("error")), self._statistics, self._lock)
            else:
                raise WireError(f"a message of type {kind!r}")
        except FlinError as error:  # raised by check_result
            self._fail(handle, error)
        except WireError as error:
            self._fail(handle, JobFailedError(str(error)))
            raise
        with self._lock:
            del self._pending[job_id]

    @holds_lock
    def _end(self) -> None:
        """The helper's output ended, or cannot be understood: end it, remove its files, and wake the waiting callers.

        It may be called again if it was interrupted."""
        self._process.kill()
        self._process.wait()
        with self._lock:  # no thread is in the middle of `submit`, and the next one sees that it is not alive
            closing = self._closing
            if not self._has_ended:
                self._has_ended = True
                self._statistics.deaths += not closing
        with self._send_lock:
            self._input.close()
        self._output.close()
        self._problem = self._problem or f"it ended with status {self._process.returncode}"
        self._greeted.set()
        while self._pending:
            job_id, handle = next(iter(self._pending.items()))
            self._fail(handle, JobCancelled() if closing else self._end_error())
            del self._pending[job_id]

    def _fail(self, handle: JobHandle, error: Exception) -> None:
        if handle.ended:  # its files may belong to the database by now
            handle.end(error)
            return
        try:
            remove_outputs(self._fs, handle.job)
        except FlinError as refused:
            error.add_note(f"and its files are still there: {refused}")
        end_job(handle, error, self._statistics, self._lock)

    def _end_error(self) -> HelperDiedError:
        return HelperDiedError(f"the helper process {self.pid} is gone: {self._problem}")


def own_command() -> list[str]:
    """The command that starts a helper with this interpreter. OSError if this is none that can be started."""
    if not sys.executable or getattr(sys, "frozen", False):
        raise OSError("this program is no Python interpreter that could be started again")
    flags = ["-P"]  # nothing is imported from the working directory
    flags += ["-E"] if sys.flags.ignore_environment else []
    flags += ["-s"] if sys.flags.no_user_site else []
    return [sys.executable, *flags, "-c", _BOOT, json.dumps([os.path.abspath(entry) for entry in sys.path])]


def _started(command: list[str], held: dict[str, HeldDirectory]) -> tuple[subprocess.Popen[bytes], Any, Any]:
    """Start the helper process with the descriptors of its directories. Returns it, its input and its output."""
    with ExitStack() as of_child, ExitStack() as ours:
        child_input, parent_input = pipe()
        of_child.callback(os.close, child_input)
        ours.callback(os.close, parent_input)
        parent_output, child_output = pipe()
        of_child.callback(os.close, child_output)
        ours.callback(os.close, parent_output)
        process = subprocess.Popen(
            command,
            stdin=child_input,
            stdout=child_output,
            stderr=None if _is_inherited(STANDARD_ERROR) else subprocess.DEVNULL,
            bufsize=0,
            pass_fds=[each.fd for each in held.values()],
            process_group=0,
        )
        ours.pop_all()
    return process, os.fdopen(parent_input, "wb", buffering=0), os.fdopen(parent_output, "rb", buffering=0)


def _is_inherited(fd: int) -> bool:
    """False if it is closed, or was closed until a file was put there (fs.leave_standard_numbers)."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


_helpers: weakref.WeakSet[HelperProcess] = weakref.WeakSet()


def _forget_helpers() -> None:
    for helper in list(_helpers):
        helper.forget_in_child()
    _helpers.clear()


after_fork_in_child(_forget_helpers)
