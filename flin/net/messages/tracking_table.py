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
from sys import getsizeof
from typing import Final, TypeAlias

Readers: TypeAlias = int | set[int]
"""Numbers of clients."""

KEY_BYTES: Final = 100
"""A key with one reader, beside its bytes: 33 are the object's own, 35 to 60 its place in the dict, which grows by
doubling (measured with tracemalloc, CPython 3.11: 100,000 to 1,000,000 keys). The second reader's set takes 216, the
fifth makes 728 of them, the nineteenth 2,264."""

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
            self.size_bytes -= getsizeof(readers)
            readers.add(client)
            self.size_bytes += getsizeof(readers)
        elif readers == client:
            return
        else:
            assert type(readers) is int
            both = self._readers[key] = {readers, client}
            self.size_bytes += getsizeof(both)
        self.number_of_readers += 1

    def take(self, key: bytes) -> Readers | None:
        """The key is written: take it out, and return who had read it."""
        readers = self._readers.pop(key, None)
        if readers is not None:
            self.number_of_readers -= len(numbers_of(readers))
            self.size_bytes -= len(key) + KEY_BYTES
            if type(readers) is set:
                self.size_bytes -= getsizeof(readers)
        return readers

    def put_back(self, key: bytes, readers: Readers) -> None:
        """It was not written after all."""
        for client in numbers_of(readers):
            self.add(key, client)

    def take_all(self) -> dict[bytes, Readers]:
        """Everything is deleted: take all keys out, and return who had read which."""
        readers, self._readers = self._readers, {}
        self._oldest.clear()
        self.number_of_readers = self.size_bytes = 0
        return readers

    def evict(self, most_keys: int, most_bytes: int) -> Iterator[tuple[bytes, Readers]]:
        """Take keys out until both bounds are kept; the oldest first, roughly."""
        while self._readers and (len(self._readers) > most_keys or self.size_bytes > most_bytes):
            if not self._oldest:
                self._oldest.extend(islice(self._readers, OLDEST_KEYS))
            key = self._oldest.popleft()
            readers = self.take(key)
            if readers is not None:
                yield key, readers


def numbers_of(readers: Readers) -> set[int]:
    return {readers} if isinstance(readers, int) else readers
