"""XREAD and XREADGROUP: the entries of several streams that come behind an id, or those that will come."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from flin.errors import CommandError
from flin.net.command.arguments import timeout_seconds_of_ms
from flin.net.command.command import Keys
from flin.net.command.registry import command
from flin.net.commands.elements import growing, look_up
from flin.net.commands.keys import tag_of
from flin.net.commands.stream_arguments import parse_strict_id
from flin.net.commands.stream_groups import Room, see, shown_name
from flin.net.commands.streams import range_reply
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import NULL_ARRAY, Slices, Value, WaitForKeys, shown, syntax_error
from flin.objects.layout import STREAM, Pending
from flin.objects.meta import NO_ID
from flin.objects.stream import Stream
from flin.objects.stream_group import Group
from flin.objects.stream_id import MAX_ID, next_id, show_id
from flin.objects.stream_progress import read_after

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "stream"


@dataclass(slots=True)
class ReadOptions:
    """What stands before the ids. `keys_at` is the position of the first key."""

    count: int | None = None
    """None: all."""
    seconds: float | None = None
    """BLOCK; None: it does not wait."""
    group: bytes | None = None
    consumer: bytes = b""
    is_noack: bool = False
    keys_at: int = 0
    keys: int = 0


def parse_read(args: list[bytes], *, has_group: bool) -> ReadOptions:
    found = ReadOptions()
    at = 1
    while at < len(args) and not found.keys_at:
        name, left = args[at].upper(), len(args) - 1 - at
        if name == b"BLOCK" and left:
            found.seconds = timeout_seconds_of_ms(args[at + 1])
            at += 1
        elif name == b"COUNT" and left:
            found.count = max(0, parse_int64(args[at + 1])) or None
            at += 1
        elif name == b"STREAMS" and left:
            if left % 2:
                what = "for each stream key an ID or '$' must be specified."
                raise CommandError(f"ERR Unbalanced XREAD list of streams: {what}")
            found.keys_at, found.keys = at + 1, left // 2
        elif name == b"GROUP" and left >= 2:
            _refuse_without_group("GROUP", has_group=has_group)
            found.group, found.consumer = args[at + 1 : at + 3]
            at += 2
        elif name == b"NOACK":
            _refuse_without_group("NOACK", has_group=has_group)
            found.is_noack = True
        else:
            raise syntax_error()
        at += 1
    if not found.keys_at:
        raise syntax_error()
    if has_group and found.group is None:
        raise CommandError("ERR Missing GROUP option for XREADGROUP")
    return found


def _refuse_without_group(option: str, *, has_group: bool) -> None:
    if not has_group:
        raise CommandError(f"ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.")


def _find_keys(args: list[bytes]) -> list[int]:
    """The positions of the keys: the first half of what follows STREAMS."""
    at = 1
    while at < len(args):
        name = args[at].upper()
        if name == b"STREAMS":
            number = len(args) - 1 - at
            return [] if number % 2 else list(range(at + 1, at + 1 + number // 2))
        words = _WORDS.get(name)
        if words is None:
            break
        at += words
    return []


_WORDS: Final = {b"BLOCK": 2, b"COUNT": 2, b"GROUP": 3, b"NOACK": 1}
"""The options before STREAMS, with how many words each has."""

STREAM_KEYS: Final = Keys(0, 0, 0, _find_keys)


@command("xread", -4, "readonly blocking movablekeys", STREAM_KEYS)
def xread(context: Context, args: list[bytes]) -> Value:
    """Returns the entries of streams behind the given ids; null if there are none, or waits for some."""
    options = parse_read(args, has_group=False)
    _check_script(context, args, options)
    keys, texts = _halves(args, options)
    wanted: list[tuple[bytes, Stream | None, bytes]] = []
    for key, text in zip(keys, texts, strict=True):
        stream = look_up(context, key, Stream)
        wanted.append((key, stream, _parse_after(text, stream)))
    found = [
        (key, range_reply(context, stream, next_id(after), MAX_ID, options.count))
        for key, stream, after in wanted
        if stream is not None and after < stream.newest_id()
    ]
    if found:
        return reply_of(context, found)
    if options.seconds is None:
        return NULL_ARRAY
    after_of = {key: after for key, _, after in reversed(wanted)}  # `$` stands for what was the last id now

    def again(key: bytes) -> Value:
        stream = context.keyspace.objects.find(key, Stream)
        if stream is None or after_of[key] >= stream.newest_id():
            return wait
        reply = range_reply(context, stream, next_id(after_of[key]), MAX_ID, options.count)
        return reply_of(context, [(key, reply)])

    wait = WaitForKeys(keys, options.seconds, NULL_ARRAY, again)
    return wait


def _halves(args: list[bytes], options: ReadOptions) -> tuple[list[bytes], list[bytes]]:
    """Keys, and as many ids."""
    middle = options.keys_at + options.keys
    return args[options.keys_at : middle], args[middle:]


def _check_script(context: Context, args: list[bytes], options: ReadOptions) -> None:
    if context.in_script and options.seconds is not None:
        raise CommandError(f"ERR {shown(args[0])} command is not allowed with BLOCK option from scripts")


def _parse_after(text: bytes, stream: Stream | None) -> bytes:
    if text == b"$":
        return NO_ID if stream is None else stream.last_id
    if text == b">":
        what = "The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
        raise CommandError(f"ERR {what}")
    return parse_strict_id(text)


# XREADGROUP.

_MEANINGLESS: Final = (
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by "
    "specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set."
)


@command("xreadgroup", -7, "write blocking movablekeys", STREAM_KEYS)
def xreadgroup(context: Context, args: list[bytes]) -> Value:
    """Returns entries that no consumer of a group has got yet, or what is pending for this one; may wait for some."""
    options = parse_read(args, has_group=True)
    _check_script(context, args, options)
    name = options.group
    assert name is not None
    keys, texts = _halves(args, options)
    wanted: list[_Wanted] = []
    for key, text in zip(keys, texts, strict=True):
        stream = look_up(context, key, Stream)
        group = None if stream is None else stream.groups().get(name)
        if stream is None or group is None:
            names = f"No such key '{shown_name(key)}' or consumer group '{shown_name(name)}'"
            raise CommandError(f"NOGROUP {names} in XREADGROUP with GROUP option")
        if text == b"$":
            raise CommandError(_MEANINGLESS)
        wanted.append((key, stream, group, None if text == b">" else parse_strict_id(text)))
    found = _read_all(context, options, wanted)
    if found:
        return reply_of(context, found)
    if options.seconds is None:
        return NULL_ARRAY

    def again(key: bytes) -> Value:
        entry = context.keyspace.entry(key)
        stream = None if entry is None or tag_of(entry) != STREAM else context.keyspace.objects.find(key, Stream)
        if stream is None:
            raise CommandError("UNBLOCKED the stream key no longer exists")
        group = stream.groups().get(name)
        if group is None:
            raise CommandError("NOGROUP the consumer group this client was blocked on no longer exists")
        read = _Read(context, options, Room(context), key, stream, group, None)
        return reply_of(context, [(key, read.deliver())]) if read.has_something else wait

    wait = WaitForKeys(keys, options.seconds, NULL_ARRAY, again, wakes_at_end=True)
    return wait


_Wanted: TypeAlias = tuple[bytes, Stream, Group, bytes | None]
"""A key, its stream, the group there, and what `_Read` calls `after`."""


def _read_all(context: Context, options: ReadOptions, wanted: list[_Wanted]) -> list[tuple[bytes, Value]]:
    room = Room(context)
    if len({key for key, _, _, _ in wanted}) == len(wanted):
        reads = [_Read(context, options, room, *want) for want in wanted]  # all is read before the first change
        return [(read.key, read.deliver()) for read in reads if read.has_something]
    # Of a stream that is named twice the second read sees what the first has changed: it must not be put off.
    keyspace = context.keyspace
    was_blocking = keyspace.is_blocking
    keyspace.block_reads(blocking=True)
    try:
        found: list[tuple[bytes, Value]] = []
        for want in wanted:
            try:
                read = _Read(context, options, room, *want)
            except CommandError:
                if not found:
                    raise
                break  # what was delivered is shown; the next XREADGROUP gets the rest
            if read.has_something:
                found.append((read.key, read.deliver()))
        return found
    finally:
        keyspace.block_reads(blocking=was_blocking)


class _Read:
    """What one stream has for the consumer. `after`: its history behind this id; None: what nobody has got yet."""

    def __init__(
        self,
        context: Context,
        options: ReadOptions,
        room: Room,
        key: bytes,
        stream: Stream,
        group: Group,
        after: bytes | None,
    ) -> None:
        self.key = key
        self._context = context
        self._options = options
        self._stream = stream
        self._group = group
        self._is_history = after is not None
        self._entries: list[tuple[bytes, list[bytes] | None]] = []
        self._delivered: dict[bytes, Pending] = {}  # those of the entries that are pending
        consumer = group.consumers().get(options.consumer)
        if after is not None:
            history = group.between(next_id(after), MAX_ID, consumer) if consumer and after < MAX_ID else iter(())
            for id_, pending in islice(history, options.count):
                strings = stream.get(id_)
                room.take(strings)
                self._entries.append((id_, strings))
                self._delivered[id_] = pending
        elif group.last_id < stream.newest_id():
            most = len(stream) if options.count is None else min(options.count, len(stream))
            for page in stream.pages(next_id(group.last_id), MAX_ID, most):
                for entry in page:
                    room.take(entry[1])
                self._entries += page
            ids = [id_ for id_, _ in self._entries]
            self._entries_read = read_after(stream, group, ids)
            if not options.is_noack:
                self._delivered = group.find(ids)

    @property
    def has_something(self) -> bool:
        """A history is shown even if it is empty."""
        return self._is_history or bool(self._entries)

    def deliver(self) -> list[Value]:
        """Note that the consumer has got them; the entries as the reply has them. Nothing is read."""
        group, now_ms = self._group, self._context.now_ms
        consumer = see(self._context, self.key, group, self._options.consumer)
        if not self._is_history:
            group.last_id, group.entries_read = self._entries[-1][0], self._entries_read
            group.save()
            if not self._options.is_noack:
                for id_, _ in self._entries:
                    group.set_pending(id_, Pending(now_ms, 1, consumer.name), self._delivered.get(id_))
            return [[show_id(id_), strings] for id_, strings in self._entries]
        for id_, strings in self._entries:
            if strings is not None:
                before = self._delivered[id_]
                group.set_pending(id_, Pending(now_ms, before.deliveries + 1, consumer.name), before)
        return [[show_id(id_), NULL_ARRAY if strings is None else strings] for id_, strings in self._entries]


# Replies.


def reply_of(context: Context, found: list[tuple[bytes, Value]]) -> Value:
    """The keys with their entries, some of which may come in slices."""
    if any(isinstance(entries, Generator) for _, entries in found):
        return _reply_in_slices(context, found)
    return _shaped(context, found)


def _reply_in_slices(context: Context, found: list[tuple[bytes, Value]]) -> Slices:
    made: list[tuple[bytes, Value]] = []
    for key, entries in found:
        made.append((key, (yield from entries) if isinstance(entries, Generator) else entries))
    return _shaped(context, made)


def _shaped(context: Context, found: list[tuple[bytes, Value]]) -> Value:
    """A map in RESP3, in which a key stands as often as it was named."""
    if context.session.protocol == 2:
        return [[key, entries] for key, entries in found]
    reply = growing(context)
    for pair in found:
        reply.add(pair)
    return reply.map(is_resp3=True)
