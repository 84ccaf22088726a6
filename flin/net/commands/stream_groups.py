"""Commands over groups of consumers of a stream: XGROUP, XACK, XPENDING. XREADGROUP stands in stream_reads.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError, LimitError
from flin.net.command.command import FIRST_KEY, Keys
from flin.net.command.registry import command, container
from flin.net.commands.elements import look_up
from flin.net.commands.help import declare_help, unknown_or_wrong_arity
from flin.net.commands.stream_arguments import parse_id, parse_start, parse_stop, parse_strict_id
from flin.net.wire.growing_reply import GrowingReply
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import (
    NULL_ARRAY,
    OK,
    ONE,
    OUT_OF_MEMORY,
    ZERO,
    Reply,
    Slices,
    Value,
    shown,
    syntax_error,
    too_large_reply,
)
from flin.objects import limits
from flin.objects.layout import UNKNOWN_ENTRIES_READ
from flin.objects.meta import NO_ID
from flin.objects.stream import Stream
from flin.objects.stream_group import Consumer, Group
from flin.objects.stream_id import show_id

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "stream"

SECOND_KEY: Final = Keys(2, 2, 1)


PENDING_BYTES: Final = 500
"""A pending entry in memory while it is read and its piece is in the batch, about."""

_SHOWN_NAME_BYTES: Final = 4096
"""Redis shows names of keys and groups whole."""


def shown_name(text: bytes) -> str:
    return shown(text, _SHOWN_NAME_BYTES)


def no_group(group: bytes, key: bytes) -> CommandError:
    return CommandError(f"NOGROUP No such consumer group '{shown_name(group)}' for key name '{shown_name(key)}'")


def no_key_or_group(key: bytes, group: bytes) -> CommandError:
    return CommandError(f"NOGROUP No such key '{shown_name(key)}' or consumer group '{shown_name(group)}'")


def find_group(context: Context, key: bytes, name: bytes) -> tuple[Stream, Group]:
    """CommandError NOGROUP."""
    stream = look_up(context, key, Stream)
    group = None if stream is None else stream.groups().get(name)
    if stream is None or group is None:
        raise no_key_or_group(key, name)
    return stream, group


def see(context: Context, key: bytes, group: Group, name: bytes) -> Consumer:
    """The consumer that asks, made if there is none of its name."""
    consumer, is_new = group.see(name, context.now_ms)
    if is_new:
        context.notify(b"xgroup-createconsumer", key)
    return consumer


DELIVERED_BYTES: Final = 1000
"""An entry that is delivered to a consumer, in memory, beside its strings: read, in the batch as a pending one, and in
the reply; about."""

STRING_BYTES: Final = 50
"""A field or value, beside its bytes: a bytes object and its place in a list. In the reply it takes less."""


class Room:
    """For the entries that a command delivers: a quarter of the limit, and the largest reply."""

    def __init__(self, context: Context) -> None:
        self._most_bytes = context.services.config.options.memory_limit // 4
        self._largest_reply_bytes = context.services.config.largest_reply_bytes
        self._bytes = 0
        self._entries = 0

    def take(self, strings: list[bytes] | None) -> None:
        """CommandError OOM or LimitError if an entry more does not fit; the command has changed nothing yet."""
        self._entries += 1
        if strings is not None:
            self._bytes += sum(map(len, strings)) + STRING_BYTES * len(strings)
        if self._bytes > self._largest_reply_bytes:
            raise too_large_reply(self._bytes, self._largest_reply_bytes)
        if self._bytes + DELIVERED_BYTES * self._entries > self._most_bytes:
            raise CommandError(OUT_OF_MEMORY)


# XGROUP.

container("xgroup", GROUP, "Makes, changes and deletes groups of consumers.")


@command("xgroup|create", -5, "write denyoom", SECOND_KEY)
def xgroup_create(context: Context, args: list[bytes]) -> Value:
    """Makes a group that has read up to an id; MKSTREAM: of a new stream, if there is none."""
    makes_stream, entries_read = _create_options(args)
    objects, key, name = context.keyspace.objects, args[2], args[3]
    stream = objects.find(key, Stream)
    if stream is None and not makes_stream:
        raise _needs_stream()
    last_id = (NO_ID if stream is None else stream.last_id) if args[4] == b"$" else parse_strict_id(args[4])
    if stream is None:
        stream = objects.find_or_make(key, Stream)
    elif name in stream.groups():
        raise CommandError("BUSYGROUP Consumer Group name already exists")
    stream.create_group(name, last_id, entries_read)
    context.notify(b"xgroup-create", key)
    return OK


def _needs_stream() -> CommandError:
    create = "Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically."
    return CommandError(f"ERR The XGROUP subcommand requires the key to exist. {create}")


def _create_options(args: list[bytes], *, has_makes_stream: bool = True) -> tuple[bool, int]:
    makes_stream, entries_read = False, UNKNOWN_ENTRIES_READ
    at = 5
    while at < len(args):
        name = args[at].upper()
        if name == b"MKSTREAM" and has_makes_stream:
            makes_stream = True
            at += 1
        elif name == b"ENTRIESREAD" and at + 1 < len(args):
            entries_read = parse_int64(args[at + 1])
            if entries_read < UNKNOWN_ENTRIES_READ:
                raise CommandError("ERR value for ENTRIESREAD must be positive or -1")
            at += 2
        else:
            raise unknown_or_wrong_arity(args)
    return makes_stream, entries_read


def _group_of(context: Context, args: list[bytes]) -> tuple[Stream, Group]:
    """The group that a subcommand names. CommandError NOGROUP, or that there is no key."""
    stream = context.keyspace.objects.find(args[2], Stream)
    if stream is None:
        raise _needs_stream()
    group = stream.groups().get(args[3])
    if group is None:
        raise no_group(args[3], args[2])
    return stream, group


@command("xgroup|setid", -5, "write", SECOND_KEY)
def xgroup_setid(context: Context, args: list[bytes]) -> Value:
    """Sets the id up to which a group has read."""
    _, entries_read = _create_options(args, has_makes_stream=False)
    stream, group = _group_of(context, args)
    if len(args) not in (5, 7):
        raise unknown_or_wrong_arity(args)
    group.last_id = stream.last_id if args[4] == b"$" else parse_id(args[4])
    group.entries_read = entries_read
    group.save()
    context.notify(b"xgroup-setid", args[2])
    return OK


@command("xgroup|destroy", 4, "write", SECOND_KEY)
def xgroup_destroy(context: Context, args: list[bytes]) -> Value:
    """Deletes a group; returns whether there was one."""
    stream = context.keyspace.objects.find(args[2], Stream)
    if stream is None:
        raise _needs_stream()
    if args[3] not in stream.groups():
        return ZERO
    stream.destroy_group(args[3])
    context.notify(b"xgroup-destroy", args[2])
    return ONE


@command("xgroup|createconsumer", 5, "write denyoom", SECOND_KEY)
def xgroup_createconsumer(context: Context, args: list[bytes]) -> Value:
    """Makes a consumer of a group; returns whether it is new."""
    _, group = _group_of(context, args)
    if args[4] in group.consumers():
        return ZERO
    see(context, args[2], group, args[4])
    return ONE


@command("xgroup|delconsumer", 5, "write", SECOND_KEY)
def xgroup_delconsumer(context: Context, args: list[bytes]) -> Value:
    """Deletes a consumer of a group, and what is pending for it; returns how many entries that were."""
    _, group = _group_of(context, args)
    if args[4] not in group.consumers():
        return ZERO
    try:
        pending = group.delete_consumer(args[4], context.services.config.options.memory_limit // 4 // PENDING_BYTES)
    except LimitError:
        raise CommandError(OUT_OF_MEMORY) from None
    context.notify(b"xgroup-delconsumer", args[2])
    return pending


declare_help("xgroup", GROUP)


# Pending entries.


@command("xack", -4, "write fast", FIRST_KEY)
def xack(context: Context, args: list[bytes]) -> Value:
    """Entries that were delivered to a group are done; returns how many of them were pending."""
    stream = look_up(context, args[1], Stream)
    group = None if stream is None else stream.groups().get(args[2])
    if group is None:
        return ZERO
    found = group.find(map(parse_strict_id, args[3:]))
    group.consumers()  # all that is read is read before the first change
    return group.acknowledge(found)


@command("xpending", -3, "readonly shows_more", FIRST_KEY)
def xpending(context: Context, args: list[bytes]) -> Value:
    """Returns how much is pending in a group, or which entries are."""
    if len(args) == 3:
        return counted_first(lambda: [_found(context, args)], lambda: _pending_in_all(_found(context, args)))
    if not 6 <= len(args) <= 9:
        raise syntax_error()
    at, least_idle_ms = 3, 0
    if args[3].upper() == b"IDLE":
        least_idle_ms = parse_int64(args[4])
        if len(args) < 8:
            raise syntax_error()
        at = 5
    count = parse_int64(args[at + 2])
    start, stop = parse_start(args[at]), parse_stop(args[at + 1])
    group = _found(context, args)
    consumer = None
    if at + 3 < len(args):
        consumer = group.consumers().get(args[at + 3])
        if consumer is None:
            return []
    now_ms = context.now_ms
    idle = (
        [show_id(id_), pending.consumer, max(0, now_ms - pending.delivered_at_ms), pending.deliveries]
        for id_, pending in group.between(start, stop, consumer)
        if not least_idle_ms or now_ms - pending.delivered_at_ms >= least_idle_ms
    )
    shown_entries = islice(idle, max(0, count))
    page = list(islice(shown_entries, limits.PAGE))
    if len(page) < limits.PAGE:
        return page
    return array_of(context, chain(page, shown_entries), context.services.config.largest_reply_bytes)


def array_of(context: Context, elements: Iterable[Value], most_bytes: int) -> Reply:
    """An array that may be too long to hold as values. LimitError if it is larger."""
    reply, source = GrowingReply(context.session.encode, most_bytes), iter(elements)
    while page := list(islice(source, limits.PAGE)):
        reply.add(page)
    return reply.array()


def _found(context: Context, args: list[bytes]) -> Group:
    stream = look_up(context, args[1], Stream)
    group = None if stream is None else stream.groups().get(args[2])
    if group is None:
        raise no_key_or_group(args[1], args[2])
    return group


def _pending_in_all(group: Group) -> Value:
    bounds = group.bounds()
    if bounds is None:
        return [0, None, None, NULL_ARRAY]
    consumers = [
        [name, b"%d" % consumer.pending] for name, consumer in sorted(group.consumers().items()) if consumer.pending
    ]
    return [group.pending, *map(show_id, bounds), consumers]


def counted_first(groups: Callable[[], Iterable[Group]], answer: Callable[[], Value]) -> Value:
    """What a command answers that asks how many entries are pending in these groups: they are counted before, many in
    slices. `groups` is asked anew after each slice."""
    return answer() if _count_some(groups()) else _counted_in_slices(groups, answer)


def _counted_in_slices(groups: Callable[[], Iterable[Group]], answer: Callable[[], Value]) -> Slices:
    yield
    while not _count_some(groups()):
        yield
    return answer()


def _count_some(groups: Iterable[Group]) -> bool:
    """Count a page more; whether all are counted."""
    return all(group.count_some() for group in groups)
