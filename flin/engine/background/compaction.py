"""A compaction: a plan to merge neighbouring runs of a shard between two keys, and what it leaves. Pure: nothing here
reads a file, a clock or a thread. picker.py chooses.

Theory (lazy leveling). In Python, CPU time per rewritten key is scarce, so each shard keeps a few overlapping runs
above one sorted run that holds most of its data, the bottom. Merging into the bottom waits until the runs above reach a
set share of its size, which bounds both the space that shadowed entries take and the rewriting of the bottom; the runs
above are merged among themselves once enough neighbours are of similar size, so that an entry is rewritten about once
per level of sizes. A cap on the number of runs bounds the cost of a lookup.

All of this is decided, and done, by key range (fences.py), so no merge takes a whole run of a large database.

The order of ages stays right because, between its first and its last key, a compaction takes everything that its
neighbouring runs hold, and its result takes the place of the oldest. No table is cut: a plan takes whole *clusters*,
tables that overlap each other, directly or through others.

Only the necessary tables are rewritten: a large enough table that overlaps nothing moves into the result as it is (a
trivial move). Small neighbours are packed into one; else a run would end as thousands of tiny files. Rewritten tables
may not span a moved one: `output_boundaries` tells the job where a new output must begin.

Settled runs (version.py) are the oldest. A merge of unsettled runs that has nothing beneath it settles: its result goes
into the oldest run if that is settled, else it becomes a new oldest run. Other merges take runs of one kind alone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

from flin.engine.background.fences import cuts
from flin.engine.catalog.version import Run, ShardRuns
from flin.engine.table.meta import TableMeta


@dataclass(frozen=True, slots=True)
class CompactionOptions:
    target_table_bytes: int = 32 << 20
    """Outputs are cut here: a table's index and filter stay small, and a large run has tables to move."""
    merge_width: int = 4
    """Neighbours of similar size that make a merge. Simulated with 200 equal flushes of random keys: 4 gives a
    write amplification of 4.4 with 9 runs at most, 8 gives 3.7 with 12."""
    bottom_width: int = 4
    """Runs, the bottom included, that make a merge into it: it waits for more where they are few and small."""
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
    plan_bytes: int = 1 << 30
    """A plan takes more ranges up to this many bytes of input, before compression: half a minute of merging."""
    range_bytes: int = 2 << 30
    """A range of the bottom that is larger gets a fence in its middle, so they hold about 1 GB."""
    least_ranges: int = 8
    """A range holds no more than such a part of the shard, and a plan takes half of that, since what a merge writes
    lies beside what it reads. Simulated, overwritten, without this bound and with it: 1 GB takes 2.6 and 1.7 times its
    size at most, 10 GB 1.52 and 1.43, and no more is written. 12 saves 0.02 of that, and writes more at 10 GB."""
    least_range_bytes: int = 256 << 20
    """But a range may hold so much: in half as large ones a sixth more is written at 1 GB. Measured with 50 MB of
    values of 1 KiB under 32 MB of memory, ranges of 32 MB cost 0.2 to 0.3 bytes more per byte given."""
    large_bytes: int = 10 << 30
    """From this size of a shard on its merges are wider, it may have more runs, and its tables grow."""
    large_width: int = 8
    large_maximum_runs: int = 24
    """Simulated at 100 GB: width 8 writes a fifth less than 4, with 13 runs on average instead of 9."""
    large_bottom_ratio: float = 0.4
    """Simulated at 100 GB, overwritten: 1.34 times the live data on the disk at most, with 0.6 it is 1.5."""
    urgent: bool = False
    """Merges do not wait until processors idle: the disk fills with garbage (value_garbage.py)."""
    largest_tables: int = 4
    """Tables grow up to so many times the target: a terabyte is 8,000 files instead of 32,000."""

    def at(self, size_bytes: int) -> CompactionOptions:
        """The options for a shard of this size."""
        part = max(size_bytes // self.least_ranges, self.least_range_bytes)
        options = replace(self, range_bytes=min(self.range_bytes, part), plan_bytes=min(self.plan_bytes, part // 2))
        if size_bytes < self.large_bytes:
            return options
        growth = min(self.largest_tables, size_bytes // self.large_bytes)
        return replace(
            options,
            merge_width=self.large_width,
            maximum_runs=self.large_maximum_runs,
            bottom_ratio=min(self.bottom_ratio, self.large_bottom_ratio),
            target_table_bytes=self.target_table_bytes * growth,
        )


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard of a version, from which compactions are planned."""

    number: int
    runs: ShardRuns
    unsettled: int
    fences: tuple[bytes, ...]
    options: CompactionOptions  # for its size


Chosen: TypeAlias = list[tuple[int, Run]]
"""Runs of a shard, newest first, by their index, and those of their tables that a plan takes."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """A plan. The tables that it names are those of the version that it was picked from; flushes may add younger runs
    meanwhile, and compactions of other ranges, or of other runs, may end."""

    shard: int
    indices: tuple[int, ...]  # where the chosen runs are in that version, newest first
    runs: ShardRuns  # those of their tables that it takes
    rewrite: ShardRuns  # those that the job reads, newest first, without empty runs
    moves: Run  # those that go into the result as they are, in key order
    output_boundaries: tuple[bytes, ...]  # smallest keys of moved tables: no output spans one
    bottom: bool  # nothing older overlaps the rewritten tables: tombstones and range deletes may go
    reason: str
    urgent: bool = False  # a caller waits for it, or lookups must pass more runs than the cap
    fences: tuple[bytes, ...] = ()  # an output that is large enough ends before each of these
    target_table_bytes: int = 32 << 20
    settles: bool = False  # its result belongs to the oldest run, which is settled, or becomes that
    unsettled_runs: int = 0  # how many of its runs, the newest ones, are not settled
    settled_inputs: int = 0  # how many of the rewritten runs, the oldest ones, are settled
    counted_moves: Run = ()  # moved tables that it settles: all of their puts are new keys there
    start: bytes = field(init=False)  # it takes all that the runs from its newest to its oldest hold in [start, stop)
    stop: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", min((run[0].smallest for run in self.runs), default=b""))
        object.__setattr__(self, "stop", max((run[-1].largest + b"\0" for run in self.runs), default=b""))

    @property
    def trivial(self) -> bool:
        """Whether nothing is rewritten: the edit is enough."""
        return not self.rewrite


class Block(NamedTuple):
    """Where in a shard no other compaction may work: between two keys, and from a run to another, which is left out."""

    start: bytes
    stop: bytes
    first: int
    after: int

    def hinders(self, start: bytes, stop: bytes, first: int, after: int) -> bool:
        return self.start < stop and start < self.stop and self.first < after and first < self.after


END: Final = 1 << 31
"""Below the oldest run."""


def block_of(compaction: Compaction, runs: ShardRuns) -> Block:
    """Where the compaction works, in the shard as it is now. ValueError if its inputs are not there any more."""
    places = _places(runs, compaction.runs)
    return Block(compaction.start, compaction.stop, places[0], END if compaction.settles else places[-1] + 1)


def has_its_inputs(compaction: Compaction, runs: ShardRuns) -> bool:
    """Whether the compaction's inputs are in the shard: afterwards they are gone, or one run."""
    try:
        _places(runs, compaction.runs)
    except ValueError:
        return False
    return True


Worn: TypeAlias = Collection[TableMeta]
"""Tables that point into worn value files (value_garbage.py)."""


def plan(
    shard: Shard, first: int, after: int, chosen: Chosen, reason: str, *, drop_all: bool = False, worn: Worn = ()
) -> Compaction | None:
    """Decide which of the chosen tables are moved as they are, and which are rewritten. They are all that the runs from
    `first` to before `after` hold between their keys. None if the runs may not be merged: some are settled, others not,
    and an older run overlaps them. Tables in `worn` do not move.

    Example, two runs and their key ranges, `b` and `e` of full size, `c` and `d` small:

        newer   [a..c]      [f..g]
        older   [b..d] [e]         [h] [i]

    The overlap groups are {a..c, b..d}, {e}, {f..g}, {h}, {i}. A group of one table of full size moves: `e`. It ends
    a stretch, so {a..c, b..d} are rewritten together, and {f..g, h, i}; a stretch of one table moves, too."""
    runs, options = shard.runs, shard.options
    # 1. What overlaps, and whether anything older lies beneath that tombstones must hide.
    tables = tuple(run for _, run in chosen)
    groups = _overlap_groups(tables)
    bottom = not overlap_any(runs[after:], groups[0][0].smallest, max(map(_largest, groups[-1])))
    unsettled = {table for index, run in chosen if index < shard.unsettled for table in run}
    if not bottom and unsettled and chosen[-1][0] >= shard.unsettled:
        return None
    settles = bottom and bool(unsettled)
    # 2. A table that is large enough and alone moves; the tables between two moved ones are a stretch.
    least = options.target_table_bytes * options.smallest_move_share

    def may_move(table: TableMeta) -> bool:
        garbage = bottom and (is_dense(table, options) or (drop_all and _has_tombstones(table)) or table in worn)
        uncounted = settles and table in unsettled and (table.points is None or _has_tombstones(table))
        return table.length >= least and not garbage and not uncounted

    moves, stretches = _moved_and_stretches(groups, may_move, _cuts(shard, tables))
    # 3. A stretch is rewritten; a small table alone between moved ones has nothing to be packed with.
    rewritten: set[TableMeta] = set()
    for stretch in stretches:
        alone = stretch[0] if len(stretch) == 1 else None
        uncounted = alone is not None and settles and alone in unsettled and alone.points is None
        if alone and not (bottom and (_has_tombstones(alone) or alone in worn)) and not uncounted:
            moves.append(alone)
        else:
            rewritten.update(stretch)
    # 4. No output spans a moved table.
    moves.sort(key=_smallest)
    rewrite = tuple(kept for run in tables if (kept := tuple(table for table in run if table in rewritten)))
    return Compaction(
        shard.number,
        tuple(index for index, _ in chosen),
        tables,
        rewrite,
        tuple(moves),
        tuple(table.smallest for table in moves) if rewrite else (),
        bottom,
        reason,
        urgent=drop_all or options.urgent or len(runs) > options.maximum_runs,
        fences=_cuts(shard, rewrite),
        target_table_bytes=options.target_table_bytes,
        settles=settles,
        unsettled_runs=sum(index < shard.unsettled for index, _ in chosen),
        settled_inputs=sum(run[0] not in unsettled for run in rewrite),
        counted_moves=tuple(table for table in moves if table in unsettled) if settles else (),
    )


def _moved_and_stretches(
    groups: list[list[TableMeta]], may_move: Callable[[TableMeta], bool], fences: Sequence[bytes]
) -> tuple[list[TableMeta], list[list[TableMeta]]]:
    """The tables that are alone and may move, and the stretches of others between these, and between the fences: what
    lies beyond is not packed with what is before."""
    moves: list[TableMeta] = []
    stretches: list[list[TableMeta]] = [[]]
    passed = 0
    for group in groups:
        before, passed = passed, bisect_right(fences, group[0].smallest)
        if before != passed:
            stretches.append([])
        if len(group) == 1 and may_move(group[0]):
            moves += group
            stretches.append([])
        else:
            stretches[-1] += group
    return moves, stretches


def _cuts(shard: Shard, rewrite: ShardRuns) -> tuple[bytes, ...]:
    """The fences at which the outputs end."""
    if not rewrite:
        return ()
    start, stop = min(run[0].smallest for run in rewrite), max(run[-1].largest for run in rewrite)
    least = shard.options.target_table_bytes // 4
    return cuts(shard.fences, start, stop, sum(map(run_bytes, rewrite)), least)


class Superseded(Exception):  # not an error: the work is done again
    """A count on demand has settled some of a compaction's inputs meanwhile: by how much its result changes the number
    of live keys is not known any more."""


def changes_count(compaction: Compaction, runs: ShardRuns, unsettled: int) -> bool:
    """Whether the number of live keys changes by what the compaction found; False if all of its inputs were settled
    meanwhile. Superseded if some were."""
    now = sum(place < unsettled for place in _places(runs, compaction.runs))
    if now and now != compaction.unsettled_runs:
        raise Superseded
    return now > 0 and compaction.settles


class Installed(NamedTuple):
    """A shard after a compaction."""

    runs: ShardRuns
    unsettled: int


def install(runs: ShardRuns, compaction: Compaction, outputs: Run, unsettled: int = 0) -> Installed:
    """The shard after the compaction: its inputs have left their runs, and its result is in the place of the oldest;
    if it settles, in the oldest run.

    ValueError if it is not so that the inputs are all that their neighbouring runs hold between its keys, or if the
    result's tables overlap: committing that would break the order of ages."""
    result = tuple(sorted((*outputs, *compaction.moves), key=_smallest))
    for table, after in pairwise(result):
        if table.largest >= after.smallest:
            raise ValueError(f"tables {table.file} and {after.file} of one run overlap")
    if result and not (compaction.start <= result[0].smallest and result[-1].largest < compaction.stop):
        raise ValueError("the result of the compaction is not between its keys")
    places = _places(runs, compaction.runs)
    left = list(runs)
    for place, inputs in zip(places, compaction.runs, strict=True):
        run = runs[place]
        at = bisect_left(run, inputs[0].smallest, key=_smallest)
        left[place] = run[:at] + run[at + len(inputs) :]
    target, settled = places[-1], len(runs) - unsettled
    if compaction.settles and settled:
        target = len(runs) - 1
    beneath = len(runs) if compaction.settles else target + 1
    if any(overlapping(run, compaction.start, compaction.stop) for run in left[places[0] : beneath]):
        raise ValueError("the inputs of the compaction are not all that its runs hold between its keys")
    if compaction.settles and not settled:
        left.append(())
        target = len(left) - 1
    at = bisect_left(left[target], compaction.start, key=_smallest)
    left[target] = left[target][:at] + result + left[target][at:]
    return Installed(tuple(filter(None, left)), sum(map(bool, left[:unsettled])))


def _places(runs: ShardRuns, inputs: ShardRuns) -> list[int]:
    """Where the runs are that hold these inputs, in the same order. ValueError if there are none."""
    places: list[int] = []
    place = 0
    for wanted in inputs:
        while place < len(runs):
            at = bisect_left(runs[place], wanted[0].smallest, key=_smallest)
            if runs[place][at : at + len(wanted)] == wanted:
                break
            place += 1
        else:
            raise ValueError("the inputs of the compaction are not neighbours in runs of the shard")
        places.append(place)
        place += 1
    return places


# Of tables and runs.


def gather(
    runs: ShardRuns,
    first: int,
    after: int,
    start: bytes,
    stop: bytes | None,
    most_bytes: int,
    unread: Collection[int] = (),
    ends: Sequence[Sequence[int]] | None = None,
) -> Chosen | None:
    """What the runs from `first` to before `after` hold in [start, stop), to whole clusters: with all that overlaps it.
    Stop None: to the end. None if that is more than most_bytes, without the tables with the ids in `unread`. `ends`, if
    they are known: the bytes of each run before each of its tables, and of all."""
    ends = ends or [[*accumulate((table.raw_bytes for table in run), initial=0)] for run in runs]
    slices: list[tuple[int, int]] = []
    while True:
        before = start, stop, slices
        slices = []
        for run in runs[first:after]:
            low = bisect_left(run, start, key=_largest)
            high = len(run) if stop is None else bisect_left(run, stop, low, key=_smallest)
            slices.append((low, high))
            if low < high:
                start = min(start, run[low].smallest)
                stop = None if stop is None else max(stop, run[high - 1].largest + b"\0")
        if (start, stop, slices) == before:
            break
        size = sum(held[high] - held[low] for held, (low, high) in zip(ends[first:after], slices, strict=True))
        if size > most_bytes and unread:
            chosen = (run[low:high] for run, (low, high) in zip(runs[first:after], slices, strict=True))
            size -= sum(table.raw_bytes for run in chosen for table in run if id(table) in unread)
        if size > most_bytes:
            return None
    return [(first + index, runs[first + index][low:high]) for index, (low, high) in enumerate(slices) if low < high]


def overlapping(run: Run, start: bytes, stop: bytes) -> Run:
    """The run's tables that overlap [start, stop)."""
    low = bisect_left(run, start, key=_largest)
    return run[low : bisect_left(run, stop, low, key=_smallest)]


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


def runs_overlap(left: Run, right: Run) -> bool:
    few, many = (left, right) if len(left) < len(right) else (right, left)
    return any(overlap_any((many,), table.smallest, table.largest) for table in few)


def overlap_any(runs: Collection[Run], smallest: bytes, largest: bytes) -> bool:
    """Whether a table of the runs holds keys between smallest and largest, both inclusive."""
    return any(overlapping(run, smallest, largest + b"\0") for run in runs)


def sequences_between(runs: ShardRuns, start: bytes, stop: bytes) -> tuple[int, int]:
    """The smallest and the largest sequence of the commits in the runs' tables that reach into [start, stop)."""
    tables = [table for run in runs for table in overlapping(run, start, stop)]
    smallest = min((table.smallest_sequence for table in tables), default=0)
    return smallest, max((table.largest_sequence for table in tables), default=0)


def in_order(shard: Shard, compaction: Compaction, first: int, after: int) -> Compaction | None:
    """The compaction, if each of its outputs will be older as a whole than the newer tables that overlap it, and newer
    than the older ones, by the sequences of their commits; where necessary with more fences at which they end. Else
    None. Lookups do not need that, but a repair without a manifest tells the order of tables by it."""
    if not compaction.rewrite:
        return compaction
    newer, older = shard.runs[:first], shard.runs[after:]

    def is_ordered(start: bytes, stop: bytes) -> bool:
        oldest, newest = sequences_between(compaction.rewrite, start, stop)
        above = (table for run in newer for table in overlapping(run, start, stop))
        below = (table for run in older for table in overlapping(run, start, stop))
        return all(newest <= table.smallest_sequence for table in above) and all(
            table.largest_sequence <= oldest for table in below
        )

    if is_ordered(compaction.start, compaction.stop):
        return compaction
    added: list[bytes] = []
    cuts = sorted({*compaction.output_boundaries, *compaction.fences})
    for start, stop in pairwise([compaction.start, *cuts, compaction.stop]):
        if not is_ordered(start, stop):
            low, high = bisect_right(shard.fences, start), bisect_left(shard.fences, stop)
            finer = shard.fences[low:high]
            if not finer or not all(is_ordered(*part) for part in pairwise([start, *finer, stop])):
                return None
            added += finer
    return replace(compaction, fences=tuple(sorted({*compaction.fences, *added})))


def run_bytes(run: Run) -> int:
    """The run's size before compression: level 0 is written raw, and the cost of a merge depends on keys and values."""
    return sum(table.raw_bytes for table in run)


def _has_tombstones(table: TableMeta) -> bool:
    return table.tombstones > 0 or table.range_deletes > 0


def is_dense(table: TableMeta, options: CompactionOptions) -> bool:
    """Whether the table holds so many tombstones that dropping them pays for writing it anew."""
    return _has_tombstones(table) and (
        table.tombstones + table.range_deletes >= options.tombstone_ratio * (table.entry_count + table.range_deletes)
    )


_smallest: Callable[[TableMeta], bytes] = attrgetter("smallest")
_largest: Callable[[TableMeta], bytes] = attrgetter("largest")
