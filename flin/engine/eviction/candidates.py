"""Candidates: a random sample of the entries of a frozen state, without an order of all keys.

A sample takes stretches: the entries of one block of a table, or as many of a memtable. Each place is drawn by how many
entries it holds. So a table's block is decoded for some sixty candidates (0.3 µs each) rather than for one.

What is drawn may be dead: an older version of a key, or a deleted key that a merge has not dropped yet. `is_newest`
tells, of the state in which it was drawn.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate, islice
from random import Random
from typing import Final, NamedTuple, TypeAlias

from flin.engine.entry import TOMBSTONE, Live
from flin.engine.memtable import Memtable
from flin.engine.read.read_state import ReadState
from flin.engine.sstable import Table
from flin.engine.table.bloom import hash_key

STRETCH: Final = 64
"""Entries of a memtable, evenly over the order in which they came, or expiries of a table, that are drawn at once: as
many as a block of small entries has."""

MAX_STALE: Final = 3
"""Stretches in a row that bring nothing new, until a sample is taken for all there is. One happens by chance where a
small memtable is all there is; to draw on where few expire decodes the same blocks of expiries again and again."""

Candidate: TypeAlias = tuple[bytes, Live]
"""A stored key and an entry that it had, perhaps not its newest: it tells when it expires. A pointer may be in the
place of its value."""

Draw: TypeAlias = Callable[[], list[Candidate]]


class Place(NamedTuple):
    """A memtable or table of a state."""

    shard: int
    depth: int  # how many memtables and runs of the shard are newer
    weight: int  # how many entries it has to draw from
    draw: Draw


def expiry_of(entry: Live) -> int:
    """When the entry expires; 0: never."""
    return entry[1] if type(entry) is tuple else 0


class Candidates:
    """Draws from the states of one store. Used by one thread at a time."""

    def __init__(self, seed: bytes, start: bytes, stop: bytes, *, volatile: bool = False) -> None:
        """Keys of [start, stop) are drawn; `volatile`: only those that expire."""
        self.random: Final = Random(seed)
        self._bounds = start, stop
        self._volatile = volatile
        self._keys: dict[int, tuple[Memtable, list[bytes]]] = {}  # by id; held, so that the id is not used again

    def places(self, state: ReadState) -> list[Place]:
        """Where something can be drawn."""
        return [place for shard in range(len(state.runs)) for place in self._places(state, shard)]

    def stretches(self, places: list[Place]) -> Iterator[tuple[Place, list[Candidate]]]:
        """One random stretch after the other, without end; none if there is no place. Raises CorruptionError,
        StorageError."""
        weights = [*accumulate(place.weight for place in places)]
        while places:
            place = self.random.choices(places, cum_weights=weights)[0]
            yield place, place.draw()

    def sample(self, places: list[Place], wanted: int, stretches: int) -> dict[bytes, Live]:
        """About as many candidates as wanted, of at most so many stretches; fewer where few may go. Raises
        CorruptionError, StorageError."""
        found: dict[bytes, Live] = {}
        stale = 0
        for _, stretch in islice(self.stretches(places), stretches):
            known = len(found)
            found.update(stretch)
            stale = stale + 1 if stretch and len(found) == known else 0
            if len(found) >= wanted or stale == MAX_STALE:
                break
        return found

    def spread_stretches(self, places: list[Place], number: int) -> Iterator[tuple[Place, list[Candidate]]]:
        """So many stretches, evenly over the entries of all places: of each place as many as it deserves."""
        weights = [*accumulate(place.weight for place in places)]
        if places:
            step = weights[-1] / number
            offset = self.random.random() * step
            for place in (places[bisect_right(weights, offset + step * turn)] for turn in range(number)):
                yield place, place.draw()

    def _places(self, state: ReadState, shard: int) -> Iterator[Place]:
        start, stop = self._bounds
        memtables = state.older[shard]
        held = {id(memtable): (memtable, self._keys_of(memtable)) for memtable in memtables}
        self._keys = {**self._keys, **held} if shard else held
        for depth, memtable in enumerate(memtables):
            keys = held[id(memtable)][1]
            if keys:
                yield Place(shard, depth, len(keys), partial(self._of_memtable, memtable, keys))
        for depth, run in enumerate(state.runs[shard], len(memtables)):
            for table in run.tables:
                meta = table.meta
                weight = meta.expiring if self._volatile else meta.entry_count - meta.tombstones
                if weight and meta.smallest < stop and meta.largest >= start:
                    draw = self._of_expiries if self._volatile else self._of_block
                    yield Place(shard, depth, weight, partial(draw, table))

    def _keys_of(self, memtable: Memtable) -> list[bytes]:
        known = self._keys.get(id(memtable))
        if known is not None:
            return known[1]
        start, stop = self._bounds
        return [
            key
            for key, entry in memtable.entries.items()
            if entry is not TOMBSTONE and start <= key < stop and (not self._volatile or expiry_of(entry))
        ]

    def _of_memtable(self, memtable: Memtable, keys: list[bytes]) -> list[Candidate]:
        entries = memtable.entries
        step = -(-len(keys) // STRETCH)
        return [(key, entries[key]) for key in keys[self.random.randrange(step) :: step]]  # type: ignore[misc]

    def _of_block(self, table: Table) -> list[Candidate]:
        start, stop = self._bounds
        state = table.state or table.loaded()
        first, after = state.blocks_between(start, stop)
        if first >= after:
            return []
        keys, entries, _ = state.cut(self.random.randrange(first, after), start, stop)
        return [(key, entry) for key, entry in zip(keys, entries, strict=True) if entry is not TOMBSTONE]

    def _of_expiries(self, table: Table) -> list[Candidate]:
        start, stop = self._bounds
        total = table.meta.expiring
        wanted = self.random.sample(range(total), min(STRETCH, total))
        return [(key, (b"", moment, 0)) for moment, key in table.expiries_at(sorted(wanted)) if start <= key < stop]


def is_newest(state: ReadState, place: Place, key: bytes) -> bool:
    """Whether nothing newer hides what a place of the state says of the key."""
    memtables = state.older[place.shard]
    if any(memtable.get(key) is not None for memtable in memtables[: place.depth]):
        return False
    runs = state.runs[place.shard][: max(0, place.depth - len(memtables))]
    if not runs:
        return True
    hashed = hash_key(key)
    return all(run.find(key, hashed, False) is None for run in runs)
