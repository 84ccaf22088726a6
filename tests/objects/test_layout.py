"""Stored keys of elements, anchors and versions, and the values of a stream's parts: tables in both directions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.key import namespace_of, namespace_prefix, prefix_stop
from flin.errors import CorruptionError, LimitError
from flin.objects import layout
from flin.objects.layout import Owner, Pending
from flin.objects.list_position import position
from flin.objects.score import encode_score

ID = layout.stream_id(1, 2)


@pytest.mark.parametrize(
    ("owner", "prefix"),
    [
        (Owner(0, 0, 0), "ff01 8000 0000 0000000000000000"),
        (Owner(15, 16383, 258), "ff01 800f 3fff 0000000000000102"),
        (Owner(16382, 1, 2**64 - 1), "ff01 bffe 0001 ffffffffffffffff"),
    ],
)
def test_prefixes(owner: Owner, prefix: str) -> None:
    element = bytes.fromhex(prefix)
    assert layout.elements_prefix(*owner) == element
    assert layout.parse_element(element + b"suffix") == (owner, b"suffix")
    anchor = layout.anchor_key(*owner)
    assert anchor == b"\xff\x01" + (int.from_bytes(element[2:4], "big") + 0x4000).to_bytes(2, "big") + element[4:]
    assert layout.parse_anchor(anchor) == owner
    assert namespace_of(element) == layout.elements_namespace(owner.database)
    assert namespace_of(anchor) == layout.anchors_namespace(owner.database)


def test_namespaces_end_below_that_of_versions() -> None:
    """FLUSHALL's range of everything else ends before it."""
    assert layout.NEXT_VERSION == b"\xff\x01\xff\xffversions"
    last = prefix_stop(namespace_prefix(layout.anchors_namespace(16382)))
    assert last is not None
    assert last <= layout.NEXT_VERSION
    for number in (-1, 16383):
        with pytest.raises(LimitError):
            layout.elements_namespace(number)
        with pytest.raises(LimitError):
            layout.anchors_namespace(number)


@pytest.mark.parametrize(
    "stored",
    ["", "6b6579", "ff01800000000000000000000000"[:26], "ff01 7fff 0000 0000000000000000", "ff01 8000 4000" + "00" * 8],
)
def test_keys_of_no_element(stored: str) -> None:
    with pytest.raises(CorruptionError):
        layout.parse_element(bytes.fromhex(stored))


@pytest.mark.parametrize(
    "stored", ["", "ff01 8000 0000 0000000000000000", "ff01 c000 0000 0000000000000000 00", "ff01 ffff" + "00" * 10]
)
def test_keys_of_no_anchor(stored: str) -> None:
    with pytest.raises(CorruptionError):
        layout.parse_anchor(bytes.fromhex(stored))


SUFFIXES: list[tuple[int, bytes, str]] = [
    (layout.HASH, b"field", "6669656c64"),
    (layout.SET, b"", ""),
    (layout.LIST, position(layout.parse_chunk_suffix(b"\0\0\0\5"), b"\x80"), "0000000000000005 80"),
    (layout.SORTED_SET, layout.MEMBER + b"a", "6d 61"),
    (layout.SORTED_SET, layout.in_order_suffix(encode_score(1.0), b"a"), "73 bff0000000000000 61"),
    (layout.STREAM, layout.ENTRY + ID, "65 0000000000000001 0000000000000002"),
    (layout.STREAM, layout.GROUP + b"g", "67 67"),
    (layout.STREAM, layout.consumers_of(b"gr") + b"c", "63 0002 6772 63"),
    (layout.STREAM, layout.pending_of(b"gr") + ID, "70 0002 6772 0000000000000001 0000000000000002"),
    (layout.LONG_STRING, layout.chunk_suffix(258), "00000102"),
]


@pytest.mark.parametrize(("tag", "suffix", "written"), SUFFIXES)
def test_suffixes(tag: int, suffix: bytes, written: str) -> None:
    assert suffix == bytes.fromhex(written)
    layout.check_suffix(tag, suffix)


