"""How many entries and bytes on disk each group of keys takes, where a group is a range of keys: a prefix, mostly.

Blocks whose keys must all be of one group, as the index tells, are counted by a sample of them; of the others all keys
are read, and no values. Bytes of a block that several groups share are divided by entries. Filters, indexes and the
values that pointers name count in proportion. What merges have not removed yet counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Final, TypeVar

from flin.engine.catalog.generation import Memtables
from flin.engine.read.read_state import ReadState
from flin.engine.sstable import Table

Name = TypeVar("Name", bound=Hashable)

SAMPLED_BLOCKS: Final = 16
"""How many blocks of a stretch of one group are read: blocks of one prefix hold much the same number of entries."""

_ABOVE: Final = b"\x00"
"""What makes the least key above another."""


@dataclass(slots=True)
class Use:
    """Entries that count as keys, and bytes on disk."""

    keys: float = 0.0
    size_bytes: float = 0.0

    def add(self, keys: float, size_bytes: float) -> None:
        self.keys += keys
        self.size_bytes += size_bytes


def prefix_sizes(
    state: ReadState,
    name_of: Callable[[bytes], Name],
    common_name: Callable[[bytes, bytes], Name | None],
) -> dict[Name, Use]:
    """The use of each group. name_of: the group of a stored key. common_name: the group of all stored keys from one to
    another, if it is sure that there is one."""
    found: dict[Name, Use] = {}
    for memtables in (state.active, *state.older):
        _add_memtables(found, memtables, name_of)
    has_values = bool(state.version.value_files)
    for runs in state.runs:
        for run in runs:
            for table in run.tables:
                _add_table(found, table, has_values, name_of, common_name)
    return found


def _add_memtables(found: dict[Name, Use], memtables: Memtables, name_of: Callable[[bytes], Name]) -> None:
    """As the WAL has them: keys and values."""
    for memtable in memtables:
        for key, entry in memtable.entries.items():
            value = entry[0] if type(entry) is tuple else entry
            found.setdefault(name_of(key), Use()).add(1, len(key) + (len(value) if type(value) is bytes else 0))


def _add_table(
    found: dict[Name, Use],
    table: Table,
    has_values: bool,
    name_of: Callable[[bytes], Name],
    common_name: Callable[[bytes, bytes], Name | None],
) -> None:
    state = table.state or table.loaded()
    starts, bounds = state.starts, [*state.separators, table.meta.largest + _ABOVE]
    if len(bounds) == 1:
        return
    bounds[0] = table.meta.smallest  # the index has nothing for the first
    data_bytes = starts[-1] - starts[0]
    size_bytes = table.meta.length + (sum(size for _, size in table.values) if has_values else 0)
    blocks = [
        (common_name(bounds[number], bounds[number + 1]), starts[number + 1] - starts[number], number)
        for number in range(len(bounds) - 1)
    ]
    for name, group in groupby(blocks, itemgetter(0)):
        span = list(group)
        read = span if name is None else span[:: max(1, len(span) // SAMPLED_BLOCKS)]
        weight = sum(length for _, length, _ in span) / sum(length for _, length, _ in read)
        for _, length, number in read:
            pages = table.key_pages(bounds[number], bounds[number + 1], cached=False)
            names = Counter(name_of(key) for keys, _ in pages for key in keys)
            for each, entries in names.items():
                part = weight * entries / names.total()
                found.setdefault(each, Use()).add(weight * entries, part * length * size_bytes / data_bytes)
