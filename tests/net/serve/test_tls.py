"""Clients over TLS: what is let in, and that everything behaves as without it."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from flin.net.serve import handshakes
from flin.net.serve.tls_transport import RECORD_BYTES
from flin.net.settings.options import ConfigError
from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.net.certificates import Certificates
from tests.net.serving import ServerThread


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[ServerThread]:
    with ServerThread(uvloop=request.param == "uvloop", **certificates.options()) as server:
        assert server.port == 0, "there is no plain TCP beside TLS"
        yield server


def connect_to(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except OSError:
        plain.close()
        raise


def connect(server: ServerThread, context: ssl.SSLContext) -> ssl.SSLSocket:
    return connect_to(server.tls_port, context)


def serial_of(port: int, certificates: Certificates) -> object:
    """The number of the certificate that a server shows."""
    with connect_to(port, certificates.client()) as sock:
        return (sock.getpeercert() or {})["serialNumber"]


def below(sock: ssl.SSLSocket) -> socket.socket:
    """The same connection without TLS."""
    plain = socket.fromfd(sock.fileno(), socket.AF_INET, socket.SOCK_STREAM)
    plain.settimeout(PATIENCE_SECONDS)
    return plain


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 16), b""))


def redis_client(server: ServerThread, certificates: Certificates, **options: Any) -> redis.Redis:
    return redis.Redis(
        host="localhost", port=server.tls_port, ssl=True, ssl_ca_certs=str(certificates.ca), protocol=3, **options
    )


def test_redis_py(server: ServerThread, certificates: Certificates) -> None:
    with redis_client(server, certificates) as client:
        assert client.set("a", "b")
        assert client.get("a") == b"b"
        (row,) = client.client_list()
        assert row["laddr"] == f"127.0.0.1:{server.tls_port}"
        assert client.info("server")["tcp_port"] == server.tls_port
        assert client.config_get("tls-*")["tls-auth-clients"] == "no"


@pytest.mark.parametrize("size", [1, RECORD_BYTES - 20, RECORD_BYTES, RECORD_BYTES + 1, 5 * RECORD_BYTES, 3_000_000])
def test_values_of_every_length(server: ServerThread, certificates: Certificates, size: int) -> None:
    value = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with redis_client(server, certificates) as client:
        assert client.set("a", value)
        assert client.get("a") == value


def test_a_long_pipeline_that_is_sent_before_anything_is_read(server: ServerThread, certificates: Certificates) -> None:
    with connect(server, certificates.client()) as sock:
        sock.sendall(b"".join(b"SET k%d %b\r\n" % (number, b"v" * 100) for number in range(20_000)))
        sock.sendall(b"".join(b"GET k%d\r\n" % number for number in range(20_000)) + b"QUIT\r\n")
        replies = read_all(sock)
    assert replies == b"+OK\r\n" * 20_000 + (b"$100\r\n" + b"v" * 100 + b"\r\n") * 20_000 + b"+OK\r\n"


def test_what_was_sent_before_the_end_is_answered(server: ServerThread, certificates: Certificates) -> None:
    """A client that closes its side as soon as it has sent: `printf 'PING\\r\\n' | openssl s_client`."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = certificates.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", server.tls_port), timeout=PATIENCE_SECONDS) as sock:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(1 << 16))
        tls.write(b"SET a b\r\nGET a\r\n")
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        sock.sendall(outgoing.read())  # the end of the handshake, the requests and the farewell in one
        incoming.write(read_all(sock))
    assert tls.read(1 << 16) == b"+OK\r\n$1\r\nb\r\n"


def test_an_end_without_a_farewell(server: ServerThread, certificates: Certificates) -> None:
    with connect(server, certificates.client()) as sock:
        sock.sendall(b"PING\r\nSET a")
        with below(sock) as plain:
            plain.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"+PONG\r\n"
    wait_until(lambda: server.call(lambda: len(server.server.services.clients.sessions)) == 0, "the session has ended")


