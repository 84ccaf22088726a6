"""Up to which size a collection is packed, and up to which its elements stay in memory together.

A collection becomes spread in the commit of the command that crosses MAX_PACKED_ELEMENTS or MAX_PACKED_BYTES, or that
changes a packed one of more than MIN_REWRITTEN elements for the MAX_REWRITES-th time: to write 64 fields again for
each change costs 35 µs, one spread field 12 (measured in a prototype). A spread one of up to MAX_WHOLE elements that a
command had to read whole keeps them, and is *whole* from then on.
"""

from __future__ import annotations

from typing import Final

MAX_PACKED_ELEMENTS: Final = 64
MAX_PACKED_BYTES: Final = 4096
"""Elements, and bytes of the value, of a packed one: a cold read costs the same in both forms there."""

MIN_REWRITTEN: Final = 16
MAX_REWRITES: Final = 20
"""Commits that wrote a live packed one with more than MIN_REWRITTEN elements anew until spreading it pays."""

MAX_WHOLE: Final = 16_384
"""Elements of a spread one that are kept in memory together: 2.5 MB of a hash's."""

SLICED: Final = 10_000
"""From this many elements on a reply with all of them goes in slices."""

MAX_WHOLE_BYTES: Final = 4 << 20
"""Bytes of such elements: a few huge ones are not kept."""

RANK_READS: Final = 200
"""Elements that are read page by page in the time in which one is found by its rank."""

PAGE: Final = 1024
"""Pieces that are read at once: a millisecond."""


def is_too_large_to_pack(elements: int, value_bytes: int, rewrites: int) -> bool:
    """Whether a packed collection should become spread. rewrites: commits that wrote it while it was live."""
    is_rewritten = elements > MIN_REWRITTEN and rewrites >= MAX_REWRITES
    return elements > MAX_PACKED_ELEMENTS or value_bytes > MAX_PACKED_BYTES or is_rewritten


PAGE_BYTES: Final = 1 << 20
"""Bytes of pieces that are read at once, about, if those before them tell how large they are."""

FIRST_PAGE: Final = 64
"""Pieces that are read first, when nobody knows how large they are."""


def fits_whole(elements: int, held_bytes: int = 0) -> bool:
    """Whether so many elements may be kept in memory. held_bytes: all of their bytes, where they are known."""
    return elements <= MAX_WHOLE and held_bytes <= MAX_WHOLE_BYTES
