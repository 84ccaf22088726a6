"""The cost of copies, `flin bench backup`: checkpoints, backups and restores of a database in this process, and what
writers notice of them. Processor time is that of the process, by all threads together; most of the rest is waiting for
the disk, since copies are durable.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from threading import Event, Thread
from time import perf_counter_ns, process_time_ns
from typing import Any, Final

import flin.engine
from flin.bench.progress import Progress
from flin.bench.report import aligned
from flin.engine import Engine

VALUE_BYTES: Final = 1000
PART: Final = 100
"""Between two backups one key in so many is written again."""

CHECKPOINT: Final = "checkpoint"
FIRST: Final = "first backup"
NEXT: Final = f"backup after 1/{PART} was written again"
VERIFY: Final = "reading a backup again"
RESTORE: Final = "restore"
COPIES: Final = (CHECKPOINT, FIRST, NEXT, VERIFY, RESTORE)

ALONE: Final = "alone"
BESIDE: Final = "while checkpoints are made"
WRITES: Final = (ALONE, BESIDE)


@dataclass(frozen=True, slots=True)
class Settings:
    count: int = 200_000
    rounds: int = 5

    def steps(self) -> int:
        return self.rounds * (len(COPIES) + len(WRITES))


QUICK: Final = Settings(5000, 1)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one copy took."""

    processor_ms: float
    all_ms: float
    copied_bytes: int


@dataclass(slots=True)
class Result:
    copies: dict[str, list[Cost]] = field(default_factory=dict)  # by name, a cost per round
    puts: dict[str, list[list[float]]] = field(default_factory=dict)  # microseconds of each put, per round

    def to_json(self) -> dict[str, Any]:
        copies = {
            name: [[cost.processor_ms, cost.all_ms, cost.copied_bytes] for cost in costs]
            for name, costs in self.copies.items()
        }
        puts = {name: [percentiles(each) for each in rounds] for name, rounds in self.puts.items()}
        return {"processor_ms_all_ms_copied_bytes": copies, "put_median_p99_microseconds": puts}


def percentiles(times: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th of a hundred."""
    cuts = quantiles(times, n=100)
    return cuts[49], cuts[98]


def run(settings: Settings, scratch: str, progress: Progress) -> Result:
    result = Result()
    chance = random.Random(1)
    values = [chance.randbytes(VALUE_BYTES // 2) + bytes(VALUE_BYTES - VALUE_BYTES // 2) for _ in range(PART)]
    with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent:
        place = Path(parent)
        with flin.engine.open(place / "data", runner="thread") as db:
            db.put_many((b"%016d" % number, values[number % PART]) for number in range(settings.count))
            db.flush()
            for number in range(settings.rounds):
                _copies(db, settings, place / str(number), values, result, progress)
                for name in WRITES:
                    times = _puts(db, settings, place / f"{number} {name}", values[0], beside=name == BESIDE)
                    result.puts.setdefault(name, []).append(times)
                    progress.step(f"put {name}: {percentiles(times)[0]:.2f} µs")
    return result


def _copies(
    db: Engine, settings: Settings, place: Path, values: Sequence[bytes], result: Result, progress: Progress
) -> None:
    def measure(name: str, act: Callable[[], Any]) -> None:
        busy, begun = process_time_ns(), perf_counter_ns()
        made = act()
        cost = Cost(
            (process_time_ns() - busy) / 1e6, (perf_counter_ns() - begun) / 1e6, getattr(made, "copied_bytes", 0)
        )
        result.copies.setdefault(name, []).append(cost)
        progress.step(f"{name}: {cost.processor_ms:.1f} ms")

    place.mkdir()
    backups = place / "backups"
    measure(CHECKPOINT, lambda: db.checkpoint(place / "checkpoint"))
    measure(FIRST, lambda: db.backup(backups))
    db.put_many((b"%016d" % number, values[0]) for number in range(settings.count // PART))
    measure(NEXT, lambda: db.backup(backups))
    measure(VERIFY, lambda: flin.engine.verify_backup(backups, 2))
    measure(RESTORE, lambda: flin.engine.restore(backups, place / "restored"))


def _puts(db: Engine, settings: Settings, place: Path, value: bytes, *, beside: bool) -> list[float]:
    """Microseconds of each of some puts."""
    ended = Event()

    def checkpoints() -> None:
        number = 0
        while not ended.is_set():
            db.checkpoint(place / str(number))
            number += 1

    copier = Thread(target=checkpoints)
    if beside:
        place.mkdir()
        copier.start()
    times = []
    try:
        for number in range(settings.count // 10):
            begun = perf_counter_ns()
            db.put(b"%016d" % number, value)
            times.append((perf_counter_ns() - begun) / 1000)
    finally:
        ended.set()
        if beside:
            copier.join()
    return times


def table(result: Result) -> str:
    lines = [["copy", "processor, ms", "in all, ms", "copied, MB"]]
    for name, costs in result.copies.items():
        figures = (
            median(cost.processor_ms for cost in costs),
            median(cost.all_ms for cost in costs),
            median(cost.copied_bytes for cost in costs) / 1e6,
        )
        lines.append([name, *(f"{figure:.1f}" for figure in figures)])
    puts = [["put", "median, µs", "99 of 100, µs"]]
    for name, rounds in result.puts.items():
        middles, lasts = zip(*map(percentiles, rounds), strict=True)
        puts.append([name, f"{median(middles):.2f}", f"{median(lasts):.2f}"])
    return f"{aligned(lines)}\n\n{aligned(puts)}"
