"""The read calls, which an engine, a snapshot and a write batch share.

Each of these defines how to read one entry and pages of entries. Everything else is here: converting user keys to
stored keys and back, bounds, expiry. Tagged entries (types of the server) are absent for embedded users.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from itertools import starmap
from operator import index, length_hint
from typing import Any, Final, Literal, NoReturn, overload

from flin.engine.buffers import BytesLike, Default, as_bytes, as_stored
from flin.engine.entry import Entry, Live, Page, Pointer, is_alive, value_at
from flin.engine.key import USER_END, prefix_stop, stored_key, user_key
from flin.engine.mapping_views import Items, Keys, Values
from flin.engine.read.read_state import HEAD_ENTRIES
from flin.engine.scan_iterator import Limited, Paged, Paired
from flin.engine.seekable_iterator import SeekableIterator
from flin.engine.typed_keys import TypedKeys

_PLAIN: Final = {bytes}
_VALUES: Final = {bytes, Pointer}


class View(TypedKeys, Mapping[bytes, bytes]):
    """Ordered reads over keys and values that are bytes: a mapping in key order.

    Python makes `dict(db)` and `{**db}` in two steps: all keys, then one lookup for each. If a key expires or is
    deleted in between, that raises KeyError. `dict(db.items())` is one scan of the data at one moment, and faster.

    `==` compares identity: it says whether both are the same object, and never reads the data.
    """

    def _first(self, start: bytes, stop: bytes, count: int) -> Page | None:
        """The first `count` entries of [start, stop), or all if there are fewer; None if only the pages can tell.
        The caller owns the page.
        """
        return None

    def _head(self, start: bytes, stop: bytes, limit: int, *, values: bool = True) -> Page | None:
        """The first entries of [start, stop), with at least `limit` plain values, or all; None if only the pages can
        tell. The caller owns the page. Without `values` those that are not at hand stay pointers."""
        return None

    @abstractmethod
    def _frozen(self) -> View:
        """A view of the data as it is now, whatever is written later."""

    @abstractmethod
    def _check_open(self) -> None:
        """Raise ClosedError if nothing can be read any more, even in a call that has nothing to read."""

    @overload
    def get(self, key: BytesLike) -> bytes | None: ...
    @overload
    def get(self, key: BytesLike, default: Default) -> bytes | Default: ...
    def get(self, key: BytesLike, default: object = None) -> object:
        """The value of the key, or the default. (Written out in Engine.get.)"""
        if type(key) is not bytes or key >= b"\xff":
            key = as_stored(key)
        entry = self._read(key)
        if type(entry) is bytes:
            return entry
        if entry is None:
            return default
        value = self._value_at(entry, self._now_ms())
        return default if value is None else value

    def get_many(self, keys: Iterable[BytesLike]) -> list[bytes | None]:
        """The values of the keys, in the order of the keys; None for each absent key."""
        self._check_open()
        get = self.get
        return [get(key) for key in keys]

    @overload
    def __getitem__(self, key: BytesLike) -> bytes: ...
    @overload
    def __getitem__(self, key: slice) -> RangeView: ...
    def __getitem__(self, key: BytesLike | slice) -> bytes | RangeView:
        """The value of the key, or KeyError. `db[start:stop]` is a view of the keys from start (inclusive) to stop
        (exclusive): a mapping in key order, which reads when it is asked.

        Example: `for key, value in db[b"a":b"m"].items()`."""
        try:
            value = self.get(key)  # type: ignore[arg-type]  # of a slice it says what follows
        except TypeError:
            if not isinstance(key, slice):
                raise
            return RangeView(self, *slice_bounds(key))
        if value is None:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        return self._has_value(self._read(as_stored(key), values=False), self._now_ms())

    def ttl(self, key: BytesLike) -> float | None:
        """The seconds until the key expires; None if it does not expire, or is absent."""
        now_ms = self._now_ms()
        entry = self._read(as_stored(key), values=False)
        if not isinstance(entry, tuple) or not is_alive(entry, now_ms) or not entry[1]:
            return None
        return (entry[1] - now_ms) / 1000

    def scan(
        self,
        *,
        prefix: BytesLike | None = None,
        start: BytesLike | None = None,
        stop: BytesLike | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) pairs in key order, or in descending order with `reverse`.

        The scan shows the data as it was at the call, whatever is written meanwhile.

        `start` is the lower and `stop` the upper bound, also with `reverse`. A prefix narrows them further.
        Example: `scan(prefix=b"user:", reverse=True, limit=2)` gives the last two users, the last one first.
        """
        if type(start) is bytes and stop is None and prefix is None and include_start and start < b"\xff":
            bounds = start, USER_END  # Written out: view.scan_bounds
        else:
            bounds = scan_bounds(prefix, start, stop, include_start, include_stop)
        if limit is not None and (type(limit) is not int or not 0 <= limit <= sys.maxsize):
            limit = checked_limit(limit)
        if limit is not None and not reverse and 0 < limit <= HEAD_ENTRIES and bounds[0] < bounds[1]:
            first = self._first(*bounds, limit)
            # Most short scans end here, without a generator: they meet nothing hidden.
            if first is not None and first[0] and set(map(type, first[1])) == _PLAIN and first[0][-1] < b"\xff":
                return Paired(*first)
        pages = self._visible(*bounds, reverse, limit)
        pairs: Iterator[tuple[bytes, bytes]] = Paged.from_iterable(starmap(zip, pages))
        return pairs if limit is None else Limited(pairs, limit)

    def scan_keys(
        self,
        *,
        prefix: BytesLike | None = None,
        start: BytesLike | None = None,
        stop: BytesLike | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[bytes]:
        """The keys of a scan with these arguments, without values."""
        if limit is not None and (type(limit) is not int or not 0 <= limit <= sys.maxsize):
            limit = checked_limit(limit)
        bounds = scan_bounds(prefix, start, stop, include_start, include_stop)
        keys: Iterator[bytes] = Paged.from_iterable(self._visible_keys(*bounds, reverse, limit))
        return keys if limit is None else Limited(keys, limit)

    @overload
    def iterator(
        self,
        *,
        start: BytesLike | None = None,
        stop: BytesLike | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: BytesLike | None = None,
        reverse: bool = False,
        include_key: Literal[True] = True,
        include_value: Literal[True] = True,
    ) -> SeekableIterator[tuple[bytes, bytes]]: ...
    @overload
    def iterator(
        self,
        *,
        start: BytesLike | None = None,
        stop: BytesLike | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: BytesLike | None = None,
        reverse: bool = False,
        include_key: bool = True,
        include_value: bool = True,
    ) -> SeekableIterator[Any]: ...
    def iterator(
        self,
        *,
        start: BytesLike | None = None,
        stop: BytesLike | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: BytesLike | None = None,
        reverse: bool = False,
        include_key: bool = True,
        include_value: bool = True,
    ) -> SeekableIterator[Any]:
        """An iterator that can be moved, with plyvel's keywords and calls: `next(it)`, `it.prev()`, `it.seek(key)`,
        `it.seek_to_start()`, `it.seek_to_stop()`. It shows the data as it is now, until it is closed or dropped.

        It gives pairs; without `include_value` keys, without `include_key` values. A scan is faster for whoever only
        goes forward."""
        bounds = scan_bounds(prefix, start, stop, include_start, include_stop)
        return SeekableIterator(self._frozen(), *bounds, reverse=reverse, keys=include_key, values=include_value)

    def first(self) -> bytes | None:
        """The smallest key, or None if there is none."""
        return next(self.scan_keys(limit=1), None)

    def last(self) -> bytes | None:
        """The largest key, or None if there is none."""
        return next(self.scan_keys(reverse=True, limit=1), None)

    def next_key(self, key: BytesLike) -> bytes | None:
        """The smallest key above this one; this key need not exist."""
        return next(self.scan_keys(start=key, include_start=False, limit=1), None)

    def prev_key(self, key: BytesLike) -> bytes | None:
        """The largest key below this one; this key need not exist."""
        return next(self.scan_keys(stop=key, reverse=True, limit=1), None)

    # The rest of a mapping.

    def __iter__(self) -> Iterator[bytes]:
        return self.scan_keys()

    def __reversed__(self) -> Iterator[bytes]:
        return self.scan_keys(reverse=True)

    def __len__(self) -> int:
        """The number of keys. It reads them all."""
        return sum(map(length_hint, self._visible_keys(b"", USER_END, False, None)))

    def __bool__(self) -> bool:
        return self.first() is not None

    def keys(self) -> KeysView[bytes]:
        return Keys(self)

    def items(self) -> ItemsView[bytes, bytes]:
        return Items(self)

    def values(self) -> ValuesView[bytes]:
        return Values(self)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be copied or pickled: one process has the database open. "
            "Let the others ask `flin serve`, or pass them what they need: dict(view.scan(…))"
        )

    def _visible(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None
    ) -> Iterable[tuple[Iterable[bytes], list[bytes]]]:
        """User keys and values that are alive, page by page. What must be consistent is read before it returns."""
        if start >= stop or limit == 0:
            self._check_open()
            return ()
        head = None if limit is None or reverse else self._head(start, stop, limit)
        if head is None:
            return visible_pages(self._pages(start, stop, reverse, limit), self._now_ms(), self._value_at)
        keys, values = head
        if not keys or (set(map(type, values)) == _PLAIN and keys[-1] < b"\xff"):
            return (head,)  # type: ignore[return-value]  # as it is, without a generator
        return visible_pages(iter((head,)), self._now_ms(), self._value_at)

    def _visible_keys(self, start: bytes, stop: bytes, reverse: bool, limit: int | None) -> Iterable[Iterable[bytes]]:
        """The keys of `_visible`, page by page; no value is read for them. A page may be a new iterator over a list."""
        if start >= stop or limit == 0:
            self._check_open()
            return ()
        head = None if limit is None or reverse else self._head(start, stop, limit, values=False)
        pages = self._pages(start, stop, reverse, limit, values=False) if head is None else iter((head,))
        return visible_keys(pages, self._now_ms(), self._has_value)


