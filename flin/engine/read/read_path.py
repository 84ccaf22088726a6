"""The way of one key through a read state: the places that may hold it, in this order.

    from_memtables   the active memtable, then the older memtables, newest first
    ValueCache.get   hot values; not for snapshots, whose tables may be older
    from_retired     retired generations; not for snapshots either, nor for what reads more than single keys
    from_tables      the runs, newest first, of each a filter, an index, a block; if a page of the sorted view covers
                     the key, that page

The first place that says anything is right; a tombstone says something. Pointers are resolved here, so the cache of hot
values holds values. Snapshots, the server and the read before a write compose these. `read_older` is the way of an
engine's reads: the same, with the calls written out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from flin.engine.boundaries import covers
from flin.engine.entry import TOMBSTONE, Entry, Live, Pointer
from flin.engine.read.read_state import ReadState, TableRun
from flin.engine.read.value_cache import ValueCache
from flin.engine.table.bloom import MASK_INDEX, MASKS, hash_key
from flin.engine.table.cold_read import ColdRead

ABSENT: Final = 8
"""Look-ups that found nothing, since the last one that found something in a table, from which on filters are asked
before hot values and pages: 0.83-1.01 µs instead of 1.13 for an absent key, and 0.4 more for a key that is there. If
there is one table alone, `Engine.get` asks its filter itself: 0.62."""

MAX_ABSENT: Final = 16
"""A key that a filter lets through halves their number. So one that is let through by chance ends nothing, but two."""


def from_memtables(state: ReadState, shard: int, key: bytes) -> Entry | None:
    """What the memtables say of a stored key: None if nothing."""
    entry = state.active[shard].get(key)
    if entry is not None:
        return entry
    for memtable in state.older[shard]:
        entry = memtable.entries.get(key)  # Written out: memtable.Memtable.get
        if entry is not None:
            return entry
        if memtable.deleted and memtable.deleted[0] <= key and covers(memtable.deleted, key):
            return TOMBSTONE
    return None


def from_retired(state: ReadState, shard: int, key: bytes) -> Entry | None:
    """What the retired generations say of a stored key, which is what the tables say: None if they are to be asked.
    They alone know of an entry that expires: a flush or a merge may have emptied it, for good. (Written out in
    `read_older`.)"""
    for memtable in state.retired_memtables[shard]:
        entry = memtable.entries.get(key)
        if entry is not None:
            return None if type(entry) is tuple and entry[1] else entry
        if memtable.deleted and memtable.deleted[0] <= key and covers(memtable.deleted, key):
            return TOMBSTONE
    return None


def from_tables(
    state: ReadState, shard: int, key: bytes, hashed: int, *, wait: bool = True, values: bool = True
) -> Entry | None:
    """What the tables say of a stored key: None if nothing. `hashed`: hash_key(key). Without `wait`: ColdRead if it
    would have to wait for the disk. Without `values` pointers stay. Raises CorruptionError, StorageError."""
    if not wait:
        entry = _from_runs_nowait(state, shard, key, hashed)
        if type(entry) is bytes or entry is None or not values:
            return entry
        resolved: Entry = state.value_files.resolved_nowait(entry)
        return resolved
    entry = _from_runs_or_view(state, shard, key, hashed)
    if values and type(entry) is not bytes and entry is not None:
        entry = state.value_files.resolved(entry)
    return entry


def below_memtables(
    state: ReadState, shard: int, key: bytes, values: ValueCache, now_ms: int | None = None, *, resolves: bool = True
) -> Entry | None:
    """What the places below the memtables say. What the tables say may be hot. `now_ms`: a string that has expired by
    then is given without a value that lies in a value file: a sweep need not read it, nor need it be whole. If it does
    not resolve, pointers stay, and nothing becomes hot."""
    entry: Entry | None = values.get(key)
    if entry is None:
        entry = from_retired(state, shard, key)
        if entry is not None:
            return entry
        hashed = hash_key(key)
        entry = _from_runs_or_view(state, shard, key, hashed)
        if now_ms is not None and type(entry) is tuple and not entry[2] and 0 != entry[1] <= now_ms:
            return (b"", entry[1], 0) if type(entry[0]) is Pointer else entry
        if entry is not None and resolves:
            entry = state.value_files.resolved(entry)
            assert entry is not None
            values.fill(key, entry, hashed, state.flushes)
    return entry


def _from_runs_or_view(state: ReadState, shard: int, key: bytes, hashed: int) -> Entry | None:
    """What the tables say, not resolved."""
    sorted_view = state.sorted_views[shard]
    return _from_runs(state, shard, key, hashed) if sorted_view is None else sorted_view.find(key, hashed)


def read_older(state: ReadState, shard: int, key: bytes, values: ValueCache, *, resolves: bool = True) -> Live | None:
    """What a state holds for a key that the active dict of its shard does not know; never a tombstone. If it does not
    resolve, pointers stay.

    Does what `from_memtables` and `below_memtables` do, with their calls written out; only what a page of the sorted
    view says is not cached again, unless it was a pointer."""
    # 1. The range deletes of the active memtable. Written out: boundaries.covers
    deleted = state.active[shard].deleted
    if deleted and deleted[0] <= key and bisect_right(deleted, key) & 1:  # below the first lie most: 30 ns, not 400
        return None
    # 2. The older memtables.
    for memtable in state.older[shard]:
        entry = memtable.get(key)
        if entry is not None:
            return None if entry is TOMBSTONE else entry
    # 3. The filters, while look-ups miss.
    if values.absent >= ABSENT and _is_absent(state, shard, key, values):
        return None
    # 4. The hot values, most of which are young. Written out: read.value_cache.ValueCache.get
    entry = values.young.get(key)
    if entry is not None:
        values.hits += 1
        return entry
    if values.old and (entry := values.get(key)) is not None:
        return entry
    # 5. The retired generations. Written out: read.read_path.from_retired
    for memtable in state.retired_memtables[shard]:
        entry = memtable.entries.get(key)
        if entry is not None:
            if type(entry) is tuple and entry[1]:
                break
            return None if entry is TOMBSTONE else entry
        if memtable.deleted and memtable.deleted[0] <= key and covers(memtable.deleted, key):
            return None
    # 6. The page of the sorted view; if there is one, no hash is needed.
    # Written out: read.sorted_view.SortedView.find
    sorted_view, number = state.sorted_views[shard], 0
    if sorted_view is not None:
        separators, pages, _ = sorted_view.view
        number = bisect_right(separators, key) - 1
        page = pages[number]
        if page is not None:
            page.hits += 1
            entry = page.get(key)
            if type(entry) is bytes or entry is None:
                return entry
            if entry is TOMBSTONE:
                return None
            return _resolved_from_page(state, key, entry, values) if resolves else entry
    # 7. The tables; what they say may be hot.
    hashed = hash_key(key)
    entry = _from_runs(state, shard, key, hashed) if sorted_view is None else sorted_view.find_cold(number, key, hashed)
    if entry is not None:
        values.absent = 0
        if type(entry) is not bytes:
            if not resolves:
                return None if entry is TOMBSTONE else entry
            entry = state.value_files.resolved(entry)
        values.fill(key, entry, hashed, state.flushes)
    else:
        values.absent += 1
    return None if entry is TOMBSTONE else entry


def _is_absent(state: ReadState, shard: int, key: bytes, values: ValueCache) -> bool:
    """Whether the filters say that no table holds the key; then no hot value is there either. Asked while look-ups
    miss: who then finds one pays for the filters twice, so it soon ends. (Written out in Engine.get.)

    Written out: table.bloom.contains"""
    hashed = hash_key(key)
    mask = MASKS[hashed & 4095]
    for run in state.runs[shard]:
        table = run.plain_table
        if table is None:
            if run.has_range_tombstones:
                break
            table = run.tables[bisect_left(run.bounds, key)]
        opened = table.state or table.loaded()
        if opened.words[hashed % opened.word_count] & mask == mask:
            break
    else:
        values.absent = MAX_ABSENT
        return True
    values.absent >>= 1
    return False


def _resolved_from_page(state: ReadState, key: bytes, entry: Live, values: ValueCache) -> Live:
    """The entry of a page of the sorted view, resolved; the value may be hot."""
    resolved: Live = state.value_files.resolved(entry)
    if resolved is not entry:
        values.fill(key, resolved, hash_key(key), state.flushes)
    return resolved


def _from_runs(state: ReadState, shard: int, key: bytes, hashed: int) -> Entry | None:
    """What the runs say, without pages of a sorted view. A filter that says no costs 100 ns; with the calls, 250.

    Written out: read.read_state.TableRun.find"""
    mask = MASKS[hashed & 4095]
    runs = state.runs[shard]
    if len(runs) == 1 and not runs[0].has_range_tombstones:
        return _from_lone_run(runs[0], key, hashed)
    for run in runs:
        # 1. The only table that may hold the key. Of a run of one table the filter refuses what is beyond it.
        table = run.plain_table
        if table is None:
            if run.has_range_tombstones:
                entry = run.find(key, hashed, nowait=False)
                if entry is not None:
                    return entry
                continue
            table = run.tables[bisect_left(run.bounds, key)]
        # 2. Its filter. Written out: sstable.Table.get, table.bloom.contains
        state_of_table = table.state or table.loaded()
        if state_of_table.words[hashed % state_of_table.word_count] & mask != mask:
            continue
        # 3. The block.
        entry = state_of_table.find(key)
        if entry is not None:
            return entry
    return None


def _from_lone_run(run: TableRun, key: bytes, hashed: int) -> Entry | None:
    """What the only run says. A block that is cached is asked without the filter, which lies elsewhere in memory."""
    table = run.plain_table or run.tables[bisect_left(run.bounds, key)]
    opened = table.state or table.loaded()
    number = bisect_right(opened.separators, key) - 1
    if number < 0:
        return None
    found = opened.blocks[number]
    if found is not None:  # Written out: table.state.TableState.find
        found.hits += 1
        entries = found.entries
        return entries.get(key) if entries is not None else opened.find_unexpanded(found, key)
    mask = MASKS[hashed & 4095]
    if opened.words[hashed % opened.word_count] & mask != mask:
        return None
    return opened.find_cold(number, key)


def await_filters(state: ReadState, shard: int, key: bytes, hashed: int) -> None:
    """ColdRead if a filter that the key's look-up asks would be read from the disk, by a page fault that holds all
    other requests up. To find out costs 2 µs a run, so only those call it who have seen such faults."""
    mask = MASKS[hashed & 4095]
    loads: list[Callable[[], None]] = []
    for run in state.runs[shard]:
        opened = run.tables[bisect_left(run.bounds, key)].state
        if opened is None:
            continue  # its filter is read when it opens
        load = opened.maybe_filter_load(hashed)
        if load is not None:
            loads.append(load)
        elif not loads and opened.words[hashed % opened.word_count] & mask == mask:
            return  # most likely the key is here
    if loads:
        raise ColdRead(partial(_run_all, loads))


def _run_all(loads: Sequence[Callable[[], None]]) -> None:
    for load in loads:
        load()


def _from_runs_nowait(state: ReadState, shard: int, key: bytes, hashed: int) -> Entry | None:
    """What the runs say; ColdRead where a block would have to be waited for. A third less than with the calls.
    (Written out in read.table_batch.add_from_tables.)

    Written out: read.read_state.TableRun.find"""
    mask = MASKS[hashed & 4095]
    for run in state.runs[shard]:
        table = run.plain_table
        if table is None:
            if run.has_range_tombstones:
                entry = run.find(key, hashed, nowait=True)
                if entry is not None:
                    return entry
                continue
            table = run.tables[bisect_left(run.bounds, key)]
        opened = table.state
        # Written out: sstable.Table.get_nowait, table.bloom.contains
        if opened is None or table.cache is None:
            entry = table.get_nowait(key, hashed)
        elif opened.words[hashed % opened.word_count] & mask != mask:
            continue
        else:
            number = bisect_right(opened.separators, key) - 1
            if number < 0:
                continue
            found = opened.blocks[number]
            if found is None:
                entry = opened.find_nowait(number, key)
            else:
                found.hits += 1
                entries = found.entries  # Written out: table.cached_block.CachedBlock.find
                entry = entries.get(key) if entries is not None else opened.find_unexpanded(found, key)
        if entry is not None:
            return entry
    return None


assert MASK_INDEX == 4095  # written out in both, where a global would cost 5 ns
