"""The resources of processes, as /proc shows them (Linux): CPU time, bytes written; and waiting for idle processes."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from flin.bench.memory import descendants

LOOK_SECONDS: Final = 0.25
KILL_SECONDS: Final = 10.0
"""The kernel ends a killed process within milliseconds, unless its disk hangs."""
KILL_LOOK_SECONDS: Final = 0.01
QUIET_LOOKS: Final = 3
"""Idle means that nothing ran in this many looks in a row: between two background jobs there are some milliseconds."""

QUIET_SHARE: Final = 0.04
"""The share of one core below which a process is idle: threads that only wake up to look at a clock use less."""

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")

_CPUCLOCK_SCHED: Final = 2
"""In the number of a process's clock, which is made as clock_getcpuclockid(3) makes it: to the nanosecond, where
/proc/PID/stat cuts both user and system time to 10 ms."""


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of its descendants, those included that it has started and collected."""
    return sum(map(sum, cpu_seconds_of_each(pid).values()))


def cpu_seconds_of_each(pid: int) -> dict[int, tuple[float, float]]:
    """For each by its number: its own, and that of its collected children. Read once, so that a part of them never has
    more than the whole."""
    return {each: (own_cpu_seconds(each), _cpu_seconds_below(each)) for each in descendants(pid)}


def own_cpu_seconds(pid: int) -> float:
    """CPU time of a process; 0 if it has ended."""
    try:
        return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
    except OSError:  # it has ended
        return 0.0


def _cpu_seconds_below(pid: int) -> float:
    """That of a process's collected children."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return 0.0
    # The name of the program, in parentheses, may hold spaces; their user and system time are the 14th and 15th after.
    return sum(map(int, text.rpartition(")")[2].split()[13:15])) / _TICKS_PER_SECOND


def end_children() -> None:
    """Kill every process that this one has started, directly or not, and wait until none of them runs."""
    own = os.getpid()
    for pid in descendants(own):
        if pid != own:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    deadline = monotonic() + KILL_SECONDS
    while monotonic() < deadline and any(_runs(pid) for pid in descendants(own) if pid != own):
        sleep(KILL_LOOK_SECONDS)


def _runs(pid: int) -> bool:
    """Whether the process runs. A zombie has ended: its parent will collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wants_a_processor(pid: int) -> bool:
    """Whether a thread of a process, or of one below it, runs, or waits for a processor or for the disk: on a busy
    machine a flush or a merge uses no time for a while, and is not done. This very thread does not count."""
    own = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/stat")
    for each in descendants(pid):
        for path in Path(f"/proc/{each}/task").glob("*/stat"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                if path.read_text().rpartition(")")[2].split()[0] in "RD" and path != own:
                    return True
    return False


def written_bytes() -> int:
    """Bytes that this process and its ended children have written to the disk, also bytes deleted later."""
    matched = re.search(r"^write_bytes: (\d+)$", Path("/proc/self/io").read_text(), re.MULTILINE)
    return int(matched[1]) if matched else 0


def wait_until_quiet(
    pid: int, seconds: float, idle: Callable[[], bool] = lambda: True, aside: Callable[[], float] = lambda: 0.0,
    looks_wanted: int = QUIET_LOOKS,
) -> float:  # fmt: skip
    """Wait until the processes have nothing to do and `idle` agrees. Returns how long it took, at most `seconds`.

    `aside`: CPU seconds of the measurement itself. Sampling the memory of three processes alone takes several percent
    of a core: without this, the wait went on for up to 70 s after the processes were idle."""
    began = quiet_since = monotonic()
    looks, before = 0, cpu_seconds(pid) - aside()
    while looks < looks_wanted and monotonic() - began < seconds:
        sleep(LOOK_SECONDS)
        now = cpu_seconds(pid) - aside()
        if now - before > QUIET_SHARE * LOOK_SECONDS or _wants_a_processor(pid) or not idle():
            looks, quiet_since = 0, monotonic()
        else:
            looks += 1
        before = now
    return quiet_since - began
