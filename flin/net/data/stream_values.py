"""Streams as RDB has them, and streams from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.wire.replies import OUT_OF_MEMORY
from flin.objects.layout import UNKNOWN_ENTRIES_READ, Pending, parse_stream_id, stream_id
from flin.objects.meta import NO_ID
from flin.objects.stream import Stream
from flin.objects.stream_group import Group
from flin.objects.stream_id import MAX_ID
from flin.rdb import value

if TYPE_CHECKING:
    from flin.net.data.keyspace import Keyspace

_MOST_DELIVERIES: Final = (1 << 32) - 1
"""A payload may hold more, and times before 1970: no DUMP writes either."""


PENDING_BYTES: Final = 400
"""A pending entry in memory as a value, with its piece in the batch or its bytes in a payload, about."""

STRING_BYTES: Final = 50
"""A field or value in memory in addition to its bytes, about."""


def stream_value(found: Stream, most_bytes: int) -> value.Stream:
    """All of it. CommandError OOM if it takes more memory."""
    entries: list[value.StreamEntry] = []
    size = 0
    for page in found.pages(NO_ID, MAX_ID, len(found)):
        for id_, strings in page:
            entries.append(value.StreamEntry(parse_stream_id(id_), strings))
            size += sum(map(len, strings)) + STRING_BYTES * len(strings)
        if size > most_bytes:
            raise CommandError(OUT_OF_MEMORY)
    groups = []
    for _, group in sorted(found.groups().items()):
        groups.append(_group_value(group, most_bytes - size))
        size += PENDING_BYTES * len(groups[-1].pending) + _size_of_consumers(groups[-1])
    return value.Stream(
        entries,
        parse_stream_id(found.last_id),
        parse_stream_id(found.greatest_deleted_id),
        found.added,
        groups,
    )


def _group_value(group: Group, most_bytes: int) -> value.Group:
    pending: list[value.Pending] = []
    for id_, delivered in group.between():
        pending.append(value.Pending(parse_stream_id(id_), delivered.consumer, *delivered[:2]))
        if PENDING_BYTES * len(pending) > most_bytes:
            raise CommandError(OUT_OF_MEMORY)
    return value.Group(
        group.name,
        parse_stream_id(group.last_id),
        None if group.entries_read == UNKNOWN_ENTRIES_READ else group.entries_read,
        {name: consumer.seen_at_ms for name, consumer in group.consumers().items()},
        pending,
    )


def _size_of_consumers(group: value.Group) -> int:
    return sum(map(len, group.consumers)) + PENDING_BYTES * len(group.consumers)


def put_stream(keyspace: Keyspace, key: bytes, restored: value.Stream, expires_at_ms: int) -> None:
    """Set the key to a stream that was restored. Nothing is read."""
    made = Stream(keyspace.objects, key)
    made.expires_at_ms = expires_at_ms
    for entry in restored.entries:
        made.append(stream_id(*entry.id), list(entry.fields))
    made.set_id(stream_id(*restored.last_id), restored.entries_added, stream_id(*restored.max_deleted_id))
    for group in restored.groups:
        read = UNKNOWN_ENTRIES_READ if group.entries_read is None else group.entries_read
        made.create_group(group.name, stream_id(*group.last_id), read)
        put = made.groups()[group.name]
        for name, seen_at_ms in group.consumers.items():
            put.see(name, max(0, seen_at_ms))
        for pending in group.pending:
            delivered = Pending(
                max(0, pending.delivered_ms), min(pending.deliveries, _MOST_DELIVERIES), pending.consumer
            )
            put.set_pending(stream_id(*pending.id), delivered, None)
