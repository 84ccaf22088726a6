"""The compact form of an export: blocks of records with checksums. Integers are little-endian.

magic "FlinEXP\\0", format version (u32): 1
blocks          size of the records (u32, never 0), their CRC-32 (u32), records
end             0 (u32), CRC-32 of what follows (u32), number of records (u64)

a record        database (u8), kind (u8: its place in record.KINDS), expiry in ms since 1970 (u64, 0: none), length of
                key (u32), length of payload (u32), key, payload
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import IO, Final

from flin.engine.checksum import crc32
from flin.errors import CorruptionError, FormatVersionError, LimitError
from flin.transfer.ndjson import MAX_DATABASE, MAX_EXPIRY_MS
from flin.transfer.record import KINDS, Record

MAGIC: Final = b"FlinEXP\0"
FORMAT: Final = 1

BLOCK_BYTES: Final = 1 << 18
"""A block is written when it is this long; a record is in one block, whatever its size."""

MAX_BLOCK_BYTES: Final = 0xFFFF_FFFF

_HEAD: Final = struct.Struct("<8sI")
_BLOCK: Final = struct.Struct("<II")
_COUNT: Final = struct.Struct("<Q")
_RECORD: Final = struct.Struct("<BBQII")


def write(records: Iterable[Record], file: IO[bytes]) -> int:
    """Write the whole export. Returns the number of records. OSError; LimitError for a record of 4 GiB."""
    file.write(_HEAD.pack(MAGIC, FORMAT))
    count, parts, size = 0, list[bytes](), 0
    for record in records:
        key, payload = record.key, record.payload
        length = _RECORD.size + len(key) + len(payload)
        if length > MAX_BLOCK_BYTES:
            raise LimitError("the size of a record in bytes", length, MAX_BLOCK_BYTES)
        if parts and size + length > BLOCK_BYTES:
            _write_block(file, parts)
            parts, size = [], 0
        kind = KINDS.index(record.kind)
        parts += (_RECORD.pack(record.database, kind, record.expires_at_ms, len(key), len(payload)), key, payload)
        size += length
        count += 1
    if parts:
        _write_block(file, parts)
    end = _COUNT.pack(count)
    file.write(_BLOCK.pack(0, crc32(end)) + end)
    return count


def _write_block(file: IO[bytes], parts: list[bytes]) -> None:
    data = b"".join(parts)
    file.write(_BLOCK.pack(len(data), crc32(data)))
    file.write(data)


def read(file: IO[bytes], path: str) -> Iterator[Record]:
    """The records of a file, from its beginning on. CorruptionError with the offset; FormatVersionError for a newer
    format."""
    magic, version = _HEAD.unpack(_taken(file, _HEAD.size, path, 0))
    if magic != MAGIC or not version:
        raise CorruptionError(path, 0, "it is no compact export")
    if version > FORMAT:
        raise FormatVersionError(path, f"export format {version}, of a newer Flin: this one reads {FORMAT}")
    offset, count = _HEAD.size, 0
    while True:
        size, checksum = _BLOCK.unpack(_taken(file, _BLOCK.size, path, offset))
        data = _taken(file, size or _COUNT.size, path, offset)
        if crc32(data) != checksum:
            raise CorruptionError(path, offset, "the checksum of a block does not match")
        if not size:
            break
        for record in _records(data, path, offset):
            yield record
            count += 1
        offset += _BLOCK.size + size
    (expected,) = _COUNT.unpack(data)
    if expected != count:
        raise CorruptionError(path, offset, f"its end says {expected} records, and {count} came before")
    if file.read(1):
        raise CorruptionError(path, offset + _BLOCK.size + _COUNT.size, "the file goes on after its end")


def _taken(file: IO[bytes], size: int, path: str, offset: int) -> bytes:
    data = b"".join(_pieces(file, size))
    if len(data) < size:
        raise CorruptionError(path, offset, "the file is cut")
    return data


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    """A pipe gives fewer bytes than were asked for; and a size that is a lie must not take memory at once."""
    while size and (data := file.read(min(size, 1 << 20))):
        size -= len(data)
        yield data


def _records(data: bytes, path: str, block: int) -> Iterator[Record]:
    at = 0
    while at < len(data):
        if at + _RECORD.size > len(data):
            raise CorruptionError(path, block, "a record is cut")
        database, kind, expires_at_ms, key_size, payload_size = _RECORD.unpack_from(data, at)
        start = at + _RECORD.size
        middle, at = start + key_size, start + key_size + payload_size
        if at > len(data) or kind >= len(KINDS) or database > MAX_DATABASE or expires_at_ms > MAX_EXPIRY_MS:
            raise CorruptionError(path, block, "a record is longer than its block, or has an impossible number")
        yield Record(data[start:middle], data[middle:at], KINDS[kind], expires_at_ms, database, f"block at {block}")
