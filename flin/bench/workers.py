"""What a request costs two workers, beside one server: `flin serve --workers 2` and `flin serve` in turn, and what
follows for a machine with eight cores (cores.py).

Both are up all the time and asked in turn, in short slices, one port after the other: as many processes run beside a
worker as beside the server, and both find the processor's cache as cold. (Two workers and two load generators on two
cores measure the scheduler.) redis-benchmark sends pipelines of SETs and GETs, whose keys have a tag of the worker's
slots; the server gets the same. Its own `--cluster` will not do for a comparison: it gives all requests of a pipeline
one slot, so they ask for the same few keys again and again. All processes count: workers, their helpers, the
supervisor. What they take while nobody asks does not: the slower the machine, the more of it fell to each request.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from flin.bench import served
from flin.bench.cli_client import ask
from flin.bench.comparison import OURS, Finding, Result
from flin.bench.cores import Cost, speedup, zipfian_share
from flin.bench.processes import cpu_seconds_of_each, wait_until_quiet
from flin.bench.progress import Progress
from flin.bench.server_process import ServerError, ServerProcess, free_port, is_free
from flin.cluster.workers.groups import slots_of
from flin.cluster.workers.ports import STEP
from flin.net.cluster.slots import slot_of

WORKERS: Final = 2
TOGETHER: Final = f"{WORKERS} workers"
TESTS: Final = ("SET", "GET")

MAX_RATIO: Final = 1.1
"""The most that a request may cost workers, of what it costs one server."""

CORES: Final = 8
MIN_SPEEDUP: Final = 7.0
"""How many times one server's rate eight cores must reach when keys are asked for alike."""

ZIPFIAN_KEYS: Final = 100_000
IDLE_SECONDS: Final = 0.2
"""After each slice: flushes go on beside the next one otherwise."""

WARM_UPS: Final = 3
"""Slices before those that are measured: helpers start when a generation is a quarter full, after 260,000 SETs."""

LOOK_SECONDS: Final = 2.0
"""For what the processes take while nobody asks: their timers fire ten times a second."""


@dataclass(frozen=True, slots=True)
class Settings:
    requests: int = 100_000
    """In one slice."""
    connections: int = 64
    pipeline: int = 16
    value_bytes: int = 100
    rounds: int = 10
    """Slices of each test and server."""

    @property
    def keys(self) -> int:
        return self.requests * self.rounds // served.REQUESTS_PER_KEY

    def steps(self) -> int:
        return len(TESTS) * self.rounds

    def seconds(self) -> float:
        slices = self.steps() + WARM_UPS * len(TESTS)
        return 25 + slices * (IDLE_SECONDS + 2 * self.requests / 200_000)


