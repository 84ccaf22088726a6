"""The longest value is half of the clients' share: it always passes, in and out, and a longer one never does."""

from __future__ import annotations

import pytest
import redis

from flin.net.settings.config import MAX_BULK_BYTES, Config
from flin.net.settings.options import ServerOptions
from flin.net.wire.resp import encode_requests
from tests.net.fake_peer import Clients
from tests.net.serving import ServerThread

LIMIT = 16 << 20
LONGEST = 2 << 20


def test_how_long_it_is() -> None:
    assert Config(ServerOptions()).longest_bulk_bytes == 128 << 20
    assert Config(ServerOptions(memory_limit=LIMIT)).longest_bulk_bytes == LONGEST
    assert Config(ServerOptions(memory_limit=4 << 30)).longest_bulk_bytes == MAX_BULK_BYTES == 512 << 20
    assert Config(ServerOptions(memory_limit=1 << 40)).longest_bulk_bytes == MAX_BULK_BYTES
    clients = Clients(memory_limit=LIMIT)
    assert clients.connect().ask(b"CONFIG GET proto-max-bulk-len").endswith(b"$7\r\n2097152\r\n")


def test_the_longest_passes_however_slowly_it_comes_and_goes() -> None:
    clients = Clients(memory_limit=LIMIT)
    peer = clients.connect()
    value = b"v" * LONGEST
    wire = encode_requests([[b"SET", b"k", value], [b"SET", b"k", value, b"GET"], [b"GET", b"k"]])
    reply = b"$%d\r\n" % LONGEST + value + b"\r\n"
    while wire:
        piece, wire = wire[: LONGEST // 10], wire[LONGEST // 10 :]
        peer.send_raw(piece)
        clients.pass_seconds(5)
    said = b""
    while len(said) < 5 + 2 * len(reply):
        part = peer.read(LONGEST // 10)
        assert part, "it is not closed"
        said += part
        clients.pass_seconds(5)
    assert said == b"+OK\r\n" + reply * 2


def test_a_longer_one_is_refused_as_soon_as_it_is_announced() -> None:
    clients = Clients(memory_limit=LIMIT)
    peer = clients.connect()
    peer.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (LONGEST + 1))
    assert peer.read_all() == b"-ERR Protocol error: invalid bulk length\r\n"
    assert peer.is_closed


@pytest.mark.parametrize("request_", [b"APPEND k x", b"SETRANGE k %d x" % LONGEST])
def test_no_command_makes_a_longer_one(request_: bytes) -> None:
    clients = Clients(memory_limit=LIMIT)
    clients.store.entries[b"k"] = b"v" * LONGEST
    peer = clients.connect()
    assert peer.ask(request_) == b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"


def test_others_are_served_while_one_in_chunks_is_put_together() -> None:
    clients = Clients(memory_limit=LIMIT)
    peer, other = clients.connect(), clients.connect()
    value = bytes(range(256)) * (LONGEST // 256)
    assert peer.ask(b"SET small s") == b"+OK\r\n"
    peer.send_raw(encode_requests([[b"SETRANGE", b"k", b"0", value]]))
    assert peer.read_all() == b":%d\r\n" % LONGEST
    peer.say(b"GET small", b"GET k", b"GET small")
    other.say(b"SETRANGE k 0 #")
    clients.loop.run()
    assert other.read_all() == b":%d\r\n" % LONGEST
    assert peer.read_all() == b"$1\r\ns\r\n" + b"$%d\r\n%b\r\n" % (LONGEST, value) + b"$1\r\ns\r\n"
    assert peer.ask(b"GETRANGE k 0 1") == b"$2\r\n#\x01\r\n"


def test_over_a_socket() -> None:
    with ServerThread(memory_limit=LIMIT) as server, redis.Redis(port=server.port, socket_timeout=60) as client:
        value = bytes(range(256)) * (LONGEST // 256)
        for _ in range(5):
            client.set("k", value)
            assert client.get("k") == value
        # Closed while it still sends, a client may see the end before it sees the reason.
        with pytest.raises(
            (redis.ConnectionError, redis.ResponseError), match=r"invalid bulk length|reset|closed|pipe"
        ):
            client.set("k", value + b"x")
        assert client.get("k") == value
