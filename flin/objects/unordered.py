"""What hashes and sets share: elements that are pieces of their own, in no promised order.

Packed while small (packed.py). One becomes spread in the commit of the command that crosses MAX_PACKED_ELEMENTS or
MAX_PACKED_BYTES, or that changes a packed one of more than MIN_REWRITTEN elements for the MAX_REWRITES-th time: to
write 64 fields again for each change costs 35 µs, one spread field 12 (measured in a prototype). A spread one of up to
MAX_WHOLE elements that a command had to read whole keeps them, and is *whole* from then on.

A rank is a place in an order that stays until the next change: whoever draws ranks at random is fair. One that is
whole has its elements at hand; for another the rank index (rank_index.py) finds them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final, Generic, TypeVar

from flin.engine.entry import Page
from flin.engine.key import prefix_stop
from flin.objects.layout import PREFIX_BYTES
from flin.objects.live_object import LiveObject, Objects
from flin.objects.meta import Meta
from flin.objects.rank_index import RankIndex

MAX_PACKED_ELEMENTS: Final = 64
MAX_PACKED_BYTES: Final = 4096
"""Elements, and bytes of the value, of a packed one: a cold read costs the same in both forms there."""

MIN_REWRITTEN: Final = 16
MAX_REWRITES: Final = 20
"""Commits that wrote a live packed one with more than MIN_REWRITTEN elements anew until spreading it pays."""

MAX_WHOLE: Final = 16_384
"""Elements of a spread one that are kept in memory together: 2.5 MB of a hash's."""

SLICED: Final = 10_000
"""From this many elements on a reply with all of them goes in slices."""

PAGE: Final = 1024
"""Pieces that are read at once: a millisecond."""

Element = TypeVar("Element")


def fits_whole(count: int) -> bool:
    """Whether so many elements may be kept in memory."""
    return count <= MAX_WHOLE


class Unordered(LiveObject, Generic[Element]):
    """An element is what commands show: a field with its value, a member. Its piece has the field or member behind the
    prefix."""

    __slots__ = ("_bytes", "_index", "_rewrites")

    def __init__(self, objects: Objects, key: bytes) -> None:
        super().__init__(objects, key)
        self._bytes = 0  # of the packed value, about
        self._rewrites = 0  # commits of it while it is live
        self._index: RankIndex | None = None

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
    def _parsed(self, page: Page) -> list[Element]: ...

    @abstractmethod
    def _forget_elements(self) -> None:
        """They are too many to keep, or it has just become spread."""

    # Reads.

    @property
    def is_large(self) -> bool:
        """Whether a reply with all of it should go in slices."""
        return len(self) > SLICED

    def scan(self, after: bytes | None, count: int) -> tuple[list[Element], bytes | None]:
        """The next `count` elements above `after`, in the order of bytes, and the last one's field or member, to go on
        after it; None at the end."""
        if self.is_packed:
            return self.elements(), None
        start = self.prefix if after is None else self.prefix + after + b"\0"
        keys, entries = self.objects.host.page(start, self._stop, count + 1)
        last = keys[count - 1][PREFIX_BYTES:] if len(keys) > count else None
        return self._parsed((keys[:count], entries[:count])), last

    def element_at(self, rank: int) -> Element:
        """The element at a rank from 0 on, in an order that stays until the next change."""
        if self.is_whole:
            return self._held_at(rank)
        index = self._index or self._made_index()
        for start in list(index.large):
            index.split(start, self._keys_from(start, index.piece_of(start).size))
        piece, offset = index.at(rank)
        keys, entries = self.objects.host.page(self.prefix + piece.start, self._stop, offset + 1)
        return self._parsed((keys[offset:], entries[offset:]))[0]

    # Inside.

    def _begin_spread(self, meta: Meta) -> None:
        super()._begin_spread(meta)
        self._forget_elements()

    def _is_too_large_to_pack(self) -> bool:
        count = len(self)
        is_rewritten = count > MIN_REWRITTEN and self._rewrites >= MAX_REWRITES
        return count > MAX_PACKED_ELEMENTS or self._bytes > MAX_PACKED_BYTES or is_rewritten

    def _spread_pieces(self, pieces: Collection[tuple[bytes, bytes]]) -> None:
        slot, version = self.new_place()
        self.become_spread(Meta(slot, version, len(pieces)))
        put, prefix = self.objects.host.put_piece, self.prefix
        for suffix, value in pieces:
            put(prefix + suffix, value)

    def _note_new(self, new: Sequence[bytes]) -> None:
        """Pieces were put where none had been."""
        assert self.meta is not None
        self.meta.count += len(new)
        if self._index is not None:
            for suffix in new:
                self._index.add(suffix)
        if self.is_whole and not fits_whole(self.meta.count):
            self._forget_elements()  # from here on it is read element by element

    def _note_gone(self, gone: Iterable[bytes]) -> None:
        """These have left memory: delete their pieces, and the key with the last one."""
        if self.meta is not None:
            delete, prefix = self.objects.host.delete_piece, self.prefix
            for suffix in gone:
                delete(prefix + suffix)
                self.meta.count -= 1
                if self._index is not None:
                    self._index.remove(suffix)
        if len(self):
            self.objects.touch(self, self._bytes if self.meta is None else 0)
        else:
            self.objects.delete(self)

    @property
    def _stop(self) -> bytes:
        stop = prefix_stop(self.prefix)
        assert stop is not None
        return stop

    def _pages(self) -> Iterator[Page]:
        start = self.prefix
        while True:
            page = self.objects.host.page(start, self._stop, PAGE)
            if page[0]:
                yield page
            if len(page[0]) < PAGE:
                return
            start = page[0][-1] + b"\0"

    def _keys_from(self, start: bytes, count: int) -> list[bytes]:
        keys, _ = self.objects.host.page(self.prefix + start, self._stop, count)
        return [key[PREFIX_BYTES:] for key in keys]

    def _made_index(self) -> RankIndex:
        self._index = RankIndex.made([key[PREFIX_BYTES:] for key in keys] for keys, _ in self._pages())
        return self._index
