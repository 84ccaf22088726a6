"""The runs of a shard as one: pages of the newest entries of all of them, for a shard whose tables fit in the cache.

Theory. A lookup in several runs asks a filter of each, and a seek opens a block in each: their cost grows with the
number of runs, until a compaction merges them on the disk. Here they are merged in memory, only where it pays. The
separators of the largest run split the keys into ranges; for a range that is read again and again, all runs' entries
are joined into one dict, the page. It answers a lookup without a hash and without a filter, whether the key is there or
not, and a seek with two slices. A page is valid for the runs that it was made of: another version of the shard has
pages of its own.

The pages lie in the block cache, which bounds them. If not all of them fit, they would evict each other, and whole
ranges would be kept for the sake of single keys; then there are none, and each table caches its blocks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from sys import getsizeof
from typing import Final, Protocol

from flin.engine.boundaries import Boundaries, covers, cut_boundaries
from flin.engine.entry import Entry, Page
from flin.engine.key import KEYS_END
from flin.engine.sstable import Table
from flin.engine.table.block_cache import BlockCache
from flin.engine.table.bloom import MASK_INDEX, MASKS
from flin.engine.table.cached_block import BYTES_COST, LIST_COST
from flin.errors import FlinError

TOUCHES: Final = 6
"""Lookups of a range before its page is made, which costs as much as 15 of them. With fewer, single hot keys, which the
value cache takes at their second read, would make pages for nothing."""

SEEK_TOUCHES: Final = 6
"""A seek saves several times what a lookup saves. If there is one table, a page is one block, decoded: the first seek
makes it, while the cache has room (50,000 seeks over 200,000 keys: 7.7 µs each instead of 9.8)."""

_REFUSED: Final = 255
"""Touches of a range that has too many blocks in some run."""

_MAX_BLOCKS: Final = 8
"""The most blocks of one run in a page: making a page bounds the time of a read (0.1 ms for 8 runs)."""

_ENTRY_COST: Final = 2 * BYTES_COST + LIST_COST
_EXPECTED_COST: Final = _ENTRY_COST + 50
"""Bytes of an entry in addition to its data, its share of the page's dict included."""

_PAGE_COST: Final = 330
"""A ViewPage without its table (136), its tuple in the cache's clock and the slots that hold both (90), the lists
and the tuple of `page` (104)."""


class RunLike(Protocol):
    """The calls of a run (read_state.TableRun) that a view needs."""

    tables: tuple[Table, ...]
    largest: list[bytes]
    bounds: list[bytes]
    entry_count: int
    raw_bytes: int
    has_range_tombstones: bool
    plain_table: Table | None

    @property
    def deleted(self) -> Boundaries: ...

    def find(self, key: bytes, hashed: int, nowait: bool) -> Entry | None: ...


class ViewPage(dict[bytes, Entry]):
    """The newest entry of each key in a range, tombstones included. Never changed once it can be seen."""

    __slots__ = ("_data_bytes", "charge", "hits", "ordered", "seen_hits")

    def __init__(self) -> None:
        self.hits = 0
        self.seen_hits = 0
        self.charge = 0
        self._data_bytes = 0
        self.ordered: Page | None = None  # made by the first call of `page`

    def add(self, keys: list[bytes], entries: list[Entry], data_bytes: int) -> None:
        """Add the entries of a younger run. The page may keep the lists."""
        self.ordered = None if self else (keys, entries)
        self.update(zip(keys, entries, strict=True))
        self._data_bytes += data_bytes

    def remove(self, deleted: Boundaries) -> None:
        """Remove what a younger run's range deletes cover; the page is still charged for it."""
        self.ordered = None
        for key in [key for key in self if covers(deleted, key)]:
            del self[key]

    def page(self) -> Page:
        """All keys and entries in order. The lists are the page's own: do not change them."""
        keys = sorted(self)
        ordered = self.ordered = keys, list(map(self.__getitem__, keys))
        return ordered

    def charge_bytes(self) -> int:
        """Bytes that it costs, its place in the cache included."""
        return _PAGE_COST + getsizeof(self) + self._data_bytes + _ENTRY_COST * len(self)


_View = tuple[Sequence[bytes], list[ViewPage | None], bytearray]
"""Where the ranges begin, their pages, and the touches of those that have none."""


