"""Strings: every command by dialogues whose answers are those of a real Redis 7.0."""

from __future__ import annotations

import pytest

from flin.engine.entry import make_entry
from tests.net.commands.handling import LIST_TAG, START_MS, Handling

OK = b"+OK\r\n"
ZERO = b":0\r\n"
ONE = b":1\r\n"
EMPTY = b"$0\r\n\r\n"
SYNTAX = "-ERR syntax error"
NO_INTEGER = "-ERR value is not an integer or out of range"
WRONG_TYPE = "-WRONGTYPE Operation against a key holding the wrong kind of value"
TOO_LONG = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"


def test_get_and_set(server: Handling) -> None:
    server.talk([("GET k", None), ("SET k v", OK), ("GET k", b"v"), ("SET k ''", OK), ("GET k", b"")])


@pytest.mark.parametrize("key", [b"", b"\xff", b"\xff\x00", b"\xff\x01\x00\x01k", b"{a}b", b"\x00\r\n", b"k" * 5000])
def test_any_key(server: Handling, key: bytes) -> None:
    assert server.call(b"SET", key, b"v") == OK
    assert server.call(b"GET", key) == b"v"
    server.pending.commit()
    assert server.call(b"GET", key) == b"v"
    assert server.call(b"KEYS", b"*") == [key]


def test_conditions_of_set(server: Handling) -> None:
    server.talk(
        [
            ("SET k a XX", None),
            ("SET k a NX", OK),
            ("SET k b NX", None),
            ("SET k c XX GET", b"a"),
            ("SET k d NX GET", b"c"),
            ("GET k", b"c"),
            ("SET new e GET", None),
            ("SET new f xx get", b"e"),
            ("GET new", b"f"),
        ]
    )


def test_expiry_of_set(server: Handling) -> None:
    server.talk(
        [
            ("SET k v EX 10", OK),
            ("PTTL k", 10_000),
            ("SET k v PX 1500", OK),
            ("PTTL k", 1500),
            ("SET k v EXAT 1800000100", OK),
            ("PTTL k", 100_000),
            ("SET k v PXAT 1800000000001", OK),
            ("PTTL k", 1),
            ("SET k v EX 10 EX 20", OK),
            ("PTTL k", 20_000),
            ("SET k w KEEPTTL", OK),
            ("PTTL k", 20_000),
            ("SET k v XX PX 5 GET", b"w"),
            ("PTTL k", 5),
            ("SET k v", OK),
            ("PTTL k", -1),
            ("SET k v KEEPTTL", OK),
            ("PTTL k", -1),
            ("SET k v PXAT 9223372036854775807", OK),
            ("PEXPIRETIME k", (1 << 63) - 1),
        ]
    )


def test_a_set_with_a_past_time(server: Handling) -> None:
    server.talk([("SET k v EXAT 1", OK), ("GET k", None), ("EXISTS k", 0), ("SET k v NX", OK), ("GET k", b"v")])


@pytest.mark.parametrize(
    "options",
    ["NX XX", "XX NX", "EX", "EX 10 PX 20", "EX 10 KEEPTTL", "KEEPTTL PX 10", "PERSIST", "FOO", "10", "NX EX", "''",
     "EX 10 20", "EX abc FOO"],
)  # fmt: skip
def test_syntax_of_set(server: Handling, options: str) -> None:
    server.talk([(f"SET k v {options}", SYNTAX), ("GET k", None)])


@pytest.mark.parametrize("time", ["0", "-1", "9223372036854775807", "9223372036854776", "-9223372036854775808"])
def test_invalid_times(server: Handling, time: str) -> None:
    server.talk(
        [
            (f"SET k v EX {time}", "-ERR invalid expire time in 'set' command"),
            (f"SETEX k {time} v", "-ERR invalid expire time in 'setex' command"),
            ("SET k v", OK),
            (f"GETEX k EX {time}", "-ERR invalid expire time in 'getex' command"),
            ("PSETEX k 9223372036854775807 v", "-ERR invalid expire time in 'psetex' command"),
            ("TTL k", -1),
        ]
    )


def test_times_that_are_no_integers(server: Handling) -> None:
    server.talk(
        [
            ("SET k v EX abc", NO_INTEGER),
            ("SET k v PX 1.5", NO_INTEGER),
            ("SET k v EX abc EX 10", OK),
            ("SETEX k +1 v", NO_INTEGER),
            ("PSETEX k 01 v", NO_INTEGER),
            ("GETEX k PX 9223372036854775808", NO_INTEGER),
        ]
    )


def test_setex_and_psetex(server: Handling) -> None:
    server.talk([("SETEX k 10 v", OK), ("PTTL k", 10_000), ("PSETEX k 10 w", OK), ("PTTL k", 10), ("GET k", b"w")])
    server.pass_time(10)
    server.talk([("GET k", None), ("PTTL k", -2)])


def test_setnx(server: Handling) -> None:
    server.talk([("SETNX k v", ONE), ("SETNX k w", ZERO), ("GET k", b"v"), ("SET k v PX 5", OK)])
    server.pass_time(5)
    server.talk([("SETNX k w", ONE), ("PTTL k", -1)])


def test_getset_and_getdel(server: Handling) -> None:
    server.talk(
        [
            ("GETSET k v", None),
            ("EXPIRE k 10", ONE),
            ("GETSET k w", b"v"),
            ("TTL k", -1),
            ("GETDEL k", b"w"),
            ("GETDEL k", None),
            ("EXISTS k", 0),
        ]
    )


