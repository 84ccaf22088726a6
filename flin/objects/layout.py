"""How a collection lies in entries: tags, forms, namespaces, keys of elements, anchors, and versions.

A key's own entry has the type as its tag and the key's expiry. Its value begins with the form, a byte: 0 and 1 are
packed (packed.py, all elements in the value), 2 is spread (meta.py). Bit 7 says that the collection was ever large by
Redis's thresholds, which only OBJECT ENCODING asks. The elements of a spread collection are entries of their own, under
a prefix with a version that is unique forever, so deleting the key's entry deletes all of them:

    prefix              FF 01, namespace 8000 + database u16, slot u16, version u64

    hash                field                                  the value
    set                 member                                 empty
    list                index u64 and a fraction (list_position.py)   the element
    sorted set          "m" member                             score, 8 bytes, ordered (score.py)
                        "s" score, 8 bytes, ordered, member    empty
    stream              "e" id                                 fields and values, as a packed list
                        "g" group                              last id, entries read i64 (-1: not known)
                        "c" length of group u16, group, name   seen at, ms, u64
                        "p" length of group u16, group, id     delivered at, ms, u64, deliveries u64, consumer
    long string         chunk u32                              up to 1,024 bytes

    anchor              FF 01, namespace C000 + database u16, slot u16, version u64     the user's key
    next version        FF 01 FF FF "versions"                                          u64

Integers in keys are big-endian, all others little-endian. A stream's id is one thing everywhere: 16 bytes, ms u64 and
number u64, big-endian, so that ids compare as bytes. What follows the prefix is called the suffix here. Whatever bytes
a parser is given, it returns a value or raises CorruptionError, or FormatVersionError for what a newer Flin wrote.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from flin.engine.key import namespace_prefix
from flin.engine.slot import SLOTS
from flin.errors import CorruptionError, FormatVersionError, LimitError
from flin.objects.list_position import parse_position
from flin.objects.score import decode_score

# Tags of a key's own entry.
HASH: Final = 1
LIST: Final = 2
SET: Final = 3
SORTED_SET: Final = 4
STREAM: Final = 5
LONG_STRING: Final = 6

TYPE_NAMES: Final = {
    HASH: "hash",
    LIST: "list",
    SET: "set",
    SORTED_SET: "sorted set",
    STREAM: "stream",
    LONG_STRING: "long string",
}

# Forms.
JOINED: Final = 0
WITH_LENGTHS: Final = 1
SPREAD: Final = 2
WAS_LARGE: Final = 0x80
"""The bit next to the form."""

MOST_DATABASES: Final = 0x3FFF
"""Numbers 0 to 16,382: FFFF, which would be the anchors of 16,383, is the namespace of cursors and versions."""

PREFIX_BYTES: Final = 14
SCORE_BYTES: Final = 8
ID_BYTES: Final = 16
CHUNK_BYTES: Final = 1024

# Letters, where one prefix holds several kinds of entries.
MEMBER: Final = b"m"
IN_ORDER: Final = b"s"
ENTRY: Final = b"e"
GROUP: Final = b"g"
CONSUMER: Final = b"c"
PENDING: Final = b"p"

NEXT_VERSION: Final = namespace_prefix(0xFFFF) + b"versions"
"""The stored key of the next version to lease."""

_ELEMENTS: Final = 0x8000
ANCHORS: Final = 0xC000
"""The namespace of the anchors of database 0."""
_MOST_NAME_BYTES: Final = 0xFFFF

_PREFIX = struct.Struct(">2sHHQ")
_U64 = struct.Struct("<Q")
_ID = struct.Struct(">QQ")
_GROUP_VALUE = struct.Struct("<16sq")
_PENDING_VALUE = struct.Struct("<QQ")


def form_of(value: bytes, what: str) -> int:
    """JOINED, WITH_LENGTHS or SPREAD, of a value of `what`, say "hash". FormatVersionError for a form of later days."""
    if not value:
        raise CorruptionError(f"a value of a {what}", 0, "it is empty")
    form = value[0] & ~WAS_LARGE
    if form > SPREAD:
        raise FormatVersionError(f"a value of a {what}", f"form {form} is of a newer Flin")
    return form


def was_large(value: bytes) -> bool:
    """Bit 7 of a value that is not empty."""
    return value[0] >= WAS_LARGE


# Prefixes and namespaces.


def elements_namespace(database: int) -> int:
    """8000 to BFFE. LimitError for a database beyond 16,382."""
    if not 0 <= database < MOST_DATABASES:
        raise LimitError("the number of a database", database, MOST_DATABASES - 1)
    return _ELEMENTS + database


def anchors_namespace(database: int) -> int:
    """C000 to FFFE. LimitError for a database beyond 16,382."""
    return elements_namespace(database) - _ELEMENTS + ANCHORS


def elements_prefix(database: int, slot: int, version: int) -> bytes:
    """The prefix of the stored keys of a collection's elements: 14 bytes."""
    return _PREFIX.pack(b"\xff\x01", elements_namespace(database), slot, version)


