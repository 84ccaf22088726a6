"""The end of a table: the places of its parts, and what is known of it without reading them.

A table (a section of a file) is: data blocks, key part (key_part.py; not in every table), expiry block, filter block,
index block, range block, properties block, footer. Everything in it is relative to its own beginning, so several tables
can follow each other in a file.

Properties block (little-endian), for each property, in any order; unknown ones are passed over:

    name size    u8
    name         ASCII
    value size   u32
    value        numbers as decimal text, pairs of them as "first:second,first:second"
    …
    checksum     u32, zlib.crc32 over all before it

Footer, 68 bytes:

    expiry, filter, index, ranges, properties   5 x u64, where each block begins
    section size                                u64, footer included
    reserved                                    u32, 0
    format version                              u32
    checksum                                    u32, zlib.crc32 over all before it
    magic                                       8 bytes
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

from flin.engine.checksum import crc32
from flin.engine.disk.fs import ReadableFile
from flin.engine.table.bloom import HASH_NAME
from flin.engine.table.meta import TableMeta
from flin.engine.table.stored_block import require_codec
from flin.errors import CorruptionError, FormatVersionError, StorageError

FORMAT_VERSION: Final = 3
"""Version 1 had no key part, and 2 one; neither has `points` or pointers, so a count must read their keys."""

MAGIC: Final = b"FlinSST\n"

_FOOTER: Final = struct.Struct("<6QII")
_TAIL: Final = struct.Struct("<I8s")
FOOTER_SIZE: Final = _FOOTER.size + _TAIL.size
_read_size: Final = struct.Struct("<I").unpack_from

_NUMBERS: Final = {
    "entries": "entry_count",
    "tombstones": "tombstones",
    "range_deletes": "range_deletes",
    "expiring": "expiring",
    "smallest_sequence": "smallest_sequence",
    "largest_sequence": "largest_sequence",
    "raw_bytes": "raw_bytes",
}
"""The numbers of the properties block: their names there, and in TableMeta."""


ValueBytes: TypeAlias = tuple[tuple[int, int], ...]
"""(number of a value file, bytes), ascending, without zeros."""


@dataclass(frozen=True, slots=True)
class Footer:
    """The starts of the blocks of a table, relative to its section."""

    expiry: int
    filter: int
    index: int
    ranges: int
    properties: int
    size: int  # of the section


@dataclass(frozen=True, slots=True)
class Properties:
    meta: TableMeta
    codec: str
    hash_name: str
    values: ValueBytes = ()  # bytes of values that its pointers name, by value file
    keys: tuple[int, int] | None = None  # where key part and its index begin, if there is one


def encode_footer(footer: Footer) -> bytes:
    starts = (footer.expiry, footer.filter, footer.index, footer.ranges, footer.properties)
    data = _FOOTER.pack(*starts, footer.size, 0, FORMAT_VERSION)
    return data + _TAIL.pack(crc32(data), MAGIC)


def decode_footer(data: bytes, path: str, offset: int) -> Footer:
    """The footer. Raises CorruptionError at `offset` of the file, FormatVersionError if a newer Flin wrote it."""
    if len(data) != FOOTER_SIZE:
        raise CorruptionError(path, offset, "the file ends inside of a table's footer")
    checksum, magic = _TAIL.unpack_from(data, _FOOTER.size)
    if magic != MAGIC:
        raise CorruptionError(path, offset, "no table ends here")
    if checksum != crc32(data[: _FOOTER.size]):
        raise CorruptionError(path, offset, "the checksum of a table's footer is wrong")
    *starts, reserved, version = _FOOTER.unpack_from(data)
    if not 1 <= version <= FORMAT_VERSION or reserved:
        raise FormatVersionError(path, f"a table of format version {version}; this Flin reads up to {FORMAT_VERSION}")
    footer = Footer(*starts)
    if sorted(starts) != starts or footer.size < footer.properties + FOOTER_SIZE:
        raise CorruptionError(path, offset, "the blocks that a table's footer names are not in order")
    return footer


def encode_properties(
    meta: TableMeta, codec: str, keys: tuple[int, int] | None = None, values: ValueBytes = (), checksums: int = 0
) -> bytes:
    """`checksums`: the CRC-32 of the checksums of all blocks before. So the ends of two tables differ if they do. (A
    CRC-32 over all is the same for every table of a layout, since each block ends with its own.)"""
    properties = {name: str(getattr(meta, own)).encode() for name, own in _NUMBERS.items()}
    properties |= {"smallest": meta.smallest, "largest": meta.largest}
    properties |= {"codec": codec.encode(), "hash": HASH_NAME.encode()}
    if meta.points is not None:
        properties["points"] = _encode_pairs(meta.points)
    if values:
        properties["values"] = _encode_pairs(values)
    if keys is not None:
        properties |= {"keys": str(keys[0]).encode(), "key_index": str(keys[1]).encode()}
    properties["checksums"] = b"%010d" % checksums
    parts = []
    for name, value in properties.items():
        parts.append(bytes((len(name),)) + name.encode() + struct.pack("<I", len(value)) + value)
    data = b"".join(parts)
    return data + struct.pack("<I", crc32(data))


def decode_properties(data: bytes, footer: Footer, file: str, base_offset: int, path: str) -> Properties:
    """The properties. Raises CorruptionError."""
    offset = base_offset + footer.properties
    values = _decode_values(data, path, offset)
    try:
        numbers = {own: _number(values[name]) for name, own in _NUMBERS.items()}
        meta = TableMeta(
            file=file,
            offset=base_offset,
            length=footer.size,
            smallest=values["smallest"],
            largest=values["largest"],
            points=_decode_pairs(values["points"]) if "points" in values else None,
            **numbers,
        )
        keys = (_number(values["keys"]), _number(values["key_index"])) if "keys" in values else None
        if keys is not None and not keys[0] <= keys[1] <= footer.expiry:
            raise CorruptionError(path, offset, "the key part that a properties block names is not in its place")
        codec, hash_name = values["codec"].decode("ascii"), values["hash"].decode("ascii")
        return Properties(meta, codec, hash_name, _decode_pairs(values.get("values", b"")), keys)
    except KeyError as error:
        raise CorruptionError(path, offset, f"a properties block lacks {error}") from None
    except ValueError as error:
        raise CorruptionError(path, offset, f"a properties block has a value that is none: {error}") from None


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise ValueError(text[:20])
    return int(text)


def _encode_pairs(pairs: Iterable[tuple[int, int]]) -> bytes:
    return b",".join(b"%d:%d" % pair for pair in pairs)


def _decode_pairs(text: bytes) -> tuple[tuple[int, int], ...]:
    """The pairs; ValueError unless their first numbers ascend and no second one is 0."""
    pairs = []
    for item in text.split(b",") if text else ():
        first, _, second = item.partition(b":")
        pairs.append((_number(first), _number(second)))
    ascend = all(left[0] < right[0] for left, right in pairwise(pairs))
    if not ascend or not all(second for _, second in pairs):
        raise ValueError(text[:40])
    return tuple(pairs)


def _decode_values(data: bytes, path: str, offset: int) -> dict[str, bytes]:
    stop = len(data) - 4
    if stop < 0 or crc32(data[:stop]) != _read_size(data, stop)[0]:
        raise CorruptionError(path, offset, "the checksum of a properties block is wrong")
    values = {}
    at = 0
    while at < stop:
        name_stop = at + 1 + data[at]
        if name_stop + 4 > stop:
            raise CorruptionError(path, offset, "a properties block ends inside of a name")
        value_stop = name_stop + 4 + _read_size(data, name_stop)[0]
        if value_stop > stop:
            raise CorruptionError(path, offset, "a properties block ends inside of a value")
        values[data[at + 1 : name_stop].decode("latin-1")] = data[name_stop + 4 : value_stop]
        at = value_stop
    return values


def read_footer(file: ReadableFile, offset: int, length: int) -> Footer:
    """The footer of the section at `offset`. Raises CorruptionError."""
    if length < FOOTER_SIZE or offset < 0 or offset + length > _size(file):
        raise CorruptionError(file.path, max(offset, 0), "the file is shorter than its table")
    at = offset + length - FOOTER_SIZE
    footer = decode_footer(read_part(file, at, FOOTER_SIZE), file.path, at)
    if footer.size != length:
        raise CorruptionError(file.path, at, f"a table of {footer.size} bytes where one of {length} should be")
    return footer


def read_properties(file: ReadableFile, footer: Footer, offset: int, name: str) -> Properties:
    """The properties of the section at `offset`; raises FormatVersionError if the table cannot be read here."""
    start, stop = offset + footer.properties, offset + footer.size - FOOTER_SIZE
    properties = decode_properties(read_part(file, start, stop - start), footer, name, offset, file.path)
    require_codec(properties.codec, file.path)
    if properties.hash_name != HASH_NAME:
        raise FormatVersionError(file.path, f"its filter needs the hash {properties.hash_name!r}")
    return properties


def read_part(file: ReadableFile, offset: int, size: int) -> bytes:
    """Exactly `size` bytes of the file."""
    try:
        data = file.pread(size, offset)
    except OSError as error:
        raise StorageError("read", file.path, error) from error
    if len(data) != size:
        raise CorruptionError(file.path, offset, f"the file ends {size - len(data)} bytes early")
    return data


def read_meta(file: ReadableFile, offset: int, length: int) -> TableMeta:
    """The metadata in a table itself; reads only footer and properties. Raises CorruptionError, FormatVersionError."""
    footer = read_footer(file, offset, length)
    return read_properties(file, footer, offset, _base_name(file.path)).meta


def read_values(file: ReadableFile, offset: int, length: int) -> ValueBytes:
    """What the pointers of the table at `offset` name; reads only footer and properties. Raises CorruptionError,
    FormatVersionError."""
    return read_properties(file, read_footer(file, offset, length), offset, _base_name(file.path)).values


def read_metas(file: ReadableFile) -> list[TableMeta]:
    """The metadata of every table of a file, first to last; they are found from its end backwards."""
    metas: list[TableMeta] = []
    stop = _size(file)
    while stop > 0:
        at = stop - FOOTER_SIZE
        if at < 0:
            raise CorruptionError(file.path, 0, "the file does not begin with a table")
        footer = decode_footer(read_part(file, at, FOOTER_SIZE), file.path, at)
        if footer.size > stop:
            raise CorruptionError(file.path, at, "a table is larger than its file")
        stop -= footer.size
        metas.append(read_properties(file, footer, stop, _base_name(file.path)).meta)
    return metas[::-1]


def _size(file: ReadableFile) -> int:
    try:
        return file.size()
    except OSError as error:
        raise StorageError("read", file.path, error) from error


def _base_name(path: str) -> str:
    return path.rpartition("/")[2]
