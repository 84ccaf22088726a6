"""A table that may be damaged in parts: the blocks that their checksums vouch for, and what the others held.

Theory. An intact index says where the blocks are. If it is lost, the blocks are searched for: each says how large it
is, and its checksum says whether it is one. The range block is needed, too, since the keys that it deletes would come
back; if its place is lost, it is searched for by its count, which the manifest or the properties tell. The filter and
the expiry block only repeat what the data blocks hold. Everything is read with pread: a page of a mapping that a
failing disk cannot read would kill the interpreter.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from flin.engine.disk.fs import ReadableFile
from flin.engine.disk.open_files import TableFile
from flin.engine.entry import Page, Range, value_size
from flin.engine.key import KEYS_END
from flin.engine.repair.report import FileReport, Loss, key_text
from flin.engine.table import block, index_block, range_block, stored_block
from flin.engine.table import footer as table_footer
from flin.engine.table.footer import Footer
from flin.engine.table.key_part import MIN_SHARE
from flin.engine.table.meta import TableMeta
from flin.errors import CorruptionError, FormatVersionError, StorageError

READ_PIECE_BYTES: Final = 4096
"""Bytes that are read at once of a file that cannot be read whole: a failing disk loses as many at once."""

_Part = TypeVar("_Part")


class SalvagedTable:
    """One section of a file. `meta`: as in the manifest, or else as in the table itself; None if both are lost."""

    def __init__(
        self, file: TableFile, offset: int, length: int, meta: TableMeta | None, report: FileReport, force: bool
    ) -> None:
        self._file = file
        self._offset = offset
        self._length = length
        self._report = report
        self._force = force
        self.lost: list[Range] = []
        """Where entries are lost, after a complete reading."""
        self.meta = meta
        self._footer: Footer | None = self._maybe(lambda: table_footer.read_footer(file, offset, length))
        self._data_stop = self._read_properties()
        self._separators: list[bytes] = []
        self._starts = self._read_index()
        self.ranges: tuple[Range, ...] = self._read_ranges()
        file.close()
        self.kept = (0, 0, 0)
        """Blocks, entries and bytes of the last complete reading."""

    @property
    def is_whole(self) -> bool:
        """Read everything. True if nothing is lost."""
        for _ in self.pages():
            pass
        return not self._report.losses

    def first_key(self) -> bytes | None:
        return next(iter(self.first_keys(1)), None)

    def first_keys(self, wanted: int) -> list[bytes]:
        """At least so many keys, those of the first good blocks; fewer if the table has no more."""
        found: list[bytes] = []
        for keys, _ in self.pages():
            found += keys
            if len(found) >= wanted:
                break
        return found

    def pages(self) -> Iterator[Page]:
        """The entries of the good blocks, ascending."""
        last: bytes | None = None
        entries = blocks = stored_bytes = 0
        for start, end in self._starts:
            page = self._page(start, end)
            if page is None:
                continue
            if last is not None and page[0][0] <= last:
                self._lose(start, end - start, "the keys of a data block are not in order")
                continue
            last = page[0][-1]
            entries, blocks, stored_bytes = entries + len(page[0]), blocks + 1, stored_bytes + end - start
            yield page
        self.kept = (blocks, entries, stored_bytes)

    def _page(self, start: int, end: int) -> Page | None:
        """The entries of the block between two offsets in the section; None if it is damaged."""
        path, base = self._file.path, self._offset
        try:
            stored = table_footer.read_part(self._file, base + start, end - start)
            stored_block.verify(stored, start, path, base)
            keys, entries = block.decode(stored_block.unpack(stored, path, base + start), 0)
        except (CorruptionError, StorageError) as error:
            self._lose(start, end - start, _reason(error))
            return None
        except FormatVersionError as error:
            self._refuse(error)
            self._lose(start, end - start, error.reason)
            return None
        finally:
            self._file.close()  # it opens again: a merge may read more tables at once than a process may hold open
        meta = self.meta
        is_sorted = all(map(bytes.__lt__, keys, keys[1:]))
        if not is_sorted or (meta is not None and not meta.smallest <= keys[0] <= keys[-1] <= meta.largest):
            self._lose(start, end - start, "a data block holds keys that do not belong there")
            return None
        return keys, entries

    def _lose(self, start: int, size: int, reason: str) -> None:
        first, last = self._bounds(start)
        texts = None if first is None else key_text(first), None if last is None else key_text(last)
        self._report.lose(Loss(self._offset + start, size, reason, *texts))
        bounds = (first or b"", KEYS_END if last is None else last + b"\0")
        if bounds not in self.lost:
            self.lost.append(bounds)

    def _bounds(self, start: int) -> tuple[bytes | None, bytes | None]:
        """The keys between which a block of the index lies."""
        if not self._separators:
            meta = self.meta
            return (None, None) if meta is None else (meta.smallest, meta.largest)
        number = bisect_left(self._starts, (start, 0))
        first = self._separators[number] or (self.meta.smallest if self.meta is not None else b"")
        if number + 1 < len(self._separators):
            return first, self._separators[number + 1]
        return first, None if self.meta is None else self.meta.largest

    # The parts after the data blocks.

    def _read_properties(self) -> int | None:
        """Read the properties. Returns where the data blocks end in the section, if that is known."""
        footer = self._footer
        if footer is None:
            return None
        said = self._maybe(
            lambda: table_footer.read_properties(self._file, footer, self._offset, self._file.path.rpartition("/")[2])
        )
        if said is None:
            return None
        if self.meta is None:
            self.meta = said.meta
        return footer.expiry if said.keys is None else said.keys[0]

    def _read_index(self) -> list[tuple[int, int]]:
        """Where the data blocks begin and end, in the section."""
        footer = self._footer
        if footer is not None:
            offset = self._offset + footer.index
            index = self._maybe(
                lambda: index_block.decode(
                    self._part(footer.index, footer.ranges), self._data_stop, self._file.path, offset
                )
            )
            if index is not None:
                self._separators = index.separators
                return list(zip(index.starts, index.starts[1:], strict=False))
        return self._search_blocks()

    def _search_blocks(self) -> list[tuple[int, int]]:
        stop = self._data_stop or (self._length if self._footer is None else self._footer.expiry)
        found = list(stored_block.find(self._readable(stop), self._file.path, self._offset))
        if self._data_stop is None:
            found = self._without_key_part(found)
        # What follows the last block is no block; the number of entries tells how much of it was data.
        at = 0
        for start, end in found:
            if start > at:
                self._lose(at, start - at, "no whole data block begins here, and the index is lost")
            at = end
        if self._footer is not None and at < stop:
            self._lose(at, stop - at, "no whole data block begins here, and the index is lost")
        elif self._footer is None and self._missing_entries(found):
            self._lose(at, self._length - at, "data blocks are missing, and the index is lost")
        return found

    def _without_key_part(self, found: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The blocks without the key part, which repeats the keys with empty values in such blocks, but only after
        large values."""
        pages = [(bounds, self._page(*bounds)) for bounds in found]
        with_values = [(bounds, page) for bounds, page in pages if page is not None and any(map(value_size, page[1]))]
        keys = sum(len(key) for _, page in with_values for key in page[0])
        values = sum(value_size(entry) for _, page in with_values for entry in page[1])
        if values < MIN_SHARE * keys:
            return found
        return [bounds for bounds, _ in with_values]

    def _missing_entries(self, found: list[tuple[int, int]]) -> bool:
        """Whether the found blocks hold fewer entries than the table should; True if that number is unknown."""
        if self.meta is None:
            return True
        pages = (self._page(start, end) for start, end in found)
        return sum(len(page[0]) for page in pages if page is not None) < self.meta.entry_count

    def _read_ranges(self) -> tuple[Range, ...]:
        footer = self._footer
        if footer is not None:
            offset = self._offset + footer.ranges
            ranges = self._maybe(
                lambda: range_block.decode(self._part(footer.ranges, footer.properties), self._file.path, offset)
            )
            if ranges is not None:
                return ranges
        elif self.meta is not None and self.meta.range_deletes:
            found = range_block.find(self._readable(self._length), self.meta.range_deletes)
            if found is not None:
                return found
        if self.meta is None or self.meta.range_deletes:
            start, stop = (0, self._length) if footer is None else (footer.ranges, footer.properties)
            reason = "the range deletes are lost: the keys that they deleted may reappear"
            texts = (None, None) if self.meta is None else (key_text(self.meta.smallest), key_text(self.meta.largest))
            self._report.lose(Loss(self._offset + start, stop - start, reason, *texts))
        return ()

    def _part(self, start: int, stop: int) -> bytes:
        return table_footer.read_part(self._file, self._offset + start, stop - start)

    def _readable(self, stop: int) -> bytes:
        """The section up to `stop`, with zeros where the disk gives nothing; shorter if the file ends."""
        return read_through(self._file, self._offset, stop)

    def _maybe(self, read: Callable[[], _Part]) -> _Part | None:
        """What `read` returns; None if the part is damaged, which is noted but is no loss: it holds no entries."""
        try:
            return read()
        except FormatVersionError as error:
            self._refuse(error)
            reason = error.reason
        except (CorruptionError, StorageError) as error:
            reason = f"offset {error.offset}: {error.reason}" if isinstance(error, CorruptionError) else str(error)
        self._report.add_note(reason)
        return None

    def _refuse(self, error: FormatVersionError) -> None:
        """Raise the error: a newer Flin's file is not damaged, unless the operator knows better."""
        if not self._force:
            raise error


