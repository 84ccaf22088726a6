"""The gate: of the jobs that run in threads of one process, the urgent one with the least work goes first.

Flushes never wait, since writers wait for them, nor do counts that somebody has asked for. Of two compactions that are
both urgent, or both not, the smaller one goes first: while a merge of everything takes minutes, the young runs above it
must still be merged among themselves. One that is not urgent gets no processor while others want it (helper.py): if an
urgent one waited for it, both would stand still on a busy machine.
"""

from __future__ import annotations

from threading import Condition, Event, Lock
from time import monotonic
from typing import Final, TypeAlias

from flin.engine.background.job import CountJob, FlushJob, Job, JobCancelled, JobResult, JobStarved
from flin.engine.background.job_handle import JobHandle
from flin.engine.background.job_run import run_job
from flin.engine.background.patience import Patience
from flin.engine.background.slices import Slices
from flin.engine.disk.fs import FileSystem
from flin.engine.reentry import holds_lock

_Rank: TypeAlias = tuple[bool, int, int]
"""Whether it can wait, its work, and its order of arrival."""

_NONE: Final = (False, 0, 0)


class JobGate:
    """Lets the job with the least work go first; the others wait at their checkpoints."""

    def __init__(self) -> None:
        self._changed = Condition(Lock())
        self._running: list[_Rank] = []
        self._first: _Rank = _NONE  # the lowest rank of the running jobs
        self._entered = 0

    @holds_lock
    def run(self, fs: FileSystem, handle: JobHandle, patience: Patience | None = None) -> JobResult:
        """Run the handle's job in this thread. JobStarved if its patience is over."""
        work = _work_of(handle.job)
        with self._changed:
            self._entered += 1
            rank = _can_wait(handle.job), work, self._entered
            self._running.append(rank)
            self._first = min(self._running)
        slices = Slices() if _has_time(handle.job) else None
        try:
            return run_job(fs, handle.job, lambda: self._pass(rank, handle, slices, patience), handle.note_progress)
        finally:
            with self._changed:
                self._running.remove(rank)
                self._first = min(self._running, default=_NONE)
                self._changed.notify_all()

    @holds_lock
    def wake(self, unless_half: bool = False) -> None:
        """Make the waiting jobs look whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()

    @holds_lock
    def _pass(self, rank: _Rank, handle: JobHandle, slices: Slices | None, patience: Patience | None) -> None:
        if rank[1] and self._first < rank:
            began = monotonic()
            with self._changed:
                self._changed.wait_for(lambda: self._first >= rank or handle.is_unwanted)
            if patience is not None:
                patience.note_wait(monotonic() - began)
        if handle.is_unwanted:
            raise JobCancelled
        if patience is not None and patience.is_over():
            raise JobStarved
        if slices is not None:
            slices.maybe_rest()


def _has_time(job: Job) -> bool:
    """Whether it rests between slices. A merge that is not urgent has the lowest priority instead (helper.py), and runs
    for minutes; a count that is not urgent is short."""
    return isinstance(job, FlushJob) and not job.urgent


def _can_wait(job: Job) -> bool:
    return not isinstance(job, FlushJob) and not job.urgent


def _work_of(job: Job) -> int:
    """The bytes that the job rewrites, or counts; 0 if it goes first."""
    if isinstance(job, FlushJob) or (isinstance(job, CountJob) and job.urgent):
        return 0
    runs = job.unsettled if isinstance(job, CountJob) else job.inputs
    return 1 + sum(table.length for run in runs for table in run)


def stop_if(cancelled: Event) -> None:
    """A job's checkpoint: raises JobCancelled once it is cancelled."""
    if cancelled.is_set():
        raise JobCancelled
