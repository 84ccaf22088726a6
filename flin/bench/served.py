"""Compares servers: `flin serve` and `redis-server` with its append-only file on, driven by redis-benchmark.

A scene is one way of asking (connections, pipeline, value size). Each scene runs in a fresh server with a fresh
directory, the servers taking turns; its tests run one after another, so that GET finds what SET wrote. The
latencies are redis-benchmark's own, of every single request (of a pipeline, from sending to its last reply).

Beside the rates stands the processor time of each server for a request, since where the load generator's core is busy
both servers wait for it, and their rates say little of them.
"""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from flin.bench import generator
from flin.bench.comparison import Comparison
from flin.bench.embedded import size_text
from flin.bench.processes import cpu_seconds, wait_until_quiet
from flin.bench.progress import Progress
from flin.bench.server_process import ServerError, ServerProcess
from flin.bench.target import Target, of_served

PROGRAM: Final = "redis-benchmark"
PROGRAM_TIMEOUT_SECONDS: Final = 600.0

REQUESTS_PER_KEY: Final = 10
"""redis-benchmark picks keys at random: after ten SETs per key, 0.005 % of the keys are missing."""


UNIQUE_KEYS: Final = 2_000_000_000
"""redis-benchmark takes a 32-bit number: of 150,000 keys out of this many, 0.004 % come twice."""

KEYS_PER_CONNECTION: Final = 1000
"""Keys per connection that GET reads in a scene with unique keys."""

LOADED_KEYS: Final = 100_000
"""Keys that are loaded before the tests of some scenes."""

COMMANDS: Final = {"mget": ["MGET", *["key:__rand_int__"] * 10]}
"""The words of tests that redis-benchmark does not know."""

WARM_UP_SHARE: Final = 20
"""A twentieth as many requests run before those that are measured."""

SETTLE_SECONDS: Final = 20.0
"""The most that is waited for what a load has left to be done: flushes and merges take a few seconds."""

SETTLED_LOOKS: Final = 6
"""A second and a half: Flin merges what is left once nothing was written for a second."""


@dataclass(frozen=True, slots=True)
class Scene:
    connections: int
    pipeline: int
    value_bytes: int
    tests: tuple[str, ...]
    requests: int
    title: str = ""
    unique: bool = False  # SETs of unique keys, and GETs of keys that were loaded before
    published: tuple[float, ...] = ()  # requests per second that others published, for each test
    is_loaded: bool = False  # the keys are there before the first test
    missing: float = 0.0  # the share of the keys asked for that are not
    reconnects: bool = False  # each request has a connection of its own
    target: Target | None = None  # None: what is usual for such tests

    def row_name(self, test: str) -> str:
        if self.title:
            return f"{self.title} {test.upper()}"
        pipeline = f" pipeline {self.pipeline}" if self.pipeline > 1 else ""
        one = "" if self.connections == 1 else "s"
        kind = f", {self.missing:.0%} missing" if self.missing else ", one request each" if self.reconnects else ""
        return f"{test.upper()} {self.connections} connection{one}{pipeline} {size_text(self.value_bytes)}{kind}"


SCENES: Final = {
    "plain": Scene(256, 1, 1024, ("set", "get"), 200_000),
    "pipelined": Scene(64, 16, 100, ("set", "get", "incr"), 1_000_000),
    "single": Scene(1, 1, 100, ("set", "get"), 20_000),
    "mset": Scene(256, 1, 100, ("mset",), 100_000),
    "mget": Scene(256, 1, 100, ("mget",), 100_000, is_loaded=True),
    "missing": Scene(64, 16, 100, ("get",), 1_000_000, is_loaded=True, missing=0.02, target=Target(0.8)),
    "reconnecting": Scene(50, 1, 100, ("set", "get"), 20_000, reconnects=True, target=Target(0.8)),
}
"""The rows of the full run, with requests for some seconds each."""

HEADLINE_SCENES: Final = (
    Scene(256, 1, 1024, ("set", "get"), 150_000, "256 connections, 1,024 B", True, (143_700, 205_100)),
    Scene(64, 1, 1024, ("set", "get"), 100_000, "64 connections, 1,024 B", True, (129_610, 283_510)),
    Scene(256, 1, 100, ("mset",), 40_000, "batches of 10, 256 connections", published=(79_200,)),
)
"""The workloads whose figures another engine published: 792,000 keys in batches of 10 are 79,200 requests."""

QUICK_SHARE: Final = 6
"""A quick run makes a sixth of the requests: half a second each."""


