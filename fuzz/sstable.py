"""Invariant: any bytes taken for a table, or for a part of one, give entries or CorruptionError or FormatVersionError;
nothing else is raised, and undamaged parts are read as they were written. A table says how many puts it holds, and how
many bytes of values its pointers name.

The first byte chooses what the rest is taken for. If a checksum would stop the search, it is corrected first, so that
the decoders after it are reached.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from zlib import crc32

from flin.engine.entry import TOMBSTONE, Entry, Pointer, maybe_pointer, pack_pointer, read_pointer
from flin.engine.key import count_by_namespace, without_pieces
from flin.engine.sstable import Table, TableOptions, TableWriter, read_metas
from flin.engine.table import block, bloom, expiry_block, index_block, range_block, stored_block
from flin.engine.table import footer as table_footer
from flin.engine.table.cached_block import CachedBlock
from flin.engine.table.meta import TableMeta
from flin.errors import CorruptionError, FormatVersionError

_ALLOWED = (CorruptionError, FormatVersionError)


class _File:
    path = "fuzz.sst"

    def __init__(self, data: bytes) -> None:
        self._data = data

    def size(self) -> int:
        return len(self._data)

    def pread(self, size: int, offset: int) -> bytes:
        return self._data[offset : offset + size]

    def pread_nowait(self, size: int, offset: int) -> bytes | None:
        return self._data[offset : offset + size]

    def will_need(self, size: int, offset: int) -> None:
        pass

    def map(self) -> bytes:
        return self._data

    def close(self) -> None:
        pass


def one_input(data: bytes) -> None:
    """Raises nothing, whatever the data."""
    if data:
        _TARGETS[data[0] % len(_TARGETS)](data[1:])


def _file(data: bytes) -> None:
    """A whole file."""
    try:
        metas = read_metas(_File(data))
    except _ALLOWED:
        return
    for meta in metas:
        _read(data, meta)


def _payload(data: bytes) -> None:
    try:
        block.check(data, 0, len(data), "fuzz", 0)
    except _ALLOWED:
        return
    block.decode(data, 0)
    block.decode_kinds(data, 0)
    block.decode_slice(data, 0, 0, block.entry_count(data, 0))
    cached = CachedBlock(data)
    cached.expand()
    for key in (b"", data[-3:], data[16:18]):
        block.find(data, 0, key)
        block.lower_bound(data, 0, key)
        cached.find(key)


def _stored(data: bytes) -> None:
    stored = _sealed(data)
    if data and (data[0] != block.COMPRESSED or int.from_bytes(data[1:5], "little") < 1 << 24):
        try:
            stored_block.verify(stored, 0, "fuzz", 0)
            payload = stored_block.unpack(stored, "fuzz", 0)
        except _ALLOWED:
            return
        _payload(payload)


def _part(decode: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        with suppress(*_ALLOWED):
            decode(_sealed(data))

    return target


def _expiries(data: bytes) -> object:
    return list(expiry_block.decode(lambda offset, size: data[offset : offset + size], 0, len(data), "fuzz"))


def _properties(data: bytes) -> object:
    return table_footer.decode_properties(data, table_footer.Footer(0, 0, 0, 0, 0, 0), "fuzz", 0, "fuzz")


def _footer(data: bytes) -> object:
    size = table_footer.FOOTER_SIZE - 12
    whole = data[:-4].ljust(size, b"\0")[:size]
    return table_footer.decode_footer(whole + crc32(whole).to_bytes(4, "little") + table_footer.MAGIC, "fuzz", 0)


def _damaged(data: bytes) -> None:
    """A good table with some changed bytes: 3 bytes say where, one what it is combined with."""
    table, meta, entries = _example(data[0] if data else 0)
    damaged = bytearray(table)
    for at in range(1, len(data) - 3, 4):
        damaged[int.from_bytes(data[at : at + 3], "big") % len(damaged)] ^= data[at + 3]
    _read(bytes(damaged), meta)
    reader = Table(_File(bytes(damaged)), meta, None)
    for key, entry in entries.items():
        with suppress(CorruptionError):
            assert reader.get(key) == entry


def _script(data: bytes) -> None:
    """Entries as the data say, written and read again."""
    entries: dict[bytes, Entry] = {}
    at = 0
    while at + 3 < len(data):
        shape, key_size, value_size = data[at], data[at + 1] % 24, data[at + 2]
        key = data[at + 3 : at + 3 + key_size]
        value = data[at + 3 + key_size : at + 3 + key_size + value_size % 50]
        at += 3 + key_size + value_size % 50
        if key < b"\xff":
            entries[key] = _entry(value, shape)
    if not entries:
        return
    table, meta = _write(entries, data[0])
    reader = Table(_File(table), meta, None)
    assert [pair for page in reader.pages() for pair in zip(*page, strict=True)] == sorted(entries.items())
    for key, entry in entries.items():
        assert reader.get(key) == entry
    assert reader.verify() == []
    assert meta.points == tuple(sorted(count_by_namespace(without_pieces(_puts(entries))).items()))
    named: Counter[int] = Counter()
    for number, _, length, _ in map(read_pointer, filter(None, map(maybe_pointer, entries.values()))):
        named[number] += length
    assert dict(reader.values) == named
    assert read_metas(_File(table)) == [meta]


def _puts(entries: dict[bytes, Entry]) -> list[bytes]:
    return sorted(key for key, entry in entries.items() if entry is not TOMBSTONE)


def _entry(value: bytes, shape: int) -> Entry:
    if shape % 8 == 1:
        return TOMBSTONE
    if shape % 8 == 2:
        return value, shape * 1_000_003, 0
    if shape % 8 == 3:
        return value, 0, shape % 256
    if shape % 8 == 4:
        return _pointer(value)
    if shape % 8 == 5:
        return _pointer(value), shape, shape % 3
    return value


def _pointer(value: bytes) -> Pointer:
    """One whose number and length come from the value. None names an empty value (options.MIN_VALUE_THRESHOLD)."""
    return Pointer(pack_pointer(len(value) % 3, 20, int.from_bytes(value[:4]) or 1, crc32(value)))


def _example(shape: int) -> tuple[bytes, TableMeta, dict[bytes, Entry]]:
    entries = {b"key %d" % (index * 7): _entry(b"v" * (index % 9), index * shape) for index in range(60)}
    return *_write(entries, shape), entries


def _write(entries: dict[bytes, Entry], shape: int) -> tuple[bytes, TableMeta]:
    pieces: list[bytes] = []
    options = TableOptions(block_size_bytes=1 << shape % 10, codec="zstd" if shape & 64 else "none")
    writer = TableWriter(pieces.append, options, 1, 2, file="fuzz.sst")
    keys = sorted(entries)
    writer.add(keys, [entries[key] for key in keys])
    if shape & 128:
        writer.add_ranges([(b"a", b"b")])
    meta = writer.finish()
    return b"".join(pieces), meta


def _read(data: bytes, meta: TableMeta) -> None:
    table = Table(_File(data), meta, None)
    ways: list[Callable[[], object]] = [
        lambda: table.get(b"key 7"),
        lambda: list(table.pages()),
        lambda: list(table.key_pages(b"k", b"l", reverse=True, cached=False)),
        lambda: list(table.expiries()),
        lambda: table.ranges,
        table.verify,
    ]
    for way in ways:
        with suppress(*_ALLOWED):
            way()


def _sealed(data: bytes) -> bytes:
    return data + crc32(data).to_bytes(4, "little")


_TARGETS: list[Callable[[bytes], Any]] = [
    _file,
    _payload,
    _stored,
    _part(lambda data: bloom.decode(data, "fuzz", 0)),
    _part(lambda data: index_block.decode(data, 9, "fuzz", 0)),
    _part(_expiries),
    _part(lambda data: range_block.decode(data, "fuzz", 0)),
    _part(_properties),
    _part(_footer),
    _damaged,
    _script,
]
