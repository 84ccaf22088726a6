"""A version: which tables make up the database on disk, as of one moment. Immutable; replaced by one assignment.

Theory. Each shard is a list of runs, newest first. A run is a list of tables whose key ranges do not overlap,
in key order. Age is the order of the runs and the only order between versions of a key: newer runs hide older ones.
A finished job makes an edit: `with_flush` and `with_shard` give another version.

This module knows names and numbers only: it reads no file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from flin.engine.table.meta import TableMeta

Run: TypeAlias = tuple[TableMeta, ...]
"""Tables in key order, key ranges disjoint."""

ShardRuns: TypeAlias = tuple[Run, ...]
"""Newest first."""


@dataclass(frozen=True, slots=True)
class Version:
    shards: tuple[ShardRuns, ...]
    counts: dict[int, int] = field(default_factory=dict)  # namespace → live keys in the tables

    def files(self) -> set[str]:
        """The names of all files that hold a table of this version."""
        return {table.file for runs in self.shards for run in runs for table in run}


def with_flush(version: Version, tables: dict[int, Run], counts: dict[int, int]) -> Version:
    """The version after a flush: its tables become the newest run of their shards; counts change by what it
    resolved."""
    shards = tuple((tables[shard], *runs) if tables.get(shard) else runs for shard, runs in enumerate(version.shards))
    total = dict(version.counts)
    for namespace, change in counts.items():
        total[namespace] = total.get(namespace, 0) + change
    return Version(shards, {namespace: count for namespace, count in total.items() if count})


def with_shard(version: Version, shard: int, runs: ShardRuns) -> Version:
    """The version after a compaction: one shard has other runs; the live keys are the same."""
    shards = list(version.shards)
    shards[shard] = runs
    return Version(tuple(shards), version.counts)
