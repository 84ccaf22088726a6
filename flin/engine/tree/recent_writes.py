"""Recent writes: which keys were written since a transaction began, noted only while one is open.

Theory. A transaction remembers a sequence when it begins, and reads the live data. Each write is noted before it can be
read, so who has read something and then finds no note since its beginning has read what was there at its beginning.
Before its commit it asks once more for all that it has read, under the lock under which writes are noted: then nothing
of it has changed, and it is as if all of the transaction had happened at that moment (transaction.py).

Notes are kept in two halves, a young one and an old one. When the young half is full it takes the place of the old one,
which is forgotten as a whole: that costs the same however many notes it holds. A transaction that began before what is
remembered cannot be judged any more; it counts as if all had changed.

A sequence is the number of notes before it. All methods are called under the commit lock, except `written_since`. This
module knows only keys.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, TypeAlias
from weakref import WeakSet

from flin.engine.entry import Entry, Range

Change: TypeAlias = bytes | Range
"""A key that was written, or the range of a range delete."""

NOTE_BYTES: Final = 170
"""What a note takes besides the bytes of its key: a bytes object (33), its place in the dict (up to 96) and in the log
(9), the sequence (32)."""


MAX_MS: Final = 2**63 - 1
"""No clock comes to this."""


class Begun:
    """An open transaction. Notes are made as long as it exists, or until `end`."""

    __slots__ = ("__weakref__", "now_ms", "sequence")

    def __init__(self, sequence: int, now_ms: int) -> None:
        self.sequence = sequence
        self.now_ms = now_ms


class _Half:
    __slots__ = ("last", "log", "ranges", "room_bytes", "start")

    def __init__(self, start: int, room_bytes: int) -> None:
        self.start = start  # the sequence at which it begins
        self.room_bytes = room_bytes
        self.log: list[Change] = []  # in the order of writing
        self.last: dict[bytes, int] = {}  # by key, the sequence after its last write
        self.ranges: list[tuple[int, bytes, bytes]] = []  # the same of range deletes

    @property
    def end(self) -> int:
        return self.start + len(self.log)


class RecentWrites:
    def __init__(self, limit_bytes: int) -> None:
        self.forgotten = 0
        """Nothing is known of writes before this sequence."""
        self.is_needed = False
        """Whether a transaction is open. One that was dropped without an end counts until the young half is full."""
        self._half_bytes = limit_bytes // 2
        self._open: WeakSet[Begun] = WeakSet()
        self._young = self._old = _Half(0, self._half_bytes)

    def begin(self, now_ms: int) -> Begun:
        """A transaction begins, whose clock stands at now_ms."""
        begun = Begun(self._young.end, now_ms)
        self._open.add(begun)
        self.is_needed = True
        return begun

    def end(self, begun: Begun) -> None:
        self._open.discard(begun)
        self._drop_unneeded()

    def note(self, key: bytes) -> bool:
        """The key is about to be written. Whether the next write is to be noted, too."""
        young = self._young
        log = young.log
        log.append(key)
        young.last[key] = young.start + len(log)
        young.room_bytes -= NOTE_BYTES + len(key)
        if young.room_bytes < 0:
            self._turn()
        return self.is_needed

    def note_commit(self, keys: Collection[bytes], ranges: Iterable[Range]) -> bool:
        """The range deletes and the keys are about to be written. What `note` returns."""
        young = self._young
        log = young.log
        for start, stop in ranges:
            log.append((start, stop))
            young.ranges.append((young.end, start, stop))
            young.room_bytes -= 2 * NOTE_BYTES + len(start) + len(stop)
        first = young.end + 1
        log += keys
        young.last.update(zip(keys, range(first, first + len(keys)), strict=True))
        young.room_bytes -= NOTE_BYTES * len(keys) + sum(map(len, keys))
        if young.room_bytes < 0:
            self._turn()
        return self.is_needed

    def seen_by_open(self, entries: Iterable[tuple[bytes, Entry | None]]) -> list[bytes]:
        """Those of the keys whose entry is alive by the clock of an open transaction. A sweep changes nothing for
        others: what it deletes had expired when they began."""
        oldest_ms = self.oldest_ms(MAX_MS)
        return [key for key, entry in entries if not (type(entry) is tuple and 0 != entry[1] <= oldest_ms)]

    def oldest_ms(self, now_ms: int) -> int:
        """The oldest of all clocks: of the open transactions, and this one."""
        return min(now_ms, *(begun.now_ms for begun in self._open), MAX_MS)

    def written_since(self, key: bytes, sequence: int) -> bool:
        """Whether the key was written after the sequence, or that is forgotten. Needs no lock.

        The young half is asked first: if they take turns meanwhile, only what is forgotten is missed, which is asked
        for last."""
        young, old = self._young, self._old
        if young.last.get(key, 0) > sequence or old.last.get(key, 0) > sequence:
            return True
        if young.ranges or old.ranges:
            for half in (young, old):
                for at, start, stop in reversed(half.ranges):
                    if at <= sequence:
                        break
                    if start <= key < stop:
                        return True
        return self.forgotten > sequence

    def since(self, sequence: int) -> Sequence[Change] | None:
        """What was written after the sequence, in this order; None if that is forgotten."""
        young, old = self._young, self._old
        if self.forgotten > sequence:
            return None
        if sequence >= young.start:
            return young.log[sequence - young.start :]
        return old.log[sequence - old.start :] + young.log

    @property
    def sequence(self) -> int:
        """The sequence of now."""
        return self._young.end

    def _turn(self) -> None:
        """The young half is full."""
        young = self._young
        self.forgotten = young.start  # first, for `written_since`
        self._old, self._young = young, _Half(young.end, self._half_bytes)
        self._drop_unneeded()

    def _drop_unneeded(self) -> None:
        """Drop what no open transaction asks for."""
        young = self._young
        if not self._open:
            self.is_needed = False
            if young.log or self._old is not young:
                self.forgotten = young.end
                self._young = self._old = _Half(young.end, self._half_bytes)
        elif self._old is not young and min(begun.sequence for begun in self._open) >= young.start:
            self.forgotten = young.start
            self._old = young
