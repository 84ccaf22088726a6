"""A sparkline: numbers as bars of text, as LATENCY GRAPH shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

ROWS: Final = 4
FILL: Final = "_o#"
"""From the lowest third of a row to the highest; below it the row is full."""


def sparkline(values: Sequence[float], labels: Sequence[str]) -> list[str]:
    """ROWS lines of bars, highest first, then the labels downwards."""
    low, high = min(values), max(values)
    steps = ROWS * len(FILL)
    heights = [round((value - low) / (high - low) * (steps - 1)) if high > low else 0 for value in values]
    lines = []
    for row in range(ROWS - 1, -1, -1):
        cells = []
        for height in heights:
            above = height - row * len(FILL)
            cells.append(" " if above < 0 else FILL[above] if above < len(FILL) else "|")
        lines.append("".join(cells).rstrip())
    columns = [label.ljust(max(map(len, labels))) for label in labels]
    return [*lines, *("".join(row).rstrip() for row in zip(*columns, strict=True))]