def same_table(left: TableMeta, right: TableMeta) -> bool:
    """Whether both describe the same bytes, whatever the file's name."""
    return (left.offset, left.length, *_told(left)) == (right.offset, right.length, *_told(right))


def _told(meta: TableMeta) -> tuple[object, ...]:
    return (
        *(meta.entry_count, meta.tombstones, meta.range_deletes, meta.expiring, meta.raw_bytes),
        *(meta.smallest, meta.largest, meta.smallest_sequence, meta.largest_sequence),
    )


def read_through(file: ReadableFile, offset: int, size: int) -> bytes:
    """Up to `size` bytes, with zeros for pieces that the disk cannot read, or whose seal is broken: no checksum vouches
    for these."""
    try:
        return file.pread(size, offset)
    except (OSError, CorruptionError):
        pieces = []
        for start in range(offset, offset + size, READ_PIECE_BYTES):
            wanted = min(READ_PIECE_BYTES, offset + size - start)
            try:
                piece = file.pread(wanted, start)
            except (OSError, CorruptionError):
                piece = bytes(wanted)
            pieces.append(piece)
            if len(piece) < wanted:
                break
        return b"".join(pieces)


def _reason(error: CorruptionError | StorageError) -> str:
    return error.reason if isinstance(error, CorruptionError) else str(error)
