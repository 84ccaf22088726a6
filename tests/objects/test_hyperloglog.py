"""HyperLogLog beside a real redis-server: the same strings, counts, merges and refusals."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.errors import ConflictError, CorruptionError
from flin.objects.hyperloglog import (
    REGISTERS,
    HyperLogLog,
    count_of_all,
    hash_of,
    is_hyperloglog,
    maybe_cached_count,
)
from tests.net.raw_client import RawClient

HEAD = b"HYLL\x01\0\0\0" + bytes(8)


HASHES = {
    b"": 15627466953755236146,
    b"a": 6039968161137406375,
    b"12345678": 10802930868819274067,
    b"123456789": 2410889023153415245,
    b"x" * 100: 3192242747805268920,
}
"""Pinned: that they are Redis's is what the strings below show."""


def test_hashes() -> None:
    assert {element: hash_of(element) for element in HASHES} == HASHES


def _set(redis: RawClient, *elements: bytes) -> HyperLogLog:
    redis.call(b"DEL", b"h")
    redis.call(b"PFADD", b"h", *elements)
    return HyperLogLog.decode(redis.call(b"GET", b"h").payload)


@pytest.fixture(params=[3000, 0, 16, 40, 300, 15000])
def sparse_max_bytes(redis: RawClient, request: pytest.FixtureRequest) -> Iterator[int]:
    redis.call(b"CONFIG", b"SET", b"hll-sparse-max-bytes", b"%d" % request.param)
    yield request.param
    redis.call(b"CONFIG", b"SET", b"hll-sparse-max-bytes", b"3000")


def test_the_same_strings_after_every_command(redis: RawClient, sparse_max_bytes: int) -> None:
    chance = random.Random(sparse_max_bytes)
    for size in (1, 5, 300):
        redis.call(b"DEL", b"h")
        ours = HyperLogLog()
        ours.make_stale()
        redis.call(b"PFADD", b"h")
        for _ in range(40):
            elements = [chance.randbytes(chance.randrange(30)) for _ in range(chance.randrange(size + 1))]
            added = redis.call(b"PFADD", b"h", *elements)
            assert added.payload == b"%d" % ours.add(elements, sparse_max_bytes)
            if chance.random() < 0.2:
                assert redis.call(b"PFCOUNT", b"h").payload == b"%d" % ours.count()
            string = redis.call(b"GET", b"h").payload
            assert ours.encode() == string
            assert ours.size_bytes() == len(string)
            ours._check()
            if chance.random() < 0.1:
                ours = HyperLogLog.decode(string)


def test_all_registers_of_sixty_thousand(redis: RawClient) -> None:
    redis.call(b"DEL", b"h")
    ours = HyperLogLog()
    for start in range(0, 60_000, 10_000):
        elements = [b"element:%d" % number for number in range(start, start + 10_000)]
        redis.call(b"PFADD", b"h", *elements)
        ours.add(elements)
    assert ours.count() == int(redis.call(b"PFCOUNT", b"h").payload)
    assert ours.encode() == redis.call(b"GET", b"h").payload
    registers = redis.call(b"PFDEBUG", b"GETREG", b"h").items
    assert list(ours.registers()) == [int(register.payload) for register in registers]


def test_the_same_merges(redis: RawClient, sparse_max_bytes: int) -> None:
    chance = random.Random(sparse_max_bytes)
    for _ in range(15):
        ours = []
        keys = [b"h%d" % number for number in range(3)]
        redis.call(b"DEL", *keys)
        for key in keys:
            elements = [b"%d" % chance.randrange(4000) for _ in range(chance.choice([0, 1, 30, 300, 3000]))]
            limit = chance.choice([0, 3000])  # dense or sparse from the start
            redis.call(b"CONFIG", b"SET", b"hll-sparse-max-bytes", b"%d" % limit)
            redis.call(b"PFADD", key, *elements)
            each = HyperLogLog()
            each.add(elements, limit)
            each.make_stale()
            assert each.encode() == redis.call(b"GET", key).payload
            ours.append(each)
        redis.call(b"CONFIG", b"SET", b"hll-sparse-max-bytes", b"%d" % sparse_max_bytes)
        assert redis.call(b"PFCOUNT", *keys).payload == b"%d" % count_of_all(ours)
        redis.call(b"PFMERGE", *keys)
        ours[0].merge(ours[1:], sparse_max_bytes)
        assert ours[0].encode() == redis.call(b"GET", keys[0]).payload
        assert ours[0].count() == int(redis.call(b"PFCOUNT", keys[0]).payload)
        ours[0]._check()


def test_the_same_runs_described(redis: RawClient) -> None:
    ours = _set(redis, *(b"%d" % number for number in range(200)))
    assert redis.call(b"PFDEBUG", b"DECODE", b"h").payload == ours.described_runs()
    assert HyperLogLog().described_runs() == b"Z:16384"
    ours.make_dense()
    redis.call(b"PFDEBUG", b"TODENSE", b"h")
    assert ours.encode() == redis.call(b"GET", b"h").payload


def _runs(chance: random.Random) -> bytes:
    """The first 200 registers in short runs of few values, so that neighbours join; and zeros that Redis would write
    in one byte in two."""
    runs = bytearray()
    left = 200
    while left:
        length = chance.randrange(1, min(left, 4) + 1)
        value = chance.choice([0, 0, 1, 1, 1, 2, 2, 3])
        if value:
            runs.append(0x80 | (value - 1) << 2 | (length - 1))
        else:
            runs += bytes((length - 1,)) if chance.random() < 0.7 else bytes((0x40, length - 1))
        left -= length
    return bytes(runs) + (0x4000 | (REGISTERS - 200 - 1)).to_bytes(2, "big")