NOTHING: Final = Cost(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds of processor time so far, at a moment."""

    loops: float
    others: float
    moment: float

    def since(self, before: Reading, idle: Cost) -> Cost:
        """What was used since then. idle: what of each second does not count."""
        seconds = self.moment - before.moment
        loops = max(self.loops - before.loops - idle.loop * seconds, 0.0)
        others = max(self.others - before.others - (idle.all - idle.loop) * seconds, 0.0)
        return Cost(loops, loops + others)


class Asked:
    """A server, or workers, and what they have used. ports: a worker's each; the server's own again and again."""

    def __init__(self, server: ServerProcess, ports: list[int]) -> None:
        self.ports = ports
        self._server = server
        self._loops = {_pid(port) for port in ports}

    def read(self) -> Reading:
        each = cpu_seconds_of_each(self._server.pid)
        loops = sum(each[loop][0] for loop in self._loops)
        return Reading(loops, sum(map(sum, each.values())) - loops, time.monotonic())

    def settled(self) -> Reading:
        """Once flushes and merges are done."""
        wait_until_quiet(self._server.pid, served.SETTLE_SECONDS, self._has_flushed, looks_wanted=served.SETTLED_LOOKS)
        return self.read()

    def _has_flushed(self) -> bool:
        """On a busy machine helpers that wait for a processor look idle."""
        memtables = [json.loads(ask(port, "FLIN.STATS"))["memtables"] for port in {*self.ports}]
        return not any(each["sealed_generations"] for each in memtables)

    def ask(self, number: int, test: str, settings: Settings) -> None:
        """Its share of a slice, of one port."""
        command = _command(self.ports, number, test, settings)
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=served.PROGRAM_TIMEOUT_SECONDS, check=False
        )
        served.parse(done.stdout)


def compare(settings: Settings, scratch: str, progress: Progress) -> list[Result]:
    finding = Finding(f"P{settings.pipeline}, {WORKERS} workers")
    with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent, ExitStack() as stack:
        try:
            asked = {
                OURS: _started(stack, str(Path(parent) / "one"), 1),
                TOGETHER: _started(stack, str(Path(parent) / "workers"), WORKERS, "--workers", str(WORKERS)),
            }
            _conclude(finding, {test: _measured(asked, test, settings, progress) for test in TESTS})
        except (ServerError, subprocess.SubprocessError) as error:
            finding.failures.append(str(error))
            progress.step(f"{finding.name}: failed: {error}")
    return [finding]


def _started(stack: ExitStack, directory: str, workers: int, *options: str) -> Asked:
    ports = free_ports(workers)
    server = ServerProcess(OURS, directory, *options, port=ports[0], other_ports=tuple(ports[1:]))
    return Asked(stack.enter_context(server), ports * (WORKERS // workers))


def _conclude(finding: Finding, costs: dict[str, dict[str, list[Cost]]]) -> None:
    share = zipfian_share(CORES, ZIPFIAN_KEYS)
    for test, of in costs.items():
        for name, measured in of.items():
            for cost in measured:
                finding.add(name, {f"{test}, µs": cost.all, f"{test}, µs of loops": cost.loop})
        ratio, modelled = f"{test}: of one server's µs", f"{test}: {CORES} cores, keys alike, times one server"
        of_loops = f"{test}: of one server's µs of loops"
        for one, worker in zip(of[OURS], of[TOGETHER], strict=True):
            finding.add(OURS, {of_loops: worker.loop / one.loop, ratio: worker.all / one.all})
            finding.add(OURS, {modelled: speedup(one, worker, CORES, 1 / CORES)})
            finding.add(OURS, {f"{test}: {CORES} cores, zipfian keys": speedup(one, worker, CORES, share)})
        finding.at_most(of_loops, MAX_RATIO)
        finding.at_most(ratio, MAX_RATIO)
        finding.at_least(modelled, MIN_SPEEDUP)
    finding.add(OURS, {f"share of zipfian requests of the busiest of {CORES}": share})


def _measured(asked: dict[str, Asked], test: str, settings: Settings, progress: Progress) -> dict[str, list[Cost]]:
    """The cost of a request, slice by slice. Of loops it is what is used from the beginning of a slice to the next one
    of the same server; of all others the mean, until they are idle: there is one flush in some ten slices."""
    for number in range(WARM_UPS):
        _ask_all(asked, test, settings, number)
    for one in asked.values():
        one.settled()
    began = {name: one.read() for name, one in asked.items()}
    time.sleep(LOOK_SECONDS)
    idle = {name: one.read().since(began[name], NOTHING).over(LOOK_SECONDS) for name, one in asked.items()}
    slices: dict[str, list[Reading]] = {name: [] for name in asked}
    for number in range(settings.rounds):
        for name, reading in _ask_all(asked, test, settings, number).items():
            slices[name].append(reading)
        progress.step(f"{test}, slice {number + 1}")
    costs: dict[str, list[Cost]] = {}
    for name, one in asked.items():
        readings = [*slices[name], one.read()]
        whole = one.settled().since(readings[0], idle[name]).over(settings.requests * settings.rounds / 1e6)
        each = [after.since(before, idle[name]).over(settings.requests / 1e6) for before, after in pairwise(readings)]
        costs[name] = [Cost(cost.loop, cost.loop + whole.all - whole.loop) for cost in each]
    return costs


def _ask_all(asked: dict[str, Asked], test: str, settings: Settings, number: int) -> dict[str, Reading]:
    """A slice of each, in shares that take turns. Returns what was used before."""
    before = {name: one.read() for name, one in asked.items()}
    for share in range(WORKERS):
        for _, one in sorted(asked.items(), reverse=number % 2 == 1):
            one.ask(share, test, settings)
    time.sleep(IDLE_SECONDS)
    return before


def _pid(port: int) -> int:
    lines = ask(port, "INFO", "server").split()
    return int(next(line for line in lines if line.startswith("process_id:")).partition(":")[2])


def _command(ports: list[int], number: int, test: str, settings: Settings) -> list[str]:
    count = len(ports)
    words = [test, f"key:{{{tag_of(number, count)}}}:__rand_int__"]
    words += ["x" * settings.value_bytes] if test == "SET" else []
    options: dict[str, int] = {
        "-p": ports[number], "-n": settings.requests // count, "-r": settings.keys // count,
        "-c": settings.connections, "-P": settings.pipeline,
    }  # fmt: skip
    return [served.PROGRAM, *(str(part) for option in options.items() for part in option), *words]


def tag_of(worker: int, workers: int) -> str:
    """A hash tag whose slot is this worker's."""
    first, last = slots_of(worker, workers)
    return next(tag for tag in map(str, range(1000, 10_000)) if first <= slot_of(tag.encode()) <= last)


def free_ports(workers: int) -> list[int]:
    """Free ports, as far apart as those of workers are."""
    while True:
        ports = [free_port()]
        ports += [ports[0] + STEP * number for number in range(1, workers)]
        if all(map(is_free, ports)):
            return ports
