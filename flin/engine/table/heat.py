"""Which blocks of a table deserve their place in the cache. Pure: it counts, and says what is to be done.

Theory. A raw block can be read in place, in the mapping; to bring it into the cache costs as much as decoding all of
it. So a block must have been asked for more often than its table's average. Lookups that miss the cache are counted by
block. Once there are as many as the table has blocks, evenly spread ones come to one each, and all counts begin anew.

Threads that count at once may lose one.
"""

from __future__ import annotations

from typing import Final

HOT: Final = 3
"""Lookups of a block, while its table has as many as blocks, after which the next one brings it into a full cache:
evenly spread lookups have one on average, and fewer than a tenth of the blocks reach three."""

WARM: Final = 1
"""As HOT, while the cache has room."""

WORN: Final = 16
"""Hits of a cached payload, while the cache is full, that bring its entries: those take three times its room, so that
two other blocks go, and each costs as much to unpack again as 20 lookups in a payload cost more."""


class Heat:
    """The lookups of each block that found it in no cache, since the last decay."""

    __slots__ = ("cold_reads", "counts")

    def __init__(self, blocks: int) -> None:
        self.counts: Final = bytearray(blocks)
        self.cold_reads = 0  # the sum of the counts, but for what admission took

    def on_miss(self, number: int, is_full: bool) -> bool:
        """A raw block is asked for and not cached: whether to admit it; else it is to be read in place."""
        counts = self.counts
        count = counts[number]
        if count >= (HOT if is_full else WARM):
            counts[number] = 0
            return True
        counts[number] = count + 1
        self.cold_reads += 1
        if self.cold_reads > len(counts):
            self.decay()
        return False

    def decay(self) -> None:
        """Begin to count anew."""
        self.cold_reads = 0
        self.counts[:] = bytes(len(self.counts))


def should_expand(hits: int, is_full: bool) -> bool:
    """Whether a cached payload was hit so often that its entries should take its place."""
    return hits > (WORN if is_full else 1)
