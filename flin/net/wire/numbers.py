"""Whole numbers as Redis reads them: strict. Python's `int()` takes `1_0`, ` 5` and `+5`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from flin.errors import CommandError
from flin.net.wire.replies import NOT_AN_INTEGER

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1

MAX_DIGITS: Final = 20
"""Characters of the longest 64-bit number with its sign."""

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}").fullmatch

SMALL_DIGITS: Final = 18
"""Nine times the largest such number still fits 64 bits."""

_ZERO: Final = ord("0")

_text_of: Final = b"%d".__mod__


def maybe_small(texts: Sequence[bytes]) -> list[int] | None:
    """The numbers, if all are canonical, without a sign and of at most SMALL_DIGITS; None: look at them one by one.

    Every step is a loop in C over all of them: in bytecode each number would cost as much as eight do now."""
    lengths = set(map(len, texts))
    if 0 in lengths or max(lengths) > SMALL_DIGITS or not b"".join(texts).isdigit():
        return None
    numbers = list(map(int, texts))
    if b" 0" in b" " + b" ".join(texts) and list(map(_text_of, numbers)) != list(texts):
        return None  # a leading zero, but for zero itself
    return numbers


def texts_of(numbers: Sequence[int]) -> list[bytes]:
    """The text of each."""
    return (b"%d " * len(numbers) % tuple(numbers)).split()


SHARED: Final = 10_000
"""Numbers below this one share their texts, as in Redis: a counter among them costs two lookups instead of a number
parsed and formatted twice (200 ns less), and keeps no bytes of its own. Both tables together take 1.6 MB."""

_TEXTS: Final = [b"%d" % number for number in range(SHARED + 1)]
_next: Final = dict(pairwise(_TEXTS)).__getitem__
_reply: Final = {text: b":%b\r\n" % text for text in _TEXTS}.__getitem__


def maybe_next(texts: Sequence[Any]) -> list[bytes] | None:
    """The text of each number and one; None: one of them is nothing of that kind, or not below SHARED."""
    try:
        return list(map(_next, texts))
    except KeyError:
        return None


def replies_of_shared(texts: Sequence[bytes]) -> list[bytes]:
    """A reply of each number that `maybe_next` has given."""
    return list(map(_reply, texts))


def maybe_int64(raw: bytes) -> int | None:
    """The number, or None if these bytes are not the canonical decimal of a signed 64-bit integer."""
    if _INTEGER(raw) is None:
        return None
    number = int(raw)
    return number if INT64_MIN <= number <= INT64_MAX else None


def parse_int64(raw: bytes, error: str = NOT_AN_INTEGER) -> int:
    """The number; CommandError with this text if it is none."""
    if raw.isdigit() and len(raw) <= SMALL_DIGITS and (raw[0] != _ZERO or len(raw) == 1):
        return int(raw)  # most are such: half the time
    number = maybe_int64(raw)
    if number is None:
        raise CommandError(error)
    return number
