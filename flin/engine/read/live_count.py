"""The number of live keys of a state, resolved on demand: each memtable once, in slices, by one caller at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from threading import RLock
from typing import Any, TypeAlias

from flin.engine.memtable import Memtable
from flin.engine.read.count import resolve, resolving
from flin.engine.read.read_state import ReadState
from flin.engine.reentry import holds_lock, is_reentered

Resolve: TypeAlias = Callable[[Memtable, Sequence[Any], int | None], int | None]
"""Resolves a memtable above its layers within a budget, and returns what is left of the budget."""


class LiveCount:
    """The count of one store. A resolved change is kept in its memtable; the resolving under way, here."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._resolving: tuple[Memtable, Generator[int, None, Any]] | None = None

    def of(self, state: ReadState, namespace: int, budget: int | None) -> int | None:
        """The count of a frozen state. With a budget of lookups it may stop halfway: None; the next call goes on."""
        if is_reentered():  # the resolving may be under way in this very thread
            return self._sum(state, namespace, None, _resolve_alone)
        return self._sum_together(state, namespace, budget)

    @holds_lock
    def _sum_together(self, state: ReadState, namespace: int, budget: int | None) -> int | None:
        with self._lock:
            return self._sum(state, namespace, budget, self._resolve)

    def _sum(self, state: ReadState, namespace: int, budget: int | None, resolve_memtable: Resolve) -> int | None:
        total = state.version.counts.get(namespace, 0)
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

    def _resolve(self, memtable: Memtable, layers: Sequence[Any], budget: int | None) -> int | None:
        """Resolve the memtable as far as the budget reaches. Returns what is left of the budget."""
        if self._resolving is None or self._resolving[0] is not memtable:
            self._resolving = (memtable, resolving(memtable, memtable.sorted_keys(), memtable.ranges, layers))
        work = self._resolving[1]
        try:
            while budget is None or budget > 0:
                cost = next(work)
                if budget is not None:
                    budget -= cost
        except StopIteration as end:
            memtable.key_count_delta = end.value.change
            self._resolving = None
        except BaseException:  # an interrupt, or damage: a generator that has raised has ended
            self._resolving = None
            raise
        return budget


def _resolve_alone(memtable: Memtable, layers: Sequence[Any], budget: int | None) -> int | None:
    memtable.key_count_delta = resolve(memtable, memtable.sorted_keys(), memtable.ranges, layers).change
    return budget
