"""Tables in memory: a file made of bytes, functions that write and open tables in it, and entries from hypothesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from flin.engine.entry import TOMBSTONE, Entry, Range
from flin.engine.key import KEYS_END
from flin.engine.sstable import Table, TableOptions, TableWriter
from flin.engine.table.block_cache import BlockCache
from flin.engine.table.meta import TableMeta

PLAIN = TableOptions(block_size_bytes=256, codec="none")
PACKED = TableOptions(block_size_bytes=256, codec="zstd")


class MemoryFile:
    """A ReadableFile. Its pread_nowait answers while `is_warm`, as if all of it were in the page cache."""

    def __init__(self, data: bytes, path: str = "t.sst") -> None:
        self.data = data
        self.path = path
        self.is_warm = True
        self.reads = 0

    def size(self) -> int:
        return len(self.data)

    def pread(self, size: int, offset: int) -> bytes:
        self.reads += 1
        return self.data[offset : offset + size]

    def pread_nowait(self, size: int, offset: int) -> bytes | None:
        return self.data[offset : offset + size] if self.is_warm else None

    def will_need(self, size: int, offset: int) -> None:
        pass

    def map(self) -> bytes:
        return self.data

    def close(self) -> None:
        pass


def write_table(
    entries: Mapping[bytes, Entry],
    options: TableOptions = PLAIN,
    *,
    ranges: Sequence[Range] = (),
    page: int = 7,
    base_offset: int = 0,
) -> tuple[bytes, TableMeta]:
    """The bytes of one section, and its metadata from the writer."""
    pieces: list[bytes] = []
    writer = TableWriter(pieces.append, options, 5, 9, base_offset=base_offset, file="t.sst")
    keys = sorted(entries)
    for start in range(0, len(keys), page):
        part = keys[start : start + page]
        writer.add(part, [entries[key] for key in part])
    writer.add_ranges(ranges)
    assert writer.entries == len(entries)
    meta = writer.finish()
    return b"".join(pieces), meta


def open_table(data: bytes, meta: TableMeta, cache: BlockCache | None = None) -> Table:
    return Table(MemoryFile(data), meta, cache)


def items_of(table: Table, *arguments: bytes, **keywords: Any) -> list[tuple[bytes, Entry]]:
    return [pair for page in table.pages(*arguments, **keywords) for pair in zip(*page, strict=True)]


def sample_entries(count: int = 100) -> dict[bytes, Entry]:
    """All shapes: plain, tagged, expiring, deleted; keys of several lengths."""
    entries: dict[bytes, Entry] = {b"": b"the empty key", b"empty value": b""}
    for index in range(count):
        key = b"key:%d" % (index * index)
        entries[key] = (b"value %d" % index) * (index % 5)
        if index % 11 == 3:
            entries[key] = TOMBSTONE
        elif index % 13 == 5:
            entries[key] = (b"tagged", 0, 1 + index % 255)
        elif index % 7 == 2:
            entries[key] = (b"expiring", 1_700_000_000_000 - index, index % 2)
    return entries


# Few bytes and shared prefixes, so that keys are each other's prefixes and lie across their neighbours.
KEYS = st.one_of(
    st.binary(max_size=12),
    st.text(alphabet="ab", max_size=8).map(str.encode),
    st.builds(lambda number: b"user:%06d" % number, st.integers(0, 300)),
).filter(lambda key: key < KEYS_END)
SHORT_KEYS = st.one_of(st.binary(max_size=2), st.integers(0, 40).map(lambda number: b"%02d" % number)).filter(
    lambda key: key < KEYS_END
)
"""Keys, so few that layers often hold the same ones."""

VALUES = st.one_of(st.binary(max_size=20), st.integers(0, 400).map(bytes))
ENTRIES: st.SearchStrategy[Entry] = st.one_of(
    VALUES,
    st.just(TOMBSTONE),
    st.builds(
        lambda value, time, tag: (value, time, tag or (not time)),
        VALUES,
        st.integers(-(2**63), 2**63 - 1),
        st.integers(0, 255),
    ),
).map(lambda entry: (entry[0], entry[1], int(entry[2])) if isinstance(entry, tuple) else entry)
"""Entries as make_entry makes them: a tuple has an expiry or a tag."""

PLAIN_TABLES = st.dictionaries(KEYS, VALUES, min_size=1, max_size=80)
FIXED_TABLES = st.integers(1, 6).flatmap(
    lambda size: st.dictionaries(
        st.binary(min_size=size, max_size=size).filter(lambda key: key < KEYS_END),
        st.binary(min_size=3, max_size=3),
        min_size=1,
        max_size=80,
    )
)
MIXED_TABLES = st.dictionaries(KEYS, ENTRIES, min_size=1, max_size=80)
TABLES: st.SearchStrategy[dict[bytes, Any]] = st.one_of(PLAIN_TABLES, FIXED_TABLES, MIXED_TABLES)
