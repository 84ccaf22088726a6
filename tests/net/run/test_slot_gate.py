"""The gate of a node: what it tells clients of each kind; that the requests of pipelines and scripts pass it, too."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from flin.bench.server_process import free_port
from flin.net.client.session import KnownPeer
from flin.net.cluster.topology import Node, Topology
from flin.net.run.slot_gate import SlotGate
from flin.testing.process import PATIENCE_SECONDS
from tests.net.certificates import Certificates
from tests.net.fake_peer import Clients
from tests.net.serving import HandlerClient, ServerThread

OWN = Node("a" * 40, "", 7000, 0, 8191, tls_port=7443)
OTHER = Node("b" * 40, "", 7001, 8192, 16383, tls_port=7444)
TOPOLOGY = Topology((OWN, OTHER), 0)

MOVED = b"-MOVED 15495 127.0.0.1:7001\r\n"  # of the key a; b is an own key


@pytest.mark.parametrize(
    ("local_address", "bind", "host", "expected"),
    [
        ("10.0.0.5:7000", "0.0.0.0", "", ("10.0.0.5", 7001)),
        ("10.0.0.5:7000", "0.0.0.0", "named", ("named", 7001)),
        ("[fe80::1]:7000", "::", "", ("fe80::1", 7001)),
        ("10.0.0.5:7443", "0.0.0.0", "", ("10.0.0.5", 7444)),  # it speaks TLS
        ("/run/flin.sock:0", "10.0.0.7", "", ("10.0.0.7", 7001)),
        ("/run/flin.sock:0", "0.0.0.0", "", ("127.0.0.1", 7001)),
        ("/run/flin.sock:0", "::", "named", ("named", 7001)),
    ],
)
def test_clients_are_told_an_address_that_they_can_reach(
    local_address: str, bind: str, host: str, expected: tuple[str, int]
) -> None:
    node = replace(OTHER, host=host)
    session = HandlerClient().context.session
    session.peer = KnownPeer("10.0.0.9:1", local_address)
    assert SlotGate(Topology((OWN, node), 0), (bind,)).endpoint_of(node, session) == expected


def test_a_node_without_tls_has_one_port() -> None:
    session = HandlerClient().context.session
    session.peer = KnownPeer("10.0.0.9:1", "10.0.0.5:7443")
    assert SlotGate(TOPOLOGY, ("::",)).endpoint_of(replace(OTHER, tls_port=0), session) == ("10.0.0.5", 7001)


def test_a_pipeline_stops_at_a_foreign_key_and_goes_on_behind_it() -> None:
    peer = Clients(topology=TOPOLOGY).connect()
    assert peer.ask(*[b"SET %b 1" % key for key in (b"b", b"c", b"a", b"f", b"a")]) == b"+OK\r\n" * 2 + (
        MOVED + b"+OK\r\n" + MOVED
    )
    assert peer.ask(*[b"GET %b" % key for key in (b"b", b"c", b"a", b"f", b"g")]) == (
        b"$1\r\n1\r\n" * 2 + MOVED + b"$1\r\n1\r\n$-1\r\n"
    )
    assert peer.ask(*[b"GET b", b"GET b", b"GET b", b"GET b"]) == b"$1\r\n1\r\n" * 4  # all known
    assert peer.ask(*[b"MSET {b}1 1 {b}2 1", b"MSET {b}3 1 {b}4 1", b"MSET {a}1 1 {a}2 1", b"MSET {b}1 1 {c}2 1"]) == (
        b"+OK\r\n+OK\r\n" + MOVED + b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
    )


def test_a_pipeline_of_columns_runs_at_once_where_all_keys_are_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Clients(topology=TOPOLOGY)
    peer = clients.connect()
    peer.ask(*[b"SET {b}%d 1" % number for number in range(8)])
    peer.ask(*[b"SET b 1", b"SET c 1", b"SET f 1", b"SET g 1"])

    def fails(*_: object) -> None:
        raise AssertionError("a request was looked at alone")

    monkeypatch.setattr(SlotGate, "is_open_to", fails)
    monkeypatch.setattr(SlotGate, "check", fails)
    assert peer.ask(*[b"GET {b}%d" % number for number in range(8)]) == b"$1\r\n1\r\n" * 8
    assert peer.ask(*[b"SET b 2", b"SET c 2", b"SET f 2", b"SET g 2"]) == b"+OK\r\n" * 4
    assert peer.ask(*[b"MGET {b}1 {b}2", b"MGET {b}3 {b}4", b"MGET {b}5 {b}6", b"MGET {b}7 {b}0"]).count(b"*2") == 4


def test_nothing_is_queued_behind_an_error() -> None:
    client = HandlerClient(topology=TOPOLOGY)
    assert client.call(b"MULTI") == b"+OK\r\n"
    assert client.call(b"GET", b"b") == b"+QUEUED\r\n"
    assert client.call(b"GET", b"a").startswith(b"-MOVED 15495 ")
    assert client.call(b"GET", b"c") == b"+QUEUED\r\n"
    assert client.context.session.queue is not None
    assert len(client.context.session.queue) == 1
    assert client.call(b"EXEC").startswith(b"-EXECABORT")


def test_who_speaks_tls_is_told_tls_ports(tmp_path: Path) -> None:
    certificates, port = Certificates(tmp_path), free_port()
    topology = Topology((replace(OWN, tls_port=port), OTHER), 0)
    with ServerThread(topology=topology, **certificates.options() | {"tls_port": port}) as server:
        plain = socket.create_connection(("127.0.0.1", server.tls_port), timeout=PATIENCE_SECONDS)
        with plain, certificates.client().wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(b"GET a\r\n")
            assert client.recv(100) == b"-MOVED 15495 127.0.0.1:7444\r\n"


def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with ServerThread(topology=TOPOLOGY, unixsocket=path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"GET a\r\n")
        assert client.recv(100) == MOVED
