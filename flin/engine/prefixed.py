"""Part of a database below a prefix, as a database of its own: its keys are those that begin with the prefix, without
it.

    users = db.prefixed(b"user:")
    users[b"1"] = b"Ada"            # db[b"user:1"]

Each call adds the prefix to the keys that it is given and cuts it off those that it returns; all else is done by what
is below: an engine, a snapshot, a batch. So a part has what these promise, and nothing of it reaches beyond the prefix.
A prefix below a prefix is the two joined: there is never more than one part between a call and the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import length_hint
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from flin.engine.buffers import BytesLike, as_bytes
from flin.engine.entry import Entry, Live, Page
from flin.engine.feed import Feed
from flin.engine.key import USER_END, prefix_stop, stored_key, user_key
from flin.engine.memoize import Memoizing
from flin.engine.pairs import Pairs, points_of
from flin.engine.put_options import PutOptions, SyncOption
from flin.engine.transactional import Decorator
from flin.engine.typed import TypedBatches, TypedEngines, TypedSnapshots, TypedTransactions
from flin.engine.updates import Updates
from flin.engine.view import View
from flin.engine.writable_view import WritableView

Default = TypeVar("Default")


class PrefixedView(View):
    """All read calls, of the keys that begin with a prefix."""

    def __init__(self, below: View, prefix: BytesLike) -> None:
        self._below: Any = below  # with the calls of the class; a transaction has them, too
        self._prefix = as_bytes("a prefix", prefix)
        if not self._prefix:
            raise ValueError("an empty prefix is that of every key: use the database itself")
        above = prefix_stop(self._prefix)
        self._end = USER_END if above is None else stored_key(above)

    @property
    def prefix(self) -> bytes:
        return self._prefix

    def prefixed(self, prefix: BytesLike) -> Self:
        return type(self)(self._below, self._prefix + as_bytes("a prefix", prefix))

    # The mapping's reads.

    @overload
    def get(self, key: BytesLike) -> bytes | None: ...
    @overload
    def get(self, key: BytesLike, default: Default) -> bytes | Default: ...
    def get(self, key: BytesLike, default: object = None) -> object:
        """The value of the key, or the default."""
        return self._below.get(self._whole(key), default)

    # What it is made of (view.py): stored keys without the prefix, and with it.

    def _whole(self, key: object) -> bytes:
        """The key of the database below."""
        return self._prefix + as_bytes("a key", key)

    def _read(self, stored: bytes, *, values: bool = True) -> Live | None:
        entry: Live | None = self._below._read(stored_key(self._prefix + user_key(stored)), values=values)
        return entry

    def _first(self, start: bytes, stop: bytes, count: int) -> Page | None:
        page: Page | None = self._below._first(*self._bounds(start, stop), count)
        return None if page is None else self._without(page)

    def _visible(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None
    ) -> Iterable[tuple[Any, list[bytes]]]:
        pages = self._below._visible(*self._bounds(start, stop), reverse, limit)
        return ((self._cut_off(keys), values) for keys, values in pages)

    def _visible_keys(self, start: bytes, stop: bytes, reverse: bool, limit: int | None) -> Iterable[Any]:
        return map(self._cut_off, self._below._visible_keys(*self._bounds(start, stop), reverse, limit))

    def _pages(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None, *, values: bool = True
    ) -> Iterator[Page]:
        pages: Iterator[Page] = self._below._pages(*self._bounds(start, stop), reverse, limit, values=values)
        return map(self._without, pages)

    def _bounds(self, start: bytes, stop: bytes) -> tuple[bytes, bytes]:
        end = self._end if stop >= USER_END else stored_key(self._prefix + user_key(stop))
        return stored_key(self._prefix + user_key(start)), end

    def _cut_off(self, keys: Iterable[bytes]) -> Iterable[bytes]:
        """User keys without the prefix. A transaction notes which of its keys are taken: so they are cut one by one."""
        if isinstance(keys, list):
            length = len(self._prefix)
            return [key[length:] for key in keys]
        return _Cut(keys, len(self._prefix))

    def _without(self, page: Page) -> Page:
        """A page of stored keys without the prefix."""
        length = len(stored_key(self._prefix))
        keys = [key[length:] for key in page[0]]
        if keys and (keys[0] >= b"\xff" or keys[-1] >= b"\xff"):
            keys = [stored_key(key) for key in keys]
        return keys, page[1]

    def _now_ms(self) -> int:
        now_ms: int = self._below._now_ms()
        return now_ms

    def _check_open(self) -> None:
        self._below._check_open()

    def _frozen(self) -> View:
        return PrefixedView(self._below._frozen(), self._prefix)

    # Keys of other types (typed_keys.py): what they hold is found by the whole key.

    def _whole_key(self, key: BytesLike) -> bytes:
        return self._whole(key)

    def _reading(self, *, values: bool = True) -> Any:
        return self._below._reading(values=values)

    def _value_at(self, entry: Entry | None, now_ms: int) -> bytes | None:
        value: bytes | None = self._below._value_at(entry, now_ms)
        return value


class _Cut:
    """An iterator over keys without their first bytes, which knows how many are left if the other one does."""

    __slots__ = ("_keys", "_length")

    def __init__(self, keys: Iterable[bytes], length: int) -> None:
        self._keys = iter(keys)
        self._length = length

    def __iter__(self) -> _Cut:
        return self

    def __next__(self) -> bytes:
        return next(self._keys)[self._length :]

    def __length_hint__(self) -> int:
        return length_hint(self._keys)


class PrefixedWrites(PrefixedView, WritableView):
    """And the write calls that an engine and a batch have."""

    def put(self, key: BytesLike, value: BytesLike, **options: Unpack[PutOptions]) -> None:
        self._below.put(self._whole(key), value, **options)

    def put_many(self, pairs: Pairs, **options: Unpack[PutOptions]) -> None:
        prefix = self._prefix
        points = {prefix + user_key(stored): value for stored, value in points_of(pairs).items()}
        self._below.put_many(points, **options)

    def delete(self, key: BytesLike, **options: Unpack[SyncOption]) -> None:
        self._below.delete(self._whole(key), **options)

    def delete_many(self, keys: Iterable[BytesLike], **options: Unpack[SyncOption]) -> None:
        self._below.delete_many([self._whole(key) for key in keys], **options)

    def delete_range(self, start: BytesLike, stop: BytesLike, **options: Unpack[SyncOption]) -> None:
        """Delete the keys from start (inclusive) to stop (exclusive)."""
        self._below.delete_range(self._whole(start), self._whole(stop), **options)

    def delete_prefix(self, prefix: BytesLike, **options: Unpack[SyncOption]) -> None:
        self._below.delete_prefix(self._prefix + as_bytes("a prefix", prefix), **options)

    def clear(self) -> None:
        """Delete every key that begins with the prefix: one small write."""
        self._below.delete_prefix(self._prefix)

    def _update(self, key: BytesLike, decide: Callable[[Live | None], Entry | None]) -> None:
        self._below._update(self._whole(key), decide)

    def _delete_bounds(self, start: bytes, stop: bytes) -> None:
        if start < stop:
            self._below._delete_bounds(*self._bounds(start, stop))


class _Closable(PrefixedView):
    """What is used by `with` ends what is below."""

    def __enter__(self) -> Self:
        self._below.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._below.__exit__(kind, error, trace)


class PrefixedSnapshot(_Closable, TypedSnapshots):
    """A snapshot below a prefix."""

    def close(self) -> None:
        """Close the snapshot itself."""
        self._below.close()


class PrefixedBatch(PrefixedWrites, _Closable, TypedBatches):
    """A batch below a prefix: its commit is that of the whole batch."""

    @property
    def writes(self) -> int:
        """The number of writes of the whole batch."""
        count: int = self._below.writes
        return count

    def commit(self) -> None:
        self._below.commit()

    def discard(self) -> None:
        self._below.discard()


class PrefixedTransaction(TypedTransactions, PrefixedBatch, Updates):
    """A transaction below a prefix: its commit is that of the whole transaction."""

    @property
    def conflict(self) -> str | None:
        """The first conflict that was found; then it cannot commit any more."""
        found: str | None = self._below.conflict
        return found


class PrefixedEngine(PrefixedWrites, Updates, TypedEngines, Memoizing):
    """An engine's calls below a prefix. It has no end of its own: it is closed with the engine."""

    def compact(self, start: BytesLike | None = None, stop: BytesLike | None = None) -> None:
        """Flush, and merge the tables that overlap this part, or a range of it, as `Engine.compact` does."""
        self._below.compact(*self._range(start, stop))

    def approximate_size(self, start: BytesLike | None = None, stop: BytesLike | None = None) -> int:
        """About how many bytes this part, or a range of it, takes on disk: see `Engine.approximate_size`."""
        size: int = self._below.approximate_size(*self._range(start, stop))
        return size

    def _range(self, start: BytesLike | None, stop: BytesLike | None) -> tuple[bytes, bytes | None]:
        """The range of the database below."""
        low = self._prefix if start is None else self._whole(start)
        return low, prefix_stop(self._prefix) if stop is None else self._whole(stop)

    def write_batch(self, *, sync: bool | None = None) -> PrefixedBatch:
        """`with part.write_batch() as batch`: its writes become one atomic commit."""
        return PrefixedBatch(self._below.write_batch(sync=sync), self._prefix)

    def transaction(self, *, sync: bool | None = None) -> PrefixedTransaction:
        """`with part.transaction() as t`: reads and writes as one, as `Engine.transaction`."""
        return PrefixedTransaction(self._below.transaction(sync=sync), self._prefix)

    def transactional(self, *, retries: int = 10, sync: bool | None = None) -> Decorator[PrefixedTransaction]:
        """`@part.transactional(retries=10)`: as `Engine.transactional`; the function gets a transaction below the
        prefix."""
        return Decorator(lambda: self.transaction(sync=sync), retries)

    def watch(
        self, prefix: BytesLike = b"", *, since: int | None = None, durable: bool = False, timeout: float | None = None
    ) -> Feed:
        """`for event in part.watch()`: every commit in this part as events, as `Engine.watch`, with keys without the
        prefix. A range delete that goes beyond the part has no `stop`."""
        feed: Feed = self._below._feed(prefix, since, durable=durable, timeout=timeout, part=self._prefix)
        return feed

    def snapshot(self) -> PrefixedSnapshot:
        """`with part.snapshot() as view`: all read calls, on the data as it is now."""
        return PrefixedSnapshot(self._below.snapshot(), self._prefix)
