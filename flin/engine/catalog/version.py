"""A version: which files make up the database on disk, as of one moment. Immutable; replaced by one assignment.

Theory. Each shard is a list of runs, newest first. A run is a list of tables whose key ranges do not overlap,
in key order. Age is the order of the runs and the only order between versions of a key: newer runs hide older ones.

The number of live keys is known of the oldest runs of a shard, which are settled. A flush adds an unsettled run: nobody
has looked yet which of its keys are new. A merge into the bottom settles, or a count on demand.

Values of a certain size lie in value files, to which tables point. A finished job makes an edit: `with_flush`,
`with_shard` and `with_counts` give another version.

This module knows names and numbers only: it reads no file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias, TypeVar

from flin.engine.table.meta import TableMeta

Run: TypeAlias = tuple[TableMeta, ...]
"""Tables in key order, key ranges disjoint."""

ShardRuns: TypeAlias = tuple[Run, ...]
"""Newest first."""


_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class ValueFile:
    """A WAL segment, or a file that a merge wrote, whose frames hold values that tables point to."""

    number: int  # as pointers name it: a segment's number, or a collected file's (file_name.py)
    file: str  # a bare file name
    length: int  # where its last good frame ends
    live_bytes: int  # bytes of values that pointers of the version's tables name; hidden ones count until a merge


@dataclass(frozen=True, slots=True)
class Version:
    shards: tuple[ShardRuns, ...]
    counts: dict[int, int] = field(default_factory=dict)  # namespace → live keys of the settled runs
    unsettled: tuple[int, ...] = ()  # of each shard how many of its newest runs are not settled; left out: none
    fences: tuple[tuple[bytes, ...], ...] = ()  # of each shard the ascending keys that part its bottom; left out: none
    value_files: tuple[ValueFile, ...] = ()  # by ascending numbers
    last_sequence: int = field(default=0, compare=False)
    """The last that was ever flushed; left out: that of the tables, from which merges may have dropped it."""
    bottom_sequence: int = field(default=0, compare=False)
    """The last that a merge into the bottom has rewritten since the database was opened. Such a merge may leave no
    table that says so: what it deletes is gone, and so are the tombstones."""

    def __post_init__(self) -> None:
        if not self.last_sequence:
            object.__setattr__(self, "last_sequence", _last_sequence(self.shards))
        object.__setattr__(self, "unsettled", self.unsettled or (0,) * len(self.shards))
        object.__setattr__(self, "fences", self.fences or ((),) * len(self.shards))

    def files(self) -> set[str]:
        """The names of all files of this version: tables and value files."""
        tables = {table.file for runs in self.shards for run in runs for table in run}
        return tables.union(each.file for each in self.value_files)


LITTLE_DEAD: Final = 0.08
MUCH_DEAD: Final = 0.2
"""Shares of value files that are dead, as far as merges know. Frames and keys are dead from the first, 0.06 beside
values of 1 KiB; where random keys are overwritten it is 0.2 to 0.35."""


class ValueTotals(NamedTuple):
    """What all value files hold together."""

    size: int
    live: int  # as far as merges know
    unseen: float  # entries above the bottom, of which no merge knows yet what they hide, by entries of the bottom

    @property
    def least_live(self) -> float:
        """What lives if every entry above the bottom hides one in it."""
        return self.live / (1 + self.unseen)

    @property
    def likely_unseen(self) -> float:
        """The share of the live values that is probably garbage which no merge has found yet: none as long as merges
        have found next to none (new keys are written), all that lies above the bottom once they have found much."""
        dead = 1 - self.live / max(1, self.size)
        return self.unseen * min(1.0, max(0.0, (dead - LITTLE_DEAD) / (MUCH_DEAD - LITTLE_DEAD)))


def value_totals(version: Version) -> ValueTotals:
    if not version.value_files:
        return ValueTotals(0, 0, 0.0)
    bottom = sum(table.entry_count for runs in version.shards for table in (runs[-1] if runs else ()))
    above = sum(table.entry_count for runs in version.shards for run in runs[:-1] for table in run)
    return ValueTotals(
        sum(each.length for each in version.value_files),
        sum(each.live_bytes for each in version.value_files),
        above / max(1, bottom),
    )


def with_flush(version: Version, tables: Mapping[int, Run], value_files: Sequence[ValueFile] = ()) -> Version:
    """The version after a flush: its tables become the newest run of their shards. Such a run is unsettled, unless all
    beneath is settled and none of it can hold the run's keys (keys in order, or a first flush): then all are new."""
    shards, unsettled = list(version.shards), list(version.unsettled)
    counts: dict[int, int] = {}
    for shard, run in tables.items():
        runs = shards[shard]
        shards[shard] = (run, *runs)
        if unsettled[shard] or any(table.points is None or _meets(runs, table) for table in run):
            unsettled[shard] += 1
            continue
        for namespace, count in (pair for table in run for pair in table.points or ()):
            counts[namespace] = counts.get(namespace, 0) + count
    last = max(version.last_sequence, _last_sequence([tables.values()]))
    version = replace(version, shards=tuple(shards), unsettled=tuple(unsettled), last_sequence=last)
    return with_counts(with_values(version, value_files, {}), counts)


