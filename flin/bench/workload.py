"""The data of the embedded rows: 16-byte keys and values that compress to about half.

Keys are even numbers of 16 decimal digits, so that the odd ones are missing keys inside the range. Everything
follows from the seed: every store gets the same bytes in the same order.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice
from typing import Final

VALUE_POOL: Final = 1024
"""The number of different values. A block of 4 KiB holds at most 40, so a codec finds no repetition across values."""

HOT_SHARE: Final = 100
"""One key in a hundred is hot."""

BATCH_SIZE: Final = 1000
"""Keys of one atomic batch."""


KEY_FORMAT: Final = b"%016d"


def key_of(number: int) -> bytes:
    return KEY_FORMAT % number


def compressible(generator: random.Random, size: int) -> bytes:
    """A value of half random bytes, half one letter."""
    return generator.randbytes(size - size // 2) + b"v" * (size // 2)


@dataclass(frozen=True)
class Workload:
    """Keys, values and orders of one run."""

    count: int
    value_bytes: int
    seed: int = 1

    @cached_property
    def values(self) -> list[bytes]:
        generator = random.Random(self.seed)
        return [compressible(generator, self.value_bytes) for _ in range(VALUE_POOL)]

    @cached_property
    def sorted_keys(self) -> list[bytes]:
        return [key_of(2 * number) for number in range(self.count)]

    @cached_property
    def keys(self) -> list[bytes]:
        """Every key once, in the order of a random fill."""
        return self._shuffled(self.sorted_keys, 1)

    @cached_property
    def other_order(self) -> list[bytes]:
        """Every key once, in another random order: for reads and second writes."""
        return self._shuffled(self.sorted_keys, 2)

    @cached_property
    def missing_keys(self) -> list[bytes]:
        return self._shuffled([key_of(2 * number + 1) for number in range(self.count)], 3)

    @cached_property
    def hot_keys(self) -> list[bytes]:
        """The keys of as many reads as there are keys, over one key in a hundred, in random order."""
        hot = self.other_order[: max(1, self.count // HOT_SHARE)]
        return self._shuffled(list(islice(cycle(hot), self.count)), 4)

    @cached_property
    def pairs(self) -> list[tuple[bytes, bytes]]:
        return list(zip(self.keys, cycle(self.values), strict=False))

    @cached_property
    def batches(self) -> list[list[tuple[bytes, bytes]]]:
        return [self.pairs[start : start + BATCH_SIZE] for start in range(0, self.count, BATCH_SIZE)]

    def _shuffled(self, keys: list[bytes], salt: int) -> list[bytes]:
        shuffled = keys.copy()
        random.Random(self.seed * 1000 + salt).shuffle(shuffled)
        return shuffled
