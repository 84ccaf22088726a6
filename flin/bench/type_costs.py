"""Commands over collections: their cost beside that of SET and GET, and beside redis-server: `flin bench types`.

redis-benchmark sends one command at a time to collections of 100,000 elements, first without a pipeline, then in
pipelines of 16. A cost is the processor time of the server's own process for a request, so it says what a core can do
whatever else the machine does. Flin's flushes and merges run in helper processes: queues.py counts them. Rates are
redis-benchmark's. The servers take turns.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from flin.bench import served
from flin.bench.cli_client import encode, pour
from flin.bench.processes import own_cpu_seconds
from flin.bench.progress import Progress
from flin.bench.report import aligned
from flin.bench.server_process import ServerError, ServerProcess

RANDOM: Final = "__rand_int__"
"""Where redis-benchmark puts a random number of twelve digits, another one at each place."""

ALL_NEW: Final = 2_000_000_000
"""Numbers to draw from where no element should come twice."""

CONNECTIONS: Final = 50
PIPELINES: Final = (1, 16)

MOST_SECONDS: Final = 0.6
"""A row is measured for so long, and a slow one with fewer requests: so all of them, three rounds of two servers, take
about five minutes. The kernel counts processor time in hundredths of a second."""


@dataclass(frozen=True, slots=True)
class Row:
    command: str  # words, VALUE among them for a value
    base: str = "GET"  # the row that it is compared with
    most: float | None = None  # the goal: so many times the base's cost, in pipelines of 16
    least: float | None = 0.9  # the goal without a pipeline: this share of GET's ratio to Redis
    numbers: int = 0  # to draw from; 0: the elements
    name: str = ""
    after: str = ""  # the row that puts what this one takes

    @property
    def title(self) -> str:
        return self.name or self.command.split()[0]


ROWS: Final = (
    Row(f"SET key:{RANDOM} VALUE", "SET", least=None),
    Row(f"GET key:{RANDOM}", least=None),
    Row(f"INCR counter:{RANDOM}", "SET"),
    Row("LPUSH list VALUE", "SET", 1.2),
    Row("LRANGE list 0 9", least=0.6, name="LRANGE of ten"),
    Row("RPOP list", "SET", 1.2, after="LPUSH"),
    Row(f"HSET hash field:{RANDOM} VALUE", "SET", 2.0),
    Row(f"HGET hash field:{RANDOM}", "GET", 1.0),
    Row(f"HINCRBY counters field:{RANDOM} 1", "SET", 1.2),
    Row(f"SADD set member:{RANDOM}", "SET", 1.2),
    Row(f"SISMEMBER set member:{RANDOM}", "GET", 1.0),
    Row(f"SADD bag member:{RANDOM}", "SET", 1.2, numbers=ALL_NEW, name="SADD new"),
    Row("SPOP bag", "SET", after="SADD new"),
    Row(f"ZADD zset {RANDOM} member:{RANDOM}", "SET", 4.0, 0.6),
    Row(f"ZSCORE zset member:{RANDOM}", "GET", 1.0),
    Row(f"ZRANK zset member:{RANDOM}"),
    Row("ZRANGE zset 0 9", "GET", 4.0, 0.6, name="ZRANGE of ten"),
    Row(f"ZRANGEBYSCORE zset {RANDOM} +inf LIMIT 0 10", "GET", 4.0, 0.6, name="ZRANGEBYSCORE of ten"),
    Row(f"ZADD board {RANDOM} member:{RANDOM}", "SET", 4.0, 0.6, ALL_NEW, "ZADD new"),
    Row("ZPOPMIN board", "SET", least=0.6, after="ZADD new"),
    Row("XADD stream * field VALUE", "SET"),
    Row("XRANGE stream - + COUNT 10", least=0.6, name="XRANGE of ten"),
    Row("SETBIT bits 8388607 1", "SET", name="SETBIT in 1 MiB"),
    Row(f"PFADD visitors member:{RANDOM}", "SET"),
)
"""In this order, in one server each: pops take what pushes put."""

ROW_NAMES: Final = tuple(row.title for row in ROWS)


@dataclass(frozen=True, slots=True)
class Settings:
    servers: tuple[str, ...] = ("flin", "redis-server")
    rows: tuple[str, ...] = ROW_NAMES
    elements: int = 100_000
    requests: tuple[int, ...] = (20_000, 120_000)  # for each of PIPELINES, at most
    value_bytes: int = 100
    rounds: int = 3

    def chosen(self) -> list[Row]:
        """Those that others are compared with, or take from, are always among them."""
        wanted = {"SET", "GET", *self.rows, *(row.after for row in ROWS if row.title in self.rows)}
        return [row for row in ROWS if row.title in wanted]

    def steps(self) -> int:
        return len(self.chosen()) * len(PIPELINES) * self.rounds * len(self.servers)


QUICK: Final = Settings(elements=2000, requests=(2000, 10_000), rounds=1)


@dataclass(slots=True)
class Measured:
    """One row in one pipeline: by server, round by round."""

    costs: dict[str, list[float]] = field(default_factory=dict)  # microseconds of processor time for a request
    rates: dict[str, list[float]] = field(default_factory=dict)  # requests per second

    def add(self, server: str, microseconds: float, rate: float) -> None:
        self.costs.setdefault(server, []).append(microseconds)
        self.rates.setdefault(server, []).append(rate)

    def cost(self, server: str) -> float | None:
        return median(self.costs[server]) if server in self.costs else None

    def ratio(self) -> float | None:
        """Flin's rate divided by Redis's: the median of the rounds."""
        ours, theirs = self.rates.get("flin", []), self.rates.get("redis-server", [])
        return median(one / other for one, other in zip(ours, theirs, strict=True)) if ours and theirs else None


@dataclass(slots=True)
class Result:
    measured: dict[tuple[str, int], Measured] = field(default_factory=dict)  # by title and pipeline
    failures: list[str] = field(default_factory=list)

    def at(self, title: str, pipeline: int) -> Measured:
        return self.measured.setdefault((title, pipeline), Measured())

    def times_base(self, row: Row) -> float | None:
        """Its cost in pipelines of 16, divided by that of SET or GET."""
        own, base = self.at(row.title, 16).cost("flin"), self.at(row.base, 16).cost("flin")
        return own / base if own and base else None

    def share_of_get(self, row: Row) -> float | None:
        """Its ratio to Redis without a pipeline, divided by that of GET."""
        own, get = self.at(row.title, 1).ratio(), self.at("GET", 1).ratio()
        return own / get if own and get else None

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": [
                {"row": title, "pipeline": pipeline, "microseconds": one.costs, "requests_per_second": one.rates}
                for (title, pipeline), one in self.measured.items()
            ],
            "failures": self.failures,
        }


@contextmanager
def failures_noted(server: str, failures: list[str], progress: Progress) -> Iterator[None]:
    """A server that fails in the block is noted and told of, and the run goes on with the others."""
    try:
        yield
    except (ServerError, subprocess.SubprocessError) as error:
        failures.append(f"{server}: {error}")
        progress.say(failures[-1])


def run(settings: Settings, scratch: str, progress: Progress) -> Result:
    result = Result()
    for server in settings.servers * settings.rounds:
        with failures_noted(server, result.failures, progress):
            _run_server(server, settings, scratch, result, progress)
    return result


def _run_server(server: str, settings: Settings, scratch: str, result: Result, progress: Progress) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent,
        ServerProcess(server, str(Path(parent) / "data")) as process,
    ):
        pour(process.port, fill(settings.chosen(), settings.elements, settings.value_bytes))
        for row in settings.chosen():
            for pipeline, requests in zip(PIPELINES, settings.requests, strict=True):
                requests = _number(row, settings, process.port, pipeline, requests)
                before = own_cpu_seconds(process.pid)
                rate = served.parse(_send(row, settings, process.port, pipeline, requests)).rate
                microseconds = 1e6 * (own_cpu_seconds(process.pid) - before) / requests
                result.at(row.title, pipeline).add(server, microseconds, rate)
                progress.step(f"{row.title}, pipeline {pipeline}, {server}: {microseconds:.2f} µs")


def _number(row: Row, settings: Settings, port: int, pipeline: int, most: int) -> int:
    """How many requests to measure: a hundredth of them, which also warm up, tells how many take MOST_SECONDS."""
    least = most // 100
    if least < CONNECTIONS:
        return most
    rate = served.parse(_send(row, settings, port, pipeline, least)).rate
    return min(most, max(least, int(rate * MOST_SECONDS)))


_FILLS: Final = {
    "key": "SET key:NUMBER VALUE",
    "list": "RPUSH list VALUE",
    "hash": "HSET hash field:NUMBER VALUE",
    "counters": "HSET counters field:NUMBER 1",
    "set": "SADD set member:NUMBER",
    "zset": "ZADD zset NUMBER member:NUMBER",
    "stream": "XADD stream * field VALUE",
}
"""What makes the collection of each name, once for each number; a name that is not here begins empty."""


def fill(rows: list[Row], elements: int, value_bytes: int) -> Iterator[bytes]:
    """Requests that make the collections of the rows, with the names that redis-benchmark draws."""
    wanted = {row.command.split()[1].partition(":")[0] for row in rows}
    fills = [text.replace("VALUE", "x" * value_bytes).split() for name, text in _FILLS.items() if name in wanted]
    for number in range(elements):
        text = f"{number:012d}"
        for words in fills:
            yield encode(*(word.replace("NUMBER", text).encode() for word in words))


def _send(row: Row, settings: Settings, port: int, pipeline: int, requests: int) -> str:
    words = ["x" * settings.value_bytes if word == "VALUE" else word for word in row.command.split()]
    options = [
        *("-p", str(port), "-n", str(requests), "-c", str(CONNECTIONS), "-P", str(pipeline)),
        *("-r", str(row.numbers or settings.elements)),
    ]
    command = [served.PROGRAM, *options, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=served.PROGRAM_TIMEOUT_SECONDS, check=False)
    if done.returncode or "Error from server" in done.stdout + done.stderr:
        text = (done.stderr or done.stdout).strip()[-200:]
        raise ServerError(f"{served.PROGRAM} {row.command}: {text}")
    return done.stdout


def table(settings: Settings, result: Result) -> str:
    """A line for each row; costs in microseconds of processor time, ratios are Flin's rate divided by Redis's."""
    lines = [
        ["µs a request", "P1", "Redis", "ratio", "of GET's", "goal", "P16", "Redis", "ratio", "times base", "goal"],
    ]
    for row in settings.chosen():
        share, times = result.share_of_get(row), result.times_base(row)
        cells = [row.title]
        for pipeline, figure, goal in ((1, share, row.least), (16, times, row.most)):
            measured = result.at(row.title, pipeline)
            figures = [measured.cost("flin"), measured.cost("redis-server"), measured.ratio(), figure, goal]
            cells += ["-" if one is None else f"{one:.2f}" for one in figures]
        lines.append(cells)
    return aligned(lines)