def anchor_key(database: int, slot: int, version: int) -> bytes:
    """The stored key of the entry that says who owns a version; its value is the user's key."""
    return _PREFIX.pack(b"\xff\x01", anchors_namespace(database), slot, version)


class Owner(NamedTuple):
    """The collection that a prefix or an anchor names."""

    database: int
    slot: int
    version: int


def parse_element(stored: bytes) -> tuple[Owner, bytes]:
    """The owner of the element at a stored key, and the suffix."""
    return _parse_owner(stored, _ELEMENTS, "a stored key of an element"), stored[PREFIX_BYTES:]


def parse_anchor(stored: bytes) -> Owner:
    what = "a stored key of an anchor"
    owner = _parse_owner(stored, ANCHORS, what)
    if len(stored) != PREFIX_BYTES:
        raise CorruptionError(what, PREFIX_BYTES, "more follows")
    return owner


def _parse_owner(stored: bytes, namespaces: int, what: str) -> Owner:
    if len(stored) < PREFIX_BYTES:
        raise CorruptionError(what, len(stored), "it ends in its prefix")
    head, namespace, slot, version = _PREFIX.unpack_from(stored)
    if head != b"\xff\x01" or not namespaces <= namespace < namespaces + MOST_DATABASES:
        raise CorruptionError(what, 0, "it lies in another namespace")
    if slot >= SLOTS:
        raise CorruptionError(what, 4, f"slot {slot} is none")
    return Owner(namespace - namespaces, slot, version)


def encode_next_version(version: int) -> bytes:
    return _U64.pack(version)


def decode_next_version(value: bytes) -> int:
    return _only_u64(value, "the next version")


def _only_u64(value: bytes, what: str) -> int:
    if len(value) != _U64.size:
        raise CorruptionError(what, len(value), f"it has {len(value)} bytes, not 8")
    number: int = _U64.unpack(value)[0]
    return number


# Sorted sets.


def in_order_suffix(score: bytes, member: bytes) -> bytes:
    """The score as its ordered 8 bytes."""
    return IN_ORDER + score + member


def parse_in_order_suffix(suffix: bytes) -> tuple[bytes, bytes]:
    """The ordered 8 bytes of a score, and the member."""
    if len(suffix) <= SCORE_BYTES or suffix[:1] != IN_ORDER:
        raise CorruptionError("a key of a sorted set", 0, "it is not s, a score and a member")
    return suffix[1 : 1 + SCORE_BYTES], suffix[1 + SCORE_BYTES :]


# Streams.


def stream_id(ms: int, number: int) -> bytes:
    """Its 16 bytes."""
    return _ID.pack(ms, number)


def parse_stream_id(id_: bytes) -> tuple[int, int]:
    """(ms, number) of 16 bytes."""
    if len(id_) != ID_BYTES:
        raise CorruptionError("an id of a stream", len(id_), f"it has {len(id_)} bytes, not {ID_BYTES}")
    return _ID.unpack(id_)


def parse_entry_suffix(suffix: bytes) -> bytes:
    """The id."""
    if len(suffix) != 1 + ID_BYTES or suffix[:1] != ENTRY:
        raise CorruptionError("a key of a stream", 0, "it is not e and an id")
    return suffix[1:]


def consumers_of(group: bytes) -> bytes:
    """The beginning of the suffixes of a group's consumers; the name follows. LimitError beyond 65,535 bytes."""
    return CONSUMER + _group_with_length(group)


