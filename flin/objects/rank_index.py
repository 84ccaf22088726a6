"""How many elements of a spread collection come before a key, and which key is the n-th: counts of pieces of the order.

The index divides all keys into pieces of 24 to 96 that follow each other, and knows of each the key that it starts at
and how many there are. So it answers with a piece and an offset, and its owner reads one piece to finish: 2 % of the
memory that a sorted list of all keys takes. It is never written; what a crash forgets is made again from the entries.

It is made by `extend`, a slice of keys at a time in ascending order. Changes may come between two slices: it takes
those up to the last key that it was given and ignores the others, which its owner will meet when it reads on.

`add` and `remove` change one count. A piece that becomes too large (a count is all that the index knows of it) is
divided when its owner has read its keys: `split`. Until then only reads are slower; those of more than 512 keys are
noted in `huge`, so that no read meets them. Where keys come in order, below all others or above, new pieces begin
without a read. A piece that becomes small joins its neighbour, which needs no keys.

Counts are summed in groups of 128 pieces: a change spoils the sums of the groups, a hundred for a million keys, and a
question adds up one group.

Small pieces make a read short, large ones cost less memory. Measured with a million keys of 29 bytes (CPython 3.11):
15,625 pieces, 1.5 MB; a change 0.6 µs, the place of a key 2.5 with all groups summed again, the n-th key 4.4; then one
piece to read, of 64 keys from a block of 100.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

MOST: Final = 96
"""The most keys in a piece that is not to be divided when it is read: a read looks through as many."""

NEW: Final = 64
"""Keys in a new piece: room for changes either way."""

HUGE: Final = 512
"""A piece of more keys is divided before it is asked about, in several steps: to read as many takes 0.2 ms."""

_LEAST: Final = 24
"""Fewer make a piece join a neighbour, if both together are no more than a new piece."""

_GROUP: Final = 128
"""Pieces whose counts are summed together: near the square root of their number, for a million keys."""

_PIECE_BYTES: Final = 64
"""A piece beside the bytes of its start: a bytes object, and its places in both lists, which have room to grow."""


class Piece(NamedTuple):
    """Keys that follow each other, from start (inclusive) to stop (exclusive; None: to the end)."""

    start: bytes
    stop: bytes | None
    size: int
    """Keys in it."""
    before: int
    """Keys in all pieces before it."""


class RankIndex:
    """Keys are bytes, in their order, each once."""

    def __init__(self) -> None:
        self._starts: list[bytes] = [b""]
        self._counts: list[int] = [0]
        self._groups: list[int] = []  # the sum of each _GROUP counts; empty: to be added up
        self._sums: list[int] = []  # before each group, and of all; empty: to be added up
        self.is_whole = False
        self.first: bytes | None = None
        """No key is below it."""
        self.last: bytes | None = None
        """No key is above it; before the index is whole, the last key that `extend` got: the next slice begins after
        it."""
        self.huge: set[bytes] = set()
        """The starts of pieces with more than 512 keys."""

    @classmethod
    def made(cls, slices: Iterable[Sequence[bytes]]) -> RankIndex:
        """Whole, of all keys in ascending order."""
        index = cls()
        for keys in slices:
            index.extend(keys)
        index.finish()
        return index

    def memory_bytes(self) -> int:
        """What it costs, about: keys are taken to be as long as the last one."""
        return len(self._starts) * (_PIECE_BYTES + len(self.last or b""))

    # Making.

    def extend(self, keys: Sequence[bytes]) -> None:
        """The next slice of keys, in ascending order, all above those of the slices before."""
        assert not self.is_whole
        at = 0
        while at < len(keys):
            room = NEW - self._counts[-1]
            if room <= 0:
                self._begin_last(keys[at])
                room = NEW
            taken = min(room, len(keys) - at)
            self._change(len(self._counts) - 1, taken)
            at += taken
        if keys:
            self.first = keys[0] if self.first is None else self.first
            self.last = keys[-1]

    def finish(self) -> None:
        """There are no more keys."""
        self.is_whole = True

    # Changes.

    def add(self, key: bytes) -> None:
        """A key that was not there."""
        if self.last is None or key > self.last:
            if not self.is_whole:
                return
            if self._counts[-1] >= NEW:
                self._begin_last(key)
            self.last = key
            self.first = key if self.first is None else self.first
            self._change(len(self._counts) - 1, 1)
            return
        assert self.first is not None
        if key < self.first:
            if self._counts[0] >= NEW:
                self._insert_second(self.first)
            self.first = key
        piece = bisect_right(self._starts, key) - 1
        self._change(piece, 1)
        if self._counts[piece] > HUGE:
            self.huge.add(self._starts[piece])

    def remove(self, key: bytes) -> None:
        """A key that was there."""
        if self.is_whole or (self.last is not None and key <= self.last):
            piece = bisect_right(self._starts, key) - 1
            self._change(piece, -1)
            count = self._counts[piece]
            if count < _LEAST:
                self._join(piece)
            elif count == HUGE:
                self.huge.discard(self._starts[piece])

    def _change(self, piece: int, by: int) -> None:
        self._counts[piece] += by
        if self._groups:
            self._groups[piece // _GROUP] += by
            self._sums = []

    def _spoil(self) -> None:
        """Pieces have come or gone: the groups are others."""
        self._groups = []
        self._sums = []

    def _begin_last(self, key: bytes) -> None:
        """A new last piece: the key is above all that there are."""
        self._starts.append(key)
        self._counts.append(0)
        self._spoil()

    def _insert_second(self, start: bytes) -> None:
        """Begin the first piece's keys there, and put an empty piece before them."""
        self._starts.insert(1, start)
        self._counts.insert(0, 0)
        if b"" in self.huge:
            self.huge.remove(b"")
            self.huge.add(start)
        self._spoil()

    def _join(self, piece: int) -> None:
        """With the neighbour that has fewer keys, if the two are not too many. An empty one never stays."""
        counts = self._counts
        left = piece - 1 if piece and (piece + 1 == len(counts) or counts[piece - 1] <= counts[piece + 1]) else piece
        if left + 1 < len(counts) and (counts[left] + counts[left + 1] <= NEW or not counts[piece]):
            self.huge.discard(self._starts.pop(left + 1))
            counts[left] += counts.pop(left + 1)
            if counts[left] > HUGE:
                self.huge.add(self._starts[left])
            self._spoil()

    def split(self, start: bytes, keys: Sequence[bytes]) -> None:
        """Divide the piece that begins at `start`: these are all of its keys, in order, or the first ones of them."""
        piece = bisect_right(self._starts, start) - 1
        assert self._starts[piece] == start
        rest = self._counts[piece] - len(keys)
        assert rest >= 0
        if rest:
            cuts = list(range(NEW, len(keys), NEW))
        else:
            pieces = max(1, len(keys) // (MOST // 2))
            cuts = [len(keys) * number // pieces for number in range(1, pieces)]
        counts = [stop - cut for cut, stop in zip([0, *cuts], [*cuts, len(keys) + rest], strict=True)]
        self._starts[piece + 1 : piece + 1] = [keys[cut] for cut in cuts]
        self._counts[piece : piece + 1] = counts
        self.huge.discard(start)
        if counts[-1] > HUGE:
            self.huge.add(self._starts[piece + len(cuts)])
        self._spoil()

    # Questions, of a whole index.

    def __len__(self) -> int:
        return self._summed()[-1]

    def piece_of(self, key: bytes) -> Piece:
        """The piece in which this key lies, or would lie: its rank is `before` and the keys there that are below it."""
        number = bisect_right(self._starts, key) - 1
        group = number // _GROUP
        return self._piece(number, self._summed()[group] + sum(self._counts[group * _GROUP : number]))

    def at(self, rank: int) -> tuple[Piece, int]:
        """The piece of the key with this rank (0 is the first) and how many keys there are below it. IndexError."""
        if not 0 <= rank < len(self):
            raise IndexError(f"rank {rank} of {len(self)}")
        sums = self._summed()
        group = bisect_right(sums, rank) - 1
        within = list(accumulate(self._counts[group * _GROUP : (group + 1) * _GROUP], initial=sums[group]))
        number = bisect_right(within, rank) - 1
        return self._piece(group * _GROUP + number, within[number]), rank - within[number]

    def pieces(self) -> Iterator[Piece]:
        """All, in order."""
        return map(self._piece, range(len(self._starts)), accumulate(self._counts, initial=0))

    def _piece(self, number: int, before: int) -> Piece:
        stop = self._starts[number + 1] if number + 1 < len(self._starts) else None
        return Piece(self._starts[number], stop, self._counts[number], before)

    def _summed(self) -> list[int]:
        """How many keys come before each group, and how many there are."""
        if not self._sums:
            if not self._groups:
                counts = self._counts
                self._groups = [sum(counts[at : at + _GROUP]) for at in range(0, len(counts), _GROUP)]
            self._sums = list(accumulate(self._groups, initial=0))
        return self._sums

    def _check(self) -> None:
        """AssertionError if the parts disagree."""
        starts, counts = self._starts, self._counts
        assert starts[0] == b""
        assert all(one < other for one, other in pairwise(starts))
        assert len(starts) == len(counts)
        assert min(counts) >= 0
        groups = [sum(counts[at : at + _GROUP]) for at in range(0, len(counts), _GROUP)]
        assert self._groups in ([], groups)
        assert self._sums in ([], list(accumulate(groups, initial=0)))
        assert self.huge == {start for start, count in zip(starts, counts, strict=True) if count > HUGE}
        assert len(counts) == 1 or not self.is_whole or 0 not in counts
