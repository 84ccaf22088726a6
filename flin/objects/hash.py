"""A hash: fields and their values. It has at least one field: who deletes the last one deletes the key.

Packed while small (packed.py): `fields` holds all of it. It becomes spread in the commit of the command that crosses
MAX_PACKED_ELEMENTS or MAX_PACKED_BYTES, or that changes a packed hash of more than MIN_REWRITTEN fields for the
MAX_REWRITES-th time: to write 64 fields again for each change costs 35 µs, one spread field 12 (types measured in
docs/performance.md). A spread hash of up to MAX_WHOLE fields that a command had to read whole keeps them (`fields`),
and is *whole* from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from flin.engine.entry import TOMBSTONE, Entry, Page
from flin.engine.key import prefix_stop
from flin.objects.layout import HASH, PREFIX_BYTES
from flin.objects.live_object import BASE_BYTES, LiveObject, Objects
from flin.objects.meta import Meta
from flin.objects.packed import decode_hash, encode_hash
from flin.objects.rank_index import RankIndex

MAX_PACKED_ELEMENTS: Final = 64
MAX_PACKED_BYTES: Final = 4096
"""Fields, and bytes of the value, of a packed hash: a cold read costs the same in both forms there."""

MIN_REWRITTEN: Final = 16
MAX_REWRITES: Final = 20
"""So many commits that wrote a live packed hash with more than MIN_REWRITTEN fields anew pay for spreading it."""

MAX_WHOLE: Final = 16_384
"""Fields of a spread hash that are kept in memory together: 2.5 MB of them."""

SLICED: Final = 10_000
"""From this many fields on a reply with all of them goes in slices."""

_PAGE: Final = 1024
"""Pieces that are read at once: a millisecond."""

_FIELD_BYTES: Final = 155
"""A field in memory: two bytes objects and its place in a dict."""


class Hash(LiveObject):
    """`fields` in the order in which they came, or None: spread, and not whole."""

    TAG = HASH

    __slots__ = ("_bytes", "_index", "_rewrites", "fields")

    def __init__(self, objects: Objects, key: bytes) -> None:
        super().__init__(objects, key)
        self.fields: dict[bytes, bytes] | None = {}
        self._bytes = 0  # of the packed value, about
        self._rewrites = 0  # commits of it while it is live
        self._index: RankIndex | None = None

    def load_packed(self, value: bytes) -> None:
        self.fields = decode_hash(value)
        self._bytes = len(value)

    def encode_packed(self) -> bytes:
        assert self.fields is not None
        self._rewrites += 1
        return encode_hash(self.fields, self.was_large)

    def _begin_spread(self, meta: Meta) -> None:
        super()._begin_spread(meta)
        self.fields = None

    def charge_bytes(self) -> int:
        held = len(self.fields) * _FIELD_BYTES + self._bytes if self.fields is not None else 0
        return BASE_BYTES + len(self.key) + held

    # Reads.

    def __len__(self) -> int:
        if self.meta is not None:
            return self.meta.count
        assert self.fields is not None
        return len(self.fields)

    def get(self, field: bytes) -> bytes | None:
        fields = self.fields
        return fields.get(field) if fields is not None else self.objects.host.piece(self.prefix + field)

    def get_many(self, fields: Sequence[bytes]) -> list[bytes | None]:
        return list(map(self.get, fields))

    def items(self) -> dict[bytes, bytes]:
        """All fields and values; not to be changed."""
        if self.fields is not None:
            return self.fields
        found: dict[bytes, bytes] = {}
        for page in self._pages():
            found.update(_pairs(page))
        if len(found) <= MAX_WHOLE:
            self.fields = found
            self._bytes = sum(map(len, found)) + sum(map(len, found.values()))
        return found

    @property
    def is_large(self) -> bool:
        """Whether a reply with all of it should go in slices."""
        return len(self) > SLICED

    @property
    def is_whole(self) -> bool:
        """Whether all of it is in memory."""
        return self.fields is not None

    def pages(self) -> Iterator[dict[bytes, bytes]]:
        """All fields and values as of this call, some at a time; other commands may run in between."""
        if self.fields is not None:
            return _portions(dict(self.fields))
        return map(_pairs, self.objects.host.frozen_pages(self.prefix, self._stop))

    def scan(self, after: bytes | None, count: int) -> tuple[dict[bytes, bytes], bytes | None]:
        """The next `count` fields above `after`, in the order of bytes, and the last one, to go on after it; None at
        the end."""
        if self.is_packed:
            return self.items(), None
        start = self.prefix if after is None else self.prefix + after + b"\0"
        keys, entries = self.objects.host.page(start, self._stop, count + 1)
        last = keys[count - 1][PREFIX_BYTES:] if len(keys) > count else None
        return _pairs((keys[:count], entries[:count])), last

    def field_at(self, rank: int) -> tuple[bytes, bytes]:
        """The field at a rank from 0 on, in an order that stays until the next change."""
        if self.fields is not None:
            return next(islice(self.fields.items(), rank, None))
        index = self._index or self._made_index()
        for start in list(index.large):
            index.split(start, self._fields_from(start, index.piece_of(start).size))
        piece, offset = index.at(rank)
        keys, entries = self.objects.host.page(self.prefix + piece.start, self._stop, offset + 1)
        return keys[offset][PREFIX_BYTES:], _value(entries[offset])

    @property
    def encoding(self) -> bytes:
        """OBJECT ENCODING."""
        return b"hashtable" if self.was_large else b"listpack"

    # Changes.

    def put_many(self, pairs: dict[bytes, bytes], longest_bytes: int = 0) -> int:
        """Set at least one field; how many of them are new. longest_bytes: of a value that another one of the same
        command replaces: for Redis the hash is large for it."""
        before = self.get_many(list(pairs))
        new = before.count(None)
        if self.fields is not None:
            self._bytes += sum(map(len, pairs.values())) + 2 * new
            for field, value in zip(pairs, before, strict=True):
                self._bytes += len(field) if value is None else -len(value)
            self.fields.update(pairs)
        if not self.was_large:
            self._note_size(max(longest_bytes, *map(len, (*pairs, *pairs.values()))), new)
        if self.meta is None:
            if self._is_too_large_to_pack():
                self._spread()
            self.objects.touch(self, self._bytes)
            return new
        put, prefix = self.objects.host.put_piece, self.prefix
        for field, value in pairs.items():
            put(prefix + field, value)
        if new and self._index is not None:
            for field, value in zip(pairs, before, strict=True):
                if value is None:
                    self._index.add(field)
        self._grow(new)
        self.objects.touch(self)
        return new

    def put(self, field: bytes, value: bytes, before: bytes | None) -> None:
        """Set one field. before: what `get` has just said of it."""
        is_new = before is None
        fields = self.fields
        if fields is not None:
            fields[field] = value
            self._bytes += len(value) + (len(field) + 2 if before is None else -len(before))
        if not self.was_large:
            self._note_size(max(len(field), len(value)), is_new)
        meta = self.meta
        if meta is None:
            if self._is_too_large_to_pack():
                self._spread()
            self.objects.touch(self, self._bytes)
            return
        self.objects.host.put_piece(self.prefix + field, value)
        if is_new:
            if self._index is not None:
                self._index.add(field)
            self._grow(1)
        self.objects.touch(self)

    def delete_many(self, fields: Sequence[bytes]) -> int:
        """Delete fields; how many of them were there."""
        unique = list(dict.fromkeys(fields))
        gone = [field for field, value in zip(unique, self.get_many(unique), strict=True) if value is not None]
        if not gone:
            return 0
        if self.fields is not None:
            for field in gone:
                self._bytes -= len(field) + len(self.fields.pop(field)) + 2
        if self.meta is not None:
            delete, prefix = self.objects.host.delete_piece, self.prefix
            for field in gone:
                delete(prefix + field)
                if self._index is not None:
                    self._index.remove(field)
            self.meta.count -= len(gone)
        if len(self):
            self.objects.touch(self, self._bytes if self.meta is None else 0)
        else:
            self.objects.delete(self)
        return len(gone)

    # Inside.

    def _note_size(self, longest: int, new: int) -> None:
        """Whether Redis would keep it packed. longest: of the new fields and values."""
        limits = self.objects.thresholds
        count = len(self) + (new if self.meta is not None else 0)
        self.was_large = longest > limits.hash_value_bytes or count > limits.hash_entries

    def _is_too_large_to_pack(self) -> bool:
        assert self.fields is not None
        count = len(self.fields)
        is_rewritten = count > MIN_REWRITTEN and self._rewrites >= MAX_REWRITES
        return count > MAX_PACKED_ELEMENTS or self._bytes > MAX_PACKED_BYTES or is_rewritten

    def _spread(self) -> None:
        fields = self.fields
        assert fields is not None
        slot, version = self.new_place()
        self.become_spread(Meta(slot, version, len(fields)))
        put, prefix = self.objects.host.put_piece, self.prefix
        for field, value in fields.items():
            put(prefix + field, value)
        if len(fields) <= MAX_WHOLE:
            self.fields = fields

    def _grow(self, new: int) -> None:
        assert self.meta is not None
        self.meta.count += new
        if self.fields is not None and len(self.fields) > MAX_WHOLE:
            self.fields = None  # from here on it is read field by field

    @property
    def _stop(self) -> bytes:
        stop = prefix_stop(self.prefix)
        assert stop is not None
        return stop

    def _pages(self) -> Iterator[Page]:
        start = self.prefix
        while True:
            page = self.objects.host.page(start, self._stop, _PAGE)
            if page[0]:
                yield page
            if len(page[0]) < _PAGE:
                return
            start = page[0][-1] + b"\0"

    def _fields_from(self, start: bytes, count: int) -> list[bytes]:
        keys, _ = self.objects.host.page(self.prefix + start, self._stop, count)
        return [key[PREFIX_BYTES:] for key in keys]

    def _made_index(self) -> RankIndex:
        self._index = RankIndex.made([key[PREFIX_BYTES:] for key in keys] for keys, _ in self._pages())
        return self._index


def _portions(fields: dict[bytes, bytes]) -> Iterator[dict[bytes, bytes]]:
    items = iter(fields.items())
    while page := dict(islice(items, _PAGE)):
        yield page


def _pairs(page: Page) -> dict[bytes, bytes]:
    return {key[PREFIX_BYTES:]: _value(entry) for key, entry in zip(*page, strict=True) if entry is not TOMBSTONE}


def _value(entry: Entry) -> bytes:
    assert type(entry) is bytes
    return entry
