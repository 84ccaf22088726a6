"""Flushes and merges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flin.engine.background import (
    compaction,
    compactor,
    condensing,
    flush_lane,
    flushing,
    garbage,
    job,
    job_run,
    merging,
    picker,
    settling,
)
from flin.engine.background.run_writer import RunWriter
from flin.engine.catalog import version
from flin.engine.entry import TOMBSTONE
from flin.engine.read import merge
from flin.engine.tree import edits
from flin.engine.tree.store import Store
from flin.engine.wal import replay
from tests.engine.hunts import layered_workloads, random_workloads, running_workloads, short_workloads
from tests.engine.mutants.mutant import Patch, caught_by


@caught_by(short_workloads)
def seal_forgets_recovered_segments(patch: Patch) -> None:
    """a flush holds all commits of the segments that it frees"""

    def seal(self: Any) -> bool:
        self._generation.recovered_segments = ()
        return original(self)

    original = Store._seal
    patch.setattr(Store, "_seal", seal)


@caught_by(random_workloads)
def flush_misses_its_last_segment(patch: Patch) -> None:
    """a flush holds all of its generation's segments"""
    _change_segments(patch, lambda segments: segments[:-1] or segments)


@caught_by(random_workloads)
def segments_flushed_in_the_wrong_order(patch: Patch) -> None:
    """the later of two commits wins, also in tables"""
    _change_segments(patch, lambda segments: segments[::-1])


def _change_segments(patch: Patch, change: Callable[[Any], Any]) -> None:
    def flush_job(directory: str, number: int, epoch: int, shards: int, segments: Any, *rest: Any) -> Any:
        return job.FlushJob(directory, number, epoch, shards, change(segments), *rest)

    patch.setattr(flush_lane, "FlushJob", flush_job)


@caught_by(running_workloads)
def condensed_log_without_deletes(patch: Patch) -> None:
    """a condensed log holds all entries of its generation"""

    def entries(generation: Any) -> Any:
        for each in original(generation):
            yield {key: entry for key, entry in each.items() if entry is not TOMBSTONE}

    original = condensing._entries
    patch.setattr(condensing, "_entries", entries)


@caught_by(random_workloads)
def condensed_logs_stay(patch: Patch) -> None:
    """a condensed log goes when its flush has ended"""
    patch.setattr(condensing.Condenser, "remove", lambda *_: None)


@caught_by(running_workloads)
def range_deletes_are_condensed_away(patch: Patch) -> None:
    """a generation with range deletes is flushed from its segments"""

    def is_condensable(generation: Any) -> bool:
        entries = sum(memtable.size for layer in generation.memtables for memtable in layer)
        return bool(0 < condensing.LEAST_WRITES * entries <= generation.operations)

    patch.setattr(flush_lane, "is_condensable", is_condensable)


@caught_by(layered_workloads)
def condensed_log_newest_first(patch: Patch) -> None:
    """the later of two commits wins, also in a condensed log"""

    def entries(generation: Any) -> Any:
        return reversed(list(original(generation)))

    original = condensing._entries
    patch.setattr(condensing, "_entries", entries)


@caught_by(short_workloads)
def flush_leaves_keys_out(patch: Patch) -> None:
    """a flush writes every key of its generation"""
    original = flushing._split
    patch.setattr(flushing, "_split", lambda part, shards: [keys[:1] for keys in original(part, shards)])


@caught_by(running_workloads)
def flush_goes_below_older_runs(patch: Patch) -> None:
    """newer runs hide older ones"""

    def with_flush(version: Any, tables: Any, *rest: Any) -> Any:
        flushed = original(version, tables, *rest)
        shards = [runs[1:] + runs[:1] if tables.get(shard) else runs for shard, runs in enumerate(flushed.shards)]
        return replace(flushed, shards=tuple(shards))

    original = version.with_flush
    patch.setattr(edits, "with_flush", with_flush)


@caught_by(running_workloads)
def tombstone_dropped_by_a_flush(patch: Patch) -> None:
    """a tombstone stays while it hides something older"""

    def drop(memtable: Any, keys: list[bytes]) -> list[bytes]:
        return [key for key in keys if memtable.entries[key] is not TOMBSTONE]

    patch.setattr(flushing, "_without_covered", drop)


@caught_by(layered_workloads)
def tombstone_dropped_by_a_partial_merge(patch: Patch) -> None:
    """only a merge with nothing below it drops tombstones"""

    def plan(*rest: Any, **named: Any) -> Any:
        found = original(*rest, **named)
        return found and replace(found, bottom=True)

    original = compaction.plan
    patch.setattr(picker, "plan", plan)


@caught_by(running_workloads)
def range_delete_dropped_by_a_flush(patch: Patch) -> None:
    """a range delete stays while it hides something older"""

    def load_segment(fs: Any, directory: Any, piece: Any, memtable: Any, *rest: Any) -> Any:
        done = original(fs, directory, piece, memtable, *rest)
        memtable.deleted = []
        return done

    original = replay.load_segment
    patch.setattr(flushing, "load_segment", load_segment)


