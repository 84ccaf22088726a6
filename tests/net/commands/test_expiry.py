"""Expiry by a clock that stands still: to the millisecond, with every condition."""

from __future__ import annotations

import pytest

from flin.engine.entry import make_entry
from tests.net.commands.handling import LIST_TAG, START_MS, Handling

OK = b"+OK\r\n"
ZERO = b":0\r\n"
ONE = b":1\r\n"
NO_INTEGER = "-ERR value is not an integer or out of range"
EXCLUSIVE = "-ERR NX and XX, GT or LT options at the same time are not compatible"
START = START_MS // 1000


def test_the_four_units(server: Handling) -> None:
    server.talk(
        [
            ("EXPIRE k 10", ZERO),
            ("SET k v", OK),
            ("EXPIRE k 10", ONE),
            ("PTTL k", 10_000),
            ("PEXPIRE k 1500", ONE),
            ("PTTL k", 1500),
            ("TTL k", 2),
            (f"EXPIREAT k {START + 7}", ONE),
            ("TTL k", 7),
            ("EXPIRETIME k", START + 7),
            (f"PEXPIREAT k {START_MS + 499}", ONE),
            ("TTL k", 0),
            ("PEXPIRETIME k", START_MS + 499),
            ("EXPIRETIME k", START),
            ("GET k", b"v"),
        ]
    )


def test_invisible_at_the_millisecond(server: Handling) -> None:
    server.talk([("SET k v PX 100", OK)])
    server.pass_time(99)
    server.talk([("GET k", b"v"), ("PTTL k", 1)])
    server.pass_time(1)
    server.talk([("GET k", None), ("PTTL k", -2), ("EXISTS k", 0), ("KEYS *", []), ("PERSIST k", ZERO)])
    server.talk([("EXPIRE k 10", ZERO), ("RENAME k l", "-ERR no such key"), ("TYPE k", b"+none\r\n")])


@pytest.mark.parametrize(
    "line", ["EXPIRE k 0", "EXPIRE k -1", "PEXPIRE k -5", "EXPIREAT k 1", f"PEXPIREAT k {START_MS}"]
)
def test_a_past_time_deletes(server: Handling, line: str) -> None:
    server.talk([("SET k v", OK), (line, ONE), ("EXISTS k", 0), (line, ZERO)])


def test_persist_and_ttl(server: Handling) -> None:
    server.talk(
        [
            ("PERSIST k", ZERO),
            ("TTL k", -2),
            ("PTTL k", -2),
            ("EXPIRETIME k", -2),
            ("PEXPIRETIME k", -2),
            ("SET k v", OK),
            ("TTL k", -1),
            ("PTTL k", -1),
            ("EXPIRETIME k", -1),
            ("PEXPIRETIME k", -1),
            ("PERSIST k", ZERO),
            ("EXPIRE k 10", ONE),
            ("PERSIST k", ONE),
            ("TTL k", -1),
        ]
    )


@pytest.mark.parametrize(
    ("option", "without", "earlier", "equal", "later"),
    [
        ("NX", ONE, ZERO, ZERO, ZERO),
        ("XX", ZERO, ONE, ONE, ONE),
        ("GT", ZERO, ZERO, ZERO, ONE),
        ("LT", ONE, ONE, ZERO, ZERO),
        ("XX GT", ZERO, ZERO, ZERO, ONE),
        ("XX lt", ZERO, ONE, ZERO, ZERO),
        ("nx NX", ONE, ZERO, ZERO, ZERO),
    ],
)
def test_conditions(server: Handling, option: str, without: bytes, earlier: bytes, equal: bytes, later: bytes) -> None:
    server.talk([("SET k v", OK), (f"EXPIRE k 100 {option}", without), ("TTL k", 100 if without == ONE else -1)])
    for ttl, expected in ((50, earlier), (100, equal), (200, later)):
        server.talk([("EXPIRE k 100", ONE), (f"EXPIRE k {ttl} {option}", expected)])
        assert server.call(b"TTL", b"k") == (ttl if expected == ONE else 100)


def test_conditions_are_checked_before_a_past_time_deletes(server: Handling) -> None:
    server.talk([("SET k v", OK), ("EXPIRE k -1 GT", ZERO), ("EXPIRE k -1 XX", ZERO), ("EXPIRE k -1 LT", ONE)])


@pytest.mark.parametrize("name", ["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"])
def test_errors(server: Handling, name: str) -> None:
    server.talk(
        [
            (f"{name} k abc", NO_INTEGER),
            (f"{name} k 1.5", NO_INTEGER),
            (f"{name} k 9223372036854775808", NO_INTEGER),
            (f"{name} k 1 FOO", "-ERR Unsupported option FOO"),
            (f"{name} k abc FOO", "-ERR Unsupported option FOO"),
            (f"{name} k 1 NX XX", EXCLUSIVE),
            (f"{name} k 1 GT NX", EXCLUSIVE),
            (f"{name} k 1 NX GT LT", EXCLUSIVE),
            (f"{name} k abc GT LT", "-ERR GT and LT options at the same time are not compatible"),
        ]
    )


@pytest.mark.parametrize(
    "line",
    ["EXPIRE k 9223372036854775807", "EXPIRE k -9223372036854775808", "EXPIRE k 9223372036854775",
     "PEXPIRE k 9223372036854775807", "EXPIREAT k 9223372036854776", "EXPIREAT k -9223372036854776"],
)  # fmt: skip
def test_overflow(server: Handling, line: str) -> None:
    name = line.split()[0].lower()
    server.talk([(line, f"-ERR invalid expire time in '{name}' command")])
    server.talk([("SET k v", OK), (line, f"-ERR invalid expire time in '{name}' command"), ("TTL k", -1)])


def test_the_largest_time(server: Handling) -> None:
    server.talk(
        [
            ("SET k v", OK),
            ("PEXPIREAT k 9223372036854775807", ONE),
            ("PEXPIRETIME k", (1 << 63) - 1),
            ("EXPIRETIME k", 9223372036854776),
            ("PEXPIRE k -9223372036854775808", ONE),
            ("EXISTS k", 0),
        ]
    )


def test_other_types_keep_their_value(server: Handling) -> None:
    server.put(b"list", make_entry(b"parts", 0, LIST_TAG))
    server.talk([("EXPIRE list 10", ONE), ("TTL list", 10), ("PERSIST list", ONE)])
    assert server.context.keyspace.entry(b"list") == (b"parts", 0, LIST_TAG)
