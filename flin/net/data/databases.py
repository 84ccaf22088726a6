"""The databases of the server: their keyspaces, and the namespace of stored keys that each of them means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flin.engine.key import namespace_prefix
from flin.net.batch.namespaces import STORED_KEY, decode, encode, recall
from flin.net.batch.version_lease import VersionLease
from flin.net.data.keyspace import Keyspace
from flin.net.data.observers import Observed
from flin.net.data.reply_cache import ReplyCache
from flin.objects.thresholds import Thresholds

if TYPE_CHECKING:
    from flin.engine.expiring import Expiries
    from flin.net.batch.pending import Pending, Savepoint
    from flin.net.batch.refusal import Refusal
    from flin.net.batch.store import StoreLike


class Databases:
    """`keyspaces` has one for each number that SELECT takes."""

    def __init__(
        self,
        store: StoreLike,
        pending: Pending,
        number: int,
        reply_cache_bytes: int,
        thresholds: Thresholds | None = None,
        largest_reply_bytes: int = 1 << 29,
    ) -> None:
        """reply_cache_bytes: for the cached replies of all databases together. thresholds: None: Redis's defaults.
        largest_reply_bytes: no longer string is put together."""
        self._lease = VersionLease(store, pending)
        thresholds = Thresholds() if thresholds is None else thresholds
        self.observed = Observed()
        self.keyspaces = [
            Keyspace(
                database,
                store,
                pending,
                ReplyCache(room),
                self._lease,
                room // 2,
                thresholds,
                largest_reply_bytes,
                self.observed,
            )
            for database, room in enumerate(_rooms(number, reply_cache_bytes))
        ]
        self.expiries: dict[int, Expiries] = {}  # by namespace: the newest figures, for INFO
        self.store = store
        self.pending = pending
        self._is_swapped = False  # the pending batch swaps databases
        self._recall()
        self.when_taken_back: list[Callable[[], None]] = []  # who else keeps what the batch says
        pending.on_refused = self.forget_objects

    def block_reads(self, *, blocking: bool) -> None:
        """See Keyspace.block_reads; for every database, since a command may touch two."""
        for keyspace in self.keyspaces:
            keyspace.block_reads(blocking=blocking)

    def clear(self) -> None:
        """FLUSHALL."""
        for keyspace in self.keyspaces:
            keyspace.note_clear()
        self.pending.delete_range(b"", namespace_prefix(0xFFFF))  # the last namespace is no database's
        for keyspace in self.keyspaces:
            keyspace.hot.clear()

    def reset_counters(self) -> None:
        for keyspace in self.keyspaces:
            keyspace.hits = keyspace.misses = 0
            keyspace.hot.hits = keyspace.hot.misses = keyspace.hot.evictions = 0

    # SWAPDB.

    def swap(self, first: int, second: int) -> None:
        """The numbers are checked, and neither is 0."""
        self.keyspaces[first].exchange(self.keyspaces[second])
        self._namespaces[first], self._namespaces[second] = self._namespaces[second], self._namespaces[first]
        self.pending.points[STORED_KEY] = encode(self._namespaces)
        if not self._is_swapped:
            self._is_swapped = True
            # Before the listeners that judge replies: these go by the databases as they are then.
            self.pending.listen(self, first=True)

    def batch_committed(self) -> None:
        """If it swapped databases, read their namespaces again."""
        if self._is_swapped:
            self._recall()

    def batch_refused(self, refusal: Refusal) -> None:
        if self._is_swapped:
            self._recall()

    def take_back(self, savepoint: Savepoint) -> None:
        """Make the pending batch again what it was at the savepoint, and forget what was read from it since."""
        changed = self.pending.changed_since(savepoint)
        self.pending.roll_back(savepoint)
        for keyspace in self.keyspaces:
            keyspace.take_back(changed)
        self._lease.rolled_back()
        if self._is_swapped:
            self._recall()
        for forget in self.when_taken_back:
            forget()

    def forget_objects(self) -> None:
        """The batch is gone, and with it the truth of everything read from it: all objects are read again."""
        for keyspace in self.keyspaces:
            keyspace.objects.forget_all()

    def _recall(self) -> None:
        entry = self.pending.points.get(STORED_KEY)
        if entry is None and self._is_swapped:
            self._is_swapped = False
            self.pending.forget(self)
        self._namespaces = recall(self.store) if entry is None else decode(entry)
        for keyspace, namespace in zip(self.keyspaces, self._namespaces, strict=False):
            if keyspace.namespace != namespace:
                keyspace.hold(namespace)
                keyspace.hot.clear()


def _rooms(number: int, hot_bytes: int) -> list[int]:
    """Each database's. Database 0 gets three quarters of the hot keys' memory: it is the one that nearly everybody
    uses. Live objects may take up to half of it from the cached replies."""
    first = hot_bytes if number == 1 else hot_bytes * 3 // 4
    rest = 0 if number == 1 else (hot_bytes - first) // (number - 1)
    return [first, *[rest] * (number - 1)]
