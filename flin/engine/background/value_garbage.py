"""Garbage in value files: which files are worn, and which tables point into them (picker.py picks their merges).

Theory. Overwritten and deleted values stay in their files until the last pointer into a file is gone. What is live in a
file is known exactly of what merges have seen. A merge into the bottom writes values anew that lie in worn files, less
than half live: simulated with six times as many random overwrites as keys, values are then written 1.65 times in all
and files take 1.5 times the live values on average (with 0.7 instead of one half 2.2 and 1.3 times). If writes end, no
merge comes along: so if all files together may be below 0.62, the runs above are merged into the bottom, which tells
what they hide; and if they are, the bottom's tables that point into the emptiest files are merged by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final, TypeAlias

from flin.engine.background.collecting import MAX_COLLECTED_BYTES
from flin.engine.background.compaction import CompactionOptions
from flin.engine.catalog.version import Run, ValueFile, Version
from flin.engine.read.read_state import ReadState
from flin.engine.sstable import Table
from flin.engine.table.footer import ValueBytes
from flin.engine.table.meta import TableMeta
from flin.errors import CorruptionError, StorageError

WORN_SHARE: Final = 0.5
"""The share of live bytes below which a merge into the bottom writes a file's values anew."""

LEAST_SHARE: Final = 0.62
"""The share of live bytes in all value files together below which merges are made for them alone: 1 / 0.62 is 1.61, and
with tables and the WAL the disk takes 1.7 times the live values (measured with 0.6: 1.77, of values of 1.1 KB).
Then files below this share are worn, too; there is one at least."""

LEAST_UNKNOWN_SHARE: Final = 0.1
"""Entries above the bottom, as a share of its own, from which on it pays to find out what they hide."""

LIGHT_BOTTOM_RATIO: Final = 0.3
"""The share of the bottom's size that the runs above it may reach if the data lies in value files: pointers are 40
bytes an entry, so to rewrite them costs little, and only the merge tells which values are garbage. If they reach half
of the bottom's size, or most is garbage, merges are urgent: a writer that does nothing else can fill the disk faster
than merges find out while they wait for idle processors."""

ValuesOf: TypeAlias = Callable[[TableMeta], ValueBytes]
"""The bytes of values that a table's pointers name, by value file."""


def worn_files(version: Version) -> tuple[ValueFile, ...]:
    """The files whose values are written anew by merges into the bottom."""
    share = LEAST_SHARE if is_mostly_garbage(version) else WORN_SHARE
    return tuple(each for each in version.value_files if each.live_bytes < share * each.length)


def is_mostly_garbage(version: Version) -> bool:
    """Whether all value files together need merges of their own."""
    live = sum(each.live_bytes for each in version.value_files)
    return live < LEAST_SHARE * sum(each.length for each in version.value_files)


def may_be_mostly_garbage(version: Version) -> bool:
    """Whether that is so if every entry above the bottom hides one in it: then a merge into the bottom tells. Not if
    these are few, since that merge writes all of the bottom's pointers anew."""
    bottom = sum(table.entry_count for runs in version.shards for table in (runs[-1] if runs else ()))
    above = sum(table.entry_count for runs in version.shards for run in runs[:-1] for table in run)
    live = sum(each.live_bytes for each in version.value_files)
    size = sum(each.length for each in version.value_files)
    return above >= LEAST_UNKNOWN_SHARE * bottom and live * bottom < LEAST_SHARE * size * (bottom + above)


def options_for(version: Version, options: CompactionOptions) -> CompactionOptions:
    """The options for this version: others if most of its data lies in value files."""
    if not version.value_files:
        return options
    in_bottom = sum(table.raw_bytes for runs in version.shards for table in (runs[-1] if runs else ()))
    above = sum(table.raw_bytes for runs in version.shards for run in runs[:-1] for table in run)
    in_values = sum(each.live_bytes for each in version.value_files)
    if in_values <= in_bottom + above:
        return options
    is_behind = 2 * above >= in_bottom or is_mostly_garbage(version)
    return replace(options, bottom_ratio=LIGHT_BOTTOM_RATIO, bottom_width=2, urgent=is_behind)


class PointedValues:
    """Answers `ValuesOf`, and remembers the answers: tables never change."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], ValueBytes] = {}

    def among(self, state: ReadState) -> ValuesOf:
        """The answers for tables of this state."""
        tables: dict[tuple[str, int], Table] = {}  # filled by the first question that has no answer yet

        def values_of(table: TableMeta) -> ValueBytes:
            key = table.file, table.offset
            known = self._known.get(key)
            if known is None:
                if not tables:
                    opened = (each for runs in state.runs for run in runs for each in run.tables)
                    tables.update(((each.meta.file, each.meta.offset), each) for each in opened)
                    self._known = {each: self._known[each] for each in tables if each in self._known}
                try:
                    known = tables[key].values
                except (
                    CorruptionError,
                    StorageError,
                ):  # who reads the table says so; without an answer nothing is lost
                    return ()
                self._known[key] = known
            return known

        return values_of


def worn_tables(run: Run, worn: Collection[int], values_of: ValuesOf) -> Run:
    """The run's tables that point into worn files, in key order; only so many that they name MAX_COLLECTED_BYTES."""
    chosen: list[TableMeta] = []
    left = MAX_COLLECTED_BYTES
    for table in run:
        size = sum(size for number, size in values_of(table) if number in worn)
        if size and left > 0:
            chosen.append(table)
            left -= size + table.raw_bytes
    return tuple(chosen)
