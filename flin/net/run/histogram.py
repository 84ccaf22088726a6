"""A histogram of durations: four buckets for each power of two, so that a quantile is at most a quarter too high.

    bucket i < 8     from i to i + 1 units of 256 ns
    bucket i >= 8    from (4 + i % 4) << s to (5 + i % 4) << s units, where s = i // 4 - 1

Adding takes no search and keeps no object: a list of plain integers, which anybody may copy at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

UNIT_NANOSECONDS: Final = 256
"""The first bucket's width. The shortest tick takes some microseconds."""

BUCKETS: Final = 128
"""The last one ends at 18 minutes; longer times are counted there."""


class Histogram:
    __slots__ = ("counts", "nanoseconds")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.nanoseconds = 0  # all durations together

    def add(self, nanoseconds: int) -> None:
        units = nanoseconds // UNIT_NANOSECONDS
        shift = max(0, units.bit_length() - 3)
        self.counts[min((shift << 2) + (units >> shift), BUCKETS - 1)] += 1
        self.nanoseconds += nanoseconds


def end_of(bucket: int) -> int:
    """Nanoseconds at which the bucket ends.

    >>> [end_of(bucket) for bucket in (0, 7, 8, 11)]
    [256, 2048, 2560, 4096]
    """
    if bucket < 8:
        return (bucket + 1) * UNIT_NANOSECONDS
    return (5 + bucket % 4 << bucket // 4 - 1) * UNIT_NANOSECONDS


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Seconds below which this share of the durations lies: the end of the bucket where it does. None: there are none.

    >>> quantile([0, 99, 1], 0.5), quantile([0, 99, 1], 1.0), quantile([0, 0], 0.5)
    (5.12e-07, 7.68e-07, None)
    """
    left = sum(counts) * share
    if not left:
        return None
    for bucket, count in enumerate(counts):
        left -= count
        if left <= 0:
            return end_of(bucket) / 1e9
    return end_of(len(counts) - 1) / 1e9
