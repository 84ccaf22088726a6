"""Cached replies of hot keys: finished bulk replies of strings without expiry, bounded in bytes.

GET adds a reply from what the store holds; SET never does. A reply is discarded when its key enters the pending batch.
So a hit needs no lookup in the pending batch, no check of expiry and no encoding: it is the whole GET.

Replies are evicted by generations, an approximation of LRU that costs a hit nothing. There are two: new replies enter
`young`. When young holds half of the capacity, it becomes `old`, and the replies of the previous old generation are
freed, a few at each fill, since freeing 100,000 at once would stop the event loop for milliseconds. A hit in old moves
the reply back to young. So a reply that is not asked for during a whole generation is evicted, and others stay.

A key is admitted at its second miss within the time of a generation; as long as nothing was evicted, at the first.
Otherwise reads of more keys than fit would make, keep and free a reply at nearly every read, and those that are read
often would have to go for those that are not. (Zipfian reads of 49,000 keys, with room for 1,600: 62 % are hits, 3 %
fill. If a second miss counts that comes later, it is 58 % and 29 %.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flin.net.wire.replies import bulk

OVERHEAD_BYTES: Final = 200
"""Bytes of one reply in addition to key and value: dict slot and two bytes objects (sys.getsizeof, CPython 3.11)."""

MAX_CACHED_BYTES: Final = 4096
"""Larger values gain little from a cached reply: copying them into the send buffer costs more than encoding."""

DOORKEEPER_SLOTS: Final = 1 << 16
"""Each slot is one byte of the hash of the key that was last missed there, since young began. A second miss is
recognised within some 65,000 others; one first miss in 256 is mistaken for a second."""

FREED_PER_FILL: Final = 2
"""At least one per fill, or evicted replies would outlive the next turn; two leave half a generation of slack."""


class ReplyCache:
    """The cached replies of one database. `young` may be read directly: a dict from user key to finished reply."""

    __slots__ = (
        "_capacity_bytes",
        "_doorkeeper",
        "_evicted",
        "_half_bytes",
        "_young_bytes",
        "evictions",
        "hits",
        "misses",
        "old",
        "young",
    )

    def __init__(self, capacity_bytes: int) -> None:
        self.young: dict[bytes, bytes] = {}
        self.old: dict[bytes, bytes] = {}
        self._doorkeeper = bytearray(DOORKEEPER_SLOTS)
        self._evicted: dict[bytes, bytes] = {}  # no longer found, not yet freed
        self._capacity_bytes = capacity_bytes
        self._half_bytes = capacity_bytes // 2
        self._young_bytes = 0
        self.hits = 0  # counted by the readers of `young`
        self.misses = 0
        self.evictions = 0

    def find_old(self, key: bytes) -> bytes | None:
        """The reply in the old generation, for a key that young does not hold; it moves back to young."""
        if self.old:
            reply = self.old.pop(key, None)
            if reply is not None:
                self._insert(key, reply)
                return reply
        self.misses += 1
        return None

    def find_old_many(self, places: Sequence[int], keys: Sequence[bytes], replies: list[bytes | None]) -> list[int]:
        """Do what `find_old` does for the keys at these places, and put the replies there. Returns the other places;
        their misses are not counted."""
        take = self.old.pop
        moved: dict[bytes, bytes] = {}
        others = []
        for place in places:
            key = keys[place]
            reply = take(key, None)
            if reply is None:
                others.append(place)
            else:
                replies[place] = moved[key] = reply
        if moved:
            self.young.update(moved)
            self._note(sum(map(len, moved)) + sum(map(len, moved.values())), len(moved))
        return others

    def fill(self, key: bytes, value: bytes) -> None:
        """Offer a value that was read from the store (not from the pending batch), after a miss."""
        hashed = hash(key)
        slot, mark = hashed & 0xFFFF, hashed >> 16 & 0xFF
        if self._doorkeeper[slot] != mark and self.old:
            self._doorkeeper[slot] = mark
        elif len(value) <= MAX_CACHED_BYTES and self._half_bytes:
            self._insert(key, bulk(value).data)

    def fill_many(self, keys: Sequence[bytes], replies: Sequence[bytes]) -> None:
        """Do what `fill` does, given finished replies of short values, in loops of C while nothing was evicted."""
        if not self._half_bytes:
            return
        if self.old:
            self._fill_again(keys, replies)
            return
        self.young.update(zip(keys, replies, strict=True))
        self._note(sum(map(len, keys)) + sum(map(len, replies)), len(keys))

    def _fill_again(self, keys: Sequence[bytes], replies: Sequence[bytes]) -> None:
        """Those of them that the doorkeeper knows."""
        doorkeeper = self._doorkeeper
        size_bytes = count = 0
        for key, reply, hashed in zip(keys, replies, map(hash, keys), strict=True):
            slot, mark = hashed & 0xFFFF, hashed >> 16 & 0xFF
            if doorkeeper[slot] == mark:
                self.young[key] = reply
                size_bytes += len(key) + len(reply)
                count += 1
            else:
                doorkeeper[slot] = mark
        if count:
            self._note(size_bytes, count)

    def discard(self, key: bytes) -> None:
        # The bytes go on counting until the generation turns: exact accounting would cost every write.
        self.young.pop(key, None)
        self.old.pop(key, None)

    def lend(self, used_bytes: int) -> None:
        """Others use `used_bytes` of the room, at most half of it."""
        self._half_bytes = (self._capacity_bytes - min(used_bytes, self._capacity_bytes // 2)) // 2

    def clear(self) -> None:
        self.young = {}
        self.old = {}
        self._evicted = {}
        self._young_bytes = 0

    def size(self) -> int:
        """Number of cached replies."""
        return len(self.young) + len(self.old)

    def approximate_bytes(self) -> int:
        return sum(len(key) + len(reply) + OVERHEAD_BYTES for key, reply in self.young.items()) + sum(
            len(key) + len(reply) + OVERHEAD_BYTES for key, reply in self.old.items()
        )

    def _insert(self, key: bytes, reply: bytes) -> None:
        self.young[key] = reply
        self._note(len(key) + len(reply), 1)

    def _note(self, size_bytes: int, count: int) -> None:
        """Young holds so many bytes more, in so many replies."""
        self._young_bytes += size_bytes + OVERHEAD_BYTES * count
        if self._evicted:
            for _ in range(min(FREED_PER_FILL * count, len(self._evicted))):
                self._evicted.popitem()
        if self._young_bytes > self._half_bytes:
            self.evictions += len(self.old)
            self._evicted = self.old
            self.old = self.young
            self.young = {}
            self._young_bytes = 0
            self._doorkeeper = bytearray(DOORKEEPER_SLOTS)
