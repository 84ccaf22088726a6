"""What a reader sees: one immutable ReadState, replaced by one assignment; a reader loads it once.

Newest first, a shard's entries are in: the active memtable (which writers still change), the frozen memtables of the
open generation, the memtables of sealed generations, and the runs of the version. The first that says anything about a
key is right. No lock is taken: nothing in a state ever changes, except the active memtables, and a dict's operations
are atomic.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any, Final, TypeAlias

from flin.engine.boundaries import Boundaries, boundaries_of, covers, ranges_of, reaching, skip
from flin.engine.catalog.generation import Bounded, Memtables, RetiredGeneration, SealedGeneration
from flin.engine.catalog.version import Version
from flin.engine.entry import TOMBSTONE, Entry, Page, Pointer
from flin.engine.key import KEYS_END
from flin.engine.memtable import Memtable
from flin.engine.read.merge import Passed, Source, join_heads, merge_pages
from flin.engine.read.short_scan import HeadOf, TooMuchHidden, head_pages, visible_head
from flin.engine.read.sorted_view import SortedView, build_view
from flin.engine.slot import shard_of_stored
from flin.engine.sstable import Table
from flin.engine.table.state import TableState
from flin.engine.table.value_files import ValueFiles

_TOMBSTONE_TYPE: Final = type(TOMBSTONE)
_KEYS: Final = itemgetter(0)

HEAD_ENTRIES: Final = 256
"""Up to this limit a scan is one page, made at once; beyond it a run's pages cost little compared with their
entries."""


def heads_of(
    active: Memtables, deleted: Boundaries, dead: Boundaries, start: bytes, stop: bytes, count: int
) -> list[Page] | None:
    """The first entries of [start, stop) of each active memtable, without those in dead stretches (`dead`). None if
    many are, or if the memtables' range deletes are no longer `deleted`, with which the older entries were read."""
    heads = []
    for memtable in active:
        if memtable.deleted is not deleted and (memtable.deleted or deleted) and memtable.deleted != deleted:
            return None
        if dead:
            try:
                heads.append(visible_head(memtable.head, (dead,), start, stop, count))
            except TooMuchHidden:
                return None
        else:
            heads.append(memtable.head(start, stop, count))
    return heads


ActiveHeads: TypeAlias = Callable[[Memtables, Boundaries, Boundaries, bytes, bytes, int], list[Page] | None]
"""heads_of, perhaps under the commit lock."""


