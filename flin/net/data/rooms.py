"""Room that blocks lend to cached replies, while nothing but GETs of scattered keys reads tables.

Scattered GETs hardly find anything in the block cache, and each cached reply more saves some of them. Who reads ranges
or large collections needs the blocks. Two counters tell what a server's clients do: the GETs without a cached reply,
and the blocks that had to be read. If only scattered GETs read, these are about as many. If others read, too, there are
more blocks; then the room goes back, and is not lent again for a while. If neighbours are asked for one after the
other, or most is found in memory, there are few blocks; then the room goes back, too.

Both together never have more than before: the room is lent out of what blocks have even while there are writes, and
goes from one to the other in small steps, each freed before the other has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flin.net.batch.store import StoreLike
    from flin.net.data.reply_cache import ReplyCache

SHARE: Final = 3 / 32
"""The most that is lent, of `memory_limit`. While there are writes, indexes and blocks have a quarter, indexes at most
half of that: so a thirty-second is left for blocks."""

SLICES: Final = 256
LARGEST_SLICE: Final = 1 << 20
"""So much is moved at a time: `memory_limit` by SLICES, at most LARGEST_SLICE, which is freed in 0.2 to 2 ms."""

LOOK_STEPS: Final = 10
"""Steps from one look at the counters to the next: a second."""

FEW: Final = 200
"""Blocks that are read in this time without any consequence: 1 ms of work."""

REST_LOOKS: Final = 60
"""Looks for which nothing is lent after others read: those who come again and again must not lose their blocks each
time."""


class Rooms:
    """The room of the first database, which nearly everybody uses. `step` is called ten times a second."""

    def __init__(self, hot: ReplyCache, store: StoreLike, memory_limit_bytes: int) -> None:
        self.lent_bytes = 0
        self._hot = hot
        self._store = store
        self._slice_bytes = min(memory_limit_bytes // SLICES, LARGEST_SLICE)
        self._most_bytes = int(memory_limit_bytes * SHARE) if hot.has_room else 0
        self._steps = 0
        self._rest = 0
        self._counted = hot.misses, hot.evictions, store.block_misses
        self._is_lending = False
        store.lend_blocks(0)  # a server that had this store before, in another role, may have left some lent

    def step(self) -> None:
        self._steps += 1
        if self._steps % LOOK_STEPS == 0:
            self._look()
        self._hot.fits()  # what live objects use of its room is freed, though nothing is filled
        lent = self.lent_bytes
        if self._is_lending:
            if lent < self._most_bytes:
                self._store.lend_blocks(lent + self._slice_bytes)  # they go first
                self._set(lent + self._slice_bytes)
        elif lent:
            less = max(0, lent - self._slice_bytes)
            self._set(less)
            if self._hot.fits():
                self._store.lend_blocks(less)
            else:
                self.lent_bytes = lent  # what is freed is given back with the next step

    def _set(self, lent_bytes: int) -> None:
        self.lent_bytes = lent_bytes
        self._hot.borrow(lent_bytes)

    def _look(self) -> None:
        hot = self._hot
        counted = (hot.misses, hot.evictions, self._store.block_misses)
        gets, evictions, blocks = (now - before for now, before in zip(counted, self._counted, strict=True))
        self._counted = counted
        self._rest -= self._rest > 0
        if blocks <= FEW or gets < 0 or evictions < 0:  # CONFIG RESETSTAT has set those two back to 0
            return
        if 8 * blocks > 9 * gets:  # others read
            self._is_lending = False
            self._rest = REST_LOOKS
        elif 2 * blocks < gets:  # they are found in blocks, or in memory
            self._is_lending = False
        elif evictions and not self._rest:
            self._is_lending = True
