"""The engine for asyncio and uvloop: `db = await flin.engine.aio.open(path)`, then the calls of an engine, awaited.

Most calls are over before a thread could have begun, so nothing is handed to one that need not be:

- A read asks for what is in memory, on the loop. If it would wait for the disk, a reader thread reads instead.
- A write is made on the loop. If writers must wait for flushes or merges, a writer thread makes it instead, one after
  the other.
- A write that waits for the disk (the mode "always", or `sync=True`) joins a round: one sync in a thread for all that
  were written before it began. Its end wakes them all by one call into the loop.
- What takes long by its nature (flush, compact, verify, close) is done by a thread.

A call that is cancelled while it waits has been written, or has not, or is just being written by its thread; never half
of it. The loop is not blocked for longer than a page of a scan takes; after each page the others have their turn.

The server has such ways of its own (net/serve/cold.py, net/run/tick.py): it has no tasks that could be awaited, and its
replies wait for what they show, not for what they wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from copy import copy
from functools import partial, wraps
from inspect import iscoroutinefunction
from types import TracebackType
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypeVar

from flin.engine import engine as sync_engine
from flin.engine.aio_batch import AsyncBatch
from flin.engine.aio_feed import AsyncFeed
from flin.engine.aio_memoize import memoized_by_tasks
from flin.engine.aio_transaction import AsyncTransaction, transactional
from flin.engine.aio_view import AsyncSnapshot, AsyncView, handed_over
from flin.engine.buffers import BytesLike, as_stored
from flin.engine.codec import Codec
from flin.engine.engine import Engine, check_sync, store_of
from flin.engine.memoize import Memo, Memoized, check_ttl
from flin.engine.pairs import Pairs
from flin.engine.snapshot import Snapshot
from flin.engine.table.cold_read import ColdRead
from flin.engine.tree.store import Store
from flin.engine.writable_view import Ttl
from flin.errors import CLOSED_TEXT, ClosedError, FlinError

P = ParamSpec("P")
Default = TypeVar("Default")
Result = TypeVar("Result")

READERS: Final = 4
"""Enough to keep a disk's queue busy, as in the server."""


