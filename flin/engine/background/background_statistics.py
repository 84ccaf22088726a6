"""Sums of what the background of an open engine has done."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class BackgroundStatistics:
    """Sums over the jobs of this open engine."""

    flushes: int = 0
    compactions: int = 0
    trivial_moves: int = 0
    failures: int = 0
    last_failure: str = ""
    flush_seconds: float = 0.0
    compaction_seconds: float = 0.0
    flushed_entries: int = 0
    flushed_bytes: int = 0
    compacted_entries: int = 0
    compacted_bytes: int = 0
    wal_bytes_flushed: int = 0
    swept: int = 0
    reasons: dict[str, int] = field(default_factory=dict)  # how many compactions had each reason
