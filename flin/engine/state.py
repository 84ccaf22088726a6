"""What a reader sees: one immutable ReadState, replaced by one assignment; a reader loads it once.

Newest first, a shard's entries are in: the active part (which writers still change), the frozen parts of the open
generation, the parts of sealed generations, and the runs of the version. The first that says anything about a
key is right. No lock is taken: what a state names never changes, but for the active parts, where a dict's own
operations are atomic.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, TypeAlias

from flin.engine.entry import DELETED, Entry, Page, Range, covers
from flin.engine.filter import MASK_INDEX, MASKS, hash_key
from flin.engine.generation import Bounded, Parts, SealedGeneration
from flin.engine.head import HeadOf, head_pages
from flin.engine.joined_runs import JoinedRuns, join_runs
from flin.engine.key import KEYS_END
from flin.engine.memtable import Part
from flin.engine.merge import Source, join_heads, merge_pages
from flin.engine.slot import shard_of_stored
from flin.engine.sstable import Table
from flin.engine.version import Version

_TOMBSTONE_TYPE: Final = type(DELETED)

HEAD_ENTRIES: Final = 256
"""Up to this limit a scan is one page, at once; beyond it a run's pages cost little beside their entries."""

_NO_LOCK: Final = nullcontext()


class TableRun:
    """One run: the open tables of a shard's age, in key order."""

    __slots__ = ("bounds", "entries", "has_ranges", "largest", "plain_table", "raw_bytes", "tables")

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tuple(tables)
        self.entries = sum(table.meta.entries for table in tables)
        self.raw_bytes = sum(table.meta.raw_bytes for table in tables)
        self.largest = [table.meta.largest for table in tables]
        self.bounds = self.largest[:-1]  # a key belongs to the table at its place among these, if to any
        self.has_ranges = any(table.meta.range_deletes for table in tables)
        # The only table of a run without range deletes: its filter refuses what it does not hold, bounds or not.
        self.plain_table = self.tables[0] if len(tables) == 1 and not self.has_ranges else None

    def find(self, key: bytes, hashed: int, nowait: bool) -> Entry | None:
        """What the run says of a key: DELETED where a range delete covers it, None if nothing."""
        for index in range(bisect_left(self.largest, key), len(self.tables)):
            table = self.tables[index]
            if table.meta.smallest > key:
                return None
            entry = table.get_nowait(key, hashed) if nowait else table.get(key, hashed)
            if entry is not None:
                return entry
            if not self.has_ranges:
                return None
            # A table may end with a range delete up to the key that the next one begins with: so that one is asked too.
            if table.meta.range_deletes and covers(table.ranges, key):
                return DELETED
        return None

    def head(self, start: bytes, stop: bytes, count: int) -> Page:
        """The first entries of [start, stop), fewer than the count only if there are no more."""
        table = self.plain_table
        if table is not None:
            return (table.state or table.loaded()).head(start, stop, count)
        keys: list[bytes] = []
        entries: list[Entry] = []
        for index in range(bisect_left(self.largest, start), len(self.tables)):
            table = self.tables[index]
            if table.meta.smallest >= stop:
                break
            more_keys, more_entries = (table.state or table.loaded()).head(start, stop, count - len(keys))
            keys += more_keys
            entries += more_entries
            if len(keys) == count:
                break
        return keys, entries

    @property
    def ranges(self) -> tuple[Range, ...]:
        return tuple(chain.from_iterable(t.ranges for t in self.tables)) if self.has_ranges else ()

    def pages(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[Page]:
        tables = self.tables[bisect_left(self.largest, start) :]
        for table in reversed(tables) if reverse else tables:
            if table.meta.smallest < stop and table.meta.largest >= start:
                yield from table.pages(start, stop, reverse=reverse)


OpenRuns: TypeAlias = tuple[tuple[TableRun, ...], ...]
"""By shard, newest first."""


@dataclass(frozen=True, slots=True)
class ReadState:
    """Everything there is, as of one moment but for the active parts."""

    active: Parts  # by shard
    frozen: tuple[Parts, ...]  # by shard: of the open generation, newest first
    sealed: tuple[SealedGeneration, ...]  # newest first
    runs: OpenRuns
    version: Version
    flushes: int  # rises with every flush edit: a value read from tables is worth caching only if this is unchanged
    older: tuple[Parts, ...] = field(init=False)  # by shard: frozen and sealed parts, newest first
    get_active: Callable[[bytes], Entry | None] | None = field(init=False)  # of a single shard's dict
    # How each part and run that does not change gives its first entries, oldest first: by shard those of the runs, and
    # those of all parts. None if one has range deletes.
    heads: tuple[tuple[tuple[HeadOf, ...], ...], tuple[HeadOf, ...]] | None = field(init=False)
    joined: tuple[JoinedRuns | None, ...] = ()  # by shard; kept by `replace` for as long as the runs are the same

    def __post_init__(self) -> None:
        shards = len(self.active)
        older = tuple(
            self.frozen[shard] + tuple(part for generation in self.sealed for part in generation.parts[shard])
            for shard in range(shards)
        )
        object.__setattr__(self, "older", older)
        parts: list[Part] = [part for of_shard in older for part in reversed(of_shard)]
        plain = not any(run.has_ranges for of_shard in self.runs for run in of_shard)
        heads = None
        if plain and not any(part.ranges for part in parts):
            of_runs = tuple(
                tuple(HeadOf(run.head, run.entries) for run in reversed(of_shard)) for of_shard in self.runs
            )
            heads = of_runs, tuple(HeadOf(part.head, len(part.entries)) for part in parts)
        object.__setattr__(self, "heads", heads)
        object.__setattr__(self, "joined", _joined(self.runs, self.joined))
        object.__setattr__(self, "get_active", self.active[0].entries.get if shards == 1 else None)

    def shard_of(self, key: bytes) -> int:
        return shard_of_stored(key, len(self.active)) if len(self.active) > 1 else 0

    def find_in_memory(self, shard: int, key: bytes) -> Entry | None:
        """What the memtables say of a stored key: None if nothing."""
        entry = self.active[shard].get(key)
        if entry is not None:
            return entry
        for part in self.older[shard]:
            entry = part.entries.get(key)
            if entry is not None:
                return entry
            if part.ranges and covers(part.ranges, key):
                return DELETED
        return None

    def find_in_tables(self, shard: int, key: bytes, hashed: int) -> Entry | None:
        """What the tables say. `hashed`: hash_key(key)."""
        mask = MASKS[hashed & 4095]
        for run in self.runs[shard]:
            table = run.plain_table
            if table is None:
                if run.has_ranges:
                    entry = run.find(key, hashed, nowait=False)
                    if entry is not None:
                        return entry
                    continue
                table = run.tables[bisect_left(run.bounds, key)]
            # TableRun.find and Table.get, without the calls: a filter that says no costs 100 ns instead of 250.
            state = table.state or table.loaded()
            if state.words[hashed % state.word_count] & mask != mask:
                continue
            entry = state.find(key)
            if entry is not None:
                return entry
        return None

    def find_joined(self, shard: int, key: bytes, hashed: int) -> Entry | None:
        """The same, by the pages of joined runs where there are any."""
        joined = self.joined[shard]
        return self.find_in_tables(shard, key, hashed) if joined is None else joined.find(key, hashed)

    def find_nowait(self, shard: int, key: bytes) -> Entry | None:
        """The same; ColdRead where a block would have to be waited for."""
        hashed = hash_key(key)
        for run in self.runs[shard]:
            if run.has_ranges:
                entry = run.find(key, hashed, nowait=True)
            else:
                entry = run.tables[bisect_left(run.bounds, key)].get_nowait(key, hashed)
            if entry is not None:
                return entry
        return None

    def head(
        self, start: bytes, stop: bytes, count: int, lock: AbstractContextManager[object] = _NO_LOCK
    ) -> Page | None:
        """The first entries of [start, stop), fewer than the count only if there are no more; None where there are
        range deletes. The caller owns them. `lock`: the commit lock, unless the state is frozen.

        Without sources, generators and pages, a seek and ten entries of two runs take 10 µs, with them 35."""
        if self.heads is None:
            return None
        of_runs, of_parts = self.heads
        todo = of_parts
        heads: list[Page] = []
        for joined, of_shard in zip(self.joined, of_runs):  # noqa: B905  both by shard
            head = None if joined is None else joined.head(start, stop, count)
            if head is None:
                todo = of_shard + todo
            else:
                heads.append(head)
                if len(head[0]) == count:
                    stop = head[0][-1] + b"\0"  # the next possible key
        if todo:
            heads += head_pages(todo, start, stop, count)
        for part in self.active:
            if part.entries or part.ranges:
                break
        else:  # there is nothing to copy, so nothing to lock
            return heads[0] if len(heads) == 1 else join_heads(heads, count)
        with lock:  # once for all shards: a batch is seen whole
            for part in self.active:
                if part.ranges:
                    return None
                heads.append(part.head(start, stop, count))
        return join_heads(heads, count)

    def plain_head(
        self, start: bytes, stop: bytes, limit: int, lock: AbstractContextManager[object] = _NO_LOCK
    ) -> Page | None:
        """The same with at least `limit` plain values, or all; None also where many tombstones come before those."""
        for count in (limit, 4 * limit):
            page = self.head(start, stop, count, lock)
            if page is None or len(page[0]) < count or list(map(type, page[1])).count(bytes) >= limit:
                return page
        return None

    def sources(self, shard: int, start: bytes, stop: bytes, *, reverse: bool, first: Page | None) -> list[Source]:
        """The shard's runs between start and stop, newest first. `first` stands for the active part's entries where
        those were copied; otherwise the active part must be empty."""
        sources = [Source([first] if first is not None else [], self.active[shard].ranges)]
        older: tuple[Part | TableRun, ...] = (*self.older[shard], *self.runs[shard])
        return sources + [Source(run.pages(start, stop, reverse=reverse), run.ranges) for run in older]

    def pages(self, start: bytes = b"", stop: bytes = KEYS_END, *, reverse: bool = False) -> Iterator[Page]:
        """All entries of a frozen state in order, tombstones included."""
        return self.bounded_pages([(None, start, stop)] * len(self.active), reverse=reverse)

    def bounded_pages(
        self, bounds: Sequence[Bounded | tuple[None, bytes, bytes]], *, reverse: bool = False
    ) -> Iterator[Page]:
        """The same with bounds, and a copy of the active part's entries within them, for each shard."""
        merged = [
            merge_pages(self.sources(shard, start, stop, reverse=reverse, first=first), reverse=reverse)
            for shard, (first, start, stop) in enumerate(bounds)
        ]
        return merged[0] if len(merged) == 1 else merge_pages([Source(pages) for pages in merged], reverse=reverse)


def _joined(runs: Sequence[Sequence[TableRun]], before: Sequence[JoinedRuns | None]) -> tuple[JoinedRuns | None, ...]:
    """Those of an earlier state where the runs hold the same tables."""
    if len(before) != len(runs):
        before = (None,) * len(runs)
    return tuple(
        old if old is not None and old.holds(of_shard) else join_runs(of_shard)
        for of_shard, old in zip(runs, before, strict=True)
    )


def live_pages(pages: Iterator[Page]) -> Iterator[Page]:
    """Without tombstones; never an empty page."""
    for keys, entries in pages:
        if _TOMBSTONE_TYPE not in set(map(type, entries)):  # 15 ns an entry; `DELETED in entries` compares, 60 ns
            yield keys, entries
            continue
        kept = [index for index, entry in enumerate(entries) if entry is not DELETED]
        if kept:
            yield [keys[index] for index in kept], [entries[index] for index in kept]


assert MASK_INDEX == 4095  # written out in find_in_tables, where a global would cost 5 ns
