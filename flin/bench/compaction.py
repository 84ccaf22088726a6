"""The latency of reads while compactions run: `flin bench compaction`.

A server is filled and its peak rate of GETs found; then GETs come at half of that rate: first alone, then while a
writer forces compactions, which the server's own INFO counts. Both latencies count from when a request was due
(generator.py), so a pause hurts as it would hurt an application.
"""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from flin.bench import comparison, generator, served
from flin.bench.comparison import OURS, Finding
from flin.bench.generator import Outcome, Task
from flin.bench.memory import MemorySampler, is_supported
from flin.bench.progress import Progress
from flin.bench.report import aligned
from flin.bench.server_process import ServerError, ServerProcess

COMPACTIONS: Final = 3
"""A run with fewer compactions says nothing about them."""

COMPACTIONS_FIGURE: Final = "engine_compaction_jobs"
FLUSHES_FIGURE: Final = "engine_flush_jobs"
"""Names of fields of INFO."""

PEAK_SECONDS: Final = 5.0
PEAK_REQUESTS: Final = 300_000
IDLE_SECONDS: Final = 3.0
"""The background is idle if no job ended in this time, which is longer than a job over the filled data takes."""

SETTLE_MAXIMUM_SECONDS: Final = 60.0

GENERATOR_SHARE: Final = 0.75
"""The share of the generator's own peak rate above which its own lateness shows in the tail."""

WRITER_SLACK_SECONDS: Final = 5.0
"""The writer runs this much longer than the reader, so that no read goes without it."""

STEPS: Final = 5

P99_RATIO: Final = 3.0
"""The highest p99 during compactions, as a multiple of the quiet one."""


@dataclass(frozen=True, slots=True)
class Settings:
    count: int = 50_000
    value_bytes: int = 1024
    memory_bytes: int = 128 << 20  # a generation of 16 MiB: full every three seconds at this rate of writes
    connections: int = 50
    write_rate: float = 5000.0
    quiet_seconds: float = 20.0
    busy_seconds: float = 60.0
    rate: float | None = None  # GETs per second; None: half of the peak

    def steps(self) -> int:
        return STEPS

    def seconds(self) -> float:
        """The expected time, with filling, waiting for jobs and finding the peak."""
        return 25 + self.quiet_seconds + self.busy_seconds + WRITER_SLACK_SECONDS


@dataclass(frozen=True, slots=True)
class Result:
    peak_rate: float
    peak_by: str
    rate: float
    quiet: Outcome
    busy: Outcome
    writer: Outcome
    compactions: int
    flushes: int
    peak_memory_bytes: int  # of the server and its helper; 0 if it cannot be measured

    @property
    def p99_ratio(self) -> float:
        return self.busy.latencies["p99"] / self.quiet.latencies["p99"]

    @property
    def enough(self) -> bool:
        return self.compactions >= COMPACTIONS and not self.busy.unanswered and not self.quiet.unanswered


def run(settings: Settings, scratch: str, progress: Progress) -> Result:
    with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent:
        options = ("--memory-limit", str(settings.memory_bytes))
        with ServerProcess("flin", str(Path(parent) / "data"), *options) as server:
            if not is_supported():
                return _measure(settings, server.port, progress)
            with MemorySampler(server.pid) as sampler:
                result = _measure(settings, server.port, progress)
            return replace(result, peak_memory_bytes=sampler.peak_bytes)


def _measure(settings: Settings, port: int, progress: Progress) -> Result:
    generator.fill(port, settings.count, settings.value_bytes)
    wait_until_idle(port)
    progress.step(f"filled with {settings.count:,} keys of {settings.value_bytes} B")
    own = generator.run(_task(settings, port, "closed", PEAK_SECONDS)).rate
    peak, by = (
        (_peak_of_redis_benchmark(settings, port), served.PROGRAM) if served.is_available() else (own, "generator")
    )
    rate = settings.rate or min(peak / 2, own * GENERATOR_SHARE)
    progress.step(f"peak {peak:,.0f} GET/s ({by}); the generator alone reaches {own:,.0f}; now {rate:,.0f}/s")
    quiet = generator.run(_task(settings, port, "open", settings.quiet_seconds, rate))
    progress.step(f"quiet: p99 {quiet.latencies['p99']:.2f} ms")
    before = _jobs(port)
    task = _task(settings, port, "write", settings.busy_seconds + WRITER_SLACK_SECONDS, settings.write_rate)
    writer = generator.start(task)
    try:
        busy = generator.run(_task(settings, port, "open", settings.busy_seconds, rate))
        after = _jobs(port)
        progress.step(f"beside the writer: p99 {busy.latencies['p99']:.2f} ms")
        written = generator.finish(writer, task.seconds + generator.DRAIN_SECONDS * 3)
    finally:
        if writer.poll() is None:
            writer.kill()
            writer.communicate()
    compactions, flushes = (after[name] - before[name] for name in (COMPACTIONS_FIGURE, FLUSHES_FIGURE))
    progress.step(f"{compactions} compactions, {flushes} flushes")
    return Result(peak, by, rate, quiet, busy, written, compactions, flushes, 0)


