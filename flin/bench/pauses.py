"""Pauses of a server, and why: `flin bench pauses`.

Flin and redis-server get the same load, in turn: GETs and SETs at half of Flin's peak, at fixed moments, so that a
server that stands still is charged for every request that was due meanwhile (generator.py). First with so few SETs that
nothing runs in the background (quiet), then with so many that flushes and merges follow each other (busy). Redis gets
the same SETs, and once more while it rewrites its append-only file again and again, which is what it does instead.

Where `perf` may record, turns of the loop that take longer than LIMIT_MS are divided by cause (turns.py).
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from flin.bench import generator, trace
from flin.bench.cli_client import ask
from flin.bench.compaction import COMPACTIONS_FIGURE, FLUSHES_FIGURE, counters, wait_until_idle
from flin.bench.generator import Outcome, Task
from flin.bench.progress import Progress
from flin.bench.report import aligned
from flin.bench.server_process import ServerProcess
from flin.bench.turns import CORE, Pauses

LIMIT_MS: Final = 2.0
"""A longer turn is a pause: ten times a usual one with 50 connections."""

PEAK_SECONDS: Final = 4.0
REWRITE_SECONDS: Final = 0.5
"""From one look whether Redis's rewriting has ended to the next: then another one begins."""

QUIET: Final = "quiet"
BUSY: Final = "busy"
REWRITING: Final = "BGREWRITEAOF"
PHASES: Final = {"flin": (QUIET, BUSY), "redis-server": (QUIET, BUSY, REWRITING)}


@dataclass(frozen=True, slots=True)
class Settings:
    servers: tuple[str, ...] = ("flin", "redis-server")
    count: int = 50_000
    value_bytes: int = 1024
    memory_bytes: int = 64 << 20  # a generation of 8 MiB: full every three seconds at this rate of writes
    connections: int = 50
    write_share: float = 0.3
    quiet_share: float = 0.01  # of the requests; a generation takes minutes
    seconds: float = 15.0
    rounds: int = 2
    rate: float | None = None  # requests per second; None: half of the peak

    def phases(self) -> Iterator[tuple[str, str]]:
        """Server and phase: servers take turns within each kind of phase."""
        for phase in (QUIET, BUSY, REWRITING):
            yield from ((server, phase) for server in self.servers if phase in PHASES[server])

    def steps(self) -> int:
        return 1 + self.rounds * len(list(self.phases()))


@dataclass(slots=True)
class Phase:
    server: str
    name: str
    outcomes: list[Outcome] = field(default_factory=list)
    pauses: list[Pauses] = field(default_factory=list)  # none where they cannot be traced
    jobs: int = 0  # flushes and compactions that ended, of Flin

    def latency(self, name: str) -> float:
        """The median over the rounds, in milliseconds."""
        return median(outcome.latencies[name] for outcome in self.outcomes)


@dataclass(frozen=True, slots=True)
class Result:
    rate: float
    phases: list[Phase]

    @property
    def unanswered(self) -> int:
        return sum(outcome.unanswered for phase in self.phases for outcome in phase.outcomes)


def run(settings: Settings, scratch: str, progress: Progress) -> Result:
    with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent, ExitStack() as running:
        traced = trace.is_available(parent)
        servers = {}
        for name in settings.servers:
            options = ("--memory-limit", str(settings.memory_bytes)) if name == "flin" else ()
            servers[name] = running.enter_context(ServerProcess(name, str(Path(parent) / name), *options))
            generator.fill(servers[name].port, settings.count, settings.value_bytes)
        first = servers[settings.servers[0]]
        rate = settings.rate or _half_of_peak(settings, first.port)
        progress.step(f"{rate:,.0f} requests/s" + ("" if traced else f"; {trace.PROGRAM} may not record here"))
        phases = {key: Phase(*key) for key in settings.phases()}
        for _ in range(settings.rounds):
            for (name, kind), phase in phases.items():
                _measure(phase, settings, servers[name], rate, parent if traced else None)
                latencies = phase.outcomes[-1].latencies
                progress.step(f"{name} {kind}: p99 {latencies['p99']:.2f} ms, longest {latencies['max']:.1f}")
        return Result(rate, list(phases.values()))


