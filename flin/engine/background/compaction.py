"""Which runs to merge next: a pure choice over a version. Nothing here reads a file, a clock or a thread.

Theory (lazy leveling). In Python, CPU time per rewritten key is scarce, so each shard keeps a few overlapping runs
above one sorted run that holds most of its data, the bottom. Merging everything into the bottom waits until the runs
above reach a set share of its size, which bounds both the space that shadowed entries take and the rewriting of the
bottom; the runs above are merged among themselves once enough neighbours are of similar size, so that an entry is
rewritten about once per level of sizes. A cap on the number of runs bounds the cost of a lookup.

Only the necessary tables are rewritten: those of the chosen runs are put into groups of overlapping key ranges, and a
large enough table that overlaps nothing moves into the result as it is (a trivial move). Small neighbours are packed
into one; else a run would end as thousands of tiny files. Rewritten tables may not span a moved one:
`output_boundaries` tells the job where a new output must begin.

The order of ages stays right because a compaction takes whole neighbouring runs, and its result takes their place.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeAlias

from flin.engine.catalog.version import Run, ShardRuns, Version
from flin.engine.table.meta import TableMeta


@dataclass(frozen=True, slots=True)
class CompactionOptions:
    target_table_bytes: int = 32 << 20
    """Outputs are cut here: a table's index and filter stay small, and a large run has tables to move."""
    merge_width: int = 4
    """Neighbours of similar size that make a merge. Simulated with 200 equal flushes of random keys: 4 gives a
    write amplification of 4.4 with 9 runs at most, 8 gives 3.7 with 12."""
    similar_ratio: float = 1.5
    """A run joins younger neighbours if its size is at most this many times their mean."""
    bottom_ratio: float = 0.6
    """The share of the bottom's size that the runs above may reach. It bounds space amplification to about 1.6 where
    everything is overwritten; 0.4 costs half a rewrite more, 1.0 saves a third of one (same simulation)."""
    maximum_runs: int = 12
    """A lookup asks the filter of each run (0.2-0.3 µs each): about 3 µs at most before the first data block."""
    tombstone_ratio: float = 0.25
    """Tombstones per entry from which the space that a merge frees pays for it."""
    smallest_move_share: float = 0.25
    """Tables below this share of the target are packed with their neighbours instead of being moved."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """A plan. The runs that it names are those of the version that it was picked from; flushes may add younger runs
    meanwhile."""

    shard: int
    indices: tuple[int, ...]  # where the chosen runs are in that version, newest first, adjacent
    runs: ShardRuns  # the chosen runs
    rewrite: ShardRuns  # those of their tables that the job reads, newest first, without empty runs
    moves: Run  # those that go into the result as they are, in key order
    output_boundaries: tuple[bytes, ...]  # smallest keys of moved tables: no output spans one
    bottom: bool  # nothing older overlaps the rewritten tables: tombstones and range deletes may go
    reason: str
    urgent: bool = False  # a caller waits for it, or lookups must pass more runs than the cap

    @property
    def trivial(self) -> bool:
        """Whether nothing is rewritten: the edit is enough."""
        return not self.rewrite


Hides: TypeAlias = Callable[[TableMeta, TableMeta], int]
"""About how many entries of the second table, an older one, lie under range deletes of the first."""


def hides_by_metadata(table: TableMeta, older: TableMeta) -> int:
    """As far as metadata tell: what a table deletes is known if it holds nothing but one range."""
    if table.range_deletes != 1 or table.entry_count:
        return 0
    return older.entry_count if table.smallest <= older.smallest and older.largest <= table.largest else 0


def pick_compaction(
    version: Version,
    options: CompactionOptions,
    busy: Collection[Compaction] = (),
    hides: Hides = hides_by_metadata,
) -> Compaction | None:
    """The most useful compaction that shares no run with a busy one; None if nothing is worth doing.

    A plan without rewriting comes first (it costs nothing), then the shard with the most runs."""
    best: Compaction | None = None
    best_rank = (-1, -1)
    for shard, runs in enumerate(version.shards):
        taken = {run for compaction in busy if compaction.shard == shard for run in compaction.runs}
        compaction = _pick_in_shard(shard, runs, taken, options, hides)
        if compaction is not None:
            rank = (int(compaction.trivial), len(runs))
            if rank > best_rank:
                best, best_rank = compaction, rank
    return best


def pick_full_compaction(
    version: Version, shard: int, options: CompactionOptions, busy: Collection[Compaction] = ()
) -> Compaction | None:
    """Merge all runs of the shard into one without tombstones; None if that is done already, or a busy compaction is in
    the way."""
    runs = version.shards[shard]
    if not runs or any(compaction.shard == shard for compaction in busy):
        return None
    compaction = _plan(shard, runs, 0, len(runs), options, "asked for", drop_all=True)
    return compaction if len(runs) > 1 or compaction.rewrite else None


def install(runs: ShardRuns, compaction: Compaction, outputs: Run) -> ShardRuns:
    """The shard's runs after the compaction: its result takes the place of its inputs.

    ValueError if the inputs are not neighbours in `runs`, or the result's tables overlap: committing that would break
    the order of ages."""
    width = len(compaction.runs)
    result = tuple(sorted((*outputs, *compaction.moves), key=_smallest))
    for left, right in pairwise(result):
        if left.largest >= right.smallest:
            raise ValueError(f"tables {left.file} and {right.file} of one run overlap")
    for start in range(len(runs) - width + 1):
        if runs[start : start + width] == compaction.runs:
            merged: ShardRuns = (result,) if result else ()
            return runs[:start] + merged + runs[start + width :]
    raise ValueError("the inputs of the compaction are not neighbouring runs of the shard")


def _pick_in_shard(
    shard: int, runs: ShardRuns, taken: set[Run], options: CompactionOptions, hides: Hides
) -> Compaction | None:
    stretches = [stretch for stretch in _stretches(runs, taken) if stretch[1] > stretch[0]]
    for rule in (_pick_free, _pick_bottom, _pick_similar, _pick_cap, partial(_pick_dense, hides=hides)):
        for start, stop in stretches:
            compaction = rule(shard, runs, start, stop, options)
            if compaction is not None:
                return compaction
    return None


def _stretches(runs: ShardRuns, taken: set[Run]) -> Iterator[tuple[int, int]]:
    """The longest stretches of neighbouring runs without a taken one, as (start, stop)."""
    start = 0
    for index, run in enumerate(runs):
        if taken and run in taken:  # hashing a run of a thousand tables takes a millisecond
            yield start, index
            start = index + 1
    yield start, len(runs)


# The rules, in the order in which they are tried. Each looks at the runs from start to stop.


def _pick_free(shard: int, runs: ShardRuns, start: int, stop: int, options: CompactionOptions) -> Compaction | None:
    """Two neighbours that share no key and need no packing become one run at no cost (sequential inserts)."""
    for index in range(start, stop - 1):
        if not _runs_overlap(runs[index], runs[index + 1]):
            compaction = _plan(shard, runs, index, index + 2, options, "no overlap")
            if compaction.trivial:
                return compaction
    return None


def _pick_bottom(shard: int, runs: ShardRuns, start: int, stop: int, options: CompactionOptions) -> Compaction | None:
    """Everything into the bottom, once the runs above are large enough."""
    if stop != len(runs) or stop - start < options.merge_width:
        return None
    above = sum(map(_run_bytes, runs[start : stop - 1]))
    if above < options.bottom_ratio * _run_bytes(runs[stop - 1]):
        return None
    return _plan(shard, runs, start, stop, options, "bottom is outweighed")


def _pick_similar(shard: int, runs: ShardRuns, start: int, stop: int, options: CompactionOptions) -> Compaction | None:
    """The youngest stretch of enough neighbours of similar size."""
    sizes = [_run_bytes(run) for run in runs[start:stop]]
    for first in range(len(sizes) - options.merge_width + 1):
        total = sizes[first]
        after = first + 1
        while after < len(sizes) and sizes[after] <= options.similar_ratio * total / (after - first):
            total += sizes[after]
            after += 1
        if after - first >= options.merge_width:
            return _plan(shard, runs, start + first, start + after, options, "similar sizes")
    return None


def _pick_cap(shard: int, runs: ShardRuns, start: int, stop: int, options: CompactionOptions) -> Compaction | None:
    """Too many runs: the cheapest neighbours whose merge brings them down to the cap, as far as the stretch allows."""
    width = min(len(runs) - options.maximum_runs + 1, stop - start)
    if width < 2 or len(runs) <= options.maximum_runs:
        return None
    sizes = [_run_bytes(run) for run in runs]
    first = min(range(start, stop - width + 1), key=lambda index: sum(sizes[index : index + width]))
    return _plan(shard, runs, first, first + width, options, "too many runs")


def _pick_dense(
    shard: int, runs: ShardRuns, start: int, stop: int, options: CompactionOptions, hides: Hides
) -> Compaction | None:
    """Merge if dropping tombstones, and the entries that they hide, pays for the rewriting."""
    if stop != len(runs):
        return None
    bottom = runs[stop - 1]
    if any(_is_dense(table, options) for table in bottom):
        compaction = _plan(shard, runs, stop - 1, stop, options, "tombstones in the bottom")
        if not compaction.trivial:
            return compaction
    entries = sum(table.entry_count for run in runs[start:stop] for table in run)
    hidden = sum(_hidden_entries(runs, index, stop, hides) for index in range(start, stop - 1))
    if stop - start > 1 and hidden and hidden >= options.tombstone_ratio * entries:
        return _plan(shard, runs, start, stop, options, "many tombstones")
    return None


def _hidden_entries(runs: ShardRuns, index: int, stop: int, hides: Hides) -> int:
    """How many older entries the run hides: one by each tombstone, at least, and those under its range deletes."""
    hidden = 0
    for table in runs[index]:
        hidden += table.tombstones
        if table.range_deletes:
            hidden += sum(
                hides(table, older)
                for run in runs[index + 1 : stop]
                for older in run
                if older.smallest <= table.largest and table.smallest <= older.largest
            )
    return hidden


# From chosen runs to a plan.


def _plan(
    shard: int, runs: ShardRuns, start: int, stop: int, options: CompactionOptions, reason: str, drop_all: bool = False
) -> Compaction:
    """Decide which tables of the runs are moved as they are, and which are rewritten.

    Example, two runs and their key ranges, `b` and `e` of full size, `c` and `d` small:

        newer   [a..c]      [f..g]
        older   [b..d] [e]         [h] [i]

    The overlap groups are {a..c, b..d}, {e}, {f..g}, {h}, {i}. A group of one table of full size moves: `e`. It ends
    a stretch, so {a..c, b..d} are rewritten together, and {f..g, h, i}; a stretch of one table moves, too."""
    # 1. What overlaps, and whether anything older lies beneath that tombstones must hide.
    chosen = runs[start:stop]
    overlapping = _overlap_groups(chosen)
    bottom = not _overlap_any(runs[stop:], overlapping[0][0].smallest, max(table.largest for table in overlapping[-1]))
    # 2. A table that is large enough and alone moves; the tables between two moved ones are a stretch.
    least = options.target_table_bytes * options.smallest_move_share
    stretches: list[list[TableMeta]] = []
    moves: list[TableMeta] = []
    stretch: list[TableMeta] = []
    for group in overlapping:
        table = group[0]
        garbage = bottom and (_is_dense(table, options) or (drop_all and _has_tombstones(table)))
        if len(group) == 1 and table.length >= least and not garbage:
            moves.append(table)
            stretches.append(stretch)
            stretch = []
        else:
            stretch.extend(group)
    stretches.append(stretch)
    # 3. A stretch is rewritten; a small table alone between moved ones has nothing to be packed with.
    rewritten: set[TableMeta] = set()
    for stretch in stretches:
        if len(stretch) == 1 and not (bottom and _has_tombstones(stretch[0])):
            moves.append(stretch[0])
        else:
            rewritten.update(stretch)
    # 4. No output spans a moved table.
    moves.sort(key=_smallest)
    rewrite = tuple(kept for run in chosen if (kept := tuple(table for table in run if table in rewritten)))
    output_boundaries = tuple(table.smallest for table in moves) if rewrite else ()
    urgent = drop_all or len(runs) > options.maximum_runs
    return Compaction(
        shard, tuple(range(start, stop)), chosen, rewrite, tuple(moves), output_boundaries, bottom, reason, urgent
    )


def _overlap_groups(runs: Sequence[Run]) -> list[list[TableMeta]]:
    """The runs' tables in key order, grouped if their key ranges overlap, directly or through others."""
    groups: list[list[TableMeta]] = []
    largest = b""
    for table in sorted((table for run in runs for table in run), key=_smallest):
        if groups and table.smallest <= largest:
            groups[-1].append(table)
            largest = max(largest, table.largest)
        else:
            groups.append([table])
            largest = table.largest
    return groups


def _runs_overlap(left: Run, right: Run) -> bool:
    few, many = (left, right) if len(left) < len(right) else (right, left)
    return any(_overlap_any((many,), table.smallest, table.largest) for table in few)


def _overlap_any(runs: Sequence[Run], smallest: bytes, largest: bytes) -> bool:
    """Whether a table of the runs holds keys between smallest and largest, both inclusive."""
    for run in runs:
        # Of the tables that begin at or below largest, the last one reaches furthest.
        after = bisect_left(run, largest + b"\0", key=_smallest)
        if after and run[after - 1].largest >= smallest:
            return True
    return False


def _run_bytes(run: Run) -> int:
    """The run's size before compression: level 0 is written raw, and the cost of a merge depends on keys and values."""
    return sum(table.raw_bytes for table in run)


def _has_tombstones(table: TableMeta) -> bool:
    return table.tombstones > 0 or table.range_deletes > 0


def _is_dense(table: TableMeta, options: CompactionOptions) -> bool:
    return _has_tombstones(table) and (
        table.tombstones + table.range_deletes >= options.tombstone_ratio * (table.entry_count + table.range_deletes)
    )


def _smallest(table: TableMeta) -> bytes:
    return table.smallest
