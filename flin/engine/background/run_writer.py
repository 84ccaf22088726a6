"""The run writer: ascending pages and range deletes in, a run of tables out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeAlias

from flin.engine.background.job_files import Outputs
from flin.engine.boundaries import Boundaries, cut_boundaries, ranges_of
from flin.engine.catalog.version import Run
from flin.engine.entry import Entry
from flin.engine.key import KEYS_END
from flin.engine.sstable import TableOptions, TableWriter
from flin.engine.table.meta import TableMeta

Sequences: TypeAlias = Callable[[bytes, bytes], tuple[int, int]]
"""The smallest and the largest sequence of what the inputs hold from a key to before another."""


class RunWriter:
    """Writes ascending pages as tables of about the target size that share no key, range deletes included.

    Where a table ends because it is full, its range deletes end at its last key, which needs no cover (a point hides
    older entries by itself), and those of the next table begin just after that key."""

    def __init__(
        self,
        outputs: Outputs,
        options: TableOptions,
        sequences: Sequences,
        deleted: Boundaries,
        *,
        target_table_bytes: int,
        output_boundaries: Sequence[bytes],
        fences: Sequence[bytes] = (),
    ) -> None:
        self._outputs = outputs
        self._options = options
        self._sequences = sequences
        self._target = target_table_bytes
        # Within a range delete no table ends at a fence: its range would end, and the next begin, at the same key.
        usable = [fence for fence in fences if not bisect_left(deleted, fence) & 1]
        self._output_boundaries = sorted({*output_boundaries, *usable}, reverse=True)  # the next one last
        self._part_begins = b""  # the boundary before; no table spans one
        self._deleted = deleted
        self._ranges_from = b""  # ranges below are written
        self._writer: TableWriter | None = None
        self._tables: list[TableMeta] = []

    def add(self, keys: list[bytes], entries: list[Entry]) -> None:
        while self._output_boundaries and self._output_boundaries[-1] <= keys[-1]:
            cut = self._output_boundaries[-1]
            at = bisect_left(keys, cut)
            if at:
                self._write(keys[:at], entries[:at])
                keys, entries = keys[at:], entries[at:]
            self._end_part()
        self._write(keys, entries)

    def finish(self) -> Run:
        while self._output_boundaries:
            self._end_part()
        self._end_table(KEYS_END, KEYS_END)
        return tuple(self._tables)

    def _end_part(self) -> None:
        cut = self._output_boundaries[-1]
        self._end_table(cut, cut)
        self._part_begins = self._output_boundaries.pop()

    def _write(self, keys: list[bytes], entries: list[Entry]) -> None:
        writer = self._writer or self._begin_table()
        writer.add(keys, entries)
        if writer.size_bytes >= self._target:
            self._end_table(keys[-1], keys[-1] + b"\0")

    def _begin_table(self) -> TableWriter:
        file = self._outputs.begin()
        part_ends = self._output_boundaries[-1] if self._output_boundaries else KEYS_END
        sequences = self._sequences(self._part_begins, part_ends)
        self._writer = TableWriter(file.append, self._options, *sequences, file=file.name, seals=file.seals)
        return self._writer

    def _end_table(self, ranges_stop: bytes, next_ranges: bytes) -> None:
        """End the open table with the range deletes up to ranges_stop; begin one if there are only those."""
        pieces = ranges_of(cut_boundaries(self._deleted, self._ranges_from, ranges_stop))
        self._ranges_from = next_ranges
        if self._writer is None and not pieces:
            return
        writer = self._writer or self._begin_table()
        if pieces:
            writer.add_ranges(pieces)
        self._tables.append(writer.finish())
        self._outputs.end_current()
        self._writer = None