def _half_of_peak(settings: Settings, port: int) -> float:
    """Half of what the server reaches with this load generator, which shares its cores."""
    task = Task("closed", port, PEAK_SECONDS, settings.count, settings.value_bytes, settings.connections)
    return generator.run(task).rate / 2


def _measure(phase: Phase, settings: Settings, server: ServerProcess, rate: float, scratch: str | None) -> None:
    ours = server.name == "flin"
    if ours:
        wait_until_idle(server.port)
    before = _jobs(server.port) if ours else 0
    share = settings.quiet_share if phase.name == QUIET else settings.write_share
    task = Task(
        "open",
        server.port,
        settings.seconds,
        settings.count,
        settings.value_bytes,
        settings.connections,
        rate,
        write_share=share,
    )
    with ExitStack() as around:
        if phase.name == REWRITING:
            around.enter_context(_rewriting(server.port))
        recorder = around.enter_context(trace.Recorder(server.pid, scratch)) if scratch is not None else None
        process = generator.start(task)
        phase.outcomes.append(generator.finish(process, settings.seconds + generator.DRAIN_SECONDS * 3))
    if recorder is not None:
        phase.pauses.append(recorder.pauses(LIMIT_MS, process.pid))
    phase.jobs += _jobs(server.port) - before if ours else 0


def _jobs(port: int) -> int:
    figures = counters(port)
    return figures[COMPACTIONS_FIGURE] + figures[FLUSHES_FIGURE]


@contextmanager
def _rewriting(port: int) -> Iterator[None]:
    """Let Redis rewrite its append-only file while the block runs, again whenever it has ended."""
    ended = threading.Event()

    def rewrite() -> None:
        while not ended.wait(REWRITE_SECONDS):
            if not counters(port)["aof_rewrite_in_progress"]:
                ask(port, "BGREWRITEAOF")

    thread = threading.Thread(target=rewrite, name="rewriting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def table(result: Result) -> str:
    lines = [["latency from when it was due, ms", "p50", "p99", "p99.9", "max", "p99 over quiet", "jobs"]]
    quiet = {phase.server: phase.latency("p99") for phase in result.phases if phase.name == QUIET}
    for phase in result.phases:
        ratio = phase.latency("p99") / quiet[phase.server] if phase.server in quiet else 1.0
        figures = [f"{phase.latency(name):.2f}" for name in ("p50", "p99", "p99.9", "max")]
        lines.append([f"{phase.server}, {phase.name}", *figures, f"{ratio:.1f}", str(phase.jobs or "-")])
    tables = [f"{result.rate:,.0f} requests/s", aligned(lines)]
    traced = [phase for phase in result.phases if phase.pauses]
    if traced:
        tables.append(_causes_table(traced))
    return "\n\n".join(tables)


def _causes_table(phases: list[Phase]) -> str:
    """Per phase, all rounds together: pauses, and their milliseconds by cause."""
    columns = [_sums(phase) for phase in phases]
    causes = sorted(
        {cause for column in columns for cause in column}, key=lambda cause: (cause.startswith(CORE), cause)
    )
    lines = [[f"turns of the loop over {LIMIT_MS:g} ms", *(f"{phase.server}, {phase.name}" for phase in phases)]]
    lines.append(["number", *(f"{sum(each.pauses for each in phase.pauses):,}" for phase in phases)])
    lines.append(["longest, ms", *(f"{max(each.longest_ms for each in phase.pauses):.1f}" for phase in phases)])
    lines += [[f"{cause}, ms", *(f"{column.get(cause, 0.0):,.1f}" for column in columns)] for cause in causes]
    return aligned(lines)


def _sums(phase: Phase) -> dict[str, float]:
    sums: dict[str, float] = {}
    for pauses in phase.pauses:
        for cause, milliseconds in pauses.milliseconds.items():
            sums[cause] = sums.get(cause, 0.0) + milliseconds
    return sums


def to_json(result: Result) -> dict[str, Any]:
    return asdict(result)
