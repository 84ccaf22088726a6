"""The index block: which data block a key would be in. Two parallel arrays and a bisect.

A block is listed by its separator, the shortest prefix of its first key that is greater than the last key before it:
long keys need not be kept whole, and most comparisons end after a few bytes. A key's block is the last one whose
separator is not greater than the key.

    count         u32
    key size      u32, of all separators
    starts        (count + 1) x u64, where each data block begins in the section; the last one: where they end
    bounds        (count + 1) x u32, separator i is [bounds[i], bounds[i + 1])
    separators
    checksum      u32, zlib.crc32 over all before it
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from operator import le
from typing import Final, overload

from flin.engine.checksum import crc32
from flin.engine.disk.fs import Mapped
from flin.errors import CorruptionError

_HEADER: Final = struct.Struct("<II")
_read_bounds: Final = struct.Struct("<II").unpack_from

_SEPARATOR_COST: Final = 56
"""Bytes of a short separator in addition to its data: 33 of object header, 8 in the list, the allocator's rounding."""


@dataclass(frozen=True, slots=True)
class Index:
    separators: list[bytes]
    starts: array[int]  # one more than there are separators

    def separator_bytes(self) -> int:
        """Bytes of memory that the separators take."""
        return _SEPARATOR_COST * len(self.separators) + sum(map(len, self.separators))


class MappedSeparators(Sequence[bytes]):
    """The separators of an index block that `decode` took, read where they lie in a mapping: a bisect among 4,096 takes
    3 µs instead of 0.4, but they take no memory."""

    __slots__ = ("_bounds", "_column", "_count", "_data")

    def __init__(self, data: Mapped, start: int) -> None:
        self._data = data
        self._count: int = _HEADER.unpack_from(data, start)[0]
        self._bounds = start + _HEADER.size + 8 * (self._count + 1)
        self._column = self._bounds + 4 * (self._count + 1)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        start, stop = _read_bounds(self._data, self._bounds + 4 * index)
        return self._data[self._column + start : self._column + stop]


def encode(separators: Sequence[bytes], starts: Sequence[int]) -> bytes:
    count = len(separators)
    bounds = list(accumulate(map(len, separators), initial=0))
    data = b"".join(
        [
            _HEADER.pack(count, bounds[-1]),
            struct.pack(f"<{count + 1}Q", *starts),
            struct.pack(f"<{count + 1}I", *bounds),
            *separators,
        ]
    )
    return data + struct.pack("<I", crc32(data))


def decode(data: bytes, data_size: int | None, path: str, offset: int) -> Index:
    """The index. Raises CorruptionError at `offset` of the file. `data_size`: where the data blocks end in their
    section, if that is known."""
    size = len(data) - 4
    if size < _HEADER.size or crc32(data[:size]) != int.from_bytes(data[size:], "little"):
        raise CorruptionError(path, offset, "the checksum of an index block is wrong")
    count, key_size = _HEADER.unpack_from(data)
    if size != _HEADER.size + 12 * (count + 1) + key_size:
        raise CorruptionError(path, offset, "an index block does not have the size that its header says")
    starts = array("Q", struct.unpack_from(f"<{count + 1}Q", data, _HEADER.size))
    bounds = struct.unpack_from(f"<{count + 1}I", data, _HEADER.size + 8 * (count + 1))
    column = data[size - key_size : size]
    separators = [column[start:stop] for start, stop in pairwise(bounds)]
    # Compared in C: generators took a third of resolving a small flush, and this runs where reads are served, too.
    if starts[0] or data_size not in (None, starts[-1]) or any(map(le, islice(starts, 1, None), starts)):
        raise CorruptionError(path, offset, "the data blocks that an index names are not in order")
    if any(map(le, islice(separators, 1, None), separators)):
        raise CorruptionError(path, offset, "the separators of an index are not in order")
    return Index(separators, starts)
