"""Nodes on this machine, found by what they tell their clients: who leads what, in which process."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, NamedTuple, cast

from flin.testing.cluster.etcds import MEMBERS, Etcds
from flin.testing.cluster.link import Links
from flin.testing.cluster.machine import Machine, leads_etcd
from flin.testing.cluster.network import Network
from flin.testing.cluster.small import SmallDisk
from flin.testing.cluster.wall_clock import WallClock
from flin.testing.process import PATIENCE_SECONDS, HangError, wait_until
from flin.testing.server import PORTS

NODES: Final = 3
GROUPS: Final = 6
SLOTS: Final = 16_384
PORT_STEP: Final = 100
"""Between the ports of a node's workers, and between etcd's ports for peers and for clients."""

NODE_STEP: Final = 10
"""Between two nodes' first ports: their others lie between."""

ETCD_PORTS: Final = range(3, 3 + 2 * MEMBERS)
"""Those of an etcd that is there already, after the first node's first ones. Chosen for itself, one in a hundred times
it would have one of theirs."""

FORMING_SECONDS: Final = 180.0
"""Three etcds and eighteen workers on two cores that others use too."""

LOOPBACK: Final = "127.0.0.1"

ASKING_SECONDS: Final = 2.0

until_told: Final = partial(wait_until, poll_seconds=0.05)
"""As `wait_until`, where each look asks nodes or etcd: that takes milliseconds of a processor, which they need
themselves while they start."""


class Replica(NamedTuple):
    """One replica of a group, as CLUSTER SLOTS tells it."""

    group: int
    port: int
    leads: bool
    host: str

    @property
    def place(self) -> tuple[str, int]:
        return self.host, self.port


