"""What is too large for the log of a replica is refused, and nobody else's writes with it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from flin.engine.entry import Entry, Range
from flin.errors import LimitError
from flin.net.wire.resp import encode_requests
from tests.net.fake_peer import Clients, Peer
from tests.net.fake_store import FakeStore
from tests.net.role import FakeRole

MOST = 6000


class BoundedStore(FakeStore):
    def commit(self, batch: dict[bytes, Entry], ranges: Sequence[Range] = ()) -> int:
        size = sum(map(len, batch)) + sum(len(entry[0]) for entry in batch.values() if isinstance(entry, tuple))
        if size > MOST:
            raise LimitError("a commit's bytes", size, MOST)
        return super().commit(batch, ranges)


@pytest.fixture
def peers() -> tuple[Peer, Peer]:
    clients = Clients(BoundedStore(), role=FakeRole())
    return clients.connect(), clients.connect()


def members(letter: bytes) -> bytes:
    return b" ".join(b"%d%b" % (number, letter * 100) for number in range(40))


def test_a_large_command_is_refused_alone(peers: tuple[Peer, Peer]) -> None:
    peer, other = peers
    assert peer.ask(b"SADD {x}a " + members(b"a")) == peer.ask(b"SADD {x}b " + members(b"b")) == b":40\r\n"
    other.say(b"SET {x}k 3")
    peer.say(b"SUNIONSTORE {x}c {x}a {x}b")
    other.say(b"GET {x}k")
    other._loop.run()
    assert other.read_all() == b"+OK\r\n$1\r\n3\r\n"
    assert peer.read_all().startswith(b"-ERR a commit's bytes is")
    assert peer.ask(b"EXISTS {x}c", b"GET {x}k", b"SUNIONSTORE {x}c {x}a") == b":0\r\n$1\r\n3\r\n:40\r\n"


def test_values_and_transactions_are_bounded(peers: tuple[Peer, Peer]) -> None:
    peer, other = peers
    assert peer.ask(b"CONFIG GET proto-max-bulk-len").endswith(b"$8\r\n16777216\r\n")
    assert b"exceeds maximum allowed size" in peer.ask(b"SETRANGE a 16777216 x")
    half = b"v" * (9 << 20)
    peer.say(b"MULTI", [b"SET", b"a", half], [b"SET", b"{a}b", half], b"EXEC")
    peer._loop.run()
    assert b"-EXECABORT Transaction discarded because of: the size of its writes" in peer.read_all()
    other.send_raw(encode_requests([[b"SET", b"a", half + half]]))
    assert other.read_all() == b"-ERR Protocol error: invalid bulk length\r\n"
