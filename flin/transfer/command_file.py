"""An export as requests of Redis's protocol, for `redis-cli --pipe` and whatever speaks it.

A string is a SET. A hash, list, set or sorted set is deleted, then made by commands of some elements each, so that none
is too long and any Redis takes them; only a stream, whose groups no commands can make, is a RESTORE of Redis 7.0. All
of it twice is the same as once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import IO, Final

from flin.rdb import dump
from flin.rdb.value import Hash, List, Set, SortedSet, Value
from flin.transfer.record import STRING, Item, Library, Record

ELEMENTS: Final = 500
"""Elements of a command; of a hash that many fields."""

NO_LIMIT: Final = 1 << 62


def write(items: Iterable[Item], file: IO[bytes]) -> int:
    """Write a whole file. Returns the number of keys. OSError."""
    database, count = 0, 0
    for item in items:
        if isinstance(item, Library):
            file.write(request(b"FUNCTION", b"LOAD", b"REPLACE", item.source))
            continue
        if item.database != database:
            database = item.database
            file.write(request(b"SELECT", b"%d" % database))
        for words in _commands(item):
            file.write(request(*words))
        count += 1
    return count


def request(*words: bytes) -> bytes:
    """A command as a client sends it."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def _commands(record: Record) -> Iterator[Sequence[bytes]]:
    key, expires_at_ms = record.key, record.expires_at_ms
    if record.kind == STRING:
        yield b"SET", key, record.payload
    elif record.kind == "stream":
        yield b"RESTORE", key, b"0", record.dumped(), b"REPLACE"
    else:
        yield b"DEL", key
        name, words = _making(dump.decode(record.payload, NO_LIMIT) if record.value is None else record.value)
        for start in range(0, len(words), 2 * ELEMENTS):
            yield name, key, *words[start : start + 2 * ELEMENTS]
    if expires_at_ms:
        yield b"PEXPIREAT", key, b"%d" % expires_at_ms


def _making(value: Value) -> tuple[bytes, list[bytes]]:
    """A command, and all that its arguments are after the key."""
    match value:
        case List(elements):
            return b"RPUSH", list(elements)
        case Set(members):
            return b"SADD", list(members)
        case Hash(fields):
            return b"HSET", list(chain.from_iterable(fields.items()))
        case SortedSet(scores):
            return b"ZADD", list(
                chain.from_iterable((repr(score).encode(), member) for member, score in scores.items())
            )
    raise AssertionError(f"{type(value).__name__} is made in another way")
