"""The private memory of a process and its descendants, sampled in a thread (Linux: /proc/PID/smaps_rollup).

Private memory would be freed if the processes ended: pages of mapped files and shared libraries do not count.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from flin.bench.sampler import Sampler

SAMPLES_PER_SECOND: Final = 10


def is_supported() -> bool:
    return Path("/proc/self/smaps_rollup").exists()


def descendants(pid: int) -> list[int]:
    """The process and all its descendants that still run."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found.extend(int(child) for child in _read(children).split())
    return found


def private_bytes(pid: int) -> int:
    """The private memory of a process; 0 if it has ended."""
    lines = _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ended between the listing and the reading
        return ""


class MemorySampler(Sampler):
    def __init__(self, pid: int) -> None:
        super().__init__(1 / SAMPLES_PER_SECOND)
        self.peak_bytes = 0
        self.samples = 0
        self.most_processes = 0
        self.cpu_seconds = 0.0  # used by the sampling itself
        self._pid = pid

    def sample(self) -> None:
        pids = descendants(self._pid)
        self.peak_bytes = max(self.peak_bytes, sum(map(private_bytes, pids)))
        self.most_processes = max(self.most_processes, len(pids))
        self.samples += 1
        self.cpu_seconds = time.thread_time()
