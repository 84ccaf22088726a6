"""A cluster for programs, of processes that are killed with -9 one at a time: `flin serve --workers N`, or, with
FLIN_PROGRAMS_SERVER=redis-server, as many redis-servers that form a Redis Cluster. What a test says holds for both.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from flin.bench.server_process import free_port, is_free
from flin.testing.process import PATIENCE_SECONDS, wait_until
from flin.testing.server import PORTS
from tests.source import ROOT
from tests.tool import needs_tool

SLOTS = 16384

PORT_STEP = 100
"""What lies between the ports of two workers."""

ASKED_FOR = frozenset({"MOVED", "NOSCRIPT", "evalsha"})
"""What clients ask for: a key is looked for at the wrong node, a script is sent by its digest first."""


def run_tasks(use: Coroutine[Any, Any, None]) -> None:
    """asyncio.run for redis-py's client of a cluster, which does not close its connections to a node that is killed:
    they are collected here, where that may pass, and not in whatever test comes later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            asyncio.run(use)
        finally:
            gc.collect()


class ServedCluster:
    """So many nodes, each with its share of the slots. `options` are flin's; a password is also redis-server's."""

    def __init__(
        self, folder: Path, nodes: int, *options: str, password: str | None = None, port: int | None = None
    ) -> None:
        """port: the first one's, if it is chosen already."""
        self.folder = folder
        self.password = password
        self.is_redis = os.environ.get("FLIN_PROGRAMS_SERVER") == "redis-server"
        self.ports = free_ports(nodes) if port is None else [port + PORT_STEP * node for node in range(nodes)]
        self.port = self.ports[0]
        self.url = f"redis://127.0.0.1:{self.port}"
        self.may_fail = set(ASKED_FOR)
        self._options = options if password is None else (*options, "--requirepass", password)
        self._processes: list[subprocess.Popen[bytes]] = []

    def slots(self, node: int) -> range:
        count = len(self.ports)
        return range(node * SLOTS // count, (node + 1) * SLOTS // count)

    def start(self) -> None:
        if self.is_redis:
            for node in range(len(self.ports)):
                self._processes.append(self._start_redis(node))
            self._join()
        else:
            words = ["--port", str(self.port), "--dir", "data", "--workers", str(len(self.ports)), *self._options]
            self._processes = [self._spawn([sys.executable, "-m", "flin", "serve", *words], r"is ready on ")]

    def _spawn(self, command: list[str], ready: str) -> subprocess.Popen[bytes]:
        """Start it, and wait until it has said this."""
        mark = len(self.printed())
        with self._log() as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        wait_until(
            lambda: re.search(ready, self.printed()[mark:]) or process.poll() is not None, "the server opens its port"
        )
        assert re.search(ready, self.printed()[mark:]), self.printed()
        return process

    def _start_redis(self, node: int) -> subprocess.Popen[bytes]:
        folder = self.folder / f"node-{node}"
        folder.mkdir(exist_ok=True)
        options: dict[str, object] = {
            "port": self.ports[node], "dir": folder, "save": "", "cluster-enabled": "yes",
            # With everysec it postpones even the write to its file while an fsync takes long: kill -9 loses answered
            # writes then.
            "appendonly": "yes", "appendfsync": "always",
            "cluster-require-full-coverage": "no",  # as in Flin, the others go on while one is away
            "cluster-port": free_port() if not (folder / "nodes.conf").exists() else self._bus_port(folder),
        }  # fmt: skip
        (folder / "bus").write_text(str(options["cluster-port"]))
        if self.password is not None:
            options |= {"requirepass": self.password}
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        return self._spawn([needs_tool("redis-server"), *words], r"Ready to accept connections")

    @staticmethod
    def _bus_port(folder: Path) -> str:
        return (folder / "bus").read_text()

    def _join(self) -> None:
        for node in range(len(self.ports)):
            slots = self.slots(node)
            with self.client(node) as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", slots.start, slots.stop - 1)
                if node:
                    bus = self._bus_port(self.folder / "node-0")
                    client.execute_command("CLUSTER MEET", "127.0.0.1", self.port, bus)
        for node in range(len(self.ports)):
            self._until_it_knows_all(node)

    def _until_it_knows_all(self, node: int) -> None:
        with self.client(node) as client:
            wait_until(lambda: knows_all(client, len(self.ports)), f"node {node} knows all nodes")

    def _log(self) -> IO[bytes]:
        return (self.folder / "server.log").open("ab")

    def printed(self) -> str:
        with suppress(FileNotFoundError):
            return (self.folder / "server.log").read_text()
        return ""

    def client(self, node: int = 0, **options: Any) -> Any:
        """A plain redis-py client of one node."""
        import redis

        return redis.Redis(port=self.ports[node], password=self.password, **options)

    def cluster_client(self, **options: Any) -> Any:
        """redis-py's client of the cluster, which knows one of its addresses."""
        import redis

        return redis.RedisCluster(host="127.0.0.1", port=self.port, **({"password": self.password} | options))

    def pid(self, node: int) -> int:
        with self.client(node) as client:
            return int(client.info("server")["process_id"])

    def kill(self, node: int) -> None:
        """kill -9 of one node. Flin's supervisor starts it again; a redis-server stays away till `revive`."""
        pid = self.pid(node)
        os.kill(pid, signal.SIGKILL)
        # A client that has lost its map of the slots begins MULTI at any node, and is sent elsewhere within it.
        self.may_fail |= {"EXECABORT", "exec"}
        if self.is_redis:
            self._processes[node].wait()
            self.may_fail |= {"LOADING", "CLUSTERDOWN"}  # for two seconds after it has started again

    def revive(self, node: int) -> None:
        """Until the killed node answers again."""
        if self.is_redis:
            self._processes[node] = self._start_redis(node)
            self._until_it_knows_all(node)
        with self.client(node) as client:
            wait_until(lambda: is_back(client), f"node {node} is back")

    def kill_and_revive(self, node: int) -> None:
        self.kill(node)
        self.revive(node)

    def stop(self) -> None:
        """End it, and look back: nothing went wrong in it, and nothing failed but what may."""
        try:
            failed = self.failures()
            for process in self._processes:
                process.terminate()
            codes = [process.wait(PATIENCE_SECONDS) for process in self._processes]
        finally:
            for process in self._processes:
                process.kill()
                process.wait()
        assert not any(codes), self.printed()
        assert "Traceback" not in self.printed(), self.printed()
        assert failed <= self.may_fail, failed - self.may_fail

    def failures(self) -> set[str]:
        """Since the last start of each node: the codes of errors, and the commands that ran and failed.

        Of the code ERR only the latter: clients ask for commands of later versions."""
        found: set[str] = set()
        for node in range(len(self.ports)):
            with self.client(node, decode_responses=True) as client:
                codes, counted = client.info("errorstats"), client.info("commandstats")
            found |= {code.removeprefix("errorstat_") for code in codes} - {"ERR"}
            found |= {name.removeprefix("cmdstat_") for name, counts in counted.items() if counts["failed_calls"]}
        return found


def knows_all(client: Any, nodes: int) -> bool:
    """Whether a redis-server has heard of all slots and all other nodes."""
    told = client.execute_command("CLUSTER INFO")
    return (told["cluster_state"], told["cluster_size"]) == ("ok", str(nodes))


def is_back(client: Any) -> bool:
    import redis

    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.BusyLoadingError):
        return False


def free_ports(nodes: int) -> list[int]:
    """The ports of the nodes, PORT_STEP apart as Flin's workers have them, all free."""
    last = PORTS[-1] - PORT_STEP * (nodes - 1)
    for port in random.sample(range(PORTS[0], last), 1000):
        ports = [port + PORT_STEP * node for node in range(nodes)]
        if all(map(is_free, ports)):
            return ports
    raise RuntimeError("no ports are free")
