"""The large values of a segment, as pointers to where they lie in it.

A flush replays its segments to these. So it need not hold the values, nor write them again, if the segment becomes a
value file (background/value_segments.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, chain, repeat
from typing import Final

from flin.engine.checksum import crc32
from flin.engine.entry import POINTER_BYTES, Pointer, pack_place, pack_pointer

_PLACE_BYTES: Final = 16  # number and offset


@lru_cache(maxsize=32)  # as many shapes as wal/frames.py keeps
def _structs(count: int) -> tuple[struct.Struct, struct.Struct, struct.Struct, struct.Struct]:
    """The structs of `count` places and pointers: as numbers, and as bytes."""
    return (
        struct.Struct("<" + "QQ" * count),
        struct.Struct(f"{_PLACE_BYTES}s" * count),
        struct.Struct("<" + "QQII" * count),
        struct.Struct(f"{POINTER_BYTES}s" * count),
    )


def value_checksum(number: int, offset: int, value: bytes) -> int:
    """What a pointer says of its value."""
    return crc32(value, crc32(pack_place(number, offset)))


class LargeValues:
    """Those of at least `threshold` bytes, in the file with this number."""

    def __init__(self, number: int, threshold: int) -> None:
        self.threshold: Final = threshold
        self._number: Final = number

    def pointer(self, offset: int, value: bytes, seal_bytes: int = 0) -> Pointer:
        """The pointer to a value that begins at the offset. `seal_bytes`: by so much it is longer than what is sealed
        in it, whose length a pointer tells."""
        checksum = value_checksum(self._number, offset, value)
        return Pointer(pack_pointer(self._number, offset, len(value) - seal_bytes, checksum))

    def pointers(
        self, offsets: Sequence[int], values: Sequence[bytes | memoryview], seal_bytes: int = 0
    ) -> list[Pointer]:
        """The pointers of many values, in loops of C: 0.5 microseconds each and the checksum, instead of 1.1."""
        places, cut_places, pointers, cut_pointers = _structs(len(values))
        numbers = repeat(self._number)
        joined = places.pack(*chain.from_iterable(zip(numbers, offsets)))  # noqa: B905  `numbers` is endless
        checksums = map(crc32, values, map(crc32, cut_places.unpack(joined)))
        lengths = map(len, values) if not seal_bytes else [len(value) - seal_bytes for value in values]
        rows = zip(numbers, offsets, lengths, checksums)  # noqa: B905
        return list(map(Pointer, cut_pointers.unpack(pointers.pack(*chain.from_iterable(rows)))))

    def replaced(self, values: Iterable[bytes], stop: int) -> list[bytes]:
        """Values that follow each other up to the offset `stop`, pointers in the places of the large ones."""
        kept = list(values)
        threshold = self.threshold
        if max(map(len, kept), default=0) < threshold:
            return kept
        offsets = accumulate(map(len, kept), initial=stop - sum(map(len, kept)))
        # The offsets are one more: that of the end.
        return [
            self.pointer(offset, value) if len(value) >= threshold else value
            for offset, value in zip(offsets, kept)  # noqa: B905
        ]
