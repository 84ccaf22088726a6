"""A generation: the memtables of all shards together with exactly the WAL segments that fed them.

The memtables of the open generation are in the store's state, its segments with the WAL's writer. Here is the rest of
it, what it becomes when it is sealed, and the functions that split and join memtables.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from flin.engine.catalog.recovery import RecoveredGeneration
from flin.engine.entry import Entry, Page, Range
from flin.engine.memtable import Memtable, join_memtables
from flin.engine.slot import shard_of_stored
from flin.engine.wal.frames import SegmentSlice

Memtables: TypeAlias = tuple[Memtable, ...]
Bounded: TypeAlias = tuple[Page, bytes, bytes]
"""A copy of an active memtable's entries in [start, stop), and that start and stop."""
DueHeap: TypeAlias = list[tuple[int, bytes]]
"""A heap of (moment in milliseconds, key): from then on the key may be expired."""

MAX_RETIRED_MEMTABLES: Final = 4
"""The most retired memtables of a shard: each that does not hold a key costs its lookup 60 to 90 ns. A generation that
was never frozen is one."""


@dataclass(slots=True)
class OpenGeneration:
    """The open generation without its memtables. Guarded by the commit lock."""

    start: int  # a position in the WAL
    first_sequence: int = 0  # that of its first operation
    number: int = 0  # how many were sealed before it, since the open
    due: DueHeap = field(default_factory=list)
    recovered_segments: tuple[SegmentSlice, ...] = ()  # from before this open
    size_bytes: int = 0  # in memory, without its active memtables and what the WAL got since the start


@dataclass(slots=True)
class SealedGeneration:
    """A generation that waits for its flush: nothing in it changes any more."""

    memtables: tuple[Memtables, ...]  # by shard, newest first
    segments: tuple[SegmentSlice, ...]  # all that fed it
    end_position: int  # where the WAL goes on after it
    next_sequence: int  # with which the WAL goes on
    next_segment: int  # no segment of this generation has this number or a higher one
    due: DueHeap = field(default_factory=list)
    size_bytes: int = 0  # in memory, about
    operations: int = 0  # that fed it

    @property
    def first_sequence(self) -> int:
        return self.next_sequence - self.operations


@dataclass(frozen=True, slots=True)
class RetiredGeneration:
    """A generation that has been flushed, kept as a cache: of each of its keys it says what the tables say, if all
    newer generations are kept, too."""

    memtables: tuple[Memtables, ...]  # by shard, newest first
    size_bytes: int


def retired(generation: SealedGeneration) -> RetiredGeneration:
    """What is kept of a flushed generation: its memtables without their ordered views."""
    memtables = tuple(
        tuple(Memtable(memtable.entries, memtable.deleted) for memtable in of_shard)
        for of_shard in generation.memtables
    )
    return RetiredGeneration(memtables, generation.size_bytes)


def kept(newest_first: Sequence[RetiredGeneration], room_bytes: int) -> tuple[RetiredGeneration, ...]:
    """Those that fit into the room. The oldest go first: one that is kept below a newer one that is not would say what
    is no longer so."""
    fitting = []
    memtables = 0
    for generation in newest_first:
        room_bytes -= generation.size_bytes
        memtables += max(map(len, generation.memtables))
        if room_bytes < 0 or memtables > MAX_RETIRED_MEMTABLES:
            break
        fitting.append(generation)
    return tuple(fitting)


def recovered_generation(recovered: RecoveredGeneration, shards: int) -> SealedGeneration:
    """The generation that the WAL was replayed to; it waits for its flush again."""
    return SealedGeneration(
        tuple((memtable,) for memtable in split_memtable(recovered.memtable, shards)),
        tuple(recovered.segments),
        recovered.end_position,
        recovered.next_sequence,
        recovered.next_segment,
        due_of(recovered.memtable),
        recovered.bytes,
        recovered.operations,
    )


def empty_memtables(shards: int) -> Memtables:
    return tuple(Memtable() for _ in range(shards))


def apply_points(memtables: Memtables, points: Mapping[bytes, Entry]) -> None:
    """Put each point into the memtable of its shard."""
    shards = len(memtables)
    if shards == 1:
        memtables[0].entries.update(points)
        return
    dicts = [memtables[shard_of_stored(key, shards)].entries for key in points]
    # In C: a signal handler that reads runs before all of it, or after.
    deque(map(dict.__setitem__, dicts, points.keys(), points.values()), maxlen=0)


def with_commit(active: Memtables, points: Mapping[bytes, Entry], ranges: Sequence[Range]) -> Memtables:
    """Active memtables with one more commit, range deletes first; the memtables that readers see are not changed."""
    memtables = tuple(Memtable(dict(memtable.entries), memtable.deleted) for memtable in active)
    for memtable in memtables:
        memtable.apply(ranges, ())
    apply_points(memtables, points)
    return memtables


def split_memtable(memtable: Memtable, shards: int) -> Memtables:
    """A memtable's points by shard; its range deletes concern every shard."""
    if shards == 1:
        return (memtable,)
    memtables = tuple(Memtable(None, memtable.deleted) for _ in range(shards))
    apply_points(memtables, memtable.entries)
    return memtables


def due_of(memtable: Memtable) -> DueHeap:
    due = [(entry[1], key) for key, entry in memtable.entries.items() if type(entry) is tuple and entry[1]]
    heapq.heapify(due)
    return due


def pop_due(due: DueHeap, now_ms: int, limit: int) -> DueHeap:
    """Take up to `limit` keys whose moment has come, each with it."""
    taken: DueHeap = []
    while due and due[0][0] <= now_ms and len(taken) < limit:
        taken.append(heapq.heappop(due))
    return taken


def join_neighbours(memtables: Memtables) -> Memtables:
    """Join the newest memtables while they are of similar size, so that there are at most about log2(n) of them."""
    while len(memtables) > 1 and 2 * memtables[0].size >= memtables[1].size:
        memtables = (join_memtables(memtables[0], memtables[1]), *memtables[2:])
    return memtables


def copy_bounded(
    memtable: Memtable, start: bytes, stop: bytes, reverse: bool, size: int, limit: int | None
) -> Bounded | None:
    """A copy of what a scan needs of an active memtable, with the bounds within which it is complete. None: freeze
    instead."""
    page = memtable.page(start, stop, reverse=reverse, limit=size)
    keys, entries = page
    if len(keys) < size:
        return page, start, stop
    if limit is None or sum(type(entry) is bytes for entry in entries) < limit:
        return None
    return (page, keys[-1], stop) if reverse else (page, start, keys[-1] + b"\0")