class Nodes:
    """The cluster. `machines` can be killed and started again; `addresses` are for clients."""

    def __init__(
        self,
        folder: Path,
        groups: int = GROUPS,
        words: Iterable[str] = (),
        *,
        links: Links | None = None,
        network: Network | None = None,
        disk: SmallDisk | None = None,
        more: str = "",
        count: int = NODES,
    ) -> None:
        """links: they use an etcd that is there already, each by a link of its own. network: each is on one of its own.
        disk: the last one's directory. more: a program that each of their processes runs first. count: of nodes, at
        most ten."""
        self.folder = folder
        self.groups = groups
        self._copies = min(count, NODES)
        self.clocks = [WallClock(folder / f"clock{number + 1}", more) for number in range(count)]
        first = free_base(groups, count)
        self.etcds = None if links is None else Etcds(folder, [first + port for port in ETCD_PORTS])
        self.links = (
            [] if self.etcds is None or links is None else [links.add(self.etcds.targets) for _ in range(count)]
        )
        self.network = network
        self.disk = disk
        self.hosts = [LOOPBACK if network is None else network.host(number) for number in range(count)]
        self._base = [first + NODE_STEP * number for number in range(count)]
        self.addresses = [*zip(self.hosts, self._base, strict=True)]
        self.machines: list[Machine] = []
        for number, (host, base) in enumerate(self.addresses):
            http, raft = f"{host}:{base + 1}", f"{host}:{base + 2}"
            urls = ",".join(f"http://127.0.0.1:{port}" for port in self.links[number].ports) if self.links else ""
            etcd = f"-etcd={urls}" if urls else f"-raft={raft}"
            own = [
                f"-node-id=node{number + 1}", f"-http={http}", etcd, f"-port=:{base}",
                *([f"-groups={groups}"] if not number else [f"-join={self.hosts[0]}:{self._base[0] + 1}"]), *words,
                *([] if network is None else [f"-bind={host}", "-insecure-cluster=yes", "-protected-mode=no"]),
            ]  # fmt: skip
            prefix = () if network is None else network.prefix(number)
            self.machines.append(Machine(folder, f"node{number + 1}", own, prefix, **self.clocks[number].environment))

    @property
    def places(self) -> dict[int, list[tuple[str, int]]]:
        """By group: where its replicas are."""
        return {
            group: [(host, base + PORT_STEP * group) for host, base in self.addresses] for group in range(self.groups)
        }

    def start(self) -> None:
        """Until they form a cluster in which every group is led."""
        if self.etcds is not None:
            self.etcds.start()
        for machine in self.machines:  # those that join wait for the first one
            machine.start()
        for machine in self.machines:
            machine.wait_until_ready()
        until_told(lambda: self.voting() == len(self.machines), "all nodes vote", FORMING_SECONDS)
        self.wait_until_led()

    def voting(self) -> int:
        for place in self.addresses:
            with suppress(Exception):  # it is away, or does not know yet
                return int(_asked(place, "INFO", "replication")["cluster_nodes_voting"])
        return 0

    def replicas(self) -> list[Replica]:
        """As the first node that answers knows them; none if nobody does."""
        for place in self.addresses:
            with suppress(Exception):  # as above
                return list(_replicas(_asked(place, "CLUSTER SLOTS"), self.groups))
        return []

    def wait_until_led(self) -> None:
        """Until each group takes a write."""
        for group in range(self.groups):
            until_told(lambda group=group: self._takes(group), f"group {group} takes a write")  # type: ignore[misc]

    def wait_until_whole(self) -> None:
        """Until every group is led, and each of its other replicas answers."""
        for machine in self.machines:
            machine.wait_until_ready()
        until_told(lambda: self._is_whole(), "all replicas are there")
        self.wait_until_led()

    def _is_whole(self) -> bool:
        replicas = self.replicas()
        if len(replicas) < self._copies * self.groups:
            return False
        with suppress(Exception):  # one is away
            return all(_asked(each.place, "PING") for each in replicas)
        return False

    def _takes(self, group: int) -> bool:
        leader = self.leader(group)
        with suppress(Exception):  # it is away, or not yet the leader
            return leader is not None and bool(_asked(leader.place, "SET", key_of(group, self.groups), "written"))
        return False

    def leader(self, group: int) -> Replica | None:
        return next((each for each in self.replicas() if each.group == group and each.leads), None)

    def followers(self, group: int) -> list[Replica]:
        return [each for each in self.replicas() if each.group == group and not each.leads]

    def pid(self, replica: Replica) -> int:
        """The process of a replica."""
        return int(_asked(replica.place, "INFO", "server")["process_id"])

    def put(self, key: str, milliseconds: int) -> None:
        """A key that expires, by whoever leads its group."""
        group = group_of(slot_of(key), self.groups)
        leader = self.leader(group)
        assert leader is not None, f"group {group} is led"
        _asked(leader.place, "SET", key, "expires", "PX", str(milliseconds))

    def fail_over(self, replica: Replica) -> Any:
        """Ask it to lead."""
        return _asked(replica.place, "CLUSTER", "FAILOVER")

    def machine_of(self, replica: Replica) -> Machine:
        return self.machines[(replica.port - self._base[0]) % PORT_STEP // NODE_STEP]

    def etcd_leader(self) -> Machine | None:
        """The node whose etcd leads."""
        for machine, url in zip(self.machines, self.etcd_urls, strict=True):
            if leads_etcd(url):
                return machine
        return None

    @property
    def etcd_urls(self) -> list[str]:
        """Where each node's own etcd answers."""
        return [f"http://{host}:{base + 2 + PORT_STEP}" for host, base in self.addresses]

    def wait_until_equal(self, keys: Iterable[str]) -> None:
        """Until all replicas of each group have the same values for these keys. HangError, with what differs."""
        by_group: dict[int, list[str]] = {}
        for key in keys:
            by_group.setdefault(group_of(slot_of(key), self.groups), []).append(key)
        for group, own in by_group.items():
            deadline = monotonic() + PATIENCE_SECONDS
            while differing := self._differing(group, own):
                if monotonic() > deadline:
                    raise HangError(f"the replicas of group {group} differ: {differing}")
                sleep(ASKING_SECONDS / 10)

    def _differing(self, group: int, keys: list[str]) -> dict[str, list[str | None]]:
        """The keys whose values differ, with those of each replica; all, if one is away."""
        told: list[list[str | None]] = []
        with suppress(Exception):
            told = [_values(each.place, keys) for each in self.replicas() if each.group == group]
        columns = {key: [values[place] for values in told] for place, key in enumerate(keys)}
        return {key: values for key, values in columns.items() if len(values) < self._copies or len(set(values)) > 1}

    def stop(self) -> None:
        """End all; each must end well, if it runs."""
        codes = {machine.name: machine.end() for machine in self.machines if machine.is_running}
        assert not any(codes.values()), (codes, [machine.printed()[-4000:] for machine in self.machines])

    def kill(self) -> None:
        for machine in self.machines:
            machine.kill()
        if self.etcds is not None:
            self.etcds.kill()


def group_of(slot: int, groups: int) -> int:
    return next(group for group in range(groups) if slot < (group + 1) * SLOTS // groups)


def slot_of(key: str) -> int:
    import redis.crc

    return int(redis.crc.key_slot(key.encode()))


def key_of(group: int, groups: int) -> str:
    """A key that no load uses."""
    return next(key for key in map("probe:{}".format, range(1 << 20)) if group_of(slot_of(key), groups) == group)


def _asked(place: tuple[str, int], *words: str) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    with redis.Redis(*place, socket_timeout=ASKING_SECONDS, retry=Retry(NoBackoff(), 0), decode_responses=True) as it:
        return it.execute_command(*words)


def _values(place: tuple[str, int], keys: list[str]) -> list[str | None]:
    """As this replica has them, even if it follows."""
    import redis

    with (
        redis.Redis(*place, socket_timeout=ASKING_SECONDS, decode_responses=True) as client,
        client.pipeline(transaction=False) as asked,
    ):
        asked.execute_command("READONLY")
        for key in keys:
            asked.get(key)
        return cast("list[str | None]", asked.execute()[1:])


def _replicas(ranges: Any, groups: int) -> Iterator[Replica]:
    """From the reply of CLUSTER SLOTS: the first one of each range leads, if anybody does."""
    for first, _, *nodes in ranges:
        for place, (host, port, *_) in enumerate(nodes):
            yield Replica(group_of(int(first), groups), int(port), place == 0, host)


def free_base(groups: int, count: int) -> int:
    """The first node's port, where all that the nodes need is free: for workers, pages, their etcds and another."""
    own = [0, 1, 2, 2 + PORT_STEP, *range(PORT_STEP, PORT_STEP * groups, PORT_STEP)]
    needed = [*ETCD_PORTS, *(NODE_STEP * node + port for node in range(count) for port in own)]
    for base in random.sample(range(PORTS[0], PORTS[-1] - max(needed)), 500):
        if all(_is_free(base + port) for port in needed):
            return base
    raise RuntimeError("no ports are free")


def free_ports(count: int) -> list[int]:
    return list(islice(filter(_is_free, random.sample(PORTS, len(PORTS))), count))


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
