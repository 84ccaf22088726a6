"""`flin serve` with workers, in processes of its own, as an operator starts it."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flin.net.cluster.slots import slot_of
from flin.testing.process import PATIENCE_SECONDS, children, wait_until
from tests.program import Program


class Served:
    """A supervisor and its workers. `folder` is its working directory, and DIR is `folder/db`. code: what its process
    runs before it becomes one."""

    def __init__(self, folder: Path, *options: str, workers: int = 2, wait: bool = True, code: str = "") -> None:
        words = ["serve", "--port", "0", "--dir", "db", "--memory-limit", f"{32 * workers}mb"]
        run = f"{code}\nimport sys\nfrom flin.cli.main import main\nsys.exit(main(sys.argv[1:]))"
        flin = ["-c", run] if code else ["-m", "flin"]
        self.program = Program(folder, [*flin, *words, "--workers", str(workers), *options])
        self.start_line = ""
        self.ports: list[int] = []
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        self.start_line = self.program.found(r"(flin .* is ready on .*)\n")
        listed = self.start_line.partition(" port")[2].partition(":")[0]
        self.ports = [int(port) for port in re.findall(r" (\d+)", listed)]

    @property
    def pid(self) -> int:
        return self.program.pid

    def workers(self) -> dict[int, int]:
        """The pid of each worker that lives, by its number."""
        found = {}
        for pid in children(self.pid):
            words: list[bytes] = []
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended just now
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            name = next((word for word in words if word.startswith(b"flin serve, worker ")), b"")
            if name:
                found[int(name.rpartition(b" ")[2])] = pid
        return found

    def client(self, number: int = 0) -> redis.Redis:
        """It tries again at once, while redis-py's own retries wait for seconds in all."""
        return redis.Redis(
            port=self.ports[number],
            socket_timeout=PATIENCE_SECONDS,
            decode_responses=True,
            retry=Retry(NoBackoff(), 3),
        )

    def wait_until_logged(self, pattern: str, times: int = 1) -> None:
        wait_until(lambda: len(re.findall(pattern, self.program.printed())) >= times, pattern)

    def end(self, number: int = signal.SIGTERM) -> int:
        """The exit code after this signal."""
        return self.program.end(number)


Serve = Callable[..., Served]
"""The fixture of conftest.py."""


def refused(folder: Path, *options: str) -> tuple[int, str]:
    """The exit code and the output of a start that fails."""
    program = Program(folder, ["-m", "flin", "serve", *options])
    try:
        return program.wait_for_code(), program.printed()
    finally:
        program.kill()


def key_of(slots: Sequence[int], text: str = "key") -> str:
    """A key whose slot is in the range from the first to the last."""
    keys = (f"{text}{number}" for number in range(100_000))
    return next(key for key in keys if slots[0] <= slot_of(key.encode()) <= slots[-1])
