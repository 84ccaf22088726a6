"""A picture of a run as SVG: one bar per row for Flin's rate divided by the faster peer's. Needs no library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from flin.bench.comparison import Comparison

ROW_HEIGHT: Final = 22
LABEL_WIDTH: Final = 310
UNIT_WIDTH: Final = 160
"""Pixels of a ratio of one: the place of the peer's line."""

MAX_RATIO: Final = 4.0
"""Longer bars are cut; the figures next to them are not."""

BETTER: Final = "#2a7f62"
WORSE: Final = "#b5651d"


def svg(comparisons: Sequence[Comparison]) -> str:
    """The picture; rows without a ratio are left out."""
    rows = [(comparison.name, comparison.ratio) for comparison in comparisons if comparison.ratio is not None]
    width = LABEL_WIDTH + int(UNIT_WIDTH * MAX_RATIO) + 60
    height = ROW_HEIGHT * (len(rows) + 2)
    peer = LABEL_WIDTH + UNIT_WIDTH
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{peer}" y="{ROW_HEIGHT - 6}" text-anchor="middle">the faster peer</text>',
    ]
    for index, (name, ratio) in enumerate(rows):
        parts += _bar(name, ratio, ROW_HEIGHT * (index + 1))
    parts.append(f'<line x1="{peer}" x2="{peer}" y1="{ROW_HEIGHT}" y2="{height - ROW_HEIGHT}" stroke="black"/>')
    return "\n".join([*parts, "</svg>", ""])


def _bar(name: str, ratio: float, top: int) -> list[str]:
    length = UNIT_WIDTH * min(ratio, MAX_RATIO)
    color = BETTER if ratio >= 1 else WORSE
    baseline = top + ROW_HEIGHT - 6
    return [
        f'<text x="{LABEL_WIDTH - 8}" y="{baseline}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{LABEL_WIDTH}" y="{top + 3}" width="{length:.1f}" height="{ROW_HEIGHT - 6}" fill="{color}"/>',
        f'<text x="{LABEL_WIDTH + length + 6:.1f}" y="{baseline}">{ratio:.2f}</text>',
    ]
