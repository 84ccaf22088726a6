"""XINFO: what a stream, its groups and their consumers are like."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command.registry import command, container
from flin.net.commands.elements import look_up
from flin.net.commands.help import declare_help, unknown_or_wrong_arity
from flin.net.commands.stream_groups import SECOND_KEY, no_group
from flin.net.commands.streams import show_entries
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import NO_SUCH_KEY, Value
from flin.objects.layout import UNKNOWN_ENTRIES_READ
from flin.objects.meta import NO_ID
from flin.objects.stream import Stream
from flin.objects.stream_group import Consumer, Group
from flin.objects.stream_id import MAX_ID, show_id
from flin.objects.stream_progress import lag_of

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "stream"

_SHOWN: Final = 10
"""Entries that FULL shows of each kind, without COUNT: as in Redis."""

container("xinfo", GROUP, "Tells about streams and their groups.")


def _found(context: Context, args: list[bytes]) -> Stream:
    stream = look_up(context, args[2], Stream)
    if stream is None:
        raise CommandError(NO_SUCH_KEY)
    return stream


@command("xinfo|stream", -3, "readonly", SECOND_KEY)
def xinfo_stream(context: Context, args: list[bytes]) -> Value:
    """Tells about a stream; FULL: with entries, groups and consumers."""
    stream = _found(context, args)
    count = _full_count(args)
    node = context.services.config.thresholds.stream_node_entries or MAX_NODE
    nodes = -(-len(stream) // node)
    head: dict[bytes, Value] = {
        b"length": len(stream),
        b"radix-tree-keys": nodes,
        b"radix-tree-nodes": nodes + 1,
        b"last-generated-id": show_id(stream.last_id),
        b"max-deleted-entry-id": show_id(stream.greatest_deleted_id),
        b"entries-added": stream.added,
        b"recorded-first-entry-id": show_id(stream.first_id()),
    }
    if count is None:
        first = show_entries(stream.between(NO_ID, MAX_ID, 1))
        last = show_entries(stream.between(NO_ID, MAX_ID, 1, reverse=True))
        return {
            **head,
            b"groups": len(stream.groups()),
            b"first-entry": first[0] if first else None,
            b"last-entry": last[0] if last else None,
        }
    count = count or MAX_NODE
    return {
        **head,
        b"entries": show_entries(stream.between(NO_ID, MAX_ID, min(count, len(stream)))),
        b"groups": [_whole_group(stream, group, count) for _, group in sorted(stream.groups().items())],
    }


MAX_NODE: Final = 1 << 63
"""More entries than there can be."""


def _full_count(args: list[bytes]) -> int | None:
    """COUNT of FULL, 0: all; None without FULL."""
    if len(args) == 3:
        return None
    if len(args) not in (4, 6) or args[3].upper() != b"FULL":
        raise unknown_or_wrong_arity(args)
    if len(args) == 4:
        return _SHOWN
    if args[4].upper() != b"COUNT":
        raise unknown_or_wrong_arity(args)
    count = parse_int64(args[5])
    return _SHOWN if count < 0 else count


def _whole_group(stream: Stream, group: Group, count: int) -> Value:
    delivered = group.pending()
    pending = [
        [show_id(id_), delivered[id_].consumer, delivered[id_].delivered_at_ms, delivered[id_].deliveries]
        for id_ in islice(group.pending_ids(NO_ID), min(count, len(delivered)))
    ]
    return {
        b"name": group.name,
        b"last-delivered-id": show_id(group.last_id),
        b"entries-read": _entries_read(group),
        b"lag": lag_of(stream, group),
        b"pel-count": len(delivered),
        b"pending": pending,
        b"consumers": [_whole_consumer(group, consumer, count) for _, consumer in sorted(group.consumers().items())],
    }


def _whole_consumer(group: Group, consumer: Consumer, count: int) -> Value:
    delivered = group.pending()
    return {
        b"name": consumer.name,
        b"seen-time": consumer.seen_at_ms,
        b"pel-count": len(consumer.ids),
        b"pending": [
            [show_id(id_), delivered[id_].delivered_at_ms, delivered[id_].deliveries] for id_ in consumer.ids[:count]
        ],
    }


def _entries_read(group: Group) -> int | None:
    return None if group.entries_read == UNKNOWN_ENTRIES_READ else group.entries_read


@command("xinfo|groups", 3, "readonly", SECOND_KEY)
def xinfo_groups(context: Context, args: list[bytes]) -> Value:
    """Tells about the groups of a stream."""
    stream = _found(context, args)
    return [
        {
            b"name": name,
            b"consumers": len(group.consumers()),
            b"pending": len(group.pending()),
            b"last-delivered-id": show_id(group.last_id),
            b"entries-read": _entries_read(group),
            b"lag": lag_of(stream, group),
        }
        for name, group in sorted(stream.groups().items())
    ]


@command("xinfo|consumers", 4, "readonly", SECOND_KEY)
def xinfo_consumers(context: Context, args: list[bytes]) -> Value:
    """Tells about the consumers of a group."""
    group = _found(context, args).groups().get(args[3])
    if group is None:
        raise no_group(args[3], args[2])
    return [
        {
            b"name": name,
            b"pending": len(consumer.ids),
            b"idle": max(0, context.now_ms - consumer.seen_at_ms),
        }
        for name, consumer in sorted(group.consumers().items())
    ]


declare_help("xinfo", GROUP)
