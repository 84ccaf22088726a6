"""The items of an export: records, each one key of one database with its value and its expiry; and libraries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from flin.rdb import body, dump
from flin.rdb.value import Hash, List, Set, SortedSet, Stream, String, Value

STRING: Final = "string"
KINDS: Final = (STRING, "hash", "list", "set", "sorted set", "stream")
"""Their order is that of the numbers in compact files: new ones go to the end."""

KIND_OF: Final = {String: STRING, Hash: "hash", List: "list", Set: "set", SortedSet: "sorted set", Stream: "stream"}


@dataclass(frozen=True, slots=True)
class Record:
    key: bytes
    payload: bytes
    """A string's bytes; of a collection what DUMP gives, which RESTORE takes here and in Redis. Empty for a collection
    that is there as `value`."""
    kind: str = STRING
    expires_at_ms: int = 0  # milliseconds since 1970; 0: never
    database: int = 0
    place: str = field(default="", compare=False)
    """Where it stands in its file, for errors."""
    value: Value | None = field(default=None, compare=False)
    """A collection that was decoded already."""
    may_be_prolonged: bool = field(default=False, compare=False)
    """It is there even if it has expired: requests come after it, and one may give it a later expiry."""

    def body(self) -> bytes:
        """The value as RDB has it: its type byte, then the rest."""
        if self.kind == STRING:
            return body.encode(String(self.payload))
        return self.payload[: -dump.FOOTER_BYTES] if self.value is None else body.encode(self.value)

    def dumped(self) -> bytes:
        """What RESTORE takes."""
        if self.kind == STRING:
            return dump.encode(String(self.payload))
        return self.payload if self.value is None else dump.encode(self.value)


@dataclass(frozen=True, slots=True)
class Library:
    """The source of a library of functions: no key, and in the forms of Redis only."""

    source: bytes
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Request:
    """A command of an append-only file, or of a server that is followed, to be run."""

    words: list[bytes]
    place: str = field(default="", compare=False)
    packed: bytes = field(default=b"", compare=False)
    """As a client sends it, if that is at hand."""


Item: TypeAlias = Record | Library
"""What an export may have."""


def record_of(
    key: bytes, value: Value, expires_at_ms: int = 0, database: int = 0, place: str = "", payload: bytes = b""
) -> Record:
    """The record of a value; payload: what DUMP gave, if it is at hand."""
    if type(value) is String:
        return Record(key, value.data, STRING, expires_at_ms, database, place)
    return Record(key, payload, KIND_OF[type(value)], expires_at_ms, database, place, value)
