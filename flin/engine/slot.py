"""The slot of a key, as Redis Cluster computes it, and the shard that owns it.

`binascii.crc_hqx(key, 0)` is the CRC-16/XMODEM of Redis Cluster's specification, in C, in the standard library.
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import Final

from flin.engine.key import PIECES_START, PIECES_STOP, USER_END

SLOTS: Final = 16384

BRACE: Final = ord("{")
"""What begins a hash tag. To look for a number takes 10 ns, for bytes 120: CPython first tries them as a number."""

MAX_SHARDS: Final = 1024
"""Sixteen slots per shard: more shards would only cost memory. A manifest with more is damaged."""


def hash_tag(key: bytes) -> bytes:
    """The part of the key that is hashed: between the first { and the next }, if that is not empty."""
    start = key.find(b"{")
    if start >= 0:
        stop = key.find(b"}", start + 1)
        if stop > start + 1:
            return key[start + 1 : stop]
    return key


def slot_of(key: bytes) -> int:
    """The slot, 0 to 16383, of a user's key (not its stored form)."""
    return crc_hqx(hash_tag(key) if BRACE in key else key, 0) & (SLOTS - 1)


def shard_of(key: bytes, shards: int) -> int:
    """The shard of a user's key. Shard i of n owns the i-th of n equal, contiguous slot ranges; n is a power of two."""
    return slot_of(key) * shards // SLOTS


def shard_of_stored(stored: bytes, shards: int) -> int:
    """The shard of a stored key (key.py); an internal key has the slot of the part after its namespace, a piece of a
    larger value the slot that it names."""
    if stored >= b"\xff":
        if PIECES_START <= stored < PIECES_STOP:
            return (int.from_bytes(stored[4:6], "big") & (SLOTS - 1)) * shards // SLOTS
        stored = stored[4:] if stored >= USER_END else b"\xff" + stored[2:]
    return shard_of(stored, shards)
