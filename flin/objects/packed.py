"""Packed values: all elements of a small collection in the value of its key.

Layout, little-endian: form u8 (0 joined, 1 with lengths; bit 7: was ever large), a head, the strings.

    hash          no head; field, value, field, value …
    list, set     no head; the elements
    sorted set    count u16, count scores (doubles); the members, by score and then by bytes
    stream        last id, greatest deleted id, added u64, count u16, count ids, count times the pairs in an entry u8;
                  field, value … of all entries

    joined         the strings with FF between them
    with lengths   width u8 (1 or 4), number of strings u32, a length of that width for each, the strings

UTF-8 never holds FF, so nearly all collections are joined: `split` and `join` are one call each for any number of
elements, where lengths cost a step of the interpreter for each. That no string holds FF is proved by counting: join
n strings, and there are n - 1 of them. The value of a stream's spread entry is a packed list of its fields and values.

Measured, µs of processor time, values of 20 bytes (CPython 3.11): a hash of 10 fields 1.25 to encode
and 1.4 to decode, with lengths 4.3 and 3.5; of 64 fields 5.3 and 5.9; a list of 10 elements 0.4 and 0.4, a set 0.4 and
0.7, a sorted set 2.2 and 3.6, a stream of 10 entries 3.4 and 5.7.

A decoder takes any bytes: it returns elements, or raises CorruptionError, or FormatVersionError for a form of later
days. A spread value is not a packed one: who has a key's value asks `form_of` first.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from flin.errors import CorruptionError, LimitError
from flin.objects.layout import ID_BYTES, JOINED, WAS_LARGE, WITH_LENGTHS, form_of
from flin.objects.meta import NO_ID

MOST_ELEMENTS: Final = 0xFFFF
"""What the count of a sorted set or stream holds. Long before that a collection becomes spread."""

MOST_PAIRS: Final = 0xFF
"""In one entry of a packed stream."""

_FF: Final = b"\xff"
_JOINED_HEADS: Final = (bytes((JOINED,)), bytes((JOINED | WAS_LARGE,)))

_LENGTHS = struct.Struct("<BI")
_COUNT = struct.Struct("<H")
_STREAM = struct.Struct(f"<{ID_BYTES}s{ID_BYTES}sQH")


# Hashes, lists, sets.


def encode_hash(fields: dict[bytes, bytes], was_large: bool = False) -> bytes:
    """In the order of the dict, which has at least one field."""
    joined = _FF.join(chain.from_iterable(fields.items()))
    if joined.count(_FF) == 2 * len(fields) - 1:
        return _JOINED_HEADS[was_large] + joined
    return _with_lengths(b"", list(chain.from_iterable(fields.items())), was_large)


def decode_hash(value: bytes) -> dict[bytes, bytes]:
    """In the order in which they were encoded."""
    strings = value[1:].split(_FF) if value[:1] in _JOINED_HEADS else _decode_lengths(value, 1, "hash")
    iterator = iter(strings)
    fields = dict(zip(iterator, iterator))  # noqa: B905 # the test below is cheaper than `strict`
    if 2 * len(fields) != len(strings) or not fields:
        raise CorruptionError("a packed hash", 1, f"{len(strings)} strings, {len(fields)} of them fields")
    return fields


def encode_list(elements: Collection[bytes], was_large: bool = False) -> bytes:
    """A list (or deque) of at least one element; also the fields and values of a stream's spread entry."""
    joined = _FF.join(elements)
    if joined.count(_FF) == len(elements) - 1:
        return _JOINED_HEADS[was_large] + joined
    return _with_lengths(b"", elements, was_large)


def decode_list(value: bytes) -> list[bytes]:
    strings = value[1:].split(_FF) if value[:1] in _JOINED_HEADS else _decode_lengths(value, 1, "list")
    if not strings:
        raise CorruptionError("a packed list", 1, "it has no elements")
    return strings


encode_set: Final = encode_list
"""The members differ from each other; at least one, in any order."""


def decode_set(value: bytes) -> list[bytes]:
    """The members, in the order in which they were encoded."""
    strings = value[1:].split(_FF) if value[:1] in _JOINED_HEADS else _decode_lengths(value, 1, "set")
    if len(set(strings)) != len(strings) or not strings:
        raise CorruptionError("a packed set", 1, f"{len(strings)} members, {len(set(strings))} of them different")
    return strings


# Sorted sets.


def encode_sorted_set(scores: dict[bytes, float], was_large: bool = False) -> bytes:
    """At least one member, in any order; no score is NaN or -0. LimitError beyond 65,535 members."""
    count = len(scores)
    if count > MOST_ELEMENTS:
        raise LimitError("the number of members of a packed sorted set", count, MOST_ELEMENTS)
    members = sorted(scores)
    members.sort(key=scores.__getitem__)  # stable: equal scores stay in the order of bytes
    head = struct.pack(f"<H{count}d", count, *map(scores.__getitem__, members))
    return _encode(head, members, was_large)


def decode_sorted_set(value: bytes) -> dict[bytes, float]:
    """In order."""
    what = "sorted set"
    form = form_of(value, what)
    start = 1 + _COUNT.size
    count = int.from_bytes(value[1:start], "little")
    stop = start + 8 * count
    if not count or len(value) < stop:
        raise CorruptionError("a packed sorted set", 1, f"{count} scores in {len(value)} bytes")
    scores = struct.unpack_from(f"<{count}d", value, start)
    members = value[stop:].split(_FF) if form == JOINED else _decode_lengths(value, stop, what)
    found = dict(zip(members, scores, strict=False))
    if len(members) != count or len(found) != count:
        raise CorruptionError("a packed sorted set", stop, f"{count} scores, {len(found)} different members")
    if not _is_in_order(scores, members):
        raise CorruptionError("a packed sorted set", start, "its members are not in order")
    return found


