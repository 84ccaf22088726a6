"""Listpacks both ways: every width of integer and string, and nothing that does not add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.errors import LimitError, PayloadError
from flin.rdb import listpack
from tests.rdb.samples import MOST_BYTES

TABLE: list[tuple[bytes | int, bytes]] = [
    (0, b"\x00\x01"),
    (127, b"\x7f\x01"),
    (128, b"\xc0\x80\x02"),
    (-1, b"\xdf\xff\x02"),
    (4095, b"\xcf\xff\x02"),
    (-4096, b"\xd0\x00\x02"),
    (4096, b"\xf1\x00\x10\x03"),
    (-32768, b"\xf1\x00\x80\x03"),
    (32768, b"\xf2\x00\x80\x00\x04"),
    (-(1 << 23), b"\xf2\x00\x00\x80\x04"),
    (1 << 23, b"\xf3\x00\x00\x80\x00\x05"),
    (-(1 << 31), b"\xf3\x00\x00\x00\x80\x05"),
    (1 << 31, b"\xf4\x00\x00\x00\x80\x00\x00\x00\x00\x09"),
    (-(1 << 63), b"\xf4\x00\x00\x00\x00\x00\x00\x00\x80\x09"),
    (b"", b"\x80\x01"),
    (b"a", b"\x81a\x02"),
    (b"12", b"\x8212\x03"),
    (b"x" * 63, b"\xbf" + b"x" * 63 + b"\x40"),
    (b"x" * 64, b"\xe0\x40" + b"x" * 64 + b"\x42"),
    (b"x" * 125, b"\xe0\x7d" + b"x" * 125 + b"\x7f"),
    (b"x" * 126, b"\xe0\x7e" + b"x" * 126 + b"\x01\x80"),
    (b"x" * 4095, b"\xef\xff" + b"x" * 4095 + b"\x20\x81"),
    (b"x" * 4096, b"\xf0\x00\x10\x00\x00" + b"x" * 4096 + b"\x20\x85"),
    (b"x" * 16377, b"\xf0\xf9\x3f\x00\x00" + b"x" * 16377 + b"\x7f\xfe"),
    (b"x" * 16378, b"\xf0\xfa\x3f\x00\x00" + b"x" * 16378 + b"\x00\xff\xff"),  # 16383 needs two, and is given three
]


def whole(body: bytes, count: int) -> bytes:
    return (len(body) + 7).to_bytes(4, "little") + count.to_bytes(2, "little") + body + b"\xff"


@pytest.mark.parametrize(("element", "data"), TABLE, ids=lambda x: repr(x)[:12])
def test_both_ways(element: bytes | int, data: bytes) -> None:
    assert listpack.encode([element]) == whole(data, 1)
    assert listpack.decode(whole(data, 1), MOST_BYTES) == [element]
    assert listpack.decode(whole(data * 2, 2), MOST_BYTES) == [element, element]


@pytest.mark.parametrize(
    ("length", "back"),
    [(127, 1), (128, 2), (16382, 2), (16383, 3), (2097150, 3), (2097151, 4), (268435454, 4), (268435455, 5)],
)
def test_back_length(length: int, back: int) -> None:
    found = listpack.back_length(length)
    assert len(found) == back
    assert sum((byte & 127) << 7 * place for place, byte in enumerate(reversed(found))) == length


def test_more_elements_than_the_count_can_say() -> None:
    data = listpack.encode([7] * 65535)
    assert data[4:6] == b"\xff\xff"
    assert listpack.decode(data, MOST_BYTES) == [7] * 65535
    assert listpack.encode([7] * 65534)[4:6] == b"\xfe\xff"


def test_texts() -> None:
    assert listpack.texts([b"a", 7, -70000]) == [b"a", b"7", b"-70000"]


def test_what_cannot_be_written() -> None:
    with pytest.raises(OverflowError):
        listpack.encode([1 << 63])


def test_larger_than_a_listpack_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listpack, "MOST_BYTES", 100)
    assert len(listpack.encode([b"x" * 89])) == 99
    with pytest.raises(LimitError, match="listpack is 101, the maximum is 100"):
        listpack.encode([b"x" * 91])


BAD = {
    "nothing": b"",
    "no end": b"\x06\0\0\0\0\0",
    "another end": b"\x07\0\0\0\0\0\xfe",
    "size too large": b"\x08\0\0\0\0\0\xff",
    "size too small": b"\x06\0\0\0\0\0\xff",
    "count too large": whole(b"\x05\x01", 2),
    "count too small": whole(b"\x05\x01" * 2, 1),
    "back length wrong": whole(b"\x05\x02", 1),
    "long back length wrong": whole(b"\xe0\x7e" + b"x" * 126 + b"\x00\x80", 1),
    "long back length reaches the end": whole(b"\xe0\x7e" + b"x" * 126 + b"\x01", 1),
    "back length is the end": whole(b"\x05", 1),
    "string reaches the end": whole(b"\x82a", 1),
    "string beyond the end": whole(b"\xf0\xff\xff\xff\xffa\x06", 1),
    "integer reaches the end": whole(b"\xf1\x00", 1),
    "integer beyond the end": whole(b"\xf4\x00", 1),
    "end in the middle": whole(b"\xff\x01", 1),
    "no such element": whole(b"\xf5\x01", 1),
    "13 bits cut off": whole(b"\xc0", 1),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    with pytest.raises(PayloadError, match="bad listpack"):
        listpack.decode(BAD[name], MOST_BYTES)


INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@given(st.lists(st.one_of(st.binary(max_size=200), INT64, st.integers(-5000, 5000))))
def test_round_trip(elements: list[bytes | int]) -> None:
    assert listpack.decode(listpack.encode(elements), MOST_BYTES) == elements


@given(st.binary(max_size=40), st.integers(0, 9))
def test_any_bytes(body: bytes, count: int) -> None:
    for data in (body, whole(body, count), whole(body, 65535)):
        try:
            found = listpack.decode(data, MOST_BYTES)
        except PayloadError:
            continue
        assert listpack.decode(listpack.encode(found), MOST_BYTES) == found