def test_a_client_that_does_not_read_is_counted(server: ServerThread, certificates: Certificates) -> None:
    """asyncio's own TLS transports hide what lies below them."""
    size = 8 << 20
    clients = server.server.services.clients
    with connect(server, certificates.client()) as sock:
        sock.sendall(b"SETRANGE b %d x\r\nGET b\r\n" % (size - 1))
        wait_until(lambda: server.call(clients.buffered_bytes) > size // 4, "what is unread is counted")
        expected = len(b":%d\r\n$%d\r\n" % (size, size)) + size + 2
        while expected:
            expected -= len(sock.recv(1 << 20))
        wait_until(lambda: not server.call(clients.buffered_bytes), "all of it has left")


def test_plain_bytes_to_the_tls_port(server: ServerThread, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING, "flin"),
        socket.create_connection(("127.0.0.1", server.tls_port), timeout=PATIENCE_SECONDS) as sock,
    ):
        sock.sendall(b"*1\r\n$4\r\nPING\r\n")
        assert b"PONG" not in read_all(sock)
    (record,) = caplog.records
    assert "no TLS handshake with 127.0.0.1:" in record.getMessage()


def test_tls_to_the_plain_port(certificates: Certificates) -> None:
    with ServerThread() as server:
        server.tls_port = server.port
        with pytest.raises(ssl.SSLError):
            connect(server, certificates.client())


def test_a_wrong_authority(server: ServerThread, certificates: Certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(server, ssl.create_default_context(cafile=str(certificates.stranger_ca)))


def test_garbage_after_the_handshake_closes(server: ServerThread, certificates: Certificates) -> None:
    with connect(server, certificates.client()) as sock:
        sock.sendall(b"PING\r\n")
        assert sock.recv(100) == b"+PONG\r\n"
        with below(sock) as plain:
            plain.sendall(b"*1\r\n$4\r\nPING\r\n" * 10)
            with suppress(ConnectionResetError):
                read_all(plain)
    wait_until(lambda: server.call(lambda: len(server.server.services.clients.sessions)) == 0, "the session has ended")


@pytest.mark.parametrize(
    ("auth_clients", "shown", "is_let_in"),
    [
        ("yes", "client", True),
        ("yes", "none", False),
        ("yes", "stranger", False),
        ("optional", "client", True),
        ("optional", "none", True),
        ("optional", "stranger", False),
        ("no", "stranger", True),
        ("no", "none", True),
    ],
)
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_client_certificates(
    certificates: Certificates, auth_clients: str, shown: str, is_let_in: bool, version: str
) -> None:
    options = certificates.options(
        tls_auth_clients=auth_clients, tls_ca_cert_file=str(certificates.ca), tls_protocols=version
    )
    with ServerThread(**options) as server:
        context = certificates.client(with_certificate=shown == "client", is_stranger=shown == "stranger")
        try:
            with connect(server, context) as sock:
                sock.sendall(b"PING\r\n")
                reply = sock.recv(100)
                assert sock.version() == version
        except (ssl.SSLError, ConnectionError):
            reply = b""
        assert reply == (b"+PONG\r\n" if is_let_in else b"")


def test_old_protocols_are_refused(certificates: Certificates) -> None:
    with ServerThread(**certificates.options(tls_protocols="TLSv1.3")) as server:
        context = certificates.client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError, match="protocol version"):
            connect(server, context)


def test_ciphers(certificates: Certificates) -> None:
    cipher = "ECDHE-ECDSA-AES256-GCM-SHA384"
    options = certificates.options(tls_ciphers=f"{cipher}:ECDHE-RSA-AES256-GCM-SHA384", tls_protocols="TLSv1.2")
    with ServerThread(**options) as server, connect(server, certificates.client()) as sock:
        chosen = sock.cipher()
        assert chosen is not None
        assert chosen[0].endswith("AES256-GCM-SHA384")


