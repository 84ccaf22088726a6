"""A server as a child process: `flin serve` or `redis-server`, on a free port of the loopback, in a given directory."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Final, Self

from flin.testing.server import PORTS

START_SECONDS: Final = 60.0
"""The time to start, recovery of a large WAL included."""

STOP_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.01

SERVERS: Final = ("flin", "redis-server")


class ServerError(Exception):
    """A server did not start or did not stop; the text names it and gives the end of its output."""


def is_installed(name: str) -> bool:
    return name == "flin" or shutil.which(name) is not None


def command_of(name: str, port: int, directory: str) -> list[str]:
    """The command of a server; both have a WAL that is synced once a second."""
    if name == "flin":
        return [
            sys.executable,
            "-m",
            "flin",
            "serve",
            "--config",
            "",
            "--port",
            str(port),
            "--dir",
            directory,
            "--sync",
            "interval",
        ]
    durable = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    return ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", directory, *durable]


def free_port() -> int:
    """Not one that the system gave: it would give that again, to whoever asks before the server has it."""
    while not is_free(port := SystemRandom().choice(PORTS)):
        pass
    return port


def is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


class ServerProcess:
    """Started on entry, ended on exit. Its output goes to a file next to its directory."""

    def __init__(
        self,
        name: str,
        directory: str,
        *options: str,
        port: int | None = None,
        other_ports: tuple[int, ...] = (),
        command: Callable[[str, int, str], list[str]] = command_of,
    ) -> None:
        self.name = name
        self._command = command
        self.directory = directory
        self.port = free_port() if port is None else port
        self._other_ports = other_ports  # it has started when these answer, too
        self.start_seconds = 0.0  # from the start of the process to its first answer
        self._options = options
        self._output = Path(f"{directory.rstrip('/')}.out")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        Path(self.directory).mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._command(self.name, self.port, self.directory), *self._options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        while not all(map(answers, (self.port, *self._other_ports))):
            if self._process.poll() is not None or time.monotonic() - started > START_SECONDS:
                self.kill()
                raise ServerError(f"{self.name} did not start: {self.printed()}")
            time.sleep(POLL_SECONDS)
        self.start_seconds = time.monotonic() - started

    def stop(self) -> int:
        """Ask it to end, and wait. Returns its exit code."""
        process = self._running()
        process.terminate()
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"{self.name} did not stop within {STOP_SECONDS:.0f} s: {self.printed()}") from None
        finally:
            self._process = None

    def kill(self) -> None:
        """Kill it with -9."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def printed(self) -> str:
        """The last lines of its output."""
        lines = self._output.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) or "it printed nothing"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            if error is None:
                self.stop()
            else:
                self.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError(f"{self.name} is not running")
        return self._process
