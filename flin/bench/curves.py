"""Six curves, `flin bench curves`: the cost of an operation with 100,000 to 30 million keys, with 1 to 64 shards, with
values of 10 B to 1 MB, with 1 to 1,000 connections, after 1,000 to 64,000 range deletes and takes from a queue, and
while five million pushes and pops pass through a server's queues. Default sizes are chosen from the first four; the
last two must be flat.

Embedded costs come from costs.py and history.py, each in a process of its own; those with connections from
redis-benchmark: there a request's cost is one over the rate of all connections together.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from flin.bench import costs, history, queues, served
from flin.bench.curve import Curve
from flin.bench.progress import Progress
from flin.bench.server_process import ServerError

CURVES: Final = ("keys", "shards", "values", "connections", "history", "queues")
COUNT_PER_CONNECTION_RATE: Final = 12_000
"""Requests per second and connection, for as long as connections add to the rate."""


class CurveError(Exception):
    """A point could not be measured; the text is the last line of its process."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The sizes of the curves. The database of 30 million keys takes about 3 GB, twice that while it is merged."""

    curves: tuple[str, ...] = CURVES
    counts: tuple[int, ...] = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000)
    keys_value_bytes: int = 32
    shards: tuple[int, ...] = (1, 4, 16, 64)
    shards_count: int = 500_000
    values: tuple[int, ...] = (10, 100, 1000, 10_000, 100_000, 1_000_000)
    values_bytes: int = 200_000_000  # of one point, so that all databases have the same size
    values_count: int = 200_000  # at most
    connections: tuple[int, ...] = (1, 10, 30, 100, 300, 1000)
    lengths: tuple[int, ...] = (1000, 2000, 4000, 8000, 16_000, 32_000, 64_000)  # of the histories
    operations: int = 5_000_000  # of each queue
    queue_points: int = 10
    requests: int = 100_000
    servers: tuple[str, ...] = ("flin", "redis-server")
    rounds: int = 3  # with connections
    memory_bytes: int = 256 << 20
    seconds_of_keys: float = 900.0  # after this time no larger size is begun

    def steps(self) -> int:
        each = {
            "keys": len(self.counts),
            "shards": len(self.shards),
            "values": len(self.values),
            "connections": 2 * len(self.connections) * len(self.servers) * self.rounds,
            "history": len(self.lengths),
            "queues": len(queues.QUEUES) * self.queue_points,
        }
        return sum(each[name] for name in self.curves)


QUICK: Final = Settings(
    counts=(10_000, 30_000, 100_000),
    shards=(1, 16),
    shards_count=20_000,
    values=(10, 1000, 100_000),
    values_bytes=5_000_000,
    values_count=20_000,
    connections=(1, 10, 100),
    lengths=(500, 2000),
    operations=8000,
    queue_points=4,
    requests=10_000,
    rounds=1,
)


def run(settings: Settings, scratch: str, progress: Progress) -> Iterator[Curve]:
    """Yield each curve as soon as it is measured."""
    make: dict[str, Callable[[Settings, str, Progress], Curve]] = {
        "keys": _keys,
        "shards": _shards,
        "values": _values,
        "connections": _connections,
        "history": _history,
        "queues": _queues,
    }
    for name in settings.curves:
        yield make[name](settings, scratch, progress)


def _keys(settings: Settings, scratch: str, progress: Progress) -> Curve:
    curve = Curve("keys", f"One operation, values of {settings.keys_value_bytes} B", "keys")
    with _directory(scratch) as directory:
        task = costs.Task(
            directory,
            settings.counts,
            settings.keys_value_bytes,
            settings.memory_bytes,
            seconds=settings.seconds_of_keys,
        )
        _add(curve, task, "count", progress)
    return curve


def _shards(settings: Settings, scratch: str, progress: Progress) -> Curve:
    curve = Curve("shards", f"One operation, {settings.shards_count:,} keys of 100 B", "shards")
    for shards in settings.shards:
        with _directory(scratch) as directory:
            task = costs.Task(directory, (settings.shards_count,), 100, settings.memory_bytes, shards)
            _add(curve, task, "shards", progress)
    return curve


def _values(settings: Settings, scratch: str, progress: Progress) -> Curve:
    curve = Curve("values", "One operation", "bytes of a value")
    for size in settings.values:
        count = min(settings.values_count, settings.values_bytes // size)
        with _directory(scratch) as directory:
            task = costs.Task(directory, (count,), size, settings.memory_bytes)
            _add(curve, task, "value_bytes", progress)
    return curve


def _connections(settings: Settings, scratch: str, progress: Progress) -> Curve:
    """The curve of connections. A cost is one over the rate: the server's time for a request, not a client's wait."""
    curve = Curve("connections", "One request of 100 B, no pipeline", "connections")
    scenes = tuple(
        served.Scene(
            number, 1, 100, ("set", "get"), min(settings.requests, number * COUNT_PER_CONNECTION_RATE), str(number)
        )
        for number in settings.connections
    )
    rows = served.compare(served.Settings(settings.servers, scenes, settings.rounds), scratch, progress)
    for row in rows:
        number, test = row.name.split()
        curve.failures += row.failures
        for server in row.rates:
            rate = row.median_rate(server)
            if rate:
                curve.add(f"{server} {test}", float(number), 1e6 / rate)
    return curve


def _history(settings: Settings, scratch: str, progress: Progress) -> Curve:
    curve = Curve("history", "One operation after so many range deletes or takes", "range deletes or takes")
    with _directory(scratch) as directory:
        _add(curve, history.Task(directory, settings.lengths, settings.memory_bytes), "count", progress)
    return curve


def _queues(settings: Settings, scratch: str, progress: Progress) -> Curve:
    curve = Curve("queues", "One operation of a queue, processor time, a restart in the middle", "operations")
    for name, queue in queues.QUEUES.items():
        try:
            with _directory(scratch) as directory:
                for done, microseconds in queues.measure(queue, directory, settings.operations, settings.queue_points):
                    curve.add(name, done, microseconds)
                    progress.step(f"{name}, {done:,} operations: {microseconds:.2f} µs")
        except (ServerError, subprocess.SubprocessError) as error:
            curve.failures.append(f"{name}: {error}")
            progress.say(f"{name}: {error}")
    return curve


def _add(curve: Curve, task: costs.Task | history.Task, grows: str, progress: Progress) -> None:
    """Add the task's sizes as points to the curve; failures are noted there."""
    try:
        for line in _lines(task):
            at = line.pop("count")
            place = at if grows == "count" else float(getattr(task, grows))
            for name, microseconds in line.items():
                curve.add(name, place, microseconds)
            progress.step(
                f"{place:,.0f} {curve.grows}: " + ", ".join(f"{name} {cost:.2f} µs" for name, cost in line.items())
            )
    except CurveError as error:
        curve.failures.append(str(error))
        progress.say(str(error))


def _lines(task: costs.Task | history.Task) -> Iterator[dict[str, float]]:
    command = [sys.executable, "-m", type(task).__module__, json.dumps(asdict(task))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
        _, errors = process.communicate()
        if process.returncode:
            raise CurveError((errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1])
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@contextmanager
def _directory(scratch: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent:
        yield str(Path(parent) / "data")
