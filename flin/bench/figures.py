"""Figures from measurements: percentiles, medians, ratios. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

PERCENTILES: Final = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest sample that at least this share of all samples does not exceed (nearest rank)."""
    if not ordered:
        raise ValueError("no samples")
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[min(len(ordered), max(1, rank)) - 1]


def percentiles(samples: Sequence[float], scale: float = 1.0) -> dict[str, float]:
    """p50, p99, p99.9 and the largest, multiplied by the scale (1e-3: nanoseconds to microseconds)."""
    ordered = sorted(samples)
    figures = {name: percentile(ordered, share) * scale for name, share in PERCENTILES.items()}
    figures["max"] = ordered[-1] * scale
    return figures


def median_ratio(ours: Sequence[float], peers: Mapping[str, Sequence[float]]) -> float | None:
    """The median over the rounds of our rate divided by the fastest peer's; None without a peer.

    Rates are compared within a round, since a noisy machine slows all stores of a round.
    """
    if not ours or not peers:
        return None
    fastest = [max(rates) for rates in zip(*peers.values(), strict=True)]
    ratios: list[float] = [our / peer for our, peer in zip(ours, fastest, strict=True)]
    return median(ratios)
