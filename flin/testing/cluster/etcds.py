"""Three members of an etcd that is there already, for nodes with `--etcd`: each node reaches them over a link of its
own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from flin.testing import process
from flin.testing.cluster.machine import ETCD_SECONDS, leads_etcd
from flin.testing.process import PATIENCE_SECONDS, wait_until

MEMBERS: Final = 3

UNTIL_PARENT_ENDS: Final = ("setpriv", "--pdeathsig", "KILL")
"""A tool of util-linux: the kernel ends the member when its parent's thread has ended, however that came."""


class Etcds:
    """From start() to kill()."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        """ports: two for each member, for clients and for peers."""
        found = shutil.which("etcd")
        if found is None:
            raise FileNotFoundError("etcd is not installed: apt install etcd-server")
        self._program = found
        self._folder = folder
        self._ports = [(ports[2 * number], ports[2 * number + 1]) for number in range(MEMBERS)]
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def targets(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", client) for client, _ in self._ports]

    def start(self) -> None:
        self._processes = [self._started(number) for number in range(MEMBERS)]
        wait_until(lambda: self.leader() is not None, "etcd has a leader")
        wait_until(lambda: all(map(self._is_healthy, range(MEMBERS))), "all members are healthy")

    def restart(self, number: int) -> None:
        self._processes[number] = self._started(number)

    def _started(self, number: int) -> subprocess.Popen[bytes]:
        client, peer = (f"http://127.0.0.1:{port}" for port in self._ports[number])
        everybody = ",".join(f"etcd{each}=http://127.0.0.1:{peer}" for each, (_, peer) in enumerate(self._ports))
        command = [
            *UNTIL_PARENT_ENDS, self._program, "--name", f"etcd{number}",
            "--data-dir", str(self._folder / f"etcd{number}"),
            "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", everybody, "--pre-vote",
            "--heartbeat-interval", "100", "--election-timeout", "1000", "--snapshot-count", "1000",
        ]  # fmt: skip
        with (self._folder / f"etcd{number}.log").open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def leader(self) -> int | None:
        urls = [f"http://{host}:{port}" for host, port in self.targets]
        return next((number for number, url in enumerate(urls) if leads_etcd(url)), None)

    def pid(self, number: int) -> int:
        return self._processes[number].pid

    def kill_member(self, number: int) -> None:
        self._processes[number].kill()
        self._processes[number].wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        for each in self._processes:
            process.kill(each.pid, signal.SIGCONT)
            each.kill()
            each.wait(PATIENCE_SECONDS)

    def _is_healthy(self, number: int) -> bool:
        host, port = self.targets[number]
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/health", timeout=ETCD_SECONDS) as answer:
                return b'"true"' in answer.read()
        except (OSError, urllib.error.URLError):
            return False
