"""Group commit in `always` mode on a disk where each sync takes 20 ms (slow_disk.py): how many writes share a sync, and
whether reads wait that need not.

256 connections send SETs, each waiting for its reply, while others send GETs of other keys at a fixed rate. A SET that
comes during a sync must wait for the next one, so a SET waits for two syncs at most.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flin.bench import generator, served
from flin.bench.comparison import OURS, Finding, Result
from flin.bench.generator import Outcome, Task
from flin.bench.progress import Progress
from flin.bench.server_process import ServerError, ServerProcess

SYNC_MS: Final = 20.0
CONNECTIONS: Final = 256
WAITING_SYNCS: Final = 2
VALUE_BYTES: Final = 100
KEYS: Final = 500
READERS: Final = 4
READ_RATE: Final = 500.0
"""GETs per second: few enough that neither they nor their generator cause the waits."""

STEPS_OF_ROUND: Final = 2

WRITES: Final = "SET/s"
ALL_WRITES: Final = CONNECTIONS / (WAITING_SYNCS * SYNC_MS / 1000)
ENOUGH_WRITES: Final = 0.9 * ALL_WRITES
"""A tenth is left for everything except the wait."""


@dataclass(frozen=True, slots=True)
class Settings:
    seconds_each: float = 4.0
    rounds: int = 3

    def steps(self) -> int:
        return self.rounds * STEPS_OF_ROUND

    def seconds(self) -> float:
        return self.rounds * (2 + 2.2 * self.seconds_each)


def compare(settings: Settings, scratch: str, progress: Progress) -> list[Result]:
    finding = Finding(f"always, syncs of {SYNC_MS:.0f} ms")
    for _ in range(settings.rounds):
        with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent:
            try:
                with ServerProcess("flin", str(Path(parent) / "data"), command=_command) as server:
                    _measure(settings, server.port, finding, progress)
            except (ServerError, generator.UnexpectedReplyError, subprocess.SubprocessError) as error:
                finding.failures.append(f"{OURS}: {error}")
    finding.at_least(WRITES, ENOUGH_WRITES)
    finding.at_most("GET p99 beside them, ms", SYNC_MS)
    return [finding]


def _command(_name: str, port: int, directory: str) -> list[str]:
    return [sys.executable, "-m", "flin.bench.slow_disk", str(SYNC_MS), directory, str(port)]


def _measure(settings: Settings, port: int, finding: Finding, progress: Progress) -> None:
    generator.fill(port, KEYS, VALUE_BYTES)
    quiet = generator.run(_reads(port, settings.seconds_each))
    progress.step(f"{finding.name}: quiet GET p99 {quiet.latencies['p99']:.2f} ms")
    scene = served.Scene(CONNECTIONS, 1, VALUE_BYTES, ("set",), int(ALL_WRITES * settings.seconds_each))
    reader = generator.start(_reads(port, settings.seconds_each))
    try:
        writes = served.measure(scene, "set", port)
        beside: Outcome = generator.finish(reader, settings.seconds_each + generator.DRAIN_SECONDS)
    finally:
        if reader.poll() is None:
            reader.kill()
            reader.communicate()
    if writes.latencies["p50"] < SYNC_MS:
        raise ServerError(f"a SET took {writes.latencies['p50']:.1f} ms: it did not wait for the disk")
    progress.step(f"{finding.name}: {writes.rate:,.0f} SET/s")
    figures = {
        WRITES: writes.rate,
        "SETs that share a sync": writes.rate * SYNC_MS / 1000,
        "SET p50, ms": writes.latencies["p50"],
        "SET p99, ms": writes.latencies["p99"],
        "GET p99 quiet, ms": quiet.latencies["p99"],
        "GET p50 beside them, ms": beside.latencies["p50"],
        "GET p99 beside them, ms": beside.latencies["p99"],
    }
    finding.add(OURS, figures)


def _reads(port: int, seconds: float) -> Task:
    return Task("open", port, seconds, KEYS, VALUE_BYTES, READERS, READ_RATE)
