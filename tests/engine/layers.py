"""States made of layers: memtables of memtables above runs of tables in memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from flin.engine.boundaries import boundaries_of, cut_boundaries, ranges_of
from flin.engine.catalog.generation import RetiredGeneration
from flin.engine.catalog.version import Version
from flin.engine.entry import Range
from flin.engine.key import KEYS_END
from flin.engine.memtable import Memtable
from flin.engine.read.read_state import ReadState, TableRun
from flin.engine.sstable import TableOptions
from flin.engine.table.block_cache import BlockCache
from tests.engine.table_file import open_table, write_table

OPTIONS = st.builds(
    TableOptions, block_size_bytes=st.sampled_from([1, 60, 4096]), codec=st.sampled_from(["none", "zstd"])
)


def run_of(
    points: dict[bytes, Any], cuts: list[bytes], options: TableOptions, cache: BlockCache, ranges: Sequence[Range] = ()
) -> TableRun:
    tables = []
    bounds = [b"", *sorted(set(cuts)), KEYS_END]
    for low, high in pairwise(bounds):
        inside = {key: entry for key, entry in points.items() if low <= key < high}
        pieces = ranges_of(cut_boundaries(boundaries_of(ranges), low, high))
        if inside or pieces:
            tables.append(open_table(*write_table(inside, options, ranges=pieces), cache))
    return TableRun(tables)


def memtable_of(layer: tuple[dict[bytes, Any], list[Range]]) -> Memtable:
    return Memtable(dict(layer[0]), boundaries_of(layer[1]))


def state_of(
    active: Memtable, memtables: list[Memtable], runs: list[TableRun], retired: Sequence[Memtable] = ()
) -> ReadState:
    generations = tuple(RetiredGeneration(((memtable,),), 0) for memtable in retired)
    frozen, none = (tuple(memtables),), Version(((),))
    return ReadState((active,), frozen, (), (tuple(runs),), none, 0, retired=generations)