class SortedView:
    """The runs of one version of a shard, newest first, for any number of threads."""

    __slots__ = ("_cache", "_is_one_table", "_is_prepared", "runs", "view")

    def __init__(self, runs: Sequence[RunLike], cache: BlockCache) -> None:
        self.runs: Final = runs
        self._cache: Final = cache
        self._is_prepared = False
        self._is_one_table = len(runs) == 1 and runs[0].plain_table is not None
        self.view: _View = ([b""], [None], bytearray(1))  # one range, until a lookup has found something

    def __del__(self) -> None:
        self._cache.gone.append(self.view[1])  # no lock: this may run anywhere

    def holds(self, runs: Sequence[RunLike]) -> bool:
        """Whether these runs hold the same tables."""
        return runs is self.runs or [run.tables for run in runs] == [run.tables for run in self.runs]

    def find(self, key: bytes, hashed: int) -> Entry | None:
        """What the runs say of a key. (Written out in read.read_path.read_older.)"""
        separators, pages, _ = self.view
        number = bisect_right(separators, key) - 1
        page = pages[number]
        if page is None:
            return self.find_cold(number, key, hashed)
        page.hits += 1
        return page.get(key)

    def find_cold(self, number: int, key: bytes, hashed: int) -> Entry | None:
        """What `find` gives if the key's range has no page. The number is for counting: the view may be new by now."""
        mask = MASKS[hashed & 4095]
        for run in self.runs:
            if run.has_range_tombstones:
                entry = run.find(key, hashed, nowait=False)
                if entry is not None:
                    if self._is_due(number):
                        return self.find(key, hashed)
                    if not self._is_prepared:
                        self._prepare()
                    return entry
                continue
            # Written out: read.read_state.TableRun.find, table.bloom.contains
            table = run.plain_table or run.tables[bisect_left(run.bounds, key)]
            state = table.state or table.loaded()
            if state.words[hashed % state.word_count] & mask == mask:
                # Absent keys end above, at less cost than a page: they are not counted.
                if self._is_due(number):
                    return self.find(key, hashed)
                # If there will be no page, the tables' own blocks are counted and decoded.
                entry = state.find(key) if self.view[2][number] == _REFUSED else state.find_uncounted(key)
                if entry is not None:
                    if not self._is_prepared:  # prepared once a key is found: absent keys need no ranges
                        self._prepare()
                    return entry
        return None

    def _is_due(self, number: int) -> bool:
        """Count a lookup in a range without a page. Returns whether it has one now."""
        if not self._is_prepared:
            return False
        touches = self.view[2]
        count = touches[number]
        if count < TOUCHES:
            touches[number] = count + 1
            return False
        return count != _REFUSED and self._make(number) is not None

    def head(self, start: bytes, stop: bytes, count: int) -> Page | None:
        """The first entries of [start, stop), fewer than the count only if there are no more. The caller owns them.
        None if one of their ranges has no page."""
        if not self._is_prepared:
            self._prepare()
        separators, pages, _ = self.view
        number = bisect_right(separators, start) - 1
        page = pages[number] or self._touch(number)
        if page is None:
            return None
        page.hits += 1
        keys, entries = page.ordered or page.page()
        begin = bisect_left(keys, start)
        end = begin + count
        last = len(separators) - 1
        if end <= len(keys) or number == last:
            if keys and keys[-1] >= stop:
                end = bisect_left(keys, stop, begin, min(end, len(keys)))
            return keys[begin:end], entries[begin:end]
        keys, entries = keys[begin:], entries[begin:]
        while len(keys) < count and number < last and separators[number + 1] < stop:
            number += 1
            page = pages[number] or self._touch(number)
            if page is None:
                return None
            page.hits += 1
            more_keys, more_entries = page.ordered or page.page()
            end = count - len(keys)
            keys += more_keys[:end]
            entries += more_entries[:end]
        if keys and keys[-1] >= stop:
            cut = bisect_left(keys, stop)
            del keys[cut:], entries[cut:]
        return keys, entries

    def _prepare(self) -> None:
        """Split the keys into ranges. A table that cannot be read is reported by the reads of its keys."""
        try:
            largest = max(self.runs, key=_block_count)
            separators: list[bytes] = []
            for table in largest.tables:
                more = (table.state or table.loaded()).separators
                separators += [table.meta.smallest, *more[1:]] if separators else more
            if separators:
                self.view = separators, [None] * len(separators), bytearray(len(separators))
        except FlinError:
            self.view = [b""], [None], bytearray((_REFUSED,))
        self._is_prepared = True

    def _touch(self, number: int) -> ViewPage | None:
        """Count a seek to a range without a page. Returns the page once there is one."""
        touches = self.view[2]
        count = touches[number]
        if count < TOUCHES and (self._cache.is_full or not self._is_one_table):
            touches[number] = min(count + SEEK_TOUCHES, TOUCHES)
        elif count != _REFUSED:
            return self._make(number)
        return None

    def _make(self, number: int) -> ViewPage | None:
        """Make the page of a range, if that can be done and the cache keeps it; else its runs are asked from now on."""
        separators, pages, touches = self.view
        start = separators[number]
        stop = separators[number + 1] if number + 1 < len(separators) else KEYS_END
        most = _MAX_BLOCKS * len(self.runs)
        page = ViewPage()
        touches[number] = _REFUSED
        try:
            for run in reversed(self.runs):
                tables = run.tables
                if run.has_range_tombstones:
                    page.remove(cut_boundaries(run.deleted, start, stop))
                for index in range(bisect_left(run.largest, start), len(tables)):
                    table = tables[index]
                    if table.meta.smallest >= stop:
                        break
                    state = table.state or table.loaded()
                    first, end = state.blocks_between(start, stop)
                    most -= end - first
                    if most < 0:
                        return None
                    for block_number in range(first, end):
                        page.add(*state.cut(block_number, start, stop))
        except FlinError:  # damage is reported by reads of the damaged entries, not of their neighbours
            return None
        self._cache.put(pages, number, page)
        made = pages[number]
        if made is not None:
            touches[number] = 0  # counted again if the page is evicted
        return made


def build_view(runs: Sequence[RunLike]) -> SortedView | None:
    """The view of these runs; None if there is nothing to join, or the pages cannot be kept."""
    cache = runs[0].tables[0].cache if runs else None
    if cache is None:
        return None
    cost = sum(run.raw_bytes + _EXPECTED_COST * run.entry_count for run in runs)  # not by table: this is often asked
    return SortedView(runs, cache) if cost <= cache.capacity_bytes else None


def _block_count(run: RunLike) -> int:
    return sum(len((table.state or table.loaded()).separators) for table in run.tables)


assert MASK_INDEX == 4095  # written out in find_cold, where a global would cost 5 ns
