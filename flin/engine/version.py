"""A version: which tables make up the database on disk, as of one moment. Immutable; replaced by one assignment.

Theory. Each shard is a list of runs, newest first. A run is a list of tables whose key ranges do not overlap,
in key order. Age is the order of the runs and the only order between versions of a key: newer runs hide older ones.
A version edit says what a finished job changes; `apply` is pure and refuses what would break the order of ages.

This module knows names and numbers only: it reads no file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class TableMeta:
    """One table: a section of a file (a whole file below level 0). Ranges deleted count in smallest and largest."""

    file: str  # a bare file name: role, number and epoch (file_name.py)
    offset: int  # of the section in its file, bytes
    length: int
    entries: int  # points, tombstones included
    tombstones: int
    range_deletes: int
    expiring: int  # entries with an expiry
    smallest: bytes  # stored keys
    largest: bytes
    smallest_sequence: int
    largest_sequence: int
    raw_bytes: int  # keys and values before compression


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
    """A flush's tables become the newest run of their shards; counts change by what it settled."""
    shards = tuple((tables[shard], *runs) if tables.get(shard) else runs for shard, runs in enumerate(version.shards))
    total = dict(version.counts)
    for namespace, change in counts.items():
        total[namespace] = total.get(namespace, 0) + change
    return Version(shards, {namespace: count for namespace, count in total.items() if count})


def with_shard(version: Version, shard: int, runs: ShardRuns) -> Version:
    """A compaction's edit: one shard's runs are others now; the live keys are the same."""
    shards = list(version.shards)
    shards[shard] = runs
    return Version(tuple(shards), version.counts)
