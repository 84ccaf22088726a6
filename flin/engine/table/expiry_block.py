"""The expiry block: a table's expiring keys by time, so that a sweep need not read the data.

Chunks one after the other, the earliest expiry first; a sweep reads those that are due.

    count         u32, at most 1,024
    key size      u32, of all keys
    times         count x i64, milliseconds, ascending
    bounds        (count + 1) x u32, key i is [bounds[i], bounds[i + 1])
    keys          in order of (time, key)
    checksum      u32, zlib.crc32 over all before it
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final

from flin.engine.checksum import crc32
from flin.errors import CorruptionError

_HEADER: Final = struct.Struct("<II")
_CHUNK_ENTRIES: Final = 1024  # 1 ms of decoding in a sweep that shares its process with requests

Expiry = tuple[int, bytes]
"""(expires_at_ms, key)."""


def encode(expiries: Sequence[Expiry]) -> bytes:
    """The block of these sorted expiries."""
    return b"".join(
        _encode_chunk(expiries[start : start + _CHUNK_ENTRIES]) for start in range(0, len(expiries), _CHUNK_ENTRIES)
    )


def _encode_chunk(expiries: Sequence[Expiry]) -> bytes:
    count = len(expiries)
    keys = [key for _, key in expiries]
    bounds = list(accumulate(map(len, keys), initial=0))
    data = b"".join(
        [
            _HEADER.pack(count, bounds[-1]),
            struct.pack(f"<{count}q", *[time for time, _ in expiries]),
            struct.pack(f"<{count + 1}I", *bounds),
            *keys,
        ]
    )
    return data + struct.pack("<I", crc32(data))


def decode(read: Callable[[int, int], bytes], start: int, stop: int, path: str) -> Iterator[Expiry]:
    """The expiries between two offsets of a file, read by read(offset, size). Raises CorruptionError."""
    for at, size, count in _chunks(read, start, stop, path):
        yield from _decode_chunk(read(at, size), count, path, at)


def sample(read: Callable[[int, int], bytes], start: int, stop: int, path: str, wanted: list[int]) -> list[Expiry]:
    """The expiries at these ascending positions in the order of times; reads only the chunks that hold them."""
    found: list[Expiry] = []
    first = 0
    for at, size, count in _chunks(read, start, stop, path):
        here = [position - first for position in wanted if first <= position < first + count]
        if here:
            chunk = _decode_chunk(read(at, size), count, path, at)
            found += [chunk[position] for position in here]
        first += count
    return found


def _chunks(read: Callable[[int, int], bytes], start: int, stop: int, path: str) -> Iterator[tuple[int, int, int]]:
    """The start of each chunk, its size and its number of entries."""
    while start < stop:
        if stop - start < _HEADER.size:
            raise CorruptionError(path, start, "an expiry block ends inside of a header")
        count, key_size = _HEADER.unpack(read(start, _HEADER.size))
        size = _HEADER.size + 12 * count + 4 + key_size + 4
        if not 0 < count <= _CHUNK_ENTRIES or size > stop - start:
            raise CorruptionError(path, start, "an expiry block does not have the size that its header says")
        yield start, size, count
        start += size


def _decode_chunk(data: bytes, count: int, path: str, offset: int) -> list[Expiry]:
    size = len(data) - 4
    if crc32(data[:size]) != int.from_bytes(data[size:], "little"):
        raise CorruptionError(path, offset, "the checksum of an expiry block is wrong")
    times = struct.unpack_from(f"<{count}q", data, _HEADER.size)
    bounds = struct.unpack_from(f"<{count + 1}I", data, _HEADER.size + 8 * count)
    column = data[_HEADER.size + 12 * count + 4 : size]
    return [(time, column[start:stop]) for time, (start, stop) in zip(times, pairwise(bounds), strict=True)]
