"""Garbage in value files: which files are worn, and which tables point into them (picker.py picks their merges).

Theory. Overwritten and deleted values stay in their files until the last pointer into a file is gone. What is live in a
file is known exactly of what merges have seen. So merges into the bottom come the earlier, the less pointers weigh, and
each writes the values of the emptiest files anew, until all files together are as full as they should be, but no more
at once than has come since the last merge, or an eighth: the values lie on the disk twice until it ends. If merges fall
behind, they become urgent, and then writers are slowed (stall.py). If writes end, no merge comes along: so if all files
together may be below 0.62, the runs above are merged into the bottom, which tells what they hide; and if they are, the
bottom's tables that point into the emptiest files are merged by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final, TypeAlias

from flin.engine.background.collecting import MAX_COLLECTED_BYTES
from flin.engine.background.compaction import CompactionOptions
from flin.engine.catalog.version import Run, ValueFile, Version, value_totals
from flin.engine.read.read_state import ReadState
from flin.engine.sstable import Table
from flin.engine.table.footer import ValueBytes
from flin.engine.table.meta import TableMeta
from flin.errors import CorruptionError, StorageError

WANTED_SHARE: Final = 0.72
"""The share of live bytes in all value files together that a merge into the bottom aims at. Measured with values of 8
KiB that are overwritten at full speed, an eighth of it in memory: 0.70, 0.73 and 0.75 let the disk hold 1.76, 1.71 and
1.69 times what lives on average, and write 1.74, 1.85 and 1.96 bytes per byte given."""

MOST_SHARE: Final = 0.75
"""A file of which so much lives is not collected, whatever the others hold: to free a byte, three would be written."""

URGENT_SHARE: Final = 0.66
"""Merges are urgent if the share of all files may be lower, with what is not known yet."""

LEAST_SHARE: Final = 0.62
"""The share of live bytes in all value files together below which merges are made for them alone: 1 / 0.62 is 1.61, and
with tables and the WAL the disk takes 1.7 times the live values (measured with 0.6: 1.77, of values of 1.1 KB).
Then files below this share are worn, too; there is one at least."""

LEAST_UNKNOWN_SHARE: Final = 0.1
"""Entries above the bottom, as a share of its own, from which on it pays to find out what they hide."""

LIGHT_BOTTOM_RATIO: Final = 0.3
LIGHTEST_BOTTOM_RATIO: Final = 0.05
POINTERS_PER_VALUE: Final = 20
"""The share of the bottom's size that the runs above it may reach if the data lies in value files. Only a merge into
the bottom tells which values are garbage, and until then they fill the disk. It rewrites pointers, 40 bytes an entry:
if the runs above may reach 20 times the share that pointers have in all bytes, that is a twentieth of what is written
anyway. That makes 0.3 for values of 2 KiB, 0.1 for 8 KiB, and 0.05 from 16 KiB on, since each merge has a cost of its
own. Merges are urgent once the runs above reach twice that: a writer that does nothing else can fill the disk faster
than merges find out while they wait for idle processors."""

COLLECTED_SHARE: Final = 0.125
LEAST_COLLECTED_BYTES: Final = 8 << 20
"""The live bytes of the files whose values one merge writes anew, as a share of all, unless more than that has come
since the last one; and what it may write anew at least."""

ValuesOf: TypeAlias = Callable[[TableMeta], ValueBytes]
"""The bytes of values that a table's pointers name, by value file."""


def worn_files(version: Version) -> tuple[ValueFile, ...]:
    """The files whose values the next merge into the bottom writes anew, by ascending numbers: the emptiest, until all
    together would be full enough even if every entry above the bottom hides a value."""
    files = value_totals(version)
    excess = files.size - files.least_live / WANTED_SHARE
    room = max(LEAST_COLLECTED_BYTES, files.live * max(COLLECTED_SHARE, files.unseen))
    chosen: list[ValueFile] = []
    for each in sorted(version.value_files, key=lambda each: each.live_bytes / max(1, each.length)):
        if excess <= 0 or room <= 0 or each.live_bytes >= MOST_SHARE * each.length:
            break
        chosen.append(each)
        excess -= each.length - each.live_bytes
        room -= each.live_bytes
    return tuple(sorted(chosen, key=lambda each: each.number))


def is_mostly_garbage(version: Version) -> bool:
    """Whether all value files together need merges of their own."""
    files = value_totals(version)
    return files.live < LEAST_SHARE * files.size


def may_be_mostly_garbage(version: Version) -> bool:
    """Whether that is so if every entry above the bottom hides one in it: then a merge into the bottom tells. Not if
    these are few, since that merge writes all of the bottom's pointers anew."""
    files = value_totals(version)
    return files.unseen >= LEAST_UNKNOWN_SHARE and files.least_live < LEAST_SHARE * files.size


def options_for(version: Version, options: CompactionOptions) -> CompactionOptions:
    """The options for this version: others if most of its data lies in value files."""
    if not version.value_files:
        return options
    in_bottom = sum(table.raw_bytes for runs in version.shards for table in (runs[-1] if runs else ()))
    above = sum(table.raw_bytes for runs in version.shards for run in runs[:-1] for table in run)
    files = value_totals(version)
    if files.live <= in_bottom + above:
        return options
    lightness = POINTERS_PER_VALUE * (in_bottom + above) / files.live
    ratio = min(LIGHT_BOTTOM_RATIO, max(LIGHTEST_BOTTOM_RATIO, lightness))
    is_behind = above >= 2 * ratio * in_bottom
    is_full = files.least_live < URGENT_SHARE * files.size
    return replace(options, bottom_ratio=ratio, bottom_width=2, urgent=is_behind or is_full)


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
