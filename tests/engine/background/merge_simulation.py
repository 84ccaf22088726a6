"""A large shard as metadata alone: random keys are put, flushed and merged, and what would be written is added up.

A table is a stretch of the key space with two densities: of the keys that it holds since they were first put, which no
other table holds, and of those that were overwritten, which are independent samples. So a merge is arithmetic.

`python -m tests.engine.background.merge_simulation GIGABYTES GENERATION_MB` fills a shard, overwrites all of it, and
prints how far it is: more than a test has time for. With `full` as a third argument it begins with all in the bottom.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from time import perf_counter

from flin.engine.background.compaction import Compaction, CompactionOptions, install, sequences_between
from flin.engine.background.fences import parted
from flin.engine.background.picker import pick_compaction
from flin.engine.background.run_profile import RunProfiles
from flin.engine.catalog.version import Run, ShardRuns, Version
from flin.engine.table.meta import TableMeta

SPACE = 1 << 48
"""Keys are the numbers below."""

MB, GB = 1 << 20, 1 << 30

Densities = tuple[float, float]
"""The share of a stretch's keys that was first put, and that was overwritten."""


def key_of(place: int) -> bytes:
    return place.to_bytes(6, "big")


def place_of(key: bytes) -> int:
    return int.from_bytes(key[:6], "big")


