"""The key part of a table whose values are large: all keys once more, without values, with checksums of their own.

Theory. For the exact number of keys, every flush must know which of its keys older tables hold already (count.py). If
values are large, a data block holds few keys, and to read, check and unpack it for each key costs more than all else in
a flush. Here 256 keys share a block.

The part is data blocks (stored_block.py) with empty values, stored raw and with whole keys, which are faster to read,
and an index block over them, whose starts are relative to the first of them. Kinds are kept, tags and expiries are not.
It exists only if keys are at most a sixteenth of the values, so that it costs little of the disk; `keys` and
`key_index` in the properties block say where it is.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from flin.engine.entry import KIND_DELETE, KIND_PUT
from flin.engine.table import block, index_block, stored_block
from flin.engine.table.block import MAX_ENTRIES
from flin.engine.table.stored_block import CHECKSUM_SIZE
from flin.errors import CorruptionError

MIN_SHARE: Final = 16
"""The values have at least this many times as many bytes as the keys."""

KeyPage = tuple[list[bytes], Sequence[int]]
"""Ascending keys and their kinds."""


class KeyPartWriter:
    """Takes the keys of a table as they are written. It holds the part in memory until the data blocks end: less than a
    sixteenth of the table."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []  # those that do not fill a block yet
        self._kinds: bytearray | None = None  # of these; None while all are puts
        self._largest: bytes | None = None
        self._separators: list[bytes] = []
        self._payloads: list[bytes] = []

    def add(self, keys: Sequence[bytes], kinds: Sequence[int] | None) -> None:
        """Add keys. `kinds`: None if all are puts."""
        if kinds is not None and self._kinds is None:
            self._kinds = bytearray((KIND_PUT,)) * len(self._keys)
        self._keys += keys
        if self._kinds is not None:
            self._kinds += bytes(kinds) if kinds is not None else bytes((KIND_PUT,)) * len(keys)
        while len(self._keys) >= MAX_ENTRIES:
            self._end_block()

    def finish(self, offset: int) -> tuple[list[bytes], int]:
        """The part's pieces, and the start of its index; `offset`: where the part will lie in its section."""
        while self._keys:
            self._end_block()
        pieces: list[bytes] = []
        starts = [0]
        for payload in self._payloads:
            stored, checksum = stored_block.store(payload, offset + starts[-1], None)
            pieces += (stored, checksum)
            starts.append(starts[-1] + len(stored) + len(checksum))
        pieces.append(index_block.encode(self._separators, starts))
        return pieces, offset + starts[-1]

    def _end_block(self) -> None:
        keys, self._keys = self._keys[:MAX_ENTRIES], self._keys[MAX_ENTRIES:]
        annotations = None
        if self._kinds is not None:
            kinds, rest = self._kinds[: len(keys)], self._kinds[len(keys) :]
            annotations = kinds, bytes(len(keys)), (0,) * len(keys)
            self._kinds = rest if KIND_DELETE in rest else None
        first, largest = keys[0], self._largest
        self._separators.append(b"" if largest is None else first[: block.common_size(first, largest) + 1])
        self._largest = keys[-1]
        sizes = list(map(len, keys))
        self._payloads.append(block.encode(keys, [b""] * len(keys), sizes, 0, annotations, cut_prefix=False))


class KeyPart:
    """Reads the part in the mapping of its table's file; by `read`, bounds of the section, if there is none."""

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        data: bytes,
        base: int,
        offset: int,
        index: index_block.Index,
        path: str,
    ) -> None:
        """`base`: where the section begins in the file; `offset`: where the part begins in the section."""
        self._part: Final = read
        self._data: Final = data
        self._base: Final = base
        self._path: Final = path
        self._separators: Final = index.separators
        self._starts: Final = array("Q", [base + offset + start for start in index.starts])  # in the file

    def pages(self, start: bytes, stop: bytes) -> Iterator[KeyPage]:
        """The keys from start (inclusive) to stop (exclusive), in pages that are not empty."""
        if start >= stop:
            return
        separators = self._separators
        low = max(bisect_right(separators, start) - 1, 0)
        for number in range(low, max(bisect_left(separators, stop), low + 1)):
            keys, kinds = self._read(number)
            if number == low or keys[-1] >= stop:
                begin = bisect_left(keys, start)
                end = bisect_left(keys, stop, begin)
                keys, kinds = keys[begin:end], kinds[begin:end]
            if keys:
                yield keys, kinds

    def pages_near(self, wanted: Sequence[bytes]) -> Iterator[KeyPage]:
        """The whole pages that hold the ascending wanted keys, as far as the table has them."""
        separators = self._separators
        at = 0
        while at < len(wanted):
            number = bisect_right(separators, wanted[at]) - 1
            yield self._read(number)
            at = bisect_left(wanted, separators[number + 1], at + 1) if number + 1 < len(separators) else len(wanted)

    def _read(self, number: int) -> KeyPage:
        start, stop = self._starts[number], self._starts[number + 1]
        data, path, base = self._data, self._path, self._base
        if not data:
            stored = self._part(start - base, stop - base)
            stored_block.verify(stored, start - base, path, base)
            return block.decode_kinds(stored_block.unpack(stored, path, start), 0)
        stored_block.verify(memoryview(data)[start:stop], start - base, path, base)
        block.check(data, start, stop - CHECKSUM_SIZE, path, start)
        return block.decode_kinds(data, start)


def load(read: Callable[[int, int], bytes], data: bytes, base: int, bounds: tuple[int, int, int], path: str) -> KeyPart:
    """The key part. `bounds`: where in the section the keys and their index begin, and where the index ends; `read`
    takes such bounds. Raises CorruptionError."""
    keys, index, stop = bounds
    found = index_block.decode(read(index, stop), index - keys, path, base + index)
    if not found.separators or found.separators[0]:
        raise CorruptionError(path, base + index, "the index of a key part does not begin with the first key")
    return KeyPart(read, data, base, keys, found, path)
