"""CLIENT PAUSE: who waits, until when, and what becomes of those who leave meanwhile."""

from __future__ import annotations

import pytest

from flin.net.client.clients import ServerClosure
from flin.net.client.pause import PauseKind
from tests.net.fake_peer import Clients, Peer


@pytest.fixture
def clients() -> Clients:
    return Clients()


def pause(clients: Clients, words: bytes) -> Peer:
    operator = clients.connect()
    assert operator.ask(b"CLIENT PAUSE " + words) == b"+OK\r\n"
    return operator


def test_a_pause_ends_by_itself(clients: Clients) -> None:
    pause(clients, b"1000")
    peer = clients.connect()
    assert peer.ask(b"PING") == b""
    [(seconds, _)] = clients.loop.later
    assert seconds == 1.0
    clients.steady_ms += 999
    clients.loop.run_later()
    assert peer.read_all() == b"", "it looked too early, and waits again"
    clients.steady_ms += 1
    clients.loop.run_later()
    assert peer.read_all() == b"+PONG\r\n"
    assert clients.services.clients.closed_by == ServerClosure.NONE
    assert peer.connection.session.skips_gates


def test_a_pause_nobody_waits_for_ends_too(clients: Clients) -> None:
    peer = pause(clients, b"1000 WRITE")
    assert not peer.connection.session.skips_gates
    clients.pass_seconds(1)
    assert peer.connection.session.skips_gates


def test_unpause_wakes_everybody_in_order(clients: Clients) -> None:
    operator = pause(clients, b"99999999999999 WRITE")
    peers = [clients.connect() for _ in range(3)]
    for number, peer in enumerate(peers):
        assert peer.ask(b"RPUSH list %d" % number, b"LLEN list") == b""
    assert [peer.connection.session.is_waiting for peer in peers] == [True] * 3
    assert b"\nblocked_clients:3\r\n" in operator.ask(b"INFO clients")
    operator.ask(b"CLIENT UNPAUSE")
    assert [peer.read_all() for peer in peers] == [b":1\r\n:1\r\n", b":2\r\n:2\r\n", b":3\r\n:3\r\n"]
    assert clients.services.pause.held == {}
    assert not any(peer.connection.session.is_waiting for peer in peers)
    clients.loop.run_later()  # their timers were cancelled
    assert [peer.read_all() for peer in peers] == [b""] * 3


def test_the_longer_and_the_stronger_pause_wins(clients: Clients) -> None:
    operator = pause(clients, b"1000 WRITE")
    operator.ask(b"CLIENT PAUSE 10 ALL")
    pause_ = clients.services.pause
    assert (pause_.kind, pause_.seconds_for(may_write=False)) == (PauseKind.ALL, 1.0)
    other = clients.connect()
    assert other.ask(b"CLIENT UNPAUSE") == b"", "as in Redis: with ALL this waits, too"
    clients.steady_ms += 1000
    clients.loop.run_later()
    assert other.read_all() == b"+OK\r\n"
    assert operator.ask(b"MULTI", b"CLIENT PAUSE 10 ALL", b"CLIENT PAUSE 500 WRITE", b"EXEC").endswith(
        b"+OK\r\n+OK\r\n"
    )
    assert (pause_.kind, pause_.seconds_for(may_write=False)) == (PauseKind.ALL, 0.5)


def test_nothing_of_a_client_that_leaves_meanwhile_runs(clients: Clients) -> None:
    operator = pause(clients, b"1000 WRITE")
    gone, half_closed = clients.connect(), clients.connect()
    gone.send(b"SET a 1")
    half_closed.send(b"SET b 1")
    gone.transport.abort()
    half_closed.connection.eof_received()
    assert half_closed.is_closed
    assert clients.services.pause.held == {}
    operator.ask(b"CLIENT UNPAUSE")
    assert clients.store.entries == {}


def test_what_follows_waits_unread_once_there_is_much(clients: Clients) -> None:
    operator = pause(clients, b"1000 WRITE")
    peer = clients.connect()
    peer.send(b"SET a 1")
    share = peer.connection.own_bytes
    request = b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$60000\r\n%b\r\n" % (b"x" * 60000)
    while peer.transport.is_reading:
        peer.connection.data_received(request)
        assert peer.connection.input_bytes() < 2 * share
    assert not peer.is_closed
    operator.ask(b"CLIENT UNPAUSE")
    assert b"-" not in peer.read_all()
    assert peer.transport.is_reading


def test_the_end_of_the_server_does_not_wait(clients: Clients) -> None:
    pause(clients, b"100000")
    peer = clients.connect()
    peer.send(b"SET a 1")
    assert peer.connection.finish()
    assert clients.store.entries == {}


def test_client_unblock_is_not_for_a_pause(clients: Clients) -> None:
    operator = pause(clients, b"100000 WRITE")
    peer = clients.connect()
    peer.send(b"SET a 1")
    assert operator.ask(b"CLIENT UNBLOCK %d" % peer.connection.session.id) == b":0\r\n"


def test_who_monitors_is_not_paused(clients: Clients) -> None:
    monitor = clients.connect()
    monitor.ask(b"MONITOR")
    pause(clients, b"100000")
    assert monitor.ask(b"PING").startswith(b"+PONG\r\n+")


def test_nothing_expires_meanwhile(clients: Clients) -> None:
    operator = pause(clients, b"100000 WRITE")
    assert clients.store.holds_sweep
    operator.ask(b"CONFIG SET notify-keyspace-events Ex")
    clients.store.entries[b"a"] = b"1", 1, 0
    assert operator.ask(b"GET a") == b"$-1\r\n"
    assert b"a" in clients.store.entries
    operator.ask(b"CLIENT UNPAUSE")
    assert not clients.store.holds_sweep
