"""Entries of a group's log, in order, back into commits. Whoever has the store makes them.

A commit is made of each whole entry, or of several that have come together. Range deletes come before points, as in a
commit of the engine. What other replicas note of themselves in their frames is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from flin.cluster.log.leader import INDEX_KEY, decode_index
from flin.cluster.log.log_entry import MAX_ENTRY_BYTES, Assembler
from flin.cluster.log.replicated_log import Numbered, ReplicatedLog
from flin.engine.entry import Entry, Range
from flin.engine.read.read_path import below_memtables
from flin.engine.replication import FrameRun
from flin.engine.tree.store import Store
from flin.engine.wal.frame_run import decode_run
from flin.errors import CorruptionError


class LoggedCommit(NamedTuple):
    """What whole entries commit. `points` and `ranges` may be empty."""

    number: int
    """That of the last entry: with it, all entries up to this number are applied."""
    epoch: int
    clock_ms: int
    points: dict[bytes, Entry]
    ranges: tuple[Range, ...]
    size: int
    """Bytes of the log: of these entries, and of all parts of a cut frame."""


class Follower:
    """How far a replica has read the log."""

    def __init__(self, log: ReplicatedLog, index: int) -> None:
        """`index`: the number of the last entry that the replica's tables hold."""
        self.next_number = index + 1
        self._log = log
        self._assembler = Assembler()
        self._size = 0  # of what was read since the last commit

    @property
    def epoch(self) -> int:
        """That of the newest entry that was read; 0: of none yet."""
        return self._assembler.epoch

    def take(self, numbered: Numbered) -> LoggedCommit | None:
        """The commit that this entry is, or ends; None if its frame goes on. CorruptionError if it is not the next, or
        is not what a leader puts after those before it; FormatVersionError if a newer Flin has put it."""
        number, entry = numbered
        path = self._log.path_of(number)
        if number != self.next_number:
            raise CorruptionError(path, 0, f"it came where entry {self.next_number} should")
        whole = self._assembler.add(entry, path)
        self.next_number = number + 1
        self._size += len(entry.data)
        if whole is None:
            return None
        points, ranges = decode_run(FrameRun(whole.salt, whole.position, whole.sequence, whole.data), path)
        points.pop(INDEX_KEY, None)
        size, self._size = self._size, 0
        return LoggedCommit(number, whole.epoch, whole.clock_ms, points, ranges, size)

    def take_all(self, entries: Iterable[Numbered]) -> list[LoggedCommit]:
        """The commits of entries that have come together: as few as can be, of as much as one entry may have.

        Range deletes begin a commit, since in one they are older than all of its points."""
        commits: list[LoggedCommit] = []
        for numbered in entries:
            commit = self.take(numbered)
            if commit is None:
                continue
            if commits and not commit.ranges and commits[-1].size + commit.size <= MAX_ENTRY_BYTES:
                before = commits.pop()
                before.points.update(commit.points)
                commit = commit._replace(points=before.points, ranges=before.ranges, size=before.size + commit.size)
            commits.append(commit)
        return commits


def index_in_tables(store: Store) -> int:
    """The number of the last entry that the tables hold for certain: what a reopening begins after. May read a block
    from the disk."""
    state = store.state
    return decode_index(below_memtables(state, state.shard_of(INDEX_KEY), INDEX_KEY, store.value_cache))
