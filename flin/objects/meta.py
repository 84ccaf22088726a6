"""The meta of a spread collection: the content of its key's own entry, while the elements are entries of their own.

Layout, little-endian: form u8 (2, bit 7: was ever large), slot u16, version u64, count u64, then

    hash, set      nothing
    list           head u64, tail u64, flags u8 (1: it is dense; 2: it has fractions)
    sorted set     floor, ceiling: each a length u8 and up to 64 bytes of a suffix after its letter
    stream         floor, ceiling, last id, greatest deleted id, added u64, groups u32
    long string    length u64

Slot and version stand here and are never computed from the key: RENAME moves this entry alone, and the elements stay
under the prefix that it names.

Floor and ceiling bound every seek, so that none walks the tombstones of elements that were popped: no element in order
is below the floor or above the ceiling. An empty one bounds nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import ClassVar, Final

from flin.engine.key import prefix_stop
from flin.engine.slot import SLOTS
from flin.errors import CorruptionError, FormatVersionError
from flin.objects.layout import (
    HASH,
    ID_BYTES,
    LIST,
    LONG_STRING,
    SET,
    SORTED_SET,
    SPREAD,
    STREAM,
    TYPE_NAMES,
    WAS_LARGE,
    elements_prefix,
    form_of,
)

MOST_BOUND_BYTES: Final = 64

NO_ID: Final = bytes(ID_BYTES)
"""0-0: no entry was ever added, or none deleted."""

_IS_DENSE: Final = 1
_HAS_FRACTIONS: Final = 2

_HEAD = struct.Struct("<BHQQ")
_LIST = struct.Struct("<BHQQQQB")
_STREAM = struct.Struct(f"<{ID_BYTES}s{ID_BYTES}sQI")
_LONG_STRING = struct.Struct("<BHQQQ")


@dataclass(slots=True)
class Meta:
    """The common part of all metas; those of hashes and sets have no more."""

    slot: int
    version: int
    count: int
    """Elements; of a long string the chunks that are there."""

    was_large: bool = field(default=False, kw_only=True)

    MAY_BE_EMPTY: ClassVar = False

    def elements_prefix(self, database: int) -> bytes:
        return elements_prefix(database, self.slot, self.version)

    def encode(self) -> bytes:
        return _HEAD.pack(self.form_byte, self.slot, self.version, self.count)

    @property
    def form_byte(self) -> int:
        return SPREAD | WAS_LARGE if self.was_large else SPREAD


@dataclass(slots=True)
class ListMeta(Meta):
    """A list is dense if its elements are those from head to tail, without holes and fractions (list_position.py)."""

    head: int
    """The index of the first element."""
    tail: int
    """The index after that of the last element."""
    is_dense: bool = True
    has_fractions: bool = False
    """Whether there may be elements at fractions. A dense list has none."""

    def encode(self) -> bytes:
        flags = self.is_dense | self.has_fractions << 1
        return _LIST.pack(self.form_byte, self.slot, self.version, self.count, self.head, self.tail, flags)


@dataclass(slots=True)
class SortedSetMeta(Meta):
    floor: bytes = b""
    ceiling: bytes = b""

    def encode(self) -> bytes:
        return _HEAD.pack(self.form_byte, self.slot, self.version, self.count) + _encode_bounds(self)


@dataclass(slots=True)
class StreamMeta(SortedSetMeta):
    """Count is that of the entries; an empty stream stays."""

    last_id: bytes = NO_ID
    greatest_deleted_id: bytes = NO_ID
    added: int = 0
    """Entries ever added."""
    groups: int = 0

    MAY_BE_EMPTY: ClassVar = True

    def encode(self) -> bytes:
        head = _HEAD.pack(self.form_byte, self.slot, self.version, self.count)
        return b"%b%b%b" % (
            head,
            _encode_bounds(self),
            _STREAM.pack(self.last_id, self.greatest_deleted_id, self.added, self.groups),
        )


@dataclass(slots=True)
class LongStringMeta(Meta):
    length: int
    """Bytes, those of chunks of zeros included."""

    MAY_BE_EMPTY: ClassVar = True

    def encode(self) -> bytes:
        return _LONG_STRING.pack(self.form_byte, self.slot, self.version, self.count, self.length)


def floor_of(suffix: bytes) -> bytes:
    """A bound that this suffix, without its letter, is not below: it, or its first 64 bytes."""
    return suffix[:MOST_BOUND_BYTES]


def ceiling_of(suffix: bytes) -> bytes:
    """A bound that this suffix, without its letter, is not above: it, or the least of 64 bytes that is greater."""
    if len(suffix) <= MOST_BOUND_BYTES:
        return suffix
    return prefix_stop(suffix[:MOST_BOUND_BYTES]) or b""  # all FF: no score begins so


def _encode_bounds(meta: SortedSetMeta) -> bytes:
    return b"%c%b%c%b" % (len(meta.floor), meta.floor, len(meta.ceiling), meta.ceiling)


# Decoding.


def decode_meta(tag: int, value: bytes) -> Meta:
    """The meta of a spread collection of this type: Meta of a hash or set, the class of its name of the others.

    CorruptionError; FormatVersionError for a tag or form of later days."""
    what = TYPE_NAMES.get(tag)
    if what is None:
        raise FormatVersionError("a value", f"tag {tag} is of a newer Flin")
    if form_of(value, what) != SPREAD:
        raise CorruptionError(_of(what), 0, "it is packed")
    if len(value) < _HEAD.size:
        raise CorruptionError(_of(what), len(value), "it ends in its head")
    form, slot, version, count = _HEAD.unpack_from(value)
    if slot >= SLOTS:
        raise CorruptionError(_of(what), 1, f"slot {slot} is none")
    meta = _DECODERS[tag](slot, version, count, value[_HEAD.size :])
    meta.was_large = form >= WAS_LARGE
    if not count and not meta.MAY_BE_EMPTY:
        raise CorruptionError(_of(what), 11, "it has no elements")
    return meta


def _of(what: str) -> str:
    return f"the meta of a {what}"


def _decode_plain(slot: int, version: int, count: int, rest: bytes) -> Meta:
    if rest:
        raise CorruptionError("the meta of a hash or set", _HEAD.size, "more follows")
    return Meta(slot, version, count)


def _decode_list(slot: int, version: int, count: int, rest: bytes) -> ListMeta:
    if len(rest) != _LIST.size - _HEAD.size:
        raise CorruptionError(_of("list"), _HEAD.size, f"{len(rest)} bytes follow the head")
    head, tail, flags = struct.unpack("<QQB", rest)
    holes = tail - head - count
    is_right = holes == 0 if flags == _IS_DENSE else flags == _HAS_FRACTIONS or (not flags and holes > 0)
    if head >= tail or not is_right:
        raise CorruptionError(_of("list"), _HEAD.size, f"{count} elements from {head} to {tail}, flags {flags}")
    return ListMeta(slot, version, count, head, tail, flags == _IS_DENSE, flags == _HAS_FRACTIONS)


def _decode_sorted_set(slot: int, version: int, count: int, rest: bytes) -> SortedSetMeta:
    floor, ceiling, rest = _decode_bounds(rest, "sorted set")
    if rest:
        raise CorruptionError(_of("sorted set"), _HEAD.size, "more follows the bounds")
    return SortedSetMeta(slot, version, count, floor, ceiling)


def _decode_stream(slot: int, version: int, count: int, rest: bytes) -> StreamMeta:
    floor, ceiling, rest = _decode_bounds(rest, "stream")
    if len(rest) != _STREAM.size:
        raise CorruptionError(_of("stream"), _HEAD.size, f"{len(rest)} bytes follow the bounds")
    last_id, greatest_deleted_id, added, groups = _STREAM.unpack(rest)
    return StreamMeta(slot, version, count, floor, ceiling, last_id, greatest_deleted_id, added, groups)


def _decode_long_string(slot: int, version: int, count: int, rest: bytes) -> LongStringMeta:
    if len(rest) != _LONG_STRING.size - _HEAD.size:
        raise CorruptionError(_of("long string"), _HEAD.size, f"{len(rest)} bytes follow the head")
    return LongStringMeta(slot, version, count, int.from_bytes(rest, "little"))


def _decode_bounds(rest: bytes, what: str) -> tuple[bytes, bytes, bytes]:
    """Floor, ceiling, and what follows."""
    floor_stop = 1 + rest[0] if rest else 1
    ceiling_stop = floor_stop + 1 + rest[floor_stop] if floor_stop < len(rest) else floor_stop + 1
    floor, ceiling = rest[1:floor_stop], rest[floor_stop + 1 : ceiling_stop]
    if len(rest) < ceiling_stop or max(len(floor), len(ceiling)) > MOST_BOUND_BYTES:
        raise CorruptionError(_of(what), _HEAD.size, "its bounds have wrong lengths")
    if ceiling and floor > ceiling:
        raise CorruptionError(_of(what), _HEAD.size, "its floor is above its ceiling")
    return floor, ceiling, rest[ceiling_stop:]


_DECODERS: Final = {
    HASH: _decode_plain,
    SET: _decode_plain,
    LIST: _decode_list,
    SORTED_SET: _decode_sorted_set,
    STREAM: _decode_stream,
    LONG_STRING: _decode_long_string,
}
