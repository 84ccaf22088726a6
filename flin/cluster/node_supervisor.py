"""The supervisor of a node: a process for each group that it holds, as long as the cluster wants it to hold that."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from contextlib import suppress
from itertools import chain
from typing import Any, Final

from flin.cluster.assignment import ReplicaPlace
from flin.cluster.controller import Controller
from flin.cluster.fleet import Fleet, Member, State
from flin.cluster.lines import Lines
from flin.cluster.node_directory import NodeRecord
from flin.cluster.own_etcd import NodeEtcd
from flin.cluster.ports import turn_away
from flin.cluster.supervisor import Supervisor
from flin.net.cluster.role import forming

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""Between two looks at what is to be held; a new copy takes longer than that to be made."""

START_BYTES: Final = 8
"""In the random name of a process: no two of a node's have the same."""


class NoLines(Lines):
    """Replicas of different groups do not pass messages on to each other."""

    def add(self, number: int) -> socket.socket:
        own, theirs = socket.socketpair()
        own.close()
        return theirs


class NodeSupervisor(Supervisor):
    """One run. What the workers are told of etcd, and which of them there are, comes from the controller's map."""

    def __init__(
        self, *arguments: Any, record: NodeRecord, controller: Controller, etcd: NodeEtcd, secret: bytes,
        remark: str = "",
    ) -> None:  # fmt: skip
        """arguments: of Supervisor. secret: the cluster's."""
        self._record = record
        self._controller = controller
        self._etcd = etcd
        self._secret = secret.decode()
        self._ending = remark
        super().__init__(*arguments)
        self._lines = NoLines()
        self._fleet = Fleet([Member(State.ENDED) for _ in range(record.groups)])

    def held(self) -> list[int]:
        """The groups that this node is to hold, as was seen last."""
        found = self._controller.map
        return [group for group, value in found.replicas.items() if self._record.node in value.nodes]

    async def run(self) -> int:
        for group in self.held():
            self._fleet.members[group].state = State.STARTING
        looking = asyncio.ensure_future(self._look())
        try:
            return await super().run()
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            found = self._controller.map
            if found.cluster is not None and self._record.node not in found.nodes:
                logger.warning(
                    "%s has left the cluster, and ends; its directory is of no use any more", self._record.node
                )
                self._stop()
                return
            self._etcd.follow(found)
            for group in self.held():
                self._take(self._fleet.add(group))

    def _discard(self, number: int) -> None:
        super()._discard(number)
        turn_away(chain(self._sockets[number].plain, self._sockets[number].tls))

    def _place(self, number: int) -> ReplicaPlace:
        record, tls = self._record, self._options.cluster_tls
        start = secrets.token_hex(START_BYTES)
        endpoints = self._etcd.endpoints(self._controller.map)
        return ReplicaPlace(record.cluster, record.node, number, record.groups, start, endpoints, tls, self._secret)

    def _what(self) -> str:
        file = f", configuration {self._options.config_file}" if self._options.config_file else ""
        state = forming(len(self._controller.map.members.voting)) or "replicated"
        return f"node {self._record.node}, directory {self._options.dir}, {state}{file}{self._ending}"
