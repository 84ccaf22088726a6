"""Packed values: tables of bytes in both directions, any elements there and back, any bytes into the decoders."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.errors import CorruptionError, FormatVersionError, LimitError
from flin.objects import packed
from flin.objects.layout import WAS_LARGE, form_of, stream_id, was_large
from flin.objects.packed import PackedStream

ENTRY_1, ENTRY_2 = stream_id(1, 0), stream_id(2, 7)
STREAM = PackedStream(stream_id(3, 0), ENTRY_1, 9, {ENTRY_1: [b"a", b"1"], ENTRY_2: [b"b", b"", b"c", b"3"]})
STREAM_HEAD = stream_id(3, 0) + ENTRY_1 + b"\x09\0\0\0\0\0\0\0" + b"\x02\0" + ENTRY_1 + ENTRY_2 + b"\x01\x02"

ENCODERS: dict[str, Callable[..., bytes]] = {
    "hash": packed.encode_hash,
    "list": packed.encode_list,
    "set": packed.encode_set,
    "sorted set": packed.encode_sorted_set,
    "stream": packed.encode_stream,
}
DECODERS: dict[str, Callable[[bytes], Any]] = {
    "hash": packed.decode_hash,
    "list": packed.decode_list,
    "set": packed.decode_set,
    "sorted set": packed.decode_sorted_set,
    "stream": packed.decode_stream,
}

TABLE: list[tuple[str, Any, bytes]] = [
    ("hash", {b"name": b"Ada", b"city": b""}, b"\0name\xffAda\xffcity\xff"),
    ("hash", {b"": b""}, b"\0\xff"),
    ("hash", {b"f": b"\xff"}, b"\x01\x01\x02\0\0\0\x01\x01f\xff"),
    ("list", [b""], b"\0"),
    ("list", [b"a", b"", b"a"], b"\0a\xff\xffa"),
    ("list", [b"\xff", b"x" * 256], b"\x01\x04\x02\0\0\0\x01\0\0\0\0\x01\0\0\xff" + b"x" * 256),
    ("list", [b"\xff", b"x" * 255], b"\x01\x01\x02\0\0\0\x01\xff\xff" + b"x" * 255),
    ("set", [b"b", b"a"], b"\0b\xffa"),
    ("sorted set", {b"": 0.0}, b"\0\x01\0" + bytes(8)),
    ("sorted set", {b"b": -1.5, b"a": 2.0}, b"\0\x02\0" + struct.pack("<2d", -1.5, 2.0) + b"b\xffa"),
    ("sorted set", {b"a": 1.0, b"b\xff": 1.0}, b"\x01\x02\0" + struct.pack("<2d", 1, 1) + b"\x01\2\0\0\0\1\2ab\xff"),
    ("stream", PackedStream(), bytes(1 + 16 + 16 + 8 + 2)),
    ("stream", STREAM, b"\0" + STREAM_HEAD + b"a\xff1\xffb\xff\xffc\xff3"),
]


@pytest.mark.parametrize(("kind", "elements", "value"), TABLE)
def test_table(kind: str, elements: Any, value: bytes) -> None:
    assert ENCODERS[kind](elements) == value
    assert DECODERS[kind](value) == elements


@pytest.mark.parametrize(("kind", "elements", "value"), [row for row in TABLE if row[0] != "stream"])
def test_once_large(kind: str, elements: Any, value: bytes) -> None:
    marked = ENCODERS[kind](elements, was_large=True)
    assert marked == bytes((value[0] | WAS_LARGE,)) + value[1:]
    assert (was_large(value), was_large(marked)) == (False, True)
    assert DECODERS[kind](marked) == elements


def test_a_stream_once_large() -> None:
    value = packed.encode_stream(PackedStream(was_large=True))
    assert (value[0], packed.decode_stream(value)) == (WAS_LARGE, PackedStream(was_large=True))


def test_orders() -> None:
    """Hashes keep theirs, sorted sets get one."""
    fields = {b"%d" % (n * 7 % 10): b"" for n in range(10)}
    assert list(packed.decode_hash(packed.encode_hash(fields))) == list(fields)
    scores = {b"b": 2.0, b"c": 1.0, b"a": 2.0, b"z": float("-inf")}
    assert list(packed.decode_sorted_set(packed.encode_sorted_set(scores))) == [b"z", b"c", b"a", b"b"]
    assert packed.encode_list(deque([b"x", b"y"])) == b"\0x\xffy"


LOW_IDS = stream_id(5, 0) + bytes(16) + bytes(8)
INF, NAN = struct.pack("<d", float("inf")), struct.pack("<d", float("nan"))

DAMAGED = [
    ("hash", b""),
    ("hash", b"\0"),  # one string
    ("hash", b"\0a\xffb\xffc"),
    ("hash", b"\0a\xffb\xffa\xffc"),
    ("hash", b"\x02a\xffb"),
    ("hash", b"\x01\x01\0\0\0\0"),
    ("hash", b"\x01\x01\x02\0\0"),
    ("hash", b"\x01\x02\x01\0\0\0\x01\0a"),
    ("hash", b"\x01\x01\x02\0\0\0\x01\x01f"),
    ("hash", b"\x01\x01\x02\0\0\0\x01\x01fvv"),
    ("list", b""),
    ("list", b"\x02"),
    ("list", b"\x01\x01\0\0\0\0"),
    ("list", b"\x01\x04\xff\xff\xff\xff"),
    ("set", b"\0a\xffa"),
    ("set", b"\x01\x01\0\0\0\0"),
    ("sorted set", b"\0\0\0"),
    ("sorted set", b"\0\x01"),
    ("sorted set", b"\0\x01\0" + bytes(7)),
    ("sorted set", b"\0\x01\0" + bytes(8) + b"a\xffb"),
    ("sorted set", b"\0\x02\0" + bytes(16) + b"a\xffa"),
    ("sorted set", b"\0\x02\0" + bytes(16) + b"b\xffa"),
    ("sorted set", b"\0\x02\0" + struct.pack("<2d", 2, 1) + b"a\xffb"),
    ("sorted set", b"\0\x01\0" + NAN + b"a"),
    ("sorted set", b"\0\x02\0" + INF + NAN + b"a\xffb"),
    ("sorted set", b"\x02\x01\0" + bytes(8) + b"a"),
    ("stream", bytes(42)),
    ("stream", bytes(44)),  # an empty one, and more
    ("stream", b"\0" + LOW_IDS + b"\x01\0" + bytes(16) + b"\x01a\xffb"),  # id 0-0
    ("stream", b"\0" + LOW_IDS + b"\x01\0" + stream_id(5, 1) + b"\x01a\xffb"),  # above the last id
    ("stream", b"\0" + LOW_IDS + b"\x02\0" + ENTRY_2 + ENTRY_1 + b"\x01\x01a\xffb\xffa\xffb"),
    ("stream", b"\0" + LOW_IDS + b"\x02\0" + ENTRY_1 + ENTRY_1 + b"\x01\x01a\xffb\xffa\xffb"),
    ("stream", b"\0" + LOW_IDS + b"\x01\0" + ENTRY_1 + b"\x01a"),
    ("stream", b"\0" + LOW_IDS + b"\x02\0" + ENTRY_1 + ENTRY_2 + b"\0\x01a\xffb"),
    ("stream", b"\0" + LOW_IDS + b"\x01\0" + ENTRY_1),
]


@pytest.mark.parametrize(("kind", "value"), DAMAGED)
def test_damaged(kind: str, value: bytes) -> None:
    with pytest.raises(CorruptionError):
        DECODERS[kind](value)


@pytest.mark.parametrize("kind", DECODERS)
def test_forms_of_later_days(kind: str) -> None:
    for form in (3, 127, 3 | WAS_LARGE, 0xFF):
        with pytest.raises(FormatVersionError):
            DECODERS[kind](bytes((form,)) + b"rest")
        with pytest.raises(FormatVersionError):
            form_of(bytes((form,)), kind)


def test_limits() -> None:
    with pytest.raises(LimitError):
        packed.encode_sorted_set({b"%d" % number: 0.0 for number in range(65536)})
    with pytest.raises(LimitError):
        packed.encode_stream(PackedStream(entries={ENTRY_1: [b"f", b"v"] * 256}))
    with pytest.raises(LimitError):
        packed.encode_stream(PackedStream(entries={stream_id(1, n): [b"f", b"v"] for n in range(65536)}))
    most = PackedStream(ENTRY_1, entries={ENTRY_1: [b"f", b"v"] * 255})
    assert packed.decode_stream(packed.encode_stream(most)) == most


STRINGS = st.one_of(
    st.binary(max_size=6), st.text(max_size=9).map(str.encode), st.sampled_from([b"\xff", b"x" * 255, b"y" * 256])
)
IDS = st.builds(stream_id, st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1))


@given(st.dictionaries(STRINGS, STRINGS, min_size=1), st.booleans())
def test_any_hash(fields: dict[bytes, bytes], large: bool) -> None:
    value = packed.encode_hash(fields, large)
    found = packed.decode_hash(value)
    assert (list(found.items()), was_large(value)) == (list(fields.items()), large)


@given(st.lists(STRINGS, min_size=1))
def test_any_list_and_set(elements: list[bytes]) -> None:
    assert packed.decode_list(packed.encode_list(elements)) == elements
    members = list(dict.fromkeys(elements))
    assert packed.decode_set(packed.encode_set(members)) == members


@given(st.dictionaries(STRINGS, st.floats(allow_nan=False).map(lambda score: score + 0.0), min_size=1))
def test_any_sorted_set(scores: dict[bytes, float]) -> None:
    found = packed.decode_sorted_set(packed.encode_sorted_set(scores))
    assert list(found.items()) == sorted(scores.items(), key=lambda pair: (pair[1], pair[0]))


@given(
    st.dictionaries(IDS, st.lists(st.tuples(STRINGS, STRINGS), min_size=1, max_size=4), max_size=5),
    IDS,
    st.integers(0, 2**64 - 1),
    st.booleans(),
)
def test_any_stream(drawn: dict[bytes, list[tuple[bytes, bytes]]], deleted: bytes, added: int, large: bool) -> None:
    entries = {id_: [string for pair in drawn[id_] for string in pair] for id_ in sorted(drawn)}
    stream = PackedStream(max(drawn, default=deleted), deleted, added, entries, large)
    found = packed.decode_stream(packed.encode_stream(stream))
    assert found == stream
    assert list(found.entries) == list(entries)


HEADS = [*(row[2] for row in TABLE), *(row[1] for row in DAMAGED)]


@given(
    st.sampled_from(sorted(DECODERS)),
    st.one_of(st.binary(max_size=80), st.tuples(st.sampled_from(HEADS), st.binary(max_size=9)).map(b"".join)),
)
def test_any_bytes(kind: str, value: bytes) -> None:
    try:
        elements = DECODERS[kind](value)
    except (CorruptionError, FormatVersionError):
        return
    assert DECODERS[kind](ENCODERS[kind](elements)) == elements
