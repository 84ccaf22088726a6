"""A double as C reads it, where a whole text must be one: SORT's weights."""

from __future__ import annotations

import re
from typing import Final

_NUMBER: Final = re.compile(
    rb"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?P<infinite>inf|infinity))", re.IGNORECASE
)
_HEXADECIMAL: Final = re.compile(rb"[+-]?0x(?:[0-9a-f]+(?:\.[0-9a-f]*)?|\.[0-9a-f]+)(?:p[+-]?[0-9]+)?", re.IGNORECASE)
_SPACES: Final = b" \t\n\v\f\r"
_SMALLEST: Final = 2.0**-1022
"""The smallest number with all 53 bits. C calls a text below it, which is read with fewer, out of range."""


def maybe_double(text: bytes) -> float | None:
    """The number; None for what is none, is NaN, or out of range. As in C the text ends at a zero byte, may begin with
    spaces, and may be empty, which is 0."""
    text = text.partition(b"\0")[0]
    if not text:
        return 0.0
    text = text.lstrip(_SPACES)
    found = _NUMBER.fullmatch(text)
    if found is None:
        return _maybe_hexadecimal(text)
    number = float(text)
    if found["infinite"]:
        return number
    is_zero = not number and not any(digit in b"123456789" for digit in re.split(b"[eE]", text)[0])
    return number if is_zero or _SMALLEST <= abs(number) < float("inf") else None


def _maybe_hexadecimal(text: bytes) -> float | None:
    if _HEXADECIMAL.fullmatch(text) is None:
        return None
    try:
        return float.fromhex(text.decode())
    except OverflowError:
        return None
