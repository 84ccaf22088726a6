"""Sums of what the background of an open engine has done."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class BackgroundStatistics:
    """Sums over the jobs of this open engine."""

    flushes: int = 0
    condensed: int = 0  # flushes that read a condensed log
    compactions: int = 0
    trivial_moves: int = 0
    discarded: int = 0  # compactions whose work was thrown away
    starved: int = 0  # compactions that hardly got a processor, and began anew as urgent
    failures: int = 0
    last_failure: str = ""
    flush_seconds: float = 0.0
    compaction_seconds: float = 0.0
    flushed_entries: int = 0
    flushed_bytes: int = 0
    compacted_entries: int = 0
    compacted_bytes: int = 0
    wal_bytes_flushed: int = 0
    collected_bytes: int = 0
    swept: int = 0
    largest_job_bytes: int = 0  # read by one job
    longest_job_seconds: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)  # how many compactions had each reason

    def note_job(self, bytes_in: int, seconds: float) -> None:
        """A job has read so many bytes, and its caller has waited so long for it."""
        self.largest_job_bytes = max(self.largest_job_bytes, bytes_in)
        self.longest_job_seconds = max(self.longest_job_seconds, seconds)
