"""The supervisor of a node: a process for each group that it holds, as long as the cluster wants it to hold that.

It starts with the copies that count: first those that lead, or led last, and would be missed; then the others, to which
these leave the processors. Once all are ready, it adds those that are to be made (moves.py), and ends those
that are not wanted any more; their directories go after them (old_copies.py).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any, Final

from flin.cluster.etcd.key_value import KeyValueError
from flin.cluster.node.controller import Controller
from flin.cluster.node.hub import Hub
from flin.cluster.node.node_directory import NodeRecord, write_record
from flin.cluster.node.old_copies import OldCopies
from flin.cluster.node.own_etcd import NodeEtcd
from flin.cluster.node.succession import Succession
from flin.cluster.slot_map import SlotMap, leader_of
from flin.cluster.workers.assignment import ReplicaPlace
from flin.cluster.workers.fleet import ANEW, Ending, Fleet, Member, State
from flin.cluster.workers.lines import Lines
from flin.cluster.workers.ports import turn_away
from flin.cluster.workers.supervisor import Supervisor
from flin.errors import CorruptionError
from flin.net.cluster.board import Board
from flin.net.cluster.role import forming
from flin.net.run.directory_place import DirectoryPlace

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""Between two looks at what is to be held; a new copy takes longer than that to be made."""

START_BYTES: Final = 8
"""In the random name of a process: no two of a node's have the same."""


class NodeSupervisor(Supervisor):
    """One run. What the workers are told of etcd, and which of them there are, comes from the controller's map."""

    def __init__(
        self, *arguments: Any, record: NodeRecord, controller: Controller, etcd: NodeEtcd, secret: bytes,
        old_copies: OldCopies, succession: Succession, hub: Hub, remark: str = "",
    ) -> None:  # fmt: skip
        """arguments: of Supervisor. secret: the cluster's."""
        self._record = record
        self._controller = controller
        self._etcd = etcd
        self._secret = secret.decode()
        self._old_copies = old_copies
        self._succession = succession
        self._starts: dict[int, str] = {}
        self._removing: set[int] = set()
        self._ending = remark
        self._hub = hub
        super().__init__(*arguments)
        self._directory = DirectoryPlace(self._options.dir)
        self._lines = Lines(hub)
        self._board = Board(self._board_descriptor, record.groups + 1)
        self._fleet = Fleet([Member(State.ENDED) for _ in range(record.groups)])

    def is_placed(self) -> bool:
        """Whether it is known which groups this node holds. Where copies are missing it will be given some; else it
        may have none for now."""
        found = self._controller.map
        is_whole = len(found.replicas) == found.groups and all(
            len(value.nodes) >= found.wanted for value in found.replicas.values()
        )
        return bool(self._counting(found)) or (self._record.node in found.nodes and is_whole)

    def _counting(self, found: SlotMap) -> list[int]:
        """The groups whose copies here count."""
        return [group for group, value in found.replicas.items() if self._record.node in value.nodes]

    def _held(self, found: SlotMap) -> set[int]:
        """The groups that need a process here. One that leads, or has, is told by its followers that it does not."""
        node = self._record.node
        held = {group for group, value in found.replicas.items() if node in value.hosts}
        return held | {group for group in found.leaders if leader_of(found, group) == node}

    async def _run(self) -> int:
        """The hub ends before the page, which carries its links."""
        found = self._controller.map
        counting = self._counting(found)
        for group in counting:
            self._fleet.members[group].state = State.STARTING
        led = {group for group in counting if leader_of(found, group) == self._record.node}
        if led:
            self._fleet.later = {*counting} - led
        async with self._hub:
            looking = asyncio.ensure_future(self._look())
            try:
                return await super()._run()
            finally:
                looking.cancel()
                with suppress(asyncio.CancelledError):
                    await looking

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if problem := await asyncio.to_thread(self._directory.problem):
                logger.error("%s: this node ends, since nobody would find there what it writes", problem)
                self._manager.stopping()
                self._take(self._fleet.give_up(problem))
                return
            found = self._controller.map
            if found.cluster is not None and self._record.node not in found.nodes:
                logger.warning(
                    "%s has left the cluster, and ends; its directory is of no use any more", self._record.node
                )
                self._stop()
                return
            self._etcd.follow(found)
            own = self._record.node
            self._hub.follow({name: value.http for name, value in found.nodes.items() if name != own and value.http})
            self._note_endpoints(found)
            if found.cluster is not None and self._fleet.is_announced:
                await self._change_to(self._held(found))

    def _note_endpoints(self, found: SlotMap) -> None:
        """A node without a member asks at its next start where members were last."""
        endpoints = self._etcd.endpoints(found)
        if self._etcd.is_own and not self._etcd.has_member and endpoints != self._record.endpoints:
            self._record = replace(self._record, endpoints=endpoints)
            write_record(self._options.dir, self._record)

    async def _change_to(self, held: set[int]) -> None:
        """These groups are to have processes here, and no others."""
        for group in held - self._removing:
            self._take(self._fleet.add(group))
        for group, member in enumerate(self._fleet.members):
            if group not in held and member.state is not State.ENDED:
                self._take(self._fleet.remove(group))
                if group not in self._workers:  # it was to be started again: nobody waits for that any more
                    self._discard(group)
        idle = [group for group in self._old_copies.there() if group not in held and group not in self._workers]
        if idle and not self._removing:
            self._removing = {*idle}
            await self._remove(idle)
            self._removing = set()

    async def _remove(self, idle: Sequence[int]) -> None:
        try:
            await asyncio.to_thread(self._old_copies.remove, idle)
        except (KeyValueError, CorruptionError, OSError) as error:  # the next look tries again
            logger.warning("copies that are not needed any more are still there: %s", error)

    def _discard(self, number: int) -> None:
        super()._discard(number)
        turn_away(chain(self._sockets[number].plain, self._sockets[number].tls))

    def _note_end(self, number: int, ending: Ending) -> None:
        super()._note_end(number, ending)
        if ending.code not in (0, ANEW):  # such a one has given its place away, or lost it
            self._loop.run_in_executor(None, self._succession.pass_on, number, self._starts[number])

    def _place(self, number: int) -> ReplicaPlace:
        record, tls = self._record, self._options.cluster_tls
        start = self._starts[number] = secrets.token_hex(START_BYTES)
        endpoints = self._etcd.endpoints(self._controller.map)
        return ReplicaPlace(record.cluster, record.node, number, record.groups, start, endpoints, tls, self._secret)

    def _what(self) -> str:
        file = f", configuration {self._options.config_file}" if self._options.config_file else ""
        state = forming(len(self._controller.map.members.voting)) or "replicated"
        return f"node {self._record.node}, directory {self._options.dir}, {state}{file}{self._ending}"
