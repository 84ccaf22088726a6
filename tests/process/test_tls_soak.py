"""Thousands of clients that come over TLS and go again, politely or not: nothing of them stays."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.net.certificates import Certificates
from tests.net.test_server import Served

pytestmark = pytest.mark.slow

THREADS = 8
CLIENTS = 100  # of each thread and round
GROWTH_BYTES = 4 << 20
"""Of the second round and the third. A leak of each client's TLS state would be 1,400 times 20 KB: seven times this."""


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def served(tmp_path: Path, certificates: Certificates) -> Iterator[Served]:
    served = Served(tmp_path / "db", *certificates.words())
    yield served
    assert served.end(15) == 0


def come_and_go(port: int, context: ssl.SSLContext, kind: int) -> None:
    for number in range(CLIENTS):
        plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        if kind == 0:
            plain.sendall(b"PING\r\n" if number % 2 else b"\x16\x03\x01\x02\x00")  # no handshake, or a part of one
            plain.close()
            continue
        with context.wrap_socket(plain, server_hostname="localhost") as sock:
            for _ in range(kind % 3):
                sock.sendall(b"SET a b\r\nGET a\r\n")
                left = len(b"+OK\r\n$1\r\nb\r\n")
                while left:  # what comes after a `close_notify` would be an error
                    left -= len(sock.recv(left))
            if kind % 2:
                sock.unwrap()


def sockets(pid: int) -> int:
    """How many a process has open."""
    found = 0
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            found += os.readlink(entry.path).startswith("socket:")
    return found


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def test_nothing_stays(served: Served, certificates: Certificates) -> None:
    pid = served.process.pid
    context = certificates.client()
    sizes = []
    with redis.Redis(host="localhost", port=served.port, ssl=True, ssl_ca_certs=str(certificates.ca)) as client:
        client.ping()
        before = sockets(pid)
        for _ in range(3):
            threads = [
                threading.Thread(target=come_and_go, args=(served.port, context, kind)) for kind in range(THREADS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            wait_until(lambda: sockets(pid) == before, "all sockets are closed")
            assert client.info("clients")["connected_clients"] == 1
            sizes.append(private_bytes(pid))
    assert sizes[2] - sizes[0] < GROWTH_BYTES, sizes
