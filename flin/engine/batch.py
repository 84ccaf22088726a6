"""A write batch: writes that become one atomic commit, over all shards. They can be read before the commit.

A batch is a memtable (memtable.py) that nobody else sees yet, with the same rule for range deletes: they are older than
its points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from flin.engine.boundaries import meets
from flin.engine.buffers import BytesLike, as_bytes, as_stored
from flin.engine.catalog.generation import copy_bounded
from flin.engine.entry import TOMBSTONE, Entry, Live, Page, make_entry
from flin.engine.key import USER_END
from flin.engine.memtable import FIRST_ENTRIES, PAGE_ENTRIES, Memtable
from flin.engine.pairs import Pairs, points_of
from flin.engine.prefixed import PrefixedBatch
from flin.engine.read.merge import Source, merge_pages
from flin.engine.typed import TypedBatches
from flin.engine.view import View, scan_bounds
from flin.engine.writable_view import Ttl, WritableView
from flin.errors import ClosedError


class WriteBatch(WritableView, TypedBatches):
    """A batch made by `Engine.write_batch()`. Leaving the `with` block commits it; an exception inside discards it.

    Reads through the batch see its own writes, and below them the engine's data. Calls that read before they write
    (`pop`, `del`, `setdefault`) see the data of that moment; others may change it before the batch commits. Use a batch
    in one thread at a time.
    """

    _name = "write batch"

    def __init__(self, below: View, commit: Callable[..., None]) -> None:
        """`below` is read where the batch says nothing. `commit` is given the memtable at the end (and what a
        transaction calls first)."""
        self._below = below
        self._commit = commit
        self._memtable = Memtable()
        self._ended = False

    def put(self, key: BytesLike, value: BytesLike, *, ttl: Ttl | None = None) -> None:
        self._check_open()
        expires_at_ms = 0 if ttl is None else self._expires_at_ms(ttl)
        self._memtable.entries[as_stored(key)] = make_entry(as_bytes("a value", value), expires_at_ms)

    def put_many(self, pairs: Pairs, *, ttl: Ttl | None = None) -> None:
        self._check_open()
        points = points_of(pairs)
        if ttl is None:
            self._memtable.entries.update(points)
        else:
            expires_at_ms = self._expires_at_ms(ttl)
            self._memtable.entries.update((key, (value, expires_at_ms, 0)) for key, value in points.items())

    def delete(self, key: BytesLike) -> None:
        self._check_open()
        self._memtable.entries[as_stored(key)] = TOMBSTONE

    def delete_many(self, keys: Iterable[BytesLike]) -> None:
        self._check_open()
        self._memtable.entries.update(dict.fromkeys(map(as_stored, keys), TOMBSTONE))

    def delete_range(self, start: BytesLike, stop: BytesLike) -> None:
        """Delete the keys from start (inclusive) to stop (exclusive)."""
        self._delete_bounds(*scan_bounds(None, start, stop, True, False))

    def delete_prefix(self, prefix: BytesLike) -> None:
        self._delete_bounds(*scan_bounds(prefix, None, None, True, False))

    def prefixed(self, prefix: BytesLike) -> PrefixedBatch:
        """The keys that begin with the prefix, without it; what is written there is part of this batch."""
        return PrefixedBatch(self, prefix)

    @property
    def writes(self) -> int:
        """The number of writes of a commit: one for each key that was written, and the range deletes."""
        return self._memtable.size

    # The mapping protocol.

    def clear(self) -> None:
        """Delete every key."""
        self._delete_bounds(b"", USER_END)

    # Its end.

    def commit(self) -> None:
        """Commit now. The batch cannot be used any more."""
        self._check_open()
        self._ended = True
        self._commit(self._memtable)

    def discard(self) -> None:
        """Discard the writes. The batch cannot be used any more."""
        self._ended = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            return
        if kind is None:
            self.commit()
        else:
            self.discard()

    def _delete_bounds(self, start: bytes, stop: bytes) -> None:
        self._check_open()
        if start < stop:
            self._memtable.delete_range(start, stop)

    def _update(self, key: BytesLike, decide: Callable[[Live | None], Entry | None]) -> None:
        stored = as_stored(key)
        entry = decide(self._read(stored))
        if entry is not None:
            self._memtable.entries[stored] = entry

    def _read(self, stored: bytes, *, values: bool = True) -> Live | None:
        self._check_open()
        entry = self._memtable.get(stored)
        if entry is None:
            return self._below._read(stored, values=values)
        return None if entry is TOMBSTONE else entry

    def _first(self, start: bytes, stop: bytes, count: int) -> Page | None:
        self._check_open()
        return self._below._first(start, stop, count) if self._is_silent(start, stop) else None

    def _head(self, start: bytes, stop: bytes, limit: int, *, values: bool = True) -> Page | None:
        self._check_open()
        return self._below._head(start, stop, limit, values=values) if self._is_silent(start, stop) else None

    def _is_silent(self, start: bytes, stop: bytes) -> bool:
        """Whether the batch has written nothing in a range: then it has what lies below."""
        mine = self._memtable
        return not mine or not (meets(mine.deleted, start, stop) or mine.head(start, stop, 1)[0])

    def _pages(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None, *, values: bool = True
    ) -> Iterator[Page]:
        self._check_open()
        mine = self._memtable
        if not mine:
            return self._below._pages(start, stop, reverse, limit, values=values)
        own, start, stop, count = self._own_pages(start, stop, reverse, limit)
        most = None
        if limit is not None and count is not None and not mine.deleted:
            most = limit + count  # each of the batch's own entries hides one below at most
        below = self._below._pages(start, stop, reverse, most, values=values)
        return merge_pages([Source(own, list(mine.deleted)), Source(below)], reverse=reverse)

    def _own_pages(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None
    ) -> tuple[Iterable[Page], bytes, bytes, int | None]:
        """Pages of the batch's own entries, which later writes do not change; the bounds within which they are
        complete; and their number, if there are few: with a limit they need not be all."""
        mine = self._memtable
        if limit is not None:
            size = min(2 * limit + FIRST_ENTRIES, PAGE_ENTRIES)
            bounded = copy_bounded(mine, start, stop, reverse, size, limit)
            if bounded is not None:
                page, start, stop = bounded
                return [page], start, stop, len(page[0])
        return self._writes_so_far().pages(start, stop, reverse=reverse), start, stop, None

    def _writes_so_far(self) -> Memtable:
        return Memtable(dict(self._memtable.entries), self._memtable.deleted)

    def _now_ms(self) -> int:
        return self._below._now_ms()

    def _frozen(self) -> View:
        self._check_open()
        frozen = WriteBatch(self._below._frozen(), self._commit)
        frozen._memtable = self._writes_so_far()
        return frozen

    def _check_open(self) -> None:
        if self._ended:
            raise ClosedError(f"the {self._name} was committed or discarded")
