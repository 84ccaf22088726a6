"""The metadata of a table, in the manifest and in the table itself: where it lies, what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Points: TypeAlias = tuple[tuple[int, int], ...]
"""(namespace, puts that count there), ascending, without zeros."""


@dataclass(frozen=True, slots=True)
class TableMeta:
    """One table: a section of a file (a whole file below level 0). Ranges deleted count in smallest and largest."""

    file: str  # a bare file name: role, number and epoch (file_name.py)
    offset: int  # where the section begins in its file, bytes
    length: int
    entry_count: int  # points, tombstones included
    tombstones: int
    range_deletes: int
    expiring: int  # entries with an expiry
    smallest: bytes  # stored keys
    largest: bytes
    smallest_sequence: int
    largest_sequence: int
    raw_bytes: int  # keys and values before compression
    points: Points | None = None
    """Its puts that count (key.is_counted), by namespace: in a sorted run with nothing beneath, the number of live
    keys. None in a table that a Flin before format 3 wrote."""
