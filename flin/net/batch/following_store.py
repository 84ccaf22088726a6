"""The store of a follower, as its server sees it: it takes no write.

Only the log of its group writes there (run/foreign.py), and every write of its own would make the replica differ from
the others. So the reasons to write fail here together: clients' commands, the deletion of expired keys, the reaper, the
lease of versions, eviction, the cursors that a clean end keeps. `read_only_reason` is what they all look at first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from flin.errors import ReadOnlyError

if TYPE_CHECKING:
    from flin.engine.entry import Entry, Range
    from flin.net.batch.store import StoreLike

FOLLOWS: Final = "this replica follows the leader of its group"


class FollowingStore:
    """Reads are the store's own methods: they cost nothing more."""

    def __init__(self, store: StoreLike) -> None:
        self.store = store
        self.read = store.read
        self.read_nowait = store.read_nowait
        self.newest_entries = store.newest_entries
        self.older_entries = store.older_entries
        self.in_tables = store.in_tables
        self.read_near = store.read_near
        self.freeze = store.freeze
        self.pages = store.pages
        self.page = store.page
        self.count = store.count
        self.settle = store.settle
        self.uncounted_entries = store.uncounted_entries
        self.count_ahead = store.count_ahead
        self.unsettled_entries = store.unsettled_entries
        self.settled_count = store.settled_count
        self.lend_blocks = store.lend_blocks
        self.stall = store.stall
        self.now_ms = store.now_ms
        self.make_read_only = store.make_read_only

    @property
    def holds_sweep(self) -> bool:
        return True

    @holds_sweep.setter
    def holds_sweep(self, value: bool) -> None:
        """CLIENT PAUSE begins or ends: the leader sweeps, whatever it says."""

    @property
    def awaits_filters(self) -> bool:
        return self.store.awaits_filters

    @awaits_filters.setter
    def awaits_filters(self, value: bool) -> None:
        self.store.awaits_filters = value

    @property
    def position(self) -> int:
        return self.store.position

    @property
    def synced_position(self) -> int:
        """What is applied was in the log before: nothing that can be read waits for anything."""
        return self.store.position

    @property
    def block_misses(self) -> int:
        return self.store.block_misses

    @property
    def read_only_reason(self) -> str | None:
        return self.store.read_only_reason or FOLLOWS

    @property
    def background_error(self) -> BaseException | None:
        return self.store.background_error

    def commit(self, batch: dict[bytes, Entry], ranges: Sequence[Range] = ()) -> int:
        raise ReadOnlyError(FOLLOWS)

    def put(self, key: bytes, value: bytes) -> int:
        raise ReadOnlyError(FOLLOWS)

    def sync(self) -> None:
        """There is nothing to wait for."""
