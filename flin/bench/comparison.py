"""The results of a run: rows with every store's rate in every round, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from flin.bench.figures import median_ratio

OURS: Final = "flin"


@dataclass(slots=True)
class Comparison:
    """One row of the table."""

    name: str  # of the row: "fillrandom 100 B"
    unit: str  # of the latencies: "µs" or "ms"
    operations: int = 0  # of one round
    rates: dict[str, list[float]] = field(default_factory=dict)  # store → operations per second, round by round
    latencies: dict[str, dict[str, float]] = field(default_factory=dict)  # store → {"p50": …, "p99": …, "p99.9": …}
    failures: list[str] = field(default_factory=list)

    def add(self, store: str, rate: float) -> None:
        self.rates.setdefault(store, []).append(rate)

    def median_rate(self, store: str) -> float | None:
        rates = self.rates.get(store)
        return median(rates) if rates else None

    @property
    def ratio(self) -> float | None:
        """Flin over the faster peer, the median over the rounds; None where either is missing or a round failed."""
        ours = self.rates.get(OURS, [])
        peers = {name: rates for name, rates in self.rates.items() if name != OURS and len(rates) == len(ours)}
        return median_ratio(ours, peers)

    def to_json(self) -> dict[str, Any]:
        return {
            "row": self.name,
            "operations": self.operations,
            "operations_per_second": self.rates,
            "median": {store: self.median_rate(store) for store in self.rates},
            "ratio_to_faster_peer": self.ratio,
            "latency_unit": self.unit,
            "latency": self.latencies,
            "failures": self.failures,
        }


def store_names(comparisons: Iterable[Comparison]) -> list[str]:
    """Every store that has a rate, Flin first, then in order of appearance."""
    seen = dict.fromkeys(name for comparison in comparisons for name in comparison.rates)
    return sorted(seen, key=lambda name: name != OURS)
