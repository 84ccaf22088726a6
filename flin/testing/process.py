"""Real processes, as /proc shows them (Linux): their children, whether they live and work, and how they are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final

PATIENCE_SECONDS: Final = 180.0
"""Something that takes milliseconds on an idle machine, and seconds among ten busy processes, hangs if it takes this
long."""

POLL_SECONDS: Final = 0.002

IDLE_HELPER_THREADS: Final = 2
"""The one that reads its input and the one that watches the parent; each job has one more."""

_CONTINUE: Final = 'read line; kill -s CONT "$@"'
"""What a shell does that waits for the end of its input, which comes when its parent ends, however that comes."""


class HangError(AssertionError):
    """Something that must happen by itself did not happen."""


def wait_until(
    happened: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS, poll_seconds: float = POLL_SECONDS
) -> None:
    deadline = monotonic() + seconds
    while not happened():
        if monotonic() > deadline:
            raise HangError(f"not within {seconds:g} s: {what}")
        sleep(poll_seconds)


def state_of(pid: int) -> str:
    """The letter of /proc/PID/stat: R, S, D, T (stopped), Z (zombie), or "" if there is no such process."""
    return fields[0] if (fields := _fields(pid)) else ""


def is_alive(pid: int) -> bool:
    """Whether the process lives. An orphan that is not collected yet is a zombie: it has ended."""
    return state_of(pid) not in ("", "Z", "X")


def children(pid: int) -> list[int]:
    """The children of a process, without zombies."""
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [number for number in numbers if (of := _fields(number)) and int(of[1]) == pid and of[0] != "Z"]


def is_working(helper: int) -> bool:
    """Whether a helper process has a job under way."""
    try:
        return len(os.listdir(f"/proc/{helper}/task")) > IDLE_HELPER_THREADS
    except FileNotFoundError:
        return False


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process that this one has started, or a child of one; it may have ended by itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """SIGSTOP of these, the first one first, and SIGCONT at the end, even if this process is killed meanwhile: who is
    stopped cannot notice that, and would stay for ever."""
    command = ["/bin/sh", "-c", _CONTINUE, "sh", *map(str, pids)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ):  # at the end of the block its input ends, and it is waited for
        for pid in pids:
            kill(pid, signal.SIGSTOP)
        yield


def _fields(pid: int) -> list[str]:
    try:
        # The name of the program, in parentheses, may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
