"""A string in chunks is a string to every command."""

from __future__ import annotations

import pytest

from flin.errors import LimitError
from flin.objects.layout import LONG_STRING
from flin.objects.long_string import LongString
from tests.net.commands.handling import Handling

LAST = b"4294967295"
TEXT = bytes(range(256)) * 80  # 20 KiB


@pytest.fixture
def long(server: Handling) -> Handling:
    """In the store: what was appended, and in the pending batch: a change."""
    server.call(b"APPEND", b"k", TEXT)
    server.pending.commit()
    server.call(b"SETRANGE", b"k", b"5000", b"#")
    entry = server.context.keyspace.entry(b"k")
    assert type(entry) is tuple
    assert entry[2] == LONG_STRING
    return server


def changed() -> bytes:
    return TEXT[:5000] + b"#" + TEXT[5001:]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("TYPE k", b"+string\r\n"),
        ("OBJECT ENCODING k", b"raw"),
        ("OBJECT REFCOUNT k", 1),
        ("GET k", changed()),
        ("MGET k none", [changed(), None]),
        ("STRLEN k", 20480),
        ("GETRANGE k 4998 5002", changed()[4998:5003]),
        ("GETRANGE k -3 -1", TEXT[-3:]),
        ("GETBIT k 40002", 1),
        ("GETSET k new", changed()),
        ("SET k new GET", changed()),
        ("SETNX k new", b":0\r\n"),
        ("GETDEL k", changed()),
        ("GETEX k EX 100", changed()),
        ("INCR k", "-ERR value is not an integer or out of range"),
        ("INCRBYFLOAT k 1", "-ERR value is not a valid float"),
        ("LCS k none LEN", 0),
        ("BITCOUNT k", int.from_bytes(changed()).bit_count()),
        ("BITPOS k 1", 15),
        ("BITPOS k 0 5000 5000", 40_000),
        ("BITOP NOT d k", 20480),
        ("BITFIELD_RO k GET u8 40000", [35]),
        ("PFADD k a", "-WRONGTYPE Key is not a valid HyperLogLog string value."),
        ("PFCOUNT k none", "-WRONGTYPE Key is not a valid HyperLogLog string value."),
        ("HGET k f", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("APPEND k x", 20481),
        ("EXPIRE k 100", b":1\r\n"),
        ("DEL k", 1),
    ],
)
def test_each_command(long: Handling, line: str, expected: object) -> None:
    assert long.call(*line.encode().split()) == expected


def test_keys_of_many_slices_have_it_among_them(long: Handling) -> None:
    others = [b"%d" % number for number in range(300)]
    assert long.call(b"MGET", *others, b"k") == [None] * 300 + [changed()]


def test_a_copy_a_new_name_and_an_expiry(long: Handling) -> None:
    long.talk(
        [
            ("COPY k copy", b":1\r\n"),
            ("RENAME k name", b"+OK\r\n"),
            ("PEXPIRE name 1000", b":1\r\n"),
            ("SETRANGE name 1 #", 20480),
        ]
    )
    assert long.call(b"GET", b"copy") == changed()
    assert long.call(b"GETRANGE", b"name", b"0", b"2") == b"\x00#\x02"
    assert long.call(b"PTTL", b"name") == 1000
    long.pending.commit()
    long.pass_time(1001)
    long.talk([("GET name", None), ("SETBIT name 1 1", 0), ("STRLEN name", 1)])


def test_set_makes_a_plain_one_again(long: Handling) -> None:
    long.talk([("SET k plain", b"+OK\r\n"), ("APPEND k !", 6)])
    long.pending.commit()
    assert long.context.keyspace.entry(b"k") == b"plain!"
    assert len(long.context.keyspace.objects.gone) == 1, "the reaper knows of its chunks"


def test_a_payload_of_it(long: Handling) -> None:
    payload = long.call(b"DUMP", b"k")
    long.talk([("DEL k", 1)])
    assert long.call(b"RESTORE", b"k", b"0", payload) == b"+OK\r\n"
    assert long.context.keyspace.entry(b"k") == changed()


def test_the_last_bit(server: Handling) -> None:
    """A string of 512 MiB that is never held: nothing puts it together."""
    server.talk(
        [
            (f"SETBIT k {LAST.decode()} 1", 0),
            (f"GETBIT k {LAST.decode()}", 1),
            ("STRLEN k", 1 << 29),
            ("BITCOUNT k", 1),
            ("BITPOS k 1", (1 << 32) - 1),
            ("BITPOS k 0", 0),
            (f"BITFIELD k INCRBY u8 0 3 GET u8 {(1 << 32) - 8}", [3, 1]),
            ("BITPOS k 0 1000", 8000),
            ("BITOP NOT d k", "-OOM command not allowed when used memory > 'maxmemory'."),
            ("GETRANGE k -2 -1", b"\x00\x01"),
            ("APPEND k x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
            ("SETBIT k 4294967296 1", "-ERR bit offset is not an integer or out of range"),
        ]
    )
    found = server.context.keyspace.objects.find(b"k", LongString)
    assert found is not None
    assert found.meta is not None
    assert found.meta.count == 2
    for words in (
        [b"GET", b"k"],
        [b"MGET", b"k"],
        [b"GETDEL", b"k"],
        [b"GETRANGE", b"k", b"0", b"-1"],
        [b"INCR", b"k"],
    ):
        with pytest.raises(LimitError):
            server.call(*words)
    assert server.call(b"STRLEN", b"k") == 1 << 29