def test_the_same_changes_of_any_runs(redis: RawClient) -> None:
    """Also at the very length at which it becomes dense."""
    chance = random.Random(5)
    elements = [element for element in map(b"%d".__mod__, range(60_000)) if hash_of(element) % REGISTERS < 200]
    became_dense = 0
    for _ in range(300):
        value = HEAD + _runs(chance)
        redis.call(b"SET", b"h", value)
        limit = chance.choice([3000, len(value) + chance.randrange(8)])
        redis.call(b"CONFIG", b"SET", b"hll-sparse-max-bytes", b"%d" % limit)
        ours = HyperLogLog.decode(value)
        for element in chance.sample(elements, 12):
            assert redis.call(b"PFADD", b"h", element).payload == b"%d" % ours.add([element], limit)
            ours._check()
            assert ours.encode() == redis.call(b"GET", b"h").payload
            if not ours.is_sparse:
                became_dense += 1
                break
    redis.call(b"CONFIG", b"SET", b"hll-sparse-max-bytes", b"3000")
    assert became_dense >= 50


DENSE_HEAD = b"HYLL\0\0\0\0" + bytes(7) + b"\x80"
ODD = [
    b"",
    b"HYLL",
    HEAD[:15],
    b"hyll" + HEAD[4:] + b"\x7f\xff",
    b"HYLL\x02" + HEAD[5:] + b"\x7f\xff",
    b"HYLL\x01abc" + b"\x05" + bytes(7) + b"\x7f\xff",
    HEAD + b"\x7f\xff",
    HEAD + b"\x40\0" * REGISTERS,  # zeros one by one, each in two bytes
    DENSE_HEAD + bytes(12288),
    DENSE_HEAD + bytes(12287),
    DENSE_HEAD + bytes(12289),
    DENSE_HEAD + b"\xff" * 12288,
    DENSE_HEAD + b"\xf3\x3c\xcf" * 4096,  # all 51
    DENSE_HEAD + b"\xf3\x3c\xcf" * 4095 + bytes(3),
    DENSE_HEAD + b"\xb2\x2c\xcb" * 4096,  # all 50
    *(DENSE_HEAD + random.Random(seed).randbytes(12288) for seed in range(5)),
]
STALE = HEAD[:15] + b"\x80"
DAMAGED = [
    STALE,
    STALE + b"\x7f",
    STALE + b"\x7f\xfe",
    STALE + b"\x7f\xff\0",
    STALE + b"\x7f\xff\x80",
    STALE + b"\x7f\xfe\x81",
    STALE + b"\x80" * (REGISTERS - 1),
    STALE + b"\x40\0" * REGISTERS + b"\0",
]


@pytest.mark.parametrize("value", ODD + DAMAGED, ids=lambda value: f"{len(value)} {value[:20].hex()}")
def test_odd_strings(redis: RawClient, value: bytes) -> None:
    redis.call(b"SET", b"h", value)
    counted = redis.call(b"PFCOUNT", b"h")
    assert is_hyperloglog(value) == (b"WRONGTYPE" not in counted.data)
    try:
        ours = HyperLogLog.decode(value)
    except ConflictError:
        assert counted.data == b"-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n"
        return
    except CorruptionError:
        assert counted.data == b"-INVALIDOBJ Corrupted HLL object detected\r\n"
        return
    cached = maybe_cached_count(value)
    assert (cached is None) == ours.is_stale
    assert counted.payload == b"%d" % (ours.count() if cached is None else cached)
    assert ours.encode() == redis.call(b"GET", b"h").payload
    elements = [b"%d" % number for number in range(50)]
    assert redis.call(b"PFADD", b"h", *elements).payload == b"%d" % ours.add(elements)
    assert ours.encode() == redis.call(b"GET", b"h").payload


def test_a_count_is_kept_until_a_register_changes() -> None:
    ours = HyperLogLog()
    assert (ours.is_stale, ours.count(), maybe_cached_count(ours.encode())) == (False, 0, 0)
    assert ours.add([b"a", b"b"])
    assert maybe_cached_count(ours.encode()) is None
    assert ours.count() == 2
    assert not ours.add([b"a"])
    assert maybe_cached_count(ours.encode()) == 2


@given(st.binary(max_size=60))
def test_any_runs(data: bytes) -> None:
    try:
        found = HyperLogLog.decode(HEAD + data)
    except CorruptionError:
        return
    found._check()
    assert found.encode() == HEAD + data


@given(st.integers(0))
def test_any_registers(seed: int) -> None:
    data = random.Random(seed).randbytes(12288)
    found = HyperLogLog.decode(DENSE_HEAD + data)
    found._check()
    assert found.encode() == DENSE_HEAD + data
    number = int.from_bytes(data, "little")
    assert list(found.registers()[:4]) == [number >> 6 * place & 63 for place in range(4)]


@given(st.lists(st.lists(st.integers(0, 50)), min_size=1, max_size=4))
def test_merged_is_as_added_together(groups: list[list[int]]) -> None:
    together = HyperLogLog()
    those = []
    for number, group in enumerate(groups):
        elements = [b"%d" % each for each in group]
        together.add(elements)
        those.append(HyperLogLog())
        those[-1].add(elements, 3000 if number % 2 else 0)
    assert count_of_all(those) == together.count()
    those[0].merge(those[1:])
    assert those[0].registers() == together.registers()