class AsyncEngine(AsyncView):
    """One open database, for the tasks of one event loop: that in which it was opened. Close it, or use it by `async
    with`. It raises what an engine raises."""

    def __init__(self, engine: Engine) -> None:
        self._view: Engine = engine
        self._store = store_of(engine)
        self._read_nowait = self._store.read_nowait  # type: ignore[method-assign, assignment]  # a call less for each get
        self._loop = asyncio.get_running_loop()
        self._readers: Executor = ThreadPoolExecutor(READERS, thread_name_prefix="flin-reader")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="flin-writer")
        self._syncs = _Syncs(self._store, self._loop)
        # This face waits for the disk itself, without blocking the loop.
        self._sync_always, engine._sync_always = engine._sync_always, False

    def _frozen(self) -> Snapshot:
        return self._view._frozen()

    # One key.

    async def put(self, key: BytesLike, value: BytesLike, *, ttl: Ttl | None = None, sync: bool | None = None) -> None:
        """Set the key. `ttl`: seconds until it expires. `sync`: wait for the disk (None: as the sync mode says)."""
        if self._store.stall() or sync is not None:
            await self._write(partial(self._view.put, key, value, ttl=ttl), sync)
            return
        self._view.put(key, value, ttl=ttl)
        if self._sync_always:
            await self._syncs.wait(self._store.position)

    async def delete(self, key: BytesLike, *, sync: bool | None = None) -> None:
        """Delete the key, if it is there."""
        await self._write(partial(self._view.delete, key), sync)

    async def incr(self, key: BytesLike, delta: int = 1, *, ttl: Ttl | None = None) -> int:
        """Add to the number that the key holds as decimal text (0 if absent), and return the sum."""
        return await self._update(key, partial(self._view.incr, key, delta, ttl=ttl))

    async def put_if_absent(self, key: BytesLike, value: BytesLike, *, ttl: Ttl | None = None) -> bool:
        """Set the key if it is absent. True if it was set."""
        return await self._update(key, partial(self._view.put_if_absent, key, value, ttl=ttl))

    async def compare_and_set(
        self, key: BytesLike, expected: BytesLike | None, new: BytesLike | None, *, ttl: Ttl | None = None
    ) -> bool:
        """If the key holds `expected` (None: if it is absent), set it to `new` (None: delete it). True if it did."""
        return await self._update(key, partial(self._view.compare_and_set, key, expected, new, ttl=ttl))

    async def expire(self, key: BytesLike, ttl: Ttl) -> bool:
        """Let the key expire in ttl seconds. False if it is absent."""
        return await self._update(key, partial(self._view.expire, key, ttl))

    async def persist(self, key: BytesLike) -> bool:
        """Remove the expiry of the key. False if it is absent or has none."""
        return await self._update(key, partial(self._view.persist, key))

    async def setdefault(self, key: BytesLike, default: BytesLike = b"") -> bytes:
        """Return the value of the key. If it is absent, set it to the default first."""
        return await self._update(key, partial(self._view.setdefault, key, default))

    async def pop(self, key: BytesLike, default: Default | None = None) -> bytes | Default | None:
        """Delete the key and return its value; if it is absent, the default."""
        return await self._update(key, partial(self._view.pop, key, default))

    async def popitem(self) -> tuple[bytes, bytes]:
        """Delete the smallest key and return it with its value. KeyError if there is none."""
        return await self.run(Engine.popitem)

    # Many keys.

    async def put_many(self, pairs: Pairs, *, ttl: Ttl | None = None, sync: bool | None = None) -> None:
        """Set all the keys in one atomic commit."""
        await self._write(partial(self._view.put_many, pairs, ttl=ttl), sync)

    async def delete_many(self, keys: Iterable[BytesLike], *, sync: bool | None = None) -> None:
        """Delete those of the keys that are there, in one atomic commit."""
        await self._write(partial(self._view.delete_many, keys), sync)

    async def delete_range(self, start: BytesLike, stop: BytesLike, *, sync: bool | None = None) -> None:
        """Delete the keys from start (inclusive) to stop (exclusive)."""
        await self._write(partial(self._view.delete_range, start, stop), sync)

    async def delete_prefix(self, prefix: BytesLike, *, sync: bool | None = None) -> None:
        """Delete the keys that begin with the prefix."""
        await self._write(partial(self._view.delete_prefix, prefix), sync)

    async def clear(self) -> None:
        """Delete every key."""
        await self._write(self._view.clear)

    def write_batch(self, *, sync: bool | None = None) -> AsyncBatch:
        """`async with db.write_batch() as batch`: its writes become one atomic commit. An exception discards them, the
        cancellation of the task among them."""
        check_sync(sync)
        return AsyncBatch(self, self._view.write_batch(), sync)

    def transaction(self, *, sync: bool | None = None) -> AsyncTransaction:
        """`async with db.transaction() as t`: reads and writes through t are as if nobody else did anything meanwhile.
        If somebody did, and it matters, ConflictError. docs/transactions.md."""
        return AsyncTransaction(self, self._view.transaction(), sync)

    def transactional(
        self, *, retries: int = 10, sync: bool | None = None
    ) -> Callable[
        [Callable[Concatenate[AsyncTransaction, P], Awaitable[Result]]], Callable[P, Coroutine[Any, Any, Result]]
    ]:
        """`@db.transactional(retries=10)` of an `async def`: each call of the function runs in a transaction, which it
        gets as its first argument; after a conflict once more, up to this number of times. Then ConflictError."""
        check_sync(sync)
        return transactional(lambda: self.transaction(sync=sync), retries)

    def memoize(
        self,
        *,
        ttl: Ttl | None = None,
        name: str | None = None,
        value: Literal["json"] | type | Codec[Any] = "json",
        ignore: Collection[str] = (),
    ) -> Callable[[Callable[P, Coroutine[Any, Any, Result]]], Memoized[P, Coroutine[Any, Any, Result]]]:
        """`@db.memoize(ttl=300)` for an `async def`: see `Engine.memoize`."""
        check_ttl(self._view, ttl)

        def decorate(
            function: Callable[P, Coroutine[Any, Any, Result]],
        ) -> Memoized[P, Coroutine[Any, Any, Result]]:
            if not iscoroutinefunction(function):
                raise TypeError("an AsyncEngine memoizes functions that are defined by async def")
            made: Memoized[P, Coroutine[Any, Any, Result]] = memoized_by_tasks(
                function, Memo(function, name=name, value=value, ttl=ttl, ignore=ignore), self
            )
            return made

        return decorate

    def snapshot(self) -> AsyncSnapshot:
        """`async with db.snapshot() as view`: all read calls, on the data as it is now."""
        return AsyncSnapshot(self._view.snapshot(), self._readers)

    def watch(self, prefix: BytesLike = b"", *, since: int | None = None, durable: bool = False) -> AsyncFeed:
        """`async for event in db.watch(b"user:")`: every commit from now on, in order; see `Engine.watch`."""
        return AsyncFeed(self._view.watch(prefix, since=since, durable=durable))

    # Maintenance.

    async def refresh(self) -> bool:
        """With `read_only=True`: show what the writer has committed since, all at once. Whether that is anything."""
        return await asyncio.to_thread(self._view.refresh)

    async def run(self, function: Callable[[Engine], Result]) -> Result:
        """Call a function with the engine itself, in a thread, and wait until what it wrote is as safe as the mode
        says. For what has no call here: `await db.run(lambda db: db.typed(key=str, value=int).incr("visits"))`."""
        result = await asyncio.to_thread(function, self._view)
        if self._sync_always:
            await self._syncs.wait(self._store.position)
        return result

    async def flush(self) -> None:
        """Write everything that is in memory to tables, now."""
        await asyncio.to_thread(self._view.flush)

    async def compact(self, start: BytesLike | None = None, stop: BytesLike | None = None) -> None:
        """Flush, delete what has expired, and merge everything, or a range, into one run per shard."""
        await asyncio.to_thread(self._view.compact, start, stop)

    async def sync(self) -> None:
        """Make everything written so far durable."""
        self._view._check_open()
        await self._syncs.wait(self._store.position)

    async def verify(self) -> list[FlinError]:
        """Read and check everything on disk. Returns all problems; none if all is well."""
        return await asyncio.to_thread(self._view.verify)

    async def stats(self) -> dict[str, Any]:
        """Figures of this open engine: docs/stats.md."""
        return await asyncio.to_thread(self._view.stats)

    async def close(self, *, flush: bool = True) -> None:
        """Make everything durable, and close. A second call does nothing. If it is cancelled, a thread goes on."""
        try:
            await asyncio.to_thread(self._view.close, flush=flush)
        finally:
            for executor in (self._readers, self._writer, self._syncs.executor):
                executor.shutdown(wait=False)

    @property
    def path(self) -> str:
        return self._view.path

    @property
    def closed(self) -> bool:
        return self._view.closed

    async def __aenter__(self) -> AsyncEngine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<flin.engine.aio.AsyncEngine {self.path!r}{' closed' if self.closed else ''}>"

    # The ways of a write.

    async def _write(self, write: Callable[[], Result], sync: bool | None = None) -> Result:
        """Write, in the writer thread if writers must wait; then wait for the disk, if this write asks for it."""
        check_sync(sync)
        result = await self._in_writer(write) if self._store.stall() else write()
        if self._sync_always if sync is None else sync:
            await self._syncs.wait(self._store.position)
        return result

    async def _update(self, key: BytesLike, update: Callable[[], Result]) -> Result:
        """Write what depends on what is there; if that must be read from the disk, in the writer thread."""
        try:
            self._store.read_nowait(as_stored(key))
        except ColdRead:
            result = await self._in_writer(update)
            if self._sync_always:
                await self._syncs.wait(self._store.position)
            return result
        return await self._write(update)

    async def _in_writer(self, write: Callable[[], Result]) -> Result:
        return await handed_over(self._writer, write)