def _is_in_order(scores: tuple[float, ...], members: list[bytes]) -> bool:
    total = sum(scores)
    if total != total and any(score != score for score in scores):
        return False  # NaN is in no order
    if len(set(scores)) == len(scores):
        return list(scores) == sorted(scores)
    pairs = list(zip(scores, members, strict=True))
    return pairs == sorted(pairs)


# Streams.


@dataclass(slots=True)
class PackedStream:
    """A stream without groups that lies in one value. An empty one stays."""

    last_id: bytes = NO_ID
    greatest_deleted_id: bytes = NO_ID
    added: int = 0
    """Entries ever added."""
    entries: dict[bytes, list[bytes]] = field(default_factory=dict)
    """In order: from the id to field, value, field, value … of at least one pair, at most 255."""
    was_large: bool = False


def encode_stream(stream: PackedStream) -> bytes:
    """LimitError beyond 65,535 entries, or 255 pairs in one: such a stream is spread."""
    entries = stream.entries
    counts = [len(strings) // 2 for strings in entries.values()]
    if len(counts) > MOST_ELEMENTS:
        raise LimitError("the number of entries of a packed stream", len(counts), MOST_ELEMENTS)
    if counts and max(counts) > MOST_PAIRS:
        raise LimitError("the number of fields in an entry of a packed stream", max(counts), MOST_PAIRS)
    head = _STREAM.pack(stream.last_id, stream.greatest_deleted_id, stream.added, len(counts))
    head = b"".join((head, *entries, bytes(counts)))
    return _encode(head, list(chain.from_iterable(entries.values())), stream.was_large)


def decode_stream(value: bytes) -> PackedStream:
    what = "stream"
    form = form_of(value, what)
    start = 1 + _STREAM.size
    if len(value) < start:
        raise CorruptionError("a packed stream", len(value), "it ends in its head")
    last_id, greatest_deleted_id, added, count = _STREAM.unpack_from(value, 1)
    middle = start + ID_BYTES * count
    stop = middle + count
    if len(value) < stop:
        raise CorruptionError("a packed stream", len(value), f"it ends in the heads of its {count} entries")
    ids = [value[at : at + ID_BYTES] for at in range(start, middle, ID_BYTES)]
    if any(map(bytes.__ge__, ids, ids[1:])) or (ids and not NO_ID < ids[0] <= ids[-1] <= last_id):
        raise CorruptionError("a packed stream", start, "its ids do not ascend to the last one")
    counts = value[middle:stop]
    if form == JOINED:
        strings = value[stop:].split(_FF) if count else []
        is_whole = bool(count) or stop == len(value)
    else:
        strings, is_whole = _decode_lengths(value, stop, what), True
    if 2 * sum(counts) != len(strings) or 0 in counts or not is_whole:
        raise CorruptionError("a packed stream", stop, f"{len(strings)} strings, not two for each of {sum(counts)}")
    entries = {}
    at = 0
    for id_, pairs in zip(ids, counts, strict=True):
        entries[id_] = strings[at : at + 2 * pairs]
        at += 2 * pairs
    return PackedStream(last_id, greatest_deleted_id, added, entries, value[0] >= WAS_LARGE)


# Strings after a head.


def _encode(head: bytes, strings: Sequence[bytes], was_large: bool) -> bytes:
    joined = _FF.join(strings)
    if joined.count(_FF) == len(strings) - 1 or not strings:
        return b"%b%b%b" % (_JOINED_HEADS[was_large], head, joined)
    return _with_lengths(head, strings, was_large)


def _with_lengths(head: bytes, strings: Collection[bytes], was_large: bool) -> bytes:
    lengths = list(map(len, strings))
    width = 1 if max(lengths, default=0) <= 0xFF else 4
    packed = bytes(lengths) if width == 1 else struct.pack(f"<{len(lengths)}I", *lengths)
    form = WITH_LENGTHS | WAS_LARGE if was_large else WITH_LENGTHS
    return b"".join((bytes((form,)), head, _LENGTHS.pack(width, len(lengths)), packed, *strings))


def _decode_lengths(value: bytes, start: int, what: str) -> list[bytes]:
    """The strings of form 1, from `start` on to the value's end."""
    if form_of(value, what) != WITH_LENGTHS:
        raise CorruptionError(f"a packed {what}", 0, "it is spread")
    at = start + _LENGTHS.size
    if len(value) < at:
        raise CorruptionError(f"a packed {what}", len(value), "it ends before its lengths")
    width, count = _LENGTHS.unpack_from(value, start)
    stop = at + width * count
    if width not in (1, 4) or len(value) < stop:
        raise CorruptionError(f"a packed {what}", start, f"{count} lengths of {width} bytes in {len(value)} bytes")
    lengths: Sequence[int] = value[at:stop] if width == 1 else struct.unpack_from(f"<{count}I", value, at)
    if stop + sum(lengths) != len(value):
        raise CorruptionError(f"a packed {what}", stop, f"strings of {sum(lengths)} bytes end at {len(value)}")
    strings = []
    for length in lengths:
        strings.append(value[stop : stop + length])
        stop += length
    return strings
