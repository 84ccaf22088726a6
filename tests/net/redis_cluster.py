"""A real Redis Cluster of two nodes for tests that compare with its first one: Flin takes this node's place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flin.bench.server_process import free_port
from flin.net.cluster.slots import SLOTS
from flin.net.cluster.topology import Node, Topology
from flin.testing.process import wait_until
from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis

HALF = SLOTS // 2


@contextmanager
def running_cluster(directory: Path) -> Iterator[Topology]:
    """Two nodes, each with half of the slots. Flin with this topology answers as the first one, MOVED's port too."""
    with ExitStack() as stack:
        clients: list[RawClient] = []
        nodes: list[Node] = []
        for number in range(2):
            own = directory / f"node-{number}"
            own.mkdir()
            bus_port = free_port()
            options = {"cluster-enabled": "yes", "cluster-port": str(bus_port), "cluster-node-timeout": "600000"}
            port = stack.enter_context(running_redis(own, **options))
            client = stack.enter_context(RawClient(port))
            first, last = number * HALF, number * HALF + HALF - 1
            client.call(b"CLUSTER", b"ADDSLOTSRANGE", b"%d" % first, b"%d" % last)
            client.call(b"CLUSTER", b"SET-CONFIG-EPOCH", b"%d" % (number + 1))
            if number:
                clients[0].call(b"CLUSTER", b"MEET", b"127.0.0.1", b"%d" % port, b"%d" % bus_port)
            clients.append(client)
            name = client.call(b"CLUSTER", b"MYID").payload.decode()
            nodes.append(Node(name, "127.0.0.1", port, first, last))
        wait_until(lambda: all(map(_is_up, clients)), "the cluster is up")
        yield Topology(tuple(nodes), 0)


def _is_up(client: RawClient) -> bool:
    found = client.call(b"CLUSTER", b"INFO").payload
    return b"cluster_state:ok" in found and b"cluster_known_nodes:2" in found
