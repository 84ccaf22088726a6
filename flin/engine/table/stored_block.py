"""The stored block: a data block's payload as it lies in a table, compressed or not, with its checksum.

    raw          the payload (block.py; its first byte is below 0x80), crc u32
    compressed   0x80, payload size u32, the codec's bytes, crc u32

The checksum is zlib.crc32 over all before it, begun with the block's offset in its section: so a block that a disk
returns from the wrong place is found, too. A payload is compressed only if that saves an eighth: one that is stored raw
is read in the mapping, without a copy of the rest.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Final, cast

from flin.engine.checksum import crc32
from flin.engine.table import block
from flin.errors import CorruptionError, FormatVersionError

CODECS: Final = ("none", "zstd")
CHECKSUM_SIZE: Final = 4

_SAVES: Final = 8
_MOST_FOLD: Final = 1 << 15
"""The largest factor of zstd: four bytes make at most 128 KiB, and no larger claim of a header is believed."""
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_FEED_BYTES: Final = 16 << 10
"""Bytes given at once to a decompressor that looks for the end of its frame: about two blocks."""
_COMPRESSED_HEADER: Final = struct.Struct("<BI")
_pack_checksum: Final = struct.Struct("<I").pack
_read_checksum: Final = struct.Struct("<I").unpack_from
_local: Final = threading.local()  # zstandard's objects may not be shared by threads that use them at once


def compressor(codec: str, level: int) -> Callable[[bytes], bytes] | None:
    """The function that compresses for one writer; None for the codec that stores everything raw."""
    if codec == "none":
        return None
    if codec != "zstd":
        raise ValueError(f"unknown codec {codec!r}, known are {CODECS}")
    import zstandard

    compress = zstandard.ZstdCompressor(level=level, write_content_size=False).compress
    return cast("Callable[[bytes], bytes]", compress)


def require_codec(codec: str, path: str) -> None:
    """Raise FormatVersionError unless blocks of this codec can be read here."""
    if codec not in CODECS:
        raise FormatVersionError(path, f"its blocks are compressed with {codec!r}, which this version does not know")
    if codec == "zstd":
        try:
            import zstandard  # noqa: F401
        except ImportError:
            raise FormatVersionError(path, "its blocks need the package zstandard, which is not installed") from None


def store(payload: bytes, offset: int, compress: Callable[[bytes], bytes] | None) -> tuple[bytes, bytes]:
    """The stored block at an offset of its section, in two pieces (a large payload is not copied again)."""
    if compress is not None:
        packed = compress(payload)
        if (len(packed) + _COMPRESSED_HEADER.size) * _SAVES <= len(payload) * (_SAVES - 1):
            payload = _COMPRESSED_HEADER.pack(block.COMPRESSED, len(payload)) + packed
    return payload, _pack_checksum(crc32(payload, offset & 0xFFFF_FFFF))


def verify(stored: bytes | memoryview, offset: int, path: str, base_offset: int) -> None:
    """Check the checksum of a whole stored block; `offset` is in its section, which begins at base_offset."""
    size = len(stored) - CHECKSUM_SIZE
    if size <= 0 or crc32(stored[:size], offset & 0xFFFF_FFFF) != _read_checksum(stored, size)[0]:
        raise CorruptionError(path, base_offset + offset, "the checksum of a data block is wrong")


def unpack(stored: bytes, path: str, offset: int) -> bytes:
    """The payload of a stored block whose checksum is right; `offset` is the block's in the file."""
    payload = unpack_before_checksum(stored, path, offset)
    return payload[:-CHECKSUM_SIZE] if payload is stored else payload


def unpack_before_checksum(stored: bytes, path: str, offset: int) -> bytes:
    """What `unpack` gives, but that of a raw block still has the checksum after it, which nobody looks at: to cut that
    off would copy the rest."""
    if stored[0] < block.COMPRESSED:
        block.check(stored, 0, len(stored) - CHECKSUM_SIZE, path, offset)
        return stored
    return unpack_packed(stored, path, offset)


def unpack_packed(stored: bytes | memoryview, path: str, offset: int) -> bytes:
    """That of a block that is not raw. Long for speed: most lookups of scattered keys come here."""
    size_of_stored = len(stored)
    if stored[0] != block.COMPRESSED or size_of_stored < _COMPRESSED_HEADER.size + CHECKSUM_SIZE:
        raise CorruptionError(path, offset, "a compressed block has no valid header")
    _, size = _COMPRESSED_HEADER.unpack_from(stored)
    if size > _MOST_FOLD * size_of_stored:
        raise CorruptionError(path, offset, f"a compressed block of {size_of_stored} bytes cannot hold {size}")
    try:
        decompress = _local.decompress
    except AttributeError:
        decompress = _local.decompress = _zstandard().ZstdDecompressor().decompress
    packed = memoryview(stored)[_COMPRESSED_HEADER.size : -CHECKSUM_SIZE]
    try:
        payload: bytes = decompress(packed, size)
    except _zstandard().ZstdError as error:
        raise CorruptionError(path, offset, f"a block cannot be decompressed: {error}") from error
    if len(payload) != size:
        raise CorruptionError(path, offset, "a block decompresses to another size than its header says")
    block.check(payload, 0, size, path, offset)
    return payload


def _zstandard() -> ModuleType:
    """The package, imported where it is needed: an import statement takes 0.3 µs each time."""
    import zstandard

    return zstandard


# For a section whose index is lost.


def find(data: bytes, path: str, base_offset: int) -> Iterator[tuple[int, int]]:
    """The starts and ends of whole blocks in a section whose index is lost, those after damage included.

    A damaged block is not found; the next one is searched for byte by byte, about 2 s per 10 MB."""
    at = 0
    while at + CHECKSUM_SIZE < len(data):
        end = _maybe_end(data, at)
        if end is not None:
            try:
                verify(memoryview(data)[at:end], at, path, base_offset)
            except CorruptionError:
                end = None
        if end is None:
            at += 1
        else:
            yield at, end
            at = end


def _maybe_end(data: bytes, at: int) -> int | None:
    """The end of the stored block that may begin there."""
    if data[at] != block.COMPRESSED:
        size = block.maybe_size(data, at)
        end = None if size is None else at + size + CHECKSUM_SIZE
    else:
        end = _maybe_compressed_end(data, at)
    return end if end is not None and end <= len(data) else None


def _maybe_compressed_end(data: bytes, at: int) -> int | None:
    """The end of a compressed block: only decompressing its frame tells."""
    start = at + _COMPRESSED_HEADER.size
    if data[start : start + len(_ZSTD_MAGIC)] != _ZSTD_MAGIC:
        return None
    import zstandard

    frame = zstandard.ZstdDecompressor().decompressobj()
    taken = start
    try:
        while not frame.eof and taken < len(data):
            frame.decompress(data[taken : taken + _FEED_BYTES])
            taken += _FEED_BYTES
    except (zstandard.ZstdError, MemoryError):
        return None
    return min(taken, len(data)) - len(frame.unused_data) + CHECKSUM_SIZE if frame.eof else None
