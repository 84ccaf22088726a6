"""The number of live keys of a state, settled on demand: each part once, in slices, by one caller at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from threading import RLock
from typing import Any, TypeAlias

from flin.engine.memtable import Part
from flin.engine.read.count import settle, settling
from flin.engine.read.read_state import ReadState
from flin.engine.reentry import holds_lock, is_reentered

Settle: TypeAlias = Callable[[Part, Sequence[Any], int | None], int | None]
"""How a part is settled above its layers, within a budget; what is left of that."""


class LiveCount:
    """What was settled stays with its part; what is under way stays here."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._settling: tuple[Part, Generator[int, None, Any]] | None = None

    def of(self, state: ReadState, namespace: int, budget: int | None) -> int | None:
        """The count of a frozen state. With a budget of look-ups it may stop half way: None; the next call goes on."""
        if is_reentered():  # what is under way may be under way in this very thread
            return self._sum(state, namespace, None, _settle_alone)
        return self._sum_together(state, namespace, budget)

    @holds_lock
    def _sum_together(self, state: ReadState, namespace: int, budget: int | None) -> int | None:
        with self._lock:
            return self._sum(state, namespace, budget, self._settle)

    def _sum(self, state: ReadState, namespace: int, budget: int | None, settle_part: Settle) -> int | None:
        total = state.version.counts.get(namespace, 0)
        for shard, parts in enumerate(state.older):
            for index in range(len(parts) - 1, -1, -1):
                part = parts[index]
                if part.contribution is None:
                    layers = [*parts[index + 1 :], *(run.tables for run in state.runs[shard])]
                    budget = settle_part(part, layers, budget)
                    if part.contribution is None:
                        return None
                total += part.contribution.get(namespace, 0)
        return total

    def _settle(self, part: Part, layers: Sequence[Any], budget: int | None) -> int | None:
        """Settle the part as far as the budget reaches; what is left of that."""
        if self._settling is None or self._settling[0] is not part:
            self._settling = (part, settling(part, part.sorted_keys(), part.ranges, layers))
        work = self._settling[1]
        try:
            while budget is None or budget > 0:
                cost = next(work)
                if budget is not None:
                    budget -= cost
        except StopIteration as end:
            part.contribution = end.value.change
            self._settling = None
        except BaseException:  # an interrupt, or damage: a generator that has raised has ended
            self._settling = None
            raise
        return budget


def _settle_alone(part: Part, layers: Sequence[Any], budget: int | None) -> int | None:
    part.contribution = settle(part, part.sorted_keys(), part.ranges, layers).change
    return budget