class TableRun:
    """One run: its open tables, in key order."""

    __slots__ = (
        "_deleted",
        "bounds",
        "entry_count",
        "has_range_tombstones",
        "largest",
        "plain_table",
        "raw_bytes",
        "tables",
    )

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tuple(tables)
        self.entry_count = sum(table.meta.entry_count for table in tables)
        self.raw_bytes = sum(table.meta.raw_bytes for table in tables)
        self.largest = [table.meta.largest for table in tables]
        self.bounds = self.largest[:-1]  # a key belongs to the table at its place among these, if to any
        self.has_range_tombstones = any(table.meta.range_deletes for table in tables)
        # The only table of a run without range deletes: its filter refuses keys that it lacks, bounds or not.
        self.plain_table = self.tables[0] if len(tables) == 1 and not self.has_range_tombstones else None
        self._deleted: Boundaries | None = None if self.has_range_tombstones else ()  # read when first needed

    def find(self, key: bytes, hashed: int, nowait: bool) -> Entry | None:
        """What the run says of a key: TOMBSTONE if a range delete covers it, None if nothing. (Written out in
        read_path._from_runs and SortedView.find_cold.)"""
        for index in range(bisect_left(self.largest, key), len(self.tables)):
            table = self.tables[index]
            if table.meta.smallest > key:
                return None
            entry = table.get_nowait(key, hashed) if nowait else table.get(key, hashed)
            if entry is not None:
                return entry
            if not self.has_range_tombstones:
                return None
            # A table may end with a range delete up to the next one's first key: so that one is asked, too.
            if table.meta.range_deletes and covers(table.deleted, key):
                return TOMBSTONE
        return None

    def head(self, start: bytes, stop: bytes, count: int, *, nowait: bool = False) -> Page:
        """The first entries of [start, stop), fewer than the count only if there are no more. nowait: ColdRead instead
        of a wait for the disk."""
        table = self.plain_table
        if table is not None:
            return _opened(table, nowait).head(start, stop, count, nowait=nowait)
        keys: list[bytes] = []
        entries: list[Entry] = []
        for index in range(bisect_left(self.largest, start), len(self.tables)):
            table = self.tables[index]
            if table.meta.smallest >= stop:
                break
            more_keys, more_entries = _opened(table, nowait).head(start, stop, count - len(keys), nowait=nowait)
            keys += more_keys
            entries += more_entries
            if len(keys) == count:
                break
        return keys, entries

    @property
    def deleted(self) -> Boundaries:
        """The boundaries of the range deletes of all tables."""
        deleted = self._deleted
        if deleted is None:
            pieces = [table.deleted for table in self.tables if table.meta.range_deletes]
            one = pieces[0] if len(pieces) == 1 else boundaries_of(chain.from_iterable(map(ranges_of, pieces)))
            deleted = self._deleted = one
        return deleted

    def pages(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[Page]:
        tables = self.tables[bisect_left(self.largest, start) :]
        for table in reversed(tables) if reverse else tables:
            if table.meta.smallest < stop and table.meta.largest >= start:
                yield from table.pages(start, stop, reverse=reverse)

    def pages_nowait(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[Page]:
        """What `pages` gives; ColdRead instead of a wait for a block."""
        tables = self.tables[bisect_left(self.largest, start) :]
        for table in reversed(tables) if reverse else tables:
            if table.meta.smallest < stop and table.meta.largest >= start:
                yield from table.pages_nowait(start, stop, reverse=reverse)

    def deleted_nowait(self) -> Boundaries:
        """What `deleted` gives; ColdRead instead of a wait."""
        if self._deleted is None:
            for table in self.tables:
                if table.meta.range_deletes and table.state is None:
                    table.loaded_nowait()
        return self.deleted


def _opened(table: Table, nowait: bool) -> TableState:
    return table.state or (table.loaded_nowait() if nowait else table.loaded())


OpenRuns: TypeAlias = tuple[tuple[TableRun, ...], ...]
"""The runs by shard, newest first."""

DictGet: TypeAlias = Callable[[bytes, Entry | None], Entry | None]
"""`get` of a memtable's dict, with a default."""

_Below: TypeAlias = Memtable | TableRun
"""What lies below the active memtables, and does not change."""


@dataclass(frozen=True, slots=True)
class ReadState:
    """Everything that readers see, as of one moment, except the active memtables."""

    active: Memtables  # by shard
    frozen: tuple[Memtables, ...]  # by shard: of the open generation, newest first
    sealed: tuple[SealedGeneration, ...]  # newest first
    runs: OpenRuns
    version: Version
    flushes: int  # rises with every flush edit: a value read from tables is worth caching only if this is unchanged
    older: tuple[Memtables, ...] = field(init=False)  # by shard: frozen and sealed memtables, newest first
    lone_table: Table | None = field(init=False)  # if it is all that lies below one active memtable
    lone_view: SortedView | None = field(init=False)  # likewise
    get_active: Callable[[bytes], Entry | None] | None = field(init=False)  # `get` of the dict, if there is one shard
    older_gets: tuple[DictGet, ...] = field(init=False)  # see `_older_gets`; empty if there are several shards
    hides_nothing: bool = field(
        init=False
    )  # no memtable below the active ones has range deletes, and there is one shard
    # How each run and frozen memtable gives its first entries, oldest first: those of the runs by shard, and those of
    # all memtables.
    heads: tuple[tuple[tuple[HeadOf, ...], ...], tuple[HeadOf, ...]] = field(init=False)
    deleting: tuple[tuple[Memtable, ...], ...] = field(
        init=False
    )  # by shard: the older memtables that have range deletes
    sorted_views: tuple[SortedView | None, ...] = ()  # by shard; kept by `replace` for as long as the runs are the same
    dead: Boundaries = ()  # the dead stretches of a frozen state (dead_stretches.py)
    value_files: ValueFiles = field(default_factory=ValueFiles)  # of the version
    retired: tuple[RetiredGeneration, ...] = ()  # newest first: a cache of what the runs say; not in frozen states
    retired_memtables: tuple[Memtables, ...] = field(init=False)  # theirs by shard, newest first

    def __post_init__(self) -> None:
        shards = len(self.active)
        older = tuple(
            self.frozen[shard]
            + tuple(memtable for generation in self.sealed for memtable in generation.memtables[shard])
            for shard in range(shards)
        )
        object.__setattr__(self, "older", older)
        of_retired = tuple(
            tuple(memtable for generation in self.retired for memtable in generation.memtables[shard])
            for shard in range(shards)
        )
        object.__setattr__(self, "retired_memtables", of_retired)
        deleting = tuple(tuple(memtable for memtable in of_shard if memtable.deleted) for of_shard in older)
        of_runs, of_memtables = [], []
        for shard in range(shards):
            sources: list[_Below] = [*older[shard], *self.runs[shard]]
            heads = _heads(sources, [*deleting[shard], *(run for run in self.runs[shard] if run.has_range_tombstones)])
            of_memtables += heads[len(self.runs[shard]) :]
            of_runs.append(tuple(heads[: len(self.runs[shard])]))
        object.__setattr__(self, "heads", (tuple(of_runs), tuple(of_memtables)))
        object.__setattr__(self, "deleting", deleting)
        object.__setattr__(self, "sorted_views", _sorted_views(self.runs, self.sorted_views))
        lone = self.runs[0][0].plain_table if shards == 1 and not older[0] and len(self.runs[0]) == 1 else None
        object.__setattr__(self, "lone_table", lone)
        lone_view = self.sorted_views[0] if shards == 1 and not older[0] else None
        object.__setattr__(self, "lone_view", lone_view)
        object.__setattr__(self, "get_active", self.active[0].entries.get if shards == 1 else None)
        gets = _older_gets((*older[0], *of_retired[0])) if shards == 1 else ()
        object.__setattr__(self, "older_gets", gets)
        below = (*older[0], *of_retired[0])
        object.__setattr__(self, "hides_nothing", shards == 1 and not any(memtable.deleted for memtable in below))

    def with_active(self, active: Memtables, dead: Boundaries = ()) -> ReadState:
        """This state with other active memtables; it keeps what `replace` would compute anew for each range delete and
        snapshot."""
        state = object.__new__(ReadState)
        for name in _FIELDS:
            object.__setattr__(state, name, getattr(self, name))
        object.__setattr__(state, "active", active)
        object.__setattr__(state, "dead", dead)
        object.__setattr__(state, "get_active", active[0].entries.get if len(active) == 1 else None)
        return state

    def frozen_state(self, dead: Boundaries) -> ReadState:
        """This state, if its active memtables are empty, for those who keep it: writes go on into the installed one's
        active memtables, and nobody may hold the memory of retired generations for long."""
        shards = len(self.active)
        state = self.with_active(tuple(Memtable() for _ in range(shards)), dead)
        object.__setattr__(state, "retired", ())
        object.__setattr__(state, "retired_memtables", ((),) * shards)
        object.__setattr__(state, "older_gets", ())
        return state

    def with_copies(self, dead: Boundaries) -> ReadState:
        """A state that no write changes, like that of `Store.freeze`, made without replacing this one."""
        copies = [Memtable(dict(memtable.entries), memtable.deleted) for memtable in self.active]
        frozen = tuple((copy, *older) if copy else older for copy, older in zip(copies, self.frozen, strict=True))
        return replace(self, active=tuple(Memtable() for _ in copies), frozen=frozen, dead=dead, retired=())

    @property
    def retired_bytes(self) -> int:
        """About how much memory the retired generations take."""
        return sum(generation.size_bytes for generation in self.retired)

    def shard_of(self, key: bytes) -> int:
        return shard_of_stored(key, len(self.active)) if len(self.active) > 1 else 0

    def head(
        self,
        start: bytes,
        stop: bytes,
        count: int,
        active_heads: ActiveHeads = heads_of,
        dead: Boundaries = (),
        *,
        values: bool = True,
    ) -> Page | None:
        """The first entries of [start, stop), fewer than the count only if there are no more; None if too many are
        hidden. The caller owns them. `active_heads` locks, unless the state is frozen. `dead`: dead stretches that the
        caller knows; what lies there is left out. Without `values` pointers stay pointers."""
        page = self._head(start, stop, count, active_heads, dead)
        return self.value_files.resolved_page(page) if page is not None and values and self.value_files else page

    def _head(self, start: bytes, stop: bytes, count: int, active_heads: ActiveHeads, dead: Boundaries) -> Page | None:
        """The head, not resolved.

        Without sources, generators and pages, a seek and ten entries of two runs take 10 µs, with them 35."""
        active = self.active
        deleted = active[0].deleted  # the same in all shards
        dead = dead or self.dead
        hidden = reaching((deleted, dead), start, stop) if deleted or dead else []
        if dead:
            start = skip((dead,), start)
            if start >= stop:
                return [], []
        if hidden or self.lone_view is None:
            try:
                heads = self._older_heads(start, stop, count, hidden)
            except TooMuchHidden:
                return None
        else:  # what that does then, 0.4 µs sooner
            head = self.lone_view.head(start, stop, count)
            heads = head_pages(self.heads[0][0], start, stop, count) if head is None else [head]
        for memtable in active:
            if memtable.entries or (memtable.deleted and memtable.deleted is not deleted):
                break
        else:  # there is nothing to copy, so nothing to lock
            return heads[0] if len(heads) == 1 else join_heads(heads, count)
        if heads and len(heads[-1][0]) == count:  # what lies above it is not needed
            stop = heads[-1][0][-1] + b"\0"  # the next possible key
        of_active = active_heads(active, deleted, dead, start, stop, count)
        return None if of_active is None else join_heads([*heads, *filter(_KEYS, of_active)], count)

    def _older_heads(self, start: bytes, stop: bytes, count: int, hidden: list[Boundaries]) -> list[Page]:
        """The heads, for `head`, of everything below the active memtables, without the keys that `hidden` covers.
        Raises TooMuchHidden."""
        of_runs, of_memtables = self.heads
        todo = of_memtables
        heads: list[Page] = []
        for sorted_view, of_shard, deleting in zip(self.sorted_views, of_runs, self.deleting):  # noqa: B905  all by shard
            hiding = hidden + reaching([memtable.deleted for memtable in deleting], start, stop) if deleting else hidden
            if sorted_view is None:
                head = None
            elif hiding:
                head = visible_head(sorted_view.head, hiding, start, stop, count)
            else:
                head = sorted_view.head(start, stop, count)
            if head is None:
                todo = of_shard + todo
            else:
                heads.append(head)
                if len(head[0]) == count:
                    stop = head[0][-1] + b"\0"  # the next possible key
        if todo:
            if hidden:
                todo = tuple([HeadOf(partial(visible_head, ask, hidden), entries) for ask, entries in todo])
            heads += head_pages(todo, start, stop, count)
        return heads

    def plain_head(
        self,
        start: bytes,
        stop: bytes,
        limit: int,
        active_heads: ActiveHeads = heads_of,
        dead: Boundaries = (),
        *,
        values: bool = True,
    ) -> Page | None:
        """A head with at least `limit` plain values, or all; None also if many tombstones come before these."""
        for count in (limit, 4 * limit):
            page = self._head(start, stop, count, active_heads, dead)
            if page is None or len(page[0]) < count or count_plain(page[1]) >= limit:
                return (
                    self.value_files.resolved_page(page) if page is not None and values and self.value_files else page
                )
        return None

    def sources(
        self,
        shard: int,
        start: bytes,
        stop: bytes,
        *,
        reverse: bool,
        first: Page | None,
        passed: Passed | None = None,
        nowait: bool = False,
    ) -> list[Source]:
        """The shard's sources between start and stop, newest first. `first`: a copy of the active memtable's entries;
        without it the active memtable must be empty."""
        active = Source([first] if first is not None else [], self.active[shard].deleted)
        older: tuple[_Below, ...] = (*self.older[shard], *self.runs[shard])
        return [active, *_sources(older, start, stop, reverse, passed, nowait)]

    def table_pages(self, shard: int, start: bytes, stop: bytes, *, nowait: bool) -> Iterator[Page]:
        """The entries that the tables of a shard have between start and stop, below all memtables, not resolved."""
        return merge_pages([*_sources(self.runs[shard], start, stop, False, None, nowait)])

    def pages(
        self,
        start: bytes = b"",
        stop: bytes = KEYS_END,
        *,
        reverse: bool = False,
        passed: Passed | None = None,
        nowait: bool = False,
        values: bool = True,
    ) -> Iterator[Page]:
        """All entries of a frozen state in order, tombstones included. Without `values` pointers stay pointers."""
        bounds = [(None, start, stop)] * len(self.active)
        return self.bounded_pages(bounds, reverse=reverse, passed=passed, nowait=nowait, values=values)

    def bounded_pages(
        self,
        bounds: Sequence[Bounded | tuple[None, bytes, bytes]],
        *,
        reverse: bool = False,
        dead: Boundaries = (),
        passed: Passed | None = None,
        nowait: bool = False,
        values: bool = True,
    ) -> Iterator[Page]:
        """All entries within bounds, given a copy of each shard's active entries there. `dead`: as for `head`; `passed`
        counts the keys that were hidden. `nowait`: ColdRead instead of a wait for the disk."""
        dead = dead or self.dead
        merged = []
        for shard, (first, start, stop) in enumerate(bounds):
            sources = self.sources(shard, start, stop, reverse=reverse, first=first, passed=passed, nowait=nowait)
            merged.append(merge_pages(sources, reverse=reverse, dead=dead))
        one = merged[0] if len(merged) == 1 else merge_pages([Source(pages) for pages in merged], reverse=reverse)
        return self.value_files.resolved_pages(one, nowait=nowait) if values and self.value_files else one


_FIELDS: Final = tuple(each.name for each in fields(ReadState))


def _older_gets(newest_first: Sequence[Memtable]) -> tuple[DictGet, ...]:
    """Those of the memtables below the active ones, retired ones included, down to the first with range deletes: what
    lies beneath that may be hidden."""
    gets: list[DictGet] = []
    for memtable in newest_first:
        gets.append(memtable.entries.get)
        if memtable.deleted:
            break
    return tuple(gets)


def _heads(newest_first: Sequence[_Below], deleting: Sequence[_Below]) -> list[HeadOf]:
    """The HeadOf of each memtable or run of a shard, oldest first. `deleting`: those that have range deletes."""
    heads: list[HeadOf] = []
    above: list[_Below] = []  # those whose range deletes hide keys of the following ones
    for each in newest_first:
        ask: Any = partial(_head_below, each, tuple(above)) if above else each.head
        heads.append(HeadOf(ask, len(each.entries) if isinstance(each, Memtable) else each.entry_count))
        if deleting and each in deleting:
            above.append(each)
    return heads[::-1]


def _head_below(below: _Below, above: Sequence[_Below], start: bytes, stop: bytes, count: int) -> Page:
    """The head of a memtable or run below others' range deletes, which runs read when they are first needed."""
    return visible_head(below.head, [each.deleted for each in above], start, stop, count)


def _sources(
    newest_first: Sequence[_Below], start: bytes, stop: bytes, reverse: bool, passed: Passed | None, nowait: bool
) -> Iterator[Source]:
    for run in newest_first:
        pages: Callable[..., Iterator[Page]]
        if nowait and isinstance(run, TableRun):
            pages, deleted = run.pages_nowait, run.deleted_nowait()
        else:
            pages, deleted = run.pages, run.deleted
        begin_at = partial(_pages_below, pages, start) if reverse else partial(_pages_from, pages, stop)
        yield Source(pages(start, stop, reverse=reverse), deleted, begin_at, passed)


def _pages_from(pages: Callable[..., Iterator[Page]], stop: bytes, start: bytes) -> Iterator[Page]:
    return pages(start, stop)


def _pages_below(pages: Callable[..., Iterator[Page]], start: bytes, stop: bytes) -> Iterator[Page]:
    return pages(start, stop, reverse=True)


def _sorted_views(
    runs: Sequence[Sequence[TableRun]], before: Sequence[SortedView | None]
) -> tuple[SortedView | None, ...]:
    """The sorted views of an earlier state, if the runs hold the same tables."""
    if len(before) != len(runs):
        before = (None,) * len(runs)
    return tuple(
        old if old is not None and old.holds(of_shard) else build_view(of_shard)
        for of_shard, old in zip(runs, before, strict=True)
    )


def count_plain(entries: list[Entry]) -> int:
    """How many of the entries are plain values."""
    types = list(map(type, entries))
    return types.count(bytes) + types.count(Pointer)


def live_pages(pages: Iterator[Page]) -> Iterator[Page]:
    """The pages without tombstones; never an empty page."""
    for keys, entries in pages:
        if _TOMBSTONE_TYPE not in set(map(type, entries)):  # 15 ns an entry; `TOMBSTONE in entries` compares, 60 ns
            yield keys, entries
            continue
        kept = [index for index, entry in enumerate(entries) if entry is not TOMBSTONE]
        if kept:
            yield [keys[index] for index in kept], [entries[index] for index in kept]
