"""The ports of workers: planned, bound before anybody starts, and held."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from flin.bench.workers import free_ports
from flin.cluster.workers.ports import STEP, bind_all, planned_ports, turn_away
from flin.net.settings.options import ConfigError, ServerOptions
from flin.testing.process import PATIENCE_SECONDS


@pytest.mark.parametrize(
    ("options", "plan"),
    [
        (ServerOptions(port=6380, workers=3), [(6380, None), (6480, None), (6580, None)]),
        (ServerOptions(port=0, workers=2), [(0, None), (0, None)]),
        (ServerOptions(port=0, tls_port=7000, workers=2), [(None, 7000), (None, 7100)]),
        (ServerOptions(port=0, tls_port=0, workers=2), [(None, 0), (None, 0)]),
        (ServerOptions(port=6380, tls_port=6390, workers=2), [(6380, 6390), (6480, 6490)]),
    ],
)
def test_plans(options: ServerOptions, plan: list[tuple[int | None, int | None]]) -> None:
    assert planned_ports(options) == plan


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (ServerOptions(port=65_500, workers=2), "worker 1 would need port 65600: choose a lower port"),
        (ServerOptions(port=6380, tls_port=65_535, workers=2), "worker 1 would need port 65635"),
        (
            ServerOptions(port=6380, tls_port=6480, workers=2),
            "port 6480 would be a worker's port and a worker's TLS port: they are 100 apart",
        ),
    ],
)
def test_plans_that_cannot_be(options: ServerOptions, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        planned_ports(options)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on; that of a worker before is free."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", free_ports(2)[1]))
        listening.listen()
        yield listening.getsockname()[1]


def is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_a_taken_port_is_named_and_nothing_stays_bound(taken: int) -> None:
    with pytest.raises(ConfigError, match=f"port {taken}, that of worker 1: Address already in use"):
        bind_all(ServerOptions(port=taken - STEP, workers=3))
    assert is_free(taken - STEP)


def test_free_ports_are_held_and_nobody_listens_yet() -> None:
    sockets = bind_all(ServerOptions(port=0, workers=3))
    try:
        ports = [each.port for each in sockets]
        assert len(set(ports)) == 3
        assert all(port > 0 and each.tls_port == 0 for port, each in zip(ports, sockets, strict=True))
        with closing(socket.socket()) as client, pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", ports[0]))
        sockets[0].plain[0].listen()
        with closing(socket.create_connection(("127.0.0.1", ports[0]))):
            assert not is_free(ports[0])
    finally:
        for each in sockets:
            each.close()


def test_a_free_port_is_the_same_on_all_addresses() -> None:
    options = ServerOptions(port=0, tls_port=0, tls_cert_file="c", tls_key_file="k", bind=("127.0.0.1", "127.0.0.2"))
    (only,) = bind_all(options)
    try:
        assert only.plain == ()
        assert {each.getsockname() for each in only.tls} == {(host, only.tls_port) for host in options.bind}
        assert only.port == 0
        assert only.numbers == ([], [each.fileno() for each in only.tls])
    finally:
        only.close()


def test_an_address_that_is_not_of_this_machine() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1 port 0, that of worker 0: Cannot assign"):
        bind_all(ServerOptions(port=0, workers=2, bind=("192.0.2.1",)))


def test_a_family_that_the_kernel_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` may stand for ::1 where there is no IPv6."""
    plain = socket.getaddrinfo("127.0.0.1", 0, type=socket.SOCK_STREAM)
    unknown = (socket.AF_INET6 + 90, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **keywords: [unknown, *plain])
    (only,) = bind_all(ServerOptions(port=0, bind=("localhost",)))
    assert [each.getsockname() for each in only.plain] == [("127.0.0.1", only.port)]
    only.close()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **keywords: [unknown])
    with pytest.raises(ConfigError, match="cannot listen on localhost: this machine has no such addresses"):
        bind_all(ServerOptions(port=0, bind=("localhost",)))


@pytest.mark.parametrize("explicit", [False, True])
def test_sockets_that_turn_away_are_heard_again(*, explicit: bool) -> None:
    (made,) = bind_all(ServerOptions(port=0, workers=1))
    port = made.port
    if explicit:
        made.close()
        (made,) = bind_all(ServerOptions(port=port, workers=1))
    (bound,) = made.plain
    try:
        turn_away(made.plain)  # nobody listens yet
        for _ in range(2):
            listening = bound.dup()
            listening.listen()
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as client:
                client.sendall(b"heard")
                accepted, _ = listening.accept()
                with accepted:
                    assert accepted.recv(5) == b"heard"
            listening.close()
            turn_away(made.plain)
            turn_away(made.plain)  # a worker does, and then its supervisor
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
    finally:
        made.close()
    turn_away(made.plain)  # of a worker that will not come back its sockets are closed
