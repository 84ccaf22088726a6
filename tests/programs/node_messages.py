"""PUBLISH on three real nodes reaches the subscribers of every replica."""

from __future__ import annotations

import json
import urllib.request
from typing import Any
from urllib.error import HTTPError

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from flin.testing.cluster.machine import Machine
from flin.testing.cluster.nodes import Nodes, Replica, key_of
from flin.testing.process import PATIENCE_SECONDS, wait_until

TOO_LONG = 16 << 20


def client_of(replica: Replica) -> redis.Redis:
    """Patient: a replica may be starting."""
    retry = Retry(ConstantBackoff(0.1), 100)
    return redis.Redis(port=replica.port, socket_timeout=PATIENCE_SECONDS, decode_responses=True, retry=retry)


def links_of(nodes: Nodes, number: int) -> Any:
    """Once its page can tell: it refuses (503) while etcd has no leader, as after one of its members was killed."""
    page = next(word for word in nodes.machines[number].words if word.startswith("-http=")).partition("=")[2]
    found: list[Any] = []

    def is_told() -> bool:
        try:
            with urllib.request.urlopen(f"http://{page}/cluster/status", timeout=PATIENCE_SECONDS) as answer:
                found.append(json.load(answer)["messages"])
        except HTTPError as refused:
            if refused.code != 503:
                raise
        return bool(found)

    wait_until(is_told, f"node {number + 1} tells of its links", poll_seconds=0.1)
    return found[0]


def wait_until_linked(nodes: Nodes) -> None:
    for number in range(3):
        wait_until(
            lambda number=number: [link["is_up"] for link in links_of(nodes, number)["to"].values()] == [True, True],  # type: ignore[misc]
            f"node {number + 1} has its links",
        )


class Listeners:
    """A subscriber of each replica."""

    def __init__(self, replicas: list[Replica]) -> None:
        self.clients = [client_of(replica) for replica in replicas]
        self._listeners: list[Any] = []
        for client in self.clients:
            listener = client.pubsub()  # type: ignore[no-untyped-call]
            listener.subscribe("news")
            assert listener.get_message(timeout=PATIENCE_SECONDS)["type"] == "subscribe"
            self._listeners.append(listener)

    def heard(self) -> list[str]:
        """The next message of each."""
        return [listener.get_message(timeout=PATIENCE_SECONDS)["data"] for listener in self._listeners]

    def close(self) -> None:
        for each in (*self._listeners, *self.clients):
            each.close()


def all_hear_all(nodes: Nodes) -> None:
    wait_until_linked(nodes)
    replicas = nodes.replicas()
    assert len(replicas) == 3 * nodes.groups
    listeners = Listeners(replicas)
    try:
        for client in listeners.clients:
            port = client.connection_pool.connection_kwargs["port"]
            assert client.publish("news", f"by {port}") == 1, "its own are counted"
            assert listeners.heard() == [f"by {port}"] * len(replicas)
            assert client.pubsub_numsub("news") == [("news", 1)]
        for group in range(nodes.groups):
            leader = nodes.leader(group)
            assert leader is not None
            with client_of(leader) as client, client.pipeline() as together:
                together.set(key_of(group, nodes.groups), "x").publish("news", f"with {group}").execute()
            assert listeners.heard() == [f"with {group}"] * len(replicas)
    finally:
        listeners.close()


def check_limit_and_shards(nodes: Nodes) -> None:
    leader = nodes.leader(0)
    assert leader is not None
    with client_of(leader) as client:
        client.execute_command("PUBLISH", "news", "x" * (TOO_LONG - 4))
        with pytest.raises(redis.ResponseError, match="a message to other nodes may have 16777216 bytes"):
            client.publish("news", "x" * TOO_LONG)
        assert client.info("cluster").keys() == {"cluster_enabled", "cluster_messages_missed"}

    # Sharded channels are at the leader of their slot.
    channel = key_of(0, nodes.groups)
    with client_of(leader) as client, client_of(nodes.followers(0)[0]) as other:
        assert client.execute_command("SPUBLISH", channel, "x") == 0
        for words in (("SPUBLISH", channel, "x"), ("SSUBSCRIBE", channel)):
            with pytest.raises(redis.exceptions.MovedError):
                other.execute_command(*words)


def check_that_one_is_away(nodes: Nodes, away: Machine) -> None:
    """Its links have ended, and nobody waits for it."""
    number = next(number for number, machine in enumerate(nodes.machines) if machine is not away)
    wait_until(lambda: not links_of(nodes, number)["to"][away.name]["is_up"], "the link has ended")
    replica = next(each for each in nodes.replicas() if nodes.machine_of(each) is nodes.machines[number])
    with client_of(replica) as client:
        client.publish("news", "x")
    wait_until(lambda: links_of(nodes, number)["missed"], "it is counted")
