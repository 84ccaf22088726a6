"""Reads of data three times as large as `memory_limit`, popular keys more often, compared with the same in memory.

Two servers hold the same keys, one with a memory limit of a third of the data's size, one of several times the size.
Round by round and in turn both answer pipelined GETs as fast as they can, then GETs at half of the slower one's rate.
Then the latencies of popular keys are reported by themselves: these keys must not wait for the others. For both, files
stay in the operating system's cache if it has room.
"""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flin.bench import generator
from flin.bench.compaction import wait_until_idle
from flin.bench.comparison import OURS, Finding, Result
from flin.bench.generator import Task
from flin.bench.memory import MemorySampler, is_supported
from flin.bench.progress import Progress
from flin.bench.server_process import ServerError, ServerProcess

TIMES_MEMORY: Final = 3
ROOM: Final = 12
"""The other server's memory limit is this many times the data's size: an eighth of it, the memtable, holds all data."""

CONNECTIONS: Final = 32
PIPELINE: Final = 16
"""Requests per pipeline: so the server's own work is measured, not the kernel's and the generator's."""

MIN_RATE: Final = 0.25
"""The least rate, as a share of the rate in memory."""

MOST_HOT_P99: Final = 3.0
"""The highest p99 of popular keys, as a multiple of the one in memory."""

BEYOND, WITHIN = "beyond memory", "in memory"


@dataclass(frozen=True, slots=True)
class Settings:
    memory_bytes: int = 32 << 20
    value_bytes: int = 1024
    seconds_each: float = 3.0
    rounds: int = 3

    @property
    def count(self) -> int:
        return TIMES_MEMORY * self.memory_bytes // self.value_bytes

    def steps(self) -> int:
        return 2 + 4 * self.rounds

    def seconds(self) -> float:
        return 8 + self.count * 1e-4 + 4 * self.rounds * (self.seconds_each + 0.7)


def compare(settings: Settings, scratch: str, progress: Progress) -> list[Result]:
    finding = Finding(f"{settings.count >> 10} MiB in {settings.memory_bytes >> 20} MiB, zipfian")
    with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent, ExitStack() as stack:
        servers = {}
        try:
            for name, memory in (
                (BEYOND, settings.memory_bytes),
                (WITHIN, ROOM * TIMES_MEMORY * settings.memory_bytes),
            ):
                directory = str(Path(parent) / name.replace(" ", "-"))
                servers[name] = stack.enter_context(ServerProcess("flin", directory, "--memory-limit", str(memory)))
            _measure(settings, servers, finding, progress)
        except (ServerError, generator.UnexpectedReplyError, subprocess.SubprocessError) as error:
            finding.failures.append(f"{OURS}: {error}")
    finding.at_least("GET rate over that in memory", MIN_RATE)
    finding.at_most("hot keys' p99 over that in memory", MOST_HOT_P99)
    return [finding]


def _measure(settings: Settings, servers: dict[str, ServerProcess], finding: Finding, progress: Progress) -> None:
    with ExitStack() as stack:
        sampler = stack.enter_context(MemorySampler(servers[BEYOND].pid)) if is_supported() else None
        for name, server in servers.items():
            generator.fill(server.port, settings.count, settings.value_bytes)
            wait_until_idle(server.port)
            progress.step(f"{finding.name}: filled, {name}")
        for number in range(settings.rounds):
            _round(settings, servers, finding, progress, number)
    if sampler:
        finding.add(OURS, {"peak memory beyond memory, MiB": sampler.peak_bytes / (1 << 20)})


def _round(
    settings: Settings, servers: dict[str, ServerProcess], finding: Finding, progress: Progress, number: int
) -> None:
    rates, hot = {}, {}
    for name, server in servers.items():
        rates[name] = generator.run(_task(settings, "closed", server.port, number, pipeline=PIPELINE)).rate
        progress.step(f"{finding.name}: {rates[name]:,.0f} GET/s {name}")
    for name, server in servers.items():
        # Without a pipeline a request costs several times as much: an eighth of the pipelined rate is about half.
        task = _task(settings, "open", server.port, number, rate=min(rates.values()) / 8)
        hot[name] = generator.run(task).hot["p99"]
        progress.step(f"{finding.name}: hot keys' p99 {hot[name]:.2f} ms {name}")
    figures = {
        "GET/s in memory": rates[WITHIN],
        "GET/s beyond memory": rates[BEYOND],
        "GET rate over that in memory": rates[BEYOND] / rates[WITHIN],
        "hot keys' p99 in memory, ms": hot[WITHIN],
        "hot keys' p99 beyond memory, ms": hot[BEYOND],
        "hot keys' p99 over that in memory": hot[BEYOND] / hot[WITHIN],
    }
    finding.add(OURS, figures)


def _task(settings: Settings, mode: str, port: int, seed: int, *, pipeline: int = 1, rate: float = 0.0) -> Task:
    return Task(
        mode,
        port,
        settings.seconds_each,
        settings.count,
        settings.value_bytes,
        CONNECTIONS,
        rate,
        seed,
        pipeline,
        zipfian=True,
    )
