"""Fences: the keys that part a shard's bottom into ranges, so that it can be merged range by range. Pure arithmetic.

A fence is added where a range of the bottom has grown too large, and goes where two neighbours have become small. A
range is what a merge into the bottom rewrites at least.

Tables end at fences. Where a run is small its tables span several ranges, and if each run's ended at fences of its own
choice, hardly two tables of different runs would begin at the same key: the tables that overlap, directly or through
others, would be all of them, and no merge could take a part. So a run ends its tables at those fences whose checksums
stand out among their neighbours within a distance, the larger the smaller the run is. Runs of one size thus end at the
same fences, and each such fence of a smaller run is one of a larger run. It also spaces them well.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

from flin.engine.background.run_profile import RunProfiles
from flin.engine.catalog.version import Run, ShardRuns
from flin.engine.checksum import crc32
from flin.engine.table.meta import TableMeta


def cuts(fences: Sequence[bytes], start: bytes, stop: bytes, size_bytes: int, least_bytes: int) -> tuple[bytes, ...]:
    """The fences between start and stop at which tables end, so that they hold about least_bytes at least. All of them
    together hold size_bytes."""
    low, high = bisect_right(fences, start), bisect_left(fences, stop)
    if low == high or not size_bytes:
        return ()
    ranges_per_table = least_bytes * (high - low + 1) // size_bytes
    return tuple(fences[index] for index in range(low, high) if stands_out(fences, index, ranges_per_table))


def stands_out(fences: Sequence[bytes], index: int, distance: int) -> bool:
    """Whether no fence within the distance, on either side, has a larger checksum."""
    near = fences[max(0, index - distance) : index + distance + 1]
    return crc32(fences[index]) == max(map(crc32, near))


def parted(
    runs: ShardRuns, fences: tuple[bytes, ...], range_bytes: int, profiles: RunProfiles | None = None
) -> tuple[bytes, ...]:
    """The fences after an edit: no range holds more than range_bytes, nor do two neighbours hold less than a quarter of
    that together, as far as the tables of the largest run allow."""
    if not runs:
        return ()
    found = [(profiles or RunProfiles()).of(run, fences) for run in runs]
    sizes = list(map(sum, zip(*(profile.sizes for profile in found), strict=True)))
    if max(sizes) <= range_bytes and not _are_small(sizes, range_bytes // 4):
        return fences
    largest = max(found, key=lambda profile: profile.raw_bytes).run
    kept: list[bytes] = []
    held = sizes[0]
    for index, after in enumerate(sizes[1:]):
        if held + after < range_bytes // 4:
            held += after
            continue
        kept += _dividing(largest, kept, fences[index], held, range_bytes)
        kept.append(fences[index])
        held = after
    kept += _dividing(largest, kept, None, held, range_bytes)
    return tuple(kept)


def _are_small(sizes: list[int], least_bytes: int) -> bool:
    return any(one + other < least_bytes for one, other in pairwise(sizes))


def _dividing(run: Run, before: list[bytes], stop: bytes | None, size: int, range_bytes: int) -> list[bytes]:
    """Where to divide the range from the last of these fences to `stop`, which holds so many bytes, into equal parts of
    at least half of range_bytes: at the beginnings of tables of this run."""
    if size <= range_bytes:
        return []
    low = bisect_left(run, before[-1], key=_smallest) if before else 0
    high = len(run) if stop is None else bisect_left(run, stop, key=_smallest)
    tables = run[low:high]
    parts = 2 * size // range_bytes
    each = sum(table.raw_bytes for table in tables) / parts
    found: list[bytes] = []
    held = 0
    for left, right in pairwise(tables):
        held += left.raw_bytes
        if held + right.raw_bytes / 2 >= each * (len(found) + 1) and len(found) < parts - 1:
            found.append(right.smallest)
    return found


def _smallest(table: TableMeta) -> bytes:
    return table.smallest
