"""How many entries of tables lie under range deletes of newer tables or of memtables: what a merge would free.

Without this, a large range delete that is flushed together with other writes would free nothing until the data that
are written later outweigh what it has deleted. The tables' range deletes and indexes tell, which are in memory anyway
or read once; no data block is read.
"""

from __future__ import annotations

from itertools import chain
from typing import Final

from flin.engine.background.picker import Hides, hides_by_metadata
from flin.engine.boundaries import Boundaries, boundaries_of, covered_slices, covers_all, meets, ranges_of
from flin.engine.read.read_state import ReadState
from flin.engine.sstable import Table
from flin.engine.table.meta import TableMeta
from flin.errors import CorruptionError, StorageError

MAX_KNOWN: Final = 10_000
"""Pairs of tables whose answer is remembered, about 200 B each. Tables never change, but they come and go."""


class HiddenEntries:
    """Answers `compaction.Hides`, and remembers the answers."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, str, int], int] = {}

    def among(self, state: ReadState) -> Hides:
        """The answers for tables of this state."""
        tables: dict[tuple[str, int], Table] = {}  # filled by the first question that has no answer yet

        def hides(table: TableMeta, older: TableMeta) -> int:
            pair = (table.file, table.offset, older.file, older.offset)
            hidden = self._known.get(pair)
            if hidden is None:
                if not tables:
                    opened = (each for runs in state.runs for run in runs for each in run.tables)
                    tables.update(((each.meta.file, each.meta.offset), each) for each in opened)
                try:
                    hidden = hidden_entries(tables[pair[:2]], tables[pair[2:]])
                except (
                    CorruptionError,
                    StorageError,
                ):  # who reads the table says so; without an answer nothing is lost
                    return hides_by_metadata(table, older)
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known[pair] = hidden
            return hidden

        return hides


def hidden_entries(table: Table, older: Table) -> int:
    """About how many entries of the older table are deleted by the other's ranges."""
    return hidden_below(table.deleted, older)


def hidden_below(deleted: Boundaries, table: Table) -> int:
    """About how many entries of the table lie between these boundaries, to the precision of its blocks."""
    meta = table.meta
    if not meets(deleted, meta.smallest, meta.largest + b"\0"):
        return 0
    if covers_all(deleted, meta.smallest, meta.largest):
        return meta.entry_count
    first_keys = table.loaded().separators  # each at most the first key of its block
    covered = sum(stop - start for start, stop in covered_slices(first_keys, deleted))
    return meta.entry_count * covered // max(len(first_keys), 1)


def is_worth_a_flush(state: ReadState, share: float) -> bool:
    """Whether the range deletes in memory hide this share of a shard's entries in tables. Without writes their
    generation would never be full, and what they have deleted would stay on the disk."""
    for active, frozen, runs in zip(state.active, state.frozen, state.runs, strict=True):
        deleted = boundaries_of(chain.from_iterable(ranges_of(memtable.deleted) for memtable in (active, *frozen)))
        if deleted:
            tables = [table for run in runs for table in run.tables]
            hidden = sum(_hidden_or_none(deleted, table) for table in tables)
            if hidden and hidden >= share * sum(table.meta.entry_count for table in tables):
                return True
    return False


def _hidden_or_none(deleted: Boundaries, table: Table) -> int:
    try:
        return hidden_below(deleted, table)
    except (CorruptionError, StorageError):  # whoever reads the table reports it
        return 0
