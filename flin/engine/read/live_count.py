"""The number of live keys of a state, on demand: each memtable and each unsettled run is resolved once, in slices, by
one caller at a time.

The settled runs are counted in the version. What is above them is resolved against what is beneath: unsettled runs all
together, each memtable by itself. A resolved memtable keeps its change. Of runs the total is kept, with the last
sequence that was flushed: merges change nothing of it, so in a later version it is the number of live keys of the runs
up to that sequence, and only what was flushed since must be resolved. The next edit writes it down (`settled`). An
older version, as of a snapshot, is counted for itself.

Where much is unsettled, a helper counts it (`count_away`, which the background sets), and whoever asks waits without
the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any, Final, TypeAlias

from flin.engine.catalog.version import Version, with_counts
from flin.engine.memtable import Memtable, add_counts
from flin.engine.read.count import resolve, resolving, settling, sorting, subtract_counts
from flin.engine.read.read_state import ReadState
from flin.engine.reentry import holds_lock, is_reentered

Resolve: TypeAlias = Callable[[Memtable, Sequence[Any], int | None], int | None]
"""Resolves a memtable above its layers within a budget, and returns what is left of the budget."""


CountAway: TypeAlias = Callable[[Version, bool], dict[int, int] | None]
"""By how much a version's unsettled runs change the number of live keys; None if nobody else can count. The flag: a
caller waits."""

FEW_ENTRIES: Final = 1 << 14
"""So many unsettled entries are counted here: 10 to 100 ms, in slices. More go to a helper."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The number of live keys of all runs up to a sequence."""

    sequence: int
    total: dict[int, int]  # by namespace


class LiveCount:
    """The count of one store."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._resolving: tuple[Memtable, Generator[int, None, Any]] | None = None
        self._settling: tuple[Version, dict[int, int], Generator[int, None, dict[int, int]]] | None = None
        self._counted: Counted | None = None  # replaced by one assignment: edits read it without the lock
        self._away = RLock()  # one count in a helper at a time: the next one finds what this one has counted
        self.count_away: CountAway | None = None

    def of(self, state: ReadState, namespace: int, budget: int | None) -> int | None:
        """The count of a frozen state. With a budget of lookups it may stop halfway: None; the next call goes on."""
        if is_reentered():  # the resolving may be under way in this very thread
            return self._sum(state, namespace, _runs_alone(state), None, _resolve_alone)
        if budget is None:
            self.settle(state)
        return self._sum_together(state, namespace, budget)

    @holds_lock
    def settle(self, state: ReadState, *, asked: bool = True, few: int = FEW_ENTRIES) -> None:
        """Have the state's unsettled runs counted in a helper, if they hold more than `few` entries, and wait. Those
        who count in slices meanwhile are not held up."""
        if self.count_away is None or self.unsettled_entries(state.version) <= few:
            return
        with self._away:
            version = self.settled(state.version)
            if not any(version.unsettled):
                return
            change = self.count_away(version, asked)
            if change is not None:
                self._counted = Counted(version.last_sequence, add_counts(version.counts, change))

    def unsettled_entries(self, version: Version) -> int:
        """How many entries nobody has counted yet: a count must look at so many."""
        version = self.settled(version)
        return sum(
            table.entry_count
            for runs, unsettled in zip(version.shards, version.unsettled, strict=True)
            for run in runs[:unsettled]
            for table in run
        )

    def settled(self, version: Version) -> Version:
        """The version with the runs settled that were counted, if the count was of this version or an older one."""
        counted = self._counted
        if counted is None or not any(version.unsettled):
            return version
        unsettled = newer_runs(version, counted.sequence)
        if unsettled is None or sum(unsettled) >= sum(version.unsettled):
            return version
        return with_counts(version, subtract_counts(counted.total, version.counts), unsettled)

    @holds_lock
    def _sum_together(self, state: ReadState, namespace: int, budget: int | None) -> int | None:
        with self._lock:
            total, budget = self._runs(state, budget)
            return None if total is None else self._sum(state, namespace, total, budget, self._resolve)

    def _sum(
        self, state: ReadState, namespace: int, runs: dict[int, int], budget: int | None, resolve_memtable: Resolve
    ) -> int | None:
        total = runs.get(namespace, 0)
        for shard, memtables in enumerate(state.older):
            for index in range(len(memtables) - 1, -1, -1):
                memtable = memtables[index]
                if memtable.key_count_delta is None:
                    layers = [*memtables[index + 1 :], *(run.tables for run in state.runs[shard])]
                    budget = resolve_memtable(memtable, layers, budget)
                    if memtable.key_count_delta is None:
                        return None
                total += memtable.key_count_delta.get(namespace, 0)
        return total

    # The runs.

    def _runs(self, state: ReadState, budget: int | None) -> tuple[dict[int, int] | None, int | None]:
        """The number of live keys of the state's runs, and what is left of the budget; None if that was too small."""
        while True:
            version = self.settled(state.version)
            if not any(version.unsettled):
                if self._settling and self._counted and self._settling[0].last_sequence <= self._counted.sequence:
                    self._settling = None  # a helper was faster: let go of the tables
                return version.counts, budget
            if self._settling is None:
                work = _settling_of(state, version.unsettled)
                self._settling = state.version, version.counts, work
            begun_for, counts, work = self._settling
            try:
                while budget is None or budget > 0:
                    cost = next(work)
                    if budget is not None:
                        budget -= cost
                return None, budget
            except StopIteration as end:
                counted = Counted(begun_for.last_sequence, add_counts(counts, end.value))
                self._counted, self._settling = counted, None
                if begun_for is state.version:  # whatever its sequences say: a damaged table's may be wrong
                    return counted.total, budget
                # It was begun for another state: this one is next.
            except BaseException:  # an interrupt, or damage: a generator that has raised has ended
                self._settling = None
                raise

    # Memtables.

    def _resolve(self, memtable: Memtable, layers: Sequence[Any], budget: int | None) -> int | None:
        """Resolve the memtable as far as the budget reaches. Returns what is left of the budget."""
        if self._resolving is None or self._resolving[0] is not memtable:
            self._resolving = (memtable, _resolving(memtable, layers))
        work = self._resolving[1]
        try:
            while budget is None or budget > 0:
                cost = next(work)
                if budget is not None:
                    budget -= cost
        except StopIteration as end:
            memtable.key_count_delta = end.value
            self._resolving = None
        except BaseException:  # an interrupt, or damage: a generator that has raised has ended
            self._resolving = None
            raise
        return budget


