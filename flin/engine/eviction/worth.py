"""The worth of keys: what a database with a size limit remembers of their use, in one byte each, in memory alone.

Theory. Eviction compares keys of a random sample (candidates.py), so it needs no order of all keys, only a rough age or
count of each: as in Redis, whose objects hold 24 bits. Here a key's byte lies where its hash says, and nothing links it
to the key; two keys may share one, and then both are worth what the better one is. With several bytes for each key that
fits below the limit that is rare, and costs hit rate, never data.

To note a use is one assignment (70 ns). What makes all keys older is one `bytes.translate` over all bytes, 0.1 ms for a
million, at each step of the evictor: there are STEPS of them while the data is written once.

A key that was evicted not long ago has the byte EVICTED: the tables hold its entry until they are merged, and it must
not be chosen again and again. After an open all bytes are 0: the first evictions are random.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeVar

Found = TypeVar("Found")

EVICTED: Final = 255
_NEWEST: Final = 254

STEPS: Final = 64
"""Steps of the evictor while as much is written as the limit allows. Ages are told apart to a sixty-fourth of the
whole, and end at four times the whole: what was not used for so long is as good as unused."""

_OLDER: Final = bytes((0, *range(EVICTED)))
_FORGET: Final = bytes(byte - 1 if byte > EVICTED - STEPS else 0 for byte in range(256))
_HALVED: Final = bytes((*(byte // 2 for byte in range(EVICTED)), 0))

MIN_SLOTS: Final = 1 << 12
SLOT_BYTES: Final = 16
"""Bytes of the limit for each slot: some seven for an entry of 112 bytes. While the data is written once, each slot is
marked by chance with a probability of 2 keys / slots. Measured with a zipfian load whose true LRU hits 66.4 %: 63.5 %
with seven, 61.2 % with less than two, 58.2 % for random evictions."""

MEMORY_SHARE: Final = 16
"""The slots take at most this part of `memory_limit`, besides the parts of MemoryBudget: 16 MB of 256 MB."""


class Worth(Protocol):
    """What is known of the use of stored keys. Threads may share it; an update may get lost between two of them."""

    @abstractmethod
    def read(self, key: bytes) -> None:
        """Note that the key was read."""

    @abstractmethod
    def stored(self, key: bytes) -> None:
        """Note that the key was written."""

    @abstractmethod
    def all_read(self, keys: Iterable[bytes]) -> None: ...

    @abstractmethod
    def all_stored(self, keys: Iterable[bytes]) -> None: ...

    @abstractmethod
    def age(self) -> None:
        """A step is over."""

    @abstractmethod
    def of(self, key: bytes) -> int:
        """From 0: the less, the sooner it goes. EVICTED: not now."""

    @abstractmethod
    def all_of(self, keys: Iterable[bytes]) -> list[int]: ...

    @abstractmethod
    def evicted(self, keys: Iterable[bytes]) -> None: ...


class _Slots:
    """A byte for each key, by its hash."""

    def __init__(self, slots: int) -> None:
        """`slots`: a power of two."""
        self._marks = bytearray(slots)
        self._mask = slots - 1

    def of(self, key: bytes) -> int:
        return self._marks[hash(key) & self._mask]

    def all_of(self, keys: Iterable[bytes]) -> list[int]:
        marks, mask = self._marks, self._mask
        return [marks[hash(key) & mask] for key in keys]

    def evicted(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self._marks[hash(key) & self._mask] = EVICTED

    def _set_all(self, keys: Iterable[bytes], byte: int) -> None:
        marks, mask = self._marks, self._mask
        for key in keys:
            marks[hash(key) & mask] = byte

    def _translate(self, table: bytes) -> None:
        self._marks[:] = self._marks.translate(table)


class Unused(_Slots):
    """For policies that ask for no use: only what was evicted is remembered."""

    def read(self, key: bytes) -> None:
        pass

    def all_read(self, keys: Iterable[bytes]) -> None:
        pass

    def stored(self, key: bytes) -> None:
        self._marks[hash(key) & self._mask] = 0

    def all_stored(self, keys: Iterable[bytes]) -> None:
        self._set_all(keys, 0)

    def age(self) -> None:
        self._translate(_FORGET)

    def of(self, key: bytes) -> int:
        return EVICTED if super().of(key) else 0

    def all_of(self, keys: Iterable[bytes]) -> list[int]:
        return [EVICTED if mark else 0 for mark in super().all_of(keys)]


class StoreAge(_Slots):
    """How long ago a key was written, in steps."""

    def read(self, key: bytes) -> None:
        pass

    def all_read(self, keys: Iterable[bytes]) -> None:
        pass

    def stored(self, key: bytes) -> None:
        self._marks[hash(key) & self._mask] = _NEWEST

    def all_stored(self, keys: Iterable[bytes]) -> None:
        self._set_all(keys, _NEWEST)

    def age(self) -> None:
        self._translate(_OLDER)


class UseAge(StoreAge):
    """How long ago a key was written or read, in steps."""

    read = StoreAge.stored
    all_read = StoreAge.all_stored


class UseCount(_Slots):
    """How often a key was written or read of late: all counts are halved once per STEPS, as TinyLFU does it."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self._steps = 0

    def stored(self, key: bytes) -> None:
        slot = hash(key) & self._mask
        count = self._marks[slot]
        if count < _NEWEST:
            self._marks[slot] = count + 1
        elif count == EVICTED:
            self._marks[slot] = 1

    def all_stored(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.stored(key)

    read = stored
    all_read = all_stored

    def age(self) -> None:
        self._steps += 1
        if self._steps % STEPS == 0:
            self._translate(_HALVED)


def noting(worth: Worth, read: Callable[..., Found]) -> Callable[..., Found]:
    """A function that reads a key, and notes that first."""

    def noting_read(key: bytes, *, values: bool = True) -> Found:
        worth.read(key)
        return read(key, values=values)

    return noting_read


def slots_for(limit_bytes: int, memory_limit_bytes: int) -> int:
    """How many bytes: a power of two."""
    wanted = min(limit_bytes // SLOT_BYTES, memory_limit_bytes // MEMORY_SHARE)
    return max(MIN_SLOTS, 1 << max(0, wanted - 1).bit_length())
