"""The items of a database: every key of every database that a server knows, as of one moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from flin.engine.entry import Live
from flin.engine.snapshot import Snapshot
from flin.errors import FormatVersionError
from flin.net.batch.namespaces import MAX_DATABASES
from flin.net.batch.pending import Pending
from flin.net.data.databases import Databases
from flin.net.data.keyspace import Keyspace
from flin.net.data.rdb_values import body_pages
from flin.net.data.text import part_of, text_of
from flin.objects.kinds import KINDS
from flin.objects.layout import LONG_STRING, TYPE_NAMES
from flin.rdb import dump
from flin.rdb.crc64 import crc64
from flin.transfer.frozen import FrozenStore
from flin.transfer.record import STRING, Item, Library, Record

NO_LIMIT: Final = 1 << 62
"""A stream of any size is written: nobody else needs the memory."""


def items(snapshot: Snapshot) -> Iterator[Item]:
    """The libraries of functions, then the records."""
    yield from libraries(snapshot)
    yield from records(snapshot)


def libraries(snapshot: Snapshot) -> Iterator[Library]:
    """The libraries of functions. FormatVersionError for one of a newer Flin."""
    from flin.net.scripting import functions  # most exports need none of it

    prefix = functions.PREFIX
    for keys, entries in FrozenStore(snapshot).pages(None, prefix, prefix + b"\xff"):
        yield from map(Library, functions.sources_in(dict(zip(keys, entries, strict=True))))


def records(snapshot: Snapshot) -> Iterator[Record]:
    """Without keys that have expired, and without libraries of functions, which are no keys. FormatVersionError for a
    type of a newer Flin."""
    store: Any = FrozenStore(snapshot)  # with those calls of a store that reading needs
    databases = Databases(store, Pending(store), MAX_DATABASES, 0)
    databases.block_reads(blocking=True)
    for keyspace in databases.keyspaces:
        for keys, entries in keyspace.pages(values=True):
            for key, entry in zip(keys, entries, strict=True):
                yield record_of_entry(keyspace, key, entry)


def record_of_entry(keyspace: Keyspace, key: bytes, entry: Live) -> Record:
    """The record of a key. FormatVersionError for a type of a newer Flin."""
    if type(entry) is bytes:
        return Record(key, entry, database=keyspace.database)
    assert type(entry) is tuple
    value, expires_at_ms, tag = entry
    if not tag:
        return Record(key, value, STRING, expires_at_ms, keyspace.database)
    if tag == LONG_STRING:
        text = text_of(keyspace, key, entry)
        return Record(key, part_of(text, 0, len(text)), STRING, expires_at_ms, keyspace.database)
    kind = KINDS.get(tag)
    if kind is None:
        raise FormatVersionError(f"the key {key!r}", f"its tag {tag} is of a newer Flin")
    found = keyspace.objects.find(key, kind)
    assert found is not None, "nothing else writes"
    covered = b"".join((*body_pages(found, NO_LIMIT), dump.VERSION_BYTES))
    keyspace.objects.forget_all()  # each is asked for once
    payload = covered + dump.stored(crc64(covered))
    return Record(key, payload, TYPE_NAMES[tag], expires_at_ms, keyspace.database)
