"""The memtable: a dict, ordered on demand, for one shard and one span of time.

Point operations use a plain dict (50 ns a put, against 1 µs in a structure that keeps order). The ordered view is
built by scans: a SortedList to which each scan adds the keys that came since the last one. These are found without any
bookkeeping by the writers, because a dict keeps its keys in the order of insertion.

A snapshot freezes the active memtable and puts an empty one before it (read/read_state.py). In every memtable a range
delete is older than every point: it removes the points that it covers, and is recorded alongside the others.

Not thread-safe: the active memtable is changed under the commit lock only; a frozen memtable is never changed again,
except its ordered view, which several readers may want at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from threading import RLock
from typing import Any, Final

from sortedcontainers import SortedList

from flin.engine.boundaries import Boundaries, add, covers, joined, ranges_of
from flin.engine.entry import TOMBSTONE, Entry, Page, Range
from flin.engine.reentry import holds_lock

ENTRY_OVERHEAD_BYTES: Final = 180
"""Bytes that Python adds to those of a key and a value in a dict: two bytes objects (33 each, rounded up to 16), the
dict's slot (8 to 24 index and 24 entry bytes, up to twice that after it grew). Measured: 150 to 200."""

ORDERED_DELETE_ENTRIES: Final = 64
"""From this size on, a range delete uses the ordered view, which costs 5 µs, and 5 µs for each key added since; looking
at every key costs 45 ns for each, in every range delete of a batch or a replay."""

_MIN_ORDERED_RANGES: Final = 3
"""Up to this number of ranges, searching one by one (45 ns per key and range) beats `covers` (130 ns per key)."""

FIRST_ENTRIES: Final = 32
"""Entries of the first page of a scan; each page is four times as large as the one before, up to PAGE_ENTRIES."""

PAGE_ENTRIES: Final = 512
"""Entries of one page of a scan: large enough that a page's fixed cost vanishes, small enough to take 0.1 ms."""


