"""Integers of any width at any bit of a string: how BITFIELD reads, writes and bounds them. No store, no session."""

from __future__ import annotations

from enum import Enum
from typing import Final

from flin.errors import CommandError
from flin.net.wire.numbers import INT64_MAX, maybe_int64

_WRONG_TYPE: Final = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."


class Overflow(Enum):
    """How a number that does not fit is handled."""

    WRAP = 0  # its lowest bits
    SAT = 1  # the nearest that fits
    FAIL = 2  # nothing is written


class ValueType:
    """`i16`, `u8`: whether there is a sign, and how many bits."""

    __slots__ = ("bits", "is_signed", "maximum", "minimum")

    def __init__(self, bits: int, *, is_signed: bool) -> None:
        self.bits = bits
        self.is_signed = is_signed
        self.minimum = -(1 << bits - 1) if is_signed else 0
        self.maximum = (1 << bits - 1) - 1 if is_signed else (1 << bits) - 1

    def read(self, value: bytes | bytearray, offset: int) -> int:
        """The field at this bit; what lies beyond the string's end is zero."""
        begin, end = offset >> 3, (offset + self.bits + 7) >> 3
        number = int.from_bytes(value[begin:end].ljust(end - begin, b"\0"), "big")
        number = number >> (8 * end - offset - self.bits) & ((1 << self.bits) - 1)
        return number - (1 << self.bits) if number > self.maximum else number

    def write(self, value: bytearray, offset: int, number: int) -> None:
        """Write the number at this bit. The string is long enough."""
        begin, end = offset >> 3, (offset + self.bits + 7) >> 3
        shift = 8 * end - offset - self.bits
        mask = (1 << self.bits) - 1
        whole = int.from_bytes(value[begin:end], "big") & ~(mask << shift)
        value[begin:end] = (whole | (number & mask) << shift).to_bytes(end - begin, "big")

    def fit(self, number: int, overflow: Overflow, *, is_sum: bool = True) -> int | None:
        """The number as it is kept; None: it does not fit, and FAIL is asked for. is_sum: of two numbers; else one that
        was given."""
        if self.minimum <= number <= self.maximum:
            return number
        if overflow is Overflow.FAIL:
            return None
        if overflow is Overflow.SAT:
            # Redis calls the smallest given numbers too large: their distance to the maximum has 65 bits.
            wraps = not is_sum and self.is_signed and self.bits < 64 and self.maximum - number > INT64_MAX
            return self.maximum if number > self.maximum or wraps else self.minimum
        number &= (1 << self.bits) - 1
        return number - (1 << self.bits) if number > self.maximum else number


def parse_type(text: bytes) -> ValueType:
    """Raises CommandError, as Redis words it, for text that is no type."""
    is_signed = text[:1] == b"i"
    bits = maybe_int64(text[1:]) if text[:1] in (b"i", b"u") else None
    if bits is None or not 1 <= bits <= (64 if is_signed else 63):
        raise CommandError(_WRONG_TYPE)
    return ValueType(bits, is_signed=is_signed)
