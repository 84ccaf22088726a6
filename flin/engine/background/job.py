"""Background work as functions from files to files: a flush (WAL segments to level 0) and a compaction.

A job is a value: names, ranges and rules in; metadata of written files out. It knows no thread, lock, engine or
process; the same job runs inline, in a thread or in the helper process (runner.py). Its files count only when the
caller has checked them and committed the edit: until then no manifest names them, and a job that fails or is cancelled
removes them. Their names are made of the job's number and epoch, and they are created exclusively.

A job takes its input files for granted: its caller keeps them until it has ended.

Memory. A flush holds the generation that it writes. A compaction holds `slice_bytes` for all sources together and
one data block of each; an output's index and filter grow with `target_table_bytes`.

Order of ages. In any memtable, generation or table a range delete is older than every point in it. So a merge may
join the range deletes of its inputs: a point that one of them hides is gone already, and every point that is left is
newer than the range deletes of its own source and of all older ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Final, TypeAlias, cast

from flin.engine.background.job_files import Input, OlderRun, Outputs
from flin.engine.background.run_writer import RunWriter
from flin.engine.boundaries import Boundaries, boundaries_of, covers, covers_all, joined, ranges_of
from flin.engine.catalog.version import Run, ShardRuns, Version
from flin.engine.disk.file_name import maybe_parse
from flin.engine.disk.fs import FileSystem, join
from flin.engine.disk.open_files import TableFile
from flin.engine.entry import EXPIRED_MS, TOMBSTONE, Entry, Page, Range
from flin.engine.memtable import Memtable, add_counts
from flin.engine.read.count import has_tombstones, resolving
from flin.engine.read.merge import Source, merge_pages
from flin.engine.slot import shard_of_stored
from flin.engine.sstable import TableOptions, TableWriter, read_meta
from flin.engine.table.meta import TableMeta
from flin.engine.wal.frames import SegmentSlice
from flin.engine.wal.replay import load_segment
from flin.errors import CorruptionError, StorageError

FLUSH_PAGE_ENTRIES: Final = 8192
"""Entries of a flush between two checkpoints: about 10 ms."""

ENTRY_COST_BYTES: Final = 150
"""Bytes that Python adds to the data of an entry in a slice: two bytes objects, three list slots, a dict slot."""


class JobCancelled(Exception):  # not an error: its caller asked for it
    """Raised by a checkpoint to end the job, which removes its files."""


@dataclass(frozen=True, slots=True)
class FlushJob:
    """Whole generations of the WAL, oldest first, into one level 0 file with a section per shard."""

    directory: str
    number: int
    epoch: int
    shards: int
    segments: tuple[SegmentSlice, ...]
    older: tuple[ShardRuns, ...]  # per shard: everything older than the segments, newest first
    options: TableOptions
    now_ms: int


@dataclass(frozen=True, slots=True)
class CompactionJob:
    """Neighbouring runs of one shard into one run."""

    directory: str
    number: int
    epoch: int
    shard: int
    inputs: ShardRuns  # newest first: only what is rewritten (Compaction.rewrite)
    bottom: bool  # nothing older overlaps: tombstones and range deletes are dropped
    options: TableOptions
    now_ms: int
    target_table_bytes: int
    slice_bytes: int
    output_boundaries: tuple[bytes, ...] = ()  # an output ends before each of these keys (Compaction.output_boundaries)
    urgent: bool = False  # something waits for it, or will (Compaction.urgent); else it runs while processors idle


Job: TypeAlias = FlushJob | CompactionJob


@dataclass(slots=True)
class JobStatistics:
    cpu_seconds: float = 0.0
    entries_in: int = 0
    entries_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class JobResult:
    tables: dict[int, Run]  # by shard, in key order; a shard without a table is left out
    counts: dict[int, int]  # change of live keys, by namespace; empty for a compaction
    statistics: JobStatistics = field(default_factory=JobStatistics)

    def files(self) -> list[str]:
        return sorted({table.file for run in self.tables.values() for table in run})


def run_job(fs: FileSystem, job: Job, checkpoint: Callable[[], None]) -> JobResult:
    """Do the job. Checkpoint is called between slices: it may wait, or raise JobCancelled.

    On any exception its files are removed. StorageError if the operating system refuses something, CorruptionError or
    FormatVersionError if an input cannot be read."""
    began = time.thread_time()
    statistics = JobStatistics()
    with Outputs(fs, job.directory, job.number, job.epoch) as outputs, ExitStack() as inputs:
        try:
            if isinstance(job, FlushJob):
                tables, counts = _flush(fs, job, checkpoint, outputs, statistics)
            else:
                tables, counts = _compact(fs, job, checkpoint, outputs, inputs, statistics), {}
            outputs.keep()
        except OSError as error:
            path = error.filename if isinstance(error.filename, str) else job.directory
            raise StorageError(f"{_purpose(job)}: read or write", path, error) from error
    statistics.cpu_seconds = time.thread_time() - began
    statistics.entries_out = sum(table.entry_count for run in tables.values() for table in run)
    statistics.bytes_out = sum(table.length for run in tables.values() for table in run)
    return JobResult(tables, counts, statistics)


def check_result(fs: FileSystem, job: Job, result: JobResult) -> None:
    """Compare a job's result with the files' own footers and properties; CorruptionError if they differ.

    Called before the edit is committed, because the result may come from another process."""
    for run in result.tables.values():
        for table in run:
            name = maybe_parse(table.file)
            path = join(job.directory, table.file)
            if name is None or (name.role, name.number, name.epoch) != ("table", job.number, job.epoch):
                raise CorruptionError(path, 0, f"not an output of job {job.number}")
            file = TableFile(fs, path)
            try:
                found = read_meta(file, table.offset, table.length)
            except OSError as error:
                raise StorageError("read", path, error) from error
            finally:
                file.close()
            if found != table:
                raise CorruptionError(path, table.offset, "a section is not what its job reported")
        for left, right in pairwise(run):
            if left.largest >= right.smallest:
                raise CorruptionError(join(job.directory, right.file), right.offset, "tables of one run overlap")


def is_output_named(version: Version, job: Job) -> bool:
    """Whether the version names a file that the job has written."""
    names = map(maybe_parse, version.files())
    return any(name is not None and (name.number, name.epoch) == (job.number, job.epoch) for name in names)


def remove_outputs(fs: FileSystem, job: Job) -> list[str]:
    """Remove the files that a dead job has left in its directory. Returns their names. StorageError if that is
    refused."""
    removed = []
    try:
        for name in fs.names(job.directory):
            parsed = maybe_parse(name)
            if parsed and (parsed.role, parsed.number, parsed.epoch) == ("table", job.number, job.epoch):
                with suppress(FileNotFoundError):  # the background was faster: its tables were removed meanwhile
                    fs.remove(join(job.directory, name))
                    removed.append(name)
    except OSError as error:
        raise StorageError("remove the files of a dead job in", job.directory, error) from error
    return removed


# Flush.


def _flush(
    fs: FileSystem,
    job: FlushJob,
    checkpoint: Callable[[], None],
    outputs: Outputs,
    statistics: JobStatistics,
) -> tuple[dict[int, Run], dict[int, int]]:
    memtable = Memtable()
    sequences: list[int] = []
    for segment in job.segments:
        replay = load_segment(fs, job.directory, segment, memtable)
        statistics.entries_in += replay.operations
        statistics.bytes_in += segment.end - segment.start
        if replay.operations:
            sequences += (replay.next_sequence - replay.operations, replay.next_sequence - 1)
        checkpoint()
    tables: dict[int, Run] = {}
    counts: dict[int, int] = {}
    bounds = (min(sequences), max(sequences)) if sequences else (0, 0)
    for shard, keys in enumerate(_split(memtable, job.shards)):
        if not keys and not memtable.deleted:
            continue
        older = [OlderRun(fs, job.directory, run) for run in job.older[shard]]
        work = resolving(memtable, keys, memtable.ranges, older)
        while True:
            try:
                next(work)
            except StopIteration as end:
                resolution = end.value
                break
            checkpoint()
        counts = add_counts(counts, resolution.change)
        kept = _without_needless(memtable.entries, keys, resolution.replaced, resolution.ranges)
        if kept or resolution.ranges:
            tables[shard] = (_write_section(outputs, job, memtable, kept, resolution.ranges, bounds, checkpoint),)
    return tables, counts


def _split(memtable: Memtable, shards: int) -> list[list[bytes]]:
    """The memtable's keys by shard, ascending."""
    keys = sorted(memtable.entries)
    if shards == 1:
        return [keys]
    split: list[list[bytes]] = [[] for _ in range(shards)]
    for key in keys:
        split[shard_of_stored(key, shards)].append(key)
    return split


