"""A server process for programs: on one port, killed with -9 and started again at will; its data stays.

FLIN_PROGRAMS_SERVER=redis-server runs the same tests against Redis, with its append-only file on.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from flin.bench.server_process import free_port
from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.source import ROOT
from tests.tool import needs_tool

ASKED_FOR = frozenset({"evalsha"})
"""Commands whose errors programs ask for: a script is sent by its digest first."""


class Served:
    """`flin serve` of one directory, again and again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.is_redis = os.environ.get("FLIN_PROGRAMS_SERVER") == "redis-server"
        self.may_fail = set(ASKED_FOR)
        self._options = options
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        with self._log.open("ab") as log:
            mark = log.tell()
            self._process = subprocess.Popen(
                self._command(), cwd=self.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
            )
        ready = re.compile(r"is ready on |Ready to accept connections")
        wait_until(
            lambda: ready.search(self.printed(mark)) or self._process.poll() is not None, "the server opens its port"
        )
        assert ready.search(self.printed(mark)), self.printed(mark)

    def _command(self) -> list[str]:
        if self.is_redis:
            words = ["--port", str(self.port), "--appendonly", "yes", "--save", "", "--dir", str(self.folder)]
            return [needs_tool("redis-server"), *words]
        return [sys.executable, "-m", "flin", "serve", "--port", str(self.port), "--dir", "data", *self._options]

    def printed(self, since: int = 0) -> str:
        return self._log.read_bytes()[since:].decode()

    def client(self, **options: Any) -> Any:
        """A redis-py client of it."""
        import redis

        return redis.Redis(port=self.port, **options)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def kill_and_start(self) -> None:
        """kill -9, and a new process with the same data on the same port."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End it, and look back: nothing went wrong in it, and no command failed but those that may."""
        try:
            failed = self.failed_commands()
            self._process.terminate()
            code = self._process.wait(PATIENCE_SECONDS)
        finally:
            self.kill()
        assert code == 0, self.printed()
        assert "Traceback" not in self.printed(), self.printed()
        assert failed <= self.may_fail, failed - self.may_fail

    def failed_commands(self) -> set[str]:
        """The commands that were answered by an error since the last start."""
        with self.client(decode_responses=True) as client:
            counted = client.info("commandstats")
        return {
            name.removeprefix("cmdstat_")
            for name, counts in counted.items()
            if counts["rejected_calls"] or counts["failed_calls"]
        }
