"""A node as a machine: `flin serve --node-id` and every process that it has started, which are killed, stopped and
started together, or one at a time."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Final

from flin.testing import process
from flin.testing.process import PATIENCE_SECONDS, HangError, wait_until

_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from flin.cli.lifeline import main; main(sys.argv[2], int(sys.argv[3]), sys.argv[4:])"
)
"""It ends with this process. With its search path, so that both run the same Flin."""

_READY: Final = re.compile(r"flin \S+ .*is ready on ")

ETCD_SECONDS: Final = 2.0
"""For an answer of an etcd on this machine."""

SLOW_SECONDS: Final = 30.0
"""For one that may wait for an election, on a busy machine."""


class Machine:
    """One node. `words` are those of `flin serve` but for --join; `prefix` is what its command begins with."""

    def __init__(
        self, folder: Path, name: str, words: Sequence[str], prefix: Sequence[str] = (), **environment: str
    ) -> None:
        self.name = name
        self.words = [*words]
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._prefix = prefix
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._printed = 0

    def start(self) -> None:
        if not self.is_running:  # it has ended by itself
            self._collect()
        boot = [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), str(self._folder / "none"), str(os.getpid())]
        with self.log.open("ab") as log:
            self._printed = log.tell()
            self._process = subprocess.Popen(
                [*self._prefix, *boot, "serve", "--config", "", *self.words],
                cwd=self._folder, env={**os.environ, **self._environment}, stdin=subprocess.PIPE, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    def wait_until_ready(self) -> None:
        wait_until(lambda: _READY.search(self.printed()) or not self.is_running, f"{self.name} is ready")
        if not self.is_running:
            raise HangError(f"{self.name} has ended:\n{self.printed()}")

    def printed(self) -> str:
        """What it has said since its last start."""
        return self.log.read_bytes()[self._printed :].decode(errors="replace")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def processes(self) -> list[int]:
        """All that live, its first one in front."""
        if self._process is None or not self.is_running:
            return []
        found = [self._process.pid]
        for pid in found:
            found += process.children(pid)
        return found

    def etcd(self) -> int | None:
        """The process of its etcd."""
        return next((pid for pid in self.processes() if _program(pid) == "etcd"), None)

    def kill(self) -> None:
        """kill -9 of all, as a machine that loses its power."""
        pids = self.processes()
        with process.stopped(pids):  # so nobody starts another meanwhile
            pids = [*dict.fromkeys([*pids, *self.processes()])]
            for pid in pids:
                process.kill(pid)
        self._collect()
        wait_until(lambda: not any(map(process.is_alive, pids)), f"the processes of {self.name} end")

    def terminate(self) -> None:
        """Tell it to end, and do not wait."""
        if self._process is not None and self.is_running:
            self._process.terminate()

    def end(self) -> int:
        """Tell it to end; the exit code."""
        self.terminate()
        return self.wait_until_ended()

    def wait_until_ended(self) -> int:
        """The exit code. What is left of it after that is killed."""
        pids = self.processes()
        assert self._process is not None
        try:
            return self._process.wait(PATIENCE_SECONDS)
        finally:
            for pid in pids:
                if process.is_alive(pid) and _program(pid) in ("etcd", Path(sys.executable).name):
                    process.kill(pid)
            self._collect()

    def _collect(self) -> None:
        if self._process is not None:
            self._process.wait(PATIENCE_SECONDS)
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process = None


def _program(pid: int) -> str:
    try:
        first = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return Path(os.fsdecode(first)).name


# What etcd's HTTP gateway is asked.


def leads_etcd(url: str) -> bool:
    """Whether the member of etcd at this address is the leader."""
    try:
        told = json.loads(_asked(f"{url}/v3/maintenance/status", {}))
    except OSError:
        return False
    return bool(told["leader"] == told["header"]["member_id"])


def etcd_put(url: str, key: str, value: bytes) -> str:
    """What is wrong; empty: nothing is."""
    try:
        _asked(f"{url}/v3/kv/put", {"key": _base64(key.encode()), "value": _base64(value)}, SLOW_SECONDS)
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError as error:
        return str(error)
    return ""


def etcd_delete(url: str, first: str, end: str) -> None:
    """Keys from the first one on, up to the end. OSError."""
    _asked(
        f"{url}/v3/kv/deleterange", {"key": _base64(first.encode()), "range_end": _base64(end.encode())}, SLOW_SECONDS
    )


def etcd_figures(urls: Sequence[str], name: str) -> list[float]:
    """One of its metrics, of each member; infinity: it does not answer."""
    return [_etcd_figure(url, name) for url in urls]


def _etcd_figure(url: str, name: str) -> float:
    try:
        text = _asked(f"{url}/metrics").decode()
    except OSError:
        return inf
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _asked(url: str, question: Mapping[str, str] | None = None, seconds: float = ETCD_SECONDS) -> bytes:
    body = None if question is None else json.dumps(question).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=seconds) as answer:
        told: bytes = answer.read()
        return told


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
