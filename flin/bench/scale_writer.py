"""The process that `flin bench scale` measures: `python -m flin.bench.scale_writer TASK`; lines of JSON on stdout.

Key number N lies at `key_at(N)`; the value of its first or second writing follows from N, so nothing is kept.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Final

from flin.bench.loader import WrongValueError, key_at, say
from flin.bench.memory import is_supported
from flin.bench.processes import wait_until_quiet, written_bytes
from flin.bench.store import FlinStore, Store, import_library, open_store
from flin.bench.workload import compressible

POOL_BYTES: Final = 4 << 20
"""The most memory of the values: it counts as the store's, since they are in its process."""

POOL_VALUES: Final = (16, 1024)
"""At least so many different ones, at most so many."""

REPORT_SECONDS: Final = 0.5
CLOCK_BYTES: Final = 1 << 18
"""Bytes between two looks at the clock: some milliseconds."""

QUIET_SECONDS: Final = 600.0
"""The longest wait for the background."""

SAMPLE: Final = 2_000
"""Keys that are read back."""


@dataclass(frozen=True, slots=True)
class Task:
    action: str  # a key of ACTIONS
    store: str
    directory: str
    count: int  # of keys; the first `loaded` of them are there
    value_bytes: int
    memory_bytes: int
    start: int = 0  # writing: the first position
    stop: int = 0
    seconds: float = 0.0  # writing ends after so long, 0: not before `stop`
    loaded: int = 0
    changed: int = 0  # reopen: positions below it were changed (`change`) for certain; from there on perhaps


class _Timed:
    """Writes in stretches between two looks at the clock, tells its progress, and ends when its time is over."""

    def __init__(self, task: Task) -> None:
        self._ends = perf_counter() + task.seconds if task.seconds else float("inf")
        self._stretch = max(1, CLOCK_BYTES // (16 + task.value_bytes))
        self._told = perf_counter()

    def write(self, start: int, stop: int, write: Callable[[int], object]) -> int:
        """Returns where it ended."""
        while start < stop:
            following = min(stop, start + self._stretch)
            for position in range(start, following):
                write(position)
            start = following
            now = perf_counter()
            if now - self._told >= REPORT_SECONDS:
                say(written=start)
                self._told = now
            if now >= self._ends:
                break
        return start


def values_of(value_bytes: int) -> list[bytes]:
    generator = random.Random(1)
    least, most = POOL_VALUES
    return [compressible(generator, value_bytes) for _ in range(max(least, min(most, POOL_BYTES // value_bytes)))]


def load(task: Task) -> None:
    """Write the keys from `start` to `stop` for the first time."""
    values, count = values_of(task.value_bytes), task.count
    pool = len(values)

    def writing(store: Store) -> Callable[[int], object]:
        put = store.put
        return lambda position: put(key_at(position, count), values[position % pool])

    _write(task, writing)


def change(task: Task) -> None:
    """Overwrite the first half of the loaded keys, delete the quarter behind it."""
    values, count, half = values_of(task.value_bytes), task.count, task.loaded // 2
    pool = len(values)

    def writing(store: Store) -> Callable[[int], object]:
        put, delete = store.put, store.delete

        def write(position: int) -> None:
            if position < half:
                put(key_at(position, count), values[(position + 1) % pool])
            else:
                delete(key_at(position, count))

        return write

    _write(task, writing)


def _write(task: Task, writing: Callable[[Store], Callable[[int], object]]) -> None:
    import_library(task.store)
    before = written_bytes() if is_supported() else 0
    store = open_store(task.store, task.directory, task.memory_bytes)
    began = perf_counter()
    stop = _Timed(task).write(task.start, task.stop, writing(store))
    written = perf_counter()
    say(written=stop)
    quiet = wait_until_quiet(os.getpid(), QUIET_SECONDS)
    own = _own_figures(store)
    closing = perf_counter()
    store.close()
    say(
        ended=stop,
        seconds=written - began,
        quiet_seconds=quiet,
        close_seconds=perf_counter() - closing,
        # The helpers have ended by now: the kernel has added theirs.
        written_bytes=(written_bytes() - before) if is_supported() else 0,
        **own,
    )


def _own_figures(store: Store) -> dict[str, float]:
    """The figures that only Flin gives."""
    if not isinstance(store, FlinStore):
        return {}
    statistics: dict[str, Any] = store.statistics()
    background = statistics["background"]
    return {
        "largest_job_bytes": background["largest_job_bytes"],
        "longest_job_seconds": background["longest_job_seconds"],
        "held_back_seconds": statistics["stall"]["seconds"],
        "runs": statistics["tables"]["runs"],
    }


def reopen(task: Task) -> None:
    """Open, answer one get, then read a sample back."""
    values = values_of(task.value_bytes)
    import_library(task.store)
    began = perf_counter()
    store = open_store(task.store, task.directory, task.memory_bytes)
    try:
        first = store.get(key_at(task.loaded - 1, task.count))
        seconds = perf_counter() - began
        if first is None:
            raise WrongValueError("the last key is missing")
        replayed = store.statistics()["wal"]["replayed_operations"] if isinstance(store, FlinStore) else 0
        generator = random.Random(task.changed)
        sample = [generator.randrange(task.loaded) for _ in range(SAMPLE)]
        for position in [*sample, *range(max(0, task.changed - SAMPLE), min(task.loaded, task.changed + SAMPLE))]:
            _check(store.get(key_at(position, task.count)), task, values, position)
    finally:
        store.close()
    say(seconds=seconds, replayed=replayed)


def _check(value: bytes | None, task: Task, values: list[bytes], position: int) -> None:
    old, new = values[position % len(values)], values[(position + 1) % len(values)]
    after = new if position < task.loaded // 2 else None if position < task.loaded * 3 // 4 else old
    allowed = (after,) if position < task.changed else (old, after) if task.changed else (old,)
    if value not in allowed:
        raise WrongValueError(f"key {position} holds {value!r:.80}")


def command_of(task: Task) -> list[str]:
    return [sys.executable, "-m", "flin.bench.scale_writer", json.dumps(asdict(task))]


ACTIONS: Final[dict[str, Callable[[Task], None]]] = {"load": load, "change": change, "reopen": reopen}


def main() -> int:
    task = Task(**json.loads(sys.argv[1]))
    ACTIONS[task.action](task)
    return 0


if __name__ == "__main__":
    sys.exit(main())