@dataclass
class Simulation:
    data_bytes: int  # of all keys, each once
    generation_bytes: int = 32 * MB
    options: CompactionOptions = field(default_factory=CompactionOptions)
    runs: ShardRuns = ()
    fences: tuple[bytes, ...] = ()
    densities: dict[str, Densities] = field(default_factory=dict)  # by file
    filled: int = 0
    flushed: int = 0
    written: int = 0
    largest_job: int = 0
    most_held: float = 0.0  # on the disk at most, while a merge writes, in times of what lives
    most_runs: int = 0
    runs_seen: int = 0
    flushes: int = 0
    slowest_pick: float = 0.0
    pick_seconds: float = 0.0
    picks: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    jobs_seen: list[int] = field(default_factory=list)
    profiles: RunProfiles = field(default_factory=RunProfiles)
    busy: tuple[Compaction, ...] = ()  # merges under way, which do not end
    _numbers: count[int] = field(default_factory=count)

    def fill(self, size: int) -> None:
        """Put keys that are new."""
        for _ in range(size // self.generation_bytes):
            self.filled += self.generation_bytes
            self._flush((self.generation_bytes / self.data_bytes, 0.0))

    def begin_full(self) -> None:
        """Begin with all keys in the bottom."""
        table_bytes = self.options.at(self.data_bytes).target_table_bytes
        edges = [SPACE * at // self.data_bytes for at in range(0, self.data_bytes + 1, table_bytes)]
        self.runs = (tuple(self.table(start, stop, (1.0, 0.0)) for start, stop in pairwise(edges)),)
        self.filled = self.data_bytes
        self.fences = parted(self.runs, (), self.options.at(self.data_bytes).range_bytes)

    def fill_in_order(self, size: int) -> None:
        """Put new keys, each larger than the one before."""
        for at in range(0, size, self.generation_bytes):
            self.filled += self.generation_bytes
            self._flush(
                (1.0, 0.0), SPACE * at // self.data_bytes, SPACE * (at + self.generation_bytes) // self.data_bytes
            )

    def overwrite(self, size: int) -> None:
        for _ in range(size // self.generation_bytes):
            self._flush((0.0, self.generation_bytes / self.data_bytes))

    def begin_measuring(self) -> None:
        self.written = self.flushed = self.largest_job = self.most_runs = self.runs_seen = self.flushes = 0
        self.most_held = 0.0
        self.reasons.clear()
        self.jobs_seen.clear()

    @property
    def write_amplification(self) -> float:
        return self.written / self.flushed

    @property
    def held(self) -> int:
        return sum(table.raw_bytes for run in self.runs for table in run)

    def table(self, start: int, stop: int, densities: Densities) -> TableMeta:
        size = int((stop - start) / SPACE * self.data_bytes * (1 - (1 - densities[0]) * (1 - densities[1])))
        number = next(self._numbers)
        file = f"{number}"
        self.densities[file] = densities
        bounds = key_of(start), key_of(stop - 1)
        return TableMeta(file, 0, size, size, 0, 0, 0, *bounds, number, number, size)

    def _flush(self, densities: Densities, start: int = 0, stop: int = SPACE) -> None:
        table = self.table(start, stop, densities)
        self.runs = ((table,), *self.runs)
        self.flushed += table.raw_bytes
        self.written += table.raw_bytes
        while True:
            began = perf_counter()
            version = Version((self.runs,), fences=(self.fences,))
            found = pick_compaction(version, self.options, self.busy, profiles=self.profiles)
            seconds = perf_counter() - began
            self.slowest_pick = max(self.slowest_pick, seconds)
            self.pick_seconds += seconds
            self.picks += 1
            if found is None:
                break
            self._merge(found)
        self.most_runs = max(self.most_runs, len(self.runs))
        self.runs_seen += len(self.runs)
        self.flushes += 1

    def _merge(self, found: Compaction) -> None:
        outputs = () if found.trivial else self._outputs(found)
        size = sum(table.raw_bytes for table in outputs)
        job = sum(table.raw_bytes for run in found.rewrite for table in run)
        self.largest_job = max(self.largest_job, job)
        self.jobs_seen.append(job)
        self.written += size
        self.most_held = max(self.most_held, (self.held + size) / self.filled)
        self.reasons[found.reason] += 1
        self.runs = install(self.runs, found, outputs).runs
        range_bytes = self.options.at(self.held).range_bytes
        self.fences = parted(self.runs, self.fences, range_bytes, self.profiles)
        for run in found.rewrite:
            for table in run:
                del self.densities[table.file]

    def _outputs(self, found: Compaction) -> Run:
        tables = [table for run in found.rewrite for table in run]
        edges = {place_of(table.smallest) for table in tables} | {place_of(table.largest) + 1 for table in tables}
        cuts = {place_of(key) for key in (*found.output_boundaries, *found.fences)}
        places = sorted(edges | {each for each in cuts if min(edges) < each < max(edges)})
        writer = _Writer(self, found)
        for start, stop in pairwise(places):
            writer.add(start, stop, self._merged(found.rewrite, start), start in cuts)
        return writer.finish()

    def _merged(self, runs: ShardRuns, place: int) -> Densities:
        key = key_of(place)
        first, kept = 0.0, 1.0
        for run in runs:
            at = bisect_left(run, key, key=lambda table: table.largest)
            if at < len(run) and run[at].smallest <= key:
                density = self.densities[run[at].file]
                first += density[0]
                kept *= 1 - density[1]
        return min(first, 1.0), 1 - kept


class _Writer:
    def __init__(self, simulation: Simulation, compaction: Compaction) -> None:
        self._simulation = simulation
        self._target = compaction.target_table_bytes
        self._compaction = compaction
        self._tables: list[TableMeta] = []
        self._parts: list[tuple[int, int, Densities]] = []  # of the open table
        self._size = 0.0

    def add(self, start: int, stop: int, densities: Densities, ends: bool) -> None:
        per_place = self._simulation.data_bytes / SPACE * (1 - (1 - densities[0]) * (1 - densities[1]))
        if ends:
            self._end()
        if not per_place:
            return
        while start < stop:
            room = max(1, int((self._target - self._size) / per_place))
            until = min(stop, start + room)
            self._parts.append((start, until, densities))
            self._size += (until - start) * per_place
            start = until
            if self._size >= 0.999 * self._target:
                self._end()

    def finish(self) -> Run:
        self._end()
        return tuple(self._tables)

    def _end(self) -> None:
        parts = self._parts
        if parts:
            start, stop = parts[0][0], parts[-1][1]
            table = self._simulation.table(start, stop, _average(parts))
            low, high = sequences_between(self._compaction.rewrite, key_of(start), key_of(stop - 1) + b"\0")
            self._tables.append(replace(table, smallest_sequence=low, largest_sequence=high))
        self._parts, self._size = [], 0.0


def _average(parts: Sequence[tuple[int, int, Densities]]) -> Densities:
    width = parts[-1][1] - parts[0][0]
    first = sum((stop - start) * densities[0] for start, stop, densities in parts) / width
    second = sum((stop - start) * densities[1] for start, stop, densities in parts) / width
    return first, second


def main(arguments: Sequence[str]) -> None:
    size = int(float(arguments[0]) * GB)
    simulation = Simulation(size, int(arguments[1]) * MB)
    if "full" in arguments:
        simulation.begin_full()
    else:
        _go_on("filled", simulation, simulation.fill)
    simulation.begin_measuring()
    _go_on("overwritten", simulation, simulation.overwrite)


def _go_on(what: str, simulation: Simulation, write: Callable[[int], None]) -> None:
    generations = simulation.data_bytes // simulation.generation_bytes
    for done in range(1, 21):
        write((generations * done // 20 - generations * (done - 1) // 20) * simulation.generation_bytes)
        print(
            f"{what} {5 * done} %: written {simulation.write_amplification:.2f} times, on the disk at most"
            f" {simulation.most_held:.2f}, largest merge {simulation.largest_job / GB:.2f} GB, runs"
            f" {simulation.runs_seen / simulation.flushes:.1f} on average, {simulation.most_runs} at most,"
            f" {len(simulation.fences)} fences",
            flush=True,
        )
        if done == 10 and what == "filled":
            simulation.most_held = 0.0  # four runs of a generation each are always merged at once


if __name__ == "__main__":
    main(sys.argv[1:])
