"""The check of a table: everything in it is read, and compared with everything else that must agree with it.

Damage does not end the check if the rest can still be read: each damaged part is named.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from flin.engine.disk.fs import ReadableFile
from flin.engine.entry import (
    KIND_DELETE,
    KIND_PUT,
    POINTER_BYTES,
    TOMBSTONE,
    Entry,
    Pointer,
    Range,
    maybe_pointer,
    read_pointer,
)
from flin.engine.key import KEYS_END
from flin.engine.table import block, bloom, expiry_block, range_block
from flin.engine.table import footer as table_footer
from flin.engine.table.meta import TableMeta
from flin.engine.table.scan import seek
from flin.engine.table.state import TableState
from flin.errors import CorruptionError


def check_table(file: ReadableFile, meta: TableMeta) -> list[CorruptionError]:
    """The faults of the table, in the order of its parts. Raises FormatVersionError, StorageError."""
    try:
        state = TableState(file, meta, None)
    except CorruptionError as error:
        return [error]
    check = _Check(state, meta)
    check.blocks()
    if not check.errors:
        check.totals()
    check.expiries()
    check.key_part()
    return check.errors


class _Check:
    def __init__(self, state: TableState, meta: TableMeta) -> None:
        self.errors: list[CorruptionError] = []
        self._state = state
        self._meta = meta
        self._entries = 0
        self._tombstones = 0
        self._raw_bytes = 0
        self._values: dict[int, int] = {}  # bytes of values that pointers name, by value file
        self._expiries: list[tuple[int, bytes]] = []
        self._smallest: bytes | None = None
        self._largest: bytes | None = None
        self._are_blocks_whole = True
        self._keys: list[bytes] = []  # these, and their kinds, of a table with a key part
        self._kinds = bytearray()

    def blocks(self) -> None:
        for number in range(len(self._state.separators)):
            try:
                source, at = seek(self._state, number, cached=False)
                keys, entries = block.decode(source, at)
            except CorruptionError as error:
                self.errors.append(error)
                self._are_blocks_whole = False
            else:
                self._block(number, keys, entries)

    def _block(self, number: int, keys: list[bytes], entries: list[Entry]) -> None:
        state = self._state
        separator = state.separators[number]
        if keys[0] < separator or (self._largest is not None and separator <= self._largest):
            self._wrong(number, "a separator of the index is not between its neighbours")
        if any(key >= following for key, following in pairwise(keys)):
            self._wrong(number, "the keys of a data block are not in order")
        if not all(bloom.contains(state.words, bloom.hash_key(key)) for key in keys):
            self._wrong(number, "the filter lacks a key of a data block")
        if state.keys is not None:
            self._keys += keys
            self._kinds += bytes([KIND_DELETE if entry is TOMBSTONE else KIND_PUT for entry in entries])
        self._smallest = keys[0] if self._smallest is None else self._smallest
        self._largest = keys[-1]
        self._entries += len(keys)
        for key, entry in zip(keys, entries, strict=True):
            pointer = maybe_pointer(entry)
            if pointer is not None:
                self._pointer(number, pointer)
            self._raw_bytes += len(key)
            if entry is TOMBSTONE:
                self._tombstones += 1
            elif type(entry) is tuple:
                self._raw_bytes += len(entry[0])
                if entry[1]:
                    self._expiries.append((entry[1], key))
            else:
                assert isinstance(entry, bytes)
                self._raw_bytes += len(entry)

    def _pointer(self, block: int, pointer: Pointer) -> None:
        if len(pointer) != POINTER_BYTES:
            self._wrong(block, "the place of a value is too long or too short")
            return
        number, _, length, _ = read_pointer(pointer)
        self._values[number] = self._values.get(number, 0) + length

    def totals(self) -> None:
        """Check, if all blocks are whole, that the properties agree with them."""
        meta, state = self._meta, self._state
        ranges = self._ranges()
        bounds = [bound for bounds in ranges for bound in bounds]
        bounds += [bound for bound in (self._smallest, self._largest) if bound is not None]
        said_and_found = {
            "entries": (meta.entry_count, self._entries),
            "tombstones": (meta.tombstones, self._tombstones),
            "range_deletes": (meta.range_deletes, len(ranges)),
            "expiring": (meta.expiring, len(self._expiries)),
            "raw_bytes": (meta.raw_bytes, self._raw_bytes),
            "smallest": (meta.smallest, min(bounds, default=None)),
            "largest": (meta.largest, max(bounds, default=None)),
            "values": (
                table_footer.read_values(state.file, meta.offset, meta.length),
                tuple(sorted(self._values.items())),
            ),
        }
        for name, (said, found) in said_and_found.items():
            if said != found:
                self._at(state.footer.properties, f"the property {name} is not what the table holds")
        if meta.smallest_sequence > meta.largest_sequence:
            self._at(state.footer.properties, "the smallest sequence is above the largest")

    def _ranges(self) -> tuple[Range, ...]:
        state, footer = self._state, self._state.footer
        return range_block.decode(state.part(footer.ranges, footer.properties), state.path, state.base + footer.ranges)

    def expiries(self) -> None:
        state = self._state
        start, stop = state.base + state.footer.expiry, state.base + state.footer.filter
        read = partial(table_footer.read_part, state.file)
        try:
            listed = list(expiry_block.decode(read, start, stop, state.path))
        except CorruptionError as error:
            self.errors.append(error)
            return
        if self._are_blocks_whole and listed != sorted(self._expiries):
            self._at(state.footer.expiry, "the expiry block does not list what the data blocks hold")

    def key_part(self) -> None:
        state = self._state
        if state.keys is None:
            return
        listed: list[bytes] = []
        kinds = bytearray()
        try:
            part = state.key_part()
            assert part is not None
            for page in part.pages(b"", KEYS_END):
                listed += page[0]
                kinds += bytes(page[1])
        except CorruptionError as error:
            self.errors.append(error)
            return
        if self._are_blocks_whole and (listed != self._keys or kinds != self._kinds):
            self._at(state.keys[0], "the key part does not list what the data blocks hold")

    def _wrong(self, number: int, reason: str) -> None:
        self.errors.append(CorruptionError(self._state.path, self._state.starts[number], reason))

    def _at(self, offset: int, reason: str) -> None:
        self.errors.append(CorruptionError(self._state.path, self._state.base + offset, reason))
