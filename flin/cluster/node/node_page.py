"""What a node answers over HTTP beside its figures: joining, leaving, and how the cluster is.

GET  /cluster/status    everything that is known, as JSON
POST /cluster/join      the cluster's secret is needed; joining.py says what is asked and answered
POST /cluster/leave     likewise; {"node": "node3"}: it gives away what it leads and has, then its vote. If that takes
                        longer, the answer says which groups are left: ask again
    POST /cluster/move      likewise; {"group": 3, "from": "node1", "to": "node4"}: a copy moves
    POST /cluster/cancel    likewise; {"group": 3}: its move is given up
    POST /cluster/replica   likewise; {"what": "freeze", "group": 3, …}: this node's replica is asked (comparing.py)
    POST /cluster/copy      likewise; {"what": "begin", "group": 3, …}: its files are given (checkpoint_giver.py)
    GET  /cluster/messages  likewise; a WebSocket on which another node sends what is published there (hub.py)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec

from flin.admin.source import BAD, BUSY, AskError, Source
from flin.cluster.etcd.etcd_maintenance import EtcdMaintenance
from flin.cluster.etcd.key_value import Delete, Get, KeyValueError, KeyValueStore, ModRevision, Put, Unavailable
from flin.cluster.joining import PATH, JoinAnswer, JoinError, decode_request
from flin.cluster.keys import AppliedValue, Keys, LeaseValue, NodeValue, ReplicasValue, group_of
from flin.cluster.log.log_keeper import Room
from flin.cluster.node.controller import Controller
from flin.cluster.node.moves import begun, cancelled
from flin.cluster.node.node_directory import NodeRecord
from flin.cluster.node.node_link import PATH as MESSAGES_PATH
from flin.cluster.node.own_etcd import NodeEtcd, OwnMembership
from flin.cluster.replica.checkpoint_transfer import COPY_PATH
from flin.cluster.slot_map import LEAVING, SlotMap, is_leaving, map_of
from flin.errors import CorruptionError
from flin.net.cluster.role import forming

if TYPE_CHECKING:
    from flin.admin.endpoints import Extension
    from flin.cluster.node.hub import Hub
    from flin.cluster.replica.checkpoint_giver import CheckpointGiver

PREFIX: Final = "/cluster/"
TIMEOUT_SECONDS: Final = 3.0
REPLICA_QUESTIONS: Final = ("freeze", "thaw", "digest")
LEAVE_SECONDS: Final = 20.0
"""For a node to give away what it leads and has, within one request."""

POLL_SECONDS: Final = 0.5

DAMAGED: Final = "Somebody has changed it in etcd: put it back as it was, or delete it if Flin has not put it"

P = ParamSpec("P")

MAX_ATTEMPTS: Final = 20
"""With pauses 10 s: etcd lets nobody go until it has seen the others for 5 s."""


class NodePage:
    def __init__(
        self,
        record: NodeRecord,
        etcd: NodeEtcd,
        store: KeyValueStore,
        keys: Keys,
        controller: Controller,
        membership: OwnMembership | None,
        room: Callable[[], Room],
        source: Callable[[int], Source],
        waiting: Callable[[], dict[int, str]],
        giver: CheckpointGiver,
        hub: Hub,
    ) -> None:
        """membership: None where etcd is not Flin's. waiting: what this node's replicas wait for that are starting."""
        self._record = record
        self._etcd = etcd
        self._store = store
        self._keys = keys
        self._controller = controller
        self._membership = membership
        self._room = room
        self._source = source
        self._waiting = waiting
        self._giver = giver
        self._hub = hub
        self._joining = asyncio.Lock()

    def extension(self, secret: bytes) -> Extension:
        from flin.admin.endpoints import Extension

        reading = {f"{PREFIX}status": _naming_damage(self.status)}
        acting = {
            PATH: _naming_damage(self.join),
            f"{PREFIX}leave": _naming_damage(self.leave),
            f"{PREFIX}move": _naming_damage(self.move),
            f"{PREFIX}cancel": _naming_damage(self.cancel),
            f"{PREFIX}replica": self.replica,
            COPY_PATH: self._giver.answer,
        }
        return Extension(PREFIX, secret, reading, acting, self.health, {MESSAGES_PATH: self._hub.receive})

    def health(self) -> str:
        """Whether what is written survives the loss of a node, as was seen last."""
        return forming(len(self._controller.map.members.voting))

    async def join(self, body: dict[str, Any]) -> Any:
        try:
            request = decode_request(body)
        except ValueError as error:
            raise AskError(str(error), BAD) from error
        record = self._record
        if self._membership is None or not request.peer_url:
            endpoints = tuple(self._etcd.store.channels.endpoints) if self._membership is None else ()
            return asdict(JoinAnswer(record.cluster, record.groups, record.replicas, endpoints=endpoints))
        async with self._joining:
            try:
                return asdict(await asyncio.to_thread(self._membership.admit, request))
            except JoinError as error:
                raise AskError(str(error), 503 if error.is_passing else BUSY) from error

    async def replica(self, body: dict[str, Any]) -> Any:
        group = body.pop("group", None)
        what = body.pop("what", None)
        if type(group) is not int or not 0 <= group < self._record.groups or what not in REPLICA_QUESTIONS:
            raise AskError(f"say what ({', '.join(REPLICA_QUESTIONS)}), and the number of a group", BAD)
        return await self._source(group).ask(what, body)

    async def leave(self, body: dict[str, Any]) -> Any:
        node = body.get("node")
        if not isinstance(node, str) or body.keys() != {"node"}:
            raise AskError('name the node: {"node": "node3"}', BAD)
        try:
            return await asyncio.to_thread(self._leave, node)
        except KeyValueError as error:
            raise AskError(f"it may not be done: ask again. {error}") from error

    def _leave(self, node: str) -> dict[str, Any]:
        """Each step may be done again. In a thread."""
        key = self._keys.node(node)
        found = self._map()
        if node not in found.nodes:
            names = " ".join(sorted(found.nodes))
            if self._membership is not None and self._membership.remove(node):  # it had begun to join
                return {"left": node, "nodes": sorted(found.nodes)}
            raise AskError(f"there is no node {node[:64]!r} in the cluster; there are {names}", BAD)
        others = [name for name in found.nodes if name != node]
        if not others:
            raise AskError("it is the only node: end it, and remove its directory", BUSY)
        if not is_leaving(value := found.nodes[node]):
            marked = replace(value, labels=(*value.labels, (LEAVING, "yes")))
            compare = [ModRevision(key, found.revisions[key])]
            if not self._store.txn(compare, [Put(key, marked.encode())], timeout=TIMEOUT_SECONDS).succeeded:
                raise AskError(f"{node} has just changed: ask again")
        if groups := self._not_given_away(node):
            return {"left": None, "groups": groups}
        if self._membership is not None:
            _again(partial(self._membership.remove, node))
        applied = [Delete(self._keys.applied(group, node)) for group in range(self._record.groups)]
        gone = [Delete(key), Delete(self._keys.alive(node)), *applied]
        _again(lambda: self._store.txn((), gone, timeout=TIMEOUT_SECONDS))
        return {"left": node, "nodes": sorted(others)}

    def _not_given_away(self, node: str) -> list[int]:
        """What a node that leaves still has, when there is nothing or the time is over."""
        deadline = time.monotonic() + LEAVE_SECONDS
        while True:
            found = self._map()
            led = [group for group, value in found.leaders.items() if value.node == node]
            held = [group for group, value in found.replicas.items() if node in value.hosts]
            if not (led or held) or time.monotonic() >= deadline:
                return sorted({*led, *held})
            time.sleep(POLL_SECONDS)

    async def move(self, body: dict[str, Any]) -> Any:
        group, giver, taker = (body.get(name) for name in ("group", "from", "to"))
        if type(group) is not int or not isinstance(giver, str) or not isinstance(taker, str):
            raise AskError('name a group and two nodes: {"group": 3, "from": "node1", "to": "node4"}', BAD)
        return await self._changed(partial(self._move, group, giver, taker))

    async def cancel(self, body: dict[str, Any]) -> Any:
        group = body.get("group")
        if type(group) is not int:
            raise AskError('name a group: {"group": 3}', BAD)
        return await self._changed(partial(self._cancel, group))

    async def _changed(self, change: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return await asyncio.to_thread(change)
        except ValueError as error:
            raise AskError(str(error), BUSY) from error
        except KeyValueError as error:
            raise AskError(f"it may not be done: ask again. {error}") from error

    def _move(self, group: int, giver: str, taker: str) -> dict[str, Any]:
        found = self._map()
        away = self._controller.away()
        able = [name for name, node in found.nodes.items() if name not in away and not is_leaving(node)]
        value = begun(found.replicas, group, giver, taker, able)
        self._put_replicas(found, group, value, self._keys.node(taker))
        return {"group": group, "from": giver, "to": taker}

    def _cancel(self, group: int) -> dict[str, Any]:
        found = self._map()
        value = cancelled(found.replicas, group)
        self._put_replicas(found, group, value)
        return {"group": group, "nodes": list(value.nodes)}

    def _map(self) -> SlotMap:
        pairs = self._store.get(*self._keys.map, timeout=TIMEOUT_SECONDS).pairs
        return map_of(self._keys, pairs, self._record.groups)

    def _put_replicas(self, found: SlotMap, group: int, value: ReplicasValue, *rests_on: bytes) -> None:
        """ValueError if it is not as it was found any more."""
        key = self._keys.replicas(group)
        compares = [ModRevision(each, found.revisions[each]) for each in (key, *rests_on)]
        if not self._store.txn(compares, [Put(key, value.encode())], timeout=TIMEOUT_SECONDS).succeeded:
            raise ValueError(f"group {group} has just changed: ask again")

    async def status(self) -> Any:
        try:
            return {**await asyncio.to_thread(self._status), "messages": self._hub.told()}
        except KeyValueError as error:
            raise AskError(f"etcd does not answer, so there may be no majority: {error}") from error

    def _status(self) -> dict[str, Any]:
        """As of one revision of etcd; in a thread."""
        keys = self._keys
        reads = (Get(*keys.map), Get(*keys.leases), Get(*keys.all_applied))
        mapped, leases, applied = self._store.txn((), reads, timeout=TIMEOUT_SECONDS).found
        found = map_of(keys, mapped.pairs, self._record.groups)
        away = self._controller.away()
        next_index = {group_of(pair.key): LeaseValue.of(pair).index for pair in leases.pairs}
        in_tables = {pair.key: AppliedValue.of(pair) for pair in applied.pairs}
        nothing = AppliedValue(0, "")
        return {
            "cluster": self._record.cluster,
            "asked": self._record.node,
            "is_controller": self._controller.is_acting,
            "voting": list(found.members.voting),
            "learning": list(found.members.learning),
            "room": self._room().told(),
            "nodes": {name: {**_told(value), "is_away": name in away} for name, value in sorted(found.nodes.items())},
            "groups": [
                {
                    "group": group,
                    "leader": found.leaders[group].node if group in found.leaders else None,
                    "epoch": found.leaders[group].epoch if group in found.leaders else 0,
                    "preferred": found.replicas[group].preferred if group in found.replicas else "",
                    "replicas": {
                        name: in_tables.get(keys.applied(group, name), nothing).index for name in found.holders(group)
                    },
                    "missing": [
                        name
                        for name in found.holders(group)
                        if not in_tables.get(keys.applied(group, name), nothing).start
                    ],
                    "index": next_index.get(group, 0),
                    "move": _told_of_move(found.replicas.get(group)),
                }
                for group in range(found.groups)
            ],
            "refused": {name: {"group": each.group, "why": each.why} for name, each in sorted(found.refused.items())},
            "waiting": {str(group): what for group, what in self._waiting().items()},
            "etcd": self._etcd_status(found.nodes),
        }

    def _etcd_status(self, nodes: Any) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        for name, value in sorted(nodes.items()):
            if not value.etcd:
                continue
            try:
                told.append({"node": name, **_of_etcd(self._etcd.maintenance, value)})
            except KeyValueError as error:
                told.append({"node": name, "error": str(error)})
        return told


def _naming_damage(act: Callable[P, Awaitable[Any]]) -> Callable[P, Awaitable[Any]]:
    """What is read of etcd may have been changed by somebody else."""

    async def answered(*asked: P.args, **named: P.kwargs) -> Any:
        try:
            return await act(*asked, **named)
        except CorruptionError as error:
            raise AskError(f"{error}. {DAMAGED}") from error

    return answered


def _again(act: Callable[[], object]) -> None:
    """Do what may be done twice until it is known that it is done: the member that is asked may be the one that goes;
    the next one is asked then."""
    for attempt in range(MAX_ATTEMPTS):
        try:
            act()
            return
        except Unavailable:
            if attempt == MAX_ATTEMPTS - 1:
                raise
        time.sleep(POLL_SECONDS)


def _told_of_move(value: ReplicasValue | None) -> dict[str, str] | None:
    if value is None or not value.is_moving:
        return None
    return {"from": value.going, "to": value.coming}


def _told(value: NodeValue) -> dict[str, Any]:
    return {
        "host": value.host,
        "ports": [port for _, port, _ in value.ports],
        "http": value.http,
        "version": value.version,
        "labels": dict(value.labels),
        "etcd": value.etcd,
    }


def _of_etcd(maintenance: EtcdMaintenance, value: NodeValue) -> dict[str, Any]:
    found = maintenance.status(value.etcd, TIMEOUT_SECONDS)
    return {
        "version": found.version,
        "leads": found.leader == found.member,
        "size_bytes": found.size_bytes,
        "used_bytes": found.used_bytes,
        "errors": list(found.errors),
    }
