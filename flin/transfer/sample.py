"""A random sample of a sequence whose length nobody knows: each item is in it with the same probability. Pure.

Li's algorithm L: it draws how many items it passes over, not once for each of them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

_MOST_RARITY: Final = 1 - 1e-9
"""Below 1, whose logarithm it needs."""


class Sample(Generic[Item]):
    """`items` are those of now, at most `size`."""

    def __init__(self, size: int, source: random.Random) -> None:
        self.items: Final[list[Item]] = []
        self._size: Final = size
        self._random: Final = source
        self._seen = 0
        self._next = 0  # the number of the item that is taken next
        self._rarity = 1.0

    def add(self, count: int, item_at: Callable[[int], Item]) -> None:
        """So many items follow; item_at gives one of them."""
        end = self._seen + count
        while self._next < end:
            item = item_at(self._next - self._seen)
            self._next += 1
            if len(self.items) < self._size:
                self.items.append(item)
            else:
                self.items[self._random.randrange(self._size)] = item
            if len(self.items) == self._size:
                self._pass_over()
        self._seen = end

    def _pass_over(self) -> None:
        draw = self._random.random
        self._rarity = min(_MOST_RARITY, self._rarity * math.exp(math.log(1 - draw()) / self._size))
        self._next += int(math.log(1 - draw()) / math.log1p(-self._rarity))