def test_new_certificates_are_read_while_it_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificates = Certificates(tmp_path)
    with ServerThread(**certificates.options()) as server, connect(server, certificates.client()) as old:
        first = serial_of(server.tls_port, certificates)
        certificates.renew()
        assert serial_of(server.tls_port, certificates) == first, "nobody has told it yet"
        server.call(server.server.listeners.reload)
        second = serial_of(server.tls_port, certificates)
        assert second != first
        for broken in (b"", certificates.stranger_cert.read_bytes()):
            certificates.cert.write_bytes(broken)
            caplog.clear()
            server.call(server.server.listeners.reload)
            (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert "the old ones stay in use" in error.getMessage()
            assert serial_of(server.tls_port, certificates) == second
        old.sendall(b"PING\r\n")
        assert old.recv(100) == b"+PONG\r\n"


def test_a_key_with_a_password(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    certificates.encrypt_key("secret")
    with (
        ServerThread(**certificates.options(tls_key_file_pass="secret")) as server,
        redis_client(server, certificates) as client,
    ):
        assert client.config_get("tls-key-file-pass") == {"tls-key-file-pass": ""}
    for password in ("", "wrong"):
        with pytest.raises(ConfigError, match=r"server\.pem with tls_key_file .*server\.key: .* another password than"):
            ServerThread(**certificates.options(tls_key_file_pass=password)).__enter__()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tls_cert_file": "{dir}/absent.pem"}, r"tls_cert_file .*absent\.pem: No such file"),
        ({"tls_key_file": "{dir}"}, r"tls_key_file .*: Is a directory"),
        ({"tls_key_file": "{dir}/client.key"}, r"with tls_key_file .*client\.key: key values mismatch"),
        ({"tls_cert_file": "{dir}/server.key"}, r"tls_cert_file .*server\.key with .*: "),
        ({"tls_ca_cert_file": "{dir}/absent.pem"}, r"tls_ca_cert_file .*absent\.pem: No such file"),
        ({"tls_ca_cert_file": "{dir}/server.key"}, r"tls_ca_cert_file .*server\.key: no certificate"),
        ({"tls_ca_cert_dir": "{dir}/server.key"}, r"tls_ca_cert_dir .*server\.key is no directory"),
        ({"tls_ciphers": "HOT-AIR"}, "tls_ciphers is 'HOT-AIR', none of which"),
    ],
)
def test_wrong_files(certificates: Certificates, changes: dict[str, str], text: str) -> None:
    changes = {name: value.format(dir=certificates.directory) for name, value in changes.items()}
    with pytest.raises(ConfigError, match=text):
        ServerThread(**certificates.options(**changes)).__enter__()


def test_no_more_clients_than_allowed(certificates: Certificates) -> None:
    with ServerThread(port=0, **certificates.options(tls_maxclients=2)) as server:
        context = certificates.client()
        first, second = connect(server, context), connect(server, context)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connect(server, context)
        assert server.call(lambda: server.server.services.counters.rejected_connections) == 1
        first.close()
        wait_until(lambda: server.call(lambda: len(server.server.listeners.tls_clients)) == 1, "it has left")
        with connect(server, context) as third:
            third.sendall(b"PING\r\n")
            assert third.recv(100) == b"+PONG\r\n"
        second.close()


def test_handshakes_that_never_end_keep_nobody_out(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handshakes, "AT_ONCE", 4)
    monkeypatch.setattr(handshakes, "SECONDS", 0.3)
    beginning = b"\x16\x03\x01\x02\x00\x01"  # of a ClientHello
    with ServerThread(**certificates.options()) as server:
        stuck = [socket.create_connection(("127.0.0.1", server.tls_port)) for _ in range(12)]
        for sock in stuck[:8]:
            sock.sendall(beginning)
        with connect(server, certificates.client()) as sock:
            sock.sendall(b"PING\r\n")
            assert sock.recv(100) == b"+PONG\r\n"
            for other in stuck:
                other.settimeout(PATIENCE_SECONDS)
                assert other.recv(1) == b"", "its time is over"
                other.close()
        wait_until(lambda: server.call(lambda: len(server.server.listeners.tls_clients)) == 0, "nothing is left")
        assert server.call(lambda: server.server.listeners.handshakes.failures) == 12


def test_the_end_of_the_server_during_handshakes(certificates: Certificates) -> None:
    with ServerThread(**certificates.options()) as server:
        stuck = [socket.create_connection(("127.0.0.1", server.tls_port)) for _ in range(3)]
        stuck[0].sendall(b"\x16\x03\x01\x02\x00\x01")
        wait_until(lambda: server.call(lambda: len(server.server.listeners.handshakes)) == 3, "they have arrived")
    for sock in stuck:
        sock.settimeout(PATIENCE_SECONDS)
        assert sock.recv(1) == b""
        sock.close()


def test_connects_and_disconnects_leave_nothing(server: ServerThread, certificates: Certificates) -> None:
    context = certificates.client()

    def come_and_go() -> None:
        for number in range(15):
            sock = connect(server, context)
            if number % 3:
                sock.sendall(b"PING\r\n")
                assert sock.recv(100) == b"+PONG\r\n"
            if number % 2:
                sock.unwrap()
            sock.close()

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    listeners, clients = server.server.listeners, server.server.services.clients
    wait_until(
        lambda: (
            server.call(lambda: (len(listeners.tls_clients), len(listeners.handshakes), len(clients.sessions)))
            == (0, 0, 0)
        ),
        "nothing is left",
    )
