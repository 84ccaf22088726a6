"""Jobs: background work as values. Names, ranges and rules in; metadata of written files out.

A job knows no thread, lock, engine or process; the same job runs inline, in a thread or in the helper process
(runner.py). job_run.py does it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from flin.engine.catalog.version import Run, ShardRuns, ValueFile, Version
from flin.engine.disk.file_name import maybe_parse
from flin.engine.sstable import TableOptions
from flin.engine.wal.frames import SegmentSlice


class JobCancelled(Exception):  # not an error: its caller asked for it
    """Raised by a checkpoint to end the job, which removes its files."""


class JobStarved(JobCancelled):
    """Raised by a checkpoint of a job that runs while processors idle, and gets hardly any (patience.py)."""


@dataclass(frozen=True, slots=True)
class FlushJob:
    """Whole generations of the WAL, oldest first, into one level 0 file with a section per shard."""

    directory: str
    number: int
    epoch: int
    shards: int
    segments: tuple[SegmentSlice, ...]
    options: TableOptions
    now_ms: int
    value_threshold: int = 0  # bytes from which on a value may stay in its segment; 0: none does
    urgent: bool = False  # a caller waits for it, or another generation behind it, and soon writers will
    first_sequence: int = 0  # of the generation, if its segments are condensed: these tell only the last


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
    fences: tuple[bytes, ...] = ()  # an output that is large enough ends before each of these (Compaction.fences)
    settles: bool = False  # its result is settled (Compaction.settles)
    settled_inputs: int = 0  # how many of its inputs, the oldest, are settled
    worn: tuple[ValueFile, ...] = ()  # value files whose values are written anew
    has_values: bool = False  # there are value files, so inputs may point into some


@dataclass(frozen=True, slots=True)
class CountJob:
    """By how much unsettled runs of one shard change the number of live keys. It writes nothing."""

    directory: str
    number: int
    epoch: int
    shard: int
    unsettled: ShardRuns  # newest first: those that are counted, together
    older: ShardRuns  # all beneath them
    urgent: bool  # somebody waits for it; else it runs after all others


Job: TypeAlias = FlushJob | CompactionJob | CountJob


@dataclass(slots=True)
class JobStatistics:
    cpu_seconds: float = 0.0
    entries_in: int = 0
    entries_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    collected_bytes: int = 0  # of values that were written to new value files


@dataclass(frozen=True, slots=True)
class JobResult:
    tables: dict[int, Run]  # by shard, in key order; a shard without a table is left out
    counts: dict[int, int]  # change of the number of live keys of settled runs, by namespace
    statistics: JobStatistics = field(default_factory=JobStatistics)
    value_files: tuple[ValueFile, ...] = ()  # segments that became value files, and those that the job wrote
    live_values: dict[int, int] = field(default_factory=dict)  # change of live bytes of older value files, by number

    def files(self) -> list[str]:
        return sorted({table.file for run in self.tables.values() for table in run})


def is_output_named(version: Version, job: Job) -> bool:
    """Whether the version names a file that the job has written."""
    return any(is_output(name, job) for name in version.files())


def is_output(name: str, job: Job) -> bool:
    """Whether a file with this name is the job's: a table, or values that it collected."""
    parsed = maybe_parse(name)
    if parsed is None or parsed.role not in ("table", "value"):
        return False
    return (parsed.number, parsed.epoch) == (job.number, job.epoch)