class _Syncs:
    """The tasks that wait for the disk. One sync runs at a time; who comes meanwhile waits for the next one."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self.executor: Final = ThreadPoolExecutor(1, thread_name_prefix="flin-sync")
        self._store = store
        self._loop = loop
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._is_running = False

    async def wait(self, position: int) -> None:
        """Return once everything before the position is durable. Raises what the sync raises."""
        if self._store.synced_position >= position:
            return
        future = self._loop.create_future()
        self._waiting.append((position, future))
        if not self._is_running:
            self._begin()
        await future

    def _begin(self) -> None:
        try:
            running = self.executor.submit(self._store.sync)
        except RuntimeError:  # it was shut down after a close that could not sync
            waiting, self._waiting = self._waiting, []
            for _, future in waiting:
                if not future.done():
                    future.set_exception(ClosedError(CLOSED_TEXT))
        else:
            self._is_running = True
            running.add_done_callback(self._tell)

    def _tell(self, done: Future[None]) -> None:
        """Called by the thread. If the loop is closed, nobody waits any more."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end, done)

    def _end(self, done: Future[None]) -> None:
        self._is_running = False
        error, synced = done.exception(), self._store.synced_position
        waiting, self._waiting = self._waiting, []
        for position, future in waiting:
            if future.done():  # its task was cancelled
                continue
            if error is not None:
                future.set_exception(copy(error))
            elif position <= synced:
                future.set_result(None)
            else:
                self._waiting.append((position, future))
        if self._waiting:
            self._begin()


def _opening(open_sync: Callable[P, Engine]) -> Callable[P, Coroutine[Any, Any, AsyncEngine]]:
    @wraps(open_sync)
    async def open_async(*arguments: P.args, **options: P.kwargs) -> AsyncEngine:
        opened = asyncio.ensure_future(asyncio.to_thread(open_sync, *arguments, **options))
        try:
            return AsyncEngine(await asyncio.shield(opened))
        except asyncio.CancelledError:
            opened.add_done_callback(_close_again)
            raise

    return open_async


def _close_again(opened: asyncio.Future[Engine]) -> None:
    """Nobody waits for this engine any more: release its directory."""
    if not opened.cancelled() and opened.exception() is None:
        asyncio.get_running_loop().run_in_executor(None, opened.result().close)


open = _opening(sync_engine.open)
"""`db = await flin.engine.aio.open(path, **options)`, with the options of `flin.engine.open`. The recovery runs in a
thread."""
