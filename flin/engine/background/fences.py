"""Fences: the keys that part a shard's bottom into ranges, so that it can be merged range by range. Pure arithmetic.

A fence is added where a range of the bottom has grown too large, and goes where two neighbours have become small. A
range is what a merge into the bottom rewrites at least.

Tables end at fences. Where a run is small its tables span several ranges, and if each run's ended at fences of its own
choice, hardly two tables of different runs would begin at the same key: the tables that overlap, directly or through
others, would be all of them, and no merge could take a part. So fences have ranks, as the nodes of a skip list: half
of them have rank 0, a quarter rank 1. A run ends its tables at fences of at least that rank which leaves them large
enough. Runs of one size thus end at the same fences, and each fence of a smaller run is one of a larger run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

from flin.engine.catalog.version import Run, ShardRuns
from flin.engine.checksum import crc32


def bytes_by_range(run: Run, fences: Sequence[bytes]) -> list[int]:
    """The run's bytes in each range, before compression. A table that spans several counts in all of them evenly; one
    without entries (range deletes alone) as one byte."""
    sizes = [0] * (len(fences) + 1)
    if not fences:
        sizes[0] = sum(table.raw_bytes or 1 for table in run)
        return sizes
    for table in run:
        first, last = bisect_right(fences, table.smallest), bisect_right(fences, table.largest)
        share = table.raw_bytes // (last - first + 1) or 1
        for index in range(first, last + 1):
            sizes[index] += share
    return sizes


def rank(fence: bytes) -> int:
    """How many times a coin shows heads before tails; the same for the same fence."""
    number = crc32(fence) | 1 << 32
    return (number & -number).bit_length() - 1


def cuts(fences: Sequence[bytes], start: bytes, stop: bytes, size_bytes: int, least_bytes: int) -> tuple[bytes, ...]:
    """The fences between start and stop at which tables end, so that they hold about least_bytes at least. All of them
    together hold size_bytes."""
    inside = fences[bisect_right(fences, start) : bisect_left(fences, stop)]
    if not inside or not size_bytes:
        return ()
    ranges_per_table = least_bytes * (len(inside) + 1) // size_bytes
    least_rank = ranges_per_table.bit_length()
    return tuple(fence for fence in inside if rank(fence) >= least_rank)


def parted(runs: ShardRuns, fences: tuple[bytes, ...], range_bytes: int) -> tuple[bytes, ...]:
    """The fences after an edit: none of the bottom's ranges is much larger than range_bytes, nor are two neighbours
    together smaller than a quarter of it, as far as the bottom's tables allow."""
    if not runs:
        return ()
    bottom = runs[-1]
    kept = _joined(runs, fences, range_bytes // 4)
    added: list[bytes] = []
    for index, size in enumerate(bytes_by_range(bottom, kept)):
        if size > range_bytes:
            after = kept[index] if index < len(kept) else None
            tables = bottom[_first_table(bottom, kept[index - 1]) if index else 0 :]
            tables = tables if after is None else tables[: _first_table(tables, after)]
            added += _dividing(tables, size, range_bytes)
    return tuple(sorted({*kept, *added})) if added else kept


def _first_table(run: Run, key: bytes) -> int:
    return bisect_left(run, key, key=lambda table: table.smallest)


def _dividing(tables: Run, size: int, range_bytes: int) -> list[bytes]:
    """Where to divide tables that hold so many bytes into equal parts of at least half of range_bytes."""
    each = size / (2 * size // range_bytes)
    found: list[bytes] = []
    held = 0
    for left, right in pairwise(tables):
        held += left.raw_bytes
        if held + right.raw_bytes / 2 >= each * (len(found) + 1) and size - held >= each / 2:
            found.append(right.smallest)
    return found


def _joined(runs: ShardRuns, fences: tuple[bytes, ...], least_bytes: int) -> tuple[bytes, ...]:
    """The fences without those whose two ranges are small."""
    if not fences:
        return fences
    sizes = list(map(sum, zip(*(bytes_by_range(run, fences) for run in runs), strict=True)))
    kept: list[bytes] = []
    before = sizes[0]
    for fence, size in zip(fences, sizes[1:], strict=True):
        if before + size < least_bytes:
            before += size
        else:
            kept.append(fence)
            before = size
    return tuple(kept) if len(kept) < len(fences) else fences