def pending_of(group: bytes) -> bytes:
    """The beginning of the suffixes of a group's pending entries; the id follows. LimitError beyond 65,535 bytes."""
    return PENDING + _group_with_length(group)


def _group_with_length(group: bytes) -> bytes:
    if len(group) > _MOST_NAME_BYTES:
        raise LimitError("the length of a group's name", len(group), _MOST_NAME_BYTES)
    return len(group).to_bytes(2, "big") + group


def parse_consumer_suffix(suffix: bytes) -> tuple[bytes, bytes]:
    """The group and the consumer's name."""
    return _parse_of_group(suffix, CONSUMER)


def parse_pending_suffix(suffix: bytes) -> tuple[bytes, bytes]:
    """The group and the id."""
    group, id_ = _parse_of_group(suffix, PENDING)
    if len(id_) != ID_BYTES:
        raise CorruptionError("a key of a stream", 3 + len(group), f"an id of {len(id_)} bytes")
    return group, id_


def _parse_of_group(suffix: bytes, letter: bytes) -> tuple[bytes, bytes]:
    stop = 3 + int.from_bytes(suffix[1:3], "big")
    if suffix[:1] != letter or len(suffix) < stop:
        raise CorruptionError("a key of a stream", 0, f"it is not {letter.decode()} and a group")
    return suffix[3:stop], suffix[stop:]


UNKNOWN_ENTRIES_READ: Final = -1
"""It is unknown how many entries a group has read, since it began in the middle or entries were deleted."""


def encode_group(last_id: bytes, entries_read: int) -> bytes:
    return _GROUP_VALUE.pack(last_id, entries_read)


def decode_group(value: bytes) -> tuple[bytes, int]:
    """The last id that was delivered, and how many entries the group has read, or UNKNOWN_ENTRIES_READ."""
    if len(value) != _GROUP_VALUE.size:
        raise CorruptionError("a stream's group", len(value), f"it has {len(value)} bytes, not {_GROUP_VALUE.size}")
    last_id, entries_read = _GROUP_VALUE.unpack(value)
    if entries_read < UNKNOWN_ENTRIES_READ:
        raise CorruptionError("a stream's group", ID_BYTES, f"{entries_read} entries read")
    return last_id, entries_read


def encode_consumer(seen_at_ms: int) -> bytes:
    return _U64.pack(seen_at_ms)


def decode_consumer(value: bytes) -> int:
    """When it was seen last, in ms since 1970."""
    return _only_u64(value, "a stream's consumer")


class Pending(NamedTuple):
    """An entry that was delivered and not acknowledged."""

    delivered_at_ms: int
    deliveries: int
    consumer: bytes


def encode_pending(pending: Pending) -> bytes:
    return _PENDING_VALUE.pack(pending.delivered_at_ms, pending.deliveries) + pending.consumer


def decode_pending(value: bytes) -> Pending:
    if len(value) < _PENDING_VALUE.size:
        raise CorruptionError("a stream's pending entry", len(value), "it ends in its head")
    delivered_at_ms, deliveries = _PENDING_VALUE.unpack_from(value)
    return Pending(delivered_at_ms, deliveries, value[_PENDING_VALUE.size :])


def is_pending_for(consumer: bytes, value: bytes) -> bool:
    """Whether a pending entry's value names this consumer."""
    return value[_PENDING_VALUE.size :] == consumer


# Long strings.


def chunk_suffix(number: int) -> bytes:
    return number.to_bytes(4, "big")


def parse_chunk_suffix(suffix: bytes) -> int:
    if len(suffix) != 4:
        raise CorruptionError("a key of a long string", 0, f"a chunk's number of {len(suffix)} bytes")
    return int.from_bytes(suffix, "big")


# Everything at once.


def check_suffix(tag: int, suffix: bytes) -> None:
    """CorruptionError if no element of this type has such a key; for those who check a whole database."""
    if tag == LIST:
        parse_position(suffix)
    elif tag == LONG_STRING:
        parse_chunk_suffix(suffix)
    elif tag == SORTED_SET and suffix[:1] != MEMBER:
        decode_score(parse_in_order_suffix(suffix)[0])
    elif tag == STREAM and suffix[:1] != GROUP:
        parse = {CONSUMER: parse_consumer_suffix, PENDING: parse_pending_suffix}.get(suffix[:1], parse_entry_suffix)
        parse(suffix)
