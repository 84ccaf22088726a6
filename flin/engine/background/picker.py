"""The picker: which compaction is the most useful now. A pure choice over a version (compaction.py has the theory).

Each rule proposes where to merge: which runs, and in which of the ranges between the fences (with what overlaps them).
The first proposal counts that becomes a plan: one that is not too large, and that is not in the way of a compaction
under way. As many neighbouring ranges join it, for which the rule proposes the same, as a plan may take.

Work. A rule looks at what each run holds in each range, which is remembered (run_profile.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, TypeAlias

from flin.engine.background.compaction import (
    END,
    Block,
    Chosen,
    Compaction,
    CompactionOptions,
    Shard,
    block_of,
    gather,
    in_order,
    is_dense,
    overlap_any,
    overlapping,
    plan,
    run_bytes,
    runs_overlap,
)
from flin.engine.background.run_profile import RunProfile, RunProfiles, spans
from flin.engine.background.value_garbage import (
    ValuesOf,
    is_mostly_garbage,
    may_be_mostly_garbage,
    options_for,
    worn_files,
    worn_tables,
)
from flin.engine.catalog.version import Run, Version
from flin.engine.key import KEYS_END
from flin.engine.table.meta import TableMeta

Hides: TypeAlias = Callable[[TableMeta, TableMeta], int]
"""About how many entries of the second table, an older one, lie under range deletes of the first."""

TRIES: Final = 8
"""Proposals of one rule that are tried. Those that are refused are mostly in the way of the same compaction."""

COLLECTS: Final = "garbage in value files"
RENEWS: Final = "another key"
"""The reason of merges of what an older data key has sealed, values included."""


MOST: Final = 3
DRAG: Final = 2
"""A plan may be so many times larger than a plan is wanted to be, or than what its ranges hold: its tables may reach
beyond them."""

LEAVING_SHARE: Final = 0.5
"""Runs that busy compactions merge are over the cap for nothing, up to this share of it: then lookups ask 18 filters
instead of 12, and writers are not slowed yet (stall.py). Simulated, 80 flushes beside a merge of 12 runs write 4.4
times their size instead of 41; with the whole share it is 3.8, and 21 runs."""


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
    profiles: RunProfiles | None = None,
) -> Compaction | None:
    """The most useful compaction that is in the way of no busy one; None if nothing is worth doing.

    A plan without rewriting comes first (it costs nothing), then the shard with the most runs."""
    options = options_for(version, options)
    profiles = profiles or RunProfiles()
    profiles.begin()
    best: Compaction | None = None
    best_rank = (-1, -1)
    for number, runs in enumerate(version.shards):
        if not runs:
            continue
        blocks = [block_of(each, runs) for each in busy if each.shard == number]
        compaction = _choice(version, number, options, profiles, blocks, hides).pick()
        if compaction is not None:
            rank = (int(compaction.trivial), len(runs))
            if rank > best_rank:
                best, best_rank = compaction, rank
    return best


def pick_collection(
    version: Version, options: CompactionOptions, busy: Collection[Compaction], values_of: ValuesOf
) -> Compaction | None:
    """A merge for the sake of value files, if all of them together are mostly garbage; None if none would help."""
    if not is_mostly_garbage(version):
        return _pick_discovery(version, options, busy) if may_be_mostly_garbage(version) else None
    worn = {each.number for each in worn_files(version)}
    for number, runs in enumerate(version.shards):
        if runs:
            blocks = [block_of(each, runs) for each in busy if each.shard == number]
            choice = _choice(version, number, options_for(version, options), RunProfiles(), blocks, hides_by_metadata)
            compaction = choice.collect(worn, values_of)
            if compaction is not None:
                return compaction
    return None


def _pick_discovery(version: Version, options: CompactionOptions, busy: Collection[Compaction]) -> Compaction | None:
    """A merge into the bottom that tells what the runs above hide, however little they weigh."""
    options = replace(options_for(version, options), bottom_ratio=0.0, bottom_width=2)
    for number, runs in enumerate(version.shards):
        if len(runs) > 1:
            blocks = [block_of(each, runs) for each in busy if each.shard == number]
            compaction = _choice(version, number, options, RunProfiles(), blocks, hides_by_metadata).discover()
            if compaction is not None:
                return compaction
    return None


def pick_full_compaction(
    version: Version,
    shard: int,
    options: CompactionOptions,
    busy: Collection[Compaction] = (),
    start: bytes = b"",
    stop: bytes | None = None,
    is_stale: Callable[[TableMeta], bool] = lambda _: False,
) -> Compaction | None:
    """The next step towards one run of the shard from `start` to `stop` (None: to the end), without tombstones, and of
    a whole shard without stale tables; None if that is done already, or a busy compaction is in the way."""
    if not version.shards[shard] or any(compaction.shard == shard for compaction in busy):
        return None
    return _choice(version, shard, options, RunProfiles(), [], hides_by_metadata).pick_full(start, stop, is_stale)


def _choice(
    version: Version, number: int, options: CompactionOptions, known: RunProfiles, blocks: list[Block], hides: Hides
) -> _Choice:
    runs, fences = version.shards[number], version.fences[number]
    profiles = [known.of(run, fences) for run in runs]
    options = options.at(sum(profile.raw_bytes for profile in profiles))
    return _Choice(Shard(number, runs, version.unsettled[number], fences, options), profiles, blocks, hides)


@dataclass(frozen=True, slots=True)
class _Proposal:
    """To merge the runs from `first` to before `after` in a range."""

    index: int  # of the range
    first: int
    after: int


class _Choice:
    """One pick in one shard. A range's *stack* is what its runs hold there: (run, bytes), newest first."""

    def __init__(self, shard: Shard, profiles: list[RunProfile], blocks: list[Block], hides: Hides) -> None:
        self._shard = shard
        self._runs = shard.runs
        self._options = shard.options
        self._blocks = blocks
        self._hides = hides
        self._profiles = profiles
        self._sizes = [profile.sizes for profile in profiles]
        self._ends = [profile.ends for profile in profiles]
        self._ranges = range(len(shard.fences) + 1)
        self._unread: set[int] = set()  # ids of tables that lie under range deletes: a merge with these reads none
        self._stacks = [
            [(run, size) for run, size in enumerate(sizes) if size] for sizes in zip(*self._sizes, strict=True)
        ]

    def pick(self) -> Compaction | None:
        return self._free() or self._bottom() or self._similar() or self._cap() or self._dense()

    def pick_full(self, start: bytes, stop: bytes | None, is_stale: Callable[[TableMeta], bool]) -> Compaction | None:
        count = len(self._runs)
        for index in self._ranges:
            low, high = self._bounds(index, index)
            low, high = max(low, start), min(high or stop or KEYS_END, stop or KEYS_END)
            if low >= high:
                continue
            chosen = gather(self._runs, 0, count, low, high, END << 32, (), self._ends) or []
            if len(chosen) > 1 or any(table.tombstones or table.range_deletes for _, run in chosen for table in run):
                if sum(run_bytes(run) for _, run in chosen) > self._most(index, index, 0, count):
                    young = self._youngest()
                    if young > 1:
                        return plan(self._shard, 0, young, list(enumerate(self._runs[:young])), "asked for")
                return plan(self._shard, 0, count, chosen, "asked for", drop_all=True)
        if start or stop is not None:
            return None
        if count == 1:
            return self._renewal(is_stale)
        return plan(self._shard, 0, count, list(enumerate(self._runs)), "asked for", drop_all=True)

    def _renewal(self, is_stale: Callable[[TableMeta], bool]) -> Compaction | None:
        """Write stale neighbours of the only run anew, as many as a plan may take."""
        stretch: list[TableMeta] = []
        left = self._options.plan_bytes
        for table in self._runs[0]:
            if is_stale(table) and (left >= table.raw_bytes or not stretch):
                stretch.append(table)
                left -= table.raw_bytes
            elif stretch:
                break
        if not stretch:
            return None
        return plan(self._shard, 0, 1, [(0, tuple(stretch))], RENEWS, drop_all=True, worn=stretch)

    def discover(self) -> Compaction | None:
        return self._bottom()

    def collect(self, worn: Collection[int], values_of: ValuesOf) -> Compaction | None:
        """Write tables anew that point into worn value files and have nothing beneath; if there are none, merge others
        with what is beneath them."""
        count = len(self._runs)
        above: list[tuple[int, TableMeta]] = []
        for index in reversed(range(count)):
            tables = worn_tables(self._runs[index], worn, values_of)
            lowest = [each for each in tables if not overlap_any(self._runs[index + 1 :], each.smallest, each.largest)]
            for stretch in _neighbours(self._runs[index], lowest):
                compaction = self._planned(index, index + 1, [(index, stretch)], COLLECTS, worn=set(stretch))
                if compaction is not None:
                    return compaction
            above += [(index, each) for each in tables if each not in lowest]
        upper = sorted((table for _, table in above), key=lambda table: table.smallest)
        ranges = {index for span in spans(upper, self._shard.fences) for index in range(*span)}
        proposals = [
            _Proposal(index, stack[0][0], count) for index in sorted(ranges) if len(stack := self._above(index)) > 1
        ]
        return self._first_good(proposals, COLLECTS)

    def _youngest(self) -> int:
        """How many of the newest runs fit into a plan, two at least; 0 if that takes the bottom, or settled ones
        beside others. One run of them has smaller tables than they have."""
        last = min(len(self._runs) - 1, self._shard.unsettled or len(self._runs))
        size = count = 0
        while count < last and (count < 2 or size + run_bytes(self._runs[count]) <= self._options.plan_bytes):
            size += run_bytes(self._runs[count])
            count += 1
        return count if count > 1 else 0

    # The rules, in the order in which they are tried.

    def _free(self) -> Compaction | None:
        """Two neighbours that share no key and need no packing become one run at no cost (sequential inserts)."""
        for index, (newer, older) in enumerate(zip(self._runs, self._runs[1:], strict=False)):
            if not runs_overlap(newer, older):
                compaction = self._planned(index, index + 2, [(index, newer), (index + 1, older)], "no overlap")
                if compaction is not None and compaction.trivial:
                    return compaction
        return None

    def _bottom(self) -> Compaction | None:
        """Everything into the bottom, where the runs above are large enough; first where they weigh most."""
        proposals = []
        for index in self._ranges:
            above = self._above(index)
            if len(above) < self._options.bottom_width:
                continue
            bottom = above[-1][1]
            weight = sum([size for _, size in above]) - bottom
            if weight >= self._options.bottom_ratio * bottom:
                proposals.append((-weight / bottom, _Proposal(index, above[0][0], len(self._runs))))
        proposals.sort(key=lambda each: each[0])
        return self._first_good([each for _, each in proposals], "bottom is outweighed", fewer=True)

    def _similar(self) -> Compaction | None:
        """The youngest stretch of enough neighbours of similar size."""
        proposals = []
        for index in self._ranges:
            for first, after in self._stretches(index):
                found = self._similar_in(self._stack(index, first, after))
                if found is not None:
                    proposals.append(_Proposal(index, *found))
                    break
        proposals.sort(key=lambda each: each.first)
        return self._first_good(proposals, "similar sizes")

    def _similar_in(self, stack: list[tuple[int, int]]) -> tuple[int, int] | None:
        options = self._options
        for first in range(len(stack) - options.merge_width + 1):
            total = stack[first][1]
            after = first + 1
            while after < len(stack) and stack[after][1] <= options.similar_ratio * total / (after - first):
                total += stack[after][1]
                after += 1
            if after - first >= options.merge_width:
                return stack[first][0], stack[after - 1][0] + 1
        return None

    def _cap(self) -> Compaction | None:
        """Too many runs: the cheapest neighbours whose merge brings them down to the cap, as far as the stretch
        allows.

        Those that a busy compaction merges count as one already. Else each flush beside a long merge of as many runs as
        the cap would be merged at once with all that came since that merge began."""
        most = len(self._runs) - self._options.maximum_runs
        if most <= 0:
            return None
        shared: dict[tuple[int, int], list[int]] = {}  # by window: the ranges in which more than one run has something
        for index in self._ranges:
            excess = most - self._leaving(index)
            for first, after in self._stretches(index) if excess > 0 else ():
                width = min(excess + 1, after - first)
                for newest in range(first, after - width + 1) if width > 1 else ():
                    ranges = shared.setdefault((newest, newest + width), [])
                    if sum(bool(self._sizes[run][index]) for run in range(newest, newest + width)) > 1:
                        ranges.append(index)
        costs = {window: sum(self._size(*window, index) for index in ranges) for window, ranges in shared.items()}
        windows = sorted(shared, key=lambda window: costs[window])
        proposals = [_Proposal(index, *window) for window in windows for index in shared[window]]
        return self._first_good(proposals, "too many runs") or self._whole(windows)

    def _whole(self, windows: list[tuple[int, int]]) -> Compaction | None:
        """The last resort: neighbouring runs with all that they hold, however much that is. What overlaps nothing
        moves, and small tables are packed."""
        for first, after in windows[:TRIES]:
            while first >= 0 and after <= len(self._runs):
                chosen = [(run, self._runs[run]) for run in range(first, after)]
                compaction = self._planned(first, after, chosen, "too many runs")
                if compaction is not None:
                    return compaction
                first, after = (first - 1, after) if first else (first, after + 1)
        return None

    def _dense(self) -> Compaction | None:
        """Merge where dropping tombstones, and the entries that they hide, pays for the rewriting."""
        count = len(self._runs)
        dense = [table for table in self._profiles[-1].with_tombstones if is_dense(table, self._options)]
        if dense:
            where = {index for span in spans(dense, self._shard.fences) for index in range(*span)}
            proposals = [_Proposal(index, count - 1, count) for index in sorted(where) if self._floor(index) < count]
            compaction = self._first_good(proposals, "tombstones in the bottom")
            if compaction is not None and not compaction.trivial:
                return compaction
        if not any(profile.with_tombstones for profile in self._profiles[:-1]):
            return None
        hidden = [self._hidden(run) for run in range(count - 1)]
        ranked = []
        for index in self._ranges:
            first = self._floor(index)
            found = sum(each[index] for each in hidden[first:])
            total = sum(each.entries[index] for each in self._profiles[first:])
            if found and first < count - 1 and found >= self._options.tombstone_ratio * total:
                ranked.append((-found / max(total, 1), _Proposal(index, first, count)))
        ranked.sort(key=lambda each: each[0])
        return self._first_good([each for _, each in ranked], "many tombstones", fewer=True)

    def _hidden(self, index: int) -> list[float]:
        """By range: how many older entries a run hides, one by each tombstone, at least, and those under its range
        deletes."""
        profile = self._profiles[index]
        hidden = list(profile.tombstones or [0.0] * len(self._ranges))
        for table in profile.deleting:
            for run in self._runs[index + 1 :]:
                hit = overlapping(run, table.smallest, table.largest + b"\0")
                for older, (first, after) in zip(hit, spans(hit, self._shard.fences), strict=True):
                    count = self._hides(table, older)
                    if count >= older.entry_count:
                        self._unread.add(id(older))
                    share = count / (after - first)
                    for each in range(first, after):
                        hidden[each] += share
        return hidden

    # Stacks, and the parts of them that are free.

    def _bounds(self, first: int, last: int) -> tuple[bytes, bytes | None]:
        fences = self._shard.fences
        return fences[first - 1] if first else b"", fences[last] if last < len(fences) else None

    def _stack(self, index: int, first: int, after: int) -> list[tuple[int, int]]:
        stack = self._stacks[index]
        if first == 0 and after == len(self._runs):
            return stack
        return [each for each in stack if first <= each[0] < after]

    def _blocks_in(self, index: int) -> list[Block]:
        if not self._blocks:
            return []
        start, stop = self._bounds(index, index)
        return [each for each in self._blocks if start < each.stop and (stop is None or each.start < stop)]

    def _floor(self, index: int) -> int:
        """The first run from which on all may go into the bottom there."""
        return max((each.after for each in self._blocks_in(index)), default=0)

    def _leaving(self, index: int) -> int:
        """By how many runs there will be fewer there once the busy compactions have ended."""
        leaving = sum(min(each.after, len(self._runs)) - each.first - 1 for each in self._blocks_in(index))
        return min(leaving, int(LEAVING_SHARE * self._options.maximum_runs))

    def _above(self, index: int) -> list[tuple[int, int]]:
        return self._stack(index, min(self._floor(index), len(self._runs)), len(self._runs))

    def _stretches(self, index: int) -> Iterator[tuple[int, int]]:
        """The longest stretches of neighbouring runs that no busy compaction takes there, and that are all settled or
        all unsettled."""
        blocks = self._blocks_in(index)
        start = 0
        edges = [(each.first, min(each.after, len(self._runs))) for each in blocks]
        edges.append((self._shard.unsettled, self._shard.unsettled))
        for first, after in sorted(edges):
            if start < first:
                yield start, first
            start = max(start, after)
        if start < len(self._runs):
            yield start, len(self._runs)

    # From proposals to a plan.

    def _first_good(self, proposals: list[_Proposal], reason: str, *, fewer: bool = False) -> Compaction | None:
        """The plan of the first proposal that becomes one. With `fewer`, its newest runs may be left out."""
        wanted = set(proposals)
        for proposal in proposals[:TRIES]:
            for first in self._firsts(proposal) if fewer else (proposal.first,):
                chosen = self._gathered(proposal, first, wanted)
                if chosen:
                    compaction = self._planned(first, proposal.after, chosen, reason)
                    if compaction is not None:
                        return compaction
        return None

    def _firsts(self, proposal: _Proposal) -> Iterator[int]:
        """With which run to begin: some of the newest may have tables that reach far, so they are left out if what
        remains above the bottom weighs half at least."""
        stack = self._stack(proposal.index, proposal.first, proposal.after)
        total = left = sum(size for _, size in stack[:-1])
        for first, size in stack[:-1]:
            if 2 * left < total:
                return
            yield first
            left -= size
        if not stack[:-1]:
            yield proposal.first

    def _gathered(self, proposal: _Proposal, first: int, wanted: set[_Proposal]) -> Chosen | None:
        """What the runs hold in the proposal's range and in as many of the next ones, of which the same is wanted, as a
        plan may take."""
        index, last = proposal.index, proposal.index
        size = self._size(first, proposal.after, index)
        while replace(proposal, index=last + 1) in wanted:
            size += self._size(first, proposal.after, last + 1)
            if size > self._options.plan_bytes:
                break
            last += 1
        while True:
            start, stop = self._bounds(index, last)
            most = self._most(index, last, first, proposal.after)
            chosen = gather(self._runs, first, proposal.after, start, stop, most, self._unread, self._ends)
            if chosen is not None or index == last:
                return chosen
            last = (index + last) // 2

    def _size(self, first: int, after: int, index: int) -> int:
        return sum(self._sizes[run][index] for run in range(first, after))

    def _most(self, index: int, last: int, first: int, after: int) -> int:
        """The most bytes that a plan for these ranges may take."""
        if not self._shard.fences:
            return END << 32
        own = sum(self._size(first, after, each) for each in range(index, last + 1))
        return max(MOST * self._options.plan_bytes, DRAG * own)

    def _planned(
        self, first: int, after: int, chosen: Chosen, reason: str, *, worn: Collection[TableMeta] = ()
    ) -> Compaction | None:
        """The plan, if it is in nobody's way."""
        compaction = plan(self._shard, first, after, chosen, reason, worn=worn) if chosen else None
        compaction = compaction and in_order(self._shard, compaction, first, after)
        if compaction is None:
            return None
        newest, oldest = chosen[0][0], END if compaction.settles else chosen[-1][0] + 1
        if any(each.hinders(compaction.start, compaction.stop, newest, oldest) for each in self._blocks):
            return None
        return compaction


def _neighbours(run: Run, tables: Sequence[TableMeta]) -> Iterator[Run]:
    """The tables in stretches without another table of the run between them."""
    wanted = set(tables)
    for is_wanted, stretch in groupby(run, key=wanted.__contains__):
        if is_wanted:
            yield tuple(stretch)
