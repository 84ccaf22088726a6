"""Compares engines inside a Python process.

Each measurement is a child process with a directory of its own: empty, or a copy of one that was loaded once per
store and value size, and then left alone until its background had nothing to do. The stores take turns within a round
(A B C, A B C …), so that a slow minute of the machine hits all of them. Percentiles come from one more round, in which
every call is timed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flin.bench.child import ChildError, Outcome, Task, run_in_child
from flin.bench.comparison import Comparison
from flin.bench.progress import Progress
from flin.bench.row import LOAD, Row
from flin.bench.rows import ROWS
from flin.bench.target import of_embedded

FIRST_SIZE_ONLY: Final = ("fillsync", "fillsync16", "readmissing", "scanreverse")
"""Rows that would show nothing new with other value sizes: the disk's sync, the filter, or the same as `scan`."""

REST_SECONDS: Final = 5.0
"""The least time that a loaded store is left alone, opened: Flin begins to merge after a second without writes, and the
peers' merges follow each other at once."""


@dataclass(frozen=True, slots=True)
class Settings:
    stores: tuple[str, ...] = ("flin", "rocksdict", "plyvel")
    rows: tuple[str, ...] = tuple(ROWS)
    value_sizes: tuple[int, ...] = (100, 1024)
    count: int = 200_000
    rounds: int = 3
    memory_bytes: int = 256 << 20
    latencies: bool = True
    tuned: bool = True  # the peers are set up as by a careful user; else their defaults
    rest_seconds: float = REST_SECONDS

    def rows_of(self, value_bytes: int) -> list[Row]:
        """The rows for one size of values. Some rows run with one size only."""
        rows = [ROWS[name] for name in self.rows]
        general = value_bytes in self.value_sizes
        first = value_bytes == self.value_sizes[0]
        return [
            row
            for row in rows
            if row.value_bytes == value_bytes
            or (general and row.value_bytes is None and (first or row.name not in FIRST_SIZE_ONLY))
        ]

    def sizes(self) -> list[int]:
        own = [row.value_bytes for row in map(ROWS.__getitem__, self.rows) if row.value_bytes is not None]
        return sorted(size for size in {*self.value_sizes, *own} if self.rows_of(size))

    def is_timed(self, row: Row, value_bytes: int) -> bool:
        """Whether a round times every call: with the first value size, since the tails of the others are much the same,
        and for a row that has its own size."""
        return self.latencies and row.per_call and (row.value_bytes is not None or value_bytes == self.value_sizes[0])

    def steps(self) -> int:
        steps = 0
        for size in self.sizes():
            rows = self.rows_of(size)
            steps += sum(self.rounds + self.is_timed(row, size) for row in rows)
            steps += any(row.loaded for row in rows)
        return steps * len(self.stores)

    def seconds(self) -> float:
        """The expected time: for starting a process and making the keys, then some microseconds per key; and rests."""
        rests = sum(any(row.loaded for row in self.rows_of(size)) for size in self.sizes()) * len(self.stores)
        return self.steps() * (0.2 + self.count * 5e-6) + rests * self.rest_seconds


def compare(settings: Settings, scratch: str, progress: Progress) -> list[Comparison]:
    """Run every row for every value size; a store that fails in a row is named there and the run goes on."""
    return [
        comparison
        for value_bytes in settings.sizes()
        for comparison in _Size(settings, scratch, progress, value_bytes).compare()
    ]


class _Size:
    """The rows of one value size."""

    def __init__(self, settings: Settings, scratch: str, progress: Progress, value_bytes: int) -> None:
        self._settings = settings
        self._scratch = scratch
        self._progress = progress
        self._value_bytes = value_bytes
        self._rows = settings.rows_of(value_bytes)
        self._loaded: dict[str, Path] = {}

    def compare(self) -> Iterator[Comparison]:
        with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=self._scratch) as base:
            if any(row.loaded for row in self._rows):
                self._load(Path(base))
            for row in self._rows:
                yield self._compare_row(row)

    def _load(self, base: Path) -> None:
        for store in self._settings.stores:
            directory = base / store
            self._loaded[store] = directory
            note = Comparison(LOAD.name, "µs")
            self._attempt(note, store, LOAD, directory, latencies=False)
            if note.failures:
                del self._loaded[store]

    def _compare_row(self, row: Row) -> Comparison:
        name = f"{row.name} {size_text(self._value_bytes)}"
        comparison = Comparison(name, "µs", target=of_embedded(name))
        for _ in range(self._settings.rounds):
            for store in self._settings.stores:
                outcome = self._measure(comparison, store, row, latencies=False)
                if outcome is not None:
                    comparison.operations = outcome.operations
                    comparison.add(store, outcome.rate)
        if self._settings.is_timed(row, self._value_bytes):
            for store in self._settings.stores:
                outcome = self._measure(comparison, store, row, latencies=True)
                if outcome is not None and outcome.latencies is not None:
                    comparison.latencies[store] = outcome.latencies
        return comparison

    def _measure(self, comparison: Comparison, store: str, row: Row, *, latencies: bool) -> Outcome | None:
        if row.loaded and store not in self._loaded:
            self._progress.step(f"{comparison.name} {store}: was not loaded")
            return None
        with self._directory(store, row) as directory:
            return self._attempt(comparison, store, row, directory, latencies=latencies)

    @contextmanager
    def _directory(self, store: str, row: Row) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=self._scratch) as parent:
            directory = Path(parent) / "data"
            if row.loaded:
                shutil.copytree(self._loaded[store], directory)
            yield directory

    def _attempt(
        self, comparison: Comparison, store: str, row: Row, directory: Path, *, latencies: bool
    ) -> Outcome | None:
        settings = self._settings
        task = Task(
            store,
            str(directory),
            row.name,
            settings.count,
            self._value_bytes,
            settings.memory_bytes,
            latencies,
            settings.tuned,
            settings.rest_seconds,
        )
        try:
            outcome = run_in_child(task)
        except ChildError as error:
            comparison.failures.append(f"{store}: {error}")
            self._progress.step(f"{comparison.name} {store}: failed: {error}")
            return None
        figure = f"{outcome.rate:,.0f}/s" if outcome.latencies is None else f"p99 {outcome.latencies['p99']:.1f} µs"
        self._progress.step(f"{comparison.name} {store}: {figure}")
        return outcome


def size_text(size: int) -> str:
    return f"{size // 1024} KiB" if size >= 1024 and size % 1024 == 0 else f"{size} B"
