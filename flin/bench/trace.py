"""Records what a server's event loop waited for, with `perf` (Linux, mostly only for root), and reads it.

It records each switch of threads on all cores: at 10,000 requests a second some 5 MB a second, and 2 to 4 % of a core.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from flin.bench.memory import descendants
from flin.bench.sampler import Sampler
from flin.bench.turns import Pauses, Trace, maybe_event, pauses_of

PROGRAM: Final = "perf"

_POLLS: Final = tuple(
    f"syscalls:sys_{way}_{call}" for call in ("epoll_wait", "epoll_pwait") for way in ("enter", "exit")
)
_EVENTS: Final = [word for name in ("sched:sched_switch", "sched:sched_waking", *_POLLS) for word in ("--event", name)]
_RECORD: Final = [PROGRAM, "record", "--quiet", "--all-cpus", "--mmap-pages", "2048", *_EVENTS]

_ROLE_SECONDS: Final = 0.5
"""How often new processes of the server are looked for: its helpers start once, and stay."""

OWN: Final = "another thread of the server"
HELPERS: Final = "its helpers"
LOAD: Final = "the load generator"
OTHERS: Final = "other programs"
KERNEL: Final = "nobody"
"""The core was idle, or the kernel's: the time to wake up."""


def is_available(scratch: str) -> bool:
    """Whether this user may record these events here."""
    if shutil.which(PROGRAM) is None:
        return False
    output = Path(scratch) / "probe.perf"
    done = subprocess.run([*_RECORD, "--output", str(output), "true"], capture_output=True, check=False)
    output.unlink(missing_ok=True)
    return done.returncode == 0


class _Family(Sampler):
    """Learns which processes are the server's."""

    def __init__(self, pid: int) -> None:
        super().__init__(_ROLE_SECONDS)
        self.helpers: set[int] = set()
        self._pid = pid

    def sample(self) -> None:
        self.helpers.update(process for process in descendants(self._pid) if process != self._pid)


class Recorder:
    """Records while a block runs; then `pauses` reads the file, and removes it."""

    def __init__(self, pid: int, scratch: str) -> None:
        """`pid`: the server, whose loop is its first thread."""
        self._pid = pid
        self._output = Path(scratch) / f"{pid}.perf"
        self._family = _Family(pid)
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([*_RECORD, "--output", str(self._output)], stderr=subprocess.DEVNULL)
        self._family.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._family.__exit__(kind, error, traceback)
        self._process.send_signal(signal.SIGINT)  # it writes the rest, and ends
        self._process.wait()

    def pauses(self, limit_ms: float, generator: int) -> Pauses:
        command = [PROGRAM, "script", "--input", str(self._output), "--ns", "--fields"]
        command.append("comm,pid,tid,cpu,time,event,trace")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as script:
            assert script.stdout is not None
            events = (event for event in map(maybe_event, script.stdout) if event is not None)
            trace = Trace(self._pid).read(events)
        self._output.unlink()
        return pauses_of(trace, limit_ms, lambda pid: self._role_of(pid, generator))

    def _role_of(self, pid: int, generator: int) -> str:
        if pid in self._family.helpers:
            return HELPERS
        known = {0: KERNEL, self._pid: OWN, generator: LOAD}
        return known.get(pid) or (KERNEL if _is_kernel(pid) else OTHERS)


def _is_kernel(pid: int) -> bool:
    """A thread of the kernel has no command line. What has ended meanwhile was none."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
