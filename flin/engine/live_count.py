"""The number of live keys of a state, settled on demand: each part once, in slices, by one caller at a time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from threading import Lock
from typing import Any

from flin.engine.count import settling
from flin.engine.memtable import Part
from flin.engine.state import ReadState


class LiveCount:
    """What was settled stays with its part; what is under way stays here."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._settling: tuple[Part, Generator[int, None, Any]] | None = None

    def of(self, state: ReadState, namespace: int, budget: int | None) -> int | None:
        """Of a frozen state. With a budget of look-ups that may stop half way: None, and the next call goes on."""
        with self._lock:
            total = state.version.counts.get(namespace, 0)
            for shard, parts in enumerate(state.older):
                for index in range(len(parts) - 1, -1, -1):
                    part = parts[index]
                    if part.contribution is None:
                        layers = [*parts[index + 1 :], *(run.tables for run in state.runs[shard])]
                        budget = self._settle(part, layers, budget)
                        if part.contribution is None:
                            return None
                    total += part.contribution.get(namespace, 0)
            return total

    def _settle(self, part: Part, layers: Sequence[Any], budget: int | None) -> int | None:
        """Settle the part as far as the budget reaches; what is left of that."""
        if self._settling is None or self._settling[0] is not part:
            self._settling = (part, settling(part, part.sorted_keys(), part.ranges, layers))
        work = self._settling[1]
        while budget is None or budget > 0:
            try:
                cost = next(work)
            except StopIteration as end:
                part.contribution = end.value.change
                self._settling = None
                break
            if budget is not None:
                budget -= cost
        return budget