def wait_until_idle(port: int) -> None:
    """Wait until the jobs that the filling caused are done: they would disturb the quiet figures."""
    ends = monotonic() + SETTLE_MAXIMUM_SECONDS
    before: dict[str, int] = {}
    now = _jobs(port)
    while now != before and monotonic() < ends:
        sleep(IDLE_SECONDS)
        before, now = now, _jobs(port)


def _jobs(port: int) -> dict[str, int]:
    figures = counters(port)
    return {name: figures[name] for name in (COMPACTIONS_FIGURE, FLUSHES_FIGURE)}


def _task(settings: Settings, port: int, mode: str, seconds: float, rate: float = 0.0) -> Task:
    return Task(mode, port, seconds, settings.count, settings.value_bytes, settings.connections, rate)


def _peak_of_redis_benchmark(settings: Settings, port: int) -> float:
    """The peak that redis-benchmark finds. __rand_int__ has twelve digits; the keys have sixteen."""
    options = ["-p", str(port), "-n", str(PEAK_REQUESTS), "-c", str(settings.connections), "-r", str(settings.count)]
    command = [served.PROGRAM, *options, "GET", "0000__rand_int__"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=served.PROGRAM_TIMEOUT_SECONDS, check=True)
    return served.parse(done.stdout).rate


def counters(port: int) -> dict[str, int]:
    """The whole numbers that INFO reports."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"*2\r\n$4\r\nINFO\r\n$10\r\neverything\r\n")
        reader = connection.makefile("rb")
        size = int(reader.readline()[1:])
        text = reader.read(size).decode()
    return {name: int(number) for name, number in re.findall(r"^(\w+):(\d+)\r?$", text, re.MULTILINE)}


def table(result: Result) -> str:
    lines = [["GET latency from when it was due", "requests/s", "p50", "p99", "p99.9", "max", "generator late p99"]]
    for name, outcome in (("quiet", result.quiet), (f"during {result.compactions} compactions", result.busy)):
        latencies = [f"{outcome.latencies[key]:.2f} ms" for key in ("p50", "p99", "p99.9", "max")]
        lines.append([name, f"{outcome.rate:,.0f}", *latencies, f"{outcome.late['p99']:.2f} ms"])
    return "\n".join(
        [
            aligned(lines),
            f"peak {result.peak_rate:,.0f} GET/s ({result.peak_by}); {result.writer.rate:,.0f} SET/s beside the reads; "
            f"{result.flushes} flushes; p99 is {result.p99_ratio:.2f} of the quiet one; at most "
            f"{result.peak_memory_bytes / (1 << 20):.0f} MiB of private memory",
        ]
    )


def compare(settings: Settings, scratch: str, progress: Progress) -> list[comparison.Result]:
    """Measure it as a row of the whole run."""
    finding = Finding(f"GET at {'half of its peak' if settings.rate is None else f'{settings.rate:,.0f}/s'}")
    try:
        result = run(settings, scratch, progress)
    except (ServerError, generator.UnexpectedReplyError, subprocess.SubprocessError) as error:
        finding.failures.append(f"{OURS}: {error}")
        return [finding]
    quiet, busy = result.quiet.latencies, result.busy.latencies
    figures = {
        "GET/s": result.rate,
        "quiet p99, ms": quiet["p99"],
        "quiet p99.9, ms": quiet["p99.9"],
        "compactions beside it": result.compactions,
        "p99 during compactions, ms": busy["p99"],
        "p99.9 during compactions, ms": busy["p99.9"],
        "p99 over the quiet one": result.p99_ratio,
        "peak memory of all processes, MiB": result.peak_memory_bytes / (1 << 20),
        "requests without an answer": result.quiet.unanswered + result.busy.unanswered,
    }
    finding.add(OURS, figures)
    finding.at_most("p99 over the quiet one", P99_RATIO)
    finding.at_least("compactions beside it", COMPACTIONS)
    finding.at_most("requests without an answer", 0)
    return [finding]


def to_json(result: Result) -> dict[str, Any]:
    return {**asdict(result), "p99_ratio": result.p99_ratio}
