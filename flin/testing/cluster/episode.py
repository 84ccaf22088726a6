"""What came of a fault: figures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flin.testing.cluster.history import Call, Outcome, longest_gap_ns


@dataclass
class Episode:
    fault: str
    seed: int
    calls: int = 0
    unknown: int = 0
    refused: int = 0
    gap_seconds: float = 0.0
    """The longest time in which some group answered nobody."""
    gaps: dict[int, float] = field(default_factory=dict)
    """By group."""
    load: float = 0.0
    """The machine's, at its end: processes that run or want to, over a minute."""
    world: str = ""
    """What the nodes lived in."""


def told(fault: str, seed: int, by_group: Mapping[int, Sequence[Call]], world: str) -> Episode:
    """by_group: what the load's clients were told. Nobody asks between its end and the last reads."""
    gaps = {group: round(longest_gap_ns(calls) / 1e9, 2) for group, calls in sorted(by_group.items())}
    outcomes = [call.outcome for calls in by_group.values() for call in calls]
    return Episode(
        fault, seed, len(outcomes), outcomes.count(Outcome.UNKNOWN), outcomes.count(Outcome.REFUSED),
        max(gaps.values()), gaps, round(os.getloadavg()[0], 1), world,
    )  # fmt: skip
