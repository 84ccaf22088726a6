"""The process of a worker, as its supervisor sees it: its start, what it reports, its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from typing import Final

from flin.cluster.workers.assignment import Assignment, Report, decode_report, encode_assignment
from flin.cluster.workers.fleet import Ending
from flin.engine.disk.descriptor import STANDARD_ERROR

_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from flin.cluster.%s import main; sys.exit(main())"
)
"""The program of a worker. With the supervisor's search path, so that both run the same Flin."""

REPORT_BYTES: Final = 1 << 16
"""Read at once; a report is a line of text."""


class WorkerProcess:
    """The process of a worker, and the pipes to and from it."""

    def __init__(self, number: int, slots: str, assignment: Assignment) -> None:
        """Raises OSError."""
        error_stream = None if _is_inherited(STANDARD_ERROR) else subprocess.DEVNULL
        self._process = subprocess.Popen(
            _command_of("workers.worker" if assignment.replica is None else "replica.replica_process", number, slots),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=error_stream,
            bufsize=0,
            pass_fds=assignment.descriptors,
            process_group=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._lifeline = self._process.stdin
        self.reports = self._process.stdout.fileno()
        self._read = b""
        self._failure = ""
        self.has_ended = False
        with suppress(BrokenPipeError):  # it has ended already, which its other pipe tells
            self._lifeline.write(encode_assignment(assignment))

    def heard(self) -> list[Report]:
        """What it has reported by now; called when there is something to read."""
        data = os.read(self.reports, REPORT_BYTES)
        self.has_ended = not data
        *lines, self._read = (self._read + data).split(b"\n")
        try:
            reports = [decode_report(line) for line in lines]
        except (json.JSONDecodeError, TypeError) as error:
            reports = [Report(failure=f"it sent what is no report: {error}")]
        self._failure = next((each.failure for each in reports if each.failure), self._failure)
        return reports

    def ending(self) -> Ending:
        """How it has ended; its pipe has, so that is a matter of moments."""
        code = self._process.wait()
        self.cut()
        return Ending(code, self._failure)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def cut(self) -> None:
        """Close the pipes: a worker that still runs ends by that."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def _command_of(module: str, number: int, slots: str) -> list[str]:
    """The command that starts a worker. module: has its `main`. The end says to `ps` which worker it is."""
    flags = ["-P"]  # nothing is imported from the working directory
    flags += ["-E"] if sys.flags.ignore_environment else []
    flags += ["-s"] if sys.flags.no_user_site else []
    path = json.dumps([os.path.abspath(entry) for entry in sys.path])
    return [sys.executable, *flags, "-c", _BOOT % module, path, f"flin serve, worker {number}", f"slots {slots}"]


def _is_inherited(descriptor: int) -> bool:
    """False if it is closed, or was until a file was put there (fs.leave_standard_numbers)."""
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False
