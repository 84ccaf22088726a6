"""One measurement in a process of its own: `python -m flin.bench.child TASK`, TASK in JSON, the outcome in JSON.

The harness's own objects (keys, values, batches) are frozen out of the garbage collector before the clock starts.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from time import perf_counter

from flin.bench.figures import percentiles
from flin.bench.row import LOAD, ROWS, Nanoseconds
from flin.bench.store import import_library, open_store
from flin.bench.workload import Workload


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


def run_in_child(task: Task, timeout: float) -> Outcome:
    """Run the task in a fresh interpreter."""
    command = [sys.executable, "-m", "flin.bench.child", json.dumps(asdict(task))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ChildError(f"{task.store} {task.row}: {lines[-1]}")
    return Outcome(**json.loads(done.stdout))


def perform(task: Task) -> Outcome:
    workload = Workload(task.count, task.value_bytes)
    row = LOAD if task.row == LOAD.name else ROWS[task.row]
    row.uses(workload)
    import_library(task.store)
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
    latencies = percentiles(spent, 1e-3) if spent else None
    return Outcome(operations, closing - opened, opened - started, closed - closing, latencies)


def main() -> int:
    print(json.dumps(asdict(perform(Task(**json.loads(sys.argv[1]))))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
