"""The state of a table in memory, from its first use on, and its way to a data block.

It is complete before a second thread can see it; then only the marks and the counts (heat.py) change. A mark is one
byte per block: 0 until its checksum was compared, then RAW or PACKED.

The file is mapped whole: `data` is used like `bytes` (an index gives a number, a slice bytes). The filter is read
there, and the separators, too, if memory is short. Of a sealed file (disk/sealed_files.py) there is no `data`: each
block is opened, as packed ones are unpacked, and its seal vouches for more than a checksum.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, cast

from flin.engine.boundaries import boundaries_of
from flin.engine.disk.fs import ReadableFile
from flin.engine.disk.open_files import TableFile
from flin.engine.disk.sealed_files import SealedMapping
from flin.engine.entry import Entry, Page
from flin.engine.table import block, bloom, index_block, key_part, range_block, stored_block
from flin.engine.table import footer as table_footer
from flin.engine.table.block import COMPRESSED
from flin.engine.table.block_cache import BlockCache, CacheRow
from flin.engine.table.cached_block import CachedBlock
from flin.engine.table.cold_read import ColdRead
from flin.engine.table.heat import WORN, Heat, should_expand
from flin.engine.table.meta import TableMeta
from flin.engine.table.stored_block import CHECKSUM_SIZE
from flin.errors import CorruptionError, StorageError

_BLOCK_COST: Final = 8 + 8 + 1 + 1
"""Bytes of memory for each data block: its start, its place in the cache row, its mark, its heat."""

RAW: Final = 1
PACKED: Final = 2

_MAX_STAGED: Final = 8
"""The most staged blocks of a table; with more large cold values at a time, some are only read twice."""


FILTER_PART_BYTES: Final = 64 << 10
"""Bytes of a filter that are loaded at once: a page fault reads as much around it, by default 128 KiB."""

_MAX_LOADED: Final = 1024


class TableState:
    """Filter, index and mapping of a table, made by `Table.loaded`."""

    __slots__ = (
        "_first_chunk",
        "_mapped",
        "_other_bytes",
        "_sealed",
        "_separator_bytes",
        "base",
        "blocks",
        "cache",
        "data",
        "deleted",
        "file",
        "footer",
        "heat",
        "keys",
        "largest",
        "loaded_parts",
        "marks",
        "path",
        "separators",
        "staged",
        "starts",
        "word_count",
        "words",
    )

    def __init__(self, file: ReadableFile, meta: TableMeta, cache: BlockCache | None) -> None:
        path, base = file.path, meta.offset
        footer = table_footer.read_footer(file, base, meta.length)
        properties = table_footer.read_properties(file, footer, base, meta.file)
        if properties.meta != meta:
            raise CorruptionError(path, base, "a table is not the one that the manifest names")
        self.file: Final = file
        self.path: Final = path
        self.base: Final = base
        self.cache: Final = cache
        self.footer: Final = footer
        self.keys: Final = properties.keys
        self.largest: Final = meta.largest
        index_part = self.part(footer.index, footer.ranges)
        data_stop = footer.expiry if properties.keys is None else properties.keys[0]
        index = index_block.decode(index_part, data_stop, path, base + footer.index)
        self.separators: Sequence[bytes] = index.separators
        self.starts: Final = array("Q", [base + start for start in index.starts])  # in the file
        ranges = range_block.decode(self.part(footer.ranges, footer.properties), path, base + footer.ranges)
        self.deleted: Final = boundaries_of(ranges)
        self.data: Final = _map(file)
        if self.data and len(self.data) < base + meta.length:  # it has become shorter since the database was opened
            raise CorruptionError(path, len(self.data), "the file ends within a table")
        self._mapped: Final = memoryview(self.data) if self.data else None
        sealed = None if self.data or not isinstance(file, TableFile) else _maybe_sealed(file)
        self._sealed: Final = sealed
        self._first_chunk: Final = 0 if sealed is None else sealed.first_chunk(base)
        self.words: Final = self._filter()
        self.word_count: Final = len(self.words)
        self.blocks: Final[CacheRow] = [None] * len(index.separators)
        self.marks: Final = bytearray(len(index.separators))
        self.heat: Final = Heat(len(self.marks))
        # Blocks that were read for a lookup that will be repeated, and that the cache did not keep.
        self.staged: Final[dict[int, bytes]] = {}
        self.loaded_parts: Final[set[int]] = set()  # of the filter, for lookups that will be repeated
        self._separator_bytes = index.separator_bytes()
        held = 0 if isinstance(self.words, memoryview) else 8 * self.word_count
        self._other_bytes: Final = held + _BLOCK_COST * len(self.marks)

    def __del__(self) -> None:
        """Give up its cached blocks, which nothing can reach any more: they must not keep others out of the cache."""
        blocks = getattr(self, "blocks", None)  # None: it could not be loaded
        if blocks is not None and self.cache is not None:
            self.cache.gone.append(blocks)  # no lock: this may run anywhere

    def part(self, start: int, stop: int) -> bytes:
        """Bytes of the section."""
        return table_footer.read_part(self.file, self.base + start, stop - start)

    def _filter(self) -> Sequence[int]:
        """The filter's words: in the mapping, once its checksum was compared."""
        start, stop, base = self.footer.filter, self.footer.index, self.base
        words = bloom.decode(self.part(start, stop), self.path, base + start)
        return bloom.mapped(self.data, base + start, base + stop) or words

    def maybe_filter_load(self, hashed: int) -> Callable[[], None] | None:
        """What another thread must do first, where to ask the filter for this hash would be a page fault.

        None: it would be none, or that was just done."""
        if not isinstance(self.words, memoryview):
            return None
        place = self.base + self.footer.filter + 4 + 8 * (hashed % self.word_count)
        part = place - place % FILTER_PART_BYTES
        if part in self.loaded_parts:
            self.loaded_parts.discard(part)
            return None
        return None if self.file.pread_nowait(1, place) is not None else partial(self._load_filter, part)

    def _load_filter(self, part: int) -> None:
        self.file.pread(FILTER_PART_BYTES, part)
        if len(self.loaded_parts) >= _MAX_LOADED:  # of lookups that were not repeated
            self.loaded_parts.clear()
        self.loaded_parts.add(part)

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory that it takes, without cached blocks."""
        return self._separator_bytes + self._other_bytes

    def read_index_in_place(self) -> None:
        """Read the separators in the mapping from now on, to save memory."""
        if self.data and self._separator_bytes:
            self.separators = index_block.MappedSeparators(self.data, self.base + self.footer.index)
            self._separator_bytes = 0

    def reads(self) -> int:
        """About the number of reads of blocks: if it differs from before, there were some."""
        return (
            self.heat.cold_reads + len(self.staged) + sum(1 + block.hits for block in self.blocks if block is not None)
        )

    def key_part(self) -> key_part.KeyPart | None:
        """The key part, if the table has one; its index is read each time, by the few callers that read many keys."""
        if self.keys is None:
            return None
        return key_part.load(self.part, self.data, self.base, (*self.keys, self.footer.expiry), self.path)

    def verify(self, number: int) -> int:
        """Compare the checksum of a block in the mapping. Returns its mark."""
        start, stop = self.starts[number], self.starts[number + 1]
        data, path = self.data, self.path
        if not data:
            self.marks[number] = PACKED
            return PACKED
        stored_block.verify(memoryview(data)[start:stop], start - self.base, path, self.base)
        mark = PACKED
        if data[start] < COMPRESSED:
            block.check(data, start, stop - CHECKSUM_SIZE, path, start)
            mark = RAW
        self.marks[number] = mark
        return mark

    def unpack(self, number: int) -> bytes:
        """The payload of a verified block of the mapping, or of one that is read."""
        start, stop = self.starts[number], self.starts[number + 1]
        stored = None
        mapped = self._mapped
        if mapped is not None and mapped[start] == COMPRESSED:  # what is stored need not be copied
            return stored_block.unpack_packed(mapped[start:stop], self.path, start)
        if self.data:
            stored = self.data[start:stop]
        elif self._sealed is not None:
            stored = self._sealed.maybe_chunk(self._first_chunk + number, stop - start, start)
        if stored is None:  # without a mapping; or larger than a chunk, or after such a block
            stored = table_footer.read_part(self.file, start, stop - start)
        return stored_block.unpack_before_checksum(stored, self.path, start)

    def find(self, key: bytes) -> Entry | None:
        """The key's entry, once the filter has let it through. (Written out in read.read_path._from_lone_run.)"""
        number = bisect_right(self.separators, key) - 1
        if number < 0:
            return None
        found = self.blocks[number]
        if found is None:
            return self.find_cold(number, key)
        found.hits += 1
        entries = found.entries  # Written out: table.cached_block.CachedBlock.find
        return entries.get(key) if entries is not None else self.find_unexpanded(found, key)

    def find_cold(self, number: int, key: bytes) -> Entry | None:
        """A lookup in a block that is not cached."""
        cache = self.cache
        if (self.marks[number] or self.verify(number)) == PACKED and cache is not None:
            cache.misses += 1
            row, last, payload = cache.passing
            if last != number or row is not self.blocks:
                payload = self.unpack(number)
            self._maybe_admit(number, payload)
            return block.find(payload, 0, key)
        found = self.record_miss(number)
        return block.find(self.data, self.starts[number], key) if found is None else found.find(key)

    def block_nowait(self, number: int) -> CachedBlock:
        """A block for who must not wait: ColdRead where the disk would have to be waited for."""
        found = self.blocks[number]
        if found is not None:
            return found
        payload = self._payload_nowait(number)
        return self._maybe_admit(number, payload) or CachedBlock(payload)

    def find_nowait(self, number: int, key: bytes) -> Entry | None:
        """A lookup in a block that is not cached, likewise: what `block_nowait` gives finds the same, 0.6 µs later."""
        payload = self._payload_nowait(number)
        self._maybe_admit(number, payload)
        return block.find(payload, 0, key)

    def _payload_nowait(self, number: int) -> bytes:
        """The payload of a block that is not cached, likewise."""
        cache = self.cache
        if cache is not None:
            row, last, passing = cache.passing
            if last == number and row is self.blocks:
                cache.misses += 1
                return passing
        if self.staged:
            staged = self.staged.pop(number, None)
            if staged is not None:
                return staged
        start, stop = self.starts[number], self.starts[number + 1]
        try:
            stored = self.file.pread_nowait(stop - start, start)
        except OSError as error:
            raise StorageError("read", self.path, error) from error
        if stored is None:
            raise ColdRead(partial(self.fill, number))
        if cache is not None:
            cache.misses += 1
        return self._payload_of(number, stored)

    def _maybe_admit(self, number: int, payload: bytes) -> CachedBlock | None:
        """Put a payload into the cache. If that is full, only one that is asked for more often than others takes their
        place: if lookups are spread evenly, to put each one in and another one out gains nothing, and costs as much as
        to unpack it. The last that did not is remembered, since the next lookup may be of the next key."""
        cache = self.cache
        if cache is None or not cache.is_full:
            return self.admit(number, payload)
        if payload is not cache.passing[2]:
            if self.heat.on_miss(number, True):
                return self.admit(number, payload)
            cache.pass_by(self.blocks, number, payload)
        return None

    def _payload_of(self, number: int, stored: bytes) -> bytes:
        """The payload of a stored block that was read past the mapping, checked once, as in the mapping."""
        start = self.starts[number]
        if self.marks[number]:
            return stored_block.unpack(stored, self.path, start)
        stored_block.verify(stored, start - self.base, self.path, self.base)
        payload = stored_block.unpack(stored, self.path, start)
        self.marks[number] = RAW if self.data and stored[0] < COMPRESSED else PACKED
        return payload

    def page_nowait(self, number: int) -> Page:
        """The block's entries, likewise. The lists are its own: not to be changed."""
        found = self.block_nowait(number)
        found.hits += 1
        if found.entries is None:
            self.expand(found)
        return found.page()

    def find_uncounted(self, key: bytes) -> Entry | None:
        """What `find` gives, without counting: the sorted view counts, and makes a page (read/sorted_view.py)."""
        number = bisect_right(self.separators, key) - 1
        if number < 0:
            return None
        found = self.blocks[number]
        if found is None:
            if self.cache is not None:
                self.cache.misses += 1
            if (self.marks[number] or self.verify(number)) != PACKED:
                return block.find(self.data, self.starts[number], key)
            payload = self.unpack(number)
            entry = block.find(payload, 0, key)
            if entry is not None:  # else the filter has let the key through by chance
                self.admit(number, payload).hits += 1
            return entry
        found.hits += 1
        return found.find(key)

    def blocks_between(self, start: bytes, stop: bytes) -> tuple[int, int]:
        """The number of the first block that may hold keys of [start, stop), and the one after the last."""
        first = max(bisect_right(self.separators, start) - 1, 0)
        return first, bisect_left(self.separators, stop, first)

    def cut(self, number: int, start: bytes, stop: bytes) -> tuple[list[bytes], list[Entry], int]:
        """The keys and entries of one block that lie in [start, stop), and about how many bytes these are."""
        separators = self.separators
        found = self.blocks[number]
        payload = None if found is None else found.payload
        if payload is not None:
            source, at, size = payload, 0, len(payload)
        elif (self.marks[number] or self.verify(number)) == PACKED:
            source, at = self.unpack(number), 0
            size = len(source)
        else:
            source, at = self.data, self.starts[number]
            size = self.starts[number + 1] - at
        _, count, prefix_size, *_ = block.read_header(source, at)
        begin = block.lower_bound(source, at, start) if separators[number] < start else 0
        end = count
        if number + 1 == len(separators) or separators[number + 1] > stop:
            end = block.lower_bound(source, at, stop)
        if begin >= end:
            return [], [], 0
        wanted = end - begin
        keys, entries = block.decode(source, at) if wanted == count else block.decode_slice(source, at, begin, end)
        return keys, entries, (size // count + prefix_size) * wanted

    def find_unexpanded(self, found: CachedBlock, key: bytes) -> Entry | None:
        """A lookup in a cached payload, which decodes it once that pays."""
        plain = found.plain
        if plain is not None and found.hits <= WORN:
            return block.find_plain(plain, key)
        if self.is_worn(found):
            self.expand(found)
        return found.find(key)

    def is_worn(self, found: CachedBlock) -> bool:
        """Whether the entries of a cached payload should take its place."""
        cache = self.cache
        return should_expand(found.hits, cache is not None and cache.is_full)

    def record_miss(self, number: int) -> CachedBlock | None:
        """Count a lookup of a block that is not cached. Returns the block, now cached, or None if it should be read in
        place, in the mapping."""
        cache = self.cache
        mark = self.marks[number] or self.verify(number)
        if cache is not None:
            cache.misses += 1
        if mark == PACKED:
            return self._unpacked(number)
        if cache is None or not self.heat.on_miss(number, cache.is_full):
            return None
        start = self.starts[number]
        found = CachedBlock.expanded(self.data, start, self.starts[number + 1] - start)
        cache.put(self.blocks, number, found)
        return found

    def _unpacked(self, number: int) -> CachedBlock:
        """A packed block that is not cached."""
        payload = self._payload(number)
        return self._maybe_admit(number, payload) or CachedBlock(payload)

    def _payload(self, number: int) -> bytes:
        """That of a packed block that is not cached."""
        if self.cache is not None:
            row, last, passing = self.cache.passing
            if last == number and row is self.blocks:
                return passing
        return self.unpack(number)

    def expand(self, found: CachedBlock) -> None:
        """Decode a cached payload."""
        found.expand()
        if self.cache is not None:
            self.cache.recharge(found)

    def head(self, start: bytes, stop: bytes, count: int, *, nowait: bool = False) -> Page:
        """The first entries of [start, stop), fewer than the count only if there are no more. The caller owns them.
        nowait: ColdRead instead of a wait for a block."""
        separators = self.separators
        number = bisect_right(separators, start) - 1
        found = self.blocks[number] if number >= 0 else None
        if found is not None and found.ordered is not None:  # the loop below, where one cached block is enough
            keys, entries = found.ordered
            begin = bisect_left(keys, start)
            end = begin + count
            if keys[-1] >= stop:
                end = min(bisect_left(keys, stop, begin), end)
            if end <= len(keys):
                found.hits += 1
                return keys[begin:end], entries[begin:end]
        keys, entries = self._slice(number, start, stop, count, nowait) if number >= 0 else ([], [])
        while len(keys) < count and number + 1 < len(separators) and separators[number + 1] < stop:
            number += 1
            more_keys, more_entries = self._slice(number, b"", stop, count - len(keys), nowait)
            keys += more_keys
            entries += more_entries
        if keys and keys[-1] >= stop:
            cut = bisect_left(keys, stop)
            del keys[cut:], entries[cut:]
        return keys, entries

    def _slice(self, number: int, start: bytes, stop: bytes, count: int, nowait: bool) -> Page:
        """Up to count entries of one block from start on; entries from stop on may be among them."""
        found = self.blocks[number]
        if found is None:
            found = self.block_nowait(number) if nowait and self.cache is not None else self.record_miss(number)
        source, at = self.data, self.starts[number]
        if found is not None:
            found.hits += 1
            payload = found.payload
            if payload is not None and not self.is_worn(found):
                source, at, found = payload, 0, None
        if found is None:
            separators = self.separators
            ends_here = number + 1 == len(separators) or separators[number + 1] > stop
            return block.head(source, at, start, stop if ends_here else None, count)
        if found.entries is None:
            self.expand(found)
        keys, entries = found.page()
        begin = bisect_left(keys, start) if start else 0
        return keys[begin : begin + count], entries[begin : begin + count]

    def admit(self, number: int, payload: bytes) -> CachedBlock:
        """Put a payload into the cache."""
        found = CachedBlock(payload)
        if self.cache is not None:
            self.cache.put(self.blocks, number, found)
        return found

    def admit_stored(self, number: int, stored: bytes) -> bytes:
        """Put a stored block, which was read past the mapping, into the cache. Returns its payload."""
        start = self.starts[number]
        stored_block.verify(stored, start - self.base, self.path, self.base)
        payload = stored_block.unpack(stored, self.path, start)
        self.admit(number, payload)
        return payload

    def fill(self, number: int) -> None:
        """Read a block past the mapping into the cache, for a lookup that will be repeated, and is counted here.

        A block that the cache refuses (too large, or evicted at once) must not be read again and again: it is staged.
        """
        start, stop = self.starts[number], self.starts[number + 1]
        stored = table_footer.read_part(self.file, start, stop - start)
        if self.cache is not None:
            self.cache.misses += 1
        payload = self.admit_stored(number, stored)
        if self.blocks[number] is None:
            staged = self.staged
            staged[number] = payload
            for other in list(staged)[:-_MAX_STAGED]:  # their lookups are probably gone
                staged.pop(other, None)


def _maybe_sealed(file: TableFile) -> SealedMapping | None:
    try:
        return file.maybe_sealed()
    except OSError as error:
        raise StorageError("map", file.path, error) from error


def _map(file: ReadableFile) -> bytes:
    try:
        data: Any = file.map()
    except OSError as error:
        raise StorageError("map", file.path, error) from error
    return bytes(data) if isinstance(data, bytearray | memoryview) else cast("bytes", data)
