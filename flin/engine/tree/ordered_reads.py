"""The ordered reads of a store: scans and their heads. They write nothing; a scan may freeze the active memtables.

A scan gets its state under the commit lock. The head of a short one is read without it, except a copy of the active
memtables' entries. If a scan passes many tombstones before it finds anything, it remembers that (dead_stretches.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any, Final, cast

from flin.engine.boundaries import Boundaries, meets, skip, skip_back
from flin.engine.catalog.generation import Memtables, copy_bounded
from flin.engine.entry import TOMBSTONE, Entry, Live, Page
from flin.engine.key import KEYS_END
from flin.engine.memtable import PAGE_ENTRIES
from flin.engine.read import small_page
from flin.engine.read.merge import Passed
from flin.engine.read.read_path import from_memtables
from flin.engine.read.read_state import HEAD_ENTRIES, ReadState, count_plain, heads_of, live_pages
from flin.engine.reentry import holds_lock
from flin.engine.table.cold_read import ColdRead
from flin.engine.tree.commits import Commits
from flin.engine.tree.dead_stretches import Search

MAX_TOMBSTONES: Final = 64
"""The most tombstones that the head of a scan passes. If more come first, the pages of the scan find out how far they
reach. Both remember it: so a take from a queue costs the same, however many came before it."""

MAX_LOADS: Final = 64
"""The most blocks and tables that one load of a page reads: a page of 128 entries in eight runs needs some 16 of
each."""


class OrderedReads(Commits):
    """The store's reads in the order of keys."""

    def freeze(self) -> ReadState:
        """A state of everything as of now, which no write changes."""
        return self._exclusively(self._freeze_open)

    def pages(
        self,
        state: ReadState,
        start: bytes = b"",
        stop: bytes = KEYS_END,
        reverse: bool = False,
        *,
        values: bool = True,
    ) -> Iterator[Page]:
        """The live and the expired entries of a frozen state, page by page. Without `values` pointers stay pointers."""
        return live_pages(state.pages(start, stop, reverse=reverse, values=values))

    def scan(
        self,
        start: bytes,
        stop: bytes,
        *,
        reverse: bool = False,
        limit: int | None = None,
        nowait: bool = False,
        values: bool = True,
    ) -> Iterator[Page]:
        """All entries as of now, tombstones after the first live one included; with a limit, pages may end after that
        many plain values. `nowait`: ColdRead, here or with a page, instead of a wait for the disk. Without `values`
        pointers stay pointers.

        A scan with a limit copies the entries that it needs from the active memtables instead of freezing them."""
        passed = Passed()
        pages, search = self._exclusively(lambda: self._begin_scan(start, stop, reverse, limit, passed, nowait, values))
        return self._first_live(pages, search, passed, reverse) if search else self._noticed(pages, passed)

    def page(self, start: bytes, stop: bytes, count: int, *, reverse: bool = False, nowait: bool = False) -> Page:
        """The first `count` live entries of [start, stop), in a reverse page the last ones, downwards; fewer only if
        there are no more. The values must be plain. `nowait`: ColdRead instead of a wait for a block; its `load` reads
        everything that the page needs."""
        try:
            return self._page(start, stop, count, reverse, nowait)
        except ColdRead:
            raise ColdRead(partial(self._load_page, start, stop, count, reverse)) from None

    def _page(self, start: bytes, stop: bytes, count: int, reverse: bool, nowait: bool) -> Page:
        small = None if reverse or count > HEAD_ENTRIES else self._small_page(start, stop, count, nowait)
        if small is not None:
            return small
        keys: list[bytes] = []
        entries: list[Entry] = []
        for page in live_pages(self.scan(start, stop, reverse=reverse, limit=count, nowait=nowait)):
            keys += page[0]
            entries += page[1]
            if len(keys) >= count:
                break
        return keys[:count], entries[:count]

    def _small_page(self, start: bytes, stop: bytes, count: int, nowait: bool) -> Page | None:
        """Such a page, made at once (read/small_page.py); None if that does not do."""
        self.check_open()
        state, dead = self.state, self._dead.known
        shard = small_page.shard_of_range(start, stop, len(state.active))
        if shard is None or (dead and meets(dead, start, stop)):
            return None
        page = small_page.read(state, shard, start, stop, count, self._active_heads, nowait)
        return None if page is None else state.value_files.resolved_page(page, nowait=nowait)

    def _load_page(self, start: bytes, stop: bytes, count: int, reverse: bool) -> None:
        """Load block after block, as they are missed. If the cache cannot hold them, give up: the caller asks again."""
        for _ in range(MAX_LOADS):
            try:
                self._page(start, stop, count, reverse, nowait=True)
                return
            except ColdRead as cold:
                cold.load()

    def read_near(self, keys: Sequence[bytes], *, nowait: bool = False) -> list[Live | None]:
        """What `read` gives for each of some ascending keys with few others between them, all of one shard: one look
        at the tables for all. nowait: ColdRead where it would wait for the disk."""
        try:
            return self._read_near(keys, nowait)
        except ColdRead:
            raise ColdRead(partial(self._load_near, keys)) from None

    def _read_near(self, keys: Sequence[bytes], nowait: bool) -> list[Live | None]:
        state = self.state
        shard = state.shard_of(keys[0])
        memtables = (state.active[shard], *state.older[shard])
        found: list[Entry | None]
        if any(memtable.deleted for memtable in memtables):
            found = [from_memtables(state, shard, key) for key in keys]
        else:
            newest: Iterator[Entry | None] = repeat(None)
            for memtable in reversed(memtables):
                newest = map(cast("Any", memtable.entries.get), keys, newest)
            found = list(newest)
        missing = [key for key, entry in zip(keys, found, strict=True) if entry is None]
        if missing:
            below: dict[bytes, Entry] = {}
            for page in state.table_pages(shard, missing[0], missing[-1] + b"\0", nowait=nowait):
                below.update(zip(*page, strict=True))
            wanted = [key for key in missing if key in below]
            of_tables = state.value_files.resolved_page((wanted, [below[key] for key in wanted]), nowait=nowait)
            below = dict(zip(*of_tables, strict=True))
            found = [below.get(key) if entry is None else entry for key, entry in zip(keys, found, strict=True)]
        return [None if entry is TOMBSTONE else entry for entry in found]

    def _load_near(self, keys: Sequence[bytes]) -> None:
        """As `_load_page`."""
        for _ in range(MAX_LOADS):
            try:
                self._read_near(keys, True)
                return
            except ColdRead as cold:
                cold.load()

    def _begin_scan(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None, passed: Passed, nowait: bool, values: bool
    ) -> tuple[Iterator[Page], Search | None]:
        size = PAGE_ENTRIES if limit is None else min(2 * limit + 16, PAGE_ENTRIES)
        self.check_open()
        dead = self._dead.known
        start, stop = (start, skip_back((dead,), stop)) if reverse else (skip((dead,), start), stop)
        if start >= stop:
            return iter(()), None
        state = self.state
        if (
            self._control.times_held() > 1
        ):  # in the middle of a commit, which may have reported its keys to the stretches already
            return state.with_copies(dead).pages(start, stop, reverse=reverse, nowait=nowait, values=values), None
        bounds = [copy_bounded(memtable, start, stop, reverse, size, limit) for memtable in state.active]
        if None in bounds:
            pages = self._freeze().pages(start, stop, reverse=reverse, passed=passed, nowait=nowait, values=values)
        else:
            whole = [bound for bound in bounds if bound]
            pages = state.bounded_pages(whole, reverse=reverse, dead=dead, passed=passed, nowait=nowait, values=values)
        return pages, self._begin_search(start, stop) if self._dead.learns else None

    def _noticed(self, pages: Iterator[Page], passed: Passed) -> Iterator[Page]:
        """Pass the pages on. If the first shows that scans pass many tombstones, later scans find out how far they
        reach."""
        for page in pages:
            live = _first_live_at(page)
            if live is None or passed.keys + live > MAX_TOMBSTONES:
                self._dead.learns = True
            return chain((page,), pages)
        return iter(())

    def _first_live(self, pages: Iterator[Page], search: Search, passed: Passed, reverse: bool) -> Iterator[Page]:
        """The pages from the first live entry on. If many tombstones come before it, that is remembered."""
        start, stop = search.start, search.stop
        found: list[Page] = []
        try:
            for page in pages:
                at = _first_live_at(page)
                passed.keys += len(page[0]) if at is None else at
                if at is not None:
                    found.append(page)
                    start, stop = (page[0][at] + b"\0", stop) if reverse else (start, page[0][at])
                    break
            if passed.keys <= MAX_TOMBSTONES:
                start = stop
        except BaseException:
            start = stop
            raise
        finally:
            self._exclusively(lambda: self._end_search(search, start, stop))
        return chain(found, pages)

    def _begin_search(self, start: bytes, stop: bytes) -> Search:
        return self._dead.begin(start, stop)

    def _end_search(self, search: Search, start: bytes, stop: bytes) -> None:
        self._dead.end(search, start, stop)

    @holds_lock
    def _active_heads(
        self, active: Memtables, deleted: Boundaries, dead: Boundaries, start: bytes, stop: bytes, count: int
    ) -> list[Page] | None:
        """Call heads_of while writers are locked out, once for all shards: so a batch is seen whole.

        Written out: tree.turns.Turns._exclusively"""
        with self._commit_lock:
            before, self._blocked = self._blocked, True
            try:
                heads = heads_of(active, deleted, dead, start, stop, count)
            finally:
                self._blocked = before or self._must_wait
        if self._control.put_off:
            self._commit_put_off()
        return heads

    def first(self, start: bytes, stop: bytes, count: int) -> Page | None:
        """The first entries of [start, stop), tombstones included; None if too many are hidden."""
        if not self._dead.heeds_puts:  # no dead stretch is known
            return self.state.head(start, stop, count, self._active_heads)
        dead = self._dead
        parted = dead.parted
        page = self.state.head(start, stop, count, self._active_heads, dead.known)
        return page if dead.parted == parted else None

    def head(self, start: bytes, stop: bytes, limit: int, *, values: bool = True) -> Page | None:
        """The beginning of such a scan in one page, with `limit` plain values, or all there are. None if that takes
        more: a larger limit, many hidden entries, many tombstones. Without `values` pointers stay pointers."""
        if limit > HEAD_ENTRIES:
            return None
        dead = self._dead
        parted = dead.parted
        page = self.state.plain_head(start, stop, limit, self._active_heads, dead.known, values=values)
        if page is None:
            page = self._long_head(start, stop, limit, values)
        return page if dead.parted == parted else None

    def _long_head(self, start: bytes, stop: bytes, limit: int, values: bool) -> Page | None:
        """What `head` gives, after some more tombstones; how far they reach is remembered."""
        count = limit + MAX_TOMBSTONES
        if self._control.times_held():  # as in `_begin_scan`
            return None
        search = self._exclusively(lambda: self._begin_search(start, stop))
        dead_stop = b""
        try:
            page = self.state.head(start, stop, count, self._active_heads, self._dead.known, values=values)
            at = _first_live_at(page) if page is not None else None
            if at != 0:
                self._dead.learns = True
            if page is not None:
                if at is not None:
                    dead_stop = page[0][at]
                elif len(page[0]) < count:
                    dead_stop = stop
        finally:
            self._exclusively(lambda: self._end_search(search, start, dead_stop))
        whole = page is not None and len(page[0]) < count
        return page if whole or (page and count_plain(page[1]) >= limit) else None


def _first_live_at(page: Page) -> int | None:
    """The index of the first entry that is no tombstone."""
    return next((number for number, entry in enumerate(page[1]) if entry is not TOMBSTONE), None)
