"""Tables as a whole: everything written is read again, in every way; any damage is found."""

from __future__ import annotations

import random
import threading
from array import array
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.entry import KIND_DELETE, KIND_PUT, TOMBSTONE, Entry
from flin.engine.sstable import Table, TableOptions, TableWriter, hash_key
from flin.engine.table import bloom, index_block
from flin.engine.table.block_cache import BlockCache
from flin.engine.table.cold_read import ColdRead
from flin.engine.table.meta import TableMeta
from flin.errors import CorruptionError, FormatVersionError, StorageError
from tests.engine.table_file import (
    KEYS,
    PACKED,
    PLAIN,
    TABLES,
    MemoryFile,
    items_of,
    open_table,
    sample_entries,
    write_table,
)

DOCUMENTS = Path(__file__).parents[2] / "docs"

OPTIONS = st.builds(
    TableOptions,
    block_size_bytes=st.sampled_from([1, 40, 256, 4096]),
    filter_bits_per_key=st.sampled_from([1, 12]),
    codec=st.sampled_from(["none", "zstd"]),
)


@given(TABLES, OPTIONS, st.integers(1, 40), st.lists(KEYS, max_size=6), st.integers(0, 99), st.booleans())
def test_what_is_written_is_read(
    entries: dict[bytes, Any], options: TableOptions, page: int, others: list[bytes], base: int, is_cached: bool
) -> None:
    data, meta = write_table(entries, options, page=page, base_offset=base)
    table = open_table(bytes(base) + data, meta, BlockCache(1 << 26) if is_cached else None)
    assert table.verify() == []
    pairs = sorted(entries.items())
    for cached in (True, False):
        assert items_of(table, cached=cached) == pairs
        assert items_of(table, reverse=True, cached=cached) == pairs[::-1]
    for _ in range(6):  # cold, counted, cached, with its keys
        for key in [*entries, *others]:
            assert table.get(key) == entries.get(key)
            assert table.get(key, hash_key(key)) == entries.get(key)
            assert table.get_nowait(key) == entries.get(key)
            assert bloom.contains(table.filter_words, bloom.hash_key(key)) or key not in entries
    bounds = sorted([*others, *list(entries)[:2]])
    for start, stop in pairwise(bounds):
        inside = [pair for pair in pairs if start <= pair[0] < stop]
        for cached in (True, False):
            assert items_of(table, start, stop, cached=cached) == inside
            assert items_of(table, start, stop, reverse=True, cached=cached) == inside[::-1]


@given(TABLES, OPTIONS)
def test_what_a_table_says_of_itself(entries: dict[bytes, Any], options: TableOptions) -> None:
    _, meta = write_table(entries, options)
    values = [entry[0] if isinstance(entry, tuple) else entry for entry in entries.values() if entry is not TOMBSTONE]
    assert meta.entry_count == len(entries)
    assert meta.tombstones == sum(entry is TOMBSTONE for entry in entries.values())
    assert meta.expiring == sum(isinstance(entry, tuple) and entry[1] != 0 for entry in entries.values())
    assert meta.raw_bytes == sum(map(len, entries)) + sum(map(len, values))
    assert (meta.smallest, meta.largest) == (min(entries), max(entries))
    assert (meta.smallest_sequence, meta.largest_sequence) == (5, 9)


@given(TABLES, OPTIONS)
def test_expiries_are_sorted_by_time(entries: dict[bytes, Any], options: TableOptions) -> None:
    data, meta = write_table(entries, options)
    expected = sorted((entry[1], key) for key, entry in entries.items() if isinstance(entry, tuple) and entry[1])
    assert list(open_table(data, meta).expiries()) == expected


@pytest.mark.parametrize("options", [PLAIN, PACKED])
@pytest.mark.parametrize("reverse", [False, True])
def test_key_pages(options: TableOptions, reverse: bool) -> None:
    entries = sample_entries()
    table = open_table(*write_table(entries, options))
    pairs = [pair for page in table.key_pages(reverse=reverse) for pair in zip(*page, strict=True)]
    expected = [(key, KIND_DELETE if entries[key] is TOMBSTONE else KIND_PUT) for key in sorted(entries)]
    assert pairs == (expected[::-1] if reverse else expected)


