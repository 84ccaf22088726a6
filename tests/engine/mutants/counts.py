"""The number of keys: settled by merges, or when asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flin.engine.background import compactor
from flin.engine.background.job import CompactionJob
from flin.engine.catalog import version as versions
from flin.engine.read import live_count
from flin.engine.read.live_count import LiveCount
from tests.engine.hunts import ranged_workloads, short_workloads
from tests.engine.mutants.mutant import Patch, caught_by


@caught_by(ranged_workloads)
def count_is_settled_twice(patch: Patch) -> None:
    """the edit that writes a count down says which runs it settles"""

    def settled(self: Any, version: Any) -> Any:
        return replace(original(self, version), unsettled=version.unsettled)

    original = LiveCount.settled  # not the edit alone: then no merge would fit the version that it was planned for
    patch.setattr(LiveCount, "settled", settled)


@caught_by(ranged_workloads)
def count_is_lost_by_its_edit(patch: Patch) -> None:
    """runs are settled together with their count"""

    def settled(self: Any, version: Any) -> Any:
        return replace(original(self, version), counts=version.counts)

    original = LiveCount.settled
    patch.setattr(LiveCount, "settled", settled)


@caught_by(ranged_workloads)
def count_of_mixed_runs_is_written_down(patch: Patch) -> None:
    """a count on demand holds for the runs that it has seen, not for those that were merged with newer ones"""

    def newer_runs(version: Any, sequence: int) -> Any:
        return tuple(
            sum(all(table.smallest_sequence > sequence for table in run) for run in runs) for runs in version.shards
        )

    patch.setattr(live_count, "newer_runs", newer_runs)


@caught_by(ranged_workloads)
def merge_settles_without_its_count(patch: Patch) -> None:
    """a merge that settles changes the number of keys by what it found"""
    patch.setattr(compactor, "changes_count", lambda *_: False)


@caught_by(ranged_workloads)
def merge_counts_settled_inputs_again(patch: Patch) -> None:
    """the keys of settled inputs were counted before"""
    original = CompactionJob

    def job(*arguments: Any) -> Any:
        return replace(original(*arguments), settled_inputs=0)

    patch.setattr(compactor, "CompactionJob", job)


@caught_by(ranged_workloads)
def moved_tables_settle_uncounted(patch: Patch) -> None:
    """a table that moves into the settled run brings its keys along"""

    def after(self: Any, version: Any, compaction: Any, outputs: Any, counts: Any) -> Any:
        return original(self, version, replace(compaction, counted_moves=()), outputs, counts)

    original = compactor.Compactor._after
    patch.setattr(compactor.Compactor, "_after", after)


@caught_by(short_workloads)
def flush_takes_all_keys_for_new(patch: Patch) -> None:
    """a flushed run is settled only if none of its keys can be there already"""
    patch.setattr(versions, "_meets", lambda *_: False)
