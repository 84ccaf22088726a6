"""PUBLISH on the nodes of a real Redis Cluster, and on as many workers: who gets what, and what is answered."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Final

from flin.net.cluster.slots import slot_of
from tests.net.linked_servers import LinkedServers
from tests.net.raw_client import RawClient
from tests.net.redis_cluster import HALF, running_cluster

NODES: Final = range(2)
CHANNELS: Final = (b"a", b"b", b"news.x", b"")
PATTERNS: Final = (b"*", b"a*", b"news.*", b"__key*", b"[ab]")
END: Final = b"end"
KEYS: Final = [
    next(b"%d" % n for n in range(99) if (slot_of(b"%d" % n) < HALF) == is_first) for is_first in (True, False)
]
"""One of each node. It is a sharded channel, too."""

Request = list[bytes]


class Plan:
    """Listeners, each with its node, protocol and subscriptions, and requests, each with its node."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.listeners = [(node, protocol, self.subscriptions(node)) for node in NODES for protocol in (b"2", b"3")]
        self.requests = [self.request(number) for number in range(150)]

    def subscriptions(self, node: int) -> list[Request]:
        return [
            [b"SUBSCRIBE", END, *self.random.sample(CHANNELS, 2)],
            [b"PSUBSCRIBE", self.random.choice(PATTERNS)],
            [b"SSUBSCRIBE", KEYS[node]],
        ]

    def request(self, number: int) -> tuple[int, list[Request]]:
        node = self.random.randrange(len(NODES))
        message = [self.random.choice(CHANNELS), b"%d-%d" % (node, number)]
        publish = [b"PUBLISH", *message]
        script = [b"EVAL", b"return redis.call('publish', ARGV[1], ARGV[2])", b"0", *message]
        return node, self.random.choice(
            [
                [publish],
                [[b"PUBLISH", message[0], b"%d-%d-%02d" % (node, number, each)] for each in range(16)],
                [[b"MULTI"], publish, [b"SET", KEYS[node], b"x"], publish, [b"EXEC"]],
                [[b"MULTI"], publish, [b"DISCARD"]],
                [script, publish],
                [[b"SET", KEYS[node], b"y"], [b"SPUBLISH", KEYS[node], message[1]]],
                [[b"PUBSUB", b"NUMSUB", *CHANNELS], [b"PUBSUB", b"NUMPAT"]],
                [[b"SPUBLISH", KEYS[1 - node], b"elsewhere"]],
            ]
        )


def run(ports: list[int], plan: Plan) -> tuple[list[bytes], list[list[bytes]], list[list[list[bytes]]]]:
    """The replies; what each listener got, in any order; and what it got of each node's publications, in order."""
    clients = [RawClient(port) for port in ports]
    listeners = [(node, RawClient(ports[node]), protocol, subscribed) for node, protocol, subscribed in plan.listeners]
    try:
        for client in clients:
            client.call(b"CONFIG", b"SET", b"notify-keyspace-events", b"KEA")
        for _, listener, protocol, subscribed in listeners:
            listener.call(b"HELLO", protocol)
            for request in subscribed:
                listener.send([request])
                for _ in request[1:]:
                    listener.read()
        replies: list[bytes] = []
        for node, requests in plan.requests:
            clients[node].send(requests)
            replies += [re.sub(rb":\d{4,5}\r", b":PORT\r", clients[node].read().data) for _ in requests]
        for node in NODES:
            clients[node].call(b"PUBLISH", END, b"%d-" % node)
        seen = [read_to_end(listener) for _, listener, _, _ in listeners]
    finally:
        for each in (*clients, *[listener for _, listener, _, _ in listeners]):
            each.close()
    of_nodes = [[[each for each in got if b"\n%d-" % node in each] for node in NODES] for got in seen]
    return replies, [sorted(got) for got in seen], of_nodes


def read_to_end(listener: RawClient) -> list[bytes]:
    """To the last message of each node; patterns may make two of it."""
    got: list[bytes] = []
    while sum(b"\r\nmessage\r\n$3\r\nend\r\n" in each for each in got) < len(NODES):
        got.append(listener.read().data)
    listener.send([[b"PING"]])
    while b"PONG" not in (read := listener.read().data).upper():
        got.append(read)
    return got


def test_who_gets_what(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as topology, LinkedServers(None, None, topology=topology) as linked:
        theirs, ours = [node.port for node in topology.nodes], [server.port for server in linked.servers]
        for seed in range(2):
            plan = Plan(seed)
            expected, found = run(theirs, plan), run(ours, plan)
            for kind, (one, other) in enumerate(zip(expected, found, strict=True)):
                assert one == other, (seed, kind)
            assert all(min(map(len, of_nodes)) > 20 for of_nodes in found[2]), "each heard of both"