@pytest.mark.parametrize("options", [TableOptions(codec="none"), TableOptions(codec="zstd")])
def test_pages_grow_and_belong_to_the_caller(options: TableOptions) -> None:
    entries: dict[bytes, Entry] = {b"%06d" % index: b"v" * 90 for index in range(5000)}
    table = open_table(*write_table(entries, options, page=333), BlockCache(1 << 26))
    sizes = []
    for keys, values in table.pages():
        sizes.append(len(keys))
        keys.clear()
        values.clear()
    assert sizes[0] == 16
    assert min(sizes[6:-1]) >= 256
    assert items_of(table) == sorted(entries.items())


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_large_entries_lie_alone(codec: str) -> None:
    entries: dict[bytes, Entry] = {b"a%d" % index: b"small" for index in range(40)}
    entries[b"a20" + b"k" * 300_000] = b"long key"
    entries[b"b"] = bytes(range(256)) * 12_000
    entries[b"c" * 200_000] = b"x" * 3_000_000
    data, meta = write_table(entries, TableOptions(codec=codec))
    table = open_table(data, meta, BlockCache(1 << 20))
    for _ in range(3):
        for key, entry in entries.items():
            assert table.get(key) == table.get_nowait(key) == entry
    assert items_of(table, cached=False) == items_of(table) == sorted(entries.items())
    assert table.memory_bytes < 100_000, "the index keeps no long key whole"
    assert table.verify() == []


def test_pieces_are_appended_in_large_writes() -> None:
    sizes: list[int] = []
    writer = TableWriter(lambda piece: sizes.append(len(piece)), TableOptions(codec="none"), 1, 1)
    keys = [b"%08d" % index for index in range(20_000)]
    writer.add(keys, [bytes(100)] * len(keys))
    assert writer.size_bytes > 20_000 * 100 * 0.95
    writer.finish()
    assert len(sizes) < 12


def test_the_writer_refuses_what_is_out_of_order() -> None:
    writer = TableWriter(lambda piece: None, PLAIN, 1, 1)
    writer.add([], [])
    writer.add([b"b"], [b""])
    for key in (b"a", b"b"):
        with pytest.raises(ValueError, match="comes after"):
            writer.add([key], [b""])


def test_ranges_count_in_the_bounds() -> None:
    data, meta = write_table({b"m": b"1"}, ranges=[(b"a", b"c"), (b"x", b"z")])
    table = open_table(data, meta)
    assert (meta.smallest, meta.largest, meta.range_deletes, meta.entry_count) == (b"a", b"z", 2, 1)
    assert table.ranges == ((b"a", b"c"), (b"x", b"z"))
    assert table.get(b"b") is None
    assert table.verify() == []


def test_a_table_of_ranges_alone() -> None:
    data, meta = write_table({}, ranges=[(b"a", b"c")])
    table = open_table(data, meta)
    assert table.get(b"a") is None
    assert items_of(table) == items_of(table, reverse=True) == []
    assert list(table.expiries()) == []
    assert table.ranges == ((b"a", b"c"),)
    assert table.verify() == []


def test_an_empty_table_is_discarded() -> None:
    writer = TableWriter(lambda piece: None, PLAIN, 1, 1)
    assert (writer.entries, writer.range_deletes, writer.size_bytes) == (0, 0, 0)
    with pytest.raises(ValueError, match="at least one"):
        writer.finish()


def test_opening_reads_nothing() -> None:
    data, meta = write_table({b"a": b"1"})
    file = MemoryFile(data)
    table = Table(file, meta, None)
    assert (table.ranges, list(table.expiries()), table.memory_bytes) == ((), [], 0)
    table.let_go()
    assert file.reads == 0
    table.load()
    assert table.memory_bytes > 0


# The cache.


@pytest.mark.parametrize("options", [PLAIN, PACKED])
def test_a_block_that_is_touched_again_is_cached(options: TableOptions) -> None:
    cache = BlockCache(1 << 26)
    table = open_table(*write_table(sample_entries(), options), cache)
    for _ in range(9):
        assert table.get(b"key:0") == sample_entries()[b"key:0"]
    assert len(cache) == 1
    state = table.loaded()
    (found,) = [found for found in state.blocks if found is not None]
    assert found.payload is None, "it was decoded"
    cache._check()
    blocks = state.blocks
    table.let_go()
    cache.drop_gone()
    assert len(cache) == 1, "somebody still reads from it"
    del state
    cache.drop_gone()
    assert len(cache) == cache.used_bytes == 0
    assert blocks == [None] * len(blocks)


