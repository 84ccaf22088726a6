"""The table writer: sorted pages in, one table (a section of a file) out.

Theory. All work is done per page or per block by C calls over lists; the only Python loop over entries is for pages
with tombstones, tags or expiries. Entries that do not fill a block wait for the next page. The filter is made at the
end, when the number of keys is known; until then a key costs four bytes.

Layout of the section: table/footer.py.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from operator import add
from typing import Any, Final

from flin.engine.checksum import crc32
from flin.engine.entry import KIND_DELETE, KIND_POINTER, KIND_PUT, TOMBSTONE, Entry, Pointer, Range
from flin.engine.key import USER_END, count_by_namespace, without_pieces
from flin.engine.table import block, bloom, expiry_block, index_block, range_block, stored_block
from flin.engine.table import footer as table_footer
from flin.engine.table.block import MAX_ENTRIES, Annotations, Sizes
from flin.engine.table.key_part import MIN_SHARE, KeyPartWriter
from flin.engine.table.meta import TableMeta
from flin.engine.table.stored_block import CHECKSUM_SIZE
from flin.engine.table.value_files import rows_of

_WITHOUT_POINTERS: Final = bytes.maketrans(bytes((KIND_POINTER,)), bytes((KIND_PUT,)))
"""A key part serves counts, to which a pointer is a put."""

_WRITE_SIZE: Final = 256 << 10
"""Bytes per append: a write(2) costs a microsecond, a block 30."""


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How tables are written. Reading needs none of this: a table tells how it was made."""

    block_size_bytes: int = 8192  # keys and values of a data block before compression
    filter_bits_per_key: int = 12
    codec: str = "zstd"  # or "none"
    zstd_level: int = 1


