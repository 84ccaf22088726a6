"""PUBLISH to nobody, to one subscriber, to many: its cost beside redis-server's: `flin bench pubsub`.

redis-benchmark publishes messages of 64 bytes over 50 connections, first without a pipeline, then in pipelines of 16; a
thread of this process reads what subscribers get. A cost is the processor time of the server's own process for each
message that somebody gets (for each publication, where nobody does), until the last one has arrived.
"""

from __future__ import annotations

import select
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self

from flin.bench import served
from flin.bench.cli_client import encode
from flin.bench.processes import own_cpu_seconds
from flin.bench.progress import Progress
from flin.bench.report import aligned
from flin.bench.server_process import ServerError, ServerProcess
from flin.bench.type_costs import CONNECTIONS, PIPELINES, failures_noted

VALUE: Final = b"x" * 64
MESSAGE_BYTES: Final = len(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$64\r\n\r\n") + len(VALUE)

PUBLICATIONS: Final = {0: 60_000, 1: 40_000, 100: 4_000, 1_000: 800}
"""By the number of subscribers; in pipelines twice as many. Some tenths of a second: the kernel counts processor time
in hundredths."""

GOAL: Final = (0.8, 1.2)
"""Flin's cost divided by Redis's."""

PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    servers: tuple[str, ...] = ("flin", "redis-server")
    subscribers: tuple[int, ...] = tuple(PUBLICATIONS)
    share: float = 1.0  # of PUBLICATIONS
    rounds: int = 3

    def steps(self) -> int:
        return len(self.subscribers) * len(PIPELINES) * self.rounds * len(self.servers)


QUICK: Final = Settings(subscribers=(0, 1, 100), share=0.05, rounds=1)


@dataclass(slots=True)
class Result:
    costs: dict[tuple[int, int, str], list[float]] = field(default_factory=dict)
    """Microseconds a message, round by round, by the number of subscribers, the pipeline and the server."""
    failures: list[str] = field(default_factory=list)

    def cost(self, subscribers: int, pipeline: int, server: str) -> float | None:
        found = self.costs.get((subscribers, pipeline, server))
        return median(found) if found else None

    def ratio(self, subscribers: int, pipeline: int) -> float | None:
        ours, theirs = (self.costs.get((subscribers, pipeline, server), []) for server in ("flin", "redis-server"))
        return median(one / other for one, other in zip(ours, theirs, strict=True)) if ours and theirs else None

    def to_json(self) -> dict[str, Any]:
        rows = [
            {"subscribers": subscribers, "pipeline": pipeline, "server": server, "microseconds": costs}
            for (subscribers, pipeline, server), costs in self.costs.items()
        ]
        return {"rows": rows, "failures": self.failures}


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
        for number in settings.subscribers:
            with Subscribers(process.port, number) as subscribers:
                for pipeline in PIPELINES:
                    publications = max(CONNECTIONS * pipeline, int(PUBLICATIONS[number] * settings.share))
                    publications *= 1 if pipeline == 1 else 2
                    _publish(process.port, publications // 10 or 1, pipeline, subscribers)  # warms up
                    before = own_cpu_seconds(process.pid)
                    _publish(process.port, publications, pipeline, subscribers)
                    seconds = own_cpu_seconds(process.pid) - before
                    microseconds = 1e6 * seconds / (publications * max(1, number))
                    result.costs.setdefault((number, pipeline, server), []).append(microseconds)
                    progress.step(f"{number} subscribers, pipeline {pipeline}, {server}: {microseconds:.2f} µs")


def _publish(port: int, publications: int, pipeline: int, subscribers: Subscribers) -> None:
    options = ["-p", str(port), "-n", str(publications), "-c", str(CONNECTIONS), "-P", str(pipeline)]
    command = [served.PROGRAM, *options, "PUBLISH", "c", VALUE.decode()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=served.PROGRAM_TIMEOUT_SECONDS, check=False)
    if done.returncode or "Error from server" in done.stdout + done.stderr:
        raise ServerError(f"{served.PROGRAM} PUBLISH: {(done.stderr or done.stdout).strip()[-200:]}")
    # It sends a few more than it was asked for, so that all connections send whole pipelines.
    subscribers.wait_for(publications)


class Subscribers:
    """So many clients that are subscribed to the channel c, and a thread that reads what they get."""

    def __init__(self, port: int, number: int) -> None:
        self._port = port
        self._number = number
        self._sockets: dict[int, socket.socket] = {}
        self._poll = select.epoll()
        self._thread = Thread(target=self._read, daemon=True)
        self._received = 0  # bytes, of all of them
        self._awaited = 0
        self._is_over = False

    def __enter__(self) -> Self:
        for _ in range(self._number):
            one = socket.create_connection(("127.0.0.1", self._port), PATIENCE_SECONDS)
            one.sendall(encode(b"SUBSCRIBE", b"c"))
            one.recv(100)
            self._sockets[one.fileno()] = one
            self._poll.register(one, select.EPOLLIN)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over = True
        self._thread.join()
        self._poll.close()
        for one in self._sockets.values():
            one.close()

    def wait_for(self, publications: int) -> None:
        """Wait until each has got so many messages since the last call. ServerError if they do not come."""
        self._awaited += publications * MESSAGE_BYTES * self._number
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._received < self._awaited:
            if time.monotonic() > deadline:
                raise ServerError("messages have not come")
            time.sleep(0.001)
        self._awaited = self._received

    def _read(self) -> None:
        while not self._is_over:
            for descriptor, _ in self._poll.poll(0.05):
                self._received += len(self._sockets[descriptor].recv(1 << 16))


def table(settings: Settings, result: Result) -> str:
    """A line for each number of subscribers; costs in microseconds, ratios are Flin's cost divided by Redis's."""
    lines = [["µs a message", *(word for pipeline in PIPELINES for word in (f"P{pipeline}", "Redis", "ratio"))]]
    for number in settings.subscribers:
        cells = [f"{number} subscribers"]
        for pipeline in PIPELINES:
            costs = [result.cost(number, pipeline, server) for server in ("flin", "redis-server")]
            cells += ["-" if one is None else f"{one:.2f}" for one in (*costs, result.ratio(number, pipeline))]
        lines.append(cells)
    low, high = GOAL
    return f"{aligned(lines)}\n\nThe goal of the ratios is {low} to {high}."