class RangeView(View):
    """`view[start:stop]`: what another view has from a start (inclusive) to a stop (exclusive). It reads anew at each
    call. Keys outside are absent in it."""

    def __init__(self, whole: View, start: bytes, stop: bytes) -> None:
        """`start` and `stop` are stored keys."""
        self._whole = whole
        self._start = start
        self._stop = stop

    def _read(self, stored: bytes, *, values: bool = True) -> Live | None:
        if self._start <= stored < self._stop or stored >= USER_END:  # pieces of a collection whose key is in the range
            return self._whole._read(stored, values=values)
        self._check_open()
        return None

    def _first(self, start: bytes, stop: bytes, count: int) -> Page | None:
        start, stop = self._clip(start, stop)
        return self._whole._first(start, stop, count) if start < stop else None

    def _visible(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None
    ) -> Iterable[tuple[Iterable[bytes], list[bytes]]]:
        return self._whole._visible(*self._clip(start, stop), reverse, limit)

    def _visible_keys(self, start: bytes, stop: bytes, reverse: bool, limit: int | None) -> Iterable[Iterable[bytes]]:
        return self._whole._visible_keys(*self._clip(start, stop), reverse, limit)

    def _pages(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None, *, values: bool = True
    ) -> Iterator[Page]:
        start, stop = self._clip(start, stop)
        if start < stop:
            return self._whole._pages(start, stop, reverse, limit, values=values)
        self._check_open()
        return iter(())

    def _clip(self, start: bytes, stop: bytes) -> tuple[bytes, bytes]:
        if start >= USER_END:
            return start, stop
        return max(start, self._start), min(stop, self._stop)

    def _now_ms(self) -> int:
        return self._whole._now_ms()

    def _frozen(self) -> RangeView:
        return RangeView(self._whole._frozen(), self._start, self._stop)

    def _check_open(self) -> None:
        self._whole._check_open()


