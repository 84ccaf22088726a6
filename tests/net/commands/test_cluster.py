"""CLUSTER as a node answers it, where Redis's own answers differ by nature: tests/net/test_cluster_differential.py has
the others."""

from __future__ import annotations

import pytest

from flin.net.cluster.slots import slot_of
from flin.net.cluster.topology import Node, Topology
from tests.net.serving import HandlerClient

TOPOLOGY = Topology((Node("a" * 40, "", 7000, 0, 8191), Node("b" * 40, "far", 7001, 8192, 16383, tls_port=7444)), 0)


@pytest.fixture
def node() -> HandlerClient:
    return HandlerClient(topology=TOPOLOGY)


def test_nodes_are_lines(node: HandlerClient) -> None:
    lines = [
        b"%b 127.0.0.1:7000@0 myself,master - 0 0 1 connected 0-8191\n" % (b"a" * 40),
        b"%b far:7001@0 master - 0 0 2 connected 8192-16383\n" % (b"b" * 40),
    ]
    assert node.call(b"CLUSTER", b"NODES") == b"$%d\r\n%b\r\n" % (sum(map(len, lines)), b"".join(lines))


def test_info_has_all_slots(node: HandlerClient) -> None:
    found = node.call(b"CLUSTER", b"INFO")
    for line in (b"cluster_state:ok", b"cluster_slots_ok:16384", b"cluster_known_nodes:2", b"cluster_my_epoch:1"):
        assert line + b"\r\n" in found


def test_shards(node: HandlerClient) -> None:
    node.call(b"HELLO", b"3")
    own = b"%7\r\n$2\r\nid\r\n$40\r\n" + b"a" * 40 + b"\r\n$4\r\nport\r\n:7000\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n"
    far = b"%8\r\n$2\r\nid\r\n$40\r\n" + b"b" * 40 + b"\r\n$4\r\nport\r\n:7001\r\n$8\r\ntls-port\r\n:7444\r\n"
    found = node.call(b"CLUSTER", b"SHARDS")
    assert found.startswith(b"*2\r\n%2\r\n$5\r\nslots\r\n*2\r\n:0\r\n:8191\r\n$5\r\nnodes\r\n*1\r\n" + own)
    assert b"%2\r\n$5\r\nslots\r\n*2\r\n:8192\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n" + far in found


def test_nodes_send_each_other_nothing(node: HandlerClient) -> None:
    assert node.call(b"CLUSTER", b"LINKS") == b"*0\r\n"
    for known in (b"a" * 40, b"b" * 40):
        assert node.call(b"CLUSTER", b"COUNT-FAILURE-REPORTS", known) == b":0\r\n"
        assert node.call(b"CLUSTER", b"REPLICAS", known) == node.call(b"CLUSTER", b"SLAVES", known) == b"*0\r\n"


@pytest.mark.parametrize(
    "words", ["ADDSLOTS 1", "MEET 127.0.0.1 7002", "RESET", "SETSLOT 1 STABLE", "REPLICATE x", "FORGET x"]
)
def test_what_changes_a_cluster_is_refused(node: HandlerClient, words: str) -> None:
    assert b"`flin resize`" in node.call(b"CLUSTER", *words.encode().split())


def test_help_is_there_in_a_cluster_only(node: HandlerClient) -> None:
    assert b"+KEYSLOT\r\n" in node.call(b"CLUSTER", b"HELP")
    assert HandlerClient().call(b"CLUSTER", b"HELP") == b"-ERR This instance has cluster support disabled\r\n"


def test_keys_of_a_slot(node: HandlerClient) -> None:
    keys = [b"{b}%04d" % number for number in range(600)]
    for key in keys:
        node.call(b"SET", key, b"1", commit=False)
    for number in range(600):
        node.call(b"SET", b"c%d" % number, b"1", commit=False)  # refused where it is elsewhere
    node.pending.commit()
    slot = b"%d" % slot_of(b"b")
    assert node.call(b"CLUSTER", b"COUNTKEYSINSLOT", slot) == b":600\r\n"
    some = node.call(b"CLUSTER", b"GETKEYSINSLOT", slot, b"2")
    assert some == b"*2\r\n$7\r\n%b\r\n$7\r\n%b\r\n" % (keys[0], keys[1])
    assert node.call(b"CLUSTER", b"GETKEYSINSLOT", slot, b"9999").startswith(b"*600\r\n")
    assert node.call(b"CLUSTER", b"COUNTKEYSINSLOT", b"16383") == b":0\r\n"


def test_what_the_server_says_of_itself(node: HandlerClient) -> None:
    assert b"$4\r\nmode\r\n$7\r\ncluster\r\n" in node.call(b"HELLO")
    assert b"redis_mode:cluster\r\n" in node.call(b"INFO", b"server")
    assert b"cluster_enabled:1\r\n" in node.call(b"INFO", b"cluster")
    alone = HandlerClient()
    assert b"$10\r\nstandalone\r\n" in alone.call(b"HELLO")
    assert b"redis_mode:standalone\r\n" in alone.call(b"INFO", b"server")
