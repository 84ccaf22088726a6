"""Three real nodes for programs, so that what is tested with several workers can be tested with them, too. What is
killed is the process that leads a group: another node takes over, and its supervisor starts it again as a follower."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from time import sleep
from typing import Any

import redis

from flin.testing.cluster.faults import Scene
from flin.testing.cluster.nodes import Nodes, key_of
from flin.testing.process import PATIENCE_SECONDS, kill, wait_until
from tests.programs.served_cluster import ServedCluster

GROUPS = 2
"""Fewer than by default: each is a process of every node."""

LOOK_SECONDS = 0.2
"""Between two looks, each of which costs the nodes some milliseconds."""

TRIES = 5

UPSET = "errorstat_CLUSTERDOWN", "errorstat_UNCERTAIN"

SOON = (
    f"import sys\nsys.path[:0] = {sys.path!r}\n"
    "from flin.cluster.replica import takeover\ntakeover.SETTLED_SECONDS = 1.0\n"
)
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
        self._asked = 0  # changes of leaders by what a test has done

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

    def steadily(self, step: Callable[[], None]) -> None:
        """Do this, with nothing stored. It may fail if the cluster was upset, as on a machine that does not get on:
        then clients send again what may be done already, and what blocks ends. So it is done again."""
        for left in reversed(range(TRIES)):
            before = self._upsets()
            try:
                self.empty()
                step()
                return
            except Exception:
                if not left or self._upsets() == before:
                    raise
            self._wait_until_settled()

    def _upsets(self) -> tuple[int, dict[int, int]]:
        """Changes of leaders that nobody has asked for; and how often each replica has said that nobody leads, or that
        it does not know what became of a write: its lease may lapse and be renewed."""
        said: dict[int, int] = {}
        for replica in self.nodes.replicas():
            with suppress(redis.RedisError), redis.Redis(*replica.place) as client:
                errors = client.info("errorstats")
                said[replica.port] = sum(errors[name]["count"] for name in UPSET if name in errors)
        return self._changes() - self._asked, said

    def _changes(self) -> int:
        """How often a group has got a leader."""
        told: list[dict[str, Any]] = []

        def ask() -> bool:
            with suppress(OSError):  # the page, or its etcd, has no turn
                told.append(self._status(0))
            return bool(told)

        wait_until(ask, "the first node's page says who leads")
        return sum(int(group["epoch"]) for group in told[0]["groups"])

    def empty(self) -> None:
        """For the next test."""
        for node in range(GROUPS):
            with self.client(node) as client:
                client.flushall()
                client.function_flush()

    def kill_and_revive(self, node: int) -> None:
        before = self._changes()
        super().kill_and_revive(node)
        self._asked += self._changes() - before

    def kill(self, node: int) -> None:
        kill(Scene(self.nodes, Random(node)).leader_pid(node))

    def revive(self, node: int) -> None:
        self._wait_until_settled()

    def _wait_until_settled(self) -> None:
        wait_until(lambda: self._is_settled(), "all leaders are where they should be")
        self.nodes.wait_until_whole()
        wait_until(self._is_clean, "what was written to see whether it can be is deleted")

    def _is_clean(self) -> bool:
        with suppress(redis.RedisError, IndexError):  # a group is not led at this moment
            for group in range(GROUPS):
                with self.client(group) as client:
                    client.delete(key_of(group, GROUPS))
            return True
        return False

    def _is_settled(self) -> bool:
        sleep(LOOK_SECONDS)
        with suppress(OSError):  # a page is not there yet
            told = [self._status(number) for number in range(len(self.nodes.machines))]
            known = {each.group: self.nodes.machine_of(each).name for each in self.nodes.replicas() if each.leads}
            return all(
                len(each["replicas"]) == len(told) and known.get(each["group"]) == each["leader"] == each["preferred"]
                for status in told
                for each in status["groups"]
            )
        return False

    def _status(self, number: int) -> dict[str, Any]:
        words = self.nodes.machines[number].words
        page = next(word for word in words if word.startswith("-http=")).partition("=")[2]
        with urllib.request.urlopen(f"http://{page}/cluster/status", timeout=PATIENCE_SECONDS) as answer:
            told: dict[str, Any] = json.load(answer)
        return told
