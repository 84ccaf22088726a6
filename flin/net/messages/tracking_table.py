"""The table of client-side caching: which clients have read which keys since these were last written.

Keys are users' keys without their database, as in Redis: a write in one database invalidates the key in all, which
costs a client a read too much at most. Most keys have one reader: its number; a set is made for the second.

The table is bounded by its number of keys and by what they take in memory. Beyond, the oldest keys go, and their
readers are told as if somebody had written them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final, TypeAlias

Readers: TypeAlias = int | set[int]
"""Numbers of clients."""

KEY_BYTES: Final = 140
SET_BYTES: Final = 250
"""A key with one reader, beside its bytes, and a second reader: the set; more cost 32 to 64 bytes each (measured with
tracemalloc, CPython 3.11: 100,000 keys)."""

OLDEST_KEYS: Final = 1024
"""So many of the oldest keys are looked for at once: a dict whose first key is taken again and again walks over all
that were taken before."""


class TrackingTable:
    """`number_of_readers` counts one for each key and client."""

    __slots__ = ("_oldest", "_readers", "number_of_readers", "size_bytes")

    def __init__(self) -> None:
        self._readers: dict[bytes, Readers] = {}
        self._oldest: deque[bytes] = deque()  # to be evicted next
        self.number_of_readers = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._readers)

    def has(self, key: bytes, client: int) -> bool:
        return client in numbers_of(self._readers.get(key, 0))

    def add(self, key: bytes, client: int) -> None:
        """The client has read the key."""
        readers = self._readers.get(key)
        if readers is None:
            self._readers[key] = client
            self.size_bytes += len(key) + KEY_BYTES
        elif type(readers) is set:
            if client in readers:
                return
            readers.add(client)
            self.size_bytes += _MORE_BYTES
        elif readers == client:
            return
        else:
            assert type(readers) is int
            self._readers[key] = {readers, client}
            self.size_bytes += SET_BYTES
        self.number_of_readers += 1

    def take(self, key: bytes) -> Readers | None:
        """The key is written: take it out, and return who had read it."""
        readers = self._readers.pop(key, None)
        if readers is not None:
            number = len(numbers_of(readers))
            self.number_of_readers -= number
            self.size_bytes -= len(key) + KEY_BYTES
            if type(readers) is set:
                self.size_bytes -= SET_BYTES + _MORE_BYTES * (number - 2)
        return readers

    def put_back(self, key: bytes, readers: Readers) -> None:
        """It was not written after all."""
        for client in numbers_of(readers):
            self.add(key, client)

    def clear(self) -> None:
        self._readers.clear()
        self._oldest.clear()
        self.number_of_readers = self.size_bytes = 0

    def evict(self, most_keys: int, most_bytes: int) -> Iterator[tuple[bytes, Readers]]:
        """Take keys out until both bounds are kept; the oldest first, roughly."""
        while self._readers and (len(self._readers) > most_keys or self.size_bytes > most_bytes):
            if not self._oldest:
                self._oldest.extend(islice(self._readers, OLDEST_KEYS))
            key = self._oldest.popleft()
            readers = self.take(key)
            if readers is not None:
                yield key, readers


_MORE_BYTES: Final = 48
"""A third reader of a key, and each more."""


def numbers_of(readers: Readers) -> set[int]:
    return {readers} if isinstance(readers, int) else readers