class Memtable:
    """Points and the range deletes that are older than all of them."""

    __slots__ = ("_ordered", "_ordered_count", "_ordering", "deleted", "entries", "key_count_delta")

    def __init__(self, entries: dict[bytes, Entry] | None = None, deleted: Boundaries = ()) -> None:
        self.entries: dict[bytes, Entry] = {} if entries is None else entries
        self.deleted = list(deleted)
        """Boundaries of the range deletes. If a reader may see the list, it is replaced, never changed."""
        self.key_count_delta: dict[int, int] | None = None
        """How a frozen memtable changes the count of live keys, by namespace, once it is resolved (count.py)."""
        self._ordered: Any = None
        self._ordered_count = 0
        self._ordering = RLock()  # readers of a frozen memtable take no other lock

    def __bool__(self) -> bool:
        return bool(self.entries or self.deleted)

    @property
    def ranges(self) -> tuple[Range, ...]:
        """Its range deletes, joined, as pairs."""
        return ranges_of(self.deleted)

    @property
    def size(self) -> int:
        """What a copy must hold: the number of points and range deletes."""
        return len(self.entries) + len(self.deleted) // 2

    def get(self, key: bytes) -> Entry | None:
        """The entry that this memtable has for the key: TOMBSTONE if it hides older ones, None if it says nothing.
        (Written out in read.read_path.from_memtables.)"""
        entry = self.entries.get(key)
        if entry is None and self.deleted and self.deleted[0] <= key and covers(self.deleted, key):
            return TOMBSTONE
        return entry

    def apply(self, ranges: Iterable[Range], points: Mapping[bytes, Entry] | Iterable[tuple[bytes, Entry]]) -> None:
        """Apply one commit: its range deletes, then its points. For a memtable that no other thread sees."""
        for start, stop in ranges:
            self.delete_range(start, stop)
        self.entries.update(points)

    def delete_range(self, start: bytes, stop: bytes) -> None:
        """Remove the points in [start, stop), and record the range, which hides older entries. For such a memtable."""
        add(self.deleted, start, stop)
        entries = self.entries
        if len(entries) > ORDERED_DELETE_ENTRIES:
            self._delete_ordered(start, stop)
            return
        self._remove([key for key in entries if start <= key < stop])

    def remove_covered(self, deleted: Boundaries) -> None:
        """Remove the points that a younger memtable's range deletes cover."""
        entries = self.entries
        if len(deleted) > 2 * _MIN_ORDERED_RANGES:
            self._remove([key for key in entries if bisect_right(deleted, key) & 1])
            return
        for start, stop in ranges_of(deleted):
            self._remove([key for key in entries if start <= key < stop])

    def holds_any(self, ranges: Iterable[Range]) -> bool:
        """Whether a point lies in one of the ranges."""
        return any(self.head(start, stop, 1)[0] for start, stop in ranges)

    def _remove(self, keys: list[bytes]) -> None:
        if keys:
            self._ordered = None
        entries = self.entries
        for key in keys:
            del entries[key]

    def _delete_ordered(self, start: bytes, stop: bytes) -> None:
        """Remove the points in [start, stop) by means of the ordered view, which stays."""
        ordered: Any = self.sorted_keys()
        self._ordered = None  # until all is done: an interrupt must leave no view rather than a wrong one
        covered = list(ordered.irange(start, stop, (True, False)))
        entries = self.entries
        if 2 * len(covered) > len(entries):  # fewer stay than go
            gone = set(covered)
            ordered = SortedList([key for key in ordered if key not in gone])
        else:
            for key in covered:
                ordered.remove(key)
        for key in covered:
            del entries[key]
        self._ordered, self._ordered_count = ordered, len(entries)

    @property
    def is_sorted(self) -> bool:
        """Whether `sorted_keys` is at once."""
        return self._ordered is not None and len(self.entries) == self._ordered_count

    @holds_lock
    def sorted_keys(self) -> Sequence[bytes]:
        """All keys in ascending order; a view that later changes of an active memtable may extend.

        A call that re-enters while a view is made finds none, and makes its own."""
        entries = self.entries
        as_it_is: Sequence[bytes] | None = self._ordered
        if as_it_is is not None and len(entries) == self._ordered_count:
            return as_it_is
        with self._ordering:
            ordered, self._ordered = self._ordered, None  # an interrupt must leave no view rather than a wrong one
            if ordered is None:
                ordered = SortedList(entries)
            elif len(entries) > self._ordered_count:
                ordered.update(islice(reversed(entries), len(entries) - self._ordered_count))
            self._ordered, self._ordered_count = ordered, len(entries)
        keys: Sequence[bytes] = ordered
        return keys

    def page(self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int = PAGE_ENTRIES) -> Page:
        """Up to `limit` entries from the lower (reverse: upper) end of [start, stop). Fewer only if there are no
        more."""
        ordered: Any = self.sorted_keys()
        keys = list(islice(ordered.irange(start, stop, (True, False), reverse), limit))
        return keys, list(map(self.entries.__getitem__, keys))

    def head(self, start: bytes, stop: bytes, count: int) -> Page:
        """The first entries of a range: it finds one bound instead of two, and does nothing in an empty memtable."""
        if not self.entries:
            return [], []
        ordered: Any = self.sorted_keys()
        keys = list(islice(ordered.irange(start), count))
        if keys and keys[-1] >= stop:
            del keys[bisect_left(keys, stop) :]
        return keys, list(map(self.entries.__getitem__, keys))

    def pages(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[Page]:
        """All entries of [start, stop) of a frozen memtable, page by page. The first pages are small: many scans end
        there."""
        if not self.entries:
            return
        size = FIRST_ENTRIES
        while True:
            page = self.page(start, stop, reverse=reverse, limit=size)
            if page[0]:
                yield page
            if len(page[0]) < size:
                return
            size = min(4 * size, PAGE_ENTRIES)
            if reverse:
                stop = page[0][-1]
            else:
                start = page[0][-1] + b"\0"  # the next possible key


def join_memtables(newer: Memtable, older: Memtable) -> Memtable:
    """One memtable that says what both say; neither is changed."""
    both = Memtable(dict(older.entries), joined(older.deleted, newer.deleted))
    both.remove_covered(newer.deleted)
    both.entries.update(newer.entries)
    if newer.key_count_delta is not None and older.key_count_delta is not None:
        both.key_count_delta = add_counts(older.key_count_delta, newer.key_count_delta)
    return both


def add_counts(left: Mapping[int, int], right: Mapping[int, int]) -> dict[int, int]:
    """The sums by namespace; zeros are left out."""
    total = dict(left)
    for namespace, count in right.items():
        total[namespace] = total.get(namespace, 0) + count
    return {namespace: count for namespace, count in total.items() if count}
