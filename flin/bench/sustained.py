"""Sustained writes: ten times what the memtables hold, until flushes and merges are done.

A short fill measures memory; here the flushes and merges that it causes count, too. Each store writes in a fresh
process (`python -m flin.bench.sustained TASK`) and directory, in turn. Bytes written are those that the kernel counts
for all of a store's processes, WAL included, so they can be compared; Flin's own figure counts tables alone.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from flin.bench.comparison import Comparison, Finding, Result
from flin.bench.in_turn import Task, in_turn, main
from flin.bench.load import disk_use
from flin.bench.loader import key_at
from flin.bench.memory import MemorySampler, is_supported
from flin.bench.processes import wait_until_quiet, written_bytes
from flin.bench.progress import Progress
from flin.bench.store import FlinStore, RocksStore, Store, import_library, open_store
from flin.bench.target import SUSTAINED
from flin.bench.workload import Workload

TIMES: Final = 10
"""How many times the memtables' size is written."""

MEMTABLE_SHARE: Final = 3 / 8
"""The memtables' share of the memory limit: Flin's three generations; a peer has two of a quarter."""

QUIET_SECONDS: Final = 300.0
"""The longest wait for the background."""

WRITE_AMPLIFICATION: Final = 6.0
"""The most that Flin may write to tables per byte that it was given."""

HELD_BACK: Final = "writers held back, share of the puts' time"
HELD_BACK_MOST: Final = 0.1


@dataclass(frozen=True, slots=True)
class Settings:
    stores: tuple[str, ...] = ("flin", "rocksdict", "plyvel")
    memory_bytes: int = 64 << 20
    value_bytes: int = 100
    rounds: int = 3

    @property
    def count(self) -> int:
        return max(1, int(TIMES * MEMTABLE_SHARE * self.memory_bytes) // (16 + self.value_bytes))

    def steps(self) -> int:
        return self.rounds * len(self.stores)

    def seconds(self) -> float:
        return self.steps() * (2 + self.count * 7e-6)


def compare(settings: Settings, scratch: str, progress: Progress) -> list[Result]:
    name = f"sustained {settings.count:,} keys of {settings.value_bytes} B, {settings.memory_bytes >> 20} MiB"
    rates = Comparison(name, "µs", settings.count, target=SUSTAINED)
    finding = Finding("sustained")
    for store, figures in in_turn("sustained", settings, scratch, progress, rates.failures):
        rates.add(store, figures.pop("rate"))
        finding.add(store, figures)
        progress.step(f"sustained {store}: {rates.rates[store][-1]:,.0f}/s")
    finding.at_most("tables written per byte given", WRITE_AMPLIFICATION)
    finding.at_most(HELD_BACK, HELD_BACK_MOST)
    return [rates, finding]


def perform(task: Task) -> dict[str, float]:
    """Measure. Memory is sampled in this process: its own objects, a pool of values, are some hundred KiB."""
    values = Workload(task.count, task.value_bytes).values
    pool, count = len(values), task.count
    import_library(task.store)
    sampler = MemorySampler(os.getpid()) if is_supported() else None
    written_before = written_bytes() if sampler else 0
    with sampler or nullcontext():
        store = open_store(task.store, task.directory, task.memory_bytes)
        put = store.put
        started = perf_counter()
        for position in range(count):
            put(key_at(position, count), values[position % pool])
        filled = perf_counter()
        held_back = held_back_seconds(store)
        waited = 0.0
        if sampler:
            waited = wait_until_quiet(os.getpid(), QUIET_SECONDS, aside=lambda: sampler.cpu_seconds)
        _, disk_bytes = disk_use(task.directory)
        own = _own_figures(store)
        store.close()
    given = count * (16 + task.value_bytes)
    figures = {
        "rate": count / (filled - started + waited),
        "puts alone, thousand/s": count / (filled - started) / 1000,
        "background, seconds after the last put": waited,
        "on disk per byte given": disk_bytes / given,
    }
    if sampler:
        # The helper has ended by now, so the kernel has added its written bytes to those of this process.
        figures["written per byte given, WAL and all"] = (written_bytes() - written_before) / given
        figures["peak memory of all processes, MiB"] = sampler.peak_bytes / (1 << 20)
    if held_back is not None:
        figures[HELD_BACK] = held_back / (filled - started)
    return figures | own


def held_back_seconds(store: Store) -> float | None:
    """How long the only writer has waited for the background, as the store itself tells; None: it does not."""
    if isinstance(store, FlinStore):
        return float(store.statistics()["stall"]["seconds"])
    return store.held_back_seconds() if isinstance(store, RocksStore) else None


def _own_figures(store: Store) -> dict[str, float]:
    """The figures that only Flin gives."""
    if not isinstance(store, FlinStore):
        return {}
    statistics: dict[str, Any] = store.statistics()
    background = statistics["background"]
    return {
        "background, µs per key and job": background["microseconds_per_key"],
        "tables written per byte given": background["write_amplification"],
    }


if __name__ == "__main__":
    sys.exit(main(perform))
