"""The flush: whole generations of the WAL into level 0. It holds the generation that it writes in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flin.engine.background.garbage import drop_garbage
from flin.engine.background.job import FlushJob, JobStatistics
from flin.engine.background.job_files import Outputs
from flin.engine.background.value_segments import ValueSegments
from flin.engine.boundaries import covers
from flin.engine.catalog.version import Run, ValueFile
from flin.engine.disk.fs import FileSystem
from flin.engine.entry import TOMBSTONE
from flin.engine.memtable import Memtable
from flin.engine.read.count import has_tombstones
from flin.engine.slot import shard_of_stored
from flin.engine.sstable import TableWriter
from flin.engine.table.meta import TableMeta
from flin.engine.wal.replay import load_segment

FLUSH_PAGE_ENTRIES: Final = 512
"""Entries of a flush between two checkpoints: a millisecond or two. With 8192 an entry costs no less."""


def flush(
    fs: FileSystem,
    job: FlushJob,
    checkpoint: Callable[[], None],
    outputs: Outputs,
    statistics: JobStatistics,
) -> tuple[dict[int, Run], tuple[ValueFile, ...]]:
    """Its tables by shard, and the segments that became value files."""
    memtable = Memtable()
    values = ValueSegments(job.value_threshold, job.segments)
    sequences: list[int] = []
    for segment in job.segments:
        replay = load_segment(fs, job.directory, segment, memtable, values.large_in(segment), checkpoint)
        statistics.entries_in += replay.operations
        statistics.bytes_in += segment.end - segment.start
        if replay.operations:
            sequences += (replay.next_sequence - replay.operations, replay.next_sequence - 1)
        checkpoint()
    values.copy_back(fs, job.directory, memtable.entries, checkpoint)
    tables: dict[int, Run] = {}
    if job.first_sequence:
        sequences.append(job.first_sequence)
    bounds = (min(sequences), max(sequences)) if sequences else (0, 0)
    for shard, keys in enumerate(_split(memtable, job.shards)):
        if not keys and not memtable.deleted:
            continue
        kept = _without_covered(memtable, keys)
        if kept or memtable.deleted:
            writer = _section_writer(outputs, job, bounds)
            tables[shard] = (_write_section(writer, job, memtable, kept, checkpoint),)
            values.note(writer.values)
    return tables, values.files()


def _split(memtable: Memtable, shards: int) -> list[list[bytes]]:
    """The memtable's keys by shard, ascending."""
    keys = sorted(memtable.entries)
    if shards == 1:
        return [keys]
    split: list[list[bytes]] = [[] for _ in range(shards)]
    for key in keys:
        split[shard_of_stored(key, shards)].append(key)
    return split


def _without_covered(memtable: Memtable, keys: list[bytes]) -> list[bytes]:
    """The keys without those tombstones that hide only what a range delete of the memtable hides anyway."""
    entries, deleted = memtable.entries, memtable.deleted
    if not deleted or not has_tombstones(entries, keys):
        return keys
    return [key for key in keys if entries[key] is not TOMBSTONE or not covers(deleted, key)]


def _section_writer(outputs: Outputs, job: FlushJob, bounds: tuple[int, int]) -> TableWriter:
    file = outputs.current or outputs.begin()
    return TableWriter(file.append, job.options, *bounds, base_offset=file.size_bytes, file=file.name, seals=file.seals)


def _write_section(
    writer: TableWriter,
    job: FlushJob,
    memtable: Memtable,
    keys: list[bytes],
    checkpoint: Callable[[], None],
) -> TableMeta:
    get = memtable.entries.__getitem__
    for at in range(0, len(keys), FLUSH_PAGE_ENTRIES):
        page = keys[at : at + FLUSH_PAGE_ENTRIES]
        writer.add(*drop_garbage((page, list(map(get, page))), bottom=False, now_ms=job.now_ms))
        checkpoint()
    if memtable.deleted:
        writer.add_ranges(memtable.ranges)
    return writer.finish()