def _without_needless(
    entries: dict[bytes, Entry], keys: list[bytes], replaced: set[bytes], ranges: Sequence[Range]
) -> list[bytes]:
    """The keys without those tombstones that hide nothing, or only what a range delete of the memtable hides anyway."""
    if not has_tombstones(entries, keys):
        return keys
    deleted = boundaries_of(ranges)
    return [key for key in keys if entries[key] is not TOMBSTONE or (key in replaced and not covers(deleted, key))]


def _write_section(
    outputs: Outputs,
    job: FlushJob,
    memtable: Memtable,
    keys: list[bytes],
    ranges: Sequence[Range],
    bounds: tuple[int, int],
    checkpoint: Callable[[], None],
) -> TableMeta:
    file = outputs.current or outputs.begin()
    writer = TableWriter(file.append, job.options, *bounds, base_offset=file.size_bytes, file=file.name)
    get = memtable.entries.__getitem__
    for at in range(0, len(keys), FLUSH_PAGE_ENTRIES):
        page = keys[at : at + FLUSH_PAGE_ENTRIES]
        writer.add(*_drop_garbage((page, list(map(get, page))), bottom=False, now_ms=job.now_ms))
        checkpoint()
    if ranges:
        writer.add_ranges(ranges)
    return writer.finish()


