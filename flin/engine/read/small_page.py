"""A few neighbouring entries of one shard, at once: the heads of its memtables and runs, joined.

A page of a scan passes generators, sources and a merge, which cost 60 to 100 µs before the first entry; and where it
must not wait, it decodes whole blocks. Here each source gives its first entries by two bisections, from a payload
without decoding the others, and usually only one has any: 20 µs for a hundred. It is what a piece of a rank index, the
head of a sorted set and a slice of a list are read by.

It knows no range deletes: where one lies in the range, and where many tombstones do, it gives up and the scan answers.
"""

from __future__ import annotations

from typing import Final

from flin.engine.boundaries import meets
from flin.engine.entry import TOMBSTONE, Page
from flin.engine.key import PIECES_START, PIECES_STOP, prefix_stop
from flin.engine.read.merge import join_heads
from flin.engine.read.read_state import ActiveHeads, ReadState
from flin.engine.slot import shard_of_stored

_TOMBSTONE_TYPE: Final = type(TOMBSTONE)
_SLOT_STOP: Final = 6
"""A piece's stored key names its slot before this byte: keys that are alike up to there lie in one shard."""

_FEW: Final = 8
"""Tombstones that a page of any size may pass at first, and a quarter of its entries: moves of a sorted set leave one
in a hundred or so, until they are merged away."""

_MORE: Final = 4
"""Times the count, at the second try. The third is a scan."""


def shard_of_range(start: bytes, stop: bytes, shards: int) -> int | None:
    """The shard that holds all keys of the range; None if they may lie in several."""
    if shards == 1:
        return 0
    if not PIECES_START <= start < PIECES_STOP or len(start) < _SLOT_STOP:
        return None
    slot_stop = prefix_stop(start[:_SLOT_STOP])
    return shard_of_stored(start, shards) if slot_stop is not None and stop <= slot_stop else None


def read(
    state: ReadState, shard: int, start: bytes, stop: bytes, count: int, active_heads: ActiveHeads, nowait: bool
) -> Page | None:
    """The first `count` live entries of [start, stop), which lies in the shard; fewer only if there are no more. The
    caller owns them. None: ask a scan. nowait: ColdRead instead of a wait for the disk."""
    if start >= stop or count <= 0:
        return [], []
    for wanted in (count + count // 4 + _FEW, _MORE * count):
        page = _head(state, shard, start, stop, wanted, active_heads, nowait)
        if page is None:
            return None
        is_all = len(page[0]) < wanted
        keys, entries = page
        if _TOMBSTONE_TYPE in set(map(type, entries)):
            keys = [key for key, entry in zip(keys, entries, strict=True) if entry is not TOMBSTONE]
            entries = [entry for entry in entries if entry is not TOMBSTONE]
        if is_all or len(keys) >= count:
            del keys[count:], entries[count:]
            return keys, entries
    return None


def _head(
    state: ReadState, shard: int, start: bytes, stop: bytes, count: int, active_heads: ActiveHeads, nowait: bool
) -> Page | None:
    """The first entries, tombstones included; None if a range delete lies in the range."""
    active = state.active[shard]
    deleted = active.deleted
    if deleted and meets(deleted, start, stop):
        return None
    if any(meets(memtable.deleted, start, stop) for memtable in state.deleting[shard]):
        return None
    heads = []
    bound = stop
    for run in reversed(state.runs[shard]):  # the oldest is the largest: what it has may leave little to the others
        if run.has_range_tombstones and meets(run.deleted_nowait() if nowait else run.deleted, start, stop):
            return None
        heads.append(run.head(start, bound, count, nowait=nowait))
        if len(heads[-1][0]) == count:
            bound = heads[-1][0][-1] + b"\0"  # the next possible key
    heads += [memtable.head(start, bound, count) for memtable in reversed(state.older[shard])]
    if active.entries or (active.deleted and active.deleted is not deleted):
        of_active = active_heads((active,), deleted, (), start, bound, count)
        if of_active is None:
            return None
        heads += of_active
    return join_heads([head for head in heads if head[0]], count)
