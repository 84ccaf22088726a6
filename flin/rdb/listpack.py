"""The listpack: a short sequence of strings and integers in one string.

    size     u32   of the whole listpack
    count    u16   of its elements; 65535: not known
    then for each element
      its kind, by the first byte
        0xxxxxxx               the integer itself, 7 bits
        10xxxxxx               a string of x bytes, 6 bits
        110xxxxx  +1           an integer of 13 bits with sign, big-endian
        1110xxxx  +1           a string's length, 12 bits, big-endian
        F0  u32                a string's length
        F1 F2 F3 F4            an integer of 2, 3, 4, 8 bytes with sign
      back length              how long that was, 7 bits a byte, the lowest last; all but the first byte have bit 7 set
    end      FF

Little-endian unless noted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from flin.errors import LimitError, PayloadError

_HEADER: Final = struct.Struct("<IH")
_END: Final = 0xFF
_UNKNOWN: Final = 0xFFFF
_STRING32: Final = 0xF0
_WIDTHS: Final = {0xF1: 2, 0xF2: 3, 0xF3: 4, 0xF4: 8}
MOST_BYTES: Final = (1 << 32) - 1

_BYTE: Final = [bytes((value,)) for value in range(256)]


_LEAST_BYTES: Final = 2
"""An element and its back length take as much."""


def decode(data: bytes, most_elements: int) -> list[bytes | int]:
    """The elements. Raises PayloadError, also if a back length is not that of the element; LimitError as soon as there
    are more elements."""
    size = len(data)
    if size <= _HEADER.size or data[-1] != _END:
        raise PayloadError("listpack", 0, "it has no header or no end")
    claimed_size, count = _HEADER.unpack_from(data)
    if claimed_size != size:
        raise PayloadError("listpack", 0, f"{claimed_size} bytes claimed, there are {size}")
    found: list[bytes | int] = []
    at, end = _HEADER.size, size - 1
    append = found.append if size <= _LEAST_BYTES * most_elements else bounded(found, most_elements)
    try:
        while at < end:
            first = data[at]
            if first < 0xC0:  # a short one, without a call
                stop = at + 1 if first < 0x80 else at + 1 + (first & 63)
                is_same = data[stop] == stop - at
                append(first if first < 0x80 else data[at + 1 : stop])
                stop += 1
            else:
                element, stop = _wide(data, at, first)
                append(element)
                back = back_length(stop - at)
                is_same = data.startswith(back, stop)
                stop += len(back)
            if not is_same:
                raise PayloadError("listpack", at, "an element has two lengths")
            at = stop
    except IndexError:
        at = size
    if at != end:
        raise PayloadError("listpack", at, "an element reaches beyond the end")
    if count not in (_UNKNOWN, len(found)):
        raise PayloadError("listpack", 4, f"{count} elements claimed, {len(found)} found")
    return found


Element = TypeVar("Element")


def bounded(found: list[Element], most_elements: int) -> Callable[[Element], None]:
    """Appends to a list, until it is so long: LimitError."""

    def append(element: Element) -> None:
        if len(found) >= most_elements:
            raise LimitError("a decoded value", len(found) + 1, most_elements)
        found.append(element)

    return append


def _wide(data: bytes, at: int, first: int) -> tuple[bytes | int, int]:
    """An element whose first byte is C0 or more, and where its back length begins."""
    if first < 0xE0:
        number = (first & 31) << 8 | data[at + 1]
        return number - 0x2000 if number >= 0x1000 else number, at + 2
    if first in _WIDTHS:
        stop = at + 1 + _WIDTHS[first]
        return int.from_bytes(data[at + 1 : stop], "little", signed=True), stop
    if first < 0xF0:
        start = at + 2
        stop = start + ((first & 15) << 8 | data[at + 1])
    elif first == _STRING32:
        start = at + 5
        stop = start + int.from_bytes(data[at + 1 : start], "little")
    else:
        raise PayloadError("listpack", at, f"no element begins with {first}")
    return data[start:stop], stop


def texts(elements: Iterable[bytes | int]) -> list[bytes]:
    """The elements as texts: integers stand for their decimal text in every type except the stream."""
    return [element if isinstance(element, bytes) else b"%d" % element for element in elements]


def encode(elements: Iterable[bytes | int]) -> bytes:
    """A listpack: strings as strings, even if they look like numbers; integers of 64 bits as short as possible. Raises
    LimitError beyond 4 GiB."""
    parts = [b""]
    count = 0
    for element in elements:
        count += 1
        if not isinstance(element, bytes):
            head = _integer(element)
            parts += head, _BYTE[len(head)]
        elif len(element) < 0x40:  # a short string, the most frequent case, without a call
            parts += _BYTE[0x80 | len(element)], element, _BYTE[len(element) + 1]
        else:
            head = _long_head(len(element))
            parts += head, element, back_length(len(head) + len(element))
    size = _HEADER.size + sum(map(len, parts)) + 1
    if size > MOST_BYTES:
        raise LimitError("listpack", size, MOST_BYTES)
    parts[0] = _HEADER.pack(size, min(count, _UNKNOWN))
    parts.append(b"\xff")
    return b"".join(parts)


def _long_head(size: int) -> bytes:
    """The bytes before a string of 64 bytes or more."""
    if size < 0x1000:
        return bytes((0xE0 | size >> 8, size & 0xFF))
    return struct.pack("<BI", _STRING32, min(size, MOST_BYTES))  # `encode` refuses longer ones


def _integer(number: int) -> bytes:
    if 0 <= number < 0x80:
        return _BYTE[number]
    if -0x1000 <= number < 0x1000:
        return bytes((0xC0 | number >> 8 & 31, number & 0xFF))
    for first, width in _WIDTHS.items():
        if -1 << 8 * width - 1 <= number < 1 << 8 * width - 1:
            return _BYTE[first] + number.to_bytes(width, "little", signed=True)
    raise OverflowError(f"{number} has more than 64 bits")


def back_length(length: int) -> bytes:
    """The length of an element, read backwards. Writers give 16383 and its like one byte more than needed (Redis
    compares with `<`), and readers expect that."""
    if length < 0x80:
        return _BYTE[length]
    found = [length >> 7 * place & 0x7F | 0x80 for place in range(_back_bytes(length))]
    found[-1] &= 0x7F
    return bytes(reversed(found))


def _back_bytes(length: int) -> int:
    return 2 + (length >= 0x3FFF) + (length >= 0x1FFFFF) + (length >= 0xFFFFFFF)
