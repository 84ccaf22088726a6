"""What a follower runs, and where it sends its clients."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flin.net.cluster.role import ReplicaFigures
from flin.net.cluster.topology import NOBODY, Topology
from flin.net.run.foreign import apply_foreign
from flin.net.run.slot_gate import NOBODY_LEADS
from tests.net.fake_peer import Clients, Peer
from tests.net.role import FOLLOWER, LEADER, NODES, OTHER, FakeRole, following

MOVED = b"-MOVED 15495 127.0.0.1:7000\r\n"  # of the key a
READ_ONLY = b"-READONLY You can't write against a read only replica.\r\n"


@pytest.fixture
def role() -> FakeRole:
    return following()


@pytest.fixture
def server(role: FakeRole) -> Clients:
    server = Clients(role=role)
    apply_foreign(server.services, {b"a": b"1"})
    return server


@pytest.fixture
def peer(server: Clients) -> Peer:
    return server.connect()


def test_only_who_asks_for_it_reads_here(server: Clients, peer: Peer) -> None:
    assert peer.ask(b"GET a") == MOVED
    assert peer.ask(b"READONLY", b"GET a", b"MGET a a", b"STRLEN a") == b"+OK\r\n$1\r\n1\r\n*2\r\n" + (
        b"$1\r\n1\r\n" * 2 + b":1\r\n"
    )
    other = server.connect()
    assert other.ask(*[b"GET a"] * 20) == MOVED * 20, "the other one has cached it"
    assert peer.ask(b"READWRITE", b"GET a") == b"+OK\r\n" + MOVED


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"SET a 1", MOVED),
        (b"BLPOP a 0", MOVED),
        (b"EVAL return(1) 1 a", MOVED),
        (b"EVAL_RO return(1) 1 a", MOVED),
        (b"EVAL return(1) 0", READ_ONLY),
        (b"FLUSHALL", READ_ONLY),
        (b"FUNCTION FLUSH", READ_ONLY),
        (b"SSUBSCRIBE a", MOVED),
        (b"SPUBLISH a m", MOVED),
        (b"PUBLISH a m", b":0\r\n"),
        (b"MGET a b", b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"),
        (b"DBSIZE", b":1\r\n"),
        (b"RANDOMKEY", b"$1\r\na\r\n"),
        (b"TTL a", b":-1\r\n"),
        (b"OBJECT ENCODING a", b"$3\r\nint\r\n"),
        (b"WATCH a", b"+OK\r\n"),
        (b"XREAD STREAMS a 0", b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    ],
)
def test_what_runs_on_a_follower(server: Clients, peer: Peer, request_: bytes, reply: bytes) -> None:
    peer.ask(b"READONLY")
    assert peer.ask(request_) == reply


def test_a_transaction_that_only_reads(peer: Peer) -> None:
    peer.ask(b"READONLY")
    assert peer.ask(b"MULTI", b"GET a", b"EXEC") == b"+OK\r\n+QUEUED\r\n*1\r\n$1\r\n1\r\n"
    assert peer.ask(b"MULTI", b"GET a", b"SET a 1", b"EXEC").startswith(b"+OK\r\n+QUEUED\r\n" + MOVED + b"-EXECABORT")


def test_pipelines_of_reads_run_together(server: Clients, role: FakeRole, peer: Peer) -> None:
    one, none = b"$1\r\n1\r\n", b"$-1\r\n"
    peer.ask(b"READONLY")
    assert peer.ask(*[b"GET a", b"GET b"] * 20) == (one + none) * 20
    assert peer.ask(*[b"SET a 2"] * 20) == MOVED * 20
    assert peer.ask(b"GET a", b"MULTI", b"GET a", b"EXEC", b"GET a", b"READWRITE", b"GET a") == (
        one + b"+OK\r\n+QUEUED\r\n*1\r\n" + one + one + b"+OK\r\n" + MOVED
    )
    peer.ask(b"READONLY")
    server.services.slot_gate.is_stale = True  # type: ignore[union-attr]
    assert peer.ask(*[b"GET a"] * 20) == MOVED * 20
    server.services.slot_gate.is_stale = False  # type: ignore[union-attr]
    assert peer.ask(*[b"GET a"] * 20) == one * 20
    role.topology = Topology(
        (replace(LEADER, last=8191), replace(FOLLOWER, last=8191), replace(LEADER, id="d" * 40, port=7003, first=8192)),
        1,
    )
    small = Clients(role=role).connect()
    assert (
        small.ask(b"READONLY", *[b"GET b", b"GET a"] * 8)
        == b"+OK\r\n" + (none + b"-MOVED 15495 127.0.0.1:7003\r\n") * 8
    )
    assert small.ask(*[b"GET b", b"GET a"] * 8) == (none + b"-MOVED 15495 127.0.0.1:7003\r\n") * 8


def test_a_follower_that_lags_sends_readers_away(server: Clients, role: FakeRole, peer: Peer) -> None:
    gate = server.services.slot_gate
    peer.ask(b"READONLY")
    for lag_ms, reply in [(10_000, b"$1\r\n1\r\n"), (10_001, MOVED), (0, b"$1\r\n1\r\n")]:
        role.shown = ReplicaFigures(lag_ms=lag_ms)
        gate.look_at_lag()  # type: ignore[union-attr]
        assert peer.ask(b"GET a") == reply


def test_it_follows_the_topology(role: FakeRole, peer: Peer) -> None:
    leads = replace(OTHER, replica_of="")
    nodes = (replace(LEADER, replica_of=OTHER.id), replace(FOLLOWER, replica_of=OTHER.id), leads)
    role.topology = Topology(nodes, 1)
    assert peer.ask(b"GET a") == b"-MOVED 15495 host:7002\r\n"
    role.topology = Topology(tuple(replace(node, replica_of=NOBODY) for node in NODES), 1)
    assert peer.ask(b"GET a") == b"-%b\r\n" % NOBODY_LEADS.encode()
    role.topology = Topology((replace(LEADER, replica_of=FOLLOWER.id), replace(FOLLOWER, replica_of="")), 1)
    assert peer.ask(b"GET a") == b"-%b\r\n" % NOBODY_LEADS.encode(), "it does not lead yet"


def test_whoever_waits_for_a_stream_hears_of_it(server: Clients, peer: Peer) -> None:
    leader = Clients().connect()
    leader.ask(b"XADD a 1-1 f v")
    entry = leader.connection.context.services.store.read(b"a")
    assert entry is not None
    peer.ask(b"READONLY")
    apply_foreign(server.services, {}, [(b"a", b"b")])
    assert peer.ask(b"XREAD BLOCK 0 STREAMS a 0") == b""
    apply_foreign(server.services, {b"a": entry})
    server.pass_seconds(1)
    assert b"1-1" in peer.read_all()


def test_caches_of_clients_are_told(server: Clients, peer: Peer) -> None:
    peer.ask(b"READONLY", b"HELLO 3", b"CLIENT TRACKING ON", b"GET a")
    apply_foreign(server.services, {b"b": b"2"})
    assert peer.read_all() == b""
    apply_foreign(server.services, {b"a": b"2"})
    server.loop.run()
    assert peer.read_all() == b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n"
    apply_foreign(server.services, {}, [(b"a", b"c")])
    server.loop.run()
    assert peer.read_all() == b">2\r\n$10\r\ninvalidate\r\n_\r\n"
