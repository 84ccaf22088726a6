"""Values of RDB from collections, and collections from them: what DUMP writes and RESTORE makes.

A collection is written page by page, so that it never lies in memory twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from flin.engine.entry import make_entry
from flin.net.data.stream_values import put_stream, stream_value
from flin.objects.hash import Hash
from flin.objects.list import List
from flin.objects.live_object import LiveObject
from flin.objects.set import Set
from flin.objects.sorted_set import SortedSet
from flin.objects.stream import Stream
from flin.rdb import body, value
from flin.rdb.primitives import ELEMENT_BYTES

if TYPE_CHECKING:
    from flin.net.data.keyspace import Keyspace

Pages: TypeAlias = Iterator[bytes]


def body_pages(found: LiveObject, most_bytes: int) -> Pages:
    """A collection's value as it stands in a payload, as of this call, in parts; others may run between two. A stream
    is one part. CommandError OOM if it takes more than most_bytes."""
    if isinstance(found, Hash):
        hash_pages = found.element_pages() if found.is_large else iter([found.elements()])
        strings = (list(chain.from_iterable(page)) for page in hash_pages)
        return chain([body.head(body.HASH, len(found))], map(body.strings, strings))
    if isinstance(found, List):
        count = len(found)
        list_pages = found.frozen_pages(0, count) if found.is_large else iter([found.between(0, count)])
        return chain([body.head(body.LIST, count)], map(body.strings, list_pages))
    if isinstance(found, Set):
        set_pages = found.element_pages() if found.is_large else iter([found.elements()])
        return chain([body.head(body.SET, len(found))], map(body.strings, set_pages))
    if isinstance(found, SortedSet):
        scored_pages = found.element_pages() if found.is_large else iter([found.elements()])
        return chain([body.head(body.SORTED_SET, len(found))], map(body.scored, scored_pages))
    if isinstance(found, Stream):
        return iter([body.encode(stream_value(found, most_bytes))])
    raise AssertionError(f"{type(found).__name__} has no form")


def put(keyspace: Keyspace, key: bytes, restored: value.Value, expires_at_ms: int) -> None:
    """Set the key to a value that was restored. Nothing is read."""
    objects = keyspace.objects
    match restored:
        case value.String(data):
            keyspace.put(key, make_entry(data, expires_at_ms))
        case value.List(elements):
            new_list = List(objects, key)
            new_list.expires_at_ms = expires_at_ms
            new_list.push_right(elements)
        case value.Hash(fields):
            new_hash = Hash(objects, key)
            new_hash.expires_at_ms = expires_at_ms
            new_hash.put_many(dict(fields))
        case value.Set(members):
            new_set = Set(objects, key)
            new_set.expires_at_ms = expires_at_ms
            new_set.add_absent(list(members))
        case value.SortedSet(scores):
            new_sorted_set = SortedSet(objects, key)
            new_sorted_set.expires_at_ms = expires_at_ms
            new_sorted_set.put_many([(member, score, None) for member, score in scores.items()])
        case value.Stream():
            put_stream(keyspace, key, restored, expires_at_ms)


def size_of(restored: value.Value) -> int:
    """What the value takes in memory, about."""
    match restored:
        case value.String(data):
            return len(data)
        case value.List(elements):
            return _size(elements)
        case value.Set(members):
            return _size(members)
        case value.Hash(fields):
            return _size(fields) + _size(fields.values())
        case value.SortedSet(scores):
            return _size(scores) + 2 * ELEMENT_BYTES * len(scores)  # its pieces are two
        case value.Stream(entries, _, _, _, groups):
            return sum(_size(entry.fields) for entry in entries) + sum(_size_of_group(group) for group in groups)


def _size(strings: Collection[bytes]) -> int:
    return sum(map(len, strings)) + ELEMENT_BYTES * len(strings)


def _size_of_group(group: value.Group) -> int:
    return _size(group.consumers) + 2 * ELEMENT_BYTES * len(group.pending)
