"""The filter: for most keys that a table does not hold, it says so.

Theory. A Bloom filter whose bits for one key all lie in one 64-bit word ("Fast Bloom Filters", Putze, Sanders and
Singler, 2007): one read, one comparison. The word is the key's hash modulo the number of words, its bits come from
a table of 4,096 masks of six bits each, chosen by the low 12 bits of the hash; the number of words is odd, so that
one does not decide the other. One hash serves all tables.

Measured at 12 bits per key: 1.1 % false positives. The classic layout, seven probes over the whole filter, needs 10
bits for as few, but a lookup in it takes four times as long in Python.

    word count   u32, odd
    words        word count x u64
    checksum     u32, zlib.crc32 over all before it

The hash is MurmurHash3_x86_32 with seed 0. 32 bits suffice: two keys of one hash are a false positive, 0.1 % of the
lookups in a table of 4 million keys, and numbers of two digits (CPython's are of 30 bits) are the fastest to reduce.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Final

import mmh3

from flin.engine.checksum import crc32
from flin.engine.disk.fs import Mapped
from flin.errors import CorruptionError

HASH_NAME: Final = "murmur3_x86_32"

hash_key: Final = mmh3.mmh3_32_uintdigest
"""The hash of a stored key, for every filter that is asked about it."""

_WORD_BITS: Final = 64
_KEY_BITS: Final = 6  # measured best at 10 to 14 bits per key: 5 and 7 let more through
MASK_INDEX: Final = 4095


def _make_masks() -> list[int]:
    """The masks, which are part of the format: made by a multiplicative generator, since Random's methods may
    change."""
    state = 0x9E37_79B9_7F4A_7C15
    masks = []
    for _ in range(MASK_INDEX + 1):
        mask = 0
        while mask.bit_count() < _KEY_BITS:
            state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFF_FFFF_FFFF_FFFF
            mask |= 1 << (state >> 58)
        masks.append(mask)
    return masks


MASKS: Final = _make_masks()


def build(hashes: Iterable[int], count: int, bits_per_key: int) -> array[int]:
    """The words for `count` hashes."""
    word_count = max(1, -(-count * bits_per_key // _WORD_BITS)) | 1
    masks = MASKS
    words = [0] * word_count
    for hashed in hashes:
        words[hashed % word_count] |= masks[hashed & 4095]
    return array("Q", words)


def contains(words: Sequence[int], hashed: int) -> bool:
    """False: no key of this hash was added. (Written out in Table.get, SortedView.find_cold, read_path._from_runs
    and `let_through`.)"""
    mask = MASKS[hashed & MASK_INDEX]
    return words[hashed % len(words)] & mask == mask


def masks_of(hashes: Iterable[int]) -> list[int]:
    """The mask of each hash, for `let_through`."""
    masks = MASKS
    return [masks[hashed & 4095] for hashed in hashes]


def let_through(words: Sequence[int], hashes: Sequence[int], masks: Sequence[int]) -> list[bool]:
    """Do what `contains` does for many hashes, whose masks are known: for many filters and many keys (count.py)."""
    # Written out: table.bloom.contains
    count = len(words)
    return [words[hashed % count] & mask == mask for hashed, mask in zip(hashes, masks, strict=True)]


def encode(words: array[int]) -> bytes:
    data = struct.pack("<I", len(words)) + _little_endian(words).tobytes()
    return data + struct.pack("<I", crc32(data))


def decode(data: bytes, path: str, offset: int) -> array[int]:
    """The words of the filter. Raises CorruptionError at `offset` of the file."""
    if len(data) < 16 or crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise CorruptionError(path, offset, "the checksum of a filter block is wrong")
    if len(data) != 8 + 8 * int.from_bytes(data[:4], "little"):
        raise CorruptionError(path, offset, "a filter block does not have the size that its header says")
    words = array("Q", data[4:-4])
    return _little_endian(words)


def mapped(data: Mapped, start: int, stop: int) -> memoryview[int] | None:
    """The words of a filter block that `decode` took, where they lie in a mapping: the kernel may evict them, and a
    lookup in them takes no longer (77 and 76 ns). None if there is no mapping, or if this machine's numbers differ."""
    if not data or sys.byteorder != "little":
        return None
    return memoryview(data)[start + 4 : stop - 4].cast("Q")


def _little_endian(words: array[int]) -> array[int]:
    if sys.byteorder == "big":
        words = words[:]
        words.byteswap()
    return words
