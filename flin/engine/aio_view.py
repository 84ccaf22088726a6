"""The awaited read calls (aio.py), which an engine and a snapshot share: on the loop from memory, else by a thread."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Executor
from functools import partial
from itertools import chain, islice, starmap
from types import TracebackType
from typing import Final, TypeVar, overload

from flin.engine.buffers import BytesLike, as_stored
from flin.engine.engine import Engine
from flin.engine.entry import Entry, Live, Page, is_alive, value_at
from flin.engine.snapshot import Snapshot
from flin.engine.table.cold_read import ColdRead
from flin.engine.view import checked_limit, scan_bounds, visible_keys, visible_pages
from flin.errors import CLOSED_TEXT, ClosedError

Default = TypeVar("Default")
Result = TypeVar("Result")
Item = TypeVar("Item")

TURN_KEYS: Final = 256
"""The keys of a `get_many` that are read before others have their turn: a tenth of a millisecond, as a page takes."""

COLD_PAGES: Final = 8
"""The pages that a reader thread reads at once when a scan meets what is not in memory: a hop costs as much as one."""


class AsyncView:
    """The read calls that an engine and a snapshot share."""

    _view: Engine | Snapshot
    _readers: Executor

    def _read_nowait(self, stored: bytes, *, values: bool = True) -> Live | None:
        """What a stored key has; ColdRead instead of a wait for the disk."""
        raise NotImplementedError

    def _frozen(self) -> Snapshot:
        """All that there is now, for a scan."""
        raise NotImplementedError

    @overload
    async def get(self, key: BytesLike) -> bytes | None: ...
    @overload
    async def get(self, key: BytesLike, default: Default) -> bytes | Default: ...
    async def get(self, key: BytesLike, default: object = None) -> object:
        """The value of the key, or the default."""
        stored = as_stored(key) if type(key) is not bytes or key >= b"\xff" else key
        try:
            entry = self._read_nowait(stored)
        except ColdRead:
            return await self._in_reader(partial(self._view.get, key, default))
        if type(entry) is bytes:
            return entry
        if entry is None:
            return default
        if entry[2]:  # of another type: a string may lie in pieces
            return await self._in_reader(partial(self._view.get, key, default))
        value = value_at(entry, self._view._now_ms())
        return default if value is None else value

    async def get_many(self, keys: Iterable[BytesLike]) -> list[bytes | None]:
        """The values of the keys, in the order of the keys; None for each absent key."""
        listed = [*keys]
        found: list[bytes | None] = []
        for at in range(0, len(listed), TURN_KEYS):
            if at:
                await asyncio.sleep(0)
            found += await self._get_some(listed[at : at + TURN_KEYS])
        return found

    async def _get_some(self, keys: list[BytesLike]) -> list[bytes | None]:
        try:
            entries = [self._read_nowait(as_stored(key)) for key in keys]
        except ColdRead:
            return await self._in_reader(partial(self._view.get_many, keys))
        if any(map(_has_tag, entries)):
            return await self._in_reader(partial(self._view.get_many, keys))
        now_ms = self._view._now_ms()
        return [value_at(entry, now_ms) for entry in entries]

    async def contains(self, key: BytesLike) -> bool:
        """Whether the key is there: `key in db`."""
        try:
            entry = self._read_nowait(as_stored(key), values=False)
        except ColdRead:
            return await self._in_reader(partial(self._view.__contains__, key))
        return self._view._has_value(entry, self._view._now_ms())

    async def ttl(self, key: BytesLike) -> float | None:
        """The seconds until the key expires; None if it does not expire, or is absent."""
        try:
            entry = self._read_nowait(as_stored(key), values=False)
        except ColdRead:
            return await self._in_reader(partial(self._view.ttl, key))
        now_ms = self._view._now_ms()
        expires = isinstance(entry, tuple) and is_alive(entry, now_ms) and entry[1]
        return (entry[1] - now_ms) / 1000 if expires else None  # type: ignore[index]  # it is a tuple

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
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        """`async for key, value in db.scan(…)`: pairs in key order, as `scan` of an engine gives them. It shows the
        data as it was at the call."""
        bounds = scan_bounds(prefix, start, stop, include_start, include_stop)
        frozen = self._frozen()

        def shown(pages: Iterator[Page]) -> Iterator[Iterable[tuple[bytes, bytes]]]:
            return starmap(zip, visible_pages(pages, frozen._now_ms(), frozen._value_at))

        return self._items(frozen, *bounds, reverse, _checked(limit), True, shown)

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
    ) -> AsyncIterator[bytes]:
        """The keys of a scan with these arguments, without values."""
        bounds = scan_bounds(prefix, start, stop, include_start, include_stop)
        frozen = self._frozen()

        def shown(pages: Iterator[Page]) -> Iterator[Iterable[bytes]]:
            return visible_keys(pages, frozen._now_ms(), frozen._has_value)

        return self._items(frozen, *bounds, reverse, _checked(limit), False, shown)

    async def first(self) -> bytes | None:
        """The smallest key, or None if there is none."""
        return await anext(self.scan_keys(limit=1), None)

    async def last(self) -> bytes | None:
        """The largest key, or None if there is none."""
        return await anext(self.scan_keys(reverse=True, limit=1), None)

    async def next_key(self, key: BytesLike) -> bytes | None:
        """The smallest key above this one; this key need not exist."""
        return await anext(self.scan_keys(start=key, include_start=False, limit=1), None)

    async def prev_key(self, key: BytesLike) -> bytes | None:
        """The largest key below this one; this key need not exist."""
        return await anext(self.scan_keys(stop=key, reverse=True, limit=1), None)

    async def count(self) -> int:
        """The number of keys, exactly: `len(db)`, counted in a thread."""
        return await self._in_reader(self._view.__len__)

    async def _items(
        self,
        frozen: Snapshot,
        start: bytes,
        stop: bytes,
        reverse: bool,
        left: int,
        values: bool,
        shown: Callable[[Iterator[Page]], Iterator[Iterable[Item]]],
    ) -> AsyncIterator[Item]:
        """The items of a frozen state's pages. What is in memory is merged here, a page in each turn; where that ends,
        a reader thread reads the next few pages."""
        pages: Iterator[Page] | None = None
        while start < stop and left > 0:
            try:
                if pages is None:  # to begin it is enough to meet a table that is not open
                    pages = frozen._pages(start, stop, reverse, None, values=values, wait=False)
                stored = [*islice(pages, 1)]
            except ColdRead:
                stored = await self._in_reader(partial(_some_pages, frozen, start, stop, reverse, values))
                pages = None
            if not stored:
                return
            last = stored[-1][0][-1]
            start, stop = (start, last) if reverse else (last + b"\0", stop)
            found = shown(iter(stored))
            if any(map(_has_tag, chain.from_iterable(entries for _, entries in stored))):
                found = iter(await self._in_reader(partial(list, found)))
            for items in found:
                for item in islice(items, left):
                    left -= 1
                    yield item
            await asyncio.sleep(0)

    async def _in_reader(self, read: Callable[[], Result]) -> Result:
        return await handed_over(self._readers, read)


class AsyncSnapshot(AsyncView):
    """A snapshot of `AsyncEngine.snapshot()`: all read calls, on the data as it was then."""

    def __init__(self, snapshot: Snapshot, readers: Executor) -> None:
        self._view: Snapshot = snapshot
        self._readers = readers

    def _read_nowait(self, stored: bytes, *, values: bool = True) -> Live | None:
        return self._view._read(stored, values=values, wait=False)

    def _frozen(self) -> Snapshot:
        return self._view._frozen()

    def close(self) -> None:
        self._view.close()

    async def __aenter__(self) -> AsyncSnapshot:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def handed_over(executor: Executor, call: Callable[[], Result]) -> asyncio.Future[Result]:
    """The result of a call that a thread makes."""
    try:
        return asyncio.get_running_loop().run_in_executor(executor, call)
    except RuntimeError:  # it was shut down
        raise ClosedError(CLOSED_TEXT) from None


def _some_pages(frozen: Snapshot, start: bytes, stop: bytes, reverse: bool, values: bool) -> list[Page]:
    return [*islice(frozen._pages(start, stop, reverse, None, values=values), COLD_PAGES)]


def _has_tag(entry: Entry | None) -> bool:
    """Whether it may be a string that lies in pieces, which must be read."""
    return type(entry) is tuple and bool(entry[2])


def _checked(limit: int | None) -> int:
    return sys.maxsize if limit is None else checked_limit(limit)
