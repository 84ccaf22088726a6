"""XINFO: what a stream, its groups and their consumers are like."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command.registry import command, container
from flin.net.commands.elements import look_up
from flin.net.commands.help import declare_help, unknown_or_wrong_arity
from flin.net.commands.stream_groups import SECOND_KEY, array_of, counted_first, no_group
from flin.net.commands.streams import show_entries, show_entry
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import NO_SUCH_KEY, Reply, Value
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
    if count is not None:
        return counted_first(lambda: _found(context, args).groups().values(), lambda: _full(context, args, count))
    first = show_entries(stream.between(NO_ID, MAX_ID, 1))
    last = show_entries(stream.between(NO_ID, MAX_ID, 1, reverse=True))
    return {
        **_head(context, stream),
        b"groups": len(stream.groups()),
        b"first-entry": first[0] if first else None,
        b"last-entry": last[0] if last else None,
    }


def _head(context: Context, stream: Stream) -> dict[bytes, Value]:
    node = context.services.config.thresholds.stream_node_entries or MAX_NODE
    nodes = -(-len(stream) // node)
    return {
        b"length": len(stream),
        b"radix-tree-keys": nodes,
        b"radix-tree-nodes": nodes + 1,
        b"last-generated-id": show_id(stream.last_id),
        b"max-deleted-entry-id": show_id(stream.greatest_deleted_id),
        b"entries-added": stream.added,
        b"recorded-first-entry-id": show_id(stream.first_id()),
    }


def _full(context: Context, args: list[bytes], count: int) -> Value:
    stream = _found(context, args)
    shown = _Shown(context, count or MAX_NODE)
    entries = chain.from_iterable(stream.pages(NO_ID, MAX_ID, min(count or MAX_NODE, len(stream))))
    return {
        **_head(context, stream),
        b"entries": shown.array(map(show_entry, entries)),
        b"groups": [_whole_group(shown, stream, group) for _, group in sorted(stream.groups().items())],
    }


class _Shown:
    """What FULL shows: of everything the first `count`. Arrays that may be long are encoded page by page, and together
    are at most as large as a reply may be."""

    def __init__(self, context: Context, count: int) -> None:
        self.count = count
        self._context = context
        self._left_bytes = context.services.config.largest_reply_bytes

    def array(self, elements: Iterable[Value]) -> Reply:
        """LimitError."""
        reply = array_of(self._context, elements, self._left_bytes)
        self._left_bytes -= len(reply.data)
        return reply


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


def _whole_group(shown: _Shown, stream: Stream, group: Group) -> Value:
    pending = (
        [show_id(id_), delivered.consumer, delivered.delivered_at_ms, delivered.deliveries]
        for id_, delivered in islice(group.between(), min(shown.count, group.pending))
    )
    return {
        b"name": group.name,
        b"last-delivered-id": show_id(group.last_id),
        b"entries-read": _entries_read(group),
        b"lag": lag_of(stream, group),
        b"pel-count": group.pending,
        b"pending": shown.array(pending),
        b"consumers": [_whole_consumer(shown, group, consumer) for _, consumer in sorted(group.consumers().items())],
    }


def _whole_consumer(shown: _Shown, group: Group, consumer: Consumer) -> Value:
    pending = (
        [show_id(id_), delivered.delivered_at_ms, delivered.deliveries]
        for id_, delivered in islice(group.between(consumer=consumer), min(shown.count, consumer.pending))
    )
    return {
        b"name": consumer.name,
        b"seen-time": consumer.seen_at_ms,
        b"pel-count": consumer.pending,
        b"pending": shown.array(pending),
    }


def _entries_read(group: Group) -> int | None:
    return None if group.entries_read == UNKNOWN_ENTRIES_READ else group.entries_read


@command("xinfo|groups", 3, "readonly", SECOND_KEY)
def xinfo_groups(context: Context, args: list[bytes]) -> Value:
    """Tells about the groups of a stream."""
    return counted_first(lambda: _found(context, args).groups().values(), lambda: _groups(_found(context, args)))


def _groups(stream: Stream) -> Value:
    return [
        {
            b"name": name,
            b"consumers": len(group.consumers()),
            b"pending": group.pending,
            b"last-delivered-id": show_id(group.last_id),
            b"entries-read": _entries_read(group),
            b"lag": lag_of(stream, group),
        }
        for name, group in sorted(stream.groups().items())
    ]


@command("xinfo|consumers", 4, "readonly", SECOND_KEY)
def xinfo_consumers(context: Context, args: list[bytes]) -> Value:
    """Tells about the consumers of a group."""

    def find() -> Group:
        group = _found(context, args).groups().get(args[3])
        if group is None:
            raise no_group(args[3], args[2])
        return group

    return counted_first(lambda: [find()], lambda: _consumers(context, find()))


def _consumers(context: Context, group: Group) -> Value:
    return [
        {
            b"name": name,
            b"pending": consumer.pending,
            b"idle": max(0, context.now_ms - consumer.seen_at_ms),
        }
        for name, consumer in sorted(group.consumers().items())
    ]


declare_help("xinfo", GROUP)
