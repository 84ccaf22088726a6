"""The pieces of a spread collection under one prefix: read by key, by range, by rank; the batch is seen in all of them.

A piece goes by its suffix here: what follows the prefix in its stored key. Most collections have one kind of pieces;
one that has several (a sorted set: members, and members in order) has a `Pieces` for each. Ranks come from the rank
index (rank_index.py), made when the first is asked for and kept up to date by `added` and `delete`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from flin.engine.entry import TOMBSTONE, Page
from flin.engine.key import prefix_stop
from flin.errors import CorruptionError
from flin.objects import limits, rank_index
from flin.objects.host import Host
from flin.objects.rank_index import Piece, RankIndex

Part: TypeAlias = tuple[list[bytes], list[bytes]]
"""Suffixes and values of pieces, in the order in which they were asked for."""


class Pieces:
    """Bounds are suffixes: `start` is the first that belongs to the range, `stop` the first that does not; None: no
    bound. Any method that reads may raise ColdRead."""

    __slots__ = ("_host", "_index", "_on_grown", "_stop", "ceiling", "floor", "prefix")

    def __init__(self, host: Host, prefix: bytes, on_grown: Callable[[], None] | None = None) -> None:
        """on_grown: told when the rank index has been made."""
        self._host: Final = host
        self._on_grown = on_grown
        self.prefix: Final = prefix
        stop = prefix_stop(prefix)
        assert stop is not None  # it begins with FF 01
        self._stop: Final = stop
        self._index: RankIndex | None = None
        self.floor = b""  # no piece is below it: reads without a start begin there, behind what was deleted
        self.ceiling: bytes | None = None  # nor one at or above it

    # By key and by range.

    def get(self, suffix: bytes) -> bytes | None:
        return self._host.piece(self.prefix + suffix)

    def part(self, start: bytes, stop: bytes | None, count: int, *, reverse: bool = False) -> Part:
        """The first `count` pieces of the range, or the last ones, downwards; fewer only if there are no more."""
        begin = self.prefix + (start or self.floor)
        return self._bare(self._host.page(begin, self._bound(stop), count, reverse=reverse))

    def parts(self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False) -> Iterator[Part]:
        """All of the range, a page at a time; nothing may change in between. Of huge pieces a page has few."""
        count = min(limits.FIRST_PAGE, limits.PAGE)
        while True:
            part = self.part(start, stop, count, reverse=reverse)
            suffixes, values = part
            if suffixes:
                yield part
            if len(suffixes) < count:
                return
            count = min(limits.PAGE, 1 + limits.PAGE_BYTES * count // (1 + sum(map(len, values))))
            if reverse:
                stop = suffixes[-1]
            else:
                start = suffixes[-1] + b"\0"

    def frozen_parts(self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False) -> Iterator[Part]:
        """All of the range as of this call, in order or downwards; other commands may run between two pages."""
        return map(self._bare, self._host.frozen_pages(self.prefix + start, self._bound(stop), reverse=reverse))

    def _bound(self, stop: bytes | None) -> bytes:
        stop = self.ceiling if stop is None else stop
        return self._stop if stop is None else self.prefix + stop

    def _bare(self, page: Page) -> Part:
        keys, entries = page
        values = [entry for entry in entries if type(entry) is bytes]
        if len(values) < len(keys):  # a frozen page has tombstones
            if len(values) + entries.count(TOMBSTONE) < len(keys):
                raise CorruptionError("a piece of a collection", 0, "it has a tag or an expiry")
            keys = [key for key, entry in zip(keys, entries, strict=True) if entry is not TOMBSTONE]
        cut = len(self.prefix)
        return [key[cut:] for key in keys], values

    # By rank.

    def at(self, rank: int) -> tuple[bytes, bytes]:
        """The piece at a rank, 0 for the first: its suffix and value. IndexError."""
        suffixes, values = self.from_rank(rank, 1)
        return suffixes[0], values[0]

    def from_rank(self, rank: int, count: int) -> Part:
        """`count` pieces from a rank on, in order; fewer only if there are no more. IndexError for a rank of none."""
        index = self._ranked()
        piece, offset = index.at(rank)
        if piece.size > rank_index.MOST:
            self._divide(piece)
            piece, offset = index.at(rank)
        # A bound, where it can be, keeps the batch's changes beyond it out of the page.
        stop = piece.stop if offset + count <= piece.size else None
        suffixes, values = self.part(piece.start, stop, offset + count)
        return suffixes[offset:], values[offset:]

    def rank_of(self, suffix: bytes) -> int:
        """How many pieces come before this suffix, whether it is there or not."""
        index = self._ranked()
        piece = index.piece_of(suffix)
        if piece.size > rank_index.MOST:
            self._divide(piece)
            piece = index.piece_of(suffix)
        return piece.before + len(self.part(piece.start, suffix, piece.size)[0])

    @property
    def is_ranked(self) -> bool:
        """Whether the rank index is there; else who asks for a rank reads all pieces first."""
        return self._index is not None and self._index.is_whole and not self._index.huge

    @property
    def charge_bytes(self) -> int:
        """What the rank index costs in memory, about."""
        return 0 if self._index is None else self._index.memory_bytes()

    def rank_some(self) -> bool:
        """Read a page more for the rank index; whether it is there now. Others may run between two pages."""
        index = self._index
        if index is None:
            index = self._index = RankIndex()
        if not index.is_whole:
            suffixes = self.part(b"" if index.last is None else index.last + b"\0", None, limits.PAGE)[0]
            index.extend(suffixes)
            if len(suffixes) < limits.PAGE:
                index.finish()
                if self._on_grown is not None:
                    self._on_grown()
        elif index.huge:
            piece = index.piece_of(min(index.huge))
            index.split(
                piece.start, self.part(piece.start, piece.stop, min(piece.size, limits.PAGE + rank_index.NEW))[0]
            )
        return index.is_whole and not index.huge

    def _ranked(self) -> RankIndex:
        while not self.rank_some():
            pass
        index = self._index
        assert index is not None
        return index

    def _divide(self, piece: Piece) -> None:
        assert self._index is not None
        self._index.split(piece.start, self.part(piece.start, piece.stop, piece.size)[0])

    # Changes.

    def put(self, suffix: bytes, value: bytes) -> None:
        """Write one. If it was not there, `added` must be told."""
        self._host.put_piece(self.prefix + suffix, value)

    def added(self, suffixes: Sequence[bytes]) -> None:
        """These were not there before they were put."""
        if self._index is not None:
            for suffix in suffixes:
                self._index.add(suffix)

    def delete(self, suffix: bytes) -> None:
        """Delete one that is there."""
        self._host.delete_piece(self.prefix + suffix)
        if self._index is not None:
            self._index.remove(suffix)

    def delete_each(self, suffixes: Sequence[bytes]) -> None:
        """`delete` for each."""
        self._host.delete_each(map(self.prefix.__add__, suffixes))
        self.gone(suffixes)

    def put_each(self, suffixes: Sequence[bytes], values: Sequence[bytes]) -> None:
        """`put` for each, of at least one."""
        self._host.put_pieces(map(self.prefix.__add__, suffixes), values)

    def get_each(self, suffixes: Iterable[bytes]) -> list[bytes | None]:
        return self._host.pieces(list(map(self.prefix.__add__, suffixes)))

    def gone(self, suffixes: Sequence[bytes]) -> None:
        """These were there, and were deleted."""
        if self._index is not None:
            for suffix in suffixes:
                self._index.remove(suffix)
