"""What hashes and sets share: elements that are pieces of their own, in no promised order.

A rank is a place in an order that stays until the next change: whoever draws ranks at random is fair. One that is
whole (limits.py) has its elements at hand; for another the rank index finds them (pieces.py).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Generic, TypeVar

from flin.objects import limits
from flin.objects.live_object import LiveObject
from flin.objects.meta import Meta
from flin.objects.pieces import Part, Pieces

Element = TypeVar("Element")


class Unordered(LiveObject, Generic[Element]):
    """An element is what commands show: a field with its value, a member. Its piece has the field or member behind the
    prefix."""

    __slots__ = ("_pieces", "_ranks_read")

    _pieces: Pieces
    """Those of a spread one; a packed one has none."""

    # What each kind says of itself.

    @property
    @abstractmethod
    def is_whole(self) -> bool:
        """Whether all of it is in memory."""

    @abstractmethod
    def elements(self) -> list[Element]:
        """All, as a list of the caller's own; from here on they are kept if they are not too many."""

    @abstractmethod
    def element_pages(self) -> Iterator[list[Element]]:
        """All as of this call, some at a time; other commands may run in between."""

    @abstractmethod
    def _held_at(self, rank: int) -> Element:
        """What `element_at` returns, of one that is whole."""

    @abstractmethod
    def _parsed(self, part: Part) -> list[Element]: ...

    @abstractmethod
    def _forget_elements(self) -> None:
        """They are too many to keep, or it has just become spread."""

    # Reads.

    @property
    def is_large(self) -> bool:
        """Whether a reply with all of it should go in slices."""
        return len(self) > limits.SLICED

    def scan(self, after: bytes | None, count: int) -> tuple[list[Element], bytes | None]:
        """The next `count` elements above `after`, in the order of bytes, and the last one's field or member, to go on
        after it; None at the end."""
        if self.is_packed:
            return self.elements(), None
        names, values = self._pieces.part(b"" if after is None else after + b"\0", None, count + 1)
        last = names[count - 1] if len(names) > count else None
        return self._parsed((names[:count], values[:count])), last

    def element_at(self, rank: int) -> Element:
        """The element at a rank from 0 on, in an order that stays until the next change."""
        if not self.is_whole:
            self._ranks_read += 1
            if self._ranks_read * limits.RANK_READS < len(self) or not limits.fits_whole(len(self)):
                return self._parsed(self._pieces.from_rank(rank, 1))[0]
            found = self.elements()  # by now that costs no more than the ranks did; the order is the same
            if not self.is_whole:
                return found[rank]
        return self._held_at(rank)

    @property
    def is_ranked(self) -> bool:
        """Whether the element at a rank is found by a few reads; if not, rank_some() makes it so."""
        return self.is_whole or not self.is_large or self._pieces.is_ranked

    def rank_some(self) -> bool:
        """Read a page more for the rank index; whether ranks are found now. Others may run between two calls."""
        return self.is_whole or self._pieces.rank_some()

    # Inside.

    @property
    def _index_bytes(self) -> int:
        """What the rank index costs in memory, about."""
        return 0 if self.meta is None else self._pieces.charge_bytes

    def _begin_spread(self, meta: Meta) -> None:
        super()._begin_spread(meta)
        self._pieces = Pieces(self.objects.host, self.prefix, partial(self.objects.grown, self.key))
        self._ranks_read = 0
        self._forget_elements()

    def _spread_pieces(self, pieces: Collection[tuple[bytes, bytes]]) -> None:
        slot, version = self.new_place()
        self.become_spread(Meta(slot, version, len(pieces)))
        for suffix, value in pieces:
            self._pieces.put(suffix, value)

    def _note_new(self, new: Sequence[bytes]) -> None:
        """Pieces were put where none had been."""
        assert self.meta is not None
        self.meta.count += len(new)
        self._pieces.added(new)
        if self.is_whole and not self._may_stay_whole():
            self._forget_elements()  # from here on it is read element by element

    def _may_stay_whole(self) -> bool:
        """Whether one that is whole still fits."""
        return limits.fits_whole(len(self), self.held_bytes)

    def _note_gone(self, gone: Iterable[bytes]) -> None:
        """These have left memory: delete their pieces, and the key with the last one."""
        if self.meta is not None:
            for suffix in gone:
                self._pieces.delete(suffix)
                self.meta.count -= 1
        if len(self):
            self.objects.touch(self, self.held_bytes if self.meta is None else 0)
        else:
            self.objects.delete(self)
