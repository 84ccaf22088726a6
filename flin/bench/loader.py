"""The process that `flin bench load` measures: `python -m flin.bench.loader TASK`; lines of JSON on stdout.

It keeps nothing that it writes, so that its memory is the store's: keys come from a permutation, values from a pool.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Any, Final

from flin.bench.store import FlinStore, import_library, open_store
from flin.bench.workload import BATCH_SIZE, Workload, key_of

REPORTS: Final = 100
"""Lines of progress while it writes all keys once."""

SAMPLE: Final = 2_000
"""Keys that are read back after a reopen."""

STRIDE: Final = 2_654_435_761
"""A prime near 2^32 divided by the golden ratio: multiples of it modulo the count spread evenly and never repeat."""


@dataclass(frozen=True, slots=True)
class Task:
    action: str  # a key of ACTIONS
    store: str
    directory: str
    count: int
    value_bytes: int
    memory_bytes: int
    written_again: int = 0  # reopen: how many keys a rewrite was known to have written


class WrongValueError(Exception):
    """A key did not hold the value that was written last."""


def key_at(position: int, count: int) -> bytes:
    """The key at this position in the order of writes."""
    return key_of(position * STRIDE % count)


def load(task: Task, *, shift: int, close: bool) -> None:
    """Write every key; the index of its value in the pool is the position, shifted."""
    values = Workload(task.count, task.value_bytes).values
    pool, count = len(values), task.count
    store = open_store(task.store, task.directory, task.memory_bytes)
    put = store.put
    report_every = max(1, count // REPORTS)
    started = perf_counter()
    for position in range(count):
        put(key_at(position, count), values[(position + shift) % pool])
        if position % report_every == 0:
            say(written=position + 1)
    seconds = perf_counter() - started
    say(written=count)
    if close:
        store.close()
    say(seconds=seconds, close_seconds=perf_counter() - started - seconds)


def fill(task: Task) -> None:
    """Write every key in atomic batches, for measurements that do not time the writes."""
    values = Workload(task.count, task.value_bytes).values
    pool, count = len(values), task.count
    store = open_store(task.store, task.directory, task.memory_bytes)
    started = perf_counter()
    for start in range(0, count, BATCH_SIZE):
        positions = range(start, min(count, start + BATCH_SIZE))
        store.put_batch([(key_at(position, count), values[position % pool]) for position in positions])
    store.close()
    say(seconds=perf_counter() - started)


def reopen(task: Task) -> None:
    """Open, answer one get, then read a sample back."""
    values = Workload(task.count, task.value_bytes).values
    import_library(task.store)
    started = perf_counter()
    store = open_store(task.store, task.directory, task.memory_bytes)
    first = store.get(key_at(0, task.count))
    seconds = perf_counter() - started
    if first is None:
        raise WrongValueError("the first key is missing")
    generator = random.Random(task.written_again)
    for _ in range(SAMPLE):
        _check(store.get, task, values, generator.randrange(task.count))
    for position in range(max(0, task.written_again - SAMPLE), task.written_again):
        _check(store.get, task, values, position)
    replayed = store.statistics()["wal"]["replayed_operations"] if isinstance(store, FlinStore) else 0
    store.close()
    say(seconds=seconds, replayed=replayed)


def _check(get: Any, task: Task, values: list[bytes], position: int) -> None:
    """A key below written_again holds the second value; one above may hold either (it was under way when killed)."""
    old, new = values[position % len(values)], values[(position + 1) % len(values)]
    value = get(key_at(position, task.count))
    wanted = (new,) if position < task.written_again else (old, new) if task.written_again else (old,)
    if value not in wanted:
        raise WrongValueError(f"key {position} holds {value!r}")


def say(**figures: float) -> None:
    print(json.dumps(figures), flush=True)


def command_of(task: Task) -> list[str]:
    return [sys.executable, "-m", "flin.bench.loader", json.dumps(asdict(task))]


ACTIONS: Final[dict[str, Callable[[Task], None]]] = {
    "load": partial(load, shift=0, close=True),
    "fill": fill,
    "rewrite": partial(load, shift=1, close=False),
    "reopen": reopen,
}
"""Write all and close; do so in batches; write all again, with other values; open and read back."""


def main() -> int:
    task = Task(**json.loads(sys.argv[1]))
    ACTIONS[task.action](task)
    return 0


if __name__ == "__main__":
    sys.exit(main())
