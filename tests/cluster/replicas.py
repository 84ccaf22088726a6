"""Replicas of one group on one event loop, over the twin of etcd in memory. All else is real: directories, logs,
leases, servers on free ports, and their clients."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import redis.asyncio as redis

from flin.cluster.etcd.key_value import Put
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.keys import ClusterValue, Keys, LeaderValue, MembersValue, NodeValue, ReplicasValue
from flin.cluster.log.digest import digest
from flin.cluster.replica.checkpoint_transfer import Ask
from flin.cluster.replica.replica import Replica
from flin.cluster.replica.takeover import Role
from flin.cluster.workers.assignment import ReplicaPlace
from flin.engine.engine import store_of
from flin.net.serve.listeners import BoundSockets
from flin.net.settings.options import ServerOptions

GROUP = 0
PATIENCE = 120.0


class Member:
    """A node, with one replica at a time."""

    def __init__(self, group: Group, name: str) -> None:
        self.group, self.name = group, name
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.starts = 0
        self.replica: Replica
        self.running: asyncio.Task[int]
        self.etcd = group.values.client()
        self.client = redis.Redis(port=self.port, decode_responses=True)

    def start(self) -> None:
        self.starts += 1
        place = ReplicaPlace("test", self.name, GROUP, 1, f"{self.name}{self.starts}", ())
        options = ServerOptions(dir=str(self.group.folder / self.name), port=self.port, memory_limit=32 << 20)
        self.etcd = self.group.values.client()
        self.replica = Replica(options, place, self.etcd, BoundSockets((self.socket,)), ask=self.group.ask)
        self.running = asyncio.ensure_future(self.replica.run())

    @property
    def is_leading(self) -> bool:
        replica = self.replica
        return replica.place.role is Role.LEADING and bool(replica.group_log.epoch) and not self.running.done()

    def digest(self) -> str:
        return digest(store_of(self.replica.engine).freeze(), 0)


class Group:
    """Three members. `async with` ends them."""

    def __init__(self, folder: Path, names: str = "abc") -> None:
        self.folder = folder
        self.values = MemoryKeyValues()
        self.keys = Keys("test")
        self.store = self.values.client()
        self.ask: Ask | None = None
        self.members = [Member(self, name) for name in names]
        nodes = {
            name: NodeValue("127.0.0.1", ((GROUP, each.port, 0),), http=name)
            for name, each in zip(names, self.members, strict=True)
        }
        self.store.txn(
            (),
            (
                Put(self.keys.cluster, ClusterValue(1, len(names)).encode()),
                Put(self.keys.members, MembersValue(tuple(names)).encode()),
                Put(self.keys.replicas(GROUP), ReplicasValue(tuple(names)).encode()),
                *(Put(self.keys.node(name), value.encode()) for name, value in nodes.items()),
            ),
            timeout=1,
        )
        self._beating: asyncio.Task[None]

    async def __aenter__(self) -> Group:
        self._beating = asyncio.ensure_future(self._beat())
        for each in self.members:
            each.start()
        await self.leader()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._beating.cancel()
        for each in self.members:
            await each.client.aclose()
            if not each.running.done():
                each.replica.request_stop()
        for each in self.members:
            await asyncio.wait([each.running])
            each.socket.close()

    async def _beat(self) -> None:
        count = 0
        while True:
            count += 1
            for each in self.members:
                if not each.running.done():
                    put = Put(self.keys.alive(each.name), b'{"count":%d,"start":""}' % count)
                    self.store.txn((), (put,), timeout=1)
            await asyncio.sleep(1)

    def leader_value(self) -> LeaderValue:
        return LeaderValue.decode(self.store.get(self.keys.leader(GROUP), timeout=1).pairs[0].value)

    async def leader(self, but: Member | None = None) -> Member:
        """Who leads, and has a lease, once there is somebody; not that one."""
        while True:
            for each in self.members:
                if each is not but and each.running.done():
                    each.running.result()
                if each is not but and each.is_leading and each.replica.lease.is_held():
                    return each
            await asyncio.sleep(0.02)

    def prefer(self, member: Member) -> None:
        """The controller wants this one to lead."""
        names = tuple(each.name for each in self.members)
        self.store.txn((), (Put(self.keys.replicas(GROUP), ReplicasValue(names, member.name).encode()),), timeout=1)

    async def equal(self) -> None:
        """Wait until all replicas hold the same."""
        while True:
            replicas = [each.replica for each in self.members if not each.running.done()]
            if len({each.group_log.index for each in replicas}) == 1:
                break
            await asyncio.sleep(0.02)
        digests = {each.digest() for each in self.members if not each.running.done()}
        assert len(digests) == 1, digests


def run(scene: Any, folder: Path) -> None:
    """Run a coroutine function with a group."""

    async def whole() -> None:
        async with asyncio.timeout(PATIENCE), Group(folder) as group:
            await scene(group)

    asyncio.run(whole())
