"""A write batch: writes that become one atomic commit, over all shards. They can be read before the commit.

A batch is a memtable (memtable.py) that nobody else sees yet, with the same rule for range deletes: they are older than
its points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

from flin.engine.buffers import BytesLike, as_bytes, as_stored
from flin.engine.entry import TOMBSTONE, Entry, Live, Page, make_entry
from flin.engine.key import USER_END
from flin.engine.memtable import Memtable
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

    def __init__(self, below: View, commit: Callable[[Memtable], None]) -> None:
        """`below` is read where the batch says nothing. `commit` is given the memtable at the end."""
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

    def __enter__(self) -> WriteBatch:
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

    def _pages(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None, *, values: bool = True
    ) -> Iterator[Page]:
        self._check_open()
        frozen = self._writes_so_far()  # later ones are not for this scan
        mine = Source(frozen.pages(start, stop, reverse=reverse), frozen.deleted)
        return merge_pages(
            [mine, Source(self._below._pages(start, stop, reverse, None, values=values))], reverse=reverse
        )

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
            raise ClosedError("the write batch was committed or discarded")
