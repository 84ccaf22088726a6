"""Range deletes in the plainest form, as an oracle: pairs, each of which is looked at."""

from __future__ import annotations

from collections.abc import Iterable

from flin.engine.entry import Range


def covers(ranges: Iterable[Range], key: bytes) -> bool:
    """Whether one of the ranges holds the key."""
    return any(start <= key < stop for start, stop in ranges)
