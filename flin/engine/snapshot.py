"""A snapshot: all read calls, on the data and the clock of one moment, whatever is written, flushed or merged later."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from types import TracebackType

from flin.engine.buffers import BytesLike
from flin.engine.entry import TOMBSTONE, Entry, Live, Page
from flin.engine.key import USER_END
from flin.engine.prefixed import PrefixedSnapshot
from flin.engine.read.read_path import from_memtables, from_tables
from flin.engine.read.read_state import HEAD_ENTRIES, ReadState
from flin.engine.table.bloom import hash_key
from flin.engine.tree.store import Store
from flin.engine.typed import TypedSnapshots
from flin.engine.view import View
from flin.errors import ClosedError


class Snapshot(View, TypedSnapshots):
    """A snapshot of `Engine.snapshot()`. It keeps the files that it reads until it is closed. Threads may share it.

    Close it before the engine: afterwards it raises ClosedError once it needs a table that is not open yet."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._state: ReadState | None = store.freeze()
        self._made_at_ms = store.now_ms()

    def close(self) -> None:
        self._state = None

    def prefixed(self, prefix: BytesLike) -> PrefixedSnapshot:
        """The keys that begin with the prefix, without it."""
        return PrefixedSnapshot(self, prefix)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """The number of keys, exactly. What neither a merge nor a call before has counted is looked up once."""
        state = self._open_state()
        count = self._store.count(0, None, state)
        assert count is not None  # without a budget it counts to the end
        return count - self._expired(state)

    def _expired(self, state: ReadState) -> int:
        """The number of keys that still count (no sweep has deleted them), but had expired at the snapshot."""
        now_ms = self._made_at_ms
        found: set[bytes] = set()
        for memtables in state.older:
            for memtable in memtables:
                found.update(key for key, entry in memtable.entries.items() if _has_expired(entry, now_ms))
        for runs in state.runs:
            for run in runs:
                for table in run.tables:
                    found.update(key for _, key in takewhile(lambda due: due[0] <= now_ms, table.expiries()))
        return sum(key < USER_END and _has_expired(self._read(key, values=False), now_ms) for key in found)

    def _read(self, stored: bytes, *, values: bool = True, wait: bool = True) -> Live | None:
        """Without `wait`: ColdRead where it would wait for the disk."""
        state = self._open_state()
        shard = state.shard_of(stored)
        entry = from_memtables(state, shard, stored)
        if entry is None:
            entry = from_tables(state, shard, stored, hash_key(stored), wait=wait, values=values)
        return None if entry is TOMBSTONE else entry

    def _first(self, start: bytes, stop: bytes, count: int) -> Page | None:
        return self._open_state().head(start, stop, count)

    def _head(self, start: bytes, stop: bytes, limit: int, *, values: bool = True) -> Page | None:
        state = self._open_state()
        return state.plain_head(start, stop, limit, values=values) if limit <= HEAD_ENTRIES else None

    def _pages(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None, *, values: bool = True, wait: bool = True
    ) -> Iterator[Page]:
        return self._open_state().pages(start, stop, reverse=reverse, nowait=not wait, values=values)

    def _now_ms(self) -> int:
        return self._made_at_ms

    def _frozen(self) -> Snapshot:
        self._open_state()
        return self

    def _check_open(self) -> None:
        self._open_state()

    def _open_state(self) -> ReadState:
        state = self._state
        if state is None:
            raise ClosedError("the snapshot is closed")
        return state


def _has_expired(entry: Entry | None, now_ms: int) -> bool:
    return type(entry) is tuple and 0 != entry[1] <= now_ms
