"""Links whose bytes are held, late or lost."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from flin.testing.cluster.link import Link, Links
from flin.testing.process import PATIENCE_SECONDS, wait_until


@contextmanager
def linked() -> Iterator[tuple[Link, socket.socket, list[bytes]]]:
    """A link to a server that says back what it gets, with a client; and what the server got."""
    got: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as server, Links() as links:

        def serve() -> None:
            served, _ = server.accept()
            with closing(served), suppress(ConnectionError):
                while data := served.recv(100):
                    got.append(data)
                    served.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        link = links.add([server.getsockname()])
        with closing(socket.create_connection(("127.0.0.1", link.ports[0]), timeout=PATIENCE_SECONDS)) as client:
            client.sendall(b"first")
            assert client.recv(100) == b"first"
            yield link, client, got
        thread.join()


def is_lost(client: socket.socket) -> bool:
    try:
        return client.recv(100) == b""
    except ConnectionResetError:
        return True


def test_answers_that_are_late() -> None:
    with linked() as (link, client, got):
        link.answers.hold()
        client.sendall(b"second")
        wait_until(lambda: got == [b"first", b"second"], "the request arrives")
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)
        client.settimeout(PATIENCE_SECONDS)
        link.heal()
        assert client.recv(100) == b"second"


def test_answers_that_are_lost() -> None:
    with linked() as (link, client, got):
        link.answers.hold()
        client.sendall(b"second")
        wait_until(lambda: len(got) == 2, "the request arrives")
        link.reset()
        assert is_lost(client)


def test_requests_that_are_lost() -> None:
    with linked() as (link, client, got):
        link.cut()
        client.sendall(b"second")
        link.reset()
        assert is_lost(client)
        link.heal()
    assert got == [b"first"]


def test_delays() -> None:
    with linked() as (link, client, _):
        link.requests.delay_seconds = 0.01
        client.sendall(b"second")
        assert client.recv(100) == b"second"


def test_a_target_that_is_away() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        target = server.getsockname()
    with Links() as links:
        link = links.add([target])
        with closing(socket.create_connection(("127.0.0.1", link.ports[0]), timeout=PATIENCE_SECONDS)) as client:
            assert is_lost(client)
