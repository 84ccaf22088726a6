"""How many bytes a range of keys takes on disk, from the indexes of the tables: an estimate that reads no data.

A table that lies in the range counts whole. Of one that overlaps it, the blocks count that may hold keys of the range;
filter, index and the values that its pointers name count in proportion. So the error is below one block at each end of
each run, and what merges have not removed yet counts.
"""

from __future__ import annotations

from flin.engine.read.read_state import ReadState
from flin.engine.sstable import Table


def stored_bytes(state: ReadState, start: bytes, stop: bytes) -> int:
    """The bytes that the stored keys of [start, stop) take in tables and value files."""
    has_values = bool(state.version.value_files)
    return sum(
        round(_share(table, start, stop) * _size(table, has_values))
        for runs in state.runs
        for run in runs
        for table in run.tables
        if table.meta.smallest < stop and table.meta.largest >= start
    )


def _size(table: Table, has_values: bool) -> int:
    return table.meta.length + (sum(size for _, size in table.values) if has_values else 0)


def _share(table: Table, start: bytes, stop: bytes) -> float:
    """The share of the table that lies in [start, stop)."""
    if start <= table.meta.smallest and table.meta.largest < stop:
        return 1.0
    state = table.state or table.loaded()
    starts = state.starts
    if not starts:
        return 0.0
    first, after = state.blocks_between(start, stop)
    end = state.base + state.footer.index
    return ((starts[after] if after < len(starts) else end) - starts[first]) / (end - starts[0])
