"""Cached replies of hot keys: finished bulk replies of strings without expiry, bounded in bytes.

GET adds a reply from what the store holds; SET never does. A reply is discarded when its key enters the pending batch.
So a hit needs no lookup in the pending batch, no check of expiry and no encoding: it is the whole GET.

Replies are evicted by generations, an approximation of LRU that costs a hit nothing. There are two: new replies enter
`young`. When all room is taken, each new reply takes the place of one in `old`, the last that came; when none is left
there, young becomes old. A hit in old moves the reply back to young. So what is not asked for during a whole generation
is evicted. What is asked for often is among the first that move, so what goes first is what is asked for least. Both
together fill the room at all times. (If old is dropped whole each time that young holds half of the room, the room is
half empty on the average, and of zipfian reads as below 62 % are hits instead of 67.)

A key is admitted at its second miss within the time of a generation; as long as nothing was evicted, at the first.
Otherwise reads of more keys than fit would make, keep and free a reply at nearly every read, and those that are read
often would have to go for those that are not. (Zipfian reads of 98,000 keys, with room for 2,500: 67 % are hits, 5 %
fill. If a second miss counts that comes later, 58 % were hits, and 29 % filled.)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, repeat
from typing import Final

from flin.net.wire.replies import bulk

OVERHEAD_BYTES: Final = 200
"""Bytes of one reply in addition to key and value: dict slot and two bytes objects (sys.getsizeof, CPython 3.11)."""

MAX_CACHED_BYTES: Final = 4096
"""Larger values gain little from a cached reply: copying them into the send buffer costs more than encoding."""

DOORKEEPER_SLOTS: Final = 1 << 16
"""Each slot is one byte of the hash of the key that was last missed there, since young began. A second miss is
recognised within some 65,000 others; one first miss in 256 is mistaken for a second."""

FREED_PER_FILL: Final = 32
"""The most replies that go for one that comes: the largest one takes the place of at most 21 others, so there is slack
to shrink. More at once would stop the event loop, when live objects take half of the room."""

FREED_AT_ONCE: Final = 4096
"""The most that go without a fill: 1 to 2 ms."""


class ReplyCache:
    """The cached replies of one database. `young` may be read directly: a dict from user key to finished reply."""

    __slots__ = (
        "_borrowed_bytes",
        "_bytes",
        "_capacity_bytes",
        "_doorkeeper",
        "_is_full",
        "_lent_bytes",
        "_room_bytes",
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
        self._capacity_bytes = capacity_bytes
        self._room_bytes = capacity_bytes
        self._borrowed_bytes = self._lent_bytes = 0
        self._bytes = 0  # what both hold
        self._is_full = False  # some were evicted since the last `clear`
        self.hits = self.misses = 0  # counted by the readers
        self.evictions = 0

    def find_old(self, key: bytes) -> bytes | None:
        """The reply in the old generation, for a key that young does not hold; it moves back to young. A
        miss is counted once it is answered: a lookup that waits for the disk is repeated."""
        if self.old:
            reply = self.old.pop(key, None)
            if reply is not None:
                self.young[key] = reply
                return reply
        return None

    def find_old_many(self, places: Sequence[int], keys: Sequence[bytes], replies: list[bytes | None]) -> list[int]:
        """Do what `find_old` does for the keys at these places, and put the replies there. Returns the other
        places."""
        take = self.old.pop
        young = self.young
        others = []
        for place in places:
            key = keys[place]
            reply = take(key, None)
            if reply is None:
                others.append(place)
            else:
                replies[place] = young[key] = reply
        return others

    def fill(self, key: bytes, value: bytes) -> None:
        """Offer a value that was read from the store (not from the pending batch), after a miss in both generations."""
        hashed = hash(key)
        slot, mark = hashed & 0xFFFF, hashed >> 16 & 0xFF
        if self._doorkeeper[slot] != mark and self._is_full:
            self._doorkeeper[slot] = mark
        elif len(value) <= MAX_CACHED_BYTES and self._room_bytes and key not in self.young:
            reply = self.young[key] = bulk(value).data
            self._bytes += len(key) + len(reply) + OVERHEAD_BYTES
            if self._bytes > self._room_bytes:
                self._evict(FREED_PER_FILL)

    def fill_many(self, keys: Sequence[bytes], replies: Sequence[bytes]) -> None:
        """Do what `fill` does, given finished replies of short values, in loops of C while nothing was evicted."""
        if not self._room_bytes:
            return
        made = dict(zip(keys, replies, strict=True)) if not self._is_full else self._known(keys, replies)
        if made:
            self._insert(made)

    def _known(self, keys: Sequence[bytes], replies: Sequence[bytes]) -> dict[bytes, bytes]:
        """Those of them that the doorkeeper knows."""
        doorkeeper = self._doorkeeper
        known = {}
        for key, reply, hashed in zip(keys, replies, map(hash, keys), strict=True):
            slot, mark = hashed & 0xFFFF, hashed >> 16 & 0xFF
            if doorkeeper[slot] == mark:
                known[key] = reply
            else:
                doorkeeper[slot] = mark
        return known

    def discard(self, key: bytes) -> None:
        for replies in (self.young, self.old):
            reply = replies.pop(key, None)
            if reply is not None:
                self._bytes -= len(key) + len(reply) + OVERHEAD_BYTES

    def discard_many(self, keys: Sequence[bytes]) -> None:
        for replies in (self.young, self.old):
            if replies and not replies.keys().isdisjoint(keys):  # which would go over all keys even if it is empty
                taken = [*map(replies.pop, keys, repeat(None))]
                gone = [*filter(None, taken)]
                self._bytes -= sum(map(len, gone)) + sum(map(len, compress(keys, taken))) + OVERHEAD_BYTES * len(gone)

    def lend(self, used_bytes: int) -> None:
        """Others use `used_bytes` of the room, at most half of it."""
        self._lent_bytes = min(used_bytes, self._capacity_bytes // 2)
        self._room_bytes = self._capacity_bytes + self._borrowed_bytes - self._lent_bytes

    def borrow(self, more_bytes: int) -> None:
        """Others give `more_bytes` of theirs; after less than before they must wait until it `fits`."""
        self._borrowed_bytes = more_bytes
        self._room_bytes = self._capacity_bytes + more_bytes - self._lent_bytes

    def fits(self) -> bool:
        """Free some replies if the room has become smaller. Returns whether all fit."""
        if self._bytes > self._room_bytes:
            self._evict(FREED_AT_ONCE)
        return self._bytes <= self._room_bytes

    @property
    def has_room(self) -> bool:
        """Whether replies are cached at all."""
        return self._capacity_bytes > 0

    def clear(self) -> None:
        self.young = {}
        self.old = {}
        self._bytes = 0
        self._is_full = False

    def size(self) -> int:
        """Number of cached replies."""
        return len(self.young) + len(self.old)

    def approximate_bytes(self) -> int:
        return sum(len(key) + len(reply) + OVERHEAD_BYTES for key, reply in self.young.items()) + sum(
            len(key) + len(reply) + OVERHEAD_BYTES for key, reply in self.old.items()
        )

    def _insert(self, made: dict[bytes, bytes]) -> None:
        """Put them into young; old does not have them."""
        young = self.young
        if not young.keys().isdisjoint(made):  # a key that was asked for twice at once
            made = {key: reply for key, reply in made.items() if key not in young}
        young.update(made)
        self._bytes += sum(map(len, made)) + sum(map(len, made.values())) + OVERHEAD_BYTES * len(made)
        if self._bytes > self._room_bytes:
            self._evict(FREED_PER_FILL * len(made))

    def _evict(self, most: int) -> None:
        old = self.old
        for _ in range(most):
            if not old:
                old = self.old = self.young
                self.young = {}
                self._doorkeeper = bytearray(DOORKEEPER_SLOTS)
                self._is_full = True
                if not old:
                    break
            key, reply = old.popitem()
            self._bytes -= len(key) + len(reply) + OVERHEAD_BYTES
            self.evictions += 1
            if self._bytes <= self._room_bytes:
                break
