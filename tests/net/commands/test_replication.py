"""What replicas say of themselves: INFO, ROLE, HELLO, WAIT and CLUSTER."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.cluster import LoadBalancingStrategy, RedisCluster
from redis.retry import Retry

import flin.engine
from flin.engine.engine import store_of
from flin.net.batch.following_store import FollowingStore
from flin.net.cluster.role import ReplicaFigures
from flin.net.cluster.slots import SLOTS
from flin.net.cluster.topology import NOBODY, Node, Topology
from flin.net.run.foreign import apply_foreign
from flin.net.run.services import make_services
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from tests.net.fake_store import FakeStore
from tests.net.role import FOLLOWER, LEADER, NODES, FakeRole, following
from tests.net.serving import HandlerClient, ServerThread

FIGURES = ReplicaFigures(
    voting_nodes=3, epoch=7, index=90, lag_ms=20, skew_ms=3, etcd_used_share=0.5, followers={FOLLOWER.id: 80}
)


def replica(role: FakeRole) -> HandlerClient:
    role.shown = FIGURES
    store = FakeStore()
    services = make_services(
        store if role.is_leading else FollowingStore(store),
        Config(ServerOptions()),
        lambda callback: None,
        role=role,
    )
    return HandlerClient(services=services)


def lines(client: HandlerClient, *request: bytes) -> list[str]:
    return client.call(*request).decode().split("\r\n")


def test_a_leader() -> None:
    client = replica(FakeRole())
    assert {
        "role:master",
        "connected_slaves:2",
        "slave0:ip=127.0.0.1,port=7001,state=online,offset=80,lag=0",
        "slave1:ip=host,port=7002,state=online,offset=0,lag=0",
        "cluster_nodes_voting:3",
        "cluster_replication:replicated",
        "cluster_epoch:7",
        "cluster_has_lease:1",
        "cluster_has_room:1",
        "cluster_clock_skew_ms:3",
        "cluster_etcd_used_share:0.5",
    } <= {*lines(client, b"INFO", b"replication")}
    assert client.call(b"ROLE") == (
        b"*3\r\n$6\r\nmaster\r\n:90\r\n*2\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n7001\r\n$2\r\n80\r\n"
        b"*3\r\n$4\r\nhost\r\n$4\r\n7002\r\n$1\r\n0\r\n"
    )
    assert b"$4\r\nrole\r\n$6\r\nmaster\r\n" in client.call(b"HELLO")
    assert client.call(b"WAIT", b"1", b"0") == b":1\r\n"


def test_a_follower() -> None:
    role = following()
    client = replica(role)
    assert {
        "role:slave",
        "master_host:127.0.0.1",
        "master_port:7000",
        "master_link_status:up",
        "slave_repl_offset:90",
        "cluster_lag_ms:20",
        "cluster_has_lease:0",
    } <= {*lines(client, b"INFO", b"replication")}
    assert client.call(b"ROLE") == b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:7000\r\n$9\r\nconnected\r\n:90\r\n"
    assert b"$4\r\nrole\r\n$7\r\nreplica\r\n" in client.call(b"HELLO")
    role.topology = Topology(tuple(replace(node, replica_of=NOBODY) for node in NODES), 1)
    assert client.call(b"ROLE") == b"*5\r\n$5\r\nslave\r\n$0\r\n\r\n:0\r\n$7\r\nconnect\r\n:90\r\n"
    assert "master_link_status:down" in lines(client, b"INFO", b"replication")
    role.shown = ReplicaFigures(voting_nodes=1)
    assert "cluster_replication:forming: 1 of 3, not replicated" in lines(client, b"INFO", b"replication")
    role.shown = ReplicaFigures(voting_nodes=3)
    assert "cluster_replication:replicated" in lines(client, b"INFO", b"replication")


def test_a_follower_is_told_to_lead() -> None:
    """The words are Redis's."""
    role = following()
    client = replica(role)
    assert client.call(b"CLUSTER", b"FAILOVER") == client.call(b"CLUSTER", b"FAILOVER", b"force") == b"+OK\r\n"
    assert role.asked == 2
    role.is_seen = False
    down = b"-ERR Master is down or failed, please use CLUSTER FAILOVER FORCE\r\n"
    assert client.call(b"CLUSTER", b"FAILOVER") == down
    assert client.call(b"CLUSTER", b"FAILOVER", b"TAKEOVER") == b"+OK\r\n"
    assert client.call(b"CLUSTER", b"FAILOVER", b"NOW") == b"-ERR syntax error\r\n"
    role.topology = Topology(tuple(replace(node, replica_of=NOBODY) for node in NODES), 1)
    unknown = b"-ERR I'm a replica but my master is unknown to me\r\n"
    assert client.call(b"CLUSTER", b"FAILOVER", b"FORCE") == unknown
    leading = FakeRole()
    told = b"-ERR You should send CLUSTER FAILOVER to a replica\r\n"
    assert replica(leading).call(b"CLUSTER", b"FAILOVER") == told
    assert (role.asked, leading.asked) == (3, 0)


