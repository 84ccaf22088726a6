"""A string in chunks is a string to every command."""

from __future__ import annotations

from functools import reduce
from operator import and_, or_, xor
from types import GeneratorType

import pytest

from flin.errors import CommandError, LimitError
from flin.net.commands import string_columns
from flin.net.wire.replies import Reply, last_of
from flin.objects.layout import LONG_STRING
from flin.objects.long_string import LongString
from flin.rdb import dump
from flin.rdb.value import String
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


# Longer than a slice.

SIZE = 3 << 20
FULL = b"\xff" * SIZE


@pytest.fixture
def sliced(server: Handling) -> Handling:
    """`chunks` is stored in chunks, `plain` as it is; both are 3 MiB of ones."""
    server.call(b"SET", b"plain", FULL)
    server.call(b"SETRANGE", b"chunks", b"0", FULL)
    server.pending.commit()
    return server


CHANGES = ["SETRANGE {} 3145000 ##", "SETRANGE {} 0 ##", "SET {} x", "DEL {}", "FLUSHALL", "APPEND {} #"]
READS = [
    ("BITCOUNT {}", 8 * SIZE),
    ("BITCOUNT {} 1 -2", 8 * (SIZE - 2)),
    ("BITCOUNT {} 3 -4 BIT", 8 * SIZE - 6),
    ("BITPOS {} 0", 8 * SIZE),
    ("BITPOS {} 0 0 -1", -1),
    ("BITPOS {} 0 7 -9 BIT", -1),
]
OF_CHUNKS = [("GET {}", b"$3145728\r\n" + FULL + b"\r\n"), ("GETRANGE {} 5 -5", b"$3145719\r\n" + FULL[9:] + b"\r\n")]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("line", "key", "expected"),
    [*((line, key, found) for line, found in READS for key in ("plain", "chunks"))]
    + [(line, "chunks", found) for line, found in OF_CHUNKS],
)
def test_what_reads_much_goes_in_slices_of_one_moment(
    sliced: Handling, line: str, key: str, expected: object, change: str
) -> None:
    slices = sliced.handle(*line.format(key).encode().split())
    next(slices)
    next(slices)
    sliced.call(*change.format(key).encode().split())
    sliced.pending.commit()
    value = last_of(slices)
    assert (value.data if isinstance(value, Reply) else value) == expected


def test_a_dump_of_a_long_string_is_of_one_moment(sliced: Handling) -> None:
    for key in (b"plain", b"chunks"):
        slices = sliced.handle(b"DUMP", key)
        next(slices)
        sliced.call(b"DEL", key)
        sliced.pending.commit()
        assert dump.decode(last_of(slices), 4 * SIZE) == String(FULL)


@pytest.mark.parametrize("key", ["plain", "chunks"])
@pytest.mark.parametrize("change", CHANGES[:2] + CHANGES[5:])
def test_bitop_stores_what_is_of_the_moment_when_it_stores(sliced: Handling, key: str, change: str) -> None:
    slices = sliced.handle(b"BITOP", b"NOT", b"to", key.encode())
    for _ in range(5):
        next(slices)
    sliced.call(*change.format(key).encode().split())
    sliced.pending.commit()
    now = sliced.context.keyspace.value(key.encode())
    assert now is not None
    assert now != FULL
    assert last_of(slices) == len(now)
    assert sliced.context.keyspace.value(b"to") == bytes(255 - byte for byte in now)


def test_bitop_of_a_source_that_becomes_another_type_or_goes(sliced: Handling) -> None:
    slices = sliced.handle(b"BITOP", b"OR", b"to", b"chunks")
    next(slices)
    sliced.call(b"DEL", b"chunks")
    assert last_of(slices) == 0
    assert sliced.call(b"EXISTS", b"to") == 0
    sliced.call(b"SETRANGE", b"chunks", b"0", FULL)
    slices = sliced.handle(b"BITOP", b"OR", b"to", b"chunks", b"plain")
    next(slices)
    sliced.call(b"DEL", b"chunks")
    sliced.call(b"SADD", b"chunks", b"member")
    with pytest.raises(CommandError, match="WRONGTYPE"):
        last_of(slices)


def test_bitop_in_slices_is_that_in_one_step(sliced: Handling) -> None:
    sliced.call(b"SETRANGE", b"short", b"100000", b"\x0f" * 2000)
    sliced.call(b"SETBIT", b"sparse", b"%d" % (8 * SIZE + 7), b"1")
    for name in (b"AND", b"OR", b"XOR"):
        for keys in ([b"plain", b"short"], [b"chunks", b"sparse"], [b"short", b"sparse", b"chunks"]):
            assert isinstance(sliced.handle(b"BITOP", name, b"to", *keys), GeneratorType)
            assert sliced.call(b"BITOP", name, b"to", *keys) == max(sliced.call(b"STRLEN", key) for key in keys)
            expected = [int.from_bytes(sliced.context.keyspace.value(key).ljust(SIZE + 1, b"\0")) for key in keys]  # type: ignore[union-attr]
            joined = reduce({b"AND": and_, b"OR": or_, b"XOR": xor}[name], expected)
            value = sliced.context.keyspace.value(b"to")
            assert value is not None
            assert value.ljust(SIZE + 1, b"\0") == joined.to_bytes(SIZE + 1)


def test_a_pipeline_of_gets_ends_before_one_in_slices(sliced: Handling) -> None:
    sliced.call(b"SET", b"short", b"x")
    assert string_columns.get_many(sliced.context, (b"short", b"chunks", b"short")) == [b"$1\r\nx\r\n"]
