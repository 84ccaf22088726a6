"""A database reduced to its files and runs: the base of the tests of jobs, runners and counts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from flin.engine.background.compaction import Compaction, CompactionOptions, install
from flin.engine.background.job import CompactionJob, FlushJob, Job, JobResult
from flin.engine.background.job_run import check_result, run_job
from flin.engine.boundaries import boundaries_of
from flin.engine.catalog.version import Run, ShardRuns
from flin.engine.disk.file_name import wal_name
from flin.engine.disk.fs import FileSystem, OsFileSystem, append_all, join
from flin.engine.entry import TOMBSTONE, Entry, Range
from flin.engine.key import KEYS_END
from flin.engine.memtable import add_counts
from flin.engine.read.count import settling
from flin.engine.read.merge import Source, merge_pages
from flin.engine.sstable import Table, TableOptions
from flin.engine.wal.frames import SegmentHeader, SegmentSlice, encode_commit, encode_header

SALT = b"saltsalt"

Result = TypeVar("Result")

Commit = tuple[Sequence[Range], Mapping[bytes, Entry]]
"""Range deletes, then points."""

Model = dict[bytes, Entry]


def no_checkpoint() -> None:
    """A checkpoint that never waits and never cancels."""


def write_segment(
    fs: FileSystem, directory: str, number: int, commits: Iterable[Commit], first_sequence: int = 1
) -> tuple[SegmentSlice, int]:
    """Write a WAL segment with these commits. Returns its slice and the next sequence."""
    header = encode_header(SegmentHeader(bytes(16), number, SALT, 0, first_sequence, 0, 0, 0))
    pieces = [header]
    size = len(header)
    sequence = first_sequence
    for ranges, points in commits:
        frame = encode_commit(SALT, size, sequence, 0, points, ranges)
        sequence += len(ranges) + len(points)
        pieces.append(bytes(frame))
        size += len(frame)
    file = fs.create(join(directory, wal_name(number, 1)))
    append_all(file, b"".join(pieces))
    file.sync()
    file.close()
    return SegmentSlice(wal_name(number, 1), len(header), size), sequence


def apply_to(model: Model, commits: Iterable[Commit]) -> None:
    """Apply the commits to a dict of live entries."""
    for ranges, points in commits:
        for start, stop in ranges:
            for key in [key for key in model if start <= key < stop]:
                del model[key]
        for key, entry in points.items():
            if entry is TOMBSTONE:
                model.pop(key, None)
            else:
                model[key] = entry


@dataclass
class Tree:
    """Runs per shard, and the jobs that change them."""

    directory: str
    shards: int = 1
    options: TableOptions = field(default_factory=lambda: TableOptions(codec="none"))
    fs: FileSystem = field(default_factory=OsFileSystem)
    now_ms: int = 0
    number: int = 0
    sequence: int = 1
    counts: dict[int, int] = field(default_factory=dict)
    runs: list[ShardRuns] = field(default_factory=list)
    run_job: Callable[[Job], JobResult] | None = None

    def __post_init__(self) -> None:
        self.runs = [()] * self.shards

    def flush_job(self, *generations: Iterable[Commit]) -> FlushJob:
        """Write the generations' segments. Returns the job that flushes them."""
        segments = []
        for commits in generations:
            self.number += 1
            segment, self.sequence = write_segment(self.fs, self.directory, self.number, commits, self.sequence)
            segments.append(segment)
        self.number += 1
        return FlushJob(self.directory, self.number, 1, self.shards, tuple(segments), self.options, self.now_ms)

    def flush(self, *generations: Iterable[Commit]) -> JobResult:
        """Flush, and settle at once. Returns the job's result with the change of live keys."""
        job = self.flush_job(*generations)
        result = self.do(job)
        assert result.counts == {}
        change: dict[int, int] = {}
        for shard, run in result.tables.items():
            older = [self.tables(each) for each in self.runs[shard]]
            change = add_counts(change, whole(settling([self.tables(run)], older)))
            self.runs[shard] = (run, *self.runs[shard])
        self.counts = add_counts(self.counts, change)
        return replace(result, counts=change)

    def compaction_job(
        self, compaction: Compaction, target_table_bytes: int, slice_bytes: int = 1 << 20
    ) -> CompactionJob:
        """A compaction. Urgent, since the test waits for it: others run only while a processor is idle."""
        self.number += 1
        return CompactionJob(
            self.directory,
            self.number,
            1,
            compaction.shard,
            compaction.rewrite,
            compaction.bottom,
            self.options,
            self.now_ms,
            target_table_bytes,
            slice_bytes,
            compaction.output_boundaries,
            urgent=True,
            fences=compaction.fences,
        )

    def compact(
        self, compaction: Compaction, target_table_bytes: int = 1 << 20, slice_bytes: int = 1 << 20
    ) -> JobResult:
        """Carry out the job and install its result."""
        shard = compaction.shard
        if compaction.trivial:
            result = JobResult({}, {})
        else:
            result = self.do(self.compaction_job(compaction, target_table_bytes, slice_bytes))
        assert result.counts == {}
        self.runs[shard] = install(self.runs[shard], compaction, result.tables.get(shard, ())).runs
        return result

    def compact_runs(self, start: int, stop: int, *, shard: int = 0, target_table_bytes: int = 1 << 20) -> JobResult:
        """Rewrite all of the runs from start to stop into one."""
        runs = self.runs[shard]
        chosen = runs[start:stop]
        compaction = Compaction(shard, tuple(range(start, stop)), chosen, chosen, (), (), stop == len(runs), "test")
        return self.compact(compaction, target_table_bytes, slice_bytes=4096)

    def do(self, job: Job) -> JobResult:
        result = self.run_job(job) if self.run_job else run_job(self.fs, job, no_checkpoint)
        check_result(self.fs, job, result)
        return result

    def tables(self, run: Run) -> list[Table]:
        return [Table(self.fs.open(join(self.directory, meta.file)), meta, None) for meta in run]

    def entries(self, shard: int) -> Model:
        """The live entries of one shard, read through a merge of its runs."""
        sources = []
        for run in self.runs[shard]:
            tables = self.tables(run)
            ranges = [piece for table in tables for piece in table.ranges]
            sources.append(
                Source([page for table in tables for page in table.pages(b"", KEYS_END)], boundaries_of(ranges))
            )
        return {
            key: entry
            for keys, entries in merge_pages(sources)
            for key, entry in zip(keys, entries, strict=True)
            if entry is not TOMBSTONE
        }

    def read(self) -> Model:
        return {key: entry for shard in range(self.shards) for key, entry in self.entries(shard).items()}

    def verify(self) -> None:
        for runs in self.runs:
            for run in runs:
                assert run
                for table in self.tables(run):
                    assert table.verify() == []


def whole(slices: Generator[int, None, Result]) -> Result:
    """The result of work that is done in slices."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            result: Result = end.value
            return result


def small_options(target_table_bytes: int) -> CompactionOptions:
    return replace(CompactionOptions(), target_table_bytes=target_table_bytes)


MANY_ENTRIES = 20_000
"""Entries of each of two runs: their compaction has hundreds of outputs, and a test can act meanwhile."""


def two_runs(directory: str, entries: int) -> Tree:
    """A tree with two runs of the same keys."""
    made = Tree(directory, options=TableOptions(block_size_bytes=512, codec="zstd"))
    for value in (b"1", b"2"):
        made.flush([((), {b"%08d" % number: value * 50 for number in range(entries)})])
    return made


def compaction_of(tree: Tree) -> CompactionJob:
    """The compaction of all its runs into small tables."""
    runs = tree.runs[0]
    plan = Compaction(0, tuple(range(len(runs))), runs, runs, (), (), True, "test")
    return tree.compaction_job(plan, target_table_bytes=5000, slice_bytes=10_000)
