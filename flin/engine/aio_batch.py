"""Batches of tasks: `async with db.write_batch() as batch` (aio.py)."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, TypeVar, overload

from flin.engine.batch import WriteBatch
from flin.engine.buffers import BytesLike, as_stored
from flin.engine.entry import Live, value_at

Default = TypeVar("Default")
Result = TypeVar("Result")


class WritesAndReads(Protocol):
    """The ways of an AsyncEngine that its batches and transactions take."""

    async def get(self, key: BytesLike, default: Any) -> Any: ...

    def _read_nowait(self, stored: bytes, *, values: bool = True) -> Live | None: ...

    async def _in_reader(self, read: Callable[[], Result]) -> Result: ...

    async def _write(self, write: Callable[[], Result], sync: bool | None = None) -> Result: ...


class AsyncBatch:
    """A batch of `AsyncEngine.write_batch()`. Its writes only fill memory, so they are not awaited: `batch.put(…)`. Its
    commit is, and its reads."""

    def __init__(self, engine: WritesAndReads, batch: WriteBatch, sync: bool | None) -> None:
        self._engine = engine
        self._batch = batch
        self._sync = sync
        self.put = batch.put
        self.put_many = batch.put_many
        self.delete = batch.delete
        self.delete_many = batch.delete_many
        self.delete_range = batch.delete_range
        self.delete_prefix = batch.delete_prefix
        self.clear = batch.clear
        self.discard = batch.discard

    @property
    def writes(self) -> int:
        """The number of writes of a commit."""
        return self._batch.writes

    @overload
    async def get(self, key: BytesLike) -> bytes | None: ...
    @overload
    async def get(self, key: BytesLike, default: Default) -> bytes | Default: ...
    async def get(self, key: BytesLike, default: object = None) -> object:
        """The value of the key, or the default: the batch's own, or the database's."""
        self._batch._check_open()
        entry = self._batch._memtable.get(as_stored(key))
        if entry is None:
            return await self._engine.get(key, default)
        value = value_at(entry, self._batch._now_ms())
        return default if value is None else value

    async def commit(self) -> None:
        """Commit now. The batch cannot be used any more."""
        await self._engine._write(self._batch.commit, self._sync)

    async def __aenter__(self) -> AsyncBatch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        elif not self._batch._ended:
            await self.commit()
