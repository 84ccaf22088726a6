"""Many keys under a memory limit: `flin bench load`.

Loads N keys one put at a time while the private memory of all processes is sampled, closes, counts files and bytes,
times a reopen (to its first answer), then writes all keys again, kills the process with -9 in mid-write, times that
reopen and reads back the answered writes.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from flin.bench import loader, memory
from flin.bench.progress import Progress
from flin.bench.report import aligned

LOAD_STEPS: Final = 10
"""Lines of progress during the load."""

KILL_SHARE: Final = 0.4
"""The second writing is killed at this share of the keys: in the middle of flushes and compactions."""


class LoadError(Exception):
    """A step of the load failed; the text is the last line of its process."""


@dataclass(frozen=True, slots=True)
class Settings:
    store: str = "flin"
    count: int = 5_000_000
    value_bytes: int = 100
    memory_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True)
class Result:
    store: str
    keys: int
    raw_bytes: int
    seconds: float
    keys_per_second: float
    close_seconds: float
    peak_private_bytes: int
    memory_samples: int
    processes: int
    files: int
    disk_bytes: int
    reopen_seconds: float
    rewritten_before_kill: int
    files_after_kill: int
    disk_bytes_after_kill: int
    reopen_after_kill_seconds: float


def run(settings: Settings, scratch: str, progress: Progress) -> Result:
    with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent:
        return _Load(settings, str(Path(parent) / "data"), progress).run()


class _Load:
    def __init__(self, settings: Settings, directory: str, progress: Progress) -> None:
        self._settings = settings
        self._directory = directory
        self._progress = progress
        self._process: subprocess.Popen[str] | None = None

    def run(self) -> Result:
        try:
            return self._run()
        finally:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
                self._process.communicate()

    def _run(self) -> Result:
        settings = self._settings
        process = self._start("load")
        sampler = memory.MemorySampler(process.pid) if memory.is_supported() else None
        with sampler or nullcontext():
            loaded = self._follow(process, settings.count, "load")
        files, disk_bytes = disk_use(self._directory)
        reopened = self._finish(self._start("reopen"))
        rewritten = self._rewrite_and_kill()
        files_killed, bytes_killed = disk_use(self._directory)
        recovered = self._finish(self._start("reopen", rewritten))
        return Result(
            store=settings.store,
            keys=settings.count,
            raw_bytes=settings.count * (16 + settings.value_bytes),
            seconds=loaded["seconds"],
            keys_per_second=settings.count / loaded["seconds"],
            close_seconds=loaded["close_seconds"],
            peak_private_bytes=sampler.peak_bytes if sampler else 0,
            memory_samples=sampler.samples if sampler else 0,
            processes=sampler.most_processes if sampler else 0,
            files=files,
            disk_bytes=disk_bytes,
            reopen_seconds=reopened["seconds"],
            rewritten_before_kill=rewritten,
            files_after_kill=files_killed,
            disk_bytes_after_kill=bytes_killed,
            reopen_after_kill_seconds=recovered["seconds"],
        )

    def _start(self, action: str, written_again: int = 0) -> subprocess.Popen[str]:
        settings = self._settings
        task = loader.Task(
            action,
            settings.store,
            self._directory,
            settings.count,
            settings.value_bytes,
            settings.memory_bytes,
            written_again,
        )
        command = loader.command_of(task)
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return self._process

    def _follow(self, process: subprocess.Popen[str], count: int, what: str) -> dict[str, float]:
        """Show the progress of a writing process. Returns its last line."""
        shown = 0
        last: dict[str, float] = {}
        for last in lines_of(process):
            written = int(last.get("written", 0))
            if written - shown >= count // LOAD_STEPS:
                shown += count // LOAD_STEPS
                self._progress.step(f"{self._settings.store} {what}: {written:,} of {count:,} keys")
        check_ended(self._settings.store, process)
        return last

    def _rewrite_and_kill(self) -> int:
        """Rewrite and kill. Returns how many keys were known to be written again before the kill."""
        count = self._settings.count
        process = self._start("rewrite")
        written = 0
        for line in lines_of(process):
            written = int(line["written"])
            if written >= count * KILL_SHARE:
                break
        else:
            check_ended(self._settings.store, process)
            raise LoadError(f"{self._settings.store}: it ended before it could be killed")
        process.kill()
        rest, _ = process.communicate()
        for text in rest.splitlines():
            # Everything printed before the kill was answered, too; the last line may be cut.
            if text.endswith("}"):
                written = max(written, int(json.loads(text).get("written", 0)))
        self._progress.step(f"{self._settings.store}: killed after writing {written:,} keys again")
        return written

    def _finish(self, process: subprocess.Popen[str]) -> dict[str, float]:
        lines = list(lines_of(process))
        check_ended(self._settings.store, process)
        self._progress.step(f"{self._settings.store}: reopened in {lines[-1]['seconds']:.3f} s")
        return lines[-1]


def check_ended(store: str, process: subprocess.Popen[str]) -> None:
    """Wait for the process's end; LoadError unless it ended well."""
    _, errors = process.communicate()
    if process.returncode:
        lines = errors.strip().splitlines() or [f"exit code {process.returncode}"]
        raise LoadError(f"{store}: {lines[-1]}")


def lines_of(process: subprocess.Popen[str]) -> Iterator[dict[str, float]]:
    """The lines that a loader prints."""
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def disk_use(directory: str) -> tuple[int, int]:
    """Files and bytes below a directory."""
    sizes = [
        (Path(parent) / name).stat().st_size for parent, _directories, names in os.walk(directory) for name in names
    ]
    return len(sizes), sum(sizes)


def steps(stores: int) -> int:
    """The number of steps: the load's own, two reopens and a kill per store."""
    return (LOAD_STEPS + 3) * stores


def table(results: list[Result]) -> str:
    """A table with one line per figure, one column per store."""
    lines = [["", *(result.store for result in results)]]
    columns = [_cells(result) for result in results]
    lines += [[name, *(column[name] for column in columns)] for name in columns[0]]
    return aligned(lines)


def _cells(result: Result) -> dict[str, str]:
    return {
        "keys": f"{result.keys:,}",
        "keys and values": _megabytes(result.raw_bytes),
        "load": f"{result.seconds:.1f} s",
        "keys/s": f"{result.keys_per_second:,.0f}",
        "close": f"{result.close_seconds:.2f} s",
        "private memory, all processes, peak": _megabytes(result.peak_private_bytes) if result.memory_samples else "-",
        "memory samples": f"{result.memory_samples:,}",
        "processes": str(result.processes),
        "files": f"{result.files:,}",
        "on disk": _megabytes(result.disk_bytes),
        "reopen after close": f"{result.reopen_seconds:.3f} s",
        "written again before kill -9": f"{result.rewritten_before_kill:,}",
        "files then": f"{result.files_after_kill:,}",
        "on disk then": _megabytes(result.disk_bytes_after_kill),
        "reopen after kill -9": f"{result.reopen_after_kill_seconds:.3f} s",
    }


def _megabytes(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB"


def to_json(result: Result) -> dict[str, Any]:
    return asdict(result)
