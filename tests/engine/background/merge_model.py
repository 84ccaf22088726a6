"""A shard whose tables are dicts: it carries out compactions as the real jobs do, and checks what must hold after each
step. Several may be under way, and flushes may come meanwhile."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, pairwise

from flin.engine.background.compaction import (
    Compaction,
    CompactionOptions,
    Superseded,
    changes_count,
    install,
    run_bytes,
    sequences_between,
)
from flin.engine.background.fences import parted
from flin.engine.background.picker import pick_compaction
from flin.engine.catalog.version import Run, ShardRuns, Version
from flin.engine.key import KEYS_END
from flin.engine.table.meta import TableMeta

Entry = tuple[int, bool]
"""When the key was written, and whether it lives: if not, it is a tombstone."""

Content = Mapping[bytes, Entry]

_files = count()


def table_of(content: Content, contents: dict[str, Content], entry_bytes: int = 1) -> TableMeta:
    """A table with these entries, noted among the contents."""
    file = f"table-{next(_files)}"
    contents[file] = content
    ages = [age for age, _ in content.values()]
    dead = sum(not lives for _, lives in content.values())
    return TableMeta(
        file=file,
        offset=0,
        length=len(content) * entry_bytes,
        entry_count=len(content),
        tombstones=dead,
        range_deletes=0,
        expiring=0,
        smallest=min(content),
        largest=max(content),
        smallest_sequence=min(ages),
        largest_sequence=max(ages),
        raw_bytes=len(content) * entry_bytes,
        points=((0, len(content) - dead),) if len(content) > dead else (),
    )


@dataclass
class MergeModel:
    options: CompactionOptions
    runs: ShardRuns = ()
    unsettled: int = 0
    fences: tuple[bytes, ...] = ()
    age: int = 0
    settles_flushes: bool = True
    live: int = 0  # keys that live in the settled runs, as edits count them
    contents: dict[str, Content] = field(default_factory=dict)  # by file
    truth: dict[bytes, bool] = field(default_factory=dict)  # by key that was written: whether it lives
    busy: list[Compaction] = field(default_factory=list)
    written: int = 0

    def copy(self) -> MergeModel:
        return replace(self, truth=dict(self.truth), busy=list(self.busy))

    @property
    def version(self) -> Version:
        return Version((self.runs,), unsettled=(self.unsettled,), fences=(self.fences,))

    def flush(self, alive: Mapping[bytes, bool], parts: Sequence[int] = ()) -> None:
        """A new run; its keys are parted into tables before these indexes."""
        self.age += 1
        keys = sorted(alive)
        edges = [0, *parts, len(keys)]
        run = [
            table_of({key: (self.age, alive[key]) for key in keys[low:high]}, self.contents)
            for low, high in pairwise(edges)
        ]
        self.runs = (tuple(run), *self.runs)
        self.truth.update(alive)
        self.unsettled += not self.settles_flushes
        self.live = self._settled_keys() if self.settles_flushes else self.live

    def begin(self) -> Compaction | None:
        """Pick a compaction, which is under way then."""
        found = pick_compaction(self.version, self.options, self.busy)
        if found is not None:
            self._check_plan(found)
            self.busy.append(found)
        return found

    def end(self, compaction: Compaction) -> None:
        """Commit its result."""
        self.busy.remove(compaction)
        merged: dict[bytes, Entry] = {}
        for table in (table for run in reversed(compaction.rewrite) for table in run):
            merged.update(self.contents[table.file])
        if compaction.bottom:
            merged = {key: entry for key, entry in merged.items() if entry[1]}
        outputs = self.outputs(compaction, merged)
        self.written += len(merged)
        try:
            counts = changes_count(compaction, self.runs, self.unsettled)
        except Superseded:
            return
        if counts:
            settled = self._merged(compaction.rewrite[len(compaction.rewrite) - compaction.settled_inputs :])
            self.live += sum(lives for _, lives in merged.values()) - sum(lives for _, lives in settled.values())
            self.live += sum(count for table in compaction.counted_moves for _, count in table.points or ())
        self.runs, self.unsettled = install(self.runs, compaction, outputs, self.unsettled)
        options = self.options.at(sum(map(run_bytes, self.runs)))
        self.fences = parted(self.runs, self.fences, options.range_bytes)
        self.check()

    def outputs(self, compaction: Compaction, merged: Content) -> Run:
        """The tables that the job writes: they end before each boundary and fence, and when they are full."""
        outputs: list[Content] = []
        pending: dict[bytes, Entry] = {}
        cuts = sorted({*compaction.output_boundaries, *compaction.fences})
        last = b""
        for key in sorted(merged):
            crosses = any(last < cut <= key for cut in cuts)
            if pending and (crosses or len(pending) >= compaction.target_table_bytes):
                outputs.append(pending)
                pending = {}
            pending[key] = merged[key]
            last = key
        tables = [table_of(content, self.contents) for content in (*outputs, pending) if content]
        sequences = []
        for table in tables:
            at = bisect_right(cuts, table.smallest)
            start, stop = cuts[at - 1] if at else b"", cuts[at] if at < len(cuts) else KEYS_END
            sequences.append(sequences_between(compaction.rewrite, start, stop))
        return tuple(
            replace(table, smallest_sequence=low, largest_sequence=high)
            for table, (low, high) in zip(tables, sequences, strict=True)
        )

    def settle(self, left: int) -> None:
        """A count on demand: so many of the newest runs are left unsettled, which were flushed meanwhile."""
        self.unsettled = min(left, self.unsettled)
        self.live = self._settled_keys()

    def check(self) -> None:
        """The order of each key's entries, what a reader sees, and the number of keys."""
        for run in self.runs:
            assert run
            assert all(left.largest < right.smallest for left, right in pairwise(run))
        ages = self._stacks(self.runs)
        for key, stack in ages.items():
            assert all(newer[0] > older[0] for newer, older in pairwise(stack)), (key, stack)
        for key, lives in self.truth.items():
            seen = ages[key][0][1] if key in ages else False
            assert seen == lives, (key, ages.get(key))
        assert self.live == self._settled_keys()
        assert 0 <= self.unsettled <= len(self.runs)
        self._check_sequences()

    def _check_sequences(self) -> None:
        """A repair without a manifest tells the order of ages by the sequences alone."""
        for index, newer in enumerate(self.runs):
            for older in self.runs[index + 1 :]:
                for one in newer:
                    for other in older:
                        if one.smallest <= other.largest and other.smallest <= one.largest:
                            assert one.smallest_sequence >= other.largest_sequence

    def _check_plan(self, found: Compaction) -> None:
        """What no busy one may hinder, and that all is taken that must be."""
        taken = {table.file for each in self.busy for run in each.runs for table in run}
        chosen = [table for run in found.runs for table in run]
        assert chosen
        assert not taken & {table.file for table in chosen}
        assert sorted(table.file for table in chosen) == sorted(
            table.file for run in (*found.rewrite, found.moves) for table in run
        )
        if found.bottom:
            beneath = self._stacks(self.runs[found.indices[-1] + 1 :])
            assert not [key for key in beneath if found.start <= key < found.stop]

    def _stacks(self, runs: Iterable[Run]) -> dict[bytes, list[Entry]]:
        stacks: dict[bytes, list[Entry]] = {}
        for run in runs:
            for table in run:
                for key, entry in self.contents[table.file].items():
                    stacks.setdefault(key, []).append(entry)
        return stacks

    def _merged(self, runs: Iterable[Run]) -> dict[bytes, Entry]:
        return {key: stack[0] for key, stack in self._stacks(runs).items()}

    def _settled_keys(self) -> int:
        return sum(lives for _, lives in self._merged(self.runs[self.unsettled :]).values())


def all_runs(keys: Sequence[bytes]) -> list[tuple[tuple[bytes, ...], tuple[int, ...]]]:
    """All ways to choose some of the keys and to part them into tables: (keys, where tables begin)."""
    found = []
    for chosen in range(1, 1 << len(keys)):
        some = tuple(key for index, key in enumerate(keys) if chosen >> index & 1)
        found += [
            (some, tuple(at for at in range(1, len(some)) if parts >> (at - 1) & 1))
            for parts in range(1 << (len(some) - 1))
        ]
    return found