def quick(scene: Scene) -> Scene:
    return replace(scene, requests=scene.requests // QUICK_SHARE)


@dataclass(frozen=True, slots=True)
class Settings:
    servers: tuple[str, ...] = ("flin", "redis-server")
    scenes: tuple[Scene, ...] = tuple(SCENES.values())
    rounds: int = 3
    settle_seconds: float = SETTLE_SECONDS

    def steps(self) -> int:
        return sum(len(scene.tests) for scene in self.scenes) * self.rounds * len(self.servers)

    def seconds(self) -> float:
        """The expected time, at 60,000 requests per second, 600,000 with a pipeline and 10,000 of one connection."""
        rest = 3.5 if self.settle_seconds else 0.7  # the least waits are 0.75 s before and 1.5 s after
        each = [
            len(scene.tests)
            * (rest + scene.requests / (600_000 if scene.pipeline > 1 else min(60_000, 10_000 * scene.connections)))
            for scene in self.scenes
        ]
        return sum(each) * self.rounds * len(self.servers)


@dataclass(frozen=True, slots=True)
class Result:
    rate: float
    latencies: dict[str, float]  # milliseconds
    microseconds: float = 0.0  # processor time of the server for a request, its helpers included
    generator_share: float = 0.0  # of a core, that redis-benchmark took


def is_available() -> bool:
    return shutil.which(PROGRAM) is not None


def compare(settings: Settings, scratch: str, progress: Progress) -> list[Comparison]:
    return [
        comparison for scene in settings.scenes for comparison in _compare_scene(scene, settings, scratch, progress)
    ]


def _compare_scene(scene: Scene, settings: Settings, scratch: str, progress: Progress) -> list[Comparison]:
    rows = {
        test: Comparison(
            scene.row_name(test),
            "ms",
            scene.requests,
            target=None if scene.title else scene.target or of_served(test, scene.connections, scene.pipeline),
            published=scene.published[index] if scene.published else None,
        )
        for index, test in enumerate(scene.tests)
    }
    results: dict[tuple[str, str], list[Result]] = {}
    for _ in range(settings.rounds):
        for server in settings.servers:
            for test, result in _run_scene(scene, server, settings, scratch, rows, progress).items():
                rows[test].add(server, result.rate)
                rows[test].add_cost(server, result.microseconds, result.generator_share)
                results.setdefault((test, server), []).append(result)
    for (test, server), rounds in results.items():
        rows[test].latencies[server] = {
            name: median(result.latencies[name] for result in rounds) for name in rounds[0].latencies
        }
    return list(rows.values())


def _run_scene(
    scene: Scene, server: str, settings: Settings, scratch: str, rows: dict[str, Comparison], progress: Progress
) -> dict[str, Result]:
    """Run one server's turn; a failure is noted in every row that got no result."""
    results: dict[str, Result] = {}
    with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent:
        try:
            with ServerProcess(server, str(Path(parent) / "data")) as process:
                if scene.unique:
                    keys = scene.connections * KEYS_PER_CONNECTION
                    generator.fill(process.port, keys, scene.value_bytes, b"key:%012d")
                if scene.is_loaded:
                    generator.fill(process.port, LOADED_KEYS, scene.value_bytes, b"key:%012d")
                for test in scene.tests:
                    _run_program(scene, test, process.port, scene.requests // WARM_UP_SHARE)
                    results[test] = measure(scene, test, process.port, process.pid, settings.settle_seconds)
                    progress.step(f"{scene.row_name(test)} {server}: {results[test].rate:,.0f}/s")
        except (ServerError, subprocess.SubprocessError) as error:
            for test in scene.tests:
                if test not in results:
                    rows[test].failures.append(f"{server}: {error}")
                    progress.step(f"{scene.row_name(test)} {server}: failed: {error}")
    return results


def measure(scene: Scene, test: str, port: int, pid: int | None = None, settle_seconds: float = 0.0) -> Result:
    """Run redis-benchmark once. pid: the server's, whose processor time is measured, too. settle_seconds: the most to
    wait, before and after, until its processes are idle: so each load pays for what it leaves to be done (flushes,
    merges, a rewrite of the append-only file), and not the one that comes next."""
    if pid is not None:
        wait_until_quiet(pid, settle_seconds)
    used = 0.0 if pid is None else cpu_seconds(pid)
    before, began = _generator_seconds(), perf_counter()
    result = parse(_run_program(scene, test, port, scene.requests))
    share = (_generator_seconds() - before) / (perf_counter() - began)
    if pid is None:
        return replace(result, generator_share=share)
    wait_until_quiet(pid, settle_seconds, looks_wanted=SETTLED_LOOKS)
    return replace(result, microseconds=(cpu_seconds(pid) - used) / scene.requests * 1e6, generator_share=share)


def _generator_seconds() -> float:
    """Processor time of ended children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run_program(scene: Scene, test: str, port: int, requests: int) -> str:
    keys = max(1, scene.requests // REQUESTS_PER_KEY)
    if scene.unique:
        keys = scene.connections * KEYS_PER_CONNECTION if test == "get" else UNIQUE_KEYS
    if scene.is_loaded:
        keys = round(LOADED_KEYS / (1 - scene.missing))
    words = COMMANDS.get(test, [])
    options: dict[str, str | int] = {} if words else {"-t": test}
    options |= {
        "-p": port,
        "-n": max(1, requests),
        "-r": keys,
        "-c": scene.connections,
        "-P": scene.pipeline,
        "-d": scene.value_bytes,
        "-k": 0 if scene.reconnects else 1,
    }
    command = [PROGRAM, *(str(part) for option in options.items() for part in option), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_TIMEOUT_SECONDS, check=False)
    if done.returncode:
        raise ServerError(f"{PROGRAM} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}")
    return done.stdout


_RATE: Final = re.compile(r"throughput summary: ([\d.]+) requests per second")
_STEP: Final = re.compile(r"^([\d.]+)% <= ([\d.]+) milliseconds \(cumulative count \d+\)$", re.MULTILINE)
_SUMMARY: Final = re.compile(r"latency summary \(msec\):\s+avg\s+min\s+p50\s+p95\s+p99\s+max\s+([\d. ]+)")


def parse(output: str) -> Result:
    """Parse the output of redis-benchmark 7.0. p99.9 is the first step of its distribution at or above 99.9 %."""
    rate, summary = _RATE.search(output), _SUMMARY.search(output)
    if rate is None or summary is None:
        raise ServerError(f"{PROGRAM} printed no summary: {output.strip()[-200:]}")
    _average, _least, p50, _p95, p99, largest = map(float, summary[1].split())
    distribution = output.partition("Latency by percentile distribution")[2].partition("Cumulative")[0]
    beyond = [float(step[2]) for step in _STEP.finditer(distribution) if float(step[1]) >= 99.9]
    latencies = {"p50": p50, "p99": p99, "p99.9": beyond[0] if beyond else largest, "max": largest}
    return Result(float(rate[1]), latencies)
