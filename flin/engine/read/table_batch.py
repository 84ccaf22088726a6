"""Many keys looked up in the tables at once, for the server: in one loop, without the calls of a look-up.

What `read_path.from_tables` says of a key does not depend on other keys. So a batch saves only calls, about half of a
look-up of a key that the filters let through. (Sorting the keys, so that neighbours share a block, gains nothing where
popular keys are no neighbours.)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from flin.engine.entry import TOMBSTONE, Entry, Live
from flin.engine.read.read_state import ReadState
from flin.engine.table.bloom import MASKS, hash_key


def add_from_tables(found: list[Live | None], state: ReadState, keys: Sequence[bytes], *, values: bool = True) -> None:
    """Append what the tables say of each key, None if nothing, in a state of one shard. What was appended before an
    exception is right: ColdRead where the disk would have to be waited for, CorruptionError, StorageError. Without
    `values` pointers stay.

    Written out: read.read_path._from_runs_nowait"""
    runs = state.runs[0]
    resolved = state.value_files.resolved_nowait
    for key, hashed in zip(keys, map(hash_key, keys)):  # noqa: B905  they are as many
        mask = MASKS[hashed & 4095]
        entry: Entry | None = None
        for run in runs:
            table = run.plain_table
            if table is None:
                if run.has_range_tombstones:
                    entry = run.find(key, hashed, nowait=True)
                    if entry is not None:
                        break
                    continue
                table = run.tables[bisect_left(run.bounds, key)]
            opened = table.state
            if opened is None or table.cache is None:
                entry = table.get_nowait(key, hashed)
            elif opened.words[hashed % opened.word_count] & mask != mask:
                continue
            else:
                number = bisect_right(opened.separators, key) - 1
                if number < 0:
                    continue
                block = opened.blocks[number]
                if block is None:
                    entry = opened.find_nowait(number, key)
                else:
                    block.hits += 1
                    entries = block.entries
                    entry = entries.get(key) if entries is not None else opened.find_unexpanded(block, key)
            if entry is not None:
                break
        if type(entry) is bytes or entry is None:
            found.append(entry)
        elif entry is TOMBSTONE:
            found.append(None)
        else:
            found.append(resolved(entry) if values else entry)
