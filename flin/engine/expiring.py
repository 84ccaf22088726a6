"""How many entries have an expiry, and how long they still live: figures for people, in steps that cost little each.

Tables know how many of their entries expire; a sample of twenty is read from each, once, evenly in order of their
times. Of the memtables the heaps of expiring keys are counted, without those written again since. An entry that a newer
table or memtable hides counts until a merge drops it, so a number is an upper bound.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from flin.engine.key import namespace_of

if TYPE_CHECKING:
    from flin.engine.sstable import Table
    from flin.engine.table.meta import TableMeta
    from flin.engine.tree.store import Store

SAMPLED: Final = 20
"""The size of the sample of each namespace in a table, and in the memtables; as in Redis."""

STEP_ENTRIES: Final = 20_000
"""Entries counted in one step, 5 ms."""


@dataclass(slots=True)
class Expiries:
    """The expiries of one namespace."""

    entry_count: int = 0
    sample: list[tuple[int, int]] = field(default_factory=list)  # moment in ms, how many entries it stands for

    def average_ttl_ms(self, now_ms: int) -> int:
        """The mean time to live of the sample's entries that have not expired; 0 if there are none."""
        living = [(moment - now_ms, weight) for moment, weight in self.sample if moment > now_ms]
        total = sum(weight for _, weight in living)
        return sum(ttl * weight for ttl, weight in living) // total if total else 0


ByNamespace = dict[int, Expiries]
ExpiringSteps = Generator[None, None, ByNamespace]


class Expiring:
    """The expiries of one open store. A table's sample is kept as long as the table."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables: dict[TableMeta, ByNamespace] = {}

    def steps(self) -> ExpiringSteps:
        """Compute the figures in steps; the last one returns them. Raises CorruptionError, StorageError."""
        tables = {table.meta: table for table in self._store.tables.tables() if table.meta.expiring}
        known = {meta: found for meta, found in self._tables.items() if meta in tables}
        for meta, table in tables.items():
            if meta not in known:
                known[meta] = yield from _of_table(table)
        self._tables = known  # at the end: another call's steps may come in between, and see other tables
        total: ByNamespace = {}
        for part in [*known.values(), (yield from _of_memtables(self._store))]:
            for namespace, expiries in part.items():
                together = total.setdefault(namespace, Expiries())
                together.entry_count += expiries.entry_count
                together.sample += expiries.sample
        return total


def _of_table(table: Table) -> ExpiringSteps:
    meta = table.meta
    namespace = namespace_of(meta.smallest)
    if namespace_of(meta.largest) == namespace:
        moments = [moment for moment, _ in table.sampled_expiries(SAMPLED)]
        yield
        return {namespace: _weighed(meta.expiring, moments)}
    by_namespace: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
    for number, (moment, key) in enumerate(table.expiries()):
        by_namespace[namespace_of(key)].append(moment)
        if number % STEP_ENTRIES == STEP_ENTRIES - 1:
            yield
    return {namespace: _sampled(found) for namespace, found in by_namespace.items()}


def _of_memtables(store: Store) -> ExpiringSteps:
    newest_moments: dict[bytes, int] = {}
    newest = store.newest_entries() or {}
    for heap in store.due_heaps():
        for start in range(0, len(heap), STEP_ENTRIES):
            for moment, key in heap[start : start + STEP_ENTRIES]:
                entry = newest.get(key)
                if entry is None or (type(entry) is tuple and entry[1] == moment):
                    newest_moments[key] = moment
            yield
    by_namespace: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
    for key, moment in newest_moments.items():
        by_namespace[namespace_of(key)].append(moment)
    return {namespace: _sampled(found) for namespace, found in by_namespace.items()}


def _sampled(moments: Sequence[int]) -> Expiries:
    """An even sample of the moments, which come in any order."""
    step = max(1, len(moments) // SAMPLED)
    return _weighed(len(moments), list(moments[step // 2 :: step])[:SAMPLED])


def _weighed(entries: int, sample: list[int]) -> Expiries:
    """The expiries in which each moment of the sample stands for an equal part of the entries."""
    weight = max(1, entries // max(1, len(sample)))
    return Expiries(entries, [(moment, weight) for moment in sample])
