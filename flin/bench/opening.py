"""The time to the first answer of a large database: after a clean close, and after kill -9 in the middle of writing.

Each store is loaded once per size, in batches. Then, round by round and in turn, a fresh process opens it, answers one
get and reads a sample back; after that another one writes keys again, is killed, and a fresh one opens what is left.
The operating system's cache is warm for all stores: only the administrator may empty it.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from flin.bench import loader
from flin.bench.comparison import OURS, Finding, Result
from flin.bench.load import LoadError, check_ended, lines_of
from flin.bench.progress import Progress
from flin.bench.workload import key_of
from flin.engine.wal import frames as wal_frames

OPEN_SECONDS: Final = 0.1
RECOVERY_SECONDS: Final = 0.5
RECOVERY_SECONDS_PER_GB: Final = 3.0
"""The most that recovery may take: so long at any size of the data, and so much more per GB of live WAL."""

REWRITTEN_SHARE: Final = 10
"""Before the kill one key in ten is written again, but no more than this:"""

REWRITTEN_MAXIMUM: Final = 300_000

WIDE_SHARE: Final = 0.9
"""Or nearly all of them: the process is killed before its end."""

PEERS_KEYS: Final = 1_000_000
"""The most keys that the peers are loaded with."""

SECONDS: Final = "seconds"
PER_GB: Final = "seconds per GB of live WAL"
ALLOWED: Final = "of the allowed time, 0.5 s and 3 s per GB of live WAL"

_Attempt: TypeAlias = Callable[[str, str], str]
"""Takes a store and a directory; returns the result, for the progress line."""


@dataclass(frozen=True, slots=True)
class Settings:
    stores: tuple[str, ...] = ("flin", "rocksdict", "plyvel")
    counts: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    value_bytes: int = 100
    memory_bytes: int = 256 << 20
    rounds: int = 3
    wide_count: int = 1_000_000
    """Keys of one more size, nearly all written again under a limit that leaves them in the WAL; 0: none."""

    wide_memory_bytes: int = 2 << 30

    def stores_of(self, count: int) -> tuple[str, ...]:
        """The stores for this number of keys; only Flin for many: its target is in seconds, and loading the peers takes
        minutes."""
        return tuple(store for store in self.stores if store == OURS or count <= PEERS_KEYS)

    def steps(self) -> int:
        return sum(len(self.stores_of(count)) for count in self._all_counts()) * (1 + 2 * self.rounds)

    def seconds(self) -> float:
        """The expected time: loading, then for each round two opens and the writing before a kill."""
        wide = self.rounds * len(self.stores_of(self.wide_count)) * self.wide_count * 8e-6
        return wide + sum(
            len(self.stores_of(count)) * (0.5 + count * 7e-6 + self.rounds * (0.8 + _rewritten(count) * 8e-6))
            for count in self._all_counts()
        )

    def _all_counts(self) -> tuple[int, ...]:
        return (*self.counts, self.wide_count) if self.wide_count else self.counts


def _rewritten(count: int) -> int:
    """How many keys are written again before the kill."""
    return min(REWRITTEN_MAXIMUM, count // REWRITTEN_SHARE)


def _frame_bytes(value_bytes: int) -> int:
    """Bytes of one put in the WAL. Frames are counted, since segments may be longer than their content."""
    return len(wal_frames.encode_put(bytes(8), 0, 0, 0, key_of(0), bytes(value_bytes)))


def compare(settings: Settings, scratch: str, progress: Progress) -> list[Result]:
    sizes = [_Size(settings, count, _rewritten(count), "", progress) for count in settings.counts]
    if settings.wide_count:
        wide = replace(settings, memory_bytes=settings.wide_memory_bytes)
        title = f", limit {wide.memory_bytes >> 20} MiB"
        sizes.append(_Size(wide, wide.wide_count, int(WIDE_SHARE * wide.wide_count), title, progress))
    return [finding for size in sizes for finding in size.compare(scratch)]


class _Size:
    """One number of keys, so many of which are written again before the kill."""

    def __init__(self, settings: Settings, count: int, rewritten: int, title: str, progress: Progress) -> None:
        self._settings = settings
        self._count = count
        self._rewritten = rewritten
        self._progress = progress
        self._clean = Finding(f"open {count:,} keys{title}, closed")
        self._killed = Finding(f"open {count:,} keys{title}, killed")

    def compare(self, scratch: str) -> list[Result]:
        with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent:
            stores = self._settings.stores_of(self._count)
            loaded = [store for store in stores if self._attempt(store, parent, self._load)]
            for attempt in (self._reopen, self._kill):
                for _ in range(self._settings.rounds):
                    for store in loaded:
                        self._attempt(store, parent, attempt)
        self._clean.at_most(SECONDS, OPEN_SECONDS)
        self._killed.at_most(ALLOWED, 1.0)
        return [self._clean, self._killed]

    def _attempt(self, store: str, parent: str, attempt: _Attempt) -> bool:
        try:
            text = attempt(store, str(Path(parent) / store))
        except LoadError as error:
            self._killed.failures.append(str(error))
            self._progress.step(f"{self._count:,} keys {store}: failed: {error}")
            return False
        self._progress.step(f"{self._count:,} keys {store}: {text}")
        return True

    def _load(self, store: str, directory: str) -> str:
        with self._process("fill", store, directory) as process:
            for line in lines_of(process):
                seconds = line.get("seconds", 0.0)
            check_ended(store, process)
        return f"loaded in {seconds:.1f} s"

    def _reopen(self, store: str, directory: str) -> str:
        seconds, _ = self._opened(store, directory, 0)
        self._clean.add(store, {SECONDS: seconds})
        return f"open after {seconds:.3f} s"

    def _kill(self, store: str, directory: str) -> str:
        wanted = self._rewritten
        written = 0
        with self._process("rewrite", store, directory) as process:
            for line in lines_of(process):
                written = int(line["written"])
                if written >= wanted:
                    break
            else:
                check_ended(store, process)
                raise LoadError(f"{store}: it ended before it could be killed")
        seconds, replayed = self._opened(store, directory, written)
        figures = {SECONDS: seconds}
        if store == OURS:
            live_bytes = max(1, replayed) * _frame_bytes(self._settings.value_bytes)
            allowed = RECOVERY_SECONDS + RECOVERY_SECONDS_PER_GB * live_bytes / 1e9
            figures |= {
                "live WAL, MiB": live_bytes / (1 << 20),
                PER_GB: seconds / (live_bytes / 1e9),
                ALLOWED: seconds / allowed,
            }
        self._killed.add(store, figures)
        return f"killed after {written:,} keys, open after {seconds:.3f} s"

    def _opened(self, store: str, directory: str, written_again: int) -> tuple[float, int]:
        """Open it. Returns the seconds to the first answer, and the number of replayed operations."""
        with self._process("reopen", store, directory, written_again) as process:
            lines = list(lines_of(process))
            check_ended(store, process)
        return lines[-1]["seconds"], int(lines[-1]["replayed"])

    @contextmanager
    def _process(
        self, action: str, store: str, directory: str, written_again: int = 0
    ) -> Iterator[subprocess.Popen[str]]:
        """A process that is killed at the end, if it has not ended by then."""
        settings = self._settings
        task = loader.Task(
            action, store, directory, self._count, settings.value_bytes, settings.memory_bytes, written_again
        )
        command = loader.command_of(task)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
