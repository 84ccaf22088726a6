"""The results of a run: tables for people, JSON for programs. Pure functions."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final

import flin
from flin.bench.comparison import OURS, Comparison, Finding, Result, store_names

NOTHING: Final = "-"
REACHED: Final = {True: "yes", False: "no", None: NOTHING}


def tables(results: Sequence[Result]) -> str:
    """Tables that fit a page: rates, latencies, other figures. Empty tables are left out."""
    comparisons = [result for result in results if isinstance(result, Comparison)]
    findings = [result for result in results if isinstance(result, Finding)]
    timed = [comparison for comparison in comparisons if comparison.latencies]
    made = [table(comparisons)] if comparisons else []
    made += [latency_table(timed)] if timed else []
    weighed = [comparison for comparison in comparisons if comparison.costs]
    made += [cost_table(weighed)] if weighed else []
    made += [found(findings)] if findings else []
    return "\n\n".join(made)


def markdown(parts: Sequence[tuple[str, Sequence[Result]]]) -> str:
    """A section of a page: the machine, then a heading and the tables for each part."""
    place = machine()
    where = f"Flin {place['flin']}, CPython {place['python']}, {place['system']}, {place['cpus']} CPUs, {place['at']}."
    sections = [f"### {name}\n\n{tables(results)}" for name, results in parts]
    return "\n\n".join(["## Measured", where, *sections]) + "\n"


def table(comparisons: Sequence[Comparison]) -> str:
    """An aligned Markdown table: rates per store, the ratio, and the published rate and target, if a row has one."""
    stores = store_names(comparisons)
    has_published = any(comparison.published for comparison in comparisons)
    has_target = any(comparison.target for comparison in comparisons)
    lines = [["operations/s", *stores]]
    lines += [[row.name, *(_rate(row.median_rate(store)) for store in stores)] for row in comparisons]
    for line, row in zip(lines, [None, *comparisons], strict=True):
        if has_published:
            line.append("published" if row is None else _rate(row.published))
        line += ["ratio"] if row is None else [NOTHING if row.ratio is None else f"{row.ratio:.2f}"]
        if has_target:
            line += ["target", "reached"] if row is None else [str(row.target or NOTHING), REACHED[row.is_reached]]
    return aligned(lines)


def latency_table(comparisons: Sequence[Comparison]) -> str:
    """A table of Flin's percentiles of single operations, and the peers' p99."""
    peers = [name for name in store_names(comparisons) if name != OURS]
    lines = [["latency", "p50", "p99", "p99.9", *(f"{name} p99" for name in peers)]]
    for row in comparisons:
        ours = [row.latencies.get(OURS, {}).get(name) for name in ("p50", "p99", "p99.9")]
        theirs = [row.latencies.get(peer, {}).get("p99") for peer in peers]
        lines.append([row.name, *(_latency(figure, row.unit) for figure in (*ours, *theirs))])
    return aligned(lines)


def cost_table(comparisons: Sequence[Comparison]) -> str:
    """A table of the processor time that an operation takes, and of the share of a core that the load generator
    took: its row does not count where that is marked."""
    stores = store_names(comparisons)
    lines = [["processor time, µs", *stores, "ratio", *(f"generator, {store}" for store in stores), "counts"]]
    for row in comparisons:
        costs = [_median(row.costs.get(store)) for store in stores]
        shares = [_median(row.generator.get(store)) for store in stores]
        lines.append(
            [
                row.name,
                *(NOTHING if cost is None else f"{cost:.2f}" for cost in costs),
                NOTHING if row.cost_ratio is None else f"{row.cost_ratio:.2f}",
                *(NOTHING if share is None else f"{share:.0%}" for share in shares),
                REACHED[not row.waits_for_generator],
            ]
        )
    return aligned(lines)


def _median(figures: Sequence[float] | None) -> float | None:
    return median(figures) if figures else None


def found(findings: Sequence[Finding]) -> str:
    """A table with one line for each figure of each finding."""
    stores = store_names(findings)
    lines = [["figure", *stores, "target", "reached"]]
    for finding in findings:
        for figure in finding.figures:
            goal, reached = finding.goals.get(figure, (NOTHING, None))
            cells = [_figure(finding.median(figure, store)) for store in stores]
            lines.append([f"{finding.name}: {figure}", *cells, goal, REACHED[reached]])
    return aligned(lines)


def _rate(rate: float | None) -> str:
    return NOTHING if rate is None else f"{rate:,.0f}"


def _figure(figure: float | None) -> str:
    if figure is None:
        return NOTHING
    return f"{figure:,.0f}" if abs(figure) >= 1000 or figure == int(figure) else f"{figure:.3g}"


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
    """The machine and the versions of a run."""
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
