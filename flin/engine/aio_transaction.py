"""Transactions of tasks: `async with db.transaction() as t`, and `@db.transactional()` of an `async def` (aio.py).

A transaction of tasks is one of threads (transaction.py), whose reads are made on the loop if they find what they need
in memory, else by a reader thread. It waits meanwhile, so it is never in two threads at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from functools import partial, wraps
from inspect import iscoroutinefunction
from itertools import islice
from operator import index
from random import uniform
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from flin.engine.aio_batch import AsyncBatch
from flin.engine.aio_view import TURN_KEYS
from flin.engine.buffers import BytesLike, as_stored
from flin.engine.table.cold_read import ColdRead
from flin.engine.transaction import Transaction
from flin.engine.transactional import FIRST_WAIT_SECONDS, MOST_DOUBLINGS
from flin.engine.writable_view import Ttl
from flin.errors import ConflictError

P = ParamSpec("P")
Default = TypeVar("Default")
Result = TypeVar("Result")
Item = TypeVar("Item")


class AsyncTransaction(AsyncBatch):
    """A transaction of `AsyncEngine.transaction()`: writes that need no answer fill memory, so they are not awaited
    (`t.put(…)`); reads, updates and the commit are. An exception discards it, the cancellation of its task among them.

    Use it in one task at a time."""

    _batch: Transaction

    @property
    def conflict(self) -> str | None:
        """The first conflict that was found; then it cannot commit any more."""
        return self._batch.conflict

    @overload
    async def get(self, key: BytesLike) -> bytes | None: ...
    @overload
    async def get(self, key: BytesLike, default: Default) -> bytes | Default: ...
    async def get(self, key: BytesLike, default: object = None) -> object:
        """The value of the key, or the default."""
        return await self._call(key, partial(self._batch.get, key, default))

    async def get_many(self, keys: Iterable[BytesLike]) -> list[bytes | None]:
        """The values of the keys, in the order of the keys; None for each absent key."""
        return [await self.get(key) for key in keys]

    async def contains(self, key: BytesLike) -> bool:
        """Whether the key is there."""
        return await self._call(key, partial(self._batch.__contains__, key))

    async def ttl(self, key: BytesLike) -> float | None:
        """The seconds until the key expires; None if it does not expire, or is absent."""
        return await self._call(key, partial(self._batch.ttl, key))

    async def incr(self, key: BytesLike, delta: int = 1, *, ttl: Ttl | None = None) -> int:
        """Add to the number that the key holds as decimal text (0 if absent), and return the sum."""
        return await self._call(key, partial(self._batch.incr, key, delta, ttl=ttl))

    async def put_if_absent(self, key: BytesLike, value: BytesLike, *, ttl: Ttl | None = None) -> bool:
        """Set the key if it is absent. True if it was set."""
        return await self._call(key, partial(self._batch.put_if_absent, key, value, ttl=ttl))

    async def compare_and_set(
        self, key: BytesLike, expected: BytesLike | None, new: BytesLike | None, *, ttl: Ttl | None = None
    ) -> bool:
        """If the key holds `expected` (None: if it is absent), set it to `new` (None: delete it). True if it did."""
        return await self._call(key, partial(self._batch.compare_and_set, key, expected, new, ttl=ttl))

    async def expire(self, key: BytesLike, ttl: Ttl) -> bool:
        """Let the key expire. False if it is absent."""
        return await self._call(key, partial(self._batch.expire, key, ttl))

    async def persist(self, key: BytesLike) -> bool:
        """Remove the expiry of the key. False if it is absent or has none."""
        return await self._call(key, partial(self._batch.persist, key))

    async def setdefault(self, key: BytesLike, default: BytesLike = b"") -> bytes:
        """Return the value of the key. If it is absent, set it to the default first."""
        return await self._call(key, partial(self._batch.setdefault, key, default))

    async def pop(self, key: BytesLike, default: Default | None = None) -> bytes | Default | None:
        """Delete the key and return its value; if it is absent, the default."""
        return await self._call(key, partial(self._batch.pop, key, default))

    def scan(self, **options: Any) -> AsyncIterator[tuple[bytes, bytes]]:
        """`async for key, value in t.scan(…)`, with the options of an engine's scan. A reader thread takes a few
        hundred at a time, which count as read; with a `limit` only so many."""
        return self._taken(self._batch.scan(**options))

    def scan_keys(self, **options: Any) -> AsyncIterator[bytes]:
        """The keys of such a scan."""
        return self._taken(self._batch.scan_keys(**options))

    async def _taken(self, items: Iterator[Item]) -> AsyncIterator[Item]:
        while some := await self._engine._in_reader(lambda: [*islice(items, TURN_KEYS)]):
            for item in some:
                yield item

    async def _call(self, key: BytesLike, call: Callable[[], Result]) -> Result:
        try:
            self._engine._read_nowait(as_stored(key))
        except ColdRead:
            return await self._engine._in_reader(call)
        return call()

    async def __aenter__(self) -> AsyncTransaction:
        return self


if TYPE_CHECKING:
    Function = Callable[Concatenate[AsyncTransaction, P], Awaitable[Result]]


def transactional(
    begin: Callable[[], AsyncTransaction], retries: int
) -> Callable[[Function[P, Result]], Callable[P, Coroutine[Any, Any, Result]]]:
    """The decorator of `AsyncEngine.transactional`."""
    retries = index(retries)
    if retries < 0:
        raise ValueError(f"retries must not be negative, but is {retries}")

    def decorate(function: Function[P, Result]) -> Callable[P, Coroutine[Any, Any, Result]]:
        if not iscoroutinefunction(function):
            raise TypeError("a transaction of tasks is a function that is defined by async def")

        @wraps(function)
        async def run(*arguments: P.args, **named: P.kwargs) -> Result:
            for attempt in range(retries + 1):
                if attempt:
                    await asyncio.sleep(uniform(0, FIRST_WAIT_SECONDS * 2 ** min(attempt - 1, MOST_DOUBLINGS)))
                transaction = begin()
                try:
                    async with transaction:
                        return await function(transaction, *arguments, **named)
                except ConflictError:
                    if transaction.conflict is None or attempt == retries:  # the first: it is about a value
                        raise
            raise AssertionError("there is at least one attempt")

        return run

    return decorate
