"""Whole RDB files: every item, every version, and what is refused, with its offset."""

from __future__ import annotations

import mmap
import re
import struct
import tempfile
from typing import cast

import pytest

from flin.errors import LimitError, PayloadError
from flin.rdb import body, dump, file, listpack
from flin.rdb.crc64 import crc64
from flin.rdb.file import Entry, Item, Library
from flin.rdb.primitives import length, string
from flin.rdb.value import Group, Set, Stream, String, Value
from tests.rdb.samples import MOST_BYTES
from tests.rdb.values import ALL, sealed

PAIR = b"\0" + string(b"k") + string(b"v")


def made(content: bytes, version: int = 10, *, has_sum: bool = True) -> bytes:
    data = b"REDIS%04d" % version + content + b"\xff"
    return data + struct.pack("<Q", crc64(data) if has_sum else 0) * (version >= 5)


def items(data: bytes, most_bytes: int = MOST_BYTES) -> list[Item]:
    return list(file.read(data, most_bytes))


def test_every_item() -> None:
    facts = file.fact(b"redis-ver", b"7.0.15") + file.fact(b"redis-bits", b"64") + b"\xfb" + length(3) + length(1)
    module = b"\xf7" + length(1 << 40) + length(2) + length(1)
    module += b"".join([b"\x01\x05", b"\x02\x06", b"\x03abcd", b"\x04abcdefgh", b"\x05" + string(b"text"), b"\x00"])
    content = facts + file.library(b"source") + module + file.database(3) + b"\xf8\x0a\xf9\xff" + PAIR
    content += file.entry_head(0, b"later", 7_000) + string(b"v")
    content += b"\xfd" + struct.pack("<i", 7) + PAIR + b"\xfc" + struct.pack("<q", -5) + PAIR
    data = made(content)
    found = items(data)
    assert [item._replace(offset=0) for item in found] == [
        Library(b"source", 0),
        Entry(b"k", String(b"v"), 0, 3, 0),
        Entry(b"later", String(b"v"), 7_000, 3, 0),
        Entry(b"k", String(b"v"), 7_000, 3, 0),
        Entry(b"k", String(b"v"), 1, 3, 0),
    ]
    assert data[found[0].offset] == 0xF5


def values(data: bytes) -> list[Value]:
    return [item.value for item in items(data) if isinstance(item, Entry)]


@pytest.mark.parametrize("version", range(1, 13))
def test_every_version(version: int) -> None:
    assert items(made(PAIR, version)) == [Entry(b"k", String(b"v"), 0, 0, 9)]
    assert items(made(PAIR, version, has_sum=False)) == [Entry(b"k", String(b"v"), 0, 0, 9)], "no checksum"


def test_every_form_of_a_value() -> None:
    content = b"".join(data[:1] + string(name.encode()) + data[1:] for name, (data, _) in ALL.items())
    assert {item.key.decode(): item.value for item in items(made(content)) if isinstance(item, Entry)} == {
        name: value for name, (_, value) in ALL.items()
    }


def test_the_forms_of_redis_7_2() -> None:
    packed = string(listpack.encode([b"a", 7, b""]))
    assert values(made(b"\x14" + string(b"k") + packed, 11)) == [Set({b"a", b"7", b""})]
    for bad in ([], [b"a", b"a"]):
        with pytest.raises(PayloadError, match="a set is empty, or a member is there twice"):
            values(made(b"\x14" + string(b"k") + string(listpack.encode(bad)), 11))
    # A consumer of type 21 says when it was active, after when it was seen.
    stream = Stream([], (1, 1), (0, 0), 0, [Group(b"g", (0, 0), 0, {b"consumer": 5}, [])])
    plain, seen = body.encode(stream), string(b"consumer") + struct.pack("<q", 5)
    later = b"\x15" + plain[1:].replace(seen, seen + struct.pack("<q", 6))
    assert values(made(later[:1] + string(b"k") + later[1:], 11)) == [stream]
    sealed_later = sealed(later, 11)
    assert dump.decode_foreign(sealed_later, MOST_BYTES) == stream
    for read in (dump.decode, dump.decode_foreign):
        with pytest.raises(PayloadError):
            read(sealed_later[:-1] + b"\0" if sealed_later[-1] else sealed_later[:-1] + b"\1", MOST_BYTES)
    with pytest.raises(PayloadError, match="type 21"):
        body.decode(later, MOST_BYTES)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "9 bytes claimed"),
        (b"REDIS00x0" + PAIR, "four digits"),
        (b"VALKEY080" + PAIR, "it begins with b'VALKEY080'"),
        (made(PAIR, 13), "version 13"),
        (made(PAIR, 0), "version 0"),
        (made(b"\x06" + string(b"k")), "type 6, one of a module"),
        (made(b"\x07" + string(b"k")), "type 7, one of a module"),
        (made(b"\x18" + string(b"k")), "type 24, a hash whose fields expire (Redis 7.4)"),
        (made(b"\x63" + string(b"k")), "type 99"),
        (made(b"\xf4\x01\x01\x01" + PAIR), "table of slots (Redis 8)"),
        (made(b"\xf6"), "release candidates"),
        (made(b"\xf7\x01\x02\x01\x09"), "of the kind 9"),
        (made(PAIR)[:-1], "8 bytes claimed, 7 left"),
        (made(PAIR)[:-8] + b"\x01" * 8, "checksum is 0101010101010101"),
        (made(b"\x01" + string(b"k") + b"\x81" + b"\xff" * 8), "elements claimed"),
    ],
)
def test_refused(data: bytes, reason: str) -> None:
    with pytest.raises(PayloadError, match=re.escape(reason)):
        items(data)


def test_a_value_has_a_limit_and_all_of_them_have_none() -> None:
    with pytest.raises(LimitError):
        items(made(b"\x02" + string(b"k") + length(100) + b"\x01" * 100), 1000)
    compressed = b"\0" + string(b"k") + b"\xc3" + length(5) + length(250) + b"\x00a\xe0\xf0\x00"
    assert len(items(made(compressed * 50), 300)) == 50


def test_a_mapped_file_is_read_and_every_cut_is_noticed() -> None:
    data = made(file.fact(b"a", b"b") + b"".join(d[:1] + string(b"k") + d[1:] for d, _ in ALL.values()))
    with tempfile.TemporaryFile() as spooled:
        spooled.write(data)
        spooled.flush()
        with mmap.mmap(spooled.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert items(cast(bytes, mapped)) == items(data)
    for size in range(0, len(data), 7):
        with pytest.raises(PayloadError):
            items(data[:size])


def test_damage_is_noticed() -> None:
    data = made(PAIR * 3)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            found = items(bytes(changed))
        except (PayloadError, LimitError):
            continue
        assert bytes(changed[5:9]) != b"0010", f"{bit}: {found}"  # a version without a checksum
