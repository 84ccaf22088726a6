"""The elements of a spread list: pieces at positions (list_position.py), from `head` up to below `tail` of its meta.

While it is dense an element's position is its rank counted from head, so every read and write is arithmetic, and none
walks over the tombstones of what was popped. After LINSERT, or LREM in the middle, it is not: ranks come from the rank
index then, made when one far from both ends is asked for. Holes that leave at an end make it dense again; fractions
are known to be gone only when the list is written anew.

A piece that is put and deleted within one batch leaves the batch again. That is right only where the store holds
nothing, so it is known where that may be: at the indices that the list had when the batch began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from struct import Struct
from typing import Final

from flin.errors import CorruptionError
from flin.objects import limits
from flin.objects.host import Host
from flin.objects.layout import PREFIX_BYTES
from flin.objects.list_position import INDEX_BYTES, maybe_between, position
from flin.objects.meta import ListMeta
from flin.objects.pieces import Part, Pieces
from flin.objects.read_ahead import ReadAhead

CHUNK: Final = 1024
"""Elements of a dense one that are read together, by their keys."""

NEAR: Final = 256
"""A rank that is nearer to an end is counted from there: as many as a piece of the rank index has."""

MAX_TOMBSTONES: Final = 4096
"""More elements at an end are deleted by one range delete, as the reaper does it."""

_ALL_INDICES: Final = range(1 << 64)

_LAST_BYTES: Final = tuple(bytes((number,)) for number in range(256))


class SpreadList:
    """The meta's head is the index of the first element, its tail the one after that of the last. Ranks are those of
    elements, from 0 on. What reads may raise ColdRead; each method reads all that it needs before it changes
    anything."""

    __slots__ = ("_batch", "_host", "_on_grown", "_pieces", "_prefix", "_stored", "ahead", "meta")

    def __init__(self, host: Host, prefix: bytes, meta: ListMeta, on_grown: Callable[[], None]) -> None:
        """on_grown: told when it holds more in memory, though nothing has changed."""
        self.meta: Final = meta
        self._host: Final = host
        self._prefix: Final = prefix
        self._on_grown: Final = on_grown
        self._pieces = self._without_ranks()
        self._batch = -1  # the one for which _stored holds
        self._stored = range(0)  # the indices at which the store may hold an element
        self.ahead: Final = ReadAhead()  # while it is dense

    @property
    def charge_bytes(self) -> int:
        """What the rank index and what was read ahead cost in memory, about."""
        return self._pieces.charge_bytes + self.ahead.held_bytes

    # Batches. Before the first change since a commit one of these must be called.

    def begin_batch(self) -> None:
        """In this batch it has not changed, or what it was told of this batch holds."""
        if self._batch != self._host.batch:
            self._batch, self._stored = self._host.batch, range(self.meta.head, self.meta.tail)

    def begin_unknown_batch(self) -> None:
        """This batch may have changed it before it was loaded."""
        self._batch, self._stored = self._host.batch, _ALL_INDICES

    def begin_new(self) -> None:
        """The store holds nothing under this prefix."""
        self._batch, self._stored = self._host.batch, range(0)

    # Reads.

    def at(self, rank: int) -> bytes:
        return self._at(self.position_at(rank))

    def _at(self, suffix: bytes) -> bytes:
        found = self._host.piece(self._prefix + suffix)
        if found is None:
            raise CorruptionError("a list", 0, f"it has no element at the position {suffix.hex()}")
        return found

    def _keys(self, start: int, stop: int) -> list[bytes]:
        """The keys of the pieces at the indices from start to below stop. Neighbours have all but the last byte in
        common: cut out of one string they cost half as much as one by one."""
        keys: list[bytes] = []
        while start < stop:
            head = self._prefix + (start >> 8).to_bytes(INDEX_BYTES - 1, "big")
            first = start & 255
            last_bytes = _LAST_BYTES[first : first + stop - start]
            keys += _cutter(len(last_bytes))(head.join((b"", *last_bytes)))
            start += 256 - first
        return keys

    def _some(self, start: int, stop: int) -> list[bytes]:
        """The elements at these indices of a dense one."""
        keys = self._keys(start, stop)
        written = self._host.pieces_in_memory(keys)
        if written is not None:
            return list(written)
        elements = [element for element in self._host.neighbours(keys) if element is not None]
        if len(elements) < stop - start:
            raise CorruptionError("a list", 0, f"it lacks elements from the index {start} on")
        return elements

    def at_end(self, count: int, *, is_left: bool) -> list[bytes]:
        """The first elements of a dense one, or the last ones, from the end on; it reads ahead."""
        meta, ahead = self.meta, self.ahead
        start, stop = (meta.head, meta.head + count) if is_left else (meta.tail - count, meta.tail)
        found: Sequence[bytes] | None = ahead.find(start, stop) if ahead.elements else None
        if found is None:
            found = self._host.pieces_in_memory(self._keys(start, stop))
        if found is None:
            reach = ahead.reach(count)
            begin = start if is_left else max(stop - reach, meta.head)
            end = min(start + reach, meta.tail) if is_left else stop
            try:
                ahead.fill(begin, self._some(begin, end))
            except CorruptionError:  # perhaps not where it is asked for
                ahead.fill(start, self._some(start, stop))
            found = ahead.find(start, stop)
            assert found is not None
        return list(found) if is_left else list(found[::-1])

    def position_at(self, rank: int) -> bytes:
        """The position of the element at a rank, or of the end."""
        meta = self.meta
        if meta.is_dense:
            return (meta.head + rank).to_bytes(INDEX_BYTES, "big")
        if rank == meta.count:
            return position(meta.tail)
        if rank < NEAR:
            return self._positions(rank + 1)[rank]
        if meta.count - rank <= NEAR:
            return self._positions(meta.count - rank, reverse=True)[-1]
        return self._bounded().at(rank)[0]

    def _positions(self, count: int, *, reverse: bool = False) -> list[bytes]:
        """Those of the first elements, or of the last ones, downwards."""
        suffixes, _ = self._bounded().part(b"", None, count, reverse=reverse)
        if len(suffixes) < count:
            raise CorruptionError("a list", 0, f"it has {len(suffixes)} elements, not at least {count}")
        return suffixes

    def _bounded(self) -> Pieces:
        """The pieces, within the list."""
        pieces = self._pieces
        pieces.floor, pieces.ceiling = position(self.meta.head), position(self.meta.tail)
        return pieces

    def pages(self, start: int, stop: int) -> Iterator[list[bytes]]:
        """The elements from a rank to below another, some at a time; nothing may change in between."""
        if self.meta.is_dense:
            yield from self._dense_pages(self.meta.head + start, self.meta.head + stop)
            return
        left = stop - start
        for _, values in self._pieces.parts(self.position_at(start), self.position_at(stop)):
            left -= len(values)
            yield values
        if left:
            raise CorruptionError("a list", 0, f"it lacks {left} of the elements from {start} to {stop}")

    def maybe_kept(self, start: int, stop: int) -> list[bytes] | None:
        """The elements from a rank to below another, if they were read lately."""
        head = self.meta.head
        return self.ahead.find(head + start, head + stop) if self.ahead.elements else None

    def keep(self, start: int, elements: list[bytes]) -> bool:
        """Keep elements that were read, from this rank on, if they are not too many. Returns whether they are kept."""
        return self.meta.is_dense and self.ahead.keep(self.meta.head + start, elements)

    def _dense_pages(self, start: int, stop: int) -> Iterator[list[bytes]]:
        """The elements at these indices. Of huge ones a page has few."""
        count = min(limits.FIRST_PAGE, CHUNK)
        while start < stop:
            page = self._some(start, min(start + count, stop))
            yield page
            start += len(page)
            count = min(CHUNK, 1 + limits.PAGE_BYTES * len(page) // (1 + sum(map(len, page))))

    def frozen_pages(self, start: int, stop: int) -> Iterator[list[bytes]]:
        """`pages` as of this call; other commands may run in between."""
        parts = self._pieces.frozen_parts(self.position_at(start), self.position_at(stop))
        return (values for _, values in parts)

    def parts(self, *, reverse: bool = False) -> Iterator[Part]:
        """All positions and elements, in order or from the last on."""
        return self._bounded().parts(reverse=reverse)

    # Changes at the ends.

    def push_left(self, elements: Sequence[bytes]) -> None:
        meta = self.meta
        if len(elements) == 1 and meta.is_dense:  # most pushes
            meta.head -= 1
            meta.count += 1
            self._host.put_piece(self._prefix + meta.head.to_bytes(INDEX_BYTES, "big"), elements[0])
            return
        before, head = meta.head, meta.head - len(elements)
        self._put(head, before, elements[::-1])
        meta.head = head

    def push_right(self, elements: Sequence[bytes]) -> None:
        meta = self.meta
        if len(elements) == 1 and meta.is_dense:
            self._host.put_piece(self._prefix + meta.tail.to_bytes(INDEX_BYTES, "big"), elements[0])
            meta.tail += 1
            meta.count += 1
            return
        before, tail = meta.tail, meta.tail + len(elements)
        self._put(before, tail, elements)
        meta.tail = tail

    def _put(self, start: int, stop: int, elements: Sequence[bytes]) -> None:
        """New ones, at the indices from start to below stop."""
        self._host.put_pieces(self._keys(start, stop), elements)
        self.meta.count += stop - start
        if not self.meta.is_dense:
            self._pieces.added([position(index) for index in range(start, stop)])

    def pop_left(self) -> bytes:
        """Delete the first. After the last one the list is done with."""
        meta = self.meta
        if not meta.is_dense and meta.count > 1:
            suffixes, values = self._bounded().part(b"", None, 2)
            self._delete(suffixes[:1], _index_of(suffixes[1]), meta.tail - 1)
            return values[0]
        if not meta.is_dense:
            return self._pop_only()
        element = self._pop_at(meta.head, is_left=True)
        meta.head += 1
        meta.count -= 1
        return element

    def pop_right(self) -> bytes:
        """Delete the last. After the only one the list is done with."""
        meta = self.meta
        if not meta.is_dense and meta.count > 1:
            suffixes, values = self._bounded().part(b"", None, 2, reverse=True)
            self._delete(suffixes[:1], meta.head, _index_of(suffixes[1]))
            return values[0]
        if not meta.is_dense:
            return self._pop_only()
        element = self._pop_at(meta.tail - 1, is_left=False)
        meta.tail -= 1
        meta.count -= 1
        return element

    def _pop_at(self, index: int, *, is_left: bool) -> bytes:
        """Delete the element at an end of a dense one."""
        host, ahead, stored = self._host, self.ahead, self._prefix + index.to_bytes(INDEX_BYTES, "big")
        element = None if ahead.elements else host.piece_in_memory(stored)
        if element is None:
            element = self.at_end(1, is_left=is_left)[0]
            ahead.cut(self.meta.head + is_left, self.meta.tail - (not is_left))
        if index in self._stored:
            host.delete_piece(stored)
        else:
            host.take_back_piece(stored)
        return element

    def _pop_only(self) -> bytes:
        suffixes, values = self._bounded().part(b"", None, 1)
        self._host.delete_piece(self._prefix + suffixes[0])
        self.meta.count = 0
        return values[0]

    def drop(self, left: int, right: int) -> None:
        """Delete so many elements at both ends; at least one stays."""
        meta = self.meta
        if meta.is_dense and left + right <= MAX_TOMBSTONES:
            self._delete_between(meta.head, meta.head + left)
            self._delete_between(meta.tail - right, meta.tail)
            meta.head += left
            meta.tail -= right
            meta.count -= left + right
            self.ahead.cut(meta.head, meta.tail)
            return
        self.ahead.forget()
        first, last = self.position_at(left), self.position_at(meta.count - right - 1)
        if left + right <= MAX_TOMBSTONES:
            self._delete(self._at_ends(left, right), _index_of(first), _index_of(last))
            return
        if left:
            self._host.delete_pieces(self._prefix + position(meta.head), self._prefix + first)
        if right:
            self._host.delete_pieces(self._prefix + last + b"\0", self._prefix + position(meta.tail))
        self._pieces = self._without_ranks()
        meta.count -= left + right
        self._set_ends(_index_of(first), _index_of(last))

    def _at_ends(self, left: int, right: int) -> list[bytes]:
        """The positions of so many elements at both ends."""
        first = self._positions(left) if left else []
        return first + (self._positions(right, reverse=True) if right else [])

    # Changes in the middle.

    def put(self, suffix: bytes, element: bytes) -> None:
        """In the place of the one at this position."""
        self.ahead.forget()
        self._host.put_piece(self._prefix + suffix, element)

    def maybe_position_beside(self, suffix: bytes, *, is_before: bool) -> bytes | None:
        """A position for a new element right before or right behind the one at this; None if none is left."""
        pieces = self._bounded()
        if is_before:
            others, _ = pieces.part(b"", suffix, 1, reverse=True)
            return maybe_between(others[0], suffix) if others else position(self.meta.head - 1)
        others, _ = pieces.part(suffix + b"\0", None, 1)
        return maybe_between(suffix, others[0]) if others else position(self.meta.tail)

    def insert(self, suffix: bytes, element: bytes) -> None:
        """At a position that nobody has."""
        self.ahead.forget()
        meta = self.meta
        index = _index_of(suffix)
        self._pieces.put(suffix, element)
        if meta.is_dense and meta.head <= index < meta.tail:
            meta.is_dense = False
        if not meta.is_dense:
            self._pieces.added([suffix])
        meta.has_fractions |= len(suffix) > INDEX_BYTES
        meta.count += 1
        self._set_ends(min(meta.head, index), max(meta.tail - 1, index))

    def delete(self, gone: Sequence[bytes]) -> None:
        """Delete the elements at these positions, at least one; at least one stays."""
        self.ahead.forget()
        taken = set(gone)
        self._delete(gone, _index_of(self._first_kept(taken)), _index_of(self._first_kept(taken, reverse=True)))

    def _first_kept(self, gone: set[bytes], *, reverse: bool = False) -> bytes:
        suffixes = chain.from_iterable(suffixes for suffixes, _ in self.parts(reverse=reverse))
        return next(suffix for suffix in suffixes if suffix not in gone)

    def _delete(self, gone: Sequence[bytes], first: int, last: int) -> None:
        """first, last: the indices of those that are first and last then."""
        for suffix in gone:
            if len(suffix) == INDEX_BYTES:
                self._delete_at(int.from_bytes(suffix, "big"), suffix)
            else:
                self._host.delete_piece(self._prefix + suffix)
        if not self.meta.is_dense:
            self._pieces.gone(gone)
        self.meta.count -= len(gone)
        self._set_ends(first, last)

    def _delete_between(self, start: int, stop: int) -> None:
        """Those at the indices from start to below stop of a dense one."""
        if start in self._stored and stop - 1 in self._stored:
            self._host.delete_each(self._keys(start, stop))
            return
        for index in range(start, stop):
            self._delete_at(index, index.to_bytes(INDEX_BYTES, "big"))

    def _delete_at(self, index: int, suffix: bytes) -> None:
        if index in self._stored:
            self._host.delete_piece(self._prefix + suffix)
        else:
            self._host.take_back_piece(self._prefix + suffix)

    def _set_ends(self, first: int, last: int) -> None:
        meta = self.meta
        meta.head, meta.tail = first, last + 1
        is_dense = meta.tail - meta.head == meta.count and not meta.has_fractions
        if is_dense != meta.is_dense:
            meta.is_dense = is_dense
            self._pieces = self._without_ranks()  # they are known of those that are not dense

    def _without_ranks(self) -> Pieces:
        return Pieces(self._host, self._prefix, self._on_grown)


@cache
def _cutter(count: int) -> Callable[[bytes], tuple[bytes, ...]]:
    """Cuts so many keys, at most 256."""
    return Struct(f"{PREFIX_BYTES + INDEX_BYTES}s" * count).unpack


def _index_of(suffix: bytes) -> int:
    return int.from_bytes(suffix[:INDEX_BYTES], "big")
