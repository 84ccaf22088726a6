"""Runs one measurement in its own process: `python -m flin.bench.child TASK`, TASK and the outcome in JSON.

Before the clock starts, the row runs once over a few keys in a directory of its own, so that no store pays for first
imports, for a processor that was asleep or for bytecode that the interpreter has not specialised yet; and the
harness's own objects (keys, values, batches) are hidden from the garbage collector (gc.freeze).

A loaded store rests before rows begin with it: it is opened again, and left alone until its background has nothing to
do.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from time import perf_counter, sleep
from typing import Any, Final

from flin.bench.figures import percentiles
from flin.bench.memory import is_supported
from flin.bench.processes import wait_until_quiet
from flin.bench.row import LOAD, Nanoseconds, Row
from flin.bench.rows import ROWS
from flin.bench.store import import_library, open_store
from flin.bench.workload import Workload

CHILD_TIMEOUT_SECONDS: Final = 1800.0
"""Far more than any measurement takes; a store that hangs must not hang the run."""

WARM_UP_KEYS: Final = 500
"""Some hundred calls: the interpreter specialises a loop within tens of calls."""


MAX_REST_SECONDS: Final = 120.0
"""The longest wait for a background that goes on after the rest: that of the embedded rows takes a few seconds."""


class ChildError(Exception):
    """A measurement ended without an outcome; the text is its traceback's last line."""


@dataclass(frozen=True, slots=True)
class Task:
    store: str
    directory: str
    row: str
    count: int
    value_bytes: int
    memory_bytes: int
    latencies: bool
    tuned: bool = True
    rest_seconds: float = 0.0  # after a load: the least time that the store is left alone


@dataclass(frozen=True, slots=True)
class Outcome:
    operations: int
    seconds: float
    open_seconds: float
    close_seconds: float
    latencies: dict[str, float] | None  # microseconds

    @property
    def rate(self) -> float:
        return self.operations / self.seconds


def call(module: str, task: Any, what: str, timeout: float = CHILD_TIMEOUT_SECONDS) -> dict[str, Any]:
    """Run a module with a task (a dataclass) in a fresh interpreter. Returns what it prints, read as JSON."""
    command = [sys.executable, "-m", module, json.dumps(asdict(task))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"{what}: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ChildError(f"{what}: {lines[-1]}")
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def run_in_child(task: Task, timeout: float = CHILD_TIMEOUT_SECONDS) -> Outcome:
    return Outcome(**call("flin.bench.child", task, f"{task.store} {task.row}", timeout))


def perform(task: Task) -> Outcome:
    workload = Workload(task.count, task.value_bytes)
    row = LOAD if task.row == LOAD.name else ROWS[task.row]
    row.uses(workload)
    import_library(task.store)
    _warm_up(task, row)
    gc.collect()
    gc.freeze()
    started = perf_counter()
    store = open_store(task.store, task.directory, task.memory_bytes, tuned=task.tuned)
    opened = perf_counter()
    spent: Nanoseconds | None = [] if task.latencies else None
    operations = row.run(store, workload, spent)
    closing = perf_counter()
    store.close()
    closed = perf_counter()
    if row is LOAD and task.rest_seconds:
        _rest(task)
    latencies = percentiles(spent, 1e-3) if spent else None
    return Outcome(operations, closing - opened, opened - started, closed - closing, latencies)


def _rest(task: Task) -> None:
    """Let the store finish what its load has left to its background, as `waitforcompaction` of RocksDB's db_bench does:
    else the first rows measure how much of that was done by chance."""
    store = open_store(task.store, task.directory, task.memory_bytes, tuned=task.tuned)
    sleep(task.rest_seconds)
    if is_supported():
        wait_until_quiet(os.getpid(), MAX_REST_SECONDS)
    store.close()


def _warm_up(task: Task, row: Row) -> None:
    workload = Workload(WARM_UP_KEYS, task.value_bytes)
    row.uses(workload)
    directory = f"{task.directory}.warm"
    store = open_store(task.store, directory, task.memory_bytes, tuned=task.tuned)
    if row.loaded:
        LOAD.run(store, workload, None)
    row.run(store, workload, [] if task.latencies else None)
    store.close()
    shutil.rmtree(directory)


def main() -> int:
    print(json.dumps(asdict(perform(Task(**json.loads(sys.argv[1]))))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
