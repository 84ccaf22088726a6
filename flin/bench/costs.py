"""The cost of single operations in one database, for the curves: `python -m flin.bench.costs TASK`, a line of JSON for
each size. The database grows from size to size; at each one jobs finish first, then reads are measured.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from time import monotonic, perf_counter
from typing import Final

from flin.bench.loader import STRIDE, say
from flin.bench.memory import is_supported
from flin.bench.processes import wait_until_quiet
from flin.bench.row import SEEK_LENGTH, WrongAnswerError
from flin.bench.store import FlinStore
from flin.bench.workload import BATCH_SIZE, Workload, key_of

SETTLE_SECONDS: Final = 60.0
BATCH_BYTES: Final = 1 << 20
"""A batch has a thousand keys, but at most a megabyte."""

SAMPLE: Final = 30_000
SAMPLE_BYTES: Final = 64 << 20
"""Puts and gets that are timed at each size: SAMPLE of them, but at most this many bytes."""

SCANNED_TIMES: Final = 10
SEEKS_SHARE: Final = 10
"""There are a tenth as many seeks as gets; the scan reads ten times as many pairs as there are gets."""

SPREAD: Final = 1 << 40
"""Keys are drawn from this many, so that those of a small database lie among those that come later."""


@dataclass(frozen=True, slots=True)
class Task:
    directory: str
    counts: tuple[int, ...]  # sizes, ascending
    value_bytes: int
    memory_bytes: int
    shards: int = 1
    seconds: float = 3600.0  # after this time no larger size is begun

    @property
    def sample(self) -> int:
        return max(20, min(SAMPLE, SAMPLE_BYTES // self.value_bytes))


def key_at(position: int) -> bytes:
    return key_of(position * STRIDE % SPREAD)


def measure(task: Task) -> Iterator[dict[str, float]]:
    """The costs at each size: microseconds of one operation, by its name."""
    values = Workload(1, task.value_bytes).values
    store = FlinStore(task.directory, task.memory_bytes, tuned=True, shards=task.shards)
    began, held = monotonic(), 0
    gc.collect()
    gc.freeze()
    for count in task.counts:
        if held and monotonic() - began > task.seconds:
            break
        batch = _timed_fill(store, task, values, held, count)
        held = count
        store.flush()  # else a small database would be read from its memtable, a large one from tables
        if is_supported():
            wait_until_quiet(os.getpid(), SETTLE_SECONDS)
        yield {"count": count, "put in a batch": batch, **_ask(store, task, values, count)}
    store.close()


def _timed_fill(store: FlinStore, task: Task, values: list[bytes], start: int, stop: int) -> float:
    size = max(1, min(BATCH_SIZE, BATCH_BYTES // task.value_bytes))
    spent = 0.0
    for begin in range(start, stop, size):
        positions = range(begin, min(stop, begin + size))
        pairs = [(key_at(position), values[position % len(values)]) for position in positions]
        started = perf_counter()
        store.put_batch(pairs)
        spent += perf_counter() - started
    return 1e6 * spent / (stop - start)


def _ask(store: FlinStore, task: Task, values: list[bytes], count: int) -> dict[str, float]:
    generator = random.Random(count)
    sample = min(task.sample, count)
    keys = [key_at(generator.randrange(count)) for _ in range(sample)]
    costs = {}

    get, missing = store.get, 0
    started = perf_counter()
    for key in keys:
        if get(key) is None:
            missing += 1
    costs["get"] = (perf_counter() - started) / sample

    wanted = min(count, SCANNED_TIMES * sample)
    started = perf_counter()
    pairs = sum(1 for _ in islice(store.scan(reverse=False), wanted))
    costs["scan, a pair"] = (perf_counter() - started) / wanted

    starts = keys[: max(1, sample // SEEKS_SHARE)]
    started = perf_counter()
    deque((store.seek(key, SEEK_LENGTH) for key in starts), maxlen=0)
    costs["seek and ten"] = (perf_counter() - started) / len(starts)

    put, value = store.put, values[0]
    started = perf_counter()
    for key in keys:
        put(key, value)
    costs["put"] = (perf_counter() - started) / sample

    if missing or pairs != wanted:
        raise WrongAnswerError(f"{missing} of {sample} keys missing, a scan gave {pairs} of {wanted} pairs")
    return {name: 1e6 * seconds for name, seconds in costs.items()}


def main() -> int:
    document = json.loads(sys.argv[1])
    for costs in measure(Task(**{**document, "counts": tuple(document["counts"])})):
        say(**costs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
