"""The workloads whose figures another engine of this kind published, inside one process, with threads.

Published figures stand next to the measured ones: their hardware is unknown, so they are for orientation only. In
Python, threads do not add up; a Python process reaches such rates by batches and pipelines. Each measurement is a
process of its own: `python -m flin.bench.headline TASK`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final, TypeAlias

from flin.bench.child import ChildError, call
from flin.bench.comparison import OURS, Comparison, Result
from flin.bench.progress import Progress
from flin.bench.row import WrongAnswerError
from flin.bench.store import FlinStore, Store, import_library, open_store
from flin.bench.target import THREADS
from flin.bench.workload import BATCH_SIZE, Workload

LOADED: Final = 40_000
"""Keys of each thread that are loaded before GET, the mix and DELETE: 40 MB."""

LOOK: Final = 100
"""Operations between two looks at the clock."""

READS_OF_TEN: Final = 7
"""The mix: 70 % GET, 30 % SET."""


@dataclass(frozen=True, slots=True)
class Scene:
    name: str
    action: str
    threads: int
    shards: int
    published: float
    peers: bool = True  # run the peers too: they have no shards


SCENES: Final = (
    Scene("64 threads SET, 1 shard", "set", 64, 1, 195_910),
    Scene("64 threads SET, 16 shards", "set", 64, 16, 347_000, peers=False),
    Scene("64 threads SET, 64 shards", "set", 64, 64, 512_360, peers=False),
    Scene("4 threads SET", "set", 4, 1, 103_000),
    Scene("4 threads GET", "get", 4, 1, 787_000),
    Scene("4 threads 70:30 mix", "mix", 4, 1, 140_000),
    Scene("4 threads DELETE", "delete", 4, 1, 165_000),
)


@dataclass(frozen=True, slots=True)
class Settings:
    stores: tuple[str, ...] = ("flin", "rocksdict", "plyvel")
    seconds_each: float = 2.0
    loaded: int = LOADED
    value_bytes: int = 1024
    memory_bytes: int = 256 << 20
    rounds: int = 3

    def stores_of(self, scene: Scene) -> tuple[str, ...]:
        return tuple(store for store in self.stores if scene.peers or store == OURS)

    def steps(self) -> int:
        return self.rounds * sum(len(self.stores_of(scene)) for scene in SCENES)

    def seconds(self) -> float:
        return self.steps() * (0.45 + self.seconds_each)


@dataclass(frozen=True, slots=True)
class Task:
    store: str
    directory: str
    action: str
    threads: int
    shards: int
    seconds: float
    loaded: int
    value_bytes: int
    memory_bytes: int


def compare(settings: Settings, scratch: str, progress: Progress) -> list[Result]:
    return [_compare_scene(scene, settings, scratch, progress) for scene in SCENES]


def _compare_scene(scene: Scene, settings: Settings, scratch: str, progress: Progress) -> Comparison:
    row = Comparison(scene.name, "µs", published=scene.published, target=THREADS if scene.peers else None)
    for _ in range(settings.rounds):
        for store in settings.stores_of(scene):
            with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent:
                task = Task(
                    store,
                    str(Path(parent) / "data"),
                    scene.action,
                    scene.threads,
                    scene.shards,
                    settings.seconds_each,
                    settings.loaded,
                    settings.value_bytes,
                    settings.memory_bytes,
                )
                try:
                    outcome = call("flin.bench.headline", task, f"{store} {scene.name}")
                except ChildError as error:
                    row.failures.append(f"{store}: {error}")
                    progress.step(f"{scene.name} {store}: failed: {error}")
                    continue
            row.operations = outcome["operations"]
            row.add(store, outcome["operations"] / outcome["seconds"])
            progress.step(f"{scene.name} {store}: {row.rates[store][-1]:,.0f}/s")
    return row


def key_at(worker: int, number: int) -> bytes:
    return b"key_%d_%d" % (worker, number)


Work: TypeAlias = Callable[[Store, Task, int, bytes, float], int]
"""The work of one thread, given its number, a value and when to end → operations."""


def _set(store: Store, task: Task, worker: int, value: bytes, ends: float) -> int:
    put, done = store.put, 0
    while perf_counter() < ends:
        for number in range(done, done + LOOK):
            put(key_at(worker, number), value)
        done += LOOK
    return done


def _get(store: Store, task: Task, worker: int, value: bytes, ends: float) -> int:
    """Get the loaded keys, round and round."""
    get, done, wrong = store.get, 0, 0
    while perf_counter() < ends:
        for number in range(done, done + LOOK):
            if get(key_at(worker, number % task.loaded)) is None:
                wrong += 1
        done += LOOK
    if wrong:
        raise WrongAnswerError(f"{wrong} of {done} keys were not found")
    return done


def _mix(store: Store, task: Task, worker: int, value: bytes, ends: float) -> int:
    get, put, done = store.get, store.put, 0
    while perf_counter() < ends:
        for number in range(done, done + LOOK):
            key = key_at(worker, number % task.loaded)
            if number % 10 >= READS_OF_TEN:
                put(key, value)
            elif get(key) is None:
                raise WrongAnswerError(f"{key!r} was not found")
        done += LOOK
    return done


def _delete(store: Store, task: Task, worker: int, value: bytes, ends: float) -> int:
    """Delete until the time has passed or nothing is left."""
    delete, done = store.delete, 0
    while perf_counter() < ends and done < task.loaded:
        for number in range(done, min(task.loaded, done + LOOK)):
            delete(key_at(worker, number))
        done += LOOK
    return min(done, task.loaded)


ACTIONS: Final[dict[str, Work]] = {"set": _set, "get": _get, "mix": _mix, "delete": _delete}


def perform(task: Task) -> dict[str, float]:
    value = Workload(1, task.value_bytes).values[0]
    import_library(task.store)
    store: Store
    if task.store == OURS:
        store = FlinStore(task.directory, task.memory_bytes, tuned=True, shards=task.shards)
    else:
        store = open_store(task.store, task.directory, task.memory_bytes)
    if task.action != "set":
        _load(store, task, value)
    done: list[int] = []
    errors: list[Exception] = []

    def work(worker: int, ends: float) -> None:
        try:
            done.append(ACTIONS[task.action](store, task, worker, value, ends))
        except Exception as error:  # the outermost frame of a thread: raised again below
            errors.append(error)

    started = perf_counter()
    threads = [threading.Thread(target=work, args=(worker, started + task.seconds)) for worker in range(task.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = perf_counter() - started
    store.close()
    if errors:
        raise errors[0]
    return {"operations": sum(done), "seconds": seconds}


def _load(store: Store, task: Task, value: bytes) -> None:
    for worker in range(task.threads):
        for start in range(0, task.loaded, BATCH_SIZE):
            numbers = range(start, min(task.loaded, start + BATCH_SIZE))
            store.put_batch([(key_at(worker, number), value) for number in numbers])


def main() -> int:
    outcome: dict[str, Any] = perform(Task(**json.loads(sys.argv[1])))
    print(json.dumps(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main())
