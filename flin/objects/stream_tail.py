"""The newest entries of a stream, in memory: those who wait for what is added read nothing.

All entries from the id `since` on are held. A spread stream holds some 1,024 of them and a megabyte; the oldest ones go
when there are twice as many, so that a change costs the same, however many there are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final, TypeAlias

from flin.objects.meta import NO_ID
from flin.objects.stream_id import MAX_ID, next_id

MAX_HELD: Final = 1024
MAX_HELD_BYTES: Final = 1 << 20
"""Entries, and bytes of their fields and values, that are left when the oldest ones go."""

ENTRY_BYTES: Final = 250
"""An entry in memory: its id, its list, its places in both."""

_STRING_BYTES: Final = 45
"""A field or value in addition to its bytes: a bytes object and its place in a list."""

StreamEntry: TypeAlias = tuple[bytes, list[bytes]]
"""The id; field, value, field, value …"""


class Tail:
    """`ids` ascend; `entries` has the fields and values of each."""

    __slots__ = ("bytes", "entries", "ids", "since")

    def __init__(self, since: bytes = NO_ID) -> None:
        self.since = since
        self.ids: list[bytes] = []
        self.entries: dict[bytes, list[bytes]] = {}
        self.bytes = 0  # in memory, about

    def __len__(self) -> int:
        return len(self.ids)

    def append(self, id_: bytes, strings: list[bytes]) -> None:
        """Add an entry above all others of the stream."""
        if id_ < self.since:  # XSETID has set the last id back
            self.since = id_
        self.ids.append(id_)
        self.entries[id_] = strings
        self.bytes += _size_of(strings)

    def extend(self, ids: list[bytes], entries: list[list[bytes]]) -> None:
        """Add entries above all others, and let the oldest ones go, if too many are held."""
        if ids[0] < self.since:
            self.since = ids[0]
        self.ids += ids
        self.entries.update(zip(ids, entries, strict=True))
        self.bytes += sum(map(_size_of, entries))
        self.shorten()

    def fill(self, entries: list[StreamEntry], since: bytes) -> None:
        """Hold these instead: all from `since` on, in order."""
        self.ids = [id_ for id_, _ in entries]
        self.entries = dict(entries)
        self.bytes = sum(map(_size_of, self.entries.values()))
        self.since = since

    def remove(self, id_: bytes) -> None:
        """Remove an entry, if it is held."""
        strings = self.entries.pop(id_, None)
        if strings is not None:
            del self.ids[bisect_left(self.ids, id_)]
            self.bytes -= _size_of(strings)

    def remove_to(self, last: bytes) -> None:
        """Remove what is held up to this id."""
        gone = bisect_right(self.ids, last)
        self.bytes -= sum(_size_of(self.entries.pop(id_)) for id_ in self.ids[:gone])
        del self.ids[:gone]

    def shorten(self) -> None:
        """Let the oldest ones go, if too many are held."""
        if len(self.ids) <= 2 * MAX_HELD and self.bytes <= 2 * MAX_HELD_BYTES:
            return
        gone = max(0, len(self.ids) - MAX_HELD)
        self.bytes -= sum(_size_of(self.entries.pop(id_)) for id_ in self.ids[:gone])
        while self.bytes > MAX_HELD_BYTES:
            self.bytes -= _size_of(self.entries.pop(self.ids[gone]))
            gone += 1
        last = self.ids[gone - 1]
        self.since = next_id(last) if last < MAX_ID else last
        del self.ids[:gone]

    def between(self, start: bytes, stop: bytes, count: int, *, reverse: bool = False) -> list[StreamEntry]:
        """The first `count` of those held from start to stop, or the last ones, downwards."""
        begin, end = bisect_left(self.ids, start), bisect_right(self.ids, stop)
        ids = self.ids[max(begin, end - count) : end][::-1] if reverse else self.ids[begin : min(end, begin + count)]
        return [(id_, self.entries[id_]) for id_ in ids]


def _size_of(strings: list[bytes]) -> int:
    return ENTRY_BYTES + _STRING_BYTES * len(strings) + sum(map(len, strings))