def _resolving(memtable: Memtable, layers: Sequence[Any]) -> Generator[int, None, dict[int, int]]:
    keys = yield from sorting(memtable)
    return (yield from resolving(memtable, keys, memtable.ranges, layers))


def newer_runs(version: Version, sequence: int) -> tuple[int, ...] | None:
    """How many of each shard's newest runs were flushed after the sequence; None if a merge has mixed such entries with
    older ones, or if the version does not hold all up to the sequence: a snapshot may be older than the count."""
    newer = []
    if not version.bottom_sequence <= sequence <= version.last_sequence:
        return None
    for runs in version.shards:
        number = 0
        while number < len(runs) and all(table.smallest_sequence > sequence for table in runs[number]):
            number += 1
        if any(table.largest_sequence > sequence for run in runs[number:] for table in run):
            return None
        newer.append(number)
    return tuple(newer)


def _settling_of(state: ReadState, unsettled: Sequence[int]) -> Generator[int, None, dict[int, int]]:
    """By how much the newest runs of each shard change the number of live keys."""
    change: dict[int, int] = {}
    for runs, number in zip(state.runs, unsettled, strict=True):
        layers = [run.tables for run in runs]
        change = add_counts(change, (yield from settling(layers[:number], layers[number:])))
    return change


def _runs_alone(state: ReadState) -> dict[int, int]:
    work = _settling_of(state, state.version.unsettled)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return add_counts(state.version.counts, end.value)


def _resolve_alone(memtable: Memtable, layers: Sequence[Any], budget: int | None) -> int | None:
    memtable.key_count_delta = resolve(memtable, memtable.sorted_keys(), memtable.ranges, layers)
    return budget