@caught_by(layered_workloads)
def range_delete_dropped_by_a_partial_merge(patch: Patch) -> None:
    """only a merge with nothing below it drops range deletes"""
    original = RunWriter

    def run_writer(outputs: Any, options: Any, sequences: Any, _: Any, **rest: Any) -> Any:
        return original(outputs, options, sequences, (), **rest)

    patch.setattr(merging, "RunWriter", run_writer)


@caught_by(layered_workloads)
def expired_entry_dropped_by_a_flush(patch: Patch) -> None:
    """an expired entry hides what is older until its sweep"""

    now_ms = 0

    def flush(fs: Any, job: Any, *rest: Any) -> Any:
        nonlocal now_ms
        now_ms = job.now_ms
        return original(fs, job, *rest)

    def drop(memtable: Any, keys: list[bytes]) -> list[bytes]:
        entries = memtable.entries
        kept = without_covered(memtable, keys)
        return [key for key in kept if type(entries[key]) is not tuple or not 0 < entries[key][1] <= now_ms]

    original, without_covered = flushing.flush, flushing._without_covered
    patch.setattr(job_run, "flush", flush)
    patch.setattr(flushing, "_without_covered", drop)


@caught_by(running_workloads)
def expiry_lost_by_a_flush(patch: Patch) -> None:
    """expired keys do not come back"""

    def drop_garbage(page: Any, *rest: Any, **named: Any) -> Any:
        keys, entries = page
        plain = [entry[0] if type(entry) is tuple else entry for entry in entries]
        return original((keys, plain), *rest, **named)

    original = garbage.drop_garbage
    _patch_garbage(patch, drop_garbage)


@caught_by(layered_workloads)
def merge_goes_below_older_runs(patch: Patch) -> None:
    """the result of a merge stays above older runs"""

    def install(runs: Any, done: Any, outputs: Any, unsettled: int) -> Any:
        installed, unsettled = original(runs, done, outputs, unsettled)
        start = next(index for index, run in enumerate(runs) if run[:1] == done.runs[0][:1])
        changed = installed[:start] + installed[start + 1 :] + installed[start : start + 1] if outputs else installed
        return changed, unsettled

    original = compaction.install
    patch.setattr(compactor, "install", install)


@caught_by(running_workloads)
def value_emptied_before_it_expires(patch: Patch) -> None:
    """a job drops only values that have expired"""
    original = garbage.drop_garbage
    _patch_garbage(patch, lambda page, bottom, now_ms: original(page, bottom, now_ms + 3_600_000))


@caught_by(layered_workloads)
def emptied_entry_keeps_its_expiry(patch: Patch) -> None:
    """an entry whose value a job dropped is expired, whatever the clock says"""

    def drop_garbage(page: Any, bottom: bool, now_ms: int) -> Any:
        keys, entries = original(page, bottom, now_ms)
        before = dict(zip(*page, strict=True))
        kept = [_with_expiry_of(before[key], entry) for key, entry in zip(keys, entries, strict=True)]
        return keys, kept

    original = garbage.drop_garbage
    _patch_garbage(patch, drop_garbage)


def _patch_garbage(patch: Patch, drop_garbage: Any) -> None:
    for module in (flushing, merging):
        patch.setattr(module, "drop_garbage", drop_garbage)


def _with_expiry_of(before: Any, entry: Any) -> Any:
    return (entry[0], before[1], entry[2]) if type(entry) is tuple else entry


@caught_by(running_workloads)
def older_entry_wins_a_merge(patch: Patch) -> None:
    """the newest of several entries of a key wins"""
    original = merge._join
    patch.setattr(merge, "_join", lambda slices: original(slices[::-1]))


@caught_by(short_workloads)
def flush_that_overlaps_settles(patch: Patch) -> None:
    """the number of keys is exact: a flushed run over others is not settled"""
    patch.setattr(version, "_meets", lambda runs, table: False)


@caught_by(short_workloads)
def merge_forgets_what_was_counted(patch: Patch) -> None:
    """a merge that settles takes its settled inputs off the number of keys"""
    patch.setattr(settling, "subtract_counts", lambda left, right: left)


@caught_by(layered_workloads)
def compaction_of_a_range_leaves_out_the_oldest_run(patch: Patch) -> None:
    """a merge drops tombstones only if it takes all runs of its range"""

    def pick_full(self: Any, start: bytes, stop: bytes | None, *rest: Any) -> Any:
        if stop is None or len(self._runs) < 3:
            return original(self, start, stop, *rest)
        count = len(self._runs) - 1
        chosen = compaction.gather(self._runs, 0, count, start, stop, compaction.END << 32, (), self._ends) or []
        if len(chosen) < 2:
            return None
        partial: Any = compaction.plan(self._shard, 0, count, chosen, "asked for")
        return replace(partial, bottom=True)

    original = picker._Choice.pick_full
    patch.setattr(picker._Choice, "pick_full", pick_full)
