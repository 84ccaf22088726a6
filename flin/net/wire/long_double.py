"""The arithmetic of INCRBYFLOAT: x86's 80-bit long double, which Redis uses, in integers.

Every finite long double is a whole multiple of the smallest one, 2**-16445. So a number here is an `int` counted in
that unit: addition is exact, and only the rounding to 64 significant bits, half to even, has to be imitated, which the
processor does after reading a text and after adding. Texts are read as C's `strtold` reads them and written as
`printf("%.17Lf")` writes them, without the trailing zeros. Where both texts are plain decimals of ordinary size, the
unit 2**-256 is fine enough, and five times faster.

Python's own floats (53 bits) would give other digits, and `decimal` rounds in tens where the processor rounds in
twos; `decimal` only carries digits in and out here, because `int` refuses texts over 4,300 digits.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

_PRECISION_BITS: Final = 64  # of an 80-bit long double's significand
_FINEST: Final = 16445  # unit 2**-16445: the smallest exponent (-16382) with the 63 bits beneath it
_COARSE: Final = 256  # unit 2**-256: 64 bits of the smallest _ORDINARY number (1e-20, about 2**-67) lie far above it
_INFINITE_BITS: Final = 16384  # 2**16384 is the first power of two that does not fit
_TEXT_LIMIT: Final = 5 * 1024  # Redis refuses texts from this length on (MAX_LONG_DOUBLE_CHARS)
_DECIMALS: Final = 17  # Redis writes at most this many digits after the point
_SCALE: Final = 10**_DECIMALS
# Beyond these powers of ten every number is infinite or zero; the bound keeps `1e999999999` from being computed.
_MAX_POWER: Final = 4933
_MIN_POWER: Final = -4952
_GUARD_BITS: Final = 2  # enough with a sticky bit to round once, correctly
_SHORT_DIGITS: Final = 4000  # int() and str() refuse more than 4,300 digits
_MAX_PRINTED_INT: Final = 1 << 13_000  # 3,914 digits

_ORDINARY: Final = re.compile(rb"-?[0-9]{1,20}(?:\.[0-9]{1,20})?")

_DECIMAL: Final = re.compile(
    rb"(?P<sign>[+-]?)(?:(?P<whole>[0-9]+)(?:\.(?P<fraction>[0-9]*))?|\.(?P<only_fraction>[0-9]+))"
    rb"(?:[eE](?P<exponent>[+-]?[0-9]+))?"
)
_HEXADECIMAL: Final = re.compile(
    rb"(?P<sign>[+-]?)0[xX]"
    rb"(?:(?P<whole>[0-9a-fA-F]+)(?:\.(?P<fraction>[0-9a-fA-F]*))?|\.(?P<only_fraction>[0-9a-fA-F]+))"
    rb"(?:[pP](?P<exponent>[+-]?[0-9]+))?"
)
_INFINITE: Final = re.compile(rb"(?P<sign>[+-]?)(?:inf|infinity)", re.IGNORECASE)


def add_texts(one: bytes, other: bytes) -> bytes:
    """The sum of two numbers, as text. ValueError: one is not a valid float; OverflowError: the sum is not finite."""
    unit = _COARSE if _ORDINARY.fullmatch(one) and _ORDINARY.fullmatch(other) else _FINEST
    first, second = parse(one, unit), parse(other, unit)
    if first is None or second is None:
        raise ValueError("not a valid float")
    total = add(first, second, unit)
    if total is None:
        raise OverflowError("the sum is not finite")
    return to_text(total, unit)


def is_number(text: bytes) -> bool:
    """Whether `parse` takes it."""
    return _ORDINARY.fullmatch(text) is not None or parse(text) is not None


def is_infinite(text: bytes) -> bool:
    return _INFINITE.fullmatch(text) is not None


def parse(text: bytes, unit: int = _FINEST) -> int | None:
    """The number, in units; None for what Redis calls not a valid float. Infinity parses, but no sum accepts it."""
    if len(text) >= _TEXT_LIMIT:
        return None
    if found := _DECIMAL.fullmatch(text):
        size = _decimal_units(found, unit)
    elif found := _HEXADECIMAL.fullmatch(text):
        size = _hexadecimal_units(found, unit)
    elif found := _INFINITE.fullmatch(text):
        size = _infinity(unit)
    else:
        return None
    return -size if size is not None and found["sign"] == b"-" else size


def thousandfold(text: bytes) -> float | None:
    """A thousand times the number: milliseconds of seconds. Infinite beyond a float; None as `parse`."""
    number = parse(text)
    if number is None:
        return None
    try:
        return number * 1000 / (1 << _FINEST)
    except OverflowError:
        return -math.inf if number < 0 else math.inf


def add(one: int, other: int, unit: int = _FINEST) -> int | None:
    """The sum as the processor rounds it; None where it would be infinite or no number."""
    infinity = _infinity(unit)
    if abs(one) >= infinity or abs(other) >= infinity:
        return None
    total = one + other
    size = _rounded(abs(total) << _GUARD_BITS)
    if size >= infinity:
        return None
    return -size if total < 0 else size


def to_text(number: int, unit: int = _FINEST) -> bytes:
    """The number as Redis stores and answers it: at most 17 digits after the point, no trailing zeros, never `-0`."""
    scaled = abs(number) * _SCALE
    size, rest = scaled >> unit, scaled & ((1 << unit) - 1)
    half = 1 << (unit - 1)
    if rest > half or (rest == half and size & 1):
        size += 1
    if not size:
        return b"0"
    digits = (b"%d" % size if size < _MAX_PRINTED_INT else str(Decimal(size)).encode()).rjust(_DECIMALS + 1, b"0")
    fraction = digits[-_DECIMALS:].rstrip(b"0")
    text = digits[:-_DECIMALS] + (b"." + fraction if fraction else b"")
    return b"-" + text if number < 0 else text


def _infinity(unit: int) -> int:
    return 1 << (_INFINITE_BITS + unit)


def _decimal_units(found: re.Match[bytes], unit: int) -> int | None:
    whole, fraction, exponent = _parts(found)
    digits = (whole + fraction).lstrip(b"0")
    if not digits:
        return 0
    power = _bounded(exponent) - len(fraction)
    if not _MIN_POWER < power + len(digits) <= _MAX_POWER:
        return None
    value = int(digits) if len(digits) <= _SHORT_DIGITS else int(Decimal(digits.decode()))
    if power >= 0:
        return _finite(value * 10**power << (unit + _GUARD_BITS), unit)
    quotient, rest = divmod(value << (unit + _GUARD_BITS), 10**-power)
    return _finite(quotient | bool(rest), unit)


def _hexadecimal_units(found: re.Match[bytes], unit: int) -> int | None:
    whole, fraction, exponent = _parts(found)
    value = int(whole + fraction, 16)
    if not value:
        return 0
    shift = _bounded(exponent) - 4 * len(fraction) + unit + _GUARD_BITS
    if value.bit_length() + shift > _infinity(unit).bit_length() + _GUARD_BITS:
        return None
    if shift >= 0:
        return _finite(value << shift, unit)
    lost = value & ((1 << min(-shift, value.bit_length())) - 1)
    return _finite(value >> -shift | bool(lost), unit)


def _parts(found: re.Match[bytes]) -> tuple[bytes, bytes, bytes]:
    """The digits before and after the point, and the exponent's text."""
    return found["whole"] or b"", found["fraction"] or found["only_fraction"] or b"", found["exponent"] or b"0"


def _bounded(exponent: bytes) -> int:
    """An exponent of any length, bounded: beyond six digits everything is infinite or zero."""
    digits = exponent.lstrip(b"+-").lstrip(b"0")
    size = int(digits or b"0") if len(digits) <= 6 else 10**6
    return -size if exponent[:1] == b"-" else size


def _finite(guarded: int, unit: int) -> int | None:
    """The rounded size; None if a text that is neither zero nor infinite becomes either (C's ERANGE)."""
    size = _rounded(guarded)
    return size if 0 < size < _infinity(unit) else None


def _rounded(guarded: int) -> int:
    """A size with guard bits beneath the unit, rounded once to the precision, half to even."""
    excess = max(guarded.bit_length() - _PRECISION_BITS, _GUARD_BITS)
    size, rest = guarded >> excess, guarded & ((1 << excess) - 1)
    half = 1 << (excess - 1)
    if rest > half or (rest == half and size & 1):
        size += 1
    return size << (excess - _GUARD_BITS)
