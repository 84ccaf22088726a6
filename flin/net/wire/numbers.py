"""Whole numbers as Redis reads them: strict. Python's `int()` takes `1_0`, ` 5` and `+5`."""

from __future__ import annotations

import re
from typing import Final

from flin.errors import CommandError
from flin.net.wire.replies import NOT_AN_INTEGER

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1

MAX_DIGITS: Final = 20
"""Characters of the longest 64-bit number with its sign."""

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}").fullmatch


def maybe_int64(raw: bytes) -> int | None:
    """The number, or None if these bytes are not the canonical decimal of a signed 64-bit integer."""
    if _INTEGER(raw) is None:
        return None
    number = int(raw)
    return number if INT64_MIN <= number <= INT64_MAX else None


def parse_int64(raw: bytes, error: str = NOT_AN_INTEGER) -> int:
    """The number; CommandError with this text if it is none."""
    if _INTEGER(raw) is not None:
        number = int(raw)
        if INT64_MIN <= number <= INT64_MAX:
            return number
    raise CommandError(error)
