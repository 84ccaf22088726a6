"""The housekeeping: durations are durations, whatever happens to the wall clock."""

from __future__ import annotations

import pytest

from flin.net.serve import housekeeping
from flin.net.wire.resp import encode_requests
from tests.net.fake_peer import Clients, Peer

DAY_MS = 86_400_000


def field_of(line: bytes, name: bytes) -> int:
    return int(dict(part.split(b"=", 1) for part in line.split(b" ") if b"=" in part)[name])


def info_of(peer: Peer, name: bytes) -> int:
    lines = peer.ask(b"INFO server").split(b"\r\n")
    return int(dict(line.split(b":", 1) for line in lines if b":" in line)[name])


@pytest.mark.parametrize("jump_ms", [DAY_MS, -DAY_MS])
def test_the_wall_clock_may_jump(jump_ms: int) -> None:
    clients = Clients(request_timeout=30, timeout=60)
    upload, idle = clients.connect(), clients.connect()
    upload.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\n" + b"x" * 50)
    assert idle.ask(b"PING") == b"+PONG\r\n"
    clients.pass_seconds(5)
    clients.wall_ms += jump_ms
    clients.pass_seconds(20)
    assert info_of(idle, b"uptime_in_seconds") == 25
    assert not upload.is_closed
    line = idle.ask(b"CLIENT LIST ID 1")
    assert field_of(line, b"age") == 25
    assert field_of(line, b"idle") == 25
    upload.send_raw(b"x" * 50 + b"\r\n")
    assert upload.read_all() == b"+OK\r\n"


def test_timeouts_are_kept() -> None:
    clients = Clients(request_timeout=30, timeout=60)
    upload, idle = clients.connect(), clients.connect()
    upload.send_raw(b"*2\r\n$3\r\nGET\r\n")
    idle.send(b"PING")
    clients.pass_seconds(29)
    assert not upload.is_closed
    clients.pass_seconds(3)
    assert upload.is_closed
    assert idle.read_all() == b"+PONG\r\n"
    clients.pass_seconds(31)
    assert idle.is_closed


def test_page_faults_of_the_loop_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a minute after each, look-ups ask whether a filter is in memory."""
    clients = Clients()
    faults = housekeeping.page_faults()
    monkeypatch.setattr(housekeeping, "page_faults", lambda: faults)
    clients.pass_seconds(1)
    assert not clients.store.awaits_filters
    for _ in range(2):
        faults += 1
        clients.pass_seconds(housekeeping.FAULTS_MS // 1000 - 1)
        assert clients.store.awaits_filters
    clients.pass_seconds(2)
    assert not clients.store.awaits_filters


# CLIENT KILL.


def test_a_client_that_does_not_read_is_killed_at_once() -> None:
    clients = Clients()
    clients.store.entries[b"k"] = b"v" * (30 << 20)
    stuck, half_closed, killer = clients.connect(), clients.connect(), clients.connect()
    for peer in (stuck, half_closed):
        peer.send(b"GET k")
        peer.send_raw(encode_requests([[b"GET", b"k"]]) * 1000)
    half_closed.connection.eof_received()
    assert killer.ask(b"CLIENT KILL ID 1") == b":1\r\n"
    assert killer.ask(b"CLIENT KILL ID 2") == b":1\r\n"
    assert stuck.is_closed
    assert half_closed.is_closed
    assert killer.ask(b"CLIENT LIST").count(b"id=") == 1
    assert clients.services.clients.buffered_bytes() == 0


# The password.


def test_a_password_that_is_removed_lets_everybody_in() -> None:
    clients = Clients()
    first = clients.connect()
    assert first.ask(b"CONFIG SET requirepass secret") == b"+OK\r\n"
    second = clients.connect()
    denied = b"-NOAUTH Authentication required.\r\n"
    assert second.ask(b"GET k") == denied
    assert first.ask(b"GET k") == b"$-1\r\n", "who came before the password stays"
    first.send_raw(b"CONFIG SET requirepass ''\r\n")
    assert first.read_all() == b"+OK\r\n"
    assert second.ask(b"GET k") == b"$-1\r\n"
    large = b"x" * 20_000
    assert second.ask(b"ECHO " + large) == b"$20000\r\n" + large + b"\r\n", "and its limits are the ordinary ones"
    assert second.ask(b"AUTH secret").startswith(b"-ERR AUTH <password> called without any password configured")
    assert first.ask(b"CONFIG SET requirepass other") == b"+OK\r\n"
    assert second.ask(b"GET k") == denied, "it has given none, as in Redis"
    assert second.ask(b"AUTH other", b"GET k") == b"+OK\r\n$-1\r\n"


def test_the_rates_of_the_last_second() -> None:
    clients = Clients()
    peer = clients.connect()

    def rates() -> list[bytes]:
        shown = dict(line.split(b":", 1) for line in peer.ask(b"INFO stats").split(b"\r\n") if b":" in line)
        names = (b"instantaneous_ops_per_sec", b"instantaneous_input_kbps", b"instantaneous_output_kbps")
        return [shown[name] for name in names]

    clients.pass_seconds(1)
    for _ in range(4):
        peer.ask(b"ECHO " + b"x" * 2000)
    clients.pass_seconds(1)
    commands, received, sent = rates()
    assert commands == b"4"
    assert 7.8 < float(received) < 8.2
    assert 7.7 < float(sent) < 8.2
    clients.pass_seconds(2)
    assert rates() == [b"0", b"0.00", b"0.00"]
