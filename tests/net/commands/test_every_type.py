"""What moves keys of any type: COPY, MOVE, RENAME, SWAPDB, DUMP, OBJECT, MEMORY USAGE, TOUCH, SCAN TYPE."""

from __future__ import annotations

from typing import Any

import pytest

from flin.objects import limits
from tests.net.commands.handling import Handling

OK = b"+OK\r\n"
ONE = b":1\r\n"
WORDS = [b"%d.5" % number for number in range(300)]

MADE: dict[str, list[list[bytes]]] = {
    "string": [[b"SET", b"k", b"v" * 300]],
    "long string": [[b"SETRANGE", b"k", b"70000", b"x"]],
    "hash": [[b"HSET", b"k", *WORDS]],
    "list": [[b"RPUSH", b"k", *WORDS]],
    "set": [[b"SADD", b"k", *WORDS]],
    "zset": [[b"ZADD", b"k", *WORDS]],
    "stream": [[b"XADD", b"k", b"%d-1" % number, b"f", b"v"] for number in range(1, 200)],
}
READ: dict[str, list[bytes]] = {
    "string": [b"GET"],
    "long string": [b"GET"],
    "hash": [b"HGETALL"],
    "list": [b"LRANGE", b"0", b"-1"],
    "set": [b"SMEMBERS"],
    "zset": [b"ZRANGE", b"0", b"-1", b"WITHSCORES"],
    "stream": [b"XRANGE", b"-", b"+"],
}
ENCODINGS = {"string": b"raw", "long string": b"raw", "list": b"quicklist", "zset": b"skiplist", "stream": b"stream"}


@pytest.fixture(params=["packed", "spread"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Handling:
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", 2 if request.param == "spread" else 1000)
    monkeypatch.setattr(limits, "MAX_PACKED_BYTES", 1 << 20)
    return Handling()


@pytest.fixture(params=["committed", "pending"])
def commits(request: pytest.FixtureRequest) -> bool:
    """Whether what was made is in the store before it is moved, or changed in the same batch."""
    return bool(request.param == "committed")


@pytest.fixture(params=MADE)
def kind(request: pytest.FixtureRequest, server: Handling, commits: bool) -> str:
    kind: str = request.param
    for made in MADE[kind]:
        server.call(*made)
    server.call(b"EXPIRE", b"k", b"100")
    if commits:
        server.pending.commit()
    return kind


def seen(server: Handling, kind: str, key: bytes) -> Any:
    name, *rest = READ[kind]
    # Each entry of a stream is a finished reply.
    value = server.wire(name, key, *rest) if kind == "stream" else server.call(name, key, *rest)
    found = sorted(value) if kind == "set" and isinstance(value, list) else value
    return found, server.call(b"TTL", key)


def test_rename(server: Handling, kind: str) -> None:
    before = seen(server, kind, b"k")
    server.call(b"SADD", b"other", b"a", b"b", b"c", b"d")
    assert server.call(b"RENAME", b"k", b"other") == OK
    assert seen(server, kind, b"other") == before
    assert server.call(b"RENAMENX", b"other", b"k") == ONE
    server.pending.commit()
    assert seen(server, kind, b"k") == before
    assert server.call(b"DBSIZE") == 1


def test_copy_and_change(server: Handling, kind: str) -> None:
    """What happens to one does not happen to the other."""
    before = seen(server, kind, b"k")
    assert server.call(b"COPY", b"k", b"copy") == ONE
    assert server.call(b"COPY", b"k", b"k", b"DB", b"1") == ONE
    assert seen(server, kind, b"copy") == before
    server.call(b"DEL", b"k")
    server.pending.commit()
    assert seen(server, kind, b"copy") == before
    server.call(b"SELECT", b"1")
    server.context.keyspace = server.services.databases.keyspaces[1]
    assert seen(server, kind, b"k") == before


def test_move_and_swap(server: Handling, kind: str) -> None:
    databases = server.services.databases.keyspaces
    before = seen(server, kind, b"k")
    assert server.call(b"MOVE", b"k", b"1") == ONE
    assert server.call(b"EXISTS", b"k") == 0
    assert server.call(b"SWAPDB", b"1", b"2") == OK
    server.context.keyspace = databases[2]
    assert seen(server, kind, b"k") == before
    server.pending.commit()
    assert seen(server, kind, b"k") == before
    assert server.call(b"MOVE", b"k", b"0") == ONE
    server.context.keyspace = databases[0]
    assert seen(server, kind, b"k") == before


def test_dump_and_restore(server: Handling, kind: str) -> None:
    before, _ = seen(server, kind, b"k")
    payload = server.call(b"DUMP", b"k")
    assert server.call(b"RESTORE", b"copy", b"0", payload) == OK
    assert seen(server, kind, b"copy") == (before, -1)
    assert server.call(b"RESTORE", b"k", b"0", payload, b"REPLACE") == OK
    assert seen(server, kind, b"k") == (before, -1)


def test_what_is_told_of_it(server: Handling, kind: str) -> None:
    assert server.call(b"OBJECT", b"ENCODING", b"k") == ENCODINGS.get(
        kind, b"hashtable" if kind == "set" else b"listpack"
    )
    assert server.call(b"OBJECT", b"REFCOUNT", b"k") == 1
    assert server.call(b"OBJECT", b"IDLETIME", b"k") == b":0\r\n"
    assert server.call(b"OBJECT", b"FREQ", b"k").startswith("-ERR An LFU maxmemory policy")
    assert server.call(b"TOUCH", b"k", b"none", b"k") == 2
    name = b"string" if kind == "long string" else kind.encode()
    assert server.call(b"TYPE", b"k") == b"+%b\r\n" % name
    assert server.call(b"SCAN", b"0", b"TYPE", name.upper()) == [b"0", [b"k"]]
    assert server.call(b"SCAN", b"0", b"TYPE", b"nothing") == [b"0", []]


def test_memory(server: Handling, kind: str) -> None:
    """By a sample it is about what it is by all."""
    exact = server.call(b"MEMORY", b"USAGE", b"k", b"SAMPLES", b"0")
    server.pending.commit()
    held = 0
    for key, entry in server.store.entries.items():
        value = entry[0] if isinstance(entry, tuple) else entry
        assert isinstance(value, bytes)
        if not key.endswith(b"versions"):
            held += len(key) + len(value) + 175
    assert exact == held
    sampled = server.call(b"MEMORY", b"USAGE", b"k")
    assert abs(sampled - exact) <= exact / 50
    assert server.call(b"MEMORY", b"USAGE", b"k", b"SAMPLES", b"1") > 300
