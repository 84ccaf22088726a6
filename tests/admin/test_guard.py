"""Odd requests: what is too large, too slow, too many, or no HTTP at all."""

from __future__ import annotations

import select
from contextlib import suppress

import pytest

from flin.admin import guard
from flin.testing.process import wait_until
from tests.admin.paged import TOKEN, Paged


def _all_of(server: Paged, data: bytes) -> bytes:
    """What is answered until the server closes."""
    with server.raw() as sock:
        sock.sendall(data)
        found = b""
        while part := sock.recv(1 << 16):
            found += part
    return found


def _get(path: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: localhost", *lines, b"", b""])


CLOSE = b"Connection: close"


@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        _get(b"/health", b"Content-Length: -1"),
        _get(b"/health", b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        _get(b"/health", b"bad header line"),
    ],
)
def test_what_is_no_request(server: Paged, data: bytes) -> None:
    assert _all_of(server, data).startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), data
    assert server.ask("GET", "/health").status == 200


def test_a_head_that_is_too_large(server: Paged) -> None:
    """However it is made up: one line, one field, or many of them."""
    for lines in ([b"A: " + b"x" * 17_000], [b"A%d: %b" % (number, b"x" * 1000) for number in range(17)]):
        reply = _all_of(server, _get(b"/health", *lines, CLOSE))
        assert reply.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400")), reply[:100]
    assert _all_of(server, b"GET /" + b"x" * 20_000).startswith(b"HTTP/1.1 431")
    with server.raw() as sock:  # a piece at a time, and without an end
        sock.sendall(b"GET /health HTTP/1.1\r\nA: ")
        for _ in range(17):
            sock.sendall(b"x" * 1000)
        assert sock.recv(100).startswith(b"HTTP/1.1 431")
    fits = _all_of(server, _get(b"/health", *[b"A%d: %b" % (number, b"x" * 1000) for number in range(15)], CLOSE))
    assert fits.startswith(b"HTTP/1.1 200")


def test_a_body_that_is_too_large(server: Paged) -> None:
    reply = server.ask("POST", "/admin/log-level", b" " * (guard.MAX_BODY_BYTES + 1))
    assert reply.status == 413
    assert "Too Large" in reply.json["error"], "in the words of this Python"


def test_several_requests_on_one_connection(server: Paged) -> None:
    """Each may be as large as the first one, and they may arrive together or byte by byte."""
    large = _get(b"/health", b"A: " + b"x" * 8000)
    assert _all_of(server, large * 3 + _get(b"/health", CLOSE)).count(b"200 OK") == 4
    with server.raw() as sock:
        for byte in _get(b"/health", CLOSE):
            sock.sendall(bytes([byte]))
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_a_request_that_never_ends(server: Paged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REQUEST_SECONDS", 0.1)
    for data in (b"", b"GET / HT", b"POST /admin/flush HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1"):
        with server.raw() as sock:
            sock.sendall(data)
            reply = sock.recv(1 << 16)
            assert reply.startswith((b"HTTP/1.1 408", b"HTTP/1.1 401")), reply


def test_more_connections_than_there_may_be(server: Paged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_CONNECTIONS", 3)
    held = [server.raw() for _ in range(3)]
    try:
        for sock in held:
            sock.sendall(_get(b"/health"))
            assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")  # so that it is known to be there
            sock.sendall(b"GET")
            server.call(lambda: None)  # the loop has turned since
        assert _all_of(server, b"").startswith(b"HTTP/1.1 503")
    finally:
        for sock in held:
            sock.close()


def test_a_connection_without_a_request_gives_its_place_to_a_new_one(
    server: Paged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MAX_CONNECTIONS", 2)
    with server.raw() as idle, server.raw() as busy:
        for sock in (busy, idle):
            sock.sendall(_get(b"/health"))
            assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")
        busy.sendall(b"GET /health HTTP/1.1\r\n")
        assert _all_of(server, _get(b"/health", CLOSE)).startswith(b"HTTP/1.1 200")
        assert idle.recv(100) == b""
        busy.sendall(b"Host: localhost\r\n\r\n")
        assert busy.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_a_client_that_does_not_read(server: Paged, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut off."""
    monkeypatch.setattr(guard, "READING_SECONDS", 0.1)
    with server.raw() as sock:
        # The replies are more than the kernel holds for the connection, so the server has to wait for the client.
        with suppress(ConnectionError):  # it may have been cut off by then
            sock.sendall(_get(b"/dashboard.js") * 5000)
        events = select.poll()
        events.register(sock, select.POLLERR)
        wait_until(lambda: bool(events.poll(0)), "the end of the connection")
    assert server.ask("GET", "/health").status == 200


def test_a_client_that_leaves_in_the_middle_of_a_body(server: Paged, caplog: pytest.LogCaptureFixture) -> None:
    with server.raw() as sock:
        head = [b"POST /admin/flush HTTP/1.1", b"Host: localhost", b"Authorization: Bearer " + TOKEN.encode()]
        sock.sendall(b"\r\n".join([*head, b"Content-Type: application/json", b"Content-Length: 9", b"", b"1"]))
        sock.sendall(b"2")
    assert server.ask("POST", "/admin/flush").status == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
