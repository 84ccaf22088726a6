"""A random source that draws from an input's bytes: so the bytes decide what is generated.

A draw among up to 256 takes one byte, whatever Python's own `random` would take, so that a changed byte changes little
else and an input means the same under every Python. After the last byte all draws are zero.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class ByteSource(random.Random):
    """The methods of Random that the generators of requests use."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        return self._at >= len(self._data)

    def getrandbits(self, k: int, /) -> int:
        size = -(-k // 8)
        taken = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(taken.ljust(size, b"\0"), "big") & ((1 << k) - 1)

    def randbytes(self, n: int) -> bytes:
        return self.getrandbits(8 * n).to_bytes(n, "big")

    def random(self) -> float:
        return self.getrandbits(8) / 256

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        low, high = (0, start) if stop is None else (start, stop)
        count = -(-(high - low) // step)
        return low + step * (self.getrandbits(8 * -(-(count - 1).bit_length() // 8)) % count)

    def randint(self, a: int, b: int) -> int:
        return self.randrange(a, b + 1)

    def choice(self, seq: Sequence[T]) -> T:  # type: ignore[override] # typeshed's has a protocol of its own
        return seq[self.randrange(len(seq))]

    def shuffle(self, x: Any) -> None:
        for last in range(len(x) - 1, 0, -1):
            other = self.randrange(last + 1)
            x[last], x[other] = x[other], x[last]
