"""The longest gaps of many faults as a picture, and as a table with their seeds.

    python -m flin.testing.cluster.picture docs/failovers.svg figures/*.json > table.md

A row for each kind of fault, a dot for each time that it befell a cluster: how long some group answered nobody. Dots of
a machine that was busy with other things are pale.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from flin.testing.cluster.episode import Episode

ROW_HEIGHT: Final = 22
LABEL_WIDTH: Final = 230
SECOND_WIDTH: Final = 48
"""Pixels."""

MAX_SECONDS: Final = 12
"""Longer gaps are drawn here; the table has their length."""

MARKS: Final = ((2, "SIGTERM"), (6, "kill -9"))
"""What is promised: seconds until writes go on."""

BUSY_LOAD: Final = 10.0
"""Processes that run or want to, on two cores: five for each."""

CALM, BUSY = "#2a7f62", "#c9b79c"


def svg(episodes: Iterable[Episode]) -> str:
    rows = by_fault(episodes)
    width, height = LABEL_WIDTH + SECOND_WIDTH * (MAX_SECONDS + 1) + 60, ROW_HEIGHT * (len(rows) + 3)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *_scale(height),
    ]
    for place, (fault, own) in enumerate(rows.items()):
        parts += _row(fault, own, ROW_HEIGHT * (place + 1) + ROW_HEIGHT // 2)
    return "\n".join([*parts, "</svg>", ""])


def _scale(height: int) -> Iterator[str]:
    for seconds in range(0, MAX_SECONDS + 1, 2):
        x = LABEL_WIDTH + SECOND_WIDTH * seconds
        yield f'<line x1="{x}" x2="{x}" y1="{ROW_HEIGHT}" y2="{height - 2 * ROW_HEIGHT}" stroke="#dddddd"/>'
        yield f'<text x="{x}" y="{height - ROW_HEIGHT - 6}" text-anchor="middle">{seconds} s</text>'
    for seconds, text in MARKS:
        x = LABEL_WIDTH + SECOND_WIDTH * seconds
        yield f'<line x1="{x}" x2="{x}" y1="{ROW_HEIGHT}" y2="{height - 2 * ROW_HEIGHT}" stroke="black"/>'
        yield f'<text x="{x}" y="{ROW_HEIGHT - 6}" text-anchor="middle">{text}</text>'


def _row(fault: str, episodes: Sequence[Episode], y: int) -> Iterator[str]:
    yield f'<text x="{LABEL_WIDTH - 12}" y="{y + 4}" text-anchor="end">{fault.replace("_", " ")}</text>'
    for each in sorted(episodes, key=lambda each: -each.load):  # the calm ones on top
        x = LABEL_WIDTH + SECOND_WIDTH * min(each.gap_seconds, MAX_SECONDS)
        color = BUSY if each.load > BUSY_LOAD else CALM
        yield f'<circle cx="{x:.1f}" cy="{y}" r="4" fill="{color}" fill-opacity="0.8"/>'
    longest = max(each.gap_seconds for each in episodes)
    yield f'<text x="{LABEL_WIDTH + SECOND_WIDTH * MAX_SECONDS + 16}" y="{y + 4}">{longest:.1f}</text>'


def table(episodes: Iterable[Episode]) -> str:
    """In Markdown."""
    lines = ["| fault | times | gap in the middle, s | longest, s | seeds |", "|---|---|---|---|---|"]
    for fault, own in by_fault(episodes).items():
        gaps = [each.gap_seconds for each in own]
        seeds = " ".join(str(each.seed) for each in sorted(own, key=lambda each: each.seed))
        lines.append(f"| `{fault}` | {len(own)} | {median(gaps):.1f} | {max(gaps):.1f} | {seeds} |")
    return "\n".join([*lines, ""])


def by_fault(episodes: Iterable[Episode]) -> dict[str, list[Episode]]:
    found: dict[str, list[Episode]] = {}
    for each in sorted(episodes, key=lambda each: each.fault):
        found.setdefault(each.fault, []).append(each)
    return found


def read(path: Path) -> list[Episode]:
    told: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return [Episode(**each) for each in told]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m flin.testing.cluster.picture", description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("figures", type=Path, nargs="+", help="what faults have written with --json")
    given = parser.parse_args(arguments)
    episodes = [each for path in given.figures for each in read(path)]
    given.picture.write_text(svg(episodes), encoding="utf-8")
    print(table(episodes), end="")


if __name__ == "__main__":
    main()
