"""Timeouts of blocking commands; expiries and options are tested with the commands that have them."""

from __future__ import annotations

import pytest

from flin.errors import CommandError
from flin.net.command.arguments import timeout_seconds, timeout_seconds_of_ms

NO_FLOAT = "ERR timeout is not a float or out of range"
NO_INTEGER = "ERR timeout is not an integer or out of range"
NEGATIVE = "ERR timeout is negative"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"0", 0.0),
        (b"-0", 0.0),
        (b"-0.0001", 0.0),  # rounded up, as Redis does
        (b"0.0001", 0.001),
        (b"0.001", 0.001),
        (b"4.035", 4.035),
        (b"+.25", 0.25),
        (b"0x10p-4", 1.0),
        (b"9e15", 9e15),
        (b"9.3e15", NEGATIVE),  # more milliseconds than 64 bits hold
        (b"1e400", NEGATIVE),
        (b"inf", NEGATIVE),
        (b"-1", NEGATIVE),
        (b"-1e400", NEGATIVE),
        (b"x", NO_FLOAT),
        (b"", NO_FLOAT),
        (b" 1", NO_FLOAT),
        (b"nan", NO_FLOAT),
        (b"1e5000", NO_FLOAT),
    ],
)
def test_seconds(text: bytes, expected: float | str) -> None:
    """As redis-server 7.0.15 answers BLPOP."""
    if isinstance(expected, float):
        assert timeout_seconds(text) == expected
    else:
        with pytest.raises(CommandError) as raised:
            timeout_seconds(text)
        assert str(raised.value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"0", 0.0),
        (b"10", 0.01),
        (b"9223372036854775807", 9223372036854775.807),
        (b"-1", NEGATIVE),
        (b"-9223372036854775808", NEGATIVE),
        (b"9223372036854775808", NO_INTEGER),
        (b"0.1", NO_INTEGER),
        (b"01", NO_INTEGER),
    ],
)
def test_milliseconds(text: bytes, expected: float | str) -> None:
    """As redis-server 7.0.15 answers XREAD BLOCK."""
    if isinstance(expected, float):
        assert timeout_seconds_of_ms(text) == expected
    else:
        with pytest.raises(CommandError) as raised:
            timeout_seconds_of_ms(text)
        assert str(raised.value) == expected
