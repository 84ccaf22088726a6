"""The bulk of a long string, put together in slices: what GET and GETRANGE reply."""

from __future__ import annotations

from typing import Final

from flin.net.wire.replies import Slices, bulk_of
from flin.objects.long_string import LongString, filled

SLICED_BYTES: Final = 1 << 20
"""What reads more of a string does it in slices: to put a mebibyte of chunks together takes 3 ms."""


def bulk_in_slices(text: LongString, begin: int, end: int) -> Slices:
    """The bulk with the bytes from one to below another, which is not beyond the end; of one moment."""
    parts: list[bytes] = []
    for page in filled(text.part_pages(begin, end), begin, end):
        parts += page
        yield
    return bulk_of(parts)
