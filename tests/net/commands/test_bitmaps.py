"""SETBIT and its kin against the bits as a text of zeros and ones. Errors and options: the differential tests."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from flin.net.commands import bitmaps
from flin.net.commands.bit_field import Overflow, ValueType
from tests.net.serving import HandlerClient

TEXTS = some.one_of(some.binary(max_size=20), some.sampled_from([b"\0" * 9, b"\xff" * 9, b"\0" * 8 + b"\x10"]))
EDGES = some.integers(-170, 170)
TYPES = [ValueType(bits, is_signed=False) for bits in (1, 7, 8, 63)] + [
    ValueType(bits, is_signed=True) for bits in (1, 5, 32, 64)
]


def bits_of(value: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in value)


def part_of(text: str, start: int, stop: int) -> tuple[int, str]:
    first = max(0, start + len(text)) if start < 0 else start
    last = max(0, stop + len(text)) if stop < 0 else stop
    return first, text[first : last + 1]


@given(TEXTS, EDGES, EDGES)
def test_counts_and_positions(value: bytes, start: int, stop: int) -> None:
    client = HandlerClient()
    client.store.entries[b"k"] = value
    words = [b"%d" % start, b"%d" % stop, b"BIT"]
    first, part = part_of(bits_of(value), start, stop)
    if not (start < 0 and stop < 0 and start > stop):
        assert client.call(b"BITCOUNT", b"k", *words) == b":%d\r\n" % part.count("1")
    for bit in "01":
        found = part.find(bit)
        expected = found + first if found >= 0 else -1
        assert client.call(b"BITPOS", b"k", bit.encode(), *words) == b":%d\r\n" % expected


def test_long_strings_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(1)
    values = [chance.randbytes(size) for size in (100, 64, 1)]
    client = HandlerClient()
    for name, value in zip([b"a", b"b", b"c"], values, strict=True):
        client.call(b"SET", name, value)
    requests = [[b"BITCOUNT", b"a"], [b"BITCOUNT", b"a", b"3", b"-5", b"BIT"]]
    requests += [[b"BITOP", name, b"d", b"a", b"b", b"c"] for name in (b"AND", b"OR", b"XOR")]
    requests += [[b"BITOP", b"NOT", b"d", b"a"]]
    answers = []
    for size in (1 << 20, 7):
        monkeypatch.setattr(bitmaps, "CHUNK_BYTES", size)
        client.call(b"DEL", b"d")
        answers.append([(client.call(*request), client.call(b"GET", b"d")) for request in requests])
    assert answers[0] == answers[1]


@given(some.lists(some.tuples(some.integers(0, 90), some.integers(0, 1))))
def test_single_bits(steps: list[tuple[int, int]]) -> None:
    client = HandlerClient()
    text = ""
    for offset, bit in steps:
        text = text.ljust((offset // 8 + 1) * 8, "0")
        assert client.call(b"SETBIT", b"k", b"%d" % offset, b"%d" % bit) == b":%b\r\n" % text[offset].encode()
        text = f"{text[:offset]}{bit}{text[offset + 1 :]}"
        assert client.call(b"GETBIT", b"k", b"%d" % offset) == b":%d\r\n" % bit
    if steps:
        value = client.store.entries[b"k"]
        assert isinstance(value, bytes)
        assert bits_of(value) == text


def test_a_bit_that_changes_nothing_touches_no_watcher() -> None:
    client = HandlerClient()
    client.call(b"SET", b"k", b"\x80", b"EX", b"1000")
    watching = client.another()
    watching.call(b"WATCH", b"k")
    client.call(b"SETBIT", b"k", b"0", b"1")
    client.call(b"BITFIELD", b"k", b"SET", b"u8", b"0", b"128")
    assert not watching.context.session.is_dirty
    client.call(b"SETBIT", b"k", b"9", b"0")
    assert watching.context.session.is_dirty
    assert client.call(b"GET", b"k") == b"$2\r\n\x80\x00\r\n"
    assert int(client.call(b"TTL", b"k")[1:-2]) > 900


@given(
    some.sampled_from(TYPES),
    some.integers(0, 40),
    some.integers(-(1 << 70), 1 << 70),
    some.binary(min_size=13, max_size=13),
)
def test_fields(type_: ValueType, offset: int, number: int, value: bytes) -> None:
    """A written number is read again, and no other bit changes."""
    fields = bytearray(value)
    kept = type_.fit(number, Overflow.WRAP)
    assert kept is not None
    type_.write(fields, offset, kept)
    assert type_.read(fields, offset) == kept
    assert (kept - number) % (1 << type_.bits) == 0
    before, after = bits_of(value), bits_of(bytes(fields))
    assert before[:offset] == after[:offset]
    assert before[offset + type_.bits :] == after[offset + type_.bits :]
    nearest = min(max(number, type_.minimum), type_.maximum)
    assert type_.fit(number, Overflow.SAT) == nearest
    if -(1 << 63) <= number < type_.maximum - (1 << 63) + 1 and type_.is_signed and type_.bits < 64:
        nearest = type_.maximum  # as in Redis, whose arithmetic wraps there
    assert type_.fit(number, Overflow.SAT, is_sum=False) == nearest or not -(1 << 63) <= number < 1 << 63
    assert type_.fit(number, Overflow.FAIL) == (number if nearest == number else None)