def test_even_lookups_leave_raw_blocks_in_the_mapping_once_the_cache_is_full() -> None:
    entries: dict[bytes, Entry] = {b"%05d" % index: bytes(20) for index in range(2000)}
    for room, most in ((1 << 26, 200), (20_000, 20)):
        cache = BlockCache(room)
        table = open_table(*write_table(entries, PLAIN), cache)
        for _ in range(20):
            for key in sorted(entries)[::10]:  # a block holds ten
                assert table.get(key) is not None
        assert len(cache) <= most
        assert cache.evictions < 200, "blocks that come and go at each lookup"
        cache._check()


def test_nowait_raises_where_it_would_wait() -> None:
    data, meta = write_table({b"a": b"1"}, PACKED)
    file = MemoryFile(data)
    file.is_warm = False
    table = Table(file, meta, BlockCache(1 << 26))
    with pytest.raises(ColdRead) as filters:
        table.get_nowait(b"a")
    filters.value.load()
    assert table.get_nowait(b"missing") is None
    with pytest.raises(ColdRead) as block:
        table.get_nowait(b"a")
    block.value.load()
    assert table.get_nowait(b"a") == b"1"


def test_nowait_gets_an_answer_where_the_cache_keeps_nothing() -> None:
    entries: dict[bytes, Entry] = {b"%02d" % index: bytes(300) for index in range(20)}
    data, meta = write_table(entries)
    file = MemoryFile(data)
    table = Table(file, meta, BlockCache(0))
    table.load()
    file.is_warm = False
    reads = []
    for key in entries:
        with pytest.raises(ColdRead) as cold:
            table.get_nowait(key)
        reads.append(cold.value)
    for key, read in zip(entries, reads, strict=True):
        read.load()
        assert table.get_nowait(key) == bytes(300)
    for read in reads:
        read.load()  # and no lookup follows: the staged blocks stay bounded
    assert table.state is not None
    assert len(table.state.staged) <= 8


def test_nowait_gives_a_place_in_a_full_cache_to_blocks_that_are_asked_for_often() -> None:
    entries: dict[bytes, Entry] = {b"%03d" % index: bytes(300) for index in range(200)}
    data, meta = write_table(entries, TableOptions(block_size_bytes=1200, codec="none"))
    cache = BlockCache(30_000)
    table = Table(MemoryFile(data), meta, cache)
    state = table.loaded()
    for _ in range(3):
        assert all(table.get_nowait(key) == entry for key, entry in entries.items())
    assert cache.is_full
    before = cache.evictions
    for key in list(entries)[::8]:
        table.get_nowait(key)
    assert cache.evictions == before, "each block once: none is worth another one's place"
    often = next(key for key in entries if state.blocks[bisect_right(state.separators, key) - 1] is None)
    for _ in range(6):
        assert table.get_nowait(often) == bytes(300)
        table.get_nowait(b"199" if often < b"100" else b"000")  # so that it is not the last one
    assert state.blocks[bisect_right(state.separators, often) - 1] is not None
    cache._check()


def test_nowait_compares_the_checksum_of_a_block_once() -> None:
    data, meta = write_table({b"a": b"1" * 100}, TableOptions(codec="none"))
    table = Table(MemoryFile(data), meta, BlockCache(1 << 20))
    state = table.loaded()
    stored = data[state.starts[0] : state.starts[1]]
    wrong = stored[:-1] + bytes([stored[-1] ^ 1])
    with pytest.raises(CorruptionError):
        state._payload_of(0, wrong)
    assert not state.marks[0]
    assert state._payload_of(0, stored) == state._payload_of(0, wrong)


