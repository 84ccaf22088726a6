"""Which blocks of a table deserve a place in the cache. Pure: it counts, and decides.

Theory. A raw block can be read in place, in the mapping; to bring it into the cache costs as much as decoding all of
it. So a block must be looked up more often than its table's average. Lookups that miss the cache are counted by block.
Once there are as many as the table has blocks (one each, if evenly spread), all counts begin anew.

If threads count at once, a count may be lost.
"""

from __future__ import annotations

from typing import Final

HOT: Final = 4
"""Lookups of a block, among as many as its table has blocks, after which the next one brings it into a full cache.
Those of cached blocks are not counted: if every other block is cached, evenly spread lookups are two for each of the
rest. With 3 one in seven of these took, by no more than chance, the place of a block asked for as often: 200,000
gets of all keys of 1 KiB missed 104,000 times, with 4 95,000, with 5 91,000. Popular keys (zipfian) miss 1 % more often
with 4, 4 % with 5."""

WARM: Final = 1
"""Like HOT, while the cache has room."""

WORN: Final = 16
"""Hits after which a cached payload is decoded while the cache is full: the entries take three times the room, so two
other blocks go, and unpacking each of them again costs as much as 20 lookups in a dict save."""


class Heat:
    """The lookups of each block that found it in no cache, since the last decay."""

    __slots__ = ("cold_reads", "counts")

    def __init__(self, blocks: int) -> None:
        self.counts: Final = bytearray(blocks)
        self.cold_reads = 0  # the sum of the counts, without those of admitted blocks

    def on_miss(self, number: int, is_full: bool) -> bool:
        """A raw block is needed and not cached. Returns whether to admit it; else read it in place."""
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
