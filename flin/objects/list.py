"""A list: elements in order. It has at least one: who takes the last one deletes the key.

Packed while small (packed.py): `elements` holds all of it. Later `spread` knows how to find them (spread_list.py); no
spread list is kept in memory whole, since both ends, where most of the work is, are found at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Final

from flin.objects import limits
from flin.objects.layout import LIST
from flin.objects.list_position import FIRST_INDEX
from flin.objects.live_object import BASE_BYTES, LiveObject, Objects
from flin.objects.meta import ListMeta, Meta
from flin.objects.packed import decode_list, encode_list
from flin.objects.spread_list import SpreadList

ELEMENT_BYTES: Final = 50
"""An element in memory: a bytes object and its place in a list."""


class List(LiveObject):
    """`elements`, or else `spread`. Ranks count from 0. What reads may raise ColdRead, before it changes anything."""

    TAG = LIST

    __slots__ = ("elements", "spread")

    def __init__(self, objects: Objects, key: bytes) -> None:
        super().__init__(objects, key)
        self.elements: list[bytes] = []
        self.spread: SpreadList | None = None

    def load(self, value: bytes, expires_at_ms: int) -> None:
        super().load(value, expires_at_ms)
        if self.spread is not None and self.objects.host.is_pending(self.key):
            self.spread.begin_unknown_batch()

    def load_packed(self, value: bytes) -> None:
        self.elements = decode_list(value)

    def encode_packed(self) -> bytes:
        return encode_list(self.elements)

    def charge_bytes(self) -> int:
        spread = 0 if self.spread is None else self.spread.charge_bytes
        return BASE_BYTES + len(self.key) + len(self.elements) * ELEMENT_BYTES + self.held_bytes + spread

    # Reads.

    def __len__(self) -> int:
        spread = self.spread
        return len(self.elements) if spread is None else spread.meta.count

    @property
    def is_large(self) -> bool:
        """Whether a reply with all of it should go in slices."""
        return len(self) > limits.SLICED

    def at(self, rank: int) -> bytes:
        """The element at a rank below the length."""
        return self.elements[rank] if self.spread is None else self.spread.at(rank)

    def at_end(self, count: int, *, is_left: bool) -> list[bytes]:
        """So many of the first elements, or of the last ones, from the end on, for who is about to drop them."""
        spread, length = self.spread, len(self)
        if spread is not None and spread.meta.is_dense:
            return spread.at_end(count, is_left=is_left)
        return self.between(0, count) if is_left else self.between(length - count, length)[::-1]

    def between(self, start: int, stop: int) -> list[bytes]:
        """The elements from a rank to below another, as a list of the caller's own."""
        spread = self.spread
        if spread is None:
            return self.elements[start:stop]
        found = spread.maybe_kept(start, stop)
        if found is None:
            found = list(chain.from_iterable(spread.pages(start, stop)))
            if spread.keep(start, found):
                self.objects.grown(self.key)
        return found

    def pages(self, start: int, stop: int) -> Iterator[list[bytes]]:
        """`between`, some at a time; nothing may change in between."""
        return iter([self.elements[start:stop]]) if self.spread is None else self.spread.pages(start, stop)

    def frozen_pages(self, start: int, stop: int) -> Iterator[list[bytes]]:
        """`between` as of this call, some at a time; other commands may run in between."""
        return iter([self.elements[start:stop]]) if self.spread is None else self.spread.frozen_pages(start, stop)

    def all_pages(self, *, reverse: bool = False) -> Iterator[list[bytes]]:
        """All elements, in order or from the last on, some at a time; nothing may change in between."""
        if self.spread is None:
            return iter([self.elements[::-1] if reverse else self.elements])
        return (values for _, values in self.spread.parts(reverse=reverse))

    @property
    def encoding(self) -> bytes:
        """OBJECT ENCODING: Redis 7.0 knows no other."""
        return b"quicklist"

    # Changes at the ends.

    def push_left(self, elements: Sequence[bytes]) -> None:
        """Put at least one element before the first, one after the other: the last of them is the first then."""
        spread = self.spread
        if spread is None:
            self.elements[:0] = elements[::-1]
            self._note_packed(elements)
            return
        if not self.is_dirty:
            spread.begin_batch()
        spread.push_left(elements)
        self.objects.touch(self)

    def push_right(self, elements: Sequence[bytes]) -> None:
        """Put at least one element behind the last."""
        spread = self.spread
        if spread is None:
            self.elements += elements
            self._note_packed(elements)
            return
        if not self.is_dirty:
            spread.begin_batch()
        spread.push_right(elements)
        self.objects.touch(self)

    def pop_left(self) -> bytes:
        """Take the first element out."""
        return self._pop(is_left=True)

    def pop_right(self) -> bytes:
        """Take the last element out."""
        return self._pop(is_left=False)

    def _pop(self, *, is_left: bool) -> bytes:
        spread = self.spread
        if spread is None:
            element = self.elements.pop(0 if is_left else -1)
            self._note_unpacked((element,))
            return element
        if not self.is_dirty:
            spread.begin_batch()
        element = spread.pop_left() if is_left else spread.pop_right()
        if spread.meta.count:
            self.objects.touch(self)
        else:
            self.objects.delete(self)
        return element

    def drop(self, left: int, right: int) -> None:
        """Delete so many elements at both ends."""
        spread, count = self.spread, len(self)
        if spread is None:
            gone = self.elements[:left] + self.elements[count - right :]
            self.elements = self.elements[left : count - right]
            self._note_unpacked(gone)
        elif left + right == count:
            self.objects.abandon(self)
        else:
            if not self.is_dirty:
                spread.begin_batch()
            spread.drop(left, right)
            self.objects.touch(self)

    def rotate(self, *, is_from_left: bool, is_to_left: bool) -> bytes:
        """Take the element at one end out and put it back at an end."""
        if len(self) == 1:
            self.touch()
            return self.at(0)
        element = self._pop(is_left=is_from_left)
        self.push_left((element,)) if is_to_left else self.push_right((element,))
        return element

    def keep(self, start: int, stop: int, most_bytes: int) -> None:
        """Delete all but the elements from a rank to below another. If less stays than goes, and no more than so many
        bytes, what stays is written anew."""
        stays, count = stop - start, len(self)
        kept = maybe_all(self.pages(start, stop), most_bytes) if self.spread and 0 < stays < count - stays else None
        if kept is None:
            self.drop(start, count - stop)
        else:
            self._write_anew(kept)

    # Changes in the middle.

    def set_at(self, rank: int, element: bytes) -> None:
        """Put an element in the place of the one at this rank."""
        spread = self.spread
        if spread is None:
            self.held_bytes += len(element) - len(self.elements[rank])
            self.elements[rank] = element
            self._note_packed(())
            return
        position = spread.position_at(rank)
        if not self.is_dirty:
            spread.begin_batch()
        spread.put(position, element)
        self.objects.touch(self)

    def insert(self, pivot: bytes, element: bytes, *, is_before: bool, most_bytes: int) -> bool:
        """Put an element beside the first that equals the pivot. False if there is none. MemoryError if the list would
        have to be written anew, and has more than so many bytes."""
        spread = self.spread
        if spread is None:
            if pivot not in self.elements:
                return False
            self.elements.insert(self.elements.index(pivot) + (not is_before), element)
            self._note_packed((element,))
            return True
        found = _first_position(spread, pivot)
        if found is None:
            return False
        position = spread.maybe_position_beside(found, is_before=is_before)
        if position is None:
            self._insert_anew(pivot, element, is_before=is_before, most_bytes=most_bytes)
            return True
        if not self.is_dirty:
            spread.begin_batch()
        spread.insert(position, element)
        self.objects.touch(self)
        return True

    def _insert_anew(self, pivot: bytes, element: bytes, *, is_before: bool, most_bytes: int) -> None:
        elements = maybe_all(self.all_pages(), most_bytes)
        if elements is None:
            raise MemoryError
        elements.insert(elements.index(pivot) + (not is_before), element)
        self._write_anew(elements)

    def remove(self, element: bytes, count: int) -> int:
        """Take the first elements that equal this one out, so many, or the last ones for a negative count, or all of
        them for 0. Returns how many."""
        if self.spread is None:
            return self._remove_packed(element, count)
        most = abs(count) or len(self)
        gone: list[bytes] = []
        for suffixes, values in self.spread.parts(reverse=count < 0):
            gone += [suffix for suffix, value in zip(suffixes, values, strict=True) if value == element]
            if len(gone) >= most:
                break
        del gone[most:]
        if len(gone) == len(self):
            self.objects.abandon(self)
        elif gone:
            if not self.is_dirty:
                self.spread.begin_batch()
            self.spread.delete(gone)
            self.objects.touch(self)
        return len(gone)

    def _remove_packed(self, element: bytes, count: int) -> int:
        elements = self.elements
        ranks = [rank for rank, value in enumerate(elements) if value == element]
        ranks = ranks[count:] if count < 0 else ranks[: count or None]
        for rank in reversed(ranks):
            del elements[rank]
        if ranks:
            self._note_unpacked([element] * len(ranks))
        return len(ranks)

    # Inside.

    def touch(self) -> None:
        """It counts as changed, though nothing has."""
        if self.spread is None:
            self._note_packed(())
        else:
            if not self.is_dirty:
                self.spread.begin_batch()
            self.objects.touch(self)

    def _begin_spread(self, meta: Meta) -> None:
        super()._begin_spread(meta)
        assert isinstance(meta, ListMeta)
        self.spread = SpreadList(self.objects.host, self.prefix, meta, partial(self.objects.grown, self.key))
        self.elements = []
        self.held_bytes = 0

    def _note_packed(self, new: Sequence[bytes]) -> None:
        self.held_bytes += sum(map(len, new)) + len(new)
        if self.is_too_large_to_pack():
            self._spread()
        self.objects.touch(self, self.held_bytes)

    def _note_unpacked(self, gone: Sequence[bytes]) -> None:
        self.held_bytes -= sum(map(len, gone)) + len(gone)
        if self.elements:
            self.objects.touch(self, self.held_bytes)
        else:
            self.objects.delete(self)

    def _spread(self) -> None:
        elements = self.elements
        slot, version = self.new_place()
        self.become_spread(ListMeta(slot, version, 0, FIRST_INDEX, FIRST_INDEX))
        assert self.spread is not None
        self.spread.begin_new()
        self.spread.push_right(elements)

    def _write_anew(self, elements: list[bytes]) -> None:
        """Under the same key, in the smallest form; the reaper deletes what was."""
        made = List(self.objects, self.key)
        made.expires_at_ms = self.expires_at_ms
        made.push_right(elements)


def maybe_all(pages: Iterable[list[bytes]], most_bytes: int) -> list[bytes] | None:
    """The elements of all pages; None if they take more memory than that."""
    found: list[bytes] = []
    size = 0
    for page in pages:
        size += sum(map(len, page)) + ELEMENT_BYTES * len(page)
        if size > most_bytes:
            return None
        found += page
    return found


def _first_position(spread: SpreadList, element: bytes) -> bytes | None:
    """Where the first is that equals this one."""
    for suffixes, values in spread.parts():
        if element in values:
            return suffixes[values.index(element)]
    return None