def test_packed_blocks_of_a_scan_stay_while_half_of_the_cache_is_free() -> None:
    """The second scan leaves them there for the next ones; others leave their places to lookups."""
    points = {b"%05d" % number: bytes(100) for number in range(2000)}
    data, meta = write_table(points, TableOptions(codec="zstd", block_size_bytes=4096))
    for capacity in (1 << 20, 40_000):
        cache = BlockCache(capacity)
        table = Table(MemoryFile(data), meta, cache)
        for times in range(2):
            assert sum(block is not None for block in table.loaded().blocks) <= times
            assert dict(pair for page in table.pages() for pair in zip(*page, strict=True)) == points
        blocks = table.loaded().blocks
        cached = sum(block is not None for block in blocks)
        assert cached == len(blocks) if capacity > 40_000 else 0 < cached < len(blocks) / 2
        assert not cache.is_full
        cache._check()


def test_threads_share_a_table() -> None:
    chance = random.Random(1)
    entries: dict[bytes, Entry] = {  # blocks of both sorts: every other one does not shrink
        b"%05d" % index: chance.randbytes(20) if index // 16 % 2 else b"%d" % index * 5 for index in range(3000)
    }
    for options in (PLAIN, PACKED):
        table = open_table(*write_table(entries, options), BlockCache(100_000))
        wrong: list[object] = []

        def read(seed: int, table: Table = table, wrong: list[object] = wrong) -> None:
            keys = sorted(entries)[seed::8] * 3
            wrong.extend(key for key in keys if table.get(key) != entries[key])
            wrong.extend(key for key in keys if table.get_nowait(key) != entries[key])
            if items_of(table) != sorted(entries.items()):
                wrong.append(seed)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


# Damage.


def read_all(table: Table, entries: dict[bytes, Entry]) -> None:
    """Read everything in every way; the results must be right."""
    ways: list[Callable[[], object]] = [
        lambda: [table.get(key) for key in entries] == list(entries.values()),
        lambda: table.get(b"missing") is None,
        lambda: items_of(table) == sorted(entries.items()),
        lambda: items_of(table, cached=False, reverse=True) == sorted(entries.items())[::-1],
        lambda: len(list(table.expiries())) == table.meta.expiring,
        lambda: table.ranges == ((b"x", b"y"),),
    ]
    found = []
    for way in ways:
        try:
            assert way()
        except CorruptionError as error:
            found.append(error.path)
    assert set(found) == {"t.sst"}


@pytest.mark.parametrize("options", [PLAIN, PACKED])
def test_flipped_bits_are_found(options: TableOptions) -> None:
    entries = sample_entries(25)
    data, meta = write_table(entries, options, ranges=[(b"x", b"y")])
    for bit in range(0, 8 * len(data), 7):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        table = open_table(bytes(damaged), meta)
        assert table.verify(), f"bit {bit}"
        read_all(table, entries)


@pytest.mark.slow
@pytest.mark.parametrize("options", [PLAIN, PACKED])
def test_every_flipped_bit_is_found(options: TableOptions) -> None:
    entries = sample_entries(25)
    data, meta = write_table(entries, options, ranges=[(b"x", b"y")])
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        table = open_table(bytes(damaged), meta)
        assert table.verify(), f"bit {bit}"
        read_all(table, entries)


@pytest.mark.parametrize("options", [PLAIN, PACKED])
def test_cut_files_are_found(options: TableOptions) -> None:
    data, meta = write_table(sample_entries(), options)
    for size in range(0, len(data), 3):
        table = open_table(data[:size], meta)
        with pytest.raises(CorruptionError):
            table.get(b"key:0")
        assert len(table.verify()) == 1


def test_exchanged_blocks_are_found() -> None:
    entries: dict[bytes, Entry] = {b"%03d" % index: b"%d" % (index % 10) * 50 for index in range(50)}
    data, meta = write_table(entries, PLAIN)
    table = open_table(data, meta)
    table.load()
    assert table.state is not None
    first, second, third = table.state.starts[:3]
    assert second - first == third - second
    exchanged = open_table(data[second:third] + data[first:second] + data[third:], meta)
    with pytest.raises(CorruptionError):
        exchanged.get(b"000")
    assert len(exchanged.verify()) == 2


@pytest.mark.parametrize(
    "change", [{"entry_count": 101}, {"largest": b"zzz"}, {"largest_sequence": 10}, {"raw_bytes": 1}, {"tombstones": 0}]
)
def test_another_table_than_the_manifest_names_is_found(change: dict[str, Any]) -> None:
    data, meta = write_table(sample_entries())
    table = open_table(data, replace(meta, **change))
    with pytest.raises(CorruptionError, match="manifest"):
        table.get(b"key:0")
    assert table.verify()


