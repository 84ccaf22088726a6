"""What processes and a directory take at most while something runs, sampled in a thread (Linux: /proc).

Resident memory counts pages of mapped files too, and shared ones once for each process; private memory is what would be
free if the processes ended. Descriptors are those of the process that has the most.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from flin.bench.memory import descendants
from flin.bench.sampler import Sampler

SAMPLE_SECONDS: Final = 0.5
"""Reading smaps_rollup of a process with 2 GB of mapped tables takes 10 ms: two samples a second cost 2 % of a core."""


@dataclass(slots=True)
class Footprint:
    """Peaks, each by itself."""

    resident_bytes: int = 0
    private_bytes: int = 0
    processes: int = 0
    descriptors: int = 0
    files: int = 0
    disk_bytes: int = 0

    def join(self, other: Footprint) -> None:
        """Keep the larger of each pair."""
        for name, figure in asdict(other).items():
            setattr(self, name, max(getattr(self, name), figure))


def disk_use(directory: str) -> tuple[int, int]:
    """Files and bytes below a directory in which files may be removed meanwhile."""
    files = total = 0
    for parent, _directories, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(parent) / name).stat().st_size
                files += 1
    return files, total


def footprint_of(pid: int, directory: str) -> Footprint:
    """The present one of a process with its descendants, and of a directory."""
    found = Footprint()
    found.files, found.disk_bytes = disk_use(directory)
    for process in descendants(pid):
        # It may have ended since the listing. /proc of a process that is ending may also refuse.
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            found.resident_bytes += _sum(lines, "Rss:")
            found.private_bytes += _sum(lines, "Private_")
            found.processes += 1
            found.descriptors = max(found.descriptors, len(os.listdir(f"/proc/{process}/fd")))
    return found


def _sum(lines: list[str], name: str) -> int:
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


class FootprintSampler(Sampler):
    """Samples a running process."""

    def __init__(self, pid: int, directory: str) -> None:
        super().__init__(SAMPLE_SECONDS)
        self.peak = Footprint()
        self._pid, self._directory = pid, directory

    def sample(self) -> None:
        self.peak.join(footprint_of(self._pid, self._directory))
