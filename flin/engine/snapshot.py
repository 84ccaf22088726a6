"""A snapshot: the read calls as of one moment, its clock included, whatever is written, flushed or merged since."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from flin.engine.entry import DELETED, Live, Page
from flin.engine.filter import hash_key
from flin.engine.state import HEAD_ENTRIES, ReadState
from flin.engine.store import Store
from flin.engine.view import View
from flin.errors import ClosedError


class Snapshot(View):
    """Made by `Engine.snapshot()`. It holds the files that it reads until it is closed. Threads may share it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._state: ReadState | None = store.freeze()
        self._made_at_ms = store.now_ms()

    def close(self) -> None:
        self._state = None

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """The number of keys, those included that had expired but were not yet swept."""
        count = self._store.count(0, None, self._open_state())
        assert count is not None  # without a budget it counts to the end
        return count

    def __iter__(self) -> Iterator[bytes]:
        return self.scan_keys()

    def _read(self, stored: bytes) -> Live | None:
        state = self._open_state()
        shard = state.shard_of(stored)
        entry = state.find_in_memory(shard, stored)
        if entry is None:
            entry = state.find_joined(shard, stored, hash_key(stored))
        return None if entry is DELETED else entry

    def _first(self, start: bytes, stop: bytes, count: int) -> Page | None:
        return self._open_state().head(start, stop, count)

    def _head(self, start: bytes, stop: bytes, limit: int) -> Page | None:
        return self._open_state().plain_head(start, stop, limit) if limit <= HEAD_ENTRIES else None

    def _pages(self, start: bytes, stop: bytes, reverse: bool, limit: int | None) -> Iterator[Page]:
        return self._open_state().pages(start, stop, reverse=reverse)

    def _now_ms(self) -> int:
        return self._made_at_ms

    def _open_state(self) -> ReadState:
        state = self._state
        if state is None:
            raise ClosedError("the snapshot is closed")
        return state