def test_getex(server: Handling) -> None:
    server.talk(
        [
            ("GETEX k", None),
            ("GETEX k EX 0", None),  # no key: the time is not checked
            ("SET k v", OK),
            ("GETEX k", b"v"),
            ("GETEX k EX 10", b"v"),
            ("PTTL k", 10_000),
            ("GETEX k", b"v"),
            ("PTTL k", 10_000),
            ("GETEX k PX 10 PX 20", b"v"),
            ("PTTL k", 20),
            ("GETEX k PERSIST", b"v"),
            ("PTTL k", -1),
            ("GETEX k PERSIST persist", b"v"),
            ("GETEX k EXAT 1800000001", b"v"),
            ("PTTL k", 1000),
            ("GETEX k PXAT 1", b"v"),
            ("EXISTS k", 0),
        ]
    )


@pytest.mark.parametrize("options", ["PERSIST EX 1", "EX 1 PERSIST", "KEEPTTL", "NX", "GET", "EX", "EX 1 PX 1", "FOO"])
def test_syntax_of_getex(server: Handling, options: str) -> None:
    server.talk([(f"GETEX k {options}", SYNTAX)])


def test_several_keys(server: Handling) -> None:
    server.talk(
        [
            ("MSET a 1 b 2 a 3", OK),
            ("MGET a b none a", [b"3", b"2", None, b"3"]),
            ("MSETNX c 1 a 9", ZERO),
            ("EXISTS c", 0),
            ("MSETNX c 1 d 2 c 3", ONE),
            ("MGET c d", [b"3", b"2"]),
            ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command"),
            ("MSETNX a 1 b", "-ERR wrong number of arguments for 'msetnx' command"),
        ]
    )
    server.put(b"list", (b"", 0, LIST_TAG))
    server.put(b"old", (b"v", START_MS, 0))
    assert server.call(b"MGET", b"list", b"old", b"a") == [None, None, b"3"]


def test_mset_drops_an_expiry(server: Handling) -> None:
    server.talk([("SET a 1 EX 10", OK), ("MSET a 2", OK), ("TTL a", -1)])


def test_append_and_strlen(server: Handling) -> None:
    server.talk(
        [
            ("STRLEN k", 0),
            ("APPEND k ''", 0),
            ("EXISTS k", 1),
            ("APPEND k abc", 3),
            ("EXPIRE k 10", ONE),
            ("APPEND k de", 5),
            ("GET k", b"abcde"),
            ("TTL k", 10),
            ("STRLEN k", 5),
        ]
    )


@pytest.mark.parametrize("name", ["GETRANGE", "SUBSTR"])
def test_getrange(server: Handling, name: str) -> None:
    server.talk(
        [
            ("SET k hello", OK),
            (f"{name} k 0 -1", b"hello"),
            (f"{name} k 1 3", b"ell"),
            (f"{name} k -3 -2", b"ll"),
            (f"{name} k 3 100", b"lo"),
            (f"{name} k -100 1", b"he"),
            (f"{name} k -100 -50", b"h"),
            (f"{name} k 0 -50", b"h"),
            (f"{name} k 5 9", b""),
            (f"{name} k 3 1", b""),
            (f"{name} k -1 -3", EMPTY),
            (f"{name} k 0 9223372036854775807", b"hello"),
            (f"{name} k -9223372036854775808 9223372036854775807", b"hello"),
            (f"{name} none 0 -1", EMPTY),
            (f"{name} k a 1", NO_INTEGER),
            (f"{name} k 1 9223372036854775808", NO_INTEGER),
        ]
    )


def test_setrange(server: Handling) -> None:
    server.talk(
        [
            ("SETRANGE k 0 ''", 0),
            ("EXISTS k", 0),
            ("SETRANGE k 2 ab", 4),
            ("GET k", b"\0\0ab"),
            ("EXPIRE k 10", ONE),
            ("SETRANGE k 1 XY", 4),
            ("GET k", b"\0XYb"),
            ("SETRANGE k 3 long", 7),
            ("GET k", b"\0XYlong"),
            ("SETRANGE k 100 ''", 7),
            ("TTL k", 10),
            ("SETRANGE k -1 a", "-ERR offset is out of range"),
            ("SETRANGE k -1 ''", "-ERR offset is out of range"),
            ("SETRANGE k abc a", NO_INTEGER),
            ("SETRANGE k 536870912 a", TOO_LONG),
            ("SETRANGE k 9223372036854775807 abc", TOO_LONG),
            ("SETRANGE none 536870911 ab", TOO_LONG),
        ]
    )


@pytest.mark.parametrize(
    "line",
    ["GET list", "SET list v GET", "GETSET list v", "GETDEL list", "GETEX list", "GETEX list EX 0", "APPEND list v",
     "STRLEN list", "GETRANGE list 0 1", "SETRANGE list 0 v", "SETRANGE list 0 ''", "INCR list", "INCRBYFLOAT list abc",
     "OBJECT ENCODING list"],
)  # fmt: skip
def test_another_type(server: Handling, line: str) -> None:
    server.put(b"list", make_entry(b"parts", 0, LIST_TAG))
    server.talk([(line, WRONG_TYPE), ("EXISTS list", 1)])


def test_what_replaces_another_type(server: Handling) -> None:
    for line in ("SET list v", "MSET list v", "SETEX list 10 v", "SET list v XX", "SET list v KEEPTTL"):
        server.put(b"list", make_entry(b"parts", START_MS + 5, LIST_TAG))
        server.talk([("SETNX list v", ZERO), (line, OK), ("GET list", b"v"), ("DEL list", 1)])
        server.pending.commit()
