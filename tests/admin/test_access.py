"""Who may ask what, as one table, and the same over a real connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from flin.admin.access import Access, Asked, access_of, is_loopback
from flin.net.settings.options import ConfigError, ServerOptions
from tests.admin.paged import TOKEN, Paged

ACCESS = Access(frozenset({"127.0.0.1", "localhost", "db1.example.com"}), TOKEN.encode())
BEARER = f"Bearer {TOKEN}".encode()
LOCAL, REMOTE = "127.0.0.1", "10.1.2.3"
JSON = "application/json"

ROWS = [
    # method, path, Host, Authorization, Content-Type, own address; the status of the refusal, 0: there is none
    ("GET", "/health", "localhost:8080", b"", "", LOCAL, 0),
    ("GET", "/stats", "LocalHost", b"", "", LOCAL, 0),
    ("GET", "/", "db1.example.com:8080", b"", "", LOCAL, 0),
    ("GET", "/health", "evil.example.com", b"", "", LOCAL, 403),
    ("GET", "/metrics", "evil.example.com", BEARER, "", LOCAL, 403),
    ("GET", "/health", "", b"", "", LOCAL, 403),
    ("GET", "/health", "localhost.evil.com", b"", "", LOCAL, 403),
    ("GET", "/health", "localhost@evil.com", b"", "", LOCAL, 403),
    # Where others reach it, only what probes ask is free.
    ("GET", "/health", "10.1.2.3:8080", b"", "", REMOTE, 0),
    ("GET", "/ready", "10.1.2.3", b"", "", REMOTE, 0),
    ("HEAD", "/metrics", "10.1.2.3", b"", "", REMOTE, 0),
    ("GET", "/stats", "10.1.2.3", b"", "", REMOTE, 401),
    ("GET", "/", "10.1.2.3", b"", "", REMOTE, 401),
    ("GET", "/stats", "10.1.2.3", BEARER, "", REMOTE, 0),
    ("GET", "/health", "10.9.9.9", b"", "", REMOTE, 403),
    ("GET", "/health", "[2001:db8::1]:8080", b"", "", "2001:db8::1", 0),
    # What changes something.
    ("POST", "/admin/flush", "localhost", BEARER, JSON, LOCAL, 0),
    ("POST", "/admin/flush", "localhost", b"", JSON, LOCAL, 401),
    ("POST", "/admin/flush", "localhost", b"Bearer wrong", JSON, LOCAL, 401),
    ("POST", "/admin/flush", "localhost", BEARER + b"x", JSON, LOCAL, 401),
    ("POST", "/admin/flush", "localhost", BEARER[:-1], JSON, LOCAL, 401),
    ("POST", "/admin/flush", "localhost", b"Basic " + BEARER[7:], JSON, LOCAL, 401),
    ("POST", "/admin/flush", "localhost", b"Bearer \xff\xfe", JSON, LOCAL, 401),
    ("POST", "/admin/flush", "localhost", BEARER, "text/plain", LOCAL, 415),
    ("POST", "/admin/flush", "localhost", BEARER, "application/x-www-form-urlencoded", LOCAL, 415),
    ("POST", "/admin/flush", "evil.example.com", BEARER, JSON, LOCAL, 403),
    ("POST", "/health", "localhost", b"", JSON, LOCAL, 401),
    ("DELETE", "/stats", "localhost", b"", "", LOCAL, 401),
    ("OPTIONS", "/stats", "localhost", b"", "", LOCAL, 401),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(map(str, row[:3])))
def test_the_table(row: tuple[str, str, str, bytes, str, str, int]) -> None:
    *asked, status = row
    refusal = ACCESS.refusal_of(Asked(*asked))  # type: ignore[arg-type]
    assert (0 if refusal is None else refusal.status) == status


def test_without_a_token_nothing_changes() -> None:
    access = Access(ACCESS.hosts, None)
    for authorization in (b"", b"Bearer ", b"Bearer None", BEARER):
        refusal = access.refusal_of(Asked("POST", "/admin/flush", "localhost", authorization, JSON, LOCAL))
        assert refusal is not None
        assert refusal.status == 403
        assert "--http-token-file" in refusal.text


def test_loopback() -> None:
    for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert is_loopback(address), address
    for address in ("0.0.0.0", "10.1.2.3", "::", "::ffff:10.1.2.3", "fe80::1%eth0", "", "localhost"):
        assert not is_loopback(address), address


def test_the_options(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    access = access_of(ServerOptions(http="[::1]:0", http_hosts="Db1, db2", http_token_file=str(path)))
    assert access == Access(frozenset({"::1", "localhost", "db1", "db2"}), TOKEN.encode())
    for text, problem in [
        ("short", "at least 16"),
        ("two words are not a token", "one word"),
        ("pässwort" * 4, "ASCII"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=problem):
            access_of(ServerOptions(http="127.0.0.1:0", http_token_file=str(path)))
    with pytest.raises(ConfigError, match="No such file"):
        access_of(ServerOptions(http="127.0.0.1:0", http_token_file=str(tmp_path / "none")))
    for address in ("8080", ":8080", "localhost", "::1:8080", "localhost:http", "localhost:65536"):
        with pytest.raises(ConfigError, match="such as 127"):
            ServerOptions(http=address).check()


def test_over_a_connection(server: Paged) -> None:
    assert server.ask("GET", "/health").text == "ok\n"
    refused = server.ask("GET", "/health", Host="evil.example.com")
    assert (refused.status, "evil.example.com" in refused.json["error"]) == (403, True)
    assert server.ask("GET", "/health", Host="localhost:1").status == 200
    assert server.ask("POST", "/health", {}, Authorization="").headers["WWW-Authenticate"] == "Bearer"
    wrong = server.ask("POST", "/health", {}, Content_Type="text/plain")
    assert (wrong.status, wrong.json) == (415, {"error": "send JSON: Content-Type: application/json"})


def test_headers_of_every_reply(server: Paged) -> None:
    for reply in (
        server.ask("GET", "/stats"),
        server.ask("GET", "/nowhere"),
        server.ask("POST", "/stats", {}),
        server.ask("GET", "/stats", Host="evil", Origin="http://evil"),
        server.ask("GET", "/health", Origin="http://evil"),
    ):
        assert reply.headers["Content-Security-Policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"
        )
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert not [name for name in reply.headers if name.lower().startswith("access-control")]
