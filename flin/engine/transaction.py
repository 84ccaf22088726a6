"""Transactions: several reads and writes as one, as if nobody else did anything meanwhile.

Theory. A transaction is a write batch that remembers what it has read. It is optimistic: nobody waits for it. Each read
goes to the live data and is given out only if nobody has written there since the transaction began, so all that it sees
is of that one moment. The commit asks once more for all reads, under the lock under which writes are made: if nothing
has changed, it is as if all reads and writes had happened then (serializable). If something has, ConflictError, and
nothing is written. A transaction that writes nothing has seen one moment, and need not ask again.

A scan counts as read from its beginning to the last key that was taken from it, or to its end: so a key that somebody
adds, removes or changes in between is a conflict, also one that was not there to be found. A key that is looked up and
absent is read, too.

What was written is asked of tree/recent_writes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import length_hint
from typing import Final, NoReturn

from flin.engine.batch import WriteBatch
from flin.engine.boundaries import Boundaries, boundaries_of, covers, meets
from flin.engine.buffers import BytesLike
from flin.engine.entry import TOMBSTONE, Live, Page, Range
from flin.engine.key import stored_key
from flin.engine.memtable import Memtable
from flin.engine.prefixed import PrefixedTransaction
from flin.engine.tree.recent_writes import Change, RecentWrites
from flin.engine.tree.store import Store
from flin.engine.typed import TypedTransactions
from flin.engine.updates import Updates
from flin.engine.view import View, visible_keys, visible_pages
from flin.errors import ConflictError

MAX_CHANGES: Final = 256
"""With more changes since it began, a transaction looks at them before it takes the commit lock, and under it only at
those that come meanwhile: each takes up to 0.2 µs."""


class Transaction(TypedTransactions, WriteBatch, Updates):
    """A transaction made by `Engine.transaction()`. Leaving the `with` block commits it; an exception discards it.

    It is a mapping of all that there is, its own writes included. A read or the commit raises ConflictError if somebody
    has changed meanwhile what the transaction has read; then nothing of it is written, and the caller begins another
    one (`Engine.transactional` does so by itself). Its clock stands still: what expires meanwhile is still there.

    Use it in one thread at a time. Any number may be open at once, in one thread, too: each is on its own, one inside
    another is no part of it. What the program writes through the engine meanwhile is a change by somebody else.
    """

    _name = "transaction"

    def __init__(
        self, below: View, store: Store, commit: Callable[[Memtable, Callable[[RecentWrites], None]], None]
    ) -> None:
        super().__init__(below, commit)
        self._store = store
        self._begun = store.begin_transaction()
        self._sequence = self._begun.sequence
        self._was_checked = False  # with success; so it has ended
        self._keys: set[bytes] = set()  # stored keys that were read
        self._scans: list[_Scan] = []
        self.conflict: str | None = None
        """The first conflict that was found; then it cannot commit any more."""

    def prefixed(self, prefix: BytesLike) -> PrefixedTransaction:
        """The keys that begin with the prefix, without it: what is read and written there is in this transaction."""
        return PrefixedTransaction(self, prefix)

    # Its end.

    def commit(self) -> None:
        """Commit now. ConflictError if something that was read has changed; nothing is written then. The transaction
        cannot be used any more."""
        self._check_open()
        self._ended = True
        try:
            if self.conflict is not None:
                raise ConflictError(self.conflict)
            if self._memtable:
                self._commit(self._memtable, self._checking())
        finally:
            if not self._was_checked:
                self._store.end_transaction(self._begun)

    def discard(self) -> None:
        """Discard the writes. The transaction cannot be used any more."""
        if not self._ended:
            self._ended = True
            self._store.end_transaction(self._begun)

    def _checking(self) -> Callable[[RecentWrites], None]:
        """What to call before the commit, when nobody writes."""
        covered = boundaries_of([bounds for scan in self._scans if (bounds := scan.bounds())[0] < bounds[1]])
        checked = self._sequence
        reads = bool(self._keys or covered)
        if reads and self._store.count_since(checked) > MAX_CHANGES:
            changes, checked = self._changes_since(checked)
            self._check(changes, covered)

        def check(recent: RecentWrites) -> None:
            if reads:
                self._check(recent.since(checked), covered)
            recent.end(self._begun)  # its own writes are not noted for itself
            self._was_checked = True

        return check

    def _check(self, changes: Sequence[Change] | None, covered: Boundaries) -> None:
        """ConflictError if one of the changes is of something that was read; None: that is not known."""
        if changes is None:
            self._fail(None)
        keys = self._keys
        if not keys.isdisjoint(changes):
            self._fail(next(change for change in changes if change in keys))
        for change in changes:
            if type(change) is tuple:
                start, stop = change
                if meets(covered, start, stop) or any(start <= key < stop for key in keys):
                    self._fail(change)
            elif covered and covers(covered, change):  # type: ignore[arg-type]  # bytes
                self._fail(change)

    def _changes_since(self, sequence: int) -> tuple[Sequence[Change], int]:
        found = self._store.changes_since(sequence)
        if found is None:
            self._fail(None)
        return found

    def _fail(self, change: Change | None) -> NoReturn:
        """`change`: by somebody else; None: it is not known what has changed."""
        if change is None or self._store.changes_since(self._sequence) is None:
            reason = "the transaction is too old: since it began more was written than is remembered of writes"
        elif type(change) is tuple:
            reason = f"keys from {change[0][:40]!r} on were deleted since the transaction began, and it has read there"
        else:
            reason = f"the key {change[:40]!r} was written since the transaction began, which has read it"
        self.conflict = self.conflict or reason
        raise ConflictError(reason)

    # Reading.

    def _read(self, stored: bytes, *, values: bool = True) -> Live | None:
        self._check_open()
        entry = self._memtable.get(stored)
        if entry is None:
            entry = self._store.read(stored, values=values)
            self._keys.add(stored)
            if self._store.written_since(stored, self._sequence):
                self._fail(stored)
        return None if entry is TOMBSTONE else entry

    def _pages(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None, *, values: bool = True
    ) -> Iterator[Page]:
        """For views, of collections and others: all of the range counts as read."""
        pages = super()._pages(start, stop, reverse, limit, values=values)
        scan = self._begin_scan(start, stop, reverse)
        if scan.barrier is not None:
            self._fail(scan.barrier)
        scan.ended = True
        return pages

    def _first(self, start: bytes, stop: bytes, count: int) -> Page | None:
        """None: what is read by pages is remembered."""
        return None

    def _head(self, start: bytes, stop: bytes, limit: int, *, values: bool = True) -> Page | None:
        return None

    def _begin_pages(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None, *, values: bool = True
    ) -> Iterator[Page]:
        """The pages of a scan, which the caller remembers; of a short one just the first, if that is at hand."""
        head = None if limit is None or reverse else super()._head(start, stop, limit, values=values)
        return super()._pages(start, stop, reverse, limit, values=values) if head is None else iter((head,))

    def _visible(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None
    ) -> Iterable[tuple[Iterable[bytes], list[bytes]]]:
        if start >= stop or limit == 0:
            self._check_open()
            return ()
        pages = self._begin_pages(start, stop, reverse, limit)
        scan = self._begin_scan(start, stop, reverse)
        return self._taken(scan, limit, visible_pages(pages, self._now_ms(), self._value_at))

    def _visible_keys(self, start: bytes, stop: bytes, reverse: bool, limit: int | None) -> Iterable[Iterable[bytes]]:
        if start >= stop or limit == 0:
            self._check_open()
            return ()
        pages = self._begin_pages(start, stop, reverse, limit, values=False)
        scan = self._begin_scan(start, stop, reverse)
        visible = visible_keys(pages, self._now_ms(), self._has_value)
        return (keys for keys, _ in self._taken(scan, limit, ((keys, keys) for keys in visible)))

    def _now_ms(self) -> int:
        return self._begun.now_ms

    def _frozen(self) -> View:
        self._check_open()
        return _FrozenTransaction(self, self._writes_so_far())

    def _begin_scan(self, start: bytes, stop: bytes, reverse: bool) -> _Scan:
        """Called when the scan has its state: what was written before that, it may show."""
        changes, _ = self._changes_since(self._sequence)
        scan = _Scan(start, stop, reverse, changes)
        self._scans.append(scan)
        return scan

    def _taken(
        self, scan: _Scan, limit: int | None, pages: Iterable[tuple[list[bytes], list[bytes]]]
    ) -> Iterator[tuple[Iterable[bytes], list[bytes]]]:
        """The pages of the scan, up to the first key that was written since the transaction began. With a limit they
        may end after that many keys, which is not the end of the scan."""
        passed = 0
        for keys, values in pages:
            self._check_open()
            passed += len(keys)
            count = len(keys) if scan.barrier is None else scan.count_before_barrier(keys)
            yield scan.take(keys[:count]), values
            if count < len(keys):
                self._fail(scan.barrier)
        if limit is None or passed < limit:
            scan.ended = True
            if scan.barrier is not None:
                self._fail(scan.barrier)


class _FrozenTransaction(Transaction):
    """A transaction with its writes of one moment: what is read of it is read in the transaction."""

    def __init__(self, whole: Transaction, written: Memtable) -> None:
        self.__dict__.update(whole.__dict__)
        self._memtable = written
        self._whole = whole

    def _check_open(self) -> None:
        self._whole._check_open()

    def _fail(self, change: Change | None) -> NoReturn:
        self._whole._fail(change)


class _Scan:
    """A scan of [start, stop), and how far somebody has taken it."""

    __slots__ = ("_iterator", "_page", "_taken", "barrier", "ended", "reverse", "start", "stop")

    def __init__(self, start: bytes, stop: bytes, reverse: bool, changes: Iterable[Change]) -> None:
        self.start = start
        self.stop = stop
        self.reverse = reverse
        self.ended = False
        """All was taken."""
        self.barrier = _first_of(changes, start, stop, reverse)
        """The first key that was written between the beginnings of the transaction and of the scan."""
        self._page: list[bytes] = []
        self._iterator: Iterator[bytes] = iter(())
        self._taken: bytes | None = None  # the last key of the pages before

    def take(self, page: list[bytes]) -> Iterator[bytes]:
        """The keys of the next page. Their iterator knows how many were taken, and costs nothing."""
        if self._page:
            self._taken = self._page[-1]
        self._page, self._iterator = page, iter(page)
        return self._iterator

    def bounds(self) -> Range:
        """What was read; nothing of it if both are equal."""
        if self.ended:
            return self.start, self.stop
        count = len(self._page) - length_hint(self._iterator)
        last = self._page[count - 1] if count else self._taken
        if last is None:
            return self.start, self.start
        return (stored_key(last), self.stop) if self.reverse else (self.start, stored_key(last) + b"\0")

    def count_before_barrier(self, keys: Iterable[bytes]) -> int:
        """How many of the keys come before the barrier."""
        barrier = self.barrier
        assert barrier is not None
        return sum(stored_key(key) >= barrier if self.reverse else stored_key(key) < barrier for key in keys)


def _first_of(changes: Iterable[Change], start: bytes, stop: bytes, reverse: bool) -> bytes | None:
    """Where a scan of [start, stop) meets the first of the changes: forwards the first key that it may not show, in
    reverse the last that it may."""
    keys = [change for change in changes if type(change) is bytes and start <= change < stop]
    ranges = [change for change in changes if type(change) is tuple and change[0] < stop and start < change[1]]
    if reverse:
        return max([*(key + b"\0" for key in keys), *(min(each[1], stop) for each in ranges)], default=None)
    return min([*keys, *(max(each[0], start) for each in ranges)], default=None)
