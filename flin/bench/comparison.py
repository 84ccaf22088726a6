"""The results of a run: rows with every store's rate in every round, and the ratios that follow from them.

A `Comparison` is a row of rates; a `Finding` holds figures that are no rates: seconds, bytes, factors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, TypeAlias

from flin.bench.figures import median_ratio
from flin.bench.target import Target

OURS: Final = "flin"

BUSY_GENERATOR: Final = 0.8
"""The share of a core from which on the load generator is what servers wait for: rates say nothing of them then."""


@dataclass(slots=True)
class Comparison:
    """One row of the table."""

    name: str  # the row's: "fillrandom 100 B"
    unit: str  # the latencies': "µs" or "ms"
    operations: int = 0  # in one round
    rates: dict[str, list[float]] = field(default_factory=dict)  # store → operations per second, round by round
    latencies: dict[str, dict[str, float]] = field(default_factory=dict)  # store → {"p50": …, "p99": …, "p99.9": …}
    failures: list[str] = field(default_factory=list)
    target: Target | None = None
    published: float | None = None  # a rate that others published for this workload, on unknown hardware
    costs: dict[str, list[float]] = field(default_factory=dict)  # store → µs of processor time an operation
    generator: dict[str, list[float]] = field(default_factory=dict)  # store → the share of a core, of who asked it

    def add_cost(self, store: str, microseconds: float, generator_share: float) -> None:
        self.costs.setdefault(store, []).append(microseconds)
        self.generator.setdefault(store, []).append(generator_share)

    @property
    def waits_for_generator(self) -> bool:
        """Whether a store waited for the load generator rather than the other way round."""
        return any(median(shares) > BUSY_GENERATOR for shares in self.generator.values())

    @property
    def cost_ratio(self) -> float | None:
        """The cheapest peer's processor time divided by Flin's, as the median of the rounds: as `ratio`, more is
        better."""
        ours = self.costs.get(OURS, [])
        peers = {
            name: [1 / cost for cost in costs]
            for name, costs in self.costs.items()
            if name != OURS and len(costs) == len(ours) and all(costs)
        }
        return median_ratio([1 / cost for cost in ours], peers) if all(ours) else None

    def add(self, store: str, rate: float) -> None:
        self.rates.setdefault(store, []).append(rate)

    def median_rate(self, store: str) -> float | None:
        rates = self.rates.get(store)
        return median(rates) if rates else None

    @property
    def ratio(self) -> float | None:
        """Flin's rate divided by the faster peer's, as the median of the rounds; None if one is missing or failed."""
        ours = self.rates.get(OURS, [])
        peers = {name: rates for name, rates in self.rates.items() if name != OURS and len(rates) == len(ours)}
        return median_ratio(ours, peers)

    @property
    def is_reached(self) -> bool | None:
        """Whether the target is reached; None if there is no target, or nothing to compare: then also where the load
        generator was too busy."""
        if self.waits_for_generator:
            return None
        return None if self.target is None else self.target.is_reached(self.ratio, self.median_rate(OURS))

    def to_json(self) -> dict[str, Any]:
        return {
            "row": self.name,
            "operations": self.operations,
            "operations_per_second": self.rates,
            "median": {store: self.median_rate(store) for store in self.rates},
            "ratio_to_faster_peer": self.ratio,
            "target": None if self.target is None else str(self.target),
            "target_is_reached": self.is_reached,
            "published": self.published,
            "microseconds_of_processor_time": self.costs,
            "generator_share_of_a_core": self.generator,
            "latency_unit": self.unit,
            "latency": self.latencies,
            "failures": self.failures,
        }


@dataclass(slots=True)
class Finding:
    """The figures of a measurement by name, with the unit at its end ("peak MiB"), for every store."""

    name: str
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # figure → store → round by round
    goals: dict[str, tuple[str, bool]] = field(default_factory=dict)  # figure → its goal, whether that is reached
    failures: list[str] = field(default_factory=list)

    def add(self, store: str, figures: dict[str, float]) -> None:
        for name, figure in figures.items():
            self.figures.setdefault(name, {}).setdefault(store, []).append(figure)

    def median(self, figure: str, store: str = OURS) -> float | None:
        rounds = self.figures.get(figure, {}).get(store)
        return median(rounds) if rounds else None

    def at_most(self, figure: str, most: float) -> None:
        """Set a goal for one of Flin's figures, if it was measured."""
        found = self.median(figure)
        if found is not None:
            self.goals[figure] = (f"at most {most:g}", found <= most)

    def at_least(self, figure: str, least: float) -> None:
        found = self.median(figure)
        if found is not None:
            self.goals[figure] = (f"at least {least:g}", found >= least)

    def to_json(self) -> dict[str, Any]:
        return {
            "row": self.name,
            "figures": self.figures,
            "goals": {name: {"goal": text, "is_reached": reached} for name, (text, reached) in self.goals.items()},
            "failures": self.failures,
        }


Result: TypeAlias = Comparison | Finding


def store_names(results: Iterable[Result]) -> list[str]:
    """Every store that has a figure, Flin first, then in order of appearance."""
    seen: dict[str, None] = {}
    for result in results:
        if isinstance(result, Comparison):
            seen |= dict.fromkeys(result.rates)
        else:
            seen |= dict.fromkeys(name for stores in result.figures.values() for name in stores)
    return sorted(seen, key=lambda name: name != OURS)
