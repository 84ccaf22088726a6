"""Settling: by how much a merge, or a count on demand, changes the number of live keys of settled runs (version.py).

Memory. A count holds PIECE_ENTRIES keys (read/count.py), and of each run the table that it is at.
"""

from __future__ import annotations

from collections.abc import Callable

from flin.engine.background.job import CompactionJob, CountJob, JobStatistics
from flin.engine.background.job_files import OlderRun
from flin.engine.catalog.version import Run
from flin.engine.disk.fs import FileSystem
from flin.engine.key import KEYS_END, count_by_namespace, without_pieces
from flin.engine.memtable import add_counts
from flin.engine.read.count import live_keys, settling, subtract_counts


def count_unsettled(
    fs: FileSystem, job: CountJob, checkpoint: Callable[[], None], statistics: JobStatistics
) -> dict[int, int]:
    """By how much the unsettled runs change the number of live keys of the older ones."""
    statistics.entries_in = sum(table.entry_count for run in job.unsettled for table in run)
    statistics.bytes_in = sum(table.length for run in job.unsettled for table in run)
    newer, older = ([OlderRun(fs, job.directory, run) for run in runs] for runs in (job.unsettled, job.older))
    work = settling(newer, older)
    while True:
        try:
            next(work)
        except StopIteration as end:
            change: dict[int, int] = end.value
            return change
        checkpoint()


def settled_change(fs: FileSystem, job: CompactionJob, outputs: Run, checkpoint: Callable[[], None]) -> dict[int, int]:
    """The live keys of the result less those of its settled inputs.

    Tables tell how many puts they hold. That is the number of live keys in a single run with nothing beneath it; where
    several settled runs take part, or tables of an older format, their keys are read once more."""
    if not job.settles:
        return {}
    settled = job.inputs[len(job.inputs) - job.settled_inputs :] if job.settled_inputs else ()
    counted = _points_of(settled[0]) if len(settled) == 1 else {}
    if counted is None or len(settled) > 1:
        counted = {}
        for keys in live_keys([OlderRun(fs, job.directory, run) for run in settled], b"", KEYS_END):
            counted = add_counts(counted, count_by_namespace(without_pieces(keys)))
            checkpoint()
    return subtract_counts(_points_of(outputs) or {}, counted)


def _points_of(run: Run) -> dict[int, int] | None:
    """The puts of the run that count; None if a table does not tell."""
    total: dict[int, int] = {}
    for table in run:
        if table.points is None:
            return None
        total = add_counts(total, dict(table.points))
    return total
