"""A list: elements in order. It has at least one: who takes the last one deletes the key.

Packed while small (packed.py): `elements` holds all of it. A spread one has an entry for each element, at a position
(list_position.py), and its meta counts: the first element is at the index `head`, the last one at `tail` - 1. So both
ends are written and found by arithmetic, and no seek walks over the tombstones of what was popped.

An element that is pushed and popped within one batch leaves the batch again. That is right only for an index at which
the store holds nothing, so a list knows which indices that may be: those that it had when the batch began.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from flin.engine.entry import Page
from flin.errors import CorruptionError
from flin.objects import limits
from flin.objects.layout import LIST
from flin.objects.list_position import FIRST_INDEX, position
from flin.objects.live_object import BASE_BYTES, LiveObject, Objects
from flin.objects.meta import ListMeta, Meta
from flin.objects.packed import decode_list, encode_list

_ELEMENT_BYTES: Final = 50
"""An element in memory: a bytes object and its place in a list."""

_SINGLE: Final = 16
"""Up to so many neighbours are read one by one: a page costs as much, since it sorts the batch."""

_ALL_INDICES: Final = range(1 << 64)


class List(LiveObject):
    """`elements`, or None: spread."""

    TAG = LIST

    __slots__ = ("_batch", "_stored", "elements")

    meta: ListMeta | None

    def __init__(self, objects: Objects, key: bytes) -> None:
        super().__init__(objects, key)
        self.elements: list[bytes] | None = []
        self._batch = -1  # the one for which _stored holds
        self._stored = range(0)  # the indices at which the store may hold an element of this version

    def load(self, value: bytes, expires_at_ms: int) -> None:
        super().load(value, expires_at_ms)
        if self.meta is not None and self.objects.host.is_pending(self.key):
            self._batch, self._stored = self.objects.host.batch, _ALL_INDICES  # nobody knows what the batch replaces

    def load_packed(self, value: bytes) -> None:
        self.elements = decode_list(value)

    def encode_packed(self) -> bytes:
        assert self.elements is not None
        return encode_list(self.elements)

    def charge_bytes(self) -> int:
        held = len(self.elements) * _ELEMENT_BYTES + self.held_bytes if self.elements is not None else 0
        return BASE_BYTES + len(self.key) + held

    # Reads.

    def __len__(self) -> int:
        meta = self.meta
        if meta is not None:
            return meta.count
        assert self.elements is not None
        return len(self.elements)

    @property
    def is_large(self) -> bool:
        """Whether a reply with all of it should go in slices."""
        return len(self) > limits.SLICED

    def at(self, rank: int) -> bytes:
        """The element at a rank from 0 on, below the length."""
        if self.elements is not None:
            return self.elements[rank]
        assert self.meta is not None
        return self._piece(self.meta.head + rank)

    def between(self, start: int, stop: int) -> list[bytes]:
        """The elements from a rank to below another, as a list of the caller's own."""
        return list(chain.from_iterable(self.pages(start, stop)))

    def pages(self, start: int, stop: int) -> Iterator[list[bytes]]:
        """`between`, some at a time; nothing may change in between."""
        if self.elements is not None:
            yield self.elements[start:stop]
            return
        assert self.meta is not None
        head = self.meta.head
        if stop - start <= _SINGLE:
            yield [self._piece(head + rank) for rank in range(start, stop)]
            return
        for first in range(start, stop, limits.PAGE):
            last = min(first + limits.PAGE, stop)
            yield _values(self._page(head + first, head + last), last - first)

    def frozen_pages(self, start: int, stop: int) -> Iterator[list[bytes]]:
        """`between` as of this call, some at a time; other commands may run in between."""
        if self.elements is not None:
            return iter([self.elements[start:stop]])
        assert self.meta is not None
        head = self.meta.head
        first, last = self.prefix + position(head + start), self.prefix + position(head + stop)
        return (_values(page, len(page[0])) for page in self.objects.host.frozen_pages(first, last))

    @property
    def encoding(self) -> bytes:
        """OBJECT ENCODING: Redis 7.0 knows no other."""
        return b"quicklist"

    # Changes.

    def push_left(self, elements: Sequence[bytes]) -> None:
        """Put at least one element before the first, one after the other: the last of them is the first then."""
        meta = self.meta
        if meta is None:
            assert self.elements is not None
            self.elements[:0] = elements[::-1]
            self._note_packed(elements)
            return
        if not self.is_dirty:
            self._begin_batch()
        put, prefix, head = self.objects.host.put_piece, self.prefix, meta.head
        for element in elements:
            head -= 1
            put(prefix + head.to_bytes(8, "big"), element)
        meta.count += meta.head - head
        meta.head = head
        self.objects.touch(self)

    def push_right(self, elements: Sequence[bytes]) -> None:
        """Put at least one element behind the last."""
        meta = self.meta
        if meta is None:
            assert self.elements is not None
            self.elements += elements
            self._note_packed(elements)
            return
        if not self.is_dirty:
            self._begin_batch()
        put, prefix, tail = self.objects.host.put_piece, self.prefix, meta.tail
        for element in elements:
            put(prefix + tail.to_bytes(8, "big"), element)
            tail += 1
        meta.count += tail - meta.tail
        meta.tail = tail
        self.objects.touch(self)

    def pop_left(self) -> bytes:
        """Take the first element out."""
        element = self.at(0)
        self.drop_left(1)
        return element

    def pop_right(self) -> bytes:
        """Take the last element out."""
        element = self.at(len(self) - 1)
        self.drop_right(1)
        return element

    def drop_left(self, count: int) -> None:
        """Take so many elements out, at least one and at most all, from the first on."""
        meta = self.meta
        if meta is None:
            assert self.elements is not None
            self.held_bytes -= sum(map(len, self.elements[:count])) + count
            del self.elements[:count]
        else:
            self._delete(range(meta.head, meta.head + count))
            meta.head += count
        self._note_dropped()

    def drop_right(self, count: int) -> None:
        """Take so many elements out, at least one and at most all, from the last on."""
        meta = self.meta
        if meta is None:
            assert self.elements is not None
            self.held_bytes -= sum(map(len, self.elements[-count:])) + count
            del self.elements[-count:]
        else:
            self._delete(range(meta.tail - count, meta.tail))
            meta.tail -= count
        self._note_dropped()

    # Inside.

    def _begin_spread(self, meta: Meta) -> None:
        super()._begin_spread(meta)
        self.elements = None

    def _begin_batch(self) -> None:
        """Before the first change since the last commit, or since the list was settled."""
        batch, meta = self.objects.host.batch, self.meta
        if self._batch != batch and meta is not None:
            self._batch, self._stored = batch, range(meta.head, meta.tail)

    def _piece(self, index: int) -> bytes:
        found = self.objects.host.piece(self.prefix + index.to_bytes(8, "big"))
        if found is None:
            raise CorruptionError("a list", 0, f"it has no element at the index {index}")
        return found

    def _page(self, first: int, last: int) -> Page:
        start, stop = self.prefix + position(first), self.prefix + position(last)
        return self.objects.host.page(start, stop, last - first)

    def _note_packed(self, new: Sequence[bytes]) -> None:
        assert self.elements is not None
        self.held_bytes += sum(map(len, new)) + len(new)
        if self.is_too_large_to_pack():
            self._spread(self.elements)
        self.objects.touch(self, self.held_bytes if self.meta is None else 0)

    def _spread(self, elements: list[bytes]) -> None:
        slot, version = self.new_place()
        tail = FIRST_INDEX + len(elements)
        self.become_spread(ListMeta(slot, version, len(elements), FIRST_INDEX, tail))
        self._batch, self._stored = self.objects.host.batch, range(0)  # nothing is stored under this version
        put, prefix = self.objects.host.put_piece, self.prefix
        for index, element in enumerate(elements, FIRST_INDEX):
            put(prefix + position(index), element)

    def _delete(self, indices: range) -> None:
        if not self.is_dirty:
            self._begin_batch()
        host, prefix, stored = self.objects.host, self.prefix, self._stored
        for index in indices:
            if index in stored:
                host.delete_piece(prefix + index.to_bytes(8, "big"))
            else:
                host.take_back_piece(prefix + index.to_bytes(8, "big"))
        assert self.meta is not None
        self.meta.count -= len(indices)

    def _note_dropped(self) -> None:
        if len(self):
            self.objects.touch(self, self.held_bytes if self.meta is None else 0)
        else:
            self.objects.delete(self)


def _values(page: Page, count: int) -> list[bytes]:
    """The elements of a page that must have so many."""
    values = [entry for entry in page[1] if type(entry) is bytes]
    if len(values) != count:
        raise CorruptionError("a list", 0, f"it has {len(values)} of {count} elements")
    return values
