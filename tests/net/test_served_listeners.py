"""`flin serve` over TLS and a Unix socket: its own process, real signals, real clients."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.net.certificates import Certificates
from tests.net.serve.test_tls import serial_of
from tests.net.test_server import Served


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(*options: str) -> Served:
        started.append(Served(tmp_path / "db", *options))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.end(signal.SIGKILL)


def test_certificates_are_read_again_on_sighup(serve: Callable[..., Served], tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    served = serve(*certificates.words())
    assert "127.0.0.1 TLS port" in served.line
    with redis.Redis(host="localhost", port=served.port, ssl=True, ssl_ca_certs=str(certificates.ca)) as client:
        assert client.set("a", "b")
        first = serial_of(served.port, certificates)
        certificates.renew()
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: serial_of(served.port, certificates) != first, "the new certificate is shown")
        assert client.get("a") == b"b", "an open connection stays"
    assert served.end(signal.SIGTERM) == 0


def test_redis_cli_over_tls(serve: Callable[..., Served], tmp_path: Path, needs_tool: Callable[[str], str]) -> None:
    program = needs_tool("redis-cli")
    certificates = Certificates(tmp_path)
    served = serve(*certificates.words(tls_auth_clients="yes", tls_ca_cert_file=str(certificates.ca)))
    words = [program, "-p", str(served.port), "--tls", "--cacert", str(certificates.ca)]

    def ask(*options: str) -> str:
        done = subprocess.run(
            [*words, *options, "ECHO", "hello"], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
        if "Unrecognized option" in done.stderr:
            pytest.skip("this redis-cli was built without TLS")
        return done.stdout.strip()

    assert ask("--cert", str(certificates.client_cert), "--key", str(certificates.client_key)) == "hello"
    assert ask() == ""


def test_a_unix_socket_outlives_a_kill(serve: Callable[..., Served], tmp_path: Path) -> None:
    path = tmp_path / "flin.sock"
    words = ["--unixsocket", str(path), "--unixsocketperm", "770"]
    first = serve(*words)
    assert "port" not in first.line, "port 0 beside a socket: no TCP"
    assert stat.S_IMODE(path.stat().st_mode) == 0o770
    with redis.Redis(unix_socket_path=str(path)) as client:
        assert client.set("a", "b")
        (row,) = client.client_list()
        assert (row["addr"], row["laddr"]) == (f"{path}:0", f"{path}:0")
        assert client.config_get("unixsocket*") == {"unixsocket": str(path), "unixsocketperm": "770"}
    refused = subprocess.run(
        [sys.executable, "-m", "flin", "serve", "--port", "0", "--dir", str(tmp_path / "other"), *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert refused.returncode != 0
    assert "is in use: a server answers there" in refused.stderr
    os.kill(first.process.pid, signal.SIGKILL)
    first.end(signal.SIGKILL)
    assert path.exists(), "it is stale now"
    second = serve(*words)
    with redis.Redis(unix_socket_path=str(path)) as client:
        assert client.get("a") == b"b"
    assert second.end(signal.SIGTERM) == 0
    assert not path.exists()


def test_a_unix_socket_is_local(serve: Callable[..., Served], tmp_path: Path) -> None:
    """For protected mode, which refuses clients of other machines; also a relative path."""
    path = os.path.relpath(tmp_path / "flin.sock")
    serve("--unixsocket", path, "--bind", "0.0.0.0")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(b"PING\r\n")
        assert sock.recv(100) == b"+PONG\r\n"