def _meets(runs: ShardRuns, table: TableMeta) -> bool:
    """Whether a table of the runs shares keys with this one."""
    for run in runs:
        after = bisect_right(run, table.largest, key=_smallest)
        if after and run[after - 1].largest >= table.smallest:
            return True
    return False


_smallest: Callable[[TableMeta], bytes] = attrgetter("smallest")


def _last_sequence(shards: Iterable[Iterable[Run]]) -> int:
    return max((table.largest_sequence for runs in shards for run in runs for table in run), default=0)


def with_shard(
    version: Version,
    shard: int,
    runs: ShardRuns,
    *,
    unsettled: int | None = None,
    fences: tuple[bytes, ...] | None = None,
    counts: Mapping[int, int] | None = None,
    bottom_sequence: int = 0,
) -> Version:
    """The version after a compaction: one shard has other runs. The live keys are the same, but it may have settled
    some: then `unsettled` is what is left, and `counts` the change of those that are counted. `bottom_sequence`: the
    last that it has rewritten, if it went into the bottom."""
    return with_counts(
        replace(
            version,
            shards=_with(version.shards, shard, runs),
            unsettled=version.unsettled if unsettled is None else _with(version.unsettled, shard, unsettled),
            fences=version.fences if fences is None else _with(version.fences, shard, fences),
            bottom_sequence=max(version.bottom_sequence, bottom_sequence),
        ),
        counts or {},
    )


def with_counts(version: Version, change: Mapping[int, int], unsettled: tuple[int, ...] | None = None) -> Version:
    """The version after a count: the number of live keys of its settled runs has changed, by namespace."""
    total = dict(version.counts)
    for namespace, count in change.items():
        total[namespace] = total.get(namespace, 0) + count
    counts = {namespace: count for namespace, count in total.items() if count}
    return replace(version, counts=counts, unsettled=version.unsettled if unsettled is None else unsettled)


def with_values(version: Version, added: Sequence[ValueFile], change: Mapping[int, int]) -> Version:
    """The version with more value files, and with other live bytes, by number; those with none left are gone."""
    if not added and not change:
        return version
    files = [
        replace(each, live_bytes=each.live_bytes + change.get(each.number, 0))
        for each in (*version.value_files, *added)
    ]
    kept = sorted((each for each in files if each.live_bytes), key=lambda each: each.number)
    return replace(version, value_files=tuple(kept))


def _with(items: tuple[_Item, ...], index: int, item: _Item) -> tuple[_Item, ...]:
    return (*items[:index], item, *items[index + 1 :])
