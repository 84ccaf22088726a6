"""How many writes a second `flin import --follow` follows, and at what cost: a Redis is written to in pipelines, and
what counts is the time until all of it is in the target, a new directory or a running `flin serve`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter

from flin.bench import served
from flin.bench.comparison import OURS, Finding, Result
from flin.bench.processes import cpu_seconds
from flin.bench.progress import Progress
from flin.bench.server_process import ServerError, ServerProcess


@dataclass(frozen=True, slots=True)
class Settings:
    requests: int = 300_000
    rounds: int = 3

    def steps(self) -> int:
        return self.rounds * 2

    def seconds(self) -> float:
        return self.steps() * (4 + self.requests / 50_000)


def compare(settings: Settings, scratch: str, progress: Progress) -> list[Result]:
    finding = Finding(f"{settings.requests:,} SETs followed")
    for number in range(settings.steps()):
        with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent, ExitStack() as held:
            try:
                finding.add(OURS, _measured(settings.requests, parent, held, is_server=number % 2 == 1))
            except (OSError, ServerError, subprocess.SubprocessError) as error:
                finding.failures.append(str(error))
        progress.step(f"follow, round {number // 2 + 1}")
    return [finding]


def _measured(requests: int, parent: str, held: ExitStack, *, is_server: bool) -> dict[str, float]:
    old = held.enter_context(ServerProcess("redis-server", f"{parent}/old"))
    new = held.enter_context(ServerProcess(OURS, f"{parent}/new")) if is_server else None
    place = f"redis://127.0.0.1:{new.port}" if new else f"{parent}/new"
    command = [sys.executable, "-m", "flin", "import", f"redis://127.0.0.1:{old.port}", place, "--follow"]
    follower = held.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    held.callback(follower.kill)
    pids = [follower.pid, *([new.pid] if new else ())]
    _settle(old.port)
    used, began = sum(map(cpu_seconds, pids)), perf_counter()
    words = ["-p", old.port, "-n", requests, "-r", requests // 3, "-P", 16, "-d", 100, "-t", "set"]
    subprocess.run([served.PROGRAM, *map(str, words)], capture_output=True, check=True)
    _settle(old.port)
    seconds, used = perf_counter() - began, sum(map(cpu_seconds, pids)) - used
    figures = {"thousand/s": requests / seconds / 1000, "µs of processor time": used / requests * 1e6}
    return {f"into a {'server' if new else 'directory'}, {name}": figure for name, figure in figures.items()}


def _settle(port: int) -> None:
    """Until the follower says that it has all that was written before; at most a minute."""
    command = ["redis-cli", "-p", str(port)]
    told = subprocess.run(command, input=b"SET end 1\nWAIT 1 60000\n", capture_output=True, check=True).stdout
    if told.split() != [b"OK", b"1"]:
        raise ServerError(f"flin import does not follow: WAIT says {told!r}")
