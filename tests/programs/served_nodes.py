"""Three real nodes for programs, so that what is tested with several workers can be tested with them, too. What is
killed is the process that leads a group: another node takes over, and its supervisor starts it again as a follower."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from flin.testing.cluster.nodes import Nodes, key_of
from flin.testing.process import PATIENCE_SECONDS, kill, wait_until
from tests.programs.served_cluster import ServedCluster

GROUPS = 2
"""Fewer than by default: each is a process of every node."""

SOON = f"import sys\nsys.path[:0] = {sys.path!r}\nfrom flin.cluster import takeover\ntakeover.SETTLED_SECONDS = 1.0\n"
"""Leaders are where they should be again after a second, not ten. Each test waits for that: a handover closes clients'
connections, and ends what blocks, whenever it comes."""


class ServedNodes(ServedCluster):
    """`ports` are those of the leaders, by group."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.password = None
        self.is_redis = False
        self.may_fail = set()
        self.nodes = Nodes(folder, GROUPS, (), more=SOON)
        self.port = self.nodes.addresses[0][1]
        self.url = f"redis://127.0.0.1:{self.port}"

    @property
    def ports(self) -> list[int]:  # type: ignore[override]
        leaders = [self.nodes.leader(group) for group in range(GROUPS)]
        return [leader.port for leader in leaders if leader is not None]

    def start(self) -> None:
        self.nodes.start()
        self._wait_until_settled()

    def stop(self) -> None:
        self.nodes.stop()

    def cut(self) -> None:
        self.nodes.kill()

    def empty(self) -> None:
        """For the next test."""
        for node in range(GROUPS):
            with self.client(node) as client:
                client.flushall()
                client.function_flush()

    def kill(self, node: int) -> None:
        leader = self.nodes.leader(node)
        assert leader is not None
        kill(self.nodes.pid(leader))

    def revive(self, node: int) -> None:
        self._wait_until_settled()

    def _wait_until_settled(self) -> None:
        wait_until(lambda: self._is_settled(), "all leaders are where they should be")
        self.nodes.wait_until_whole()
        for group in range(GROUPS):  # what was written to see whether it can be
            with self.client(group) as client:
                client.delete(key_of(group, GROUPS))

    def _is_settled(self) -> bool:
        page = next(word for word in self.nodes.machines[0].words if word.startswith("-http=")).partition("=")[2]
        with urllib.request.urlopen(f"http://{page}/cluster/status", timeout=PATIENCE_SECONDS) as answer:
            told: dict[str, Any] = json.load(answer)
        known = {each.group: self.nodes.machine_of(each).name for each in self.nodes.replicas() if each.leads}
        groups = told["groups"]
        return all(
            len(each["replicas"]) == len(self.nodes.machines) and each["leader"] == each["preferred"] for each in groups
        ) and known == {each["group"]: each["leader"] for each in groups}
