"""What a pick must know of each run: how much it holds in each range between the fences.

A run of thousands of tables is looked at once: most picks find most runs as they were at the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from flin.engine.catalog.version import Run
from flin.engine.table.meta import TableMeta


@dataclass(frozen=True, slots=True)
class RunProfile:
    """By range; what a table holds that spans several ranges counts in all of them evenly."""

    run: Run
    fences: tuple[bytes, ...]
    ends: list[int]  # the bytes before each table, and of all
    sizes: list[int]  # before compression; a table without entries (range deletes alone) counts as one byte
    entries: list[float]
    tombstones: list[float] | None  # None: there are none
    deleting: Run  # tables with range deletes
    with_tombstones: Run  # and with tombstones of either kind

    @property
    def raw_bytes(self) -> int:
        return self.ends[-1]

    @classmethod
    def of(cls, run: Run, fences: tuple[bytes, ...]) -> RunProfile:
        count = len(fences) + 1
        sizes, entries, dead = [0] * count, [0.0] * count, [0.0] * count
        for table, (first, after) in zip(run, spans(run, fences), strict=True):
            parts = after - first
            share = table.raw_bytes // parts or 1
            for index in range(first, after):
                sizes[index] += share
                entries[index] += table.entry_count / parts
            if table.tombstones:
                for index in range(first, after):
                    dead[index] += table.tombstones / parts
        return cls(
            run,
            fences,
            list(accumulate((table.raw_bytes for table in run), initial=0)),
            sizes,
            entries,
            dead if any(dead) else None,
            tuple(table for table in run if table.range_deletes),
            tuple(table for table in run if table.range_deletes or table.tombstones),
        )


def spans(run: Sequence[TableMeta], fences: Sequence[bytes]) -> list[tuple[int, int]]:
    """The first range that each table reaches into, and the one after the last."""
    found: list[tuple[int, int]] = []
    first = 0
    for table in run:
        while first < len(fences) and fences[first] <= table.smallest:
            first += 1
        last = first
        while last < len(fences) and fences[last] <= table.largest:
            last += 1
        found.append((first, last + 1))
    return found


class RunProfiles:
    """The profiles of the runs that the last pick has seen."""

    def __init__(self) -> None:
        self._known: dict[int, RunProfile] = {}  # by the run's id, which is its own as long as it is held here
        self._before: dict[int, RunProfile] = {}

    def begin(self) -> None:
        """Begin a pick: what the one before did not ask for is forgotten."""
        self._before, self._known = self._known, {}

    def of(self, run: Run, fences: tuple[bytes, ...]) -> RunProfile:
        profile = self._known.get(id(run)) or self._before.get(id(run))
        if profile is None or (profile.fences is not fences and profile.fences != fences):
            profile = RunProfile.of(run, fences)
        self._known[id(run)] = profile
        return profile
