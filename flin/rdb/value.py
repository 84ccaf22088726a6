"""The values that RDB can hold, as plain data: the content of a payload, not how Flin keeps it.

Items that are unique in a value are unique here, too: members are a set, fields and scores a mapping. Encoding takes
any collection of that kind; decoding gives a `list`, `set` or `dict`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

StreamId: TypeAlias = tuple[int, int]
"""(milliseconds, sequence), each of 64 bits without sign."""


@dataclass(frozen=True, slots=True)
class String:
    data: bytes


@dataclass(frozen=True, slots=True)
class List:
    """Never empty, like all values but strings and streams."""

    elements: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Set:
    members: AbstractSet[bytes]


@dataclass(frozen=True, slots=True)
class SortedSet:
    scores: Mapping[bytes, float]
    """Scores by member, in any order. No score is NaN."""


@dataclass(frozen=True, slots=True)
class Hash:
    fields: Mapping[bytes, bytes]


class StreamEntry(NamedTuple):
    id: StreamId
    fields: Sequence[bytes]
    """Fields and their values in turn, at least one of each; a field may come again."""


class Pending(NamedTuple):
    """An entry that was delivered to a consumer, and is not acknowledged yet."""

    id: StreamId
    consumer: bytes
    delivered_ms: int
    deliveries: int


@dataclass(frozen=True, slots=True)
class Group:
    name: bytes
    last_id: StreamId
    entries_read: int | None
    """None if it is not known, as after a group was set to an ID in the middle."""
    consumers: Mapping[bytes, int]
    """When each consumer was last seen, in milliseconds."""
    pending: Sequence[Pending]
    """Pending entries in the order of their IDs, which are distinct; each names a consumer of the group."""


@dataclass(frozen=True, slots=True)
class Stream:
    entries: Sequence[StreamEntry]
    """Entries in the order of their IDs."""
    last_id: StreamId
    """Not below any entry's, nor below `max_deleted_id`."""
    max_deleted_id: StreamId
    entries_added: int
    """How many were added since the stream was made: at least as many as there are."""
    groups: Sequence[Group]


Value: TypeAlias = String | List | Set | SortedSet | Hash | Stream
