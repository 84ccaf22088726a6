"""A Redis with a bit of everything, and all that a server shows of its keys."""

from __future__ import annotations

from typing import Final

from flin.rdb.value import Value
from flin.testing.process import wait_until
from tests.net.raw_client import RawClient
from tests.rdb.server import JudgingClient, in_order
from tests.rdb.test_redis import KEY, LARGE, SMALL, SPREAD, STREAMS

LIBRARY: Final = b"#!lua name=lib\nredis.register_function('answer', function() return 42 end)"

EXPIRES_AT_MS: Final = 4_000_000_000_000
"""Far in the future."""

Content = dict[tuple[int, bytes], tuple[Value, int]]


def fill(port: int) -> int:
    """Write keys of all types and forms, in three databases, with expiries, and a library. Returns how many."""
    with JudgingClient(port) as client:
        client.ask(b"FUNCTION", b"LOAD", b"REPLACE", LIBRARY)
        for database in (0, 5, 15):
            client.ask(b"SELECT", b"%d" % database)
            if database == 5:
                for option, value in SPREAD.items():
                    client.ask(b"CONFIG", b"SET", option, value)
            for kind, samples in (("small", SMALL), ("large", LARGE), ("stream", STREAMS)):
                for name, requests in samples.items():
                    key = f"{kind} {name}".encode()
                    for request in requests:
                        client.ask(*(key if word is KEY else word for word in request))
                    if "list" in name or "hello" in name:
                        client.ask(b"PEXPIREAT", key, b"%d" % (EXPIRES_AT_MS + len(key)))
            client.ask(b"SET", b"\xff\x00\r\n", b"\x00\xff")
            client.ask(b"SET", b"", b"empty key")
        return sum(client.ask(b"DBSIZE") for database in (0, 5, 15) if client.ask(b"SELECT", b"%d" % database))


def content(port: int) -> Content:
    """The value and the expiry of every key of every database, once it has read its files."""
    found: Content = {}
    with JudgingClient(port) as client:
        wait_until(lambda: client.call(b"PING").payload == b"PONG", "the files are loaded")
        for database in range(16):
            client.ask(b"SELECT", b"%d" % database)
            keys = client.ask(b"KEYS", b"*")
            assert client.ask(b"DBSIZE") == len(keys)
            for key in keys:
                found[database, key] = in_order(client.value(key)), client.ask(b"PEXPIRETIME", key)
    return found


def libraries(port: int) -> bytes:
    """What FUNCTION DUMP says."""
    with RawClient(port) as client:
        return client.call(b"FUNCTION", b"DUMP").payload
