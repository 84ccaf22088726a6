"""What a run leaves behind: a table for people, JSON for programs. Pure functions over comparisons."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import flin
from flin.bench.comparison import OURS, Comparison, store_names

NOTHING: Final = "-"


def table(comparisons: Sequence[Comparison]) -> str:
    """Markdown that lines up: rates per store, the ratio, Flin's percentiles and the peers' p99."""
    stores = store_names(comparisons)
    header = ["operations/s", *stores, "ratio", "p50", "p99", "p99.9", *(f"{name} p99" for name in stores[1:])]
    return aligned([header, *(_cells(comparison, stores) for comparison in comparisons)])


def _cells(comparison: Comparison, stores: list[str]) -> list[str]:
    ours = comparison.latencies.get(OURS, {})
    return [
        comparison.name,
        *(_rate(comparison.median_rate(store)) for store in stores),
        NOTHING if comparison.ratio is None else f"{comparison.ratio:.2f}",
        *(_latency(ours.get(name), comparison.unit) for name in ("p50", "p99", "p99.9")),
        *(_latency(comparison.latencies.get(store, {}).get("p99"), comparison.unit) for store in stores[1:]),
    ]


def _rate(rate: float | None) -> str:
    return NOTHING if rate is None else f"{rate:,.0f}"


def _latency(figure: float | None, unit: str) -> str:
    return NOTHING if figure is None else f"{figure:,.1f} {unit}" if figure >= 10 else f"{figure:.2f} {unit}"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first line is the header; text to the left, figures to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def machine() -> dict[str, Any]:
    """Where and with what a run was made."""
    return {
        "flin": flin.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def document(kind: str, settings: dict[str, Any], results: Any) -> dict[str, Any]:
    """The JSON document of a run."""
    return {"bench": kind, "machine": machine(), "settings": settings, "results": results}
