"""The store of a leader whose reads wait, too, until its place has been confirmed (`--read-concern strict`).

To the server everything is held for a sync then: what was read as well as what was written. A sync asks the log for
what was written, then for a proof that nobody else leads, which began after all that waits for it had run. One proof
serves all that came meanwhile. So positions here count syncs: what runs before a sync begins has its number.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flin.net.batch.reply_barrier import EVERYTHING, ReplyBarrier

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from flin.engine.entry import Entry, Range
    from flin.net.batch.store import StoreLike


class ConfirmedStore:
    """What is not here is the store's own."""

    def __init__(self, store: StoreLike, confirm: Callable[[], None]) -> None:
        """confirm: returns once it is proved that this replica leads; it raises StorageError."""
        self.store = store
        self._confirm = confirm
        self._lock = threading.Lock()
        self.position = 1
        self.synced_position = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    @property
    def holds_sweep(self) -> bool:
        return self.store.holds_sweep

    @holds_sweep.setter
    def holds_sweep(self, value: bool) -> None:
        self.store.holds_sweep = value

    @property
    def awaits_filters(self) -> bool:
        return self.store.awaits_filters

    @awaits_filters.setter
    def awaits_filters(self, value: bool) -> None:
        self.store.awaits_filters = value

    def commit(self, batch: dict[bytes, Entry], ranges: Sequence[Range] = ()) -> int:
        self.store.commit(batch, ranges)
        return self.position

    def put(self, key: bytes, value: bytes) -> int:
        self.store.put(key, value)
        return self.position

    def sync(self) -> None:
        with self._lock:
            position = self.position
            self.position = position + 1  # what runs from here on waits for the next one
            self.store.sync()
            self._confirm()
            self.synced_position = position


class StrictBarrier(ReplyBarrier):
    """Every reply waits."""

    __slots__ = ()

    @property
    def is_clear(self) -> bool:
        return False

    def position_for(self, stored: AbstractSet[bytes]) -> int:
        return EVERYTHING
