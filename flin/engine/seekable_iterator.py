"""An iterator that can be moved: forward, backward, and to any key, as LevelDB's and plyvel's.

It stands between two entries, not on one. `next` passes the entry after its place and returns it, `prev` the one
before; so `next` after `prev` gives the same entry again. With `reverse` the two change their roles, and nothing else.

    a   b | d        seek(b"c") stands here: next gives d, prev gives b

It reads by scans, from its place on: first a short one, since many only look at a few entries after a seek, then one
that goes on to the end. A turn begins another scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat, starmap
from types import TracebackType
from typing import Any, Final, Generic, Protocol, TypeVar

from flin.engine.buffers import BytesLike, as_stored
from flin.engine.key import stored_key
from flin.engine.scan_iterator import Unique
from flin.errors import ClosedError

Item = TypeVar("Item", covariant=True)

FEW: Final = 16
"""The entries of the first scan: about as many as are in the heads of the runs, which cost no more than one."""


class Visible(Protocol):
    """The two calls of a view (view.View) that this needs: user keys, and values, between stored bounds."""

    def _visible(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None
    ) -> Iterable[tuple[Iterable[bytes], list[bytes]]]: ...

    def _visible_keys(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None
    ) -> Iterable[Iterable[bytes]]: ...


class SeekableIterator(Unique, Generic[Item]):
    """An iterator of `view.iterator(…)`. It keeps the files that it reads until it is closed or dropped. Use it in one
    thread at a time."""

    def __init__(self, frozen: Visible, start: bytes, stop: bytes, *, reverse: bool, keys: bool, values: bool) -> None:
        """`frozen` does not change; `start` and `stop` are stored bounds."""
        self._view: Visible | None = frozen
        self._start = start
        self._stop = max(start, stop)
        self._reverse = reverse
        self._keys_alone = not values
        self._item: Callable[[tuple[bytes, bytes]], Any] = _ITEMS[keys, values]
        self._place = self._stop if reverse else start  # entries below this stored key come before it
        self._pairs: Iterator[tuple[bytes, bytes]] = iter(())  # from the place on, if `_scan` says so
        self._scan: tuple[bool, int | None] | None = None  # whether it goes down, and its limit

    def __iter__(self) -> SeekableIterator[Item]:
        return self

    def __next__(self) -> Item:
        return self._step(self._reverse)

    def prev(self) -> Item:
        """The entry before the place, which moves before it. StopIteration at the start."""
        return self._step(not self._reverse)

    def seek(self, target: BytesLike) -> None:
        """Move right before the key, or to where it would be; at most to the end of the bounds."""
        self._move(min(max(as_stored(target), self._start), self._stop))

    def seek_to_start(self) -> None:
        """Move before the smallest key of the bounds."""
        self._move(self._start)

    def seek_to_stop(self) -> None:
        """Move after the largest key of the bounds."""
        self._move(self._stop)

    def close(self) -> None:
        self._view = None
        self._pairs = iter(())

    def __enter__(self) -> SeekableIterator[Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _move(self, place: bytes) -> None:
        self._open_view()
        self._place = place
        self._scan = None

    def _step(self, down: bool) -> Item:
        if self._scan is None or self._scan[0] is not down:
            self._begin(down, FEW)
        pair = next(self._pairs, None)
        if pair is None and self._scan == (down, FEW):
            self._begin(down, None)
            pair = next(self._pairs, None)
        if pair is None:
            self._open_view()
            raise StopIteration
        key = stored_key(pair[0])
        self._place = key if down else key + b"\0"
        item: Item = self._item(pair)
        return item

    def _begin(self, down: bool, limit: int | None) -> None:
        """Begin a scan from the place on. With a limit it may end after that many."""
        bounds = (self._start, self._place) if down else (self._place, self._stop)
        view = self._open_view()
        if self._keys_alone:
            keys = chain.from_iterable(view._visible_keys(*bounds, down, limit))
            self._pairs = zip(keys, repeat(b""))  # the second has no end
        else:
            self._pairs = chain.from_iterable(starmap(zip, view._visible(*bounds, down, limit)))
        self._scan = down, limit

    def _open_view(self) -> Visible:
        if self._view is None:
            raise ClosedError("the iterator is closed")
        return self._view


_ITEMS: Final[dict[tuple[bool, bool], Callable[[tuple[bytes, bytes]], Any]]] = {
    (True, True): lambda pair: pair,
    (True, False): lambda pair: pair[0],
    (False, True): lambda pair: pair[1],
    (False, False): lambda pair: None,
}
"""What it gives, by whether keys and values are wanted."""
