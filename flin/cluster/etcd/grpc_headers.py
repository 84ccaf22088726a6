"""The headers of gRPC's calls, as HTTP/2 has them (HPACK, RFC 7541). Pure, over bytes.

Nothing is kept from one block to the next: the other side is told that this one has no table, so each block of bytes
means the same whenever it comes. Names that stand in HPACK's own table are left out, but for the status: gRPC's are
not there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flin.errors import FlinError

STATUS: Final = ":status"


class WireError(FlinError):
    """What has come is not gRPC, or breaks HTTP/2: the connection is of no use any more."""


_NEVER_KEPT: Final = 0x10
"""A literal that must not be put into a table."""

_STATUS_NAMES: Final = range(8, 15)
_STATUSES: Final = dict(zip(_STATUS_NAMES, ("200", "204", "206", "304", "400", "404", "500"), strict=True))
_LAST_INDEX: Final = 61
"""In HPACK's own table."""

_MAX_INTEGER: Final = 1 << 24
"""For indexes and lengths: far longer than a block may be."""

# RFC 7541, appendix B: how many bits the code of each byte has, and of the end, as digits of base 36. The codes follow
# from that: shorter ones come first, and those of one length in the order of the bytes.
_CODE_LENGTHS: Final = (
    "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad677777777777777777777"
    "77878djde6f56565666577666567655677777fbedskmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmo"
    "lmnnllmlnmnnkmmmnmmnqqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrqu"
)
_END: Final = 256


def _symbols() -> dict[tuple[int, int], int]:
    """By the length of the code, and the code."""
    symbols: dict[tuple[int, int], int] = {}
    code = length = 0
    for bits, symbol in sorted((int(digit, 36), symbol) for symbol, digit in enumerate(_CODE_LENGTHS)):
        code <<= bits - length
        length = bits
        symbols[length, code] = symbol
        code += 1
    return symbols


_SYMBOLS: Final = _symbols()


def encode_headers(headers: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(bytes([_NEVER_KEPT]) + _plain(name) + _plain(value) for name, value in headers)


def _plain(text: str) -> bytes:
    data = text.encode()
    if len(data) < 0x7F:
        return bytes([len(data)]) + data
    rest, more = len(data) - 0x7F, bytearray([0x7F])
    while rest >= 0x80:
        more.append(0x80 | rest & 0x7F)
        rest >>= 7
    return bytes(more) + bytes([rest]) + data


def decode_headers(block: bytes) -> dict[str, str]:
    """Raises WireError."""
    headers: dict[str, str] = {}
    place = 0
    try:
        while place < len(block):
            first = block[place]
            if first & 0x80:
                index, place = _integer(block, place, 7)
                _check_index(index)
                if index in _STATUSES:
                    headers[STATUS] = _STATUSES[index]
            elif first & 0xE0 == 0x20:
                size, place = _integer(block, place, 5)
                if size:
                    raise WireError("headers are to be kept, though there is no table for them")
            else:
                index, place = _integer(block, place, 6 if first & 0x40 else 4)
                if index:
                    _check_index(index)
                    name = STATUS if index in _STATUS_NAMES else ""
                else:
                    name, place = _string(block, place)
                value, place = _string(block, place)
                if name:
                    headers[name] = value
    except IndexError:
        raise WireError("a block of headers ends too early") from None
    return headers


def _check_index(index: int) -> None:
    if not 0 < index <= _LAST_INDEX:
        raise WireError(f"header {index} is in no table")


def _integer(block: bytes, place: int, bits: int) -> tuple[int, int]:
    """The number, and the place after it."""
    full = (1 << bits) - 1
    number = block[place] & full
    place += 1
    shift = 0
    if number == full:
        while True:
            byte = block[place]
            place += 1
            number += (byte & 0x7F) << shift
            shift += 7
            if number > _MAX_INTEGER:
                raise WireError("a number in a block of headers is too large")
            if byte < 0x80:
                break
            if shift > 28:
                raise WireError("a number in a block of headers is too long")
    return number, place


def _string(block: bytes, place: int) -> tuple[str, int]:
    is_coded = block[place] & 0x80
    length, place = _integer(block, place, 7)
    end = place + length
    if end > len(block):
        raise IndexError
    data = block[place:end]
    return (_decoded(data) if is_coded else data).decode("latin-1"), end


def _decoded(data: bytes) -> bytes:
    """Text in Huffman's code."""
    found = bytearray()
    code = length = 0
    for byte in data:
        for bit in range(7, -1, -1):
            code = code << 1 | byte >> bit & 1
            length += 1
            symbol = _SYMBOLS.get((length, code))
            if symbol == _END:
                raise WireError("a header holds the sign for its end")
            if symbol is not None:
                found.append(symbol)
                code = length = 0
    if length > 7 or code != (1 << length) - 1:  # what fills the last byte is the beginning of the sign for the end
        raise WireError("a header ends within a sign")
    return bytes(found)
