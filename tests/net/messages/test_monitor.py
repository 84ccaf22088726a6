"""The lines of MONITOR, who gets them, and what it costs the others."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from flin.net.client.clients import ServerClosure
from flin.net.messages.monitor import SHOWN_BYTES, line_of, quoted, without_secrets
from tests.net.fake_peer import Clients
from tests.net.serving import ServerThread


def test_a_line() -> None:
    line = line_of(1_339_518_083_107_412, 3, "127.0.0.1:60866", [b"SET", b"a key", b"1"])
    assert line == b'+1339518083.107412 [3 127.0.0.1:60866] "SET" "a key" "1"\r\n'
    assert line_of(1_000_042, 0, "unix:/tmp/flin.sock", [b"PING"]) == b'+1.000042 [0 unix:/tmp/flin.sock] "PING"\r\n'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"", b'""'),
        (b"abc1", b'"abc1"'),
        (b"a b~", b'"a b~"'),
        (b"\\\"'", b'"\\\\\\"\'"'),
        (b"\n\r\t\a\b", rb'"\n\r\t\a\b"'),
        (b"\x00\x1f\x7f\x80\xff", rb'"\x00\x1f\x7f\x80\xff"'),
    ],
)
def test_quoted(text: bytes, shown: bytes) -> None:
    assert quoted(text) == shown


def test_a_long_command_is_cut() -> None:
    value = b"x" * SHOWN_BYTES
    assert line_of(0, 0, "a", [b"SET", b"k", value[4:]]).endswith(b'"SET" "k" "%b"\r\n' % value[4:])
    line = line_of(0, 0, "a", [b"SET", b"k", value, b"NX", b"GET"])
    assert line.endswith(b'x... (4 more bytes)" "... (2 more arguments)"\r\n')


@pytest.mark.parametrize(
    ("request_", "shown"),
    [
        (b"SET auth secret", b"SET auth secret"),
        (b"auth secret", b"auth (redacted)"),
        (b"AUTH me secret", b"AUTH (redacted) (redacted)"),
        (b"HELLO 3 AUTH me secret SETNAME x", b"HELLO 3 AUTH (redacted) (redacted) SETNAME x"),
        (b"HELLO 3 auth me", b"HELLO 3 auth (redacted)"),
        (b"MIGRATE h 1 k 0 1 COPY AUTH secret", b"MIGRATE h 1 k 0 1 COPY AUTH (redacted)"),
        (b"MIGRATE h 1 k 0 1 AUTH2 me secret KEYS a", b"MIGRATE h 1 k 0 1 AUTH2 (redacted) (redacted) KEYS a"),
    ],
)
def test_passwords_are_left_out(request_: bytes, shown: bytes) -> None:
    assert without_secrets(request_.split()) == shown.split()


def test_clients_of_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "flin.sock")
    with (
        ServerThread(unixsocket=path),
        socket.socket(socket.AF_UNIX) as monitor,
        socket.socket(socket.AF_UNIX) as other,
    ):
        for client in (monitor, other):
            client.connect(path)
        monitor.sendall(b"MONITOR\r\n")
        assert monitor.recv(100) == b"+OK\r\n"
        other.sendall(b"PING\r\n")
        line = monitor.makefile("rb").readline()
        assert line.endswith(b' [0 unix:%b] "PING"\r\n' % path.encode())


def test_gates_are_closed_only_while_somebody_monitors() -> None:
    clients = Clients()
    peer, monitors = clients.connect(), [clients.connect() for _ in range(3)]
    for monitor in monitors:
        monitor.ask(b"MONITOR")
    assert clients.services.clients.closed_by == ServerClosure.MONITOR
    peer.ask(b"PING")
    assert all(b'"PING"' in monitor.read_all() for monitor in monitors)
    monitors[0].ask(b"RESET")
    monitors[1].ask(b"QUIT")
    assert not peer.connection.session.skips_gates
    monitors[2].transport.abort()
    assert peer.connection.session.skips_gates
    assert monitors[0].connection.session.skips_gates
    assert len(clients.services.monitors) == 0


def test_a_monitor_that_does_not_read_is_closed() -> None:
    clients = Clients()
    peer, monitor = clients.connect(), clients.connect()
    monitor.ask(b"MONITOR")
    value = b"x" * SHOWN_BYTES
    for _ in range(300):
        peer.ask(b"ECHO " + value)
    assert monitor.is_closed
    assert peer.connection.session.skips_gates
