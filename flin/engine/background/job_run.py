"""Background work as functions from files to files: a flush (flushing.py), a compaction (merging.py), and a count
(settling.py), which writes none.

A job's files count only when the caller has checked them and committed the edit: until then no manifest names them, and
a job that fails or is cancelled removes them. Their names are made of the job's number and epoch, and they are created
exclusively. A job takes its input files for granted: its caller keeps them until it has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import pairwise

from flin.engine.background.flushing import flush
from flin.engine.background.job import CountJob, FlushJob, Job, JobResult, JobStatistics, is_output
from flin.engine.background.job_files import Outputs
from flin.engine.background.merging import compact
from flin.engine.background.settling import count_unsettled, settled_change
from flin.engine.catalog.version import ValueFile
from flin.engine.disk.file_name import maybe_parse, maybe_value_number
from flin.engine.disk.fs import FileSystem, join
from flin.engine.disk.open_files import TableFile
from flin.engine.sstable import read_meta
from flin.errors import CorruptionError, StorageError


def run_job(
    fs: FileSystem, job: Job, checkpoint: Callable[[], None], note_progress: Callable[[float], None] = lambda done: None
) -> JobResult:
    """Do the job. Checkpoint is called between slices: it may wait, or raise JobCancelled. `note_progress` is told
    which share of a merge is done.

    On any exception its files are removed. StorageError if the operating system refuses something, CorruptionError or
    FormatVersionError if an input cannot be read."""
    began = time.thread_time()
    statistics = JobStatistics()
    counts: dict[int, int] = {}
    value_files: tuple[ValueFile, ...] = ()
    live_values: dict[int, int] = {}
    with Outputs(fs, job.directory, job.number, job.epoch) as outputs, ExitStack() as inputs:
        try:
            if isinstance(job, FlushJob):
                tables, value_files = flush(fs, job, checkpoint, outputs, statistics)
            elif isinstance(job, CountJob):
                tables, counts = {}, count_unsettled(fs, job, checkpoint, statistics)
            else:
                tables, value_files, live_values = compact(
                    fs, job, checkpoint, note_progress, outputs, inputs, statistics
                )
                counts = settled_change(fs, job, tables.get(job.shard, ()), checkpoint)
            outputs.keep()
        except OSError as error:
            path = error.filename if isinstance(error.filename, str) else job.directory
            raise StorageError(f"{_purpose(job)}: read or write", path, error) from error
    statistics.cpu_seconds = time.thread_time() - began
    statistics.entries_out = sum(table.entry_count for run in tables.values() for table in run)
    statistics.bytes_out = sum(table.length for run in tables.values() for table in run)
    return JobResult(tables, counts, statistics, value_files, live_values)


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
    for each in result.value_files:
        _check_value_file(fs, job, each)


def _check_value_file(fs: FileSystem, job: Job, each: ValueFile) -> None:
    path = join(job.directory, each.file)
    if isinstance(job, FlushJob):
        is_named = any((each.file, each.length) == (segment.file, segment.end) for segment in job.segments)
    else:
        is_named = is_output(each.file, job)
    if not is_named or maybe_value_number(each.file) != each.number:
        raise CorruptionError(path, 0, f"not a value file of job {job.number}")
    try:
        size = fs.file_size(path)
    except OSError as error:
        raise StorageError("read", path, error) from error
    if size < each.length:
        raise CorruptionError(path, size, f"a value file of {each.length} bytes, its job reported")


def remove_outputs(fs: FileSystem, job: Job) -> list[str]:
    """Remove the files that a dead job has left in its directory. Returns their names. StorageError if that is
    refused."""
    removed = []
    try:
        for name in fs.names(job.directory):
            if is_output(name, job):
                with suppress(FileNotFoundError):  # the background was faster: its tables were removed meanwhile
                    fs.remove(join(job.directory, name))
                    removed.append(name)
    except OSError as error:
        raise StorageError("remove the files of a dead job in", job.directory, error) from error
    return removed


def _purpose(job: Job) -> str:
    kind = "flush" if isinstance(job, FlushJob) else "count" if isinstance(job, CountJob) else "compaction"
    return f"{kind} {job.number}"
