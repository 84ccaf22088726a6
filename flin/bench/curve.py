"""A curve: how the cost of an operation grows; and its picture, an SVG with logarithmic axes."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, log10
from typing import Any, Final

Point = tuple[float, float]

WIDTH: Final = 720
HEIGHT: Final = 420
LEFT, RIGHT, TOP, BOTTOM = 80, 190, 40, 60
COLORS: Final = ("#2a7f62", "#b5651d", "#2b5c9e", "#8e3b8a", "#777777", "#b8860b", "#444444")


@dataclass(slots=True)
class Curve:
    """A curve: lines of points (what grows, microseconds of one operation)."""

    name: str  # the file's: "keys"
    title: str
    grows: str  # the label of the lower axis: "keys"
    lines: dict[str, list[Point]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, line: str, at: float, microseconds: float) -> None:
        self.lines.setdefault(line, []).append((at, microseconds))

    def to_json(self) -> dict[str, Any]:
        return {
            "curve": self.name,
            "title": self.title,
            "grows": self.grows,
            "microseconds": self.lines,
            "failures": self.failures,
        }


def table(curve: Curve) -> list[list[str]]:
    """A table with one line per place on the lower axis, one column per line of the curve."""
    places = sorted({at for points in curve.lines.values() for at, _ in points})
    by_line = {name: dict(points) for name, points in curve.lines.items()}
    rows = [[f"{curve.grows}, µs each", *curve.lines]]
    for at in places:
        cells = [by_line[name].get(at) for name in curve.lines]
        rows.append([f"{at:,.0f}", *("-" if cell is None else f"{cell:,.2f}" for cell in cells)])
    return rows


def svg(curve: Curve) -> str:
    """The picture. Both axes are logarithmic: a cost that doubles with the data is a straight line, and so is one that
    stays the same."""
    points = [point for line in curve.lines.values() for point in line if point[1] > 0]
    if not points:
        raise ValueError(f"the curve of {curve.grows} has no point")
    across = _Axis([at for at, _ in points], LEFT, WIDTH - RIGHT)
    up = _Axis([cost for _, cost in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(curve.title)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 16}" text-anchor="middle">{escape(curve.grows)}</text>',
        f'<text x="14" y="{TOP - 8}">µs</text>',
    ]
    for tick in across.ticks():
        parts.append(_rule(across.at(tick), across.at(tick), TOP, HEIGHT - BOTTOM))
        parts.append(
            f'<text x="{across.at(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_short(tick)}</text>'
        )
    for tick in up.ticks():
        parts.append(_rule(LEFT, WIDTH - RIGHT, up.at(tick), up.at(tick)))
        parts.append(f'<text x="{LEFT - 8}" y="{up.at(tick) + 4:.1f}" text-anchor="end">{_short(tick)}</text>')
    for index, (name, line) in enumerate(curve.lines.items()):
        color = COLORS[index % len(COLORS)]
        places = [(across.at(at), up.at(cost)) for at, cost in line if cost > 0]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in places]
        parts.append(f'<text x="{WIDTH - RIGHT + 14}" y="{TOP + 12 + 18 * index}" fill="{color}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


class _Axis:
    """An axis: maps figures to pixels by their logarithms, from a power of ten to a power of ten."""

    def __init__(self, figures: list[float], start: float, stop: float) -> None:
        self._low, high = floor(log10(min(figures))), ceil(log10(max(figures)))
        self._high = max(high, self._low + 1)
        self._start, self._stop = start, stop

    def at(self, figure: float) -> float:
        share = (log10(figure) - self._low) / (self._high - self._low)
        return self._start + share * (self._stop - self._start)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self._low, self._high + 1)]


def _rule(left: float, right: float, top: float, bottom: float) -> str:
    return f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{top:.1f}" y2="{bottom:.1f}" stroke="#dddddd"/>'


def _short(figure: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if figure >= size:
            return f"{figure / size:g}{unit}"
    return f"{figure:g}"
