"""Ready replies of hot keys: finished bulks of strings without expiry, bounded in bytes.

Filled by GET from what the store holds, never by SET; discarded when the key enters the pending batch. So a hit needs
no look into the pending batch, no judgement of expiry and no encoding: it is the whole GET.

Eviction is by generations, an approximation of LRU that costs a hit nothing: replies enter `young`; when young holds
half of the capacity it becomes `old` and what was old goes, a few replies at each fill, since freeing 100,000 at once
would hold the loop for milliseconds. A hit in old moves the reply back to young. What is not asked for during a whole
generation is evicted, what is asked for stays.
"""

from __future__ import annotations

from typing import Final

from flin.net.replies import Reply, bulk

OVERHEAD_BYTES: Final = 240
"""Of one reply beyond key and value: dict slot, Reply, two bytes objects (sys.getsizeof, CPython 3.11)."""

LARGEST_VALUE_BYTES: Final = 4096
"""Larger values gain little from a ready reply: copying them into the send buffer costs more than encoding."""

FREED_PER_FILL: Final = 2
"""At least one per fill, or evicted replies would outlive the next turn; two leave half a generation of slack."""


class HotKeys:
    """The ready replies of one database. `young` may be read directly: a plain dict from user key to Reply."""

    __slots__ = ("_evicted", "_half_bytes", "_young_bytes", "evictions", "hits", "misses", "old", "young")

    def __init__(self, capacity_bytes: int) -> None:
        self.young: dict[bytes, Reply] = {}
        self.old: dict[bytes, Reply] = {}
        self._evicted: dict[bytes, Reply] = {}  # no longer found, not yet freed
        self._half_bytes = capacity_bytes // 2
        self._young_bytes = 0
        self.hits = 0  # counted by whoever reads `young`
        self.misses = 0
        self.evictions = 0

    def find_old(self, key: bytes) -> Reply | None:
        """A reply that young does not hold; it becomes young again."""
        if self.old:
            reply = self.old.pop(key, None)
            if reply is not None:
                self._insert(key, reply, len(reply.data))
                return reply
        self.misses += 1
        return None

    def fill(self, key: bytes, value: bytes) -> None:
        """Keep the reply of a value that was read from the store (not from the pending batch)."""
        if len(value) <= LARGEST_VALUE_BYTES and self._half_bytes:
            self._insert(key, bulk(value), len(value))

    def discard(self, key: bytes) -> None:
        # The bytes go on counting until the generation turns: exact accounting would cost every write.
        self.young.pop(key, None)
        self.old.pop(key, None)

    def clear(self) -> None:
        self.young = {}
        self.old = {}
        self._evicted = {}
        self._young_bytes = 0

    def size(self) -> int:
        """Number of ready replies."""
        return len(self.young) + len(self.old)

    def approximate_bytes(self) -> int:
        return sum(len(key) + len(reply.data) + OVERHEAD_BYTES for key, reply in self.young.items()) + sum(
            len(key) + len(reply.data) + OVERHEAD_BYTES for key, reply in self.old.items()
        )

    def _insert(self, key: bytes, reply: Reply, value_bytes: int) -> None:
        self.young[key] = reply
        self._young_bytes += len(key) + value_bytes + OVERHEAD_BYTES
        if self._evicted:
            for _ in range(min(FREED_PER_FILL, len(self._evicted))):
                self._evicted.popitem()
        if self._young_bytes > self._half_bytes:
            self.evictions += len(self.old)
            self._evicted = self.old
            self.old = self.young
            self.young = {}
            self._young_bytes = 0
