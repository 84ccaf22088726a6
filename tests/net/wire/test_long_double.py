"""80-bit arithmetic: exact cases by a table, the rest against a plain version in fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.net.wire import long_double

LARGEST = Fraction(2**64 - 1) * Fraction(2) ** (16383 - 63)
SMALLEST = Fraction(1, 2**16445)


def rounded(number: Fraction) -> Fraction:
    """The plain version: the nearest number with 64 significant bits, ties to the even one."""
    if not number:
        return number
    exponent = abs(number.numerator).bit_length() - number.denominator.bit_length() - 64
    if abs(number) / Fraction(2) ** exponent >= 2**64:
        exponent += 1
    unit = max(Fraction(2) ** exponent, SMALLEST)
    return round(number / unit) * unit  # Fraction's round is half to even


def written(number: Fraction) -> bytes:
    """The plain version of the output, for numbers of ordinary size."""
    scaled = round(abs(number) * 10**17)
    digits = f"{scaled:018d}"
    text = f"{digits[:-17]}.{digits[-17:]}".rstrip("0").rstrip(".")
    return (text if number >= 0 or text == "0" else "-" + text).encode()


@pytest.mark.parametrize(
    ("one", "other", "total"),
    [
        (b"10.5", b"0.1", b"10.6"),
        (b"5.0e3", b"2.0e2", b"5200"),
        (b"0", b"0.1", b"0.1"),
        (b"0.1", b"0.2", b"0.3"),
        (b"3", b"1.1", b"4.1"),
        (b"1", b"1e-18", b"1"),
        (b"-0", b"-0", b"0"),
        (b"1e-30", b"-2e-30", b"0"),
        (b"0x10", b"0x.8p1", b"17"),
        (b"+1.", b".5", b"1.5"),
        (b"9223372036854775807", b"1", b"9223372036854775808"),
        (b"18446744073709551615", b"1", b"18446744073709551616"),
        (b"18446744073709551616", b"1", b"18446744073709551616"),
        (b"123456789012345678", b"0.000001", b"123456789012345678"),
        (b"0.00000000000000001", b"0", b"0.00000000000000001"),
    ],
)
def test_sum(one: bytes, other: bytes, total: bytes) -> None:
    assert _sum(one, other) == total


@pytest.mark.parametrize(
    "text",
    [b"", b".", b"e5", b"1e", b"1e+", b"0x", b"0xp1", b"0x1p", b" 1", b"1 ", b"1\x00", b"1_0", b"--1", b"nan", b"-NAN",
     b"nan(1)", b"infinit", b"1,5", b"1.5.5", b"1e5000", b"-1e5000", b"1e-5000", b"1e99999999999999999999",
     b"1e-99999999999999999999", b"0x1p16384", b"0x1p-16446", b"1.19e4932", b"1" * 5120],
)  # fmt: skip
def test_no_number(text: bytes) -> None:
    assert long_double.parse(text) is None


@pytest.mark.parametrize("text", [b"0e99999999999999999999", b"0x0p99999999999", b"-0", b"0.000", b".0", b"0" * 5119])
def test_zero(text: bytes) -> None:
    assert long_double.parse(text) == 0


@pytest.mark.parametrize("text", [b"inf", b"-INF", b"+Infinity"])
def test_infinity_parses_and_takes_no_sum(text: bytes) -> None:
    number = long_double.parse(text)
    assert number is not None
    assert long_double.add(number, 0) is None
    assert long_double.add(number, -number) is None


def test_limits() -> None:
    largest = _parse(b"0x1.fffffffffffffffep16383")
    assert largest == LARGEST / SMALLEST
    assert long_double.add(largest, largest) is None
    assert len(long_double.to_text(largest)) == 4933
    assert long_double.parse(b"0x1.ffffffffffffffffp16383") is None
    assert long_double.parse(b"0x1p-16445") == 1
    assert long_double.parse(b"0x1.8p-16446") == 1
    assert long_double.to_text(1) == b"0"


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**25), max_value=10**25, places=22))
def test_parse_rounds_once(number: object) -> None:
    assert _parse(str(number).encode()) * SMALLEST == rounded(Fraction(str(number)))


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_sum_of_hexadecimal_floats(one: float, other: float) -> None:
    """Every float is a long double, so only the sum is rounded."""
    first, second = _parse(one.hex().encode()), _parse(other.hex().encode())
    assert first * SMALLEST == Fraction(one)
    total = long_double.add(first, second)
    assert total is not None
    assert total * SMALLEST == rounded(Fraction(one) + Fraction(other))


@given(st.integers(-(1 << 90), 1 << 90), st.integers(0, 100))
def test_text(significand: int, places: int) -> None:
    number = rounded(Fraction(significand, 1 << places))
    assert long_double.to_text(int(number / SMALLEST)) == written(number)


ordinary = st.from_regex(rb"-?[0-9]{1,20}(\.[0-9]{1,20})?", fullmatch=True)


@given(ordinary, ordinary)
def test_the_coarse_unit_is_fine_enough(one: bytes, other: bytes) -> None:
    assert long_double.add_texts(one, other) == _sum(one, other)


@given(st.binary(max_size=20) | st.from_regex(rb"[-+0-9.eExXpP]{0,12}", fullmatch=True))
def test_any_bytes_parse_or_do_not(text: bytes) -> None:
    number = long_double.parse(text)
    if number is not None and long_double.add(number, 0) is not None:
        again = long_double.parse(long_double.to_text(number))
        assert again is not None


def _parse(text: bytes) -> int:
    number = long_double.parse(text)
    assert number is not None
    return number


def _sum(one: bytes, other: bytes) -> bytes:
    total = long_double.add(_parse(one), _parse(other))
    assert total is not None
    text = long_double.to_text(total)
    assert long_double.add_texts(one, other) == text
    return text
