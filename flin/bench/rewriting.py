"""Bytes written per byte given: keys with values of 1 KiB, loaded and then overwritten six times in random order.

What wears a disk, and what a laptop's battery pays. The kernel counts the bytes of all processes of a store, WAL and
all, so all stores are measured alike; Flin's own sum of WAL, flushes and merges stands beside it, as a check. Each
store writes in a fresh process (`python -m flin.bench.rewriting TASK`) and directory, in turn.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from flin.bench.comparison import Finding, Result
from flin.bench.in_turn import Task, in_turn, main
from flin.bench.load import disk_use
from flin.bench.loader import STRIDE
from flin.bench.memory import is_supported
from flin.bench.processes import wait_until_quiet, written_bytes
from flin.bench.progress import Progress
from flin.bench.store import FlinStore, Store, import_library, open_store
from flin.bench.sustained import QUIET_SECONDS, held_back_seconds
from flin.bench.workload import BATCH_SIZE, Workload, key_of

OVERWRITES: Final = 6

WRITTEN: Final = "written per byte given, WAL and all"
WRITTEN_MOST: Final = 2.5

ON_DISK: Final = "on disk per byte that lives"
ON_DISK_MOST: Final = 1.7

OTHER_STRIDE: Final = 1_000_003
"""A prime: each round is in an order of its own, (position + round × this) × STRIDE modulo the count."""


@dataclass(frozen=True, slots=True)
class Settings:
    stores: tuple[str, ...] = ("flin", "rocksdict", "plyvel")
    count: int = 50_000
    value_bytes: int = 1024
    memory_bytes: int = 32 << 20
    """Data of 1.6 times the limit, as 400 MB would be at the default: several generations in each round."""

    rounds: int = 1
    """Bytes do not depend on how busy the machine is, or hardly."""

    def steps(self) -> int:
        return self.rounds * len(self.stores)

    def seconds(self) -> float:
        return self.steps() * (2 + self.count * (1 + OVERWRITES) * 5e-5)


def compare(settings: Settings, scratch: str, progress: Progress) -> list[Result]:
    finding = Finding(f"{settings.count:,} keys of {settings.value_bytes:,} B, {OVERWRITES} overwrites")
    for store, figures in in_turn("rewriting", settings, scratch, progress, finding.failures):
        finding.add(store, figures)
        progress.step(f"rewriting {store}: {figures.get(WRITTEN, 0.0):.2f}")
    finding.at_most(WRITTEN, WRITTEN_MOST)
    finding.at_most(ON_DISK, ON_DISK_MOST)
    return [finding]


def key_at(position: int, writing: int, count: int) -> bytes:
    """The key at this position of a writing, each of which meets every key once."""
    return key_of((position + writing * OTHER_STRIDE) * STRIDE % count)


def perform(task: Task) -> dict[str, float]:
    """Measure. The load is in batches, the overwrites are single puts."""
    values, count = Workload(1, task.value_bytes).values, task.count
    pool = len(values)
    import_library(task.store)
    before = written_bytes() if is_supported() else 0
    store = open_store(task.store, task.directory, task.memory_bytes)
    put = store.put
    for start in range(0, count, BATCH_SIZE):
        positions = range(start, min(count, start + BATCH_SIZE))
        store.put_batch([(key_at(position, 0, count), values[position % pool]) for position in positions])
    began, held = perf_counter(), held_back_seconds(store)
    for writing in range(1, OVERWRITES + 1):
        for position in range(count):
            put(key_at(position, writing, count), values[(position + writing) % pool])
    seconds = perf_counter() - began
    held_after = held_back_seconds(store)
    if is_supported():
        wait_until_quiet(os.getpid(), QUIET_SECONDS)
    _, disk_bytes = disk_use(task.directory)
    given = count * (1 + OVERWRITES) * (16 + task.value_bytes)
    figures = {
        "overwrites, thousand/s": count * OVERWRITES / seconds / 1000,
        ON_DISK: disk_bytes / (count * (16 + task.value_bytes)),
    }
    if held is not None and held_after is not None:
        figures["writers held back, share of the time"] = (held_after - held) / seconds
    own = _counted(store)
    store.close()
    if is_supported():
        # The helpers have ended by now, so the kernel has added their written bytes to those of this process.
        figures[WRITTEN] = (written_bytes() - before) / given
    return figures | {name: count / given for name, count in own.items()}


def _counted(store: Store) -> dict[str, float]:
    """Bytes that Flin counts itself, by where they went. The manifest and the rests of pages are not among them."""
    if not isinstance(store, FlinStore):
        return {}
    statistics: dict[str, Any] = store.statistics()
    wal = statistics["wal"]["position"]
    flushes, merges = statistics["flush"]["bytes_written"], statistics["compaction"]["bytes_written"]
    return {
        "of that WAL": wal,
        "of that flushes": flushes,
        "of that merges": merges,
        "counted by the engine": wal + flushes + merges,
    }


if __name__ == "__main__":
    sys.exit(main(perform))
