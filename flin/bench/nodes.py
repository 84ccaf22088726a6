"""Three nodes beside one server that syncs each write: what replication costs: `flin bench nodes`.

The nodes are processes of this machine, each with an etcd of its own, with one group and with six; the server has
`--sync always`. redis-benchmark asks whoever leads, without a pipeline. A cost is the processor time of all processes
for a request: of Flin's and of etcd's, less what they take while nobody asks, since that goes on whatever is asked.

The rates are those of a machine that runs three nodes and the load generator at once, so they are no cluster's; costs
and how many requests share an entry of the log say more. docs/nodes.md has what follows from them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any, Final

from flin.bench import served
from flin.bench.processes import cpu_seconds, own_cpu_seconds
from flin.bench.progress import Progress
from flin.bench.report import aligned
from flin.bench.server_process import ServerError, ServerProcess
from flin.cluster.joining import JoinError, ask
from flin.testing.cluster.nodes import NODES, Nodes
from flin.testing.process import HangError, wait_until

LOCAL: Final = "one server"
TESTS: Final = ("set", "get")

SETTLE_SECONDS: Final = 0.5
"""After a load, until what it has caused is done: followers apply, etcd writes."""

SPREAD_SECONDS: Final = 60.0
"""Until each leader is where it should be: some ten seconds after the last node has come."""

WARM_UP_SHARE: Final = 10


@dataclass(frozen=True, slots=True)
class Settings:
    groups: tuple[int, ...] = (1, 6)
    connections: tuple[int, ...] = (64, 256)
    sets: int = 20_000
    gets: int = 60_000
    value_bytes: int = 100
    rest_seconds: float = 10.0
    """After the start, which goes on for some seconds when all are ready."""
    idle_seconds: float = 5.0
    """For so long what the processes take while nobody asks is measured, before all loads and after them: the lower
    one counts, since what a start or a flush takes is not idle."""
    rounds: int = 3

    def requests(self, test: str) -> int:
        return self.sets if test == "set" else self.gets

    def steps(self) -> int:
        return self.rounds * (1 + len(self.groups)) * len(self.connections) * len(TESTS)


QUICK: Final = Settings(sets=2_000, gets=10_000, rest_seconds=5.0, idle_seconds=2.0, rounds=1)


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds of processor time."""

    flin: float
    etcd: float

    def since(self, before: Used) -> Used:
        return Used(self.flin - before.flin, self.etcd - before.etcd)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one load has shown."""

    rate: float
    p50: float
    p99: float
    """Milliseconds."""
    flin: float
    etcd: float
    """Microseconds a request."""


@dataclass(slots=True)
class Result:
    measured: dict[tuple[str, int, str], list[Measured]] = field(default_factory=dict)
    """Round by round, by the test, the connections and who was asked."""
    idle: dict[str, list[Used]] = field(default_factory=dict)
    """In a second."""
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        rows = [
            {"test": test, "connections": connections, "asked": name,
             "rounds": [{"requests_per_second": each.rate, "p50_ms": each.p50, "p99_ms": each.p99,
                         "flin_microseconds": each.flin, "etcd_microseconds": each.etcd} for each in rounds]}
            for (test, connections, name), rounds in self.measured.items()
        ]  # fmt: skip
        idle = {
            name: [{"flin_seconds": each.flin, "etcd_seconds": each.etcd} for each in rounds]
            for name, rounds in self.idle.items()
        }
        return {"rows": rows, "idle_in_a_second": idle, "failures": self.failures}


class Asked:
    """One server, or three nodes."""

    def __init__(self, name: str, port: int, server: ServerProcess | None, nodes: Nodes | None) -> None:
        self.name = name
        self._port = port
        self._server = server
        self._nodes = nodes

    def used(self) -> Used:
        if self._server is not None:
            return Used(cpu_seconds(self._server.pid), 0.0)
        assert self._nodes is not None
        flin = etcd = 0.0
        for machine in self._nodes.machines:
            member = machine.etcd()
            for pid in machine.processes():
                if pid == member:
                    etcd += own_cpu_seconds(pid)
                else:
                    flin += own_cpu_seconds(pid)
        return Used(flin, etcd)

    def load(self, test: str, connections: int, requests: int, value_bytes: int) -> served.Result:
        options = {"-p": self._port, "-t": test, "-n": requests, "-c": connections, "-d": value_bytes,
                   "-r": max(1, requests // served.REQUESTS_PER_KEY)}  # fmt: skip
        command = [served.PROGRAM, *(str(word) for option in options.items() for word in option)]
        command += ["--cluster"] if self._nodes is not None and self._nodes.groups > 1 else []  # else it refuses
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=served.PROGRAM_TIMEOUT_SECONDS, check=False
        )
        if done.returncode:
            raise ServerError(f"{served.PROGRAM} ended with {done.returncode}: {(done.stderr or done.stdout)[-200:]}")
        return served.parse(done.stdout)


def missing() -> str:
    """What must be installed first; empty: nothing."""
    if shutil.which("etcd") is None:
        return "etcd is not installed (Debian: apt install etcd-server)"
    if find_spec("redis") is None:
        return "redis-py is not installed: pip install 'flin[bench]'"
    try:
        import_module("flin.cluster.etcd.etcd")
    except ModuleNotFoundError as error:
        return str(error)
    return "" if served.is_available() else f"{served.PROGRAM} is not installed (Debian: apt install redis-tools)"


def name_of(groups: int) -> str:
    return f"{NODES} nodes, {groups} group" + ("s" if groups > 1 else "")


def run(settings: Settings, scratch: str, progress: Progress) -> Result:
    result = Result()
    for _ in range(settings.rounds):
        for groups in (0, *settings.groups):
            name = name_of(groups) if groups else LOCAL
            with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent:
                try:
                    with _served(groups, Path(parent)) as asked:
                        _measure(asked, settings, result, progress)
                except (ServerError, HangError, subprocess.SubprocessError) as error:
                    result.failures.append(f"{name}: {error}")
                    progress.say(f"{name}: failed: {error}")
    return result


@contextmanager
def _served(groups: int, folder: Path) -> Iterator[Asked]:
    """groups: 0 for one server."""
    if not groups:
        with ServerProcess("flin", str(folder / "data"), "--sync", "always") as server:
            yield Asked(LOCAL, server.port, server, None)
        return
    nodes = Nodes(folder, groups)
    try:
        nodes.start()
        wait_until(lambda: _is_spread(nodes), "leaders are where they should be", SPREAD_SECONDS)
        leader = nodes.leader(0)
        if leader is None:
            raise HangError("nobody leads")
        yield Asked(name_of(groups), leader.port, None, nodes)
    finally:
        nodes.kill()


def status_of(nodes: Nodes) -> Any:
    """What the first node tells of the cluster. JoinError, OSError: it is busy, or away."""
    address = next(word.partition("=")[2] for word in nodes.machines[0].words if word.startswith("-http="))
    return json.loads(ask(address, "GET", "/cluster/status", b"", {}, None))


def _is_spread(nodes: Nodes) -> bool:
    try:
        groups = status_of(nodes)["groups"]
    except (JoinError, OSError):  # it is busy
        return False
    return all(each["leader"] == each["preferred"] for each in groups)


def _measure(asked: Asked, settings: Settings, result: Result, progress: Progress) -> None:
    sleep(settings.rest_seconds)
    idle = _idle(asked, settings)
    loads: list[tuple[str, int, served.Result, Used, float]] = []
    for connections in settings.connections:
        for test in TESTS:
            requests = settings.requests(test)
            asked.load(test, connections, requests // WARM_UP_SHARE, settings.value_bytes)
            sleep(SETTLE_SECONDS)
            before, began = asked.used(), monotonic()
            found = asked.load(test, connections, requests, settings.value_bytes)
            sleep(SETTLE_SECONDS)
            loads.append((test, connections, found, asked.used().since(before), monotonic() - began))
            progress.step(f"{test.upper()}, {connections} connections, {asked.name}: {found.rate:,.0f}/s")
    again = _idle(asked, settings)
    idle = Used(min(idle.flin, again.flin), min(idle.etcd, again.etcd))
    result.idle.setdefault(asked.name, []).append(idle)
    for test, connections, found, used, took in loads:
        each = 1e6 / settings.requests(test)
        costs = (used.flin - idle.flin * took) * each, (used.etcd - idle.etcd * took) * each
        measured = Measured(found.rate, found.latencies["p50"], found.latencies["p99"], *costs)
        result.measured.setdefault((test, connections, asked.name), []).append(measured)


def _idle(asked: Asked, settings: Settings) -> Used:
    """In a second."""
    before, began = asked.used(), monotonic()
    sleep(settings.idle_seconds)
    used, took = asked.used().since(before), monotonic() - began
    return Used(used.flin / took, used.etcd / took)


def table(result: Result) -> str:
    """Medians of the rounds. `of one server's` is the rate divided by that of the same round."""
    lines = [["", "asked", "requests/s", "of one server's", "p50 ms", "p99 ms", "µs of Flin", "µs of etcd"]]
    for (test, connections, name), rounds in sorted(
        result.measured.items(), key=lambda row: (TESTS.index(row[0][0]), row[0][1])
    ):
        alone = result.measured.get((test, connections, LOCAL), [])
        lines.append([f"{test.upper()}, {connections} connections", name, *_cells(rounds, alone)])
    idle = [["while nobody asks", "share of a core, Flin", "etcd"]]
    for name, seconds in result.idle.items():
        shares = median(each.flin for each in seconds), median(each.etcd for each in seconds)
        idle.append([name, *(f"{share:.1%}" for share in shares)])
    return f"{aligned(lines)}\n\n{aligned(idle)}"


def _cells(rounds: list[Measured], alone: list[Measured]) -> list[str]:
    ratios = [one.rate / other.rate for one, other in zip(rounds, alone, strict=False)]
    return [
        f"{median(each.rate for each in rounds):,.0f}",
        f"{median(ratios):.2f}" if ratios else "-",
        f"{median(each.p50 for each in rounds):.1f}",
        f"{median(each.p99 for each in rounds):.1f}",
        f"{median(each.flin for each in rounds):.1f}",
        f"{median(each.etcd for each in rounds):.1f}",
    ]
