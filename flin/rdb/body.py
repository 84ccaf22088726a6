"""A value in RDB: a byte for its type and form, then the value itself.

| type | value | form |
|---|---|---|
| 0 | string | a string |
| 1, 2, 4 | list, set, hash | a count, then the strings or pairs of strings |
| 3, 5 | sorted set | a count, then the members with their scores; 3: in the older form |
| 9, 13, 16 | hash | a zipmap, ziplist, listpack in a string: fields and values in turn |
| 10 | list | a ziplist in a string |
| 11 | set | an intset in a string |
| 12, 17 | sorted set | a ziplist, listpack in a string: members and scores in turn |
| 14 | list | a count, then ziplists in strings |
| 18 | list | the same, each with its kind: 1 one element as it is, 2 a listpack |
| 15, 19, 21 | stream | see stream.py |
| 20 | set | a listpack in a string |

All are read, 20 and 21 (Redis 7.2) in files and in what other servers send, not by RESTORE: Redis 7.0 has neither. 0,
1, 2, 4, 5 and 19 are written, which every Redis from 7.0 on reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

from flin.rdb import intset, listpack, stream, ziplist, zipmap
from flin.rdb.primitives import Reader, double, length, score, string
from flin.rdb.value import Hash, List, Set, SortedSet, Stream, String, Value

_PLAIN_NODE: Final = 1
_LISTPACK_NODE: Final = 2


# Reading.


def decode(data: bytes, most_bytes: int) -> Value:
    """The value in `data`, all of it. Raises PayloadError if it is none, is empty but may not be, or has anything
    twice; LimitError if more than `most_bytes` would be decompressed, or its elements take more in memory."""
    reader = Reader(data, most_bytes)
    value = read(reader, reader.byte(), FORMS)
    reader.end()
    return value


def decode_later(data: bytes, most_bytes: int) -> Value:
    """As `decode`, of any Redis that has no type of its own for it."""
    reader = Reader(data, most_bytes)
    value = read(reader, reader.byte(), LATER_FORMS)
    reader.end()
    return value


def read(reader: Reader, type_: int, forms: Mapping[int, Callable[[Reader], Value]]) -> Value:
    """The value that follows its type. PayloadError names a type that is none of the forms'."""
    form = forms.get(type_)
    if form is None:
        raise reader.bad(f"no value is of the type {type_}{_STRANGE.get(type_, '')}")
    return form(reader)


_STRANGE: Final = {
    6: ", one of a module",
    7: ", one of a module",
    **dict.fromkeys(range(22, 26), ", a hash whose fields expire (Redis 7.4): Flin has none"),
}


def _count(reader: Reader, each: int = 1) -> int:
    """How many elements of so many strings each follow, for which there is room."""
    count = reader.count(least=1)
    reader.take_room(count * each)
    return count


def _string(reader: Reader) -> String:
    return String(reader.string())


def _list(reader: Reader) -> List:
    return List(reader.strings(_count(reader)))


def _set(reader: Reader) -> Set:
    members = reader.strings(_count(reader))
    distinct = set(members)
    if len(distinct) != len(members):
        raise reader.bad("a member is there twice")
    return Set(distinct)


def _hash(reader: Reader) -> Hash:
    return _hash_of(reader, reader.strings(2 * _count(reader, 2)))


def _hash_of(reader: Reader, fields: Sequence[bytes]) -> Hash:
    return Hash(_pairs(reader, fields))


def _pairs(reader: Reader, elements: Sequence[bytes]) -> dict[bytes, bytes]:
    if not elements or len(elements) % 2:
        raise reader.bad(f"{len(elements)} elements are no pairs")
    pairs = dict(zip(elements[::2], elements[1::2], strict=True))
    if 2 * len(pairs) != len(elements):
        raise reader.bad("a field or member is there twice")
    return pairs


def _sorted_set(reader: Reader) -> SortedSet:
    count = _count(reader)
    return _sorted_set_of(reader, count, dict(zip(*reader.scored(count), strict=True)))


def _old_sorted_set(reader: Reader) -> SortedSet:
    count = _count(reader)
    pairs = [(reader.string(), reader.old_double()) for _ in range(count)]
    return _sorted_set_of(reader, count, dict(pairs))


def _sorted_set_of_texts(reader: Reader, elements: Sequence[bytes]) -> SortedSet:
    pairs = _pairs(reader, elements)
    return _sorted_set_of(reader, len(pairs), {member: score(text) for member, text in pairs.items()})


