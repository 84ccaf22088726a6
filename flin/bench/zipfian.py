"""Popularity that falls with the rank, as in caches: how YCSB and the beyond-memory row choose keys.

The algorithm is that of Gray, Sundaresan, Englert, Baclawski and Weinberger, "Quickly generating billion-record
synthetic databases" (SIGMOD 1994): the inverse of the distribution's sum, approximated in closed form, exact for the
two most popular ranks. Ranks are scattered over the keys by a hash (FNV-1a), as in YCSB, so that popular keys are not
neighbours.
"""

from __future__ import annotations

import random
from typing import Final

THETA: Final = 0.99
"""YCSB's: of 100,000 items the most popular one gets 8 % of all choices, the most popular tenth 78 %."""

_FNV_BASIS: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3


class Zipfian:
    """Ranks from 0, the most popular one, to count - 1. `grow` adds a rank without computing everything again."""

    def __init__(self, count: int, seed: int, theta: float = THETA) -> None:
        if count < 1:
            raise ValueError(f"nothing to choose from: {count}")
        self.count = count
        self._theta = theta
        self._random = random.Random(seed).random
        self._sum = sum(1 / rank**theta for rank in range(1, count + 1))
        self._rescale()

    def grow(self) -> None:
        self.count += 1
        self._sum += 1 / self.count**self._theta
        self._rescale()

    def next(self) -> int:
        share = self._random()
        place = share * self._sum
        if place < 1:
            return 0
        if place < 1 + 0.5**self._theta and self.count > 1:
            return 1
        rank = int(self.count * (self._eta * share - self._eta + 1) ** self._alpha)
        return min(rank, self.count - 1)  # rounding may reach the count itself

    def _rescale(self) -> None:
        """Compute what the closed form needs from the count and the sum."""
        self._alpha = 1 / (1 - self._theta)
        first_two = 1 + 0.5**self._theta
        rest = 1 - first_two / self._sum
        self._eta = (1 - (2 / self.count) ** (1 - self._theta)) / rest if rest > 0 else 0.0


def scattered(rank: int, count: int) -> int:
    """The item of a rank: a hash of it. Some ranks share an item and some items have no rank, as in YCSB."""
    hashed = _FNV_BASIS
    for _ in range(8):
        hashed = (hashed ^ (rank & 0xFF)) * _FNV_PRIME & 0xFFFF_FFFF_FFFF_FFFF
        rank >>= 8
    return hashed % count