def checked_limit(limit: int) -> int:
    try:
        limit = index(limit)
    except TypeError:
        raise TypeError(f"limit must be a whole number or None, not {limit!r}") from None
    if limit < 0:
        raise ValueError(f"limit must not be negative, but is {limit}")
    return min(limit, sys.maxsize)


def visible_pages(
    pages: Iterator[Page], now_ms: int, value_of: Callable[[Entry, int], bytes | None] = value_at
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """The pages of an embedded user, from pages of stored entries below USER_END."""
    for keys, entries in pages:
        values: list[bytes] = entries  # type: ignore[assignment]  # if all are bytes, as the next line finds out
        if set(map(type, entries)) != _PLAIN:
            alive = [
                (key, value)
                for key, entry in zip(keys, entries, strict=True)
                if (value := value_of(entry, now_ms)) is not None
            ]
            if not alive:
                continue
            keys, values = [key for key, _ in alive], [value for _, value in alive]
        if keys[0] >= b"\xff" or keys[-1] >= b"\xff":
            keys = [user_key(key) for key in keys]
        yield keys, values


def visible_keys(pages: Iterator[Page], now_ms: int, has_value: Callable[[Entry, int], bool]) -> Iterator[list[bytes]]:
    for keys, entries in pages:
        if not set(map(type, entries)) <= _VALUES:
            keys = [key for key, entry in zip(keys, entries, strict=True) if has_value(entry, now_ms)]
        if keys:
            yield [user_key(key) for key in keys] if keys[0] >= b"\xff" or keys[-1] >= b"\xff" else keys


def scan_bounds(
    prefix: object, start: object, stop: object, include_start: bool, include_stop: bool
) -> tuple[bytes, bytes]:
    """The stored bounds [low, high) of a scan of user keys. If low >= high, there is nothing to scan. (Written out in
    View.scan.)"""
    low, high = b"", USER_END
    if start is not None:
        low = as_stored(start) + (b"" if include_start else b"\0")
    if stop is not None:
        high = min(high, as_stored(stop) + (b"\0" if include_stop else b""))
    if prefix is not None:
        begins = as_bytes("a prefix", prefix)
        low = max(low, stored_key(begins))
        above = prefix_stop(begins)
        if above is not None:
            high = min(high, stored_key(above))
    return low, high


def slice_bounds(wanted: slice) -> tuple[bytes, bytes]:
    """The stored bounds [low, high) of `view[start:stop]`."""
    if wanted.step is not None:
        raise ValueError("a slice of keys has no step: use reversed(view[start:stop]) or scan(reverse=True, limit=…)")
    return scan_bounds(None, wanted.start, wanted.stop, True, False)
