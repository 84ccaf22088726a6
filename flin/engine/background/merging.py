"""The merge: neighbouring runs of one shard into one run.

Memory. It holds `slice_bytes` for all sources together and one data block of each; an output's index and filter grow
with `target_table_bytes`.

Order of ages. In any memtable, generation or table a range delete is older than every point in it. So a merge may
join the range deletes of its inputs: a point that one of them hides is gone already, and every point that is left is
newer than the range deletes of its own source and of all older ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Final, cast

from flin.engine.background.collecting import Collector, change_of_values
from flin.engine.background.compaction import sequences_between
from flin.engine.background.garbage import drop_garbage
from flin.engine.background.job import CompactionJob, JobStatistics
from flin.engine.background.job_files import Input, Outputs
from flin.engine.background.run_writer import RunWriter
from flin.engine.boundaries import Boundaries, boundaries_of, covers_all, joined, ranges_of
from flin.engine.catalog.version import Run, ValueFile
from flin.engine.disk.fs import FileSystem, join
from flin.engine.entry import TOMBSTONE, Entry, Page
from flin.engine.key import KEYS_END
from flin.engine.read.merge import Source, merge_pages
from flin.engine.table.meta import TableMeta
from flin.errors import CorruptionError

ENTRY_COST_BYTES: Final = 150
"""Bytes that Python adds to the data of an entry in a slice: two bytes objects, three list slots, a dict slot."""


def compact(
    fs: FileSystem,
    job: CompactionJob,
    checkpoint: Callable[[], None],
    note_progress: Callable[[float], None],
    outputs: Outputs,
    inputs: ExitStack,
    statistics: JobStatistics,
) -> tuple[dict[int, Run], tuple[ValueFile, ...], dict[int, int]]:
    """The merged run, new value files, and the change of live bytes in older ones."""
    metas = [table for run in job.inputs for table in run]
    if not metas:
        return {}, (), {}
    statistics.entries_in = sum(table.entry_count for table in metas)
    statistics.bytes_in = sum(table.length for table in metas)
    each = max(1, job.slice_bytes // len(job.inputs))
    read = 0

    def count(page: Page) -> None:
        nonlocal read
        read += len(page[0])
        note_progress(read / max(statistics.entries_in, 1))

    sources: list[Source] = []
    deleted: Boundaries = ()
    for run in job.inputs:
        tables = [inputs.enter_context(closing(Input(fs, job.directory, table))) for table in run]
        readable = [table for table in tables if not covers_all(deleted, table.meta.smallest, table.meta.largest)]
        pieces = [table.deleted() for table in tables if table.meta.range_deletes]
        own = boundaries_of(chain.from_iterable(map(ranges_of, pieces)))
        sources.append(Source(_gathered(readable, each, count), own))
        deleted = joined(deleted, own) if own else deleted
    writer = RunWriter(
        outputs,
        job.options,
        partial(sequences_between, job.inputs),
        () if job.bottom else deleted,
        target_table_bytes=job.target_table_bytes,
        output_boundaries=job.output_boundaries,
        fences=job.fences,
    )
    collector = Collector(fs, job, outputs, checkpoint, sequences_between(job.inputs, b"", KEYS_END)[1])
    for page in merge_pages(sources):
        checkpoint()
        keys, entries = drop_garbage(page, job.bottom, job.now_ms)
        if keys:
            try:
                writer.add(keys, collector.collect(keys, entries))
            except ValueError as error:  # the pages of one input are not in order, though their checksums are right
                path = join(job.directory, metas[0].file)
                raise CorruptionError(path, metas[0].offset, f"merged with its neighbours: {error}") from error
    run = writer.finish()
    if run and (run[0].smallest < min(map(_smallest, metas)) or run[-1].largest > max(map(_largest, metas))):
        path = join(job.directory, metas[0].file)
        raise CorruptionError(path, metas[0].offset, "it or its neighbours hold keys that are not between their bounds")
    collector.finish()
    statistics.collected_bytes = collector.collected_bytes
    change = change_of_values(fs, job.directory, metas, run) if job.has_values else {}
    for made in collector.value_files:
        if change.pop(made.number, 0) != made.live_bytes:
            raise CorruptionError(join(job.directory, made.file), 0, "tables do not name what was collected in it")
    return {job.shard: run} if run else {}, tuple(collector.value_files), change


_smallest: Callable[[TableMeta], bytes] = attrgetter("smallest")
_largest: Callable[[TableMeta], bytes] = attrgetter("largest")


def _gathered(inputs: Sequence[Input], most_bytes: int, count: Callable[[Page], None]) -> Iterator[Page]:
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
                count((keys, entries))
                yield keys, entries
                keys, entries, held = [], [], 0
    if keys:
        count((keys, entries))
        yield keys, entries


def _memory_of(keys: list[bytes], entries: list[Entry]) -> int:
    cost = ENTRY_COST_BYTES * len(keys) + sum(map(len, keys))
    if set(map(type, entries)) == {bytes}:
        return cost + sum(map(len, cast("list[bytes]", entries)))
    values = [entry[0] if type(entry) is tuple else entry for entry in entries if entry is not TOMBSTONE]
    return cost + sum(map(len, values))