def lying_table(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> list[str]:
    """The faults that verify finds in a table that is wrong in one thing, under correct checksums."""
    with monkeypatch.context() as patch:
        patch.setattr(name, value)
        data, meta = write_table(sample_entries())
    return [error.reason for error in open_table(data, meta).verify()]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("flin.engine.table.bloom.build", lambda hashes, count, bits: array("Q", [0]), "filter lacks"),
        ("flin.engine.table.expiry_block.encode", lambda expiries: b"", "expiry block does not list"),
        ("flin.engine.table.writer.TableWriter._note", lambda *_: None, "expiry block does not list"),
        ("flin.engine.table.writer._total", lambda sizes, count: 0, "raw_bytes"),
    ],
)
def test_verify_finds_a_writers_mistakes(monkeypatch: pytest.MonkeyPatch, name: str, value: Any, reason: str) -> None:
    reasons = lying_table(monkeypatch, name, value)
    assert any(reason in found for found in reasons), reasons


def test_verify_finds_wrong_separators(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = index_block.encode

    def shifted(separators: list[bytes], starts: list[int]) -> bytes:
        return encode([b"", *[key + b"~" for key in separators[1:]]], starts)

    reasons = lying_table(monkeypatch, "flin.engine.table.index_block.encode", shifted)
    assert any("separator" in reason for reason in reasons), reasons


def test_verify_finds_keys_out_of_order() -> None:
    pieces: list[bytes] = []
    writer = TableWriter(pieces.append, PLAIN, 1, 1, file="t.sst")
    writer.add([b"a", b"c", b"b", b"d"], [b""] * 4)
    meta = writer.finish()
    assert "not in order" in open_table(b"".join(pieces), meta).verify()[0].reason


def test_a_table_of_another_hash_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("flin.engine.table.footer.HASH_NAME", "xxh3")
        data, meta = write_table({b"a": b"1"})
    with pytest.raises(FormatVersionError, match="xxh3"):
        open_table(data, meta).get(b"a")


class FailingFile(MemoryFile):
    def pread(self, size: int, offset: int) -> bytes:
        raise OSError(5, "input/output error")

    pread_nowait = pread


def test_a_disk_that_fails_is_a_storage_error() -> None:
    data, meta = write_table({b"a": b"1"})
    with pytest.raises(StorageError, match="cannot read"):
        Table(FailingFile(data), meta, None).get(b"a")
    file = MemoryFile(data)
    table = Table(file, meta, BlockCache(1 << 26))
    table.load()
    file.__class__ = FailingFile
    with pytest.raises(StorageError):
        table.get_nowait(b"a")
    with pytest.raises(StorageError):
        items_of(table, cached=False)


def test_meta_is_what_the_writer_said() -> None:
    data, meta = write_table({b"a": b"1"})
    assert (
        open_table(data, meta).meta
        == meta
        == TableMeta("t.sst", 0, len(data), 1, 0, 0, 0, b"a", b"a", 5, 9, 2, ((0, 1),))
    )


def test_the_documents_table_is_what_is_written() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(DOCUMENTS.glob("formats*.md")))
    example = text.partition("## A table, byte by byte")[2].partition("```\n")[2].partition("```")[0]
    documented = bytearray()
    for line in example.splitlines():
        offset, hexadecimal = line[:4], line[6:53]
        assert int(offset, 16) == len(documented)
        documented += bytes.fromhex(hexadecimal)
    entries: dict[bytes, Entry] = {b"ab": b"1", b"ac": (b"2", 1_700_000_000_000, 0)}
    data, meta = write_table(entries, PLAIN)
    assert documented == data
    assert items_of(open_table(bytes(documented), meta)) == sorted(entries.items())


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_pages_of_large_values_are_small(cached: bool, reverse: bool) -> None:
    """Scans and merges hold a page: 256 values of a megabyte would be a quarter of a gigabyte."""
    entries: dict[bytes, Entry] = {b"%03d" % number: bytes(100_000) for number in range(40)}
    table = open_table(*write_table(entries))
    pages = list(table.pages(reverse=reverse, cached=cached))
    assert max(len(keys) for keys, _ in pages) <= 4
    assert [key for keys, _ in pages for key in keys] == sorted(entries, reverse=reverse)
