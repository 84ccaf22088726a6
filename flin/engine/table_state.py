"""What a table holds in memory from its first use on, and its way to a data block.

Complete before a second thread can see it; then only the marks change. A mark is one byte per block: 0 until its
checksum was compared; then, of a raw block, 1 and the look-ups in it since the last reset, and of a compressed one
PACKED. Threads that count at once may lose one.

The file is mapped whole: `data` is `bytes` in all that is asked of it (an index gives a number, a slice bytes).
"""

from __future__ import annotations

from array import array
from typing import Any, Final, Protocol, cast

from flin.engine import block, filter, index_block, range_block, stored_block, table_footer
from flin.engine.block import COMPRESSED
from flin.engine.cached_block import CachedBlock
from flin.engine.fs import ReadableFile
from flin.engine.stored_block import CHECKSUM_SIZE
from flin.engine.version import TableMeta
from flin.errors import CorruptionError, StorageError

HOT: Final = 3
"""Touches of a block, while its table has as many cold look-ups as blocks, that bring it into the cache: evenly
spread look-ups have one on average, and fewer than a tenth of the blocks reach three."""

PACKED: Final = 255

_MAX_LANDED: Final = 8
"""Of a table at once; more than that many large cold values at a time only means that some are read twice."""

_COOLED: Final = bytes((0,)) + bytes((1,)) * (PACKED - 1) + bytes((PACKED,))


class BlockCache(Protocol):
    """What a table asks of the cache; keys are (table number, block number)."""

    def get(self, key: Any) -> Any | None: ...

    def put(self, key: Any, value: Any, charge_bytes: int) -> None: ...

    def discard(self, key: Any) -> None: ...


class TableState:
    """Filter, index and mapping of a table, loaded by `load_state`."""

    __slots__ = (
        "base",
        "cache",
        "cold_reads",
        "data",
        "file",
        "footer",
        "landed",
        "largest",
        "marks",
        "memory_bytes",
        "number",
        "path",
        "ranges",
        "separators",
        "starts",
        "words",
    )

    def __init__(self, file: ReadableFile, meta: TableMeta, cache: BlockCache | None, number: int) -> None:
        path, base = file.path, meta.offset
        footer = table_footer.read_footer(file, base, meta.length)
        properties = table_footer.read_properties(file, footer, base, meta.file)
        if properties.meta != meta:
            raise CorruptionError(path, base, "a table is not the one that the manifest names")
        self.file: Final = file
        self.path: Final = path
        self.base: Final = base
        self.cache: Final = cache
        self.number: Final = number
        self.footer: Final = footer
        self.largest: Final = meta.largest
        self.words: Final = filter.decode(self.part(footer.filter, footer.index), path, base + footer.filter)
        index_part = self.part(footer.index, footer.ranges)
        index = index_block.decode(index_part, footer.expiry, path, base + footer.index)
        self.separators: Final = index.separators
        self.starts: Final = array("Q", [base + start for start in index.starts])  # in the file
        self.ranges: Final = range_block.decode(self.part(footer.ranges, footer.properties), path, base + footer.ranges)
        self.data: Final = _map(file)
        self.marks: Final = bytearray(len(index.separators))
        self.cold_reads = 0
        # Blocks that were read for someone who has to ask again, and that the cache did not keep.
        self.landed: Final[dict[int, CachedBlock]] = {}
        self.memory_bytes: Final = index.memory_bytes() + 8 * len(self.words) + len(self.marks)

    def part(self, start: int, stop: int) -> bytes:
        """Bytes of the section."""
        return table_footer.read_part(self.file, self.base + start, stop - start)

    def verify(self, number: int) -> int:
        """Compare the checksum of a block in the mapping; its mark.

        Take the mark from here or from `marks` if it is not 0: `cool` may write an older 0 back, at most.
        """
        start, stop = self.starts[number], self.starts[number + 1]
        data, path = self.data, self.path
        stored_block.verify(memoryview(data)[start:stop], start - self.base, path, self.base)
        mark = PACKED
        if data[start] < COMPRESSED:
            block.check(data, start, stop - CHECKSUM_SIZE, path, start)
            mark = 1
        self.marks[number] = mark
        return mark

    def unpack(self, number: int) -> bytes:
        """The payload of a verified block of the mapping."""
        start = self.starts[number]
        return stored_block.unpack(self.data[start : self.starts[number + 1]], self.path, start)

    def cool(self) -> None:
        """Begin to count look-ups anew; what was verified stays so."""
        self.cold_reads = 0
        self.marks[:] = self.marks.translate(_COOLED)

    def admit(self, number: int, payload: bytes) -> CachedBlock:
        """A payload into the cache."""
        found = CachedBlock(payload)
        if self.cache is not None:
            self.cache.put((self.number, number), found, found.charge_bytes())
        return found

    def admit_stored(self, number: int, stored: bytes) -> CachedBlock:
        """A stored block that was read past the mapping into the cache."""
        start = self.starts[number]
        stored_block.verify(stored, start - self.base, self.path, self.base)
        return self.admit(number, stored_block.unpack(stored, self.path, start))

    def fill(self, number: int) -> None:
        """Read a block past the mapping into the cache, for a look-up that will be asked again.

        A block that the cache refuses (too large, or evicted at once) must not be read for ever: it waits aside.
        """
        start, stop = self.starts[number], self.starts[number + 1]
        found = self.admit_stored(number, table_footer.read_part(self.file, start, stop - start))
        if self.cache is None or self.cache.get((self.number, number)) is None:
            landed = self.landed
            landed[number] = found
            for other in list(landed)[:-_MAX_LANDED]:  # whoever asked for them has gone
                landed.pop(other, None)


def _map(file: ReadableFile) -> bytes:
    try:
        data: Any = file.map()
    except OSError as error:
        raise StorageError("map", file.path, error) from error
    return bytes(data) if isinstance(data, bytearray | memoryview) else cast("bytes", data)
