"""A hash: fields and their values. It has at least one field: who deletes the last one deletes the key.

Packed while small (packed.py), spread later, perhaps whole: limits.py says when. `fields` holds all of it while it
is packed or whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from flin.errors import LimitError
from flin.objects.layout import HASH
from flin.objects.limits import PAGE, fits_whole
from flin.objects.live_object import BASE_BYTES, Objects
from flin.objects.packed import decode_hash, encode_hash
from flin.objects.pieces import Part
from flin.objects.unordered import Unordered

_FIELD_BYTES: Final = 155
"""A field in memory: two bytes objects and its place in a dict."""


class Hash(Unordered[tuple[bytes, bytes]]):
    """`fields` in the order in which they came, or None: spread, and not whole."""

    TAG = HASH

    __slots__ = ("fields",)

    def __init__(self, objects: Objects, key: bytes) -> None:
        super().__init__(objects, key)
        self.fields: dict[bytes, bytes] | None = {}

    def load_packed(self, value: bytes) -> None:
        self.fields = decode_hash(value)

    def encode_packed(self) -> bytes:
        assert self.fields is not None
        return encode_hash(self.fields, self.was_large)

    def charge_bytes(self) -> int:
        held = len(self.fields) * _FIELD_BYTES + self.held_bytes if self.fields is not None else 0
        return BASE_BYTES + len(self.key) + held + self._index_bytes

    # Reads.

    def __len__(self) -> int:
        if self.meta is not None:
            return self.meta.count
        assert self.fields is not None
        return len(self.fields)

    def get(self, field: bytes) -> bytes | None:
        fields = self.fields
        return fields.get(field) if fields is not None else self.objects.host.piece(self.prefix + field)

    def get_many(self, fields: Iterable[bytes]) -> list[bytes | None]:
        held = self.fields
        if held is not None:
            return list(map(held.get, fields))
        return self.objects.host.pieces(list(map(self.prefix.__add__, fields)))

    def items(self, most_bytes: int | None = None) -> dict[bytes, bytes]:
        """All fields and values; not to be changed. LimitError as soon as they are found to have more bytes."""
        if self.fields is not None:
            return self.fields
        found: dict[bytes, bytes] = {}
        size = 0
        for fields, values in self._pieces.parts():
            found.update(zip(fields, values, strict=True))
            size += sum(map(len, fields)) + sum(map(len, values))
            if most_bytes is not None and size > most_bytes:
                raise LimitError("the size of a hash that is read at once in bytes", size, most_bytes)
        if fits_whole(len(found), size):
            self.fields = found
            self.held_bytes = size
            self.objects.grown(self.key)
        return found

    @property
    def is_whole(self) -> bool:
        """Whether all of it is in memory."""
        return self.fields is not None

    def pages(self) -> Iterator[dict[bytes, bytes]]:
        """All fields and values as of this call, some at a time; other commands may run in between."""
        if self.fields is not None:
            return _portions(dict(self.fields))
        return (dict(zip(*part, strict=True)) for part in self._pieces.frozen_parts())

    def elements(self) -> list[tuple[bytes, bytes]]:
        return list(self.items().items())

    def element_pages(self) -> Iterator[list[tuple[bytes, bytes]]]:
        return (list(page.items()) for page in self.pages())

    def _held_at(self, rank: int) -> tuple[bytes, bytes]:
        assert self.fields is not None
        return next(islice(self.fields.items(), rank, None))

    def _parsed(self, part: Part) -> list[tuple[bytes, bytes]]:
        return list(zip(*part, strict=True))

    @property
    def encoding(self) -> bytes:
        """OBJECT ENCODING."""
        return b"hashtable" if self.was_large else b"listpack"

    # Changes.

    def put_many(self, pairs: dict[bytes, bytes], longest_bytes: int = 0) -> list[bytes]:
        """Set at least one field; those that are new. longest_bytes: of a value that another one for the same field
        replaces at once: for Redis the hash is large for it."""
        return self.replace_many(pairs, self.get_many(pairs), longest_bytes)

    def replace_many(self, pairs: dict[bytes, bytes], before: list[bytes | None], longest_bytes: int) -> list[bytes]:
        """`put_many`, where `before` is what `get_many` has just said of these fields. Nothing is read."""
        new = [field for field, value in zip(pairs, before, strict=True) if value is None] if None in before else []
        if self.fields is not None:
            replaced = sum(len(value) for value in before if value is not None)
            self.held_bytes += sum(map(len, pairs.values())) + sum(map(len, new)) + 2 * len(new) - replaced
            self.fields.update(pairs)
        if not self.was_large:
            self._note_size(max(longest_bytes, *map(len, (*pairs, *pairs.values()))), len(new))
        if self.meta is None:
            if self.is_too_large_to_pack():
                self._spread()
            self.objects.touch(self, self.held_bytes)
            return new
        self.objects.host.put_pieces(map(self.prefix.__add__, pairs), pairs.values())
        if new:
            self._note_new(new)
        self.objects.touch(self)
        return new

    def put(self, field: bytes, value: bytes, before: bytes | None) -> None:
        """Set one field. before: what `get` has just said of it."""
        is_new = before is None
        fields = self.fields
        if fields is not None:
            fields[field] = value
            self.held_bytes += len(value) + (len(field) + 2 if before is None else -len(before))
        if not self.was_large:
            self._note_size(max(len(field), len(value)), is_new)
        meta = self.meta
        if meta is None:
            if self.is_too_large_to_pack():
                self._spread()
            self.objects.touch(self, self.held_bytes)
            return
        self.objects.host.put_piece(self.prefix + field, value)
        if is_new:
            self._note_new((field,))
        self.objects.touch(self)

    def delete_many(self, fields: Sequence[bytes]) -> int:
        """Delete fields; how many of them were there."""
        unique = list(dict.fromkeys(fields))
        gone = [field for field, value in zip(unique, self.get_many(unique), strict=True) if value is not None]
        if not gone:
            return 0
        if self.fields is not None:
            for field in gone:
                self.held_bytes -= len(field) + len(self.fields.pop(field)) + 2
        self._note_gone(gone)
        return len(gone)

    # Inside.

    def _note_size(self, longest: int, new: int) -> None:
        """Whether Redis would keep it packed. longest: of the new fields and values."""
        limits = self.objects.thresholds
        count = len(self) + (new if self.meta is not None else 0)
        self.was_large = longest > limits.hash_value_bytes or count > limits.hash_entries

    def _spread(self) -> None:
        fields = self.fields
        assert fields is not None
        self._spread_pieces(fields.items())
        if fits_whole(len(fields), self.held_bytes):
            self.fields = fields

    def _forget_elements(self) -> None:
        self.fields = None


def _portions(fields: dict[bytes, bytes]) -> Iterator[dict[bytes, bytes]]:
    items = iter(fields.items())
    while page := dict(islice(items, PAGE)):
        yield page
