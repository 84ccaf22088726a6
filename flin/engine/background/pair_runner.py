"""The runner of two helper processes, one for flushes, one for compactions; small jobs run in the caller's thread."""

from __future__ import annotations

from typing import Final

from flin.engine.background.helper_runner import HelperRunner
from flin.engine.background.inline_runner import InlineRunner
from flin.engine.background.job import CountJob, FlushJob, Job, JobResult
from flin.engine.background.job_handle import JobHandle, RunnerStatistics
from flin.engine.disk.fs import FileSystem

SMALL_JOB_BYTES: Final = 1 << 20
"""A job that reads less is done in the caller's thread (10 ms): starting a helper costs 200 ms of processor time."""


def bytes_of(job: Job) -> int:
    """How many bytes a job must read: of the WAL, or of tables."""
    if isinstance(job, FlushJob):
        return sum(segment.end - segment.start for segment in job.segments)
    runs = job.unsettled if isinstance(job, CountJob) else job.inputs  # the older ones it reads in places
    return sum(table.length for run in runs for table in run)


class PairRunner:
    """Two helper processes, started when they are needed: one for flushes, one for compactions.

    In one process a flush and a compaction take turns; while writers keep flushes coming, compactions starve, and the
    runs pile up. Two processes share the cores by the kernel's rules and
    their priorities. A million puts of 100 B in random order, until compaction was done, on two cores: 64,000/s with
    one, 104,000/s with two, which cost 20 MB more."""

    def __init__(self, fs: FileSystem, *, small_bytes: int = 0) -> None:
        self.flushes: Final = HelperRunner(fs)
        self.compactions: Final = HelperRunner(fs)
        self._small_bytes = small_bytes
        self._small: Final = InlineRunner(fs)

    @property
    def statistics(self) -> RunnerStatistics:
        """The figures of both helpers, and of the jobs done here."""
        one, other, small = self.flushes.statistics, self.compactions.statistics, self._small.statistics
        return RunnerStatistics(
            one.jobs + other.jobs + small.jobs,
            one.failures + other.failures + small.failures,
            one.cpu_seconds + other.cpu_seconds + small.cpu_seconds,
            one.starts + other.starts,
            one.deaths + other.deaths,
            one.fallback_reason or other.fallback_reason,
        )

    @property
    def pids(self) -> list[int]:
        return [*self.flushes.pids, *self.compactions.pids]

    def prepare(self, flush_bytes: int) -> None:
        if flush_bytes >= self._small_bytes:
            self.flushes.prepare(flush_bytes)

    def runs_apart(self, flush_bytes: int) -> bool:
        return flush_bytes >= self._small_bytes

    def submit(self, job: Job) -> JobHandle:
        if bytes_of(job) < self._small_bytes:
            return self._small.submit(job)
        return (self.flushes if isinstance(job, FlushJob) else self.compactions).submit(job)

    def run(self, job: Job) -> JobResult:
        return self.submit(job).result()

    def close(self) -> None:
        self._small.close()
        self.flushes.close()
        self.compactions.close()
