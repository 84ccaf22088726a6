"""A stream: entries in the order of their ids, and groups of consumers who share them. An empty one stays.

Packed while small and without groups (packed.py). A spread one has an entry for each of its own; it holds the newest
ones (stream_tail.py), so readers that keep up read nothing. What is trimmed leaves tombstones that no seek walks over:
the meta's floor is a bound below the first id, and the first ids are read some hundred ahead. Groups are pieces too
(stream_group.py); what happens within a group does not change the stream's own entry.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from flin.errors import CorruptionError
from flin.objects import limits
from flin.objects.layout import ENTRY, GROUP, STREAM, decode_group, pending_of
from flin.objects.live_object import BASE_BYTES, LiveObject, Objects
from flin.objects.meta import NO_ID, Meta, StreamMeta
from flin.objects.packed import MOST_PAIRS, PackedStream, decode_list, decode_stream, encode_list, encode_stream
from flin.objects.pieces import Part, Pieces
from flin.objects.stream_group import Group
from flin.objects.stream_id import MAX_ID, next_id, previous_id
from flin.objects.stream_tail import StreamEntry, Tail

READ_AHEAD: Final = 128
"""Entries that are read at once: the first ids for trimming, and the newest entries after the stream was loaded."""

MAX_TOMBSTONES: Final = 4096
"""If more entries are trimmed at once, one range delete takes all of them: 3 µs each without it."""

_PACKED_ENTRY_BYTES: Final = 17
"""An entry in a packed value, in addition to its strings: its id and its number of pairs."""


class Cut(NamedTuple):
    """The first entries of a stream, which are to be deleted."""

    number: int
    last: bytes
    """Their ids are at most this, all others above."""
    ids: list[bytes] | None
    """None: they are too many to be named."""


class Stream(LiveObject):
    """`tail` holds all entries of a packed one, the newest ones of a spread one."""

    TAG = STREAM

    __slots__ = (
        "_first",
        "_groups",
        "_pieces",
        "added",
        "count",
        "floor",
        "greatest_deleted_id",
        "last_id",
        "tail",
    )

    meta: StreamMeta | None

    def __init__(self, objects: Objects, key: bytes) -> None:
        super().__init__(objects, key)
        self.last_id = NO_ID
        self.greatest_deleted_id = NO_ID
        self.added = 0  # entries, ever
        self.count = 0
        self.floor = NO_ID  # no entry is below
        self.tail = Tail()
        self._first: list[bytes] = []  # the first ids, of a spread one; empty: nobody has asked
        self._groups: dict[bytes, Group] | None = {}  # None: not read yet
        self._pieces: Pieces | None = None  # its entries, of a spread one

    def load_packed(self, value: bytes) -> None:
        stream = decode_stream(value)
        self.last_id, self.greatest_deleted_id = stream.last_id, stream.greatest_deleted_id
        self.added, self.count = stream.added, len(stream.entries)
        self.tail.fill(list(stream.entries.items()), NO_ID)

    def load(self, value: bytes, expires_at_ms: int) -> None:
        super().load(value, expires_at_ms)
        meta = self.meta
        if meta is not None:
            self.last_id, self.greatest_deleted_id = meta.last_id, meta.greatest_deleted_id
            self.added, self.count, self.floor = meta.added, meta.count, meta.floor
            self.tail.since = _above(self.last_id)
            self._groups = None if meta.groups else {}

    def encode_packed(self) -> bytes:
        return encode_stream(PackedStream(self.last_id, self.greatest_deleted_id, self.added, self.tail.entries))

    def encode(self) -> bytes:
        meta = self.meta
        if meta is not None:
            meta.last_id, meta.greatest_deleted_id = self.last_id, self.greatest_deleted_id
            meta.added, meta.count, meta.floor = self.added, self.count, self.floor
        return super().encode()

    def charge_bytes(self) -> int:
        groups = sum(group.memory_bytes() for group in self._groups.values()) if self._groups else 0
        return BASE_BYTES + len(self.key) + self.tail.bytes + groups

    # Reads.

    def __len__(self) -> int:
        return self.count

    @property
    def encoding(self) -> bytes:
        """OBJECT ENCODING: Redis knows no other."""
        return b"stream"

    def get(self, id_: bytes) -> list[bytes] | None:
        """An entry's fields and values."""
        strings = self.tail.entries.get(id_)
        if strings is not None or id_ >= self.tail.since or not self.floor <= id_ <= self.last_id:
            return strings
        assert self._pieces is not None
        value = self._pieces.get(id_)
        return None if value is None else decode_list(value)

    def first_id(self) -> bytes:
        """The id of the first entry; 0-0 of an empty stream."""
        return self.first_ids(1)[0] if self.count else NO_ID

    def newest_id(self) -> bytes:
        """The id of the last entry that is there; 0-0 of an empty stream."""
        if not self.count:
            return NO_ID
        if not self.tail.ids:
            newest = self._stored(self.floor, MAX_ID, READ_AHEAD, reverse=True)
            self.tail.fill(newest[::-1], newest[-1][0])
        return self.tail.ids[-1]

    def between(self, start: bytes, stop: bytes, count: int, *, reverse: bool = False) -> list[StreamEntry]:
        """The first `count` entries from an id to another, both among them, or the last ones, downwards."""
        start, stop = max(start, self.floor), min(stop, self.last_id)
        if start > stop or count <= 0 or not self.count:
            return []
        tail = self.tail
        if start >= tail.since or self.holds_all:
            return tail.between(start, stop, count, reverse=reverse)
        if reverse:
            held = tail.between(start, stop, count, reverse=True)
            if len(held) == count:
                return held
        return self._stored(start, stop, count, reverse=reverse)

    def pages(self, start: bytes, stop: bytes, count: int, *, reverse: bool = False) -> Iterator[list[StreamEntry]]:
        """`between`, some at a time. Only forwards it is of one moment: entries may be deleted between two pages."""
        while count > 0:
            page = self.between(start, stop, min(count, limits.PAGE), reverse=reverse)
            yield page
            count -= len(page)
            if len(page) < limits.PAGE or page[-1][0] == (NO_ID if reverse else MAX_ID):
                return
            if reverse:
                stop = previous_id(page[-1][0])
            else:
                start = next_id(page[-1][0])

    def frozen_pages(self, start: bytes, stop: bytes) -> Iterator[list[StreamEntry]]:
        """All entries from an id to another as of this call, in order; other commands may run in between."""
        if self.holds_all or start >= self.tail.since:
            return iter([self.tail.between(start, stop, self.count)])
        assert self._pieces is not None
        return map(_entries_of, self._pieces.frozen_parts(max(start, self.floor), stop + b"\0"))

    # The first ids: what is trimmed.

    def first_ids(self, number: int) -> list[bytes]:
        """The ids of the first entries, of which there are at least so many."""
        if self.holds_all:
            return self.tail.ids[:number]
        first = self._first
        while len(first) < number:
            start = _above(first[-1]) if first else self.floor
            read = self._ids(start, READ_AHEAD if number <= READ_AHEAD else limits.PAGE)
            if not read:
                raise self._lacks_entries()
            first += read
        return first[:number]

    def cut(self, number: int, added: bytes | None = None, below: bytes | None = None) -> Cut:
        """The first so many entries, at least one, for `trim`. added: the id of one that will have been added by then.
        below: what the caller knows to be above all of them and not above the next. Reads the ids of them or of what
        stays, whichever are fewer."""
        if self.meta is None or number <= MAX_TOMBSTONES:
            ids = self.first_ids(min(number, self.count))
            if added is not None and number > self.count:
                ids = [*ids, added]
            return Cut(number, ids[-1], ids)
        if below is not None:
            return Cut(number, previous_id(below), None)
        if number >= self.count:
            return Cut(number, self.last_id if added is None else added, None)
        return Cut(number, self._last_of_first(number), None)

    def _last_of_first(self, number: int) -> bytes:
        stay = self.count - number
        if stay < number:
            for ids in self._id_pages_back():
                if stay <= len(ids):
                    return previous_id(ids[stay - 1])
                stay -= len(ids)
        else:
            for ids in self._id_pages():
                if number <= len(ids):
                    return ids[number - 1]
                number -= len(ids)
        raise self._lacks_entries()

    def number_below(self, id_: bytes, enough: int = 0) -> int:
        """How many entries are below an id, or some number above `enough` if that is not 0. Reads from both ends, up to
        where the id is met."""
        tail = self.tail
        if id_ >= tail.since or self.holds_all:
            return self.count - len(tail.ids) + bisect_left(tail.ids, id_)
        below = above = 0
        from_end = self._id_pages_back()
        for number, ids in enumerate(self._id_pages()):
            below += bisect_left(ids, id_)
            if ids[-1] >= id_ or 0 < enough < below:
                break
            if number:  # those of the first page were held
                back = next(from_end)
                above += len(back)
                if back[-1] < id_:
                    return self.count - above + sum(each < id_ for each in back)
        return below

    def _id_pages(self) -> Iterator[list[bytes]]:
        """All ids of a spread one, some at a time; nothing may change in between."""
        page = self.first_ids(1) and self._first.copy()
        while page:
            yield page
            page = self._ids(_above(page[-1]), limits.PAGE)

    def _id_pages_back(self) -> Iterator[list[bytes]]:
        """From the last one on, downwards."""
        assert self._pieces is not None
        stop = self.last_id + b"\0"
        while page := self._pieces.part(self.floor, stop, limits.PAGE, reverse=True)[0]:
            yield page
            stop = page[-1]

    def _lacks_entries(self) -> CorruptionError:
        return CorruptionError("a stream", 0, f"it has fewer entries than the {self.count} of its meta")

    # Changes.

    def append(self, id_: bytes, strings: list[bytes]) -> None:
        """Add an entry of field, value, field, value …; its id is above the last one."""
        self.last_id = id_
        self.added += 1
        self.count += 1
        tail = self.tail
        tail.append(id_, strings)
        if self.meta is None:
            self.held_bytes += _packed_bytes(strings)
            if len(strings) > 2 * MOST_PAIRS or self.is_too_large_to_pack():
                self._spread()
            self.objects.touch(self, self.held_bytes)
            return
        self.objects.host.put_piece(self.prefix + ENTRY + id_, encode_list(strings))
        tail.shorten()
        self.objects.touch(self)

    def append_many(self, ids: list[bytes], pairs: list[tuple[bytes, bytes]]) -> None:
        """Do what `append` does, for each of these entries of one field; of a spread one."""
        entries = list(map(list, pairs))
        self.last_id = ids[-1]
        self.added += len(ids)
        self.count += len(ids)
        prefix, put = self.prefix + ENTRY, self.objects.host.put_piece
        for id_, value in zip(ids, map(encode_list, pairs), strict=True):
            put(prefix + id_, value)
        self.tail.extend(ids, entries)
        self.objects.touch(self)

    def delete_many(self, ids: Iterable[bytes]) -> int:
        """Delete entries; how many of them were there."""
        gone = sorted(id_ for id_ in set(ids) if self.get(id_) is not None)
        if not gone:
            return 0
        self.first_id()  # read it before anything changes
        self._take_out(gone)
        self.greatest_deleted_id = max(self.greatest_deleted_id, gone[-1])
        first = self._first
        last_read = first[-1] if first else NO_ID
        for id_ in gone:
            place = bisect_left(first, id_)
            if place < len(first) and first[place] == id_:
                del first[place]
        if self.holds_all:
            self.floor = self.tail.ids[0] if self.count else _above(self.last_id)
        else:
            self.floor = first[0] if first else _above(last_read)
        return len(gone)

    def trim(self, cut: Cut) -> None:
        """Delete the first entries. Nothing is read."""
        if cut.ids is not None:
            self._take_out(cut.ids)
        else:
            begin = self.prefix + ENTRY
            self.objects.host.delete_pieces(begin, begin + cut.last + b"\0")
            self.count -= cut.number
            self.tail.remove_to(cut.last)
            self._touch()
        self.floor = _above(cut.last)
        del self._first[: bisect_right(self._first, cut.last)]

    def set_id(self, last_id: bytes, added: int | None, greatest_deleted_id: bytes) -> None:
        """XSETID. The caller knows that no entry is above the last id."""
        if last_id < self.floor:  # it has no entries
            self.floor = NO_ID
        self.last_id = last_id
        if added is not None:
            self.added = added
        if greatest_deleted_id != NO_ID:
            self.greatest_deleted_id = greatest_deleted_id
        self._touch()

    def create(self) -> None:
        """XGROUP CREATE MKSTREAM: an empty stream enters the database."""
        self._touch()

    # Groups.

    def groups(self) -> dict[bytes, Group]:
        """By name; not to be changed."""
        self.objects.grown(self.key)  # by what the last command loaded
        if self._groups is None:
            host, prefix = self.objects.host, self.prefix
            found: dict[bytes, Group] = {}
            for names, values in Pieces(host, prefix + GROUP).parts():
                for name, value in zip(names, values, strict=True):
                    found[name] = Group(host, prefix, name, *decode_group(value))
            self._groups = found
        return self._groups

    def create_group(self, name: bytes, last_id: bytes, entries_read: int) -> None:
        """The caller knows that there is none of this name. LimitError for one of more than 65,535 bytes."""
        groups = self.groups()
        pending_of(name)  # LimitError for a name that is too long, before anything changes
        if self.meta is None:
            self._spread()
        assert self.meta is not None
        group = groups[name] = Group(self.objects.host, self.prefix, name, last_id, entries_read, is_new=True)
        group.save()
        self.meta.groups += 1
        self._touch()

    def destroy_group(self, name: bytes) -> None:
        groups = self.groups()
        groups[name].delete()
        del groups[name]
        assert self.meta is not None
        self.meta.groups -= 1
        self._touch()

    # Inside.

    @property
    def holds_all(self) -> bool:
        """Whether all entries are in memory."""
        return len(self.tail.ids) == self.count

    def _stored(self, start: bytes, stop: bytes, count: int, *, reverse: bool = False) -> list[StreamEntry]:
        assert self._pieces is not None
        return _entries_of(self._pieces.part(start, stop + b"\0", count, reverse=reverse))

    def _ids(self, start: bytes, count: int) -> list[bytes]:
        """The first so many from an id on."""
        assert self._pieces is not None
        return self._pieces.part(start, self.last_id + b"\0", count)[0]

    def _touch(self) -> None:
        self.objects.touch(self, self.held_bytes if self.meta is None else 0)

    def _take_out(self, gone: list[bytes]) -> None:
        """Delete entries that are there."""
        self.count -= len(gone)
        tail = self.tail
        if self.meta is None:
            self.held_bytes -= sum(_packed_bytes(tail.entries[id_]) for id_ in gone)
        else:
            delete, prefix = self.objects.host.delete_piece, self.prefix + ENTRY
            for id_ in gone:
                delete(prefix + id_)
        for id_ in gone:
            tail.remove(id_)
        self._touch()

    def _spread(self) -> None:
        slot, version = self.new_place()
        self.become_spread(StreamMeta(slot, version, self.count))
        put, prefix = self.objects.host.put_piece, self.prefix + ENTRY
        for id_, strings in self.tail.entries.items():
            put(prefix + id_, encode_list(strings))
        self.held_bytes = 0
        self.tail.shorten()

    def _begin_spread(self, meta: Meta) -> None:
        super()._begin_spread(meta)
        self._pieces = Pieces(self.objects.host, self.prefix + ENTRY)


def _above(id_: bytes) -> bytes:
    """The next id, or the last of all: then nothing is added any more."""
    return next_id(id_) if id_ < MAX_ID else MAX_ID


def _packed_bytes(strings: list[bytes]) -> int:
    return _PACKED_ENTRY_BYTES + len(strings) + sum(map(len, strings))


def _entries_of(part: Part) -> list[StreamEntry]:
    ids, values = part
    return list(zip(ids, map(decode_list, values), strict=True))