def _sorted_set_of(reader: Reader, count: int, scores: Mapping[bytes, float]) -> SortedSet:
    if len(scores) != count or any(map(math.isnan, scores.values())):
        raise reader.bad("a member is there twice, or its score is NaN")
    return SortedSet(scores)


def _list_of(reader: Reader, elements: list[bytes]) -> List:
    if not elements:
        raise reader.bad("a list is empty")
    return List(elements)


def _quicklist_node(reader: Reader) -> Iterable[bytes]:
    kind, data = reader.length(), reader.string()
    if kind not in (_PLAIN_NODE, _LISTPACK_NODE) or not data:
        raise reader.bad(f"no node of a list is of the kind {kind}, or it is empty")
    if kind == _LISTPACK_NODE:
        return _listpack(reader, data)
    reader.take_room(1)
    return (data,)


def _nodes(reader: Reader, node: Callable[[Reader], Iterable[bytes]]) -> List:
    return _list_of(reader, list(chain.from_iterable(node(reader) for _ in range(reader.count(least=1)))))


def _listpack(reader: Reader, data: bytes) -> list[bytes]:
    found = listpack.decode(data, reader.left_elements)
    reader.take_room(len(found))
    return listpack.texts(found)


def _ziplist(reader: Reader) -> list[bytes]:
    found = ziplist.decode(reader.string(), reader.left_elements)
    reader.take_room(len(found))
    return found


def _zipmap(reader: Reader) -> list[bytes]:
    found = zipmap.decode(reader.string(), reader.left_elements)
    reader.take_room(len(found))
    return found


def _set_of(reader: Reader, members: list[bytes]) -> Set:
    distinct = set(members)
    if not members or len(distinct) != len(members):
        raise reader.bad("a set is empty, or a member is there twice")
    return Set(distinct)


def _intset(reader: Reader) -> set[bytes]:
    data = reader.string()
    reader.take_room(intset.claimed(data))
    return {b"%d" % member for member in intset.decode(data)}


FORMS: Final[Mapping[int, Callable[[Reader], Value]]] = {
    0: _string,
    1: _list,
    2: _set,
    3: _old_sorted_set,
    4: _hash,
    5: _sorted_set,
    9: lambda reader: _hash_of(reader, _zipmap(reader)),
    10: lambda reader: _list_of(reader, _ziplist(reader)),
    11: lambda reader: Set(_intset(reader)),
    12: lambda reader: _sorted_set_of_texts(reader, _ziplist(reader)),
    13: lambda reader: _hash_of(reader, _ziplist(reader)),
    14: lambda reader: _nodes(reader, _ziplist),
    15: lambda reader: stream.decode(reader, has_past=False),
    16: lambda reader: _hash_of(reader, _listpack(reader, reader.string())),
    17: lambda reader: _sorted_set_of_texts(reader, _listpack(reader, reader.string())),
    18: lambda reader: _nodes(reader, _quicklist_node),
    19: lambda reader: stream.decode(reader, has_past=True),
}

LATER_FORMS: Final[Mapping[int, Callable[[Reader], Value]]] = {
    **FORMS,
    20: lambda reader: _set_of(reader, _listpack(reader, reader.string())),
    21: lambda reader: stream.decode(reader, has_past=True, has_active=True),
}
"""With those of Redis 7.2."""


# Writing.


def encode(value: Value) -> bytes:
    """The value in a plain form, after its type byte. Raises LimitError for an entry of a stream that is longer than
    4 GiB."""
    match value:
        case String(data):
            return b"\x00" + string(data)
        case List(elements):
            return head(LIST, len(elements)) + strings(elements)
        case Set(members):
            return head(SET, len(members)) + strings(members)
        case Hash(fields):
            return head(HASH, len(fields)) + strings(chain.from_iterable(fields.items()))
        case SortedSet(scores):
            return head(SORTED_SET, len(scores)) + scored(scores.items())
        case Stream():
            return b"\x13" + stream.encode(value)


# Its parts, for who has the elements of a large value page by page.

STRING: Final = 0
LIST: Final = 1
SET: Final = 2
HASH: Final = 4
SORTED_SET: Final = 5


def head(type_: int, count: int) -> bytes:
    """What stands before so many elements, or bytes of a string. Of a hash count is that of its fields."""
    return bytes((type_,)) + length(count)


def strings(elements: Iterable[bytes]) -> bytes:
    """Elements of a list or set, or fields and values by turns."""
    return b"".join(map(string, elements))


def scored(pairs: Iterable[tuple[bytes, float]]) -> bytes:
    """Members of a sorted set with their scores."""
    return b"".join([string(member) + double(number) for member, number in pairs])
