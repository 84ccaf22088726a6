"""LZF: parts of every kind, and none that reaches outside."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.errors import PayloadError
from flin.rdb.lzf import MOST_FOLD, decompress

GOOD = {
    "nothing": (b"", b""),
    "one literal": (b"\x00a", b"a"),
    "32 literals": (b"\x1f" + bytes(range(32)), bytes(range(32))),
    "a copy of three": (b"\x02abc\x20\x02", b"abcabc"),
    "a copy of eight": (b"\x07abcdefgh\xc0\x07", b"abcdefgh" * 2),
    "the shortest long copy": (b"\x08abcdefghi\xe0\x00\x08", b"abcdefghi" * 2),
    "into itself": (b"\x00a\xe0\xff\x00", b"a" * 265),
    "into itself, in two": (b"\x01ab\x60\x01", b"abababa"),
    "from far back": (b"\x1f" + bytes(32) * 1 + b"\xe0\xff\x1f" + b"\x02xyz" + b"\x21\x20", bytes(296) + b"xyz\0\0\0"),
}

BAD = {
    "size too small": (b"\x01ab", 1),
    "size too large": (b"\x01ab", 3),
    "literals cut off": (b"\x02ab", 3),
    "literals cut off, fewer claimed": (b"\x02ab", 2),
    "a copy cut off": (b"\x02abc\x20", 6),
    "a long copy cut off": (b"\x02abc\xe0\x00", 12),
    "a copy before the first byte": (b"\x02abc\x20\x03", 6),
    "a copy first": (b"\x20\x00", 3),
    "nothing, but a size": (b"", 1),
}


@pytest.mark.parametrize("name", GOOD)
def test_decompress(name: str) -> None:
    compressed, data = GOOD[name]
    assert decompress(compressed, len(data)) == data


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    with pytest.raises(PayloadError, match="bad LZF string"):
        decompress(*BAD[name])


def test_a_claim_beyond_what_the_bytes_could_hold_is_not_tried() -> None:
    most = b"\x00a" + b"\xe0\xff\x00" * 1000
    assert decompress(most, 264_001) == b"a" * 264_001
    with pytest.raises(PayloadError, match="cannot hold"):
        decompress(most, MOST_FOLD * len(most) + 1)


@given(st.binary(max_size=60), st.integers(0, 600))
def test_any_bytes(data: bytes, size: int) -> None:
    with suppress(PayloadError):
        assert len(decompress(data, size)) == size


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=32), st.tuples(st.integers(3, 264), st.integers(1, 8192)))))
def test_parts(parts: list[bytes | tuple[int, int]]) -> None:
    """Against a writer that copies byte by byte."""
    compressed, plain = b"", bytearray()
    for part in parts:
        if isinstance(part, bytes):
            compressed += bytes([len(part) - 1]) + part
            plain += part
        elif plain:
            length, distance = part[0], min(part[1], len(plain)) - 1
            head = min(length - 2, 7) << 5 | distance >> 8
            long = bytes([length - 9]) if length >= 9 else b""
            compressed += bytes([head]) + long + bytes([distance & 255])
            for _ in range(length):
                plain.append(plain[-1 - distance])
    assert decompress(compressed, len(plain)) == bytes(plain)
