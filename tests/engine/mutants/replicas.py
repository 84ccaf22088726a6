"""What replicas rely on: the log is ahead of the tables, and only the tables are believed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from flin.engine.catalog.recovery import recover
from flin.engine.entry import Entry
from flin.engine.replication import FrameQueue, FrameRun
from flin.engine.tree import opening
from flin.engine.tree.commits import Commits
from flin.engine.wal.teed_writer import TeedWalWriter
from flin.testing.memory_log import INDEX, MemoryReplication
from tests.engine.hunts import replicated_workloads
from tests.engine.mutants.mutant import Patch, caught_by


@caught_by(replicated_workloads)
def last_words_say_too_much(patch: Patch) -> None:
    """the last words of a generation tell at most what its tables hold of the log"""

    def last_words(self: MemoryReplication) -> Mapping[bytes, Entry]:
        return {INDEX: b"%d" % (self.applied + 1)}

    patch.setattr(MemoryReplication, "last_words", last_words)


@caught_by(replicated_workloads)
def flush_does_not_wait_for_the_log(patch: Patch) -> None:
    """no table of a replica is ahead of its log"""
    original = Commits.sync

    def sync(self: Any, position: int | None = None) -> None:
        if sys._getframe(1).f_code.co_name not in ("install_flush", "_finish"):
            original(self, position)

    patch.setattr(Commits, "sync", sync)


@caught_by(replicated_workloads)
def value_files_of_replicas_are_not_synced(patch: Patch) -> None:
    """a replica's segments that become value files are synced before the manifest names them"""
    patch.setattr(TeedWalWriter, "sync_ended", lambda *_: None)


@caught_by(replicated_workloads)
def segments_are_let_go_before_they_are_synced(patch: Patch) -> None:
    """a replica's segments stay open until the flush counts that frees them"""
    original = TeedWalWriter.sync_ended

    def sync_ended(self: TeedWalWriter, names: Any) -> None:
        self.let_go(names)
        original(self, names)

    patch.setattr(TeedWalWriter, "sync_ended", sync_ended)


@caught_by(replicated_workloads)
def replicas_replay_their_wal(patch: Patch) -> None:
    """what a replica's write-ahead log holds counts only if its log says so"""

    def replaced(before: Any, *, wal_floor: int = 0, **changes: Any) -> Any:  # what was replayed stays
        return replace(before, **changes)

    patch.setattr(opening, "without_wal", partial(recover, generation_bytes=1 << 20))
    patch.setattr(opening, "replace", replaced)


@caught_by(replicated_workloads)
def refused_frames_go_into_the_log(patch: Patch) -> None:
    """a frame whose write failed never gets into the log"""

    def take(self: FrameQueue) -> list[FrameRun]:
        runs = []
        while self._frames:
            salt, position, sequence, frame = self._frames.popleft()
            runs.append(FrameRun(salt, position, sequence, bytes(frame)))
        return runs

    patch.setattr(FrameQueue, "take", take)


@caught_by(replicated_workloads)
def replicas_are_marked_too_late(patch: Patch) -> None:
    """a replica is marked, durably, before anything of a database is in its directory"""
    mark, link = opening._mark_replica, opening._link_to_kept

    def mark_and_link(options: Any, directory: str, *rest: Any) -> Any:
        if options.replication is not None:
            mark(options.fs, directory)
        return link(options, directory, *rest)

    patch.setattr(opening, "_mark_replica", lambda *_: None)
    patch.setattr(opening, "_link_to_kept", mark_and_link)
