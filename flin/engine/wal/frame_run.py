"""Frames that a replica gets from the log of its group, back into writes."""

from __future__ import annotations

from flin.engine.entry import Entry, Range
from flin.engine.memtable import Memtable
from flin.engine.replication import FrameRun
from flin.engine.wal.frames import SegmentHeader
from flin.engine.wal.replay import replay
from flin.errors import CorruptionError


def decode_run(run: FrameRun, path: str = "the log") -> tuple[dict[bytes, Entry], tuple[Range, ...]]:
    """All its frames as one commit: points, and range deletes that are older than all of these. CorruptionError, with
    the `path` in its text, if it is not made of good frames alone; FormatVersionError if a newer Flin wrote it;
    EncryptionError if it is of an encrypted database."""
    header = SegmentHeader(b"", 0, run.salt, run.position, run.sequence, 0, 0, 0)
    memtable = Memtable()
    done = replay(run.data, header, path, memtable, start=0, end=len(run.data))
    if done.end != len(run.data):
        raise CorruptionError(path, done.end, done.stop_reason or "zeros where frames should be")
    if done.next_sequence != run.sequence + done.operations:
        raise CorruptionError(path, 0, f"its first frame does not begin at sequence {run.sequence}")
    return memtable.entries, memtable.ranges
