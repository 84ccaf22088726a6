"""Values in every form, both ways; and whatever bytes there are, a value or the error."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.errors import LimitError, PayloadError
from flin.rdb import body, listpack
from flin.rdb.primitives import double, length, string
from flin.rdb.value import Hash, List, Set, SortedSet, Stream, String, Value
from tests.rdb.samples import LONG, LZF_LONG, MOST_BYTES, intset, old_score, ziplist, zipmap
from tests.rdb.values import ALL, VALUES, damaged, maybe_value

NAN = float("nan")


def test_every_form_has_a_sample() -> None:
    assert {data[0] for data, _ in ALL.values()} == body.FORMS.keys()


@pytest.mark.parametrize("name", ALL)
def test_decode(name: str) -> None:
    data, value = ALL[name]
    assert body.decode(data, MOST_BYTES) == value
    assert maybe_value(data) == value


PLAIN: list[tuple[Value, bytes]] = [
    (String(b"hello"), b"\x00\x05hello"),
    (String(b"10"), b"\x00\xc0\x0a"),
    (List([b"a", b"", b"a"]), b"\x01\x03\x01a\x00\x01a"),
    (Set({b"300"}), b"\x02\x01\xc1\x2c\x01"),
    (Hash({b"f": b"v", b"g": b"1"}), b"\x04\x02\x01f\x01v\x01g\xc0\x01"),
    (SortedSet({b"m": 1.5}), b"\x05\x01\x01m" + bytes(6) + b"\xf8\x3f"),
    (Stream([], (1, 2), (0, 0), 0, []), b"\x13\x00\x00\x01\x02\x00\x00\x00\x00\x00\x00"),
]


@pytest.mark.parametrize(("value", "data"), PLAIN)
def test_the_plain_forms(value: Value, data: bytes) -> None:
    assert body.encode(value) == data
    assert body.decode(data, MOST_BYTES) == value


@given(VALUES)
def test_round_trip(value: Value) -> None:
    assert body.decode(body.encode(value), MOST_BYTES) == value


TWICE = [b"a", b"1", b"a", b"2"]
BAD = {
    "no type": b"",
    "a module": b"\x07\x00",
    "no such type": b"\x08\x00",
    "a type of 7.2": b"\x14" + string(listpack.encode([b"a"])),
    "an empty list": b"\x01\x00",
    "an empty set": b"\x02\x00",
    "an empty hash": b"\x04\x00",
    "an empty sorted set": b"\x05\x00",
    "an empty list, ziplist": b"\x0a" + string(ziplist([])),
    "an empty list, quicklist": b"\x0e\x00",
    "a quicklist of empty ones": b"\x0e\x01" + string(ziplist([])),
    "an empty hash, zipmap": b"\x09" + string(zipmap([])),
    "an empty hash, listpack": b"\x10" + string(listpack.encode([])),
    "an empty sorted set, listpack": b"\x11" + string(listpack.encode([])),
    "a quicklist of another kind": b"\x12\x01\x03" + string(listpack.encode([b"a"])),
    "an empty plain node": b"\x12\x02\x01\x00\x01\x01a",
    "a member twice": b"\x02\x02\x01a\x01a",
    "a member twice, as integer and as text": b"\x02\x02\xc0\x05\x015",
    "a field twice": b"\x04\x02" + b"".join(map(string, TWICE)),
    "a field twice, zipmap": b"\x09" + string(zipmap([(b"a", b"1"), (b"a", b"2")])),
    "a field twice, ziplist": b"\x0d" + string(ziplist(TWICE)),
    "a field twice, listpack": b"\x10" + string(listpack.encode(TWICE)),
    "a member twice, sorted set": b"\x05\x02" + (string(b"a") + double(1)) * 2,
    "a member twice, ziplist": b"\x0c" + string(ziplist(TWICE)),
    "a field alone": b"\x10" + string(listpack.encode([b"a", b"1", b"b"])),
    "NaN": b"\x05\x01\x01a" + double(NAN),
    "NaN, old": b"\x03\x01\x01a\xfd",
    "NaN as text, old": b"\x03\x01\x01a" + old_score(NAN),
    "NaN, listpack": b"\x11" + string(listpack.encode([b"a", b"nan"])),
    "a score that is none": b"\x11" + string(listpack.encode([b"a", b"one"])),
    "a list of more than there is": b"\x01\x03\x01a\x01b",
    "a list of 2^64 elements": b"\x01\x81" + b"\xff" * 8 + b"\x01a",
    "a hash of 2^31 fields": b"\x04\x80\x7f\xff\xff\xff\x01a",
    "a stream of 2^63 nodes": b"\x13\x81\x7f" + b"\xff" * 7 + b"\x01a",
    "an intset of 2^31 members": b"\x0b" + string(b"\x08\x00\x00\x00\xff\xff\xff\x7f" + bytes(8)),
    "a string of 2^64 bytes": b"\x00\x81" + b"\xff" * 8 + b"a",
    "a string of 2^31 bytes, compressed": b"\x00\xc3\x02\x80\x7f\xff\xff\xff\x00a",
    "bytes behind": b"\x01\x01\x01a\x00",
    "an intset unsorted": b"\x0b" + string(intset(2, [2, 1])),
    "a length of another kind": b"\x01\xc0\x01\x01a",
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    with pytest.raises(PayloadError):
        body.decode(BAD[name], 1 << 62)


@pytest.mark.parametrize("name", [name for name in BAD if "than there is" in name or "2^" in name])
def test_what_is_merely_claimed_takes_no_memory(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError):
            body.decode(BAD[name], 1 << 62)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_what_would_be_decompressed_is_bounded() -> None:
    data = b"\x00" + LZF_LONG
    assert body.decode(data, 100) == String(LONG)
    with pytest.raises(LimitError):
        body.decode(data, 99)


@pytest.mark.parametrize("name", ALL)
def test_damaged(name: str) -> None:
    """Every truncation is refused; whatever else was changed, it is a value or the error."""
    data, _ = ALL[name]
    kept = [damage for damage in damaged(data) if maybe_value(damage) is not None]
    assert not [damage for damage in kept if len(damage) != len(data)]


@given(st.sampled_from(sorted(body.FORMS)), st.binary(max_size=60))
def test_any_bytes(type_: int, data: bytes) -> None:
    maybe_value(bytes([type_]) + data)
    maybe_value(bytes([type_]) + string(data))
    maybe_value(bytes([type_]) + length(1) + string(data))


def _many_sevens() -> bytes:
    return listpack.encode([7] * (1 << 19))


BOMBS: Final[dict[str, Callable[[], bytes]]] = {
    "list": lambda: b"\x01" + length(1 << 20) + b"\x00" * (1 << 20),
    "set": lambda: b"\x02" + length(1 << 20) + b"\x00" * (1 << 20),
    "hash": lambda: b"\x04" + length(1 << 19) + b"\x00" * (1 << 20),
    "sorted set": lambda: b"\x05" + length(1 << 17) + (b"\x00" + bytes(8)) * (1 << 17),
    "old sorted set": lambda: b"\x03" + length(1 << 18) + b"\x00\x01\x30" * (1 << 18),
    "listpack": lambda: b"\x10" + string(_many_sevens()),
    "listpack with a false count": lambda: b"\x10" + string(_many_sevens().replace(b"\xff\xff\x07", b"\x02\0\x07")),
    "ziplist": lambda: b"\x0d" + string(ziplist([7] * (1 << 19))),
    "zipmap": lambda: b"\x09" + string(b"\xfe" + b"\x00\x00\x00" * (1 << 18) + b"\xff"),
    "intset": lambda: b"\x0b" + string(intset(4, list(range(1 << 18)))),
    "quicklist of ziplists": lambda: b"\x0e" + length(1 << 12) + string(ziplist([7] * 100)) * (1 << 12),
    "quicklist of listpacks": lambda: (
        b"\x12" + length(1 << 12) + (b"\x02" + string(listpack.encode([7] * 100))) * (1 << 12)
    ),
    "quicklist of plain nodes": lambda: b"\x12" + length(1 << 18) + b"\x01\x01a" * (1 << 18),
}
"""A megabyte of bytes, which would be 40 to 200 in memory. Made when they are asked for: not in each worker."""


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_decoded_is_bounded(name: str) -> None:
    data = BOMBS[name]()
    with pytest.raises(LimitError):
        body.decode(data, 100_000)
    tracemalloc.start()
    try:
        with pytest.raises(LimitError):
            body.decode(data, 200_000)
        assert tracemalloc.get_traced_memory()[1] < len(data) + 600_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ALL)
def test_the_bound_is_exact(name: str) -> None:
    """There is a limit from which on a value is read, and below it never."""
    data, value = ALL[name]
    least, enough = 0, MOST_BYTES
    while least < enough:
        middle = (least + enough) // 2
        try:
            assert body.decode(data, middle) == value
            enough = middle
        except LimitError:
            least = middle + 1
    assert least <= 40_000 + 400 * len(data)
