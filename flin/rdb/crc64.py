"""CRC-64 as Redis uses it: the polynomial of Jones, bits reflected, no inversion at either end."""

from __future__ import annotations

import struct
from typing import Final

_POLYNOMIAL: Final = 0x95AC9329AC4BC9B5
"""Reflected: the lowest bit is the highest power; x^64 is left out."""

_WORD_BYTES: Final = 8


def _tables() -> list[list[int]]:
    """What a byte adds to the checksum if it stands 0, 1, … 7 bytes before the end."""
    first = list(range(256))
    for _ in range(8):
        first = [crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0) for crc in first]
    tables = [first]
    while len(tables) < _WORD_BYTES:
        tables.append([crc >> 8 ^ first[crc & 0xFF] for crc in tables[-1]])
    return tables


_TABLES: Final = _tables()


def crc64(data: bytes, crc: int = 0) -> int:
    """The checksum of `data`; `crc` is that of what stands before it: `crc64(b, crc64(a))` is `crc64(a + b)`."""
    t0, t1, t2, t3, t4, t5, t6, t7 = _TABLES
    words = len(data) // _WORD_BYTES
    for word in struct.unpack_from(f"<{words}Q", data):
        word ^= crc
        crc = (
            t7[word & 255]
            ^ t6[word >> 8 & 255]
            ^ t5[word >> 16 & 255]
            ^ t4[word >> 24 & 255]
            ^ t3[word >> 32 & 255]
            ^ t2[word >> 40 & 255]
            ^ t1[word >> 48 & 255]
            ^ t0[word >> 56]
        )
    for byte in data[words * _WORD_BYTES :]:
        crc = t0[(crc ^ byte) & 255] ^ crc >> 8
    return crc
