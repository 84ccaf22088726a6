"""Keys of any type: deleting, copying, renaming, and OBJECT."""

from __future__ import annotations

import pytest

from flin.engine.entry import make_entry
from flin.objects.packed import encode_list
from tests.net.commands.handling import LIST_TAG, START_MS, Handling

OK = b"+OK\r\n"
ZERO = b":0\r\n"
ONE = b":1\r\n"
NO_KEY = "-ERR no such key"


@pytest.mark.parametrize("name", ["DEL", "UNLINK"])
def test_delete(server: Handling, name: str) -> None:
    server.talk(
        [
            (f"{name} a", 0),
            ("MSET a 1 b 2 c 3", OK),
            (f"{name} a b a none", 2),
            ("EXISTS a b c", 1),
            ("SET e 1 PX 1", OK),
        ]
    )
    server.pass_time(1)
    server.talk([(f"{name} e c", 1), ("EXISTS c", 0)])


def test_exists_and_touch(server: Handling) -> None:
    server.talk([("SET a 1", OK), ("EXISTS a a none", 2), ("TOUCH a none a", 2), ("TOUCH none", 0)])


def test_type(server: Handling) -> None:
    server.put(b"list", make_entry(b"parts", 0, LIST_TAG))
    server.talk([("SET a 1 EX 10", OK), ("TYPE a", b"+string\r\n"), ("TYPE none", b"+none\r\n")])
    assert server.call(b"TYPE", b"list") == b"+unknown\r\n"


def test_copy(server: Handling) -> None:
    server.talk(
        [
            ("COPY a b", ZERO),
            ("SET a 1 PX 5000", OK),
            ("COPY a b", ONE),
            ("PTTL b", 5000),
            ("SET c 2", OK),
            ("COPY a c", ZERO),
            ("GET c", b"2"),
            ("COPY a c REPLACE", ONE),
            ("GET c", b"1"),
            ("PTTL c", 5000),
            ("COPY a a", "-ERR source and destination objects are the same"),
            ("COPY none none REPLACE", "-ERR source and destination objects are the same"),
            ("COPY a d FOO", "-ERR syntax error"),
            ("COPY a d DB", "-ERR syntax error"),
            ("COPY a d REPLACE replace", ONE),
        ]
    )


def test_copy_to_another_database(server: Handling) -> None:
    server.talk([("SET a 1", OK), ("COPY a a DB 3", ONE), ("COPY a a DB 3", ZERO), ("COPY a b REPLACE DB 3", ONE)])
    assert server.services.databases.keyspaces[3].value(b"a") == b"1"
    assert server.services.databases.keyspaces[3].value(b"b") == b"1"
    server.talk(
        [
            ("COPY a b DB 0", ONE),
            ("COPY a a DB 0", "-ERR source and destination objects are the same"),
            ("COPY a b DB 16", "-ERR DB index is out of range"),
            ("COPY a b DB -1", "-ERR DB index is out of range"),
            ("COPY a b DB abc", "-ERR value is not an integer or out of range"),
            (
                "COPY a b DB 9999999999",
                "-ERR value is out of range, value must between -2147483648 and 2147483647",
            ),
            ("COPY a b DB 99 FOO", "-ERR DB index is out of range"),
        ]
    )


def test_rename(server: Handling) -> None:
    server.talk(
        [
            ("RENAME a b", NO_KEY),
            ("RENAME a a", NO_KEY),
            ("SET a 1 PX 5000", OK),
            ("SET b 2", OK),
            ("RENAME a b", OK),
            ("MGET a b", [None, b"1"]),
            ("PTTL b", 5000),
            ("RENAME b b", OK),
            ("GET b", b"1"),
        ]
    )


def test_renamenx(server: Handling) -> None:
    server.talk(
        [
            ("RENAMENX a b", NO_KEY),
            ("MSET a 1 b 2", OK),
            ("RENAMENX a b", ZERO),
            ("RENAMENX a a", ZERO),
            ("RENAMENX a c", ONE),
            ("MGET a b c", [None, b"2", b"1"]),
        ]
    )


def test_other_types_are_moved_whole(server: Handling) -> None:
    entry = make_entry(encode_list([b"parts"]), START_MS + 9, LIST_TAG)
    server.put(b"list", entry)
    server.talk([("RENAME list moved", OK), ("COPY moved copied", ONE), ("EXISTS list", 0), ("PTTL copied", 9)])
    assert server.context.keyspace.entry(b"moved") == server.context.keyspace.entry(b"copied") == entry


@pytest.mark.parametrize(
    ("value", "encoding", "references"),
    [
        (b"0", b"int", (1 << 31) - 1),
        (b"9999", b"int", (1 << 31) - 1),
        (b"10000", b"int", 1),
        (b"-1", b"int", 1),
        (b"-9223372036854775808", b"int", 1),
        (b"9223372036854775808", b"embstr", 1),
        (b"", b"embstr", 1),
        (b"01", b"embstr", 1),
        (b"x" * 44, b"embstr", 1),
        (b"x" * 45, b"raw", 1),
    ],
)
def test_object(server: Handling, value: bytes, encoding: bytes, references: int) -> None:
    server.call(b"SET", b"k", value)
    assert server.call(b"OBJECT", b"ENCODING", b"k") == encoding
    assert server.call(b"OBJECT", b"refcount", b"k") == references
    assert server.call(b"object", b"Idletime", b"k") == ZERO
    assert server.call(b"OBJECT", b"FREQ", b"k").startswith("-ERR An LFU maxmemory policy is not selected")


def test_object_without_key(server: Handling) -> None:
    server.talk([(f"OBJECT {name} none", None) for name in ("ENCODING", "REFCOUNT", "IDLETIME", "FREQ")])


def test_object_help(server: Handling) -> None:
    lines = server.call(b"OBJECT", b"HELP")
    assert lines[0] == "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    assert lines[-2:] == ["HELP", "    Prints this help."]