# Compaction.


def _compact(
    fs: FileSystem,
    job: CompactionJob,
    checkpoint: Callable[[], None],
    outputs: Outputs,
    inputs: ExitStack,
    statistics: JobStatistics,
) -> dict[int, Run]:
    metas = [table for run in job.inputs for table in run]
    if not metas:
        return {}
    statistics.entries_in = sum(table.entry_count for table in metas)
    statistics.bytes_in = sum(table.length for table in metas)
    each = max(1, job.slice_bytes // len(job.inputs))
    sources: list[Source] = []
    deleted: Boundaries = ()
    for run in job.inputs:
        tables = [inputs.enter_context(closing(Input(fs, job.directory, table))) for table in run]
        readable = [table for table in tables if not covers_all(deleted, table.meta.smallest, table.meta.largest)]
        pieces = [table.deleted() for table in tables if table.meta.range_deletes]
        own = boundaries_of(chain.from_iterable(map(ranges_of, pieces)))
        sources.append(Source(_gathered(readable, each), own))
        deleted = joined(deleted, own) if own else deleted
    sequences = (min(table.smallest_sequence for table in metas), max(table.largest_sequence for table in metas))
    writer = RunWriter(
        outputs,
        job.options,
        sequences,
        () if job.bottom else deleted,
        target_table_bytes=job.target_table_bytes,
        output_boundaries=job.output_boundaries,
    )
    for page in merge_pages(sources):
        checkpoint()
        keys, entries = _drop_garbage(page, job.bottom, job.now_ms)
        if keys:
            try:
                writer.add(keys, entries)
            except ValueError as error:  # the pages of one input are not in order, though their checksums are right
                path = join(job.directory, metas[0].file)
                raise CorruptionError(path, metas[0].offset, f"merged with its neighbours: {error}") from error
    run = writer.finish()
    return {job.shard: run} if run else {}


def _gathered(inputs: Sequence[Input], most_bytes: int) -> Iterator[Page]:
    """The run's pages, joined up to about most_bytes: a slice's fixed costs are paid once per thousand entries."""
    keys: list[bytes] = []
    entries: list[Entry] = []
    held = 0
    for table in inputs:
        for page_keys, page_entries in table.pages():
            keys += page_keys
            entries += page_entries
            held += _memory_of(page_keys, page_entries)
            if held >= most_bytes:
                yield keys, entries
                keys, entries, held = [], [], 0
    if keys:
        yield keys, entries


def _drop_garbage(page: Page, bottom: bool, now_ms: int) -> Page:
    """The page without tombstones if nothing is beneath, and with expired values emptied.

    An expired put keeps its key, since it counts, and hides older entries, until its sweep deletes it; it stays expired
    forever, however the clock is set."""
    keys, entries = page
    types = set(map(type, entries))
    if types == {bytes}:
        return page
    if bottom and type(TOMBSTONE) in types:
        alive = [entry is not TOMBSTONE for entry in entries]
        keys = [key for key, kept in zip(keys, alive, strict=True) if kept]
        entries = [entry for entry in entries if entry is not TOMBSTONE]
    if tuple in types:
        entries = [
            (b"", EXPIRED_MS, entry[2]) if type(entry) is tuple and 0 != entry[1] <= now_ms else entry
            for entry in entries
        ]
    return keys, entries


def _purpose(job: Job) -> str:
    return f"flush {job.number}" if isinstance(job, FlushJob) else f"compaction {job.number}"


def _memory_of(keys: list[bytes], entries: list[Entry]) -> int:
    cost = ENTRY_COST_BYTES * len(keys) + sum(map(len, keys))
    if set(map(type, entries)) == {bytes}:
        return cost + sum(map(len, cast("list[bytes]", entries)))
    values = [entry[0] if type(entry) is tuple else entry for entry in entries if entry is not TOMBSTONE]
    return cost + sum(map(len, values))