def test_parsed_suffixes() -> None:
    assert layout.parse_in_order_suffix(b"s12345678member") == (b"12345678", b"member")
    assert layout.parse_entry_suffix(b"e" + ID) == ID
    assert layout.parse_stream_id(ID) == (1, 2)
    assert layout.parse_consumer_suffix(layout.consumers_of(b"g") + b"name") == (b"g", b"name")
    assert layout.parse_pending_suffix(layout.pending_of(b"") + ID) == (b"", ID)
    assert layout.parse_chunk_suffix(layout.chunk_suffix(2**32 - 1)) == 2**32 - 1
    with pytest.raises(CorruptionError):
        layout.parse_stream_id(b"short")
    with pytest.raises(CorruptionError):
        layout.parse_in_order_suffix(b"s1234567")


@pytest.mark.parametrize(
    ("tag", "suffix"),
    [
        (layout.LIST, b"1234567"),
        (layout.LIST, b"12345678\0"),
        (layout.LIST, b"12345678" + b"x" * 33),
        (layout.SORTED_SET, b""),
        (layout.SORTED_SET, b"s1234567"),
        (layout.SORTED_SET, b"s\xff\xff\xff\xff\xff\xff\xff\xffNaN"),
        (layout.SORTED_SET, b"x12345678"),
        (layout.STREAM, b""),
        (layout.STREAM, b"e"),
        (layout.STREAM, b"e" + ID + b"x"),
        (layout.STREAM, b"c"),
        (layout.STREAM, b"c\0\x02g"),
        (layout.STREAM, b"p\0\x01g" + ID[1:]),
        (layout.STREAM, b"x" + ID),
        (layout.LONG_STRING, b"123"),
    ],
)
def test_suffixes_of_no_element(tag: int, suffix: bytes) -> None:
    with pytest.raises(CorruptionError):
        layout.check_suffix(tag, suffix)


def test_groups_do_not_mix() -> None:
    """The length stands before the name: no group's part begins with another's."""
    assert not layout.pending_of(b"ab").startswith(layout.pending_of(b"a"))
    with pytest.raises(LimitError):
        layout.pending_of(b"x" * 65536)
    assert layout.parse_consumer_suffix(layout.consumers_of(b"x" * 65535))[1] == b""


VALUES: list[tuple[Any, Any, tuple[Any, ...], str]] = [
    (layout.encode_next_version, layout.decode_next_version, (258,), "0201000000000000"),
    (layout.encode_consumer, layout.decode_consumer, (258,), "0201000000000000"),
    (layout.encode_group, layout.decode_group, (ID, 3), "00000000000000010000000000000002 0300000000000000"),
    (layout.encode_group, layout.decode_group, (ID, -1), "00000000000000010000000000000002 ffffffffffffffff"),
    (layout.encode_pending, layout.decode_pending, (Pending(258, 3, b"c"),), "0201000000000000 0300000000000000 63"),
]


@pytest.mark.parametrize(("encode", "decode", "arguments", "written"), VALUES)
def test_values(encode: Any, decode: Any, arguments: tuple[Any, ...], written: str) -> None:
    value = bytes.fromhex(written)
    assert encode(*arguments) == value
    found = decode(value)
    assert found == (arguments if len(arguments) > 1 else arguments[0])
    with pytest.raises(CorruptionError):
        decode(value[:7])


def test_a_group_that_read_less_than_nothing() -> None:
    with pytest.raises(CorruptionError):
        layout.decode_group(ID + b"\xfe" + b"\xff" * 7)


@given(st.sampled_from(sorted(layout.TYPE_NAMES)), st.binary(max_size=40))
def test_any_bytes(tag: int, data: bytes) -> None:
    try:
        layout.check_suffix(tag, data)
        owner, suffix = layout.parse_element(b"\xff\x01\x80" + data)
    except CorruptionError:
        return
    assert layout.elements_prefix(*owner) + suffix == b"\xff\x01\x80" + data