HALF = SLOTS // 2
TWO_GROUPS = (
    replace(LEADER, last=HALF - 1),
    replace(FOLLOWER, last=HALF - 1, is_away=True),
    Node("d" * 40, "", 7003, HALF, SLOTS - 1),
    Node("e" * 40, "far", 7004, HALF, SLOTS - 1, tls_port=7444, replica_of="d" * 40),
)


def test_cluster_shows_groups() -> None:
    client = replica(FakeRole(topology=Topology(TWO_GROUPS, 0)))
    nodes = client.call(b"CLUSTER", b"NODES").split(b"\r\n", 1)[1].decode().splitlines()
    expected = [
        f"{'a' * 40} 127.0.0.1:7000@0 myself,master - 0 0 1 connected 0-8191",
        f"{'b' * 40} 127.0.0.1:7001@0 slave,fail {'a' * 40} 0 0 1 disconnected",
        f"{'d' * 40} 127.0.0.1:7003@0 master - 0 0 2 connected 8192-16383",
        f"{'e' * 40} far:7004@0 slave {'d' * 40} 0 0 2 connected",
    ]
    assert nodes[:4] == expected
    for name in (b"REPLICAS", b"SLAVES"):
        reply = b"*1\r\n$%d\r\n%b\r\n" % (len(expected[3]), expected[3].encode())
        assert client.call(b"CLUSTER", name, b"d" * 40) == reply
        assert client.call(b"CLUSTER", name, b"e" * 40) == b"-ERR The specified node is not a master\r\n"
    assert {"cluster_state:ok", "cluster_known_nodes:4", "cluster_size:2", "cluster_current_epoch:7"} <= {
        *lines(client, b"CLUSTER", b"INFO")
    }
    slots = client.call(b"CLUSTER", b"SLOTS")
    assert b"b" * 40 not in slots, "it is away"
    assert slots.endswith(b"*4\r\n$3\r\nfar\r\n:7004\r\n$40\r\n" + b"e" * 40 + b"\r\n*0\r\n")
    shards = client.call(b"CLUSTER", b"SHARDS")
    assert shards.count(b"$7\r\nreplica\r\n") == shards.count(b"$6\r\nmaster\r\n") == 2
    assert b"cluster leave" in client.call(b"CLUSTER", b"MEET", b"127.0.0.1", b"7002")


def test_a_group_that_nobody_leads() -> None:
    nodes = (*TWO_GROUPS[:2], *[replace(node, replica_of=NOBODY) for node in TWO_GROUPS[2:]])
    client = replica(FakeRole(topology=Topology(nodes, 0)))
    assert {"cluster_state:fail", "cluster_slots_assigned:8192", "cluster_slots_fail:8192"} <= {
        *lines(client, b"CLUSTER", b"INFO")
    }
    assert client.call(b"CLUSTER", b"SLOTS").startswith(b"*1\r\n")
    assert client.call(b"GET", b"a").startswith(b"-CLUSTERDOWN Hash slot not served")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[ServerThread, ServerThread, FakeRole]]:
    """A leader and a follower on real ports."""
    leading, follows = FakeRole(), following()
    with (
        flin.engine.open(tmp_path / "leader", runner="inline") as first,
        flin.engine.open(tmp_path / "follower", runner="inline") as second,
        ServerThread(store_of(first), role=leading) as leader,
        ServerThread(store_of(second), role=follows) as follower,
    ):
        nodes = (replace(LEADER, port=leader.port), replace(FOLLOWER, port=follower.port))
        leading.topology, follows.topology = Topology(nodes, 0), Topology(nodes, 1)
        leading.shown = follows.shown = FIGURES
        yield leader, follower, leading


def test_a_client_of_clusters_reads_from_followers(pair: tuple[ServerThread, ServerThread, FakeRole]) -> None:
    leader, follower, role = pair
    client = RedisCluster(
        "127.0.0.1", leader.port, load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN, retry=Retry(NoBackoff(), 0)
    )
    assert client.set("a", "1") is True
    follower.call(lambda: apply_foreign(follower.server.services, {b"a": b"1"}))
    assert {client.get("a") for _ in range(8)} == {b"1"}
    assert follower.server.services.databases.keyspaces[0].hot.hits > 0
    role.is_leased = False
    for _ in range(2):
        with pytest.raises(redis.exceptions.ClusterDownError):
            client.set("a", "2")
    role.is_leased = True
    assert client.set("a", "3") is True
    client.close()


def test_blocked_clients_end_with_an_error(pair: tuple[ServerThread, ServerThread, FakeRole]) -> None:
    leader, _, _ = pair
    peer = leader.connect()
    peer.sendall(b"BLPOP l 0\r\n")
    while not leader.call(lambda: leader.server.services.waiters.number):
        pass
    leader.loop.call_soon_threadsafe(leader.server.request_stop)
    assert peer.recv(1000).startswith(b"-UNBLOCKED force unblock")
    assert peer.recv(1000) == b""
    peer.close()
