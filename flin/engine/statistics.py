"""The figures of `Engine.stats()`. They are collected without a lock, so they are only approximate under load."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flin.engine.background.background_statistics import BackgroundStatistics
from flin.engine.background.compactor import Compactor
from flin.engine.background.counter import Counter
from flin.engine.background.runner import Runner
from flin.engine.catalog.version import Version
from flin.engine.eviction.evictor import NO_EVICTION, Evictor
from flin.engine.tree.store import Store
from flin.errors import StorageError


def engine_statistics(
    store: Store, compactor: Compactor, runner: Runner, evictor: Evictor | None = None
) -> dict[str, Any]:
    """The figures, nested by subject; sizes in bytes, times in seconds. docs/stats.md explains each."""
    state = store.state
    done = compactor.statistics
    written = done.flushed_bytes + done.compacted_bytes
    keys_rewritten = done.flushed_entries + done.compacted_entries
    return {
        "path": store.directory,
        "sync": store.options.sync,
        "epoch": store.manifest.epoch,
        "shards": len(state.active),
        "read_only_reason": store.read_only_reason,
        "wal": {
            "position": store.position,
            "synced_position": store.synced_position,
            "replayed_operations": store.recovery.operations,
            "torn": store.recovery.torn,
        },
        "memtables": {
            "open_bytes": store.open_bytes(),
            "open_entries": sum(len(memtable.entries) for memtable in state.active),
            "frozen_memtables": sum(map(len, state.frozen)),
            "sealed_generations": len(state.sealed),
            "retired_generations": len(state.retired),
            "retired_bytes": state.retired_bytes,
            "generation_limit_bytes": store.options.budget.generation,
        },
        "tables": _table_statistics(state.version) | {"memory_bytes": store.tables.memory_bytes()},
        "value_files": _value_statistics(state.version),
        "disk": {
            "free_bytes": _free_bytes(store),
            "wal_bytes": store.position - store.manifest.wal_position,
            "obsolete_files": store.tables.obsolete_files,
        },
        "flush": _flush_statistics(done),
        "compaction": {
            "jobs": done.compactions,
            "trivial_moves": done.trivial_moves,
            "discarded": done.discarded,
            "starved": done.starved,
            "cpu_seconds": done.compaction_seconds,
            "bytes_written": done.compacted_bytes,
            "collected_bytes": done.collected_bytes,
            "reasons": dict(done.reasons),
        },
        "count": _count_statistics(store, compactor.counter),
        "background": {
            "failures": done.failures,
            "last_failure": done.last_failure,
            "swept_keys": done.swept,
            "helper_pids": runner.pids,
            "runner": asdict(runner.statistics),
            "microseconds_per_key": (
                1e6 * (done.flush_seconds + done.compaction_seconds) / keys_rewritten if keys_rewritten else 0.0
            ),
            "largest_job_bytes": done.largest_job_bytes,
            "longest_job_seconds": done.longest_job_seconds,
            # Bytes written to tables per byte that left the WAL.
            "write_amplification": written / done.wal_bytes_flushed if done.wal_bytes_flushed else 0.0,
        },
        "stall": asdict(store.stall()) | {"waits": store.stall_waits, "seconds": store.stall_seconds},
        "eviction": NO_EVICTION if evictor is None else evictor.statistics(),
        "block_cache": store.tables.block_cache.statistics(),
        "value_cache": store.value_cache.statistics(),
    }


def _flush_statistics(done: BackgroundStatistics) -> dict[str, Any]:
    return {
        "jobs": done.flushes,
        "condensed": done.condensed,
        "cpu_seconds": done.flush_seconds,
        "bytes_written": done.flushed_bytes,
    }


def _count_statistics(store: Store, counter: Counter) -> dict[str, Any]:
    return {
        "unsettled_runs": sum(store.state.version.unsettled),
        "unsettled_entries": store.unsettled_entries(),
        "jobs": counter.jobs,
        "cpu_seconds": counter.cpu_seconds,
        "entries": counter.entries,
    }


def _free_bytes(store: Store) -> int:
    try:
        return store.options.fs.free_bytes(store.directory)
    except OSError as error:
        raise StorageError("ask for the free space of", store.directory, error) from error


def _value_statistics(version: Version) -> dict[str, Any]:
    size = sum(each.length for each in version.value_files)
    live = sum(each.live_bytes for each in version.value_files)
    return {
        "files": len(version.value_files),
        "bytes": size,
        "live_bytes": live,
        "live_share": live / size if size else 1.0,
    }


def _table_statistics(version: Version) -> dict[str, Any]:
    tables = [table for runs in version.shards for run in runs for table in run]
    return {
        "files": len({table.file for table in tables}),
        "tables": len(tables),
        "runs": max(map(len, version.shards)),
        "bytes": sum(table.length for table in tables),
        "raw_bytes": sum(table.raw_bytes for table in tables),
        "entries": sum(table.entry_count for table in tables),
        "tombstones": sum(table.tombstones for table in tables),
        "live_keys": dict(version.counts),
    }