class TableWriter:
    """Writes one table through `append`, which takes everything it is given or raises.

    An empty table is discarded: ask `entries` and `range_deletes` before `finish`.
    """

    def __init__(
        self,
        append: Callable[[bytes], None],
        options: TableOptions,
        smallest_sequence: int,
        largest_sequence: int,
        *,
        base_offset: int = 0,
        file: str = "",
        seals: bool = False,
    ) -> None:
        """`seals`: the file seals, and opens, what is appended at once: so each block is appended by itself."""
        self._append = append
        self._options = options
        self._sequences = (smallest_sequence, largest_sequence)
        self._base_offset = base_offset
        self._file = file
        self._seals = seals
        self._compress = stored_block.compressor(options.codec, options.zstd_level)
        self._waiting: tuple[list[bytes], list[Entry]] = ([], [])
        self._pieces: list[bytes] = []
        self._pieces_size = 0
        self._size = 0
        self._checksums = 0
        self._separators: list[bytes] = []
        self._starts: list[int] = [0]
        self._hashes = array("I")
        self._expiries: list[tuple[int, bytes]] = []
        self._ranges: list[Range] = []
        self._smallest: bytes | None = None
        self._largest: bytes | None = None
        self._tombstones = 0
        self._raw_bytes = 0
        self._key_bytes = 0
        self._points: dict[int, int] = {}
        self.values: dict[int, int] = {}
        """Bytes of values that the pointers written so far name, by value file; whole after `finish`."""
        self._key_part: KeyPartWriter | None = KeyPartWriter()  # None if it would not pay

    @property
    def size_bytes(self) -> int:
        """Bytes of the section so far, in whole data blocks."""
        return self._size

    @property
    def entries(self) -> int:
        """Points added so far, tombstones included."""
        return len(self._hashes) + len(self._waiting[0])

    @property
    def range_deletes(self) -> int:
        return len(self._ranges)

    def add(self, keys: list[bytes], entries: list[Entry]) -> None:
        """Add a page. Its keys ascend strictly and are greater than all before; the lists are not kept."""
        if not keys:
            return
        waiting_keys, waiting_entries = self._waiting
        last = waiting_keys[-1] if waiting_keys else self._largest
        if last is not None and keys[0] <= last:
            raise ValueError(f"key {keys[0][:40]!r} comes after {last[:40]!r}")
        if waiting_keys:
            keys = waiting_keys + keys
            entries = waiting_entries + entries
        done = self._write_blocks(keys, entries, is_last=False)
        self._waiting = (keys[done:], entries[done:])

    def add_ranges(self, ranges: Sequence[Range]) -> None:
        """Add range deletes: older than every point of the table."""
        self._ranges += ranges

    def finish(self) -> TableMeta:
        """Write what is left; the file is neither synced nor closed."""
        keys, entries = self._waiting
        self._waiting = ([], [])
        self._write_blocks(keys, entries, is_last=True)
        key_part = self._write_key_part()
        expiry_start = self._size
        self._expiries.sort()
        self._write_part(expiry_block.encode(self._expiries))
        filter_start = self._size
        words = bloom.build(self._hashes, len(self._hashes), self._options.filter_bits_per_key)
        self._write_part(bloom.encode(words))
        index_start = self._size
        self._write_part(index_block.encode(self._separators, self._starts))
        ranges_start = self._size
        self._write_part(range_block.encode(self._ranges))
        properties_start = self._size
        meta = self._meta(0)
        values = tuple(sorted(self.values.items()))
        properties = table_footer.encode_properties(meta, self._options.codec, key_part, values, self._checksums)
        size = self._size + len(properties) + table_footer.FOOTER_SIZE
        self._write_part(properties)
        footer = table_footer.Footer(expiry_start, filter_start, index_start, ranges_start, properties_start, size)
        self._write(table_footer.encode_footer(footer))
        self._flush()
        return self._meta(size)

    def _write_key_part(self) -> tuple[int, int] | None:
        """Write the key part. Returns where it and its index begin, or None if there is none."""
        if self._key_part is None or not self._hashes:
            return None
        start = self._size
        pieces, index_start = self._key_part.finish(start)
        for at in range(0, len(pieces), 2):  # a block and its checksum; at last the index
            self._write_part(*pieces[at : at + 2])
        return start, index_start

    def _meta(self, length: int) -> TableMeta:
        bounds = [bound for bounds in self._ranges for bound in bounds]
        bounds += [bound for bound in (self._smallest, self._largest) if bound is not None]
        if not bounds:
            raise ValueError("a table holds at least one entry or range")
        return TableMeta(
            file=self._file,
            offset=self._base_offset,
            length=length,
            entry_count=len(self._hashes),
            tombstones=self._tombstones,
            range_deletes=len(self._ranges),
            expiring=len(self._expiries),
            smallest=min(bounds),
            largest=max(bounds),
            smallest_sequence=self._sequences[0],
            largest_sequence=self._sequences[1],
            raw_bytes=self._raw_bytes,
            points=tuple(sorted(self._points.items())),
        )

    def _write_blocks(self, keys: list[bytes], entries: list[Entry], *, is_last: bool) -> int:
        """Write all full blocks (with `is_last`, the last one in any case). Returns how many entries they hold."""
        values, annotations = split_entries(entries)
        key_sizes, value_sizes = _sizes(keys), _sizes(values)
        done = 0
        for start, stop in self._cuts(len(keys), key_sizes, value_sizes, is_last):
            self._write_block(
                keys[start:stop],
                values[start:stop],
                key_sizes if isinstance(key_sizes, int) else key_sizes[start:stop],
                value_sizes if isinstance(value_sizes, int) else value_sizes[start:stop],
                None if annotations is None else _slice(annotations, start, stop),
            )
            done = stop
        if done:
            self._hashes.extend(map(bloom.hash_key, keys[:done]))
            key_bytes = _total(key_sizes, done)
            self._key_bytes += key_bytes
            self._raw_bytes += key_bytes + _total(value_sizes, done)
            if annotations is not None:
                annotations = _slice(annotations, 0, done)
                self._note(keys[:done], annotations)
                if KIND_POINTER in annotations[0]:
                    self._note_pointers(values[:done], annotations[0])
            self._count(keys[:done], annotations)
            if self._key_bytes * (MIN_SHARE + 1) > self._raw_bytes:
                self._key_part = None
            elif self._key_part is not None:
                kinds = None if annotations is None else bytes(annotations[0]).translate(_WITHOUT_POINTERS)
                self._key_part.add(keys[:done], kinds)
        return done

    def _cuts(self, count: int, key_sizes: Sizes, value_sizes: Sizes, is_last: bool) -> Iterator[tuple[int, int]]:
        """The beginnings and ends of blocks: as many entries as fit, at least one (a large one lies alone)."""
        size = self._options.block_size_bytes
        if isinstance(key_sizes, int) and isinstance(value_sizes, int):
            step = max(1, min(MAX_ENTRIES, size // max(1, key_sizes + value_sizes)))
            stops = range(step, count + 1, step)
            yield from zip(range(0, count, step), stops, strict=False)
            start = len(stops) * step
        else:
            each_key = repeat(key_sizes) if isinstance(key_sizes, int) else key_sizes
            each_value = repeat(value_sizes) if isinstance(value_sizes, int) else value_sizes
            ends = list(accumulate(map(add, each_key, each_value), initial=0))
            start = 0
            while start < count:
                stop = bisect_right(ends, ends[start] + size, start + 1) - 1
                stop = min(max(stop, start + 1), start + MAX_ENTRIES)
                if stop >= count:
                    break
                yield start, stop
                start = stop
        if is_last and start < count:
            yield start, count

    def _write_block(
        self,
        keys: list[bytes],
        values: list[bytes],
        key_sizes: Sizes,
        value_sizes: Sizes,
        annotations: Annotations | None,
    ) -> None:
        first = keys[0]
        if self._largest is None:
            self._smallest = first
            self._separators.append(b"")
        else:
            self._separators.append(first[: block.common_size(first, self._largest) + 1])
        self._largest = keys[-1]
        payload = block.encode(keys, values, key_sizes, value_sizes, annotations)
        # Blocks of pointers are searched where they lie, in the mapping: to decompress one costs more than the rest of
        # a lookup, and would save 2 % of the values' bytes.
        are_pointers = annotations is not None and 2 * annotations[0].count(KIND_POINTER) > len(keys)
        stored, checksum = stored_block.store(payload, self._size, None if are_pointers else self._compress)
        self._write_part(stored, checksum)
        self._starts.append(self._size)

    def _note(self, keys: list[bytes], annotations: Annotations) -> None:
        kinds, _, expiries = annotations
        self._tombstones += kinds.count(KIND_DELETE)
        if any(expiries):
            self._expiries += [pair for pair in zip(expiries, keys, strict=True) if pair[0]]

    def _note_pointers(self, values: list[bytes], kinds: Sequence[int]) -> None:
        pointers = [value for value, kind in zip(values, kinds, strict=True) if kind == KIND_POINTER]
        for number, _, length, _ in rows_of(pointers) if pointers else ():
            self.values[number] = self.values.get(number, 0) + length

    def _count(self, keys: list[bytes], annotations: Annotations | None) -> None:
        """Count the puts among the keys."""
        kinds = None if annotations is None else annotations[0]
        if kinds is not None and KIND_DELETE in kinds:
            keys = [key for key, kind in zip(keys, kinds, strict=True) if kind != KIND_DELETE]
        if keys and keys[-1] < USER_END:
            self._points[0] = self._points.get(0, 0) + len(keys)
            return
        for namespace, count in count_by_namespace(without_pieces(keys)).items():
            self._points[namespace] = self._points.get(namespace, 0) + count

    def _write_part(self, *pieces: bytes) -> None:
        """Write a block, which ends with its checksum."""
        for piece in pieces:
            self._write(piece)
        self._checksums = crc32(piece[-CHECKSUM_SIZE:], self._checksums)
        if self._seals:
            self._flush()

    def _write(self, piece: bytes) -> None:
        self._size += len(piece)
        self._pieces_size += len(piece)
        self._pieces.append(piece)
        if self._pieces_size >= _WRITE_SIZE:
            self._flush()

    def _flush(self) -> None:
        pieces = self._pieces
        self._pieces = []
        self._pieces_size = 0
        if pieces and len(pieces[-1]) >= _WRITE_SIZE:  # a large one is not copied once more
            large = pieces.pop()
            if pieces:
                self._append(b"".join(pieces))
            self._append(large)
        elif pieces:
            self._append(b"".join(pieces))


def split_entries(entries: list[Any]) -> tuple[list[bytes], Annotations | None]:
    """Split entries into values and annotations; None instead of these if all are plain puts."""
    types = set(map(type, entries))
    if types <= {bytes}:
        return entries, None
    if types == {Pointer}:
        return entries, (bytes((KIND_POINTER,)) * len(entries), bytes(len(entries)), (0,) * len(entries))
    values = []
    kinds = bytearray()
    tags = bytearray()
    expiries = []
    for entry in entries:
        value, expires_at_ms, tag, kind = entry, 0, 0, KIND_PUT
        if entry is TOMBSTONE:
            value, kind = b"", KIND_DELETE
        elif type(entry) is tuple:
            value, expires_at_ms, tag = entry
        if type(value) is Pointer:
            kind = KIND_POINTER
        values.append(value)
        kinds.append(kind)
        tags.append(tag)
        expiries.append(expires_at_ms)
    return values, (kinds, tags, expiries)


def _slice(annotations: Annotations, start: int, stop: int) -> Annotations:
    kinds, tags, expiries = annotations
    return kinds[start:stop], tags[start:stop], expiries[start:stop]


def _sizes(items: list[bytes]) -> Sizes:
    different = set(map(len, items))
    return different.pop() if len(different) == 1 else list(map(len, items))


def _total(sizes: Sizes, count: int) -> int:
    return sizes * count if isinstance(sizes, int) else sum(sizes[:count])
