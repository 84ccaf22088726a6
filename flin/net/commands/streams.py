"""Commands over streams: XADD, XRANGE and their kin. An empty stream stays.

Long replies are made in slices. Reading in groups is in stream_groups.py, XREAD in stream_reads.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Final

from flin.engine.table.cold_read import ColdRead
from flin.errors import CommandError, CorruptionError, FormatVersionError
from flin.net.command.command import FIRST_KEY
from flin.net.command.registry import command
from flin.net.commands.columns import NONE_DONE
from flin.net.commands.elements import growing, look_up
from flin.net.commands.stream_arguments import (
    MAX_NUMBER,
    parse_add,
    parse_start,
    parse_stop,
    parse_strict_id,
    parse_trim,
)
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import (
    EMPTY_ARRAY,
    NO_SUCH_KEY,
    NULL_ARRAY,
    OK,
    ZERO,
    Reply,
    Slices,
    Value,
    syntax_error,
    wrong_arity,
)
from flin.objects import limits
from flin.objects.layout import parse_stream_id, stream_id
from flin.objects.meta import NO_ID
from flin.objects.stream import Stream
from flin.objects.stream_id import MAX_ID, new_id, next_id, show_id
from flin.objects.stream_tail import StreamEntry

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "stream"


# Writes.


def _add_many(
    context: Context,
    keys: tuple[bytes, ...],
    ids: tuple[bytes, ...],
    fields: tuple[bytes, ...],
    values: tuple[bytes, ...],
) -> Sequence[bytes]:
    """A pipeline of `XADD key * field value` with one key, of a spread stream: others are added one by one."""
    key, count = keys[0], len(keys)
    if keys.count(key) < count or ids.count(b"*") < count or context.keyspace.observers:
        return NONE_DONE
    try:
        stream = context.keyspace.objects.find(key, Stream)
    except (ColdRead, CommandError, CorruptionError, FormatVersionError):
        return NONE_DONE
    if stream is None or stream.is_packed or stream.last_id == MAX_ID:
        return NONE_DONE
    ms, number = parse_stream_id(new_id(stream.last_id, context.now_ms))
    if number + count > MAX_NUMBER:
        return NONE_DONE
    stream.append_many(
        list(map(stream_id, repeat(ms), range(number, number + count))), list(zip(fields, values, strict=True))
    )
    for _ in keys:
        context.notify(b"xadd", key)
    texts = [b"%d-%d" % (ms, each) for each in range(number, number + count)]
    return [b"$%d\r\n%b\r\n" % (len(text), text) for text in texts]


@command("xadd", -5, "write denyoom fast", FIRST_KEY, batch=_add_many)
def xadd(context: Context, args: list[bytes]) -> Value:
    """Adds an entry to a stream, made if there is none; returns its id."""
    options = parse_add(args, context.services.config.thresholds.stream_node_entries)
    strings = args[options.fields_at :]
    if not strings or len(strings) % 2:
        raise wrong_arity("xadd")
    if options.id_ == NO_ID and options.has_number:
        raise CommandError("ERR The ID specified in XADD must be greater than 0-0")
    objects, key = context.keyspace.objects, args[1]
    stream = objects.find_or_make(key, Stream) if options.makes_stream else objects.find(key, Stream)
    if stream is None:
        return None
    id_ = _id_of_new(stream, options.id_, options.has_number, context.now_ms)
    cut = None if options.trimming is None else options.trimming.cut_of(stream, id_)
    stream.append(id_, strings)
    context.notify(b"xadd", key)
    if cut is not None:
        stream.trim(cut)
        context.notify(b"xtrim", key)
    return show_id(id_)


def _id_of_new(stream: Stream, wanted: bytes | None, has_number: bool, now_ms: int) -> bytes:
    last_id = stream.last_id
    if last_id == MAX_ID:
        raise CommandError("ERR The stream has exhausted the last possible ID, unable to add more items")
    if wanted is None:
        return new_id(last_id, now_ms)
    if not has_number and wanted[:8] == last_id[:8] and last_id[8:] != MAX_ID[8:]:
        wanted = next_id(last_id)
    if wanted <= last_id:
        raise CommandError("ERR The ID specified in XADD is equal or smaller than the target stream top item")
    return wanted


@command("xtrim", -4, "write", FIRST_KEY)
def xtrim(context: Context, args: list[bytes]) -> Value:
    """Deletes the first entries of a stream: all but the newest, or all below an id; returns how many."""
    trimming = parse_trim(args, context.services.config.thresholds.stream_node_entries)
    stream = context.keyspace.objects.find(args[1], Stream)
    cut = None if stream is None else trimming.cut_of(stream)
    if stream is None or cut is None:
        return ZERO
    stream.trim(cut)
    context.notify(b"xtrim", args[1])
    return cut.number


@command("xdel", -3, "write fast", FIRST_KEY)
def xdel(context: Context, args: list[bytes]) -> Value:
    """Deletes entries of a stream and returns how many there were."""
    stream = context.keyspace.objects.find(args[1], Stream)
    if stream is None:
        return ZERO
    deleted = stream.delete_many(list(map(parse_strict_id, args[2:])))
    if deleted:
        context.notify(b"xdel", args[1])
    return deleted


@command("xsetid", -3, "write denyoom fast", FIRST_KEY)
def xsetid(context: Context, args: list[bytes]) -> Value:
    """Sets the last id of a stream, and how many entries were ever added."""
    last_id = parse_strict_id(args[2])
    added, greatest_deleted_id = _setid_options(args, last_id)
    stream = context.keyspace.objects.find(args[1], Stream)
    if stream is None:
        raise CommandError(NO_SUCH_KEY)
    if len(stream):
        if last_id < stream.newest_id():
            raise CommandError("ERR The ID specified in XSETID is smaller than the target stream top item")
        if added is not None and len(stream) > added:
            raise CommandError("ERR The entries_added specified in XSETID is smaller than the target stream length")
    stream.set_id(last_id, added, greatest_deleted_id)
    context.notify(b"xsetid", args[1])
    return OK


def _setid_options(args: list[bytes], last_id: bytes) -> tuple[int | None, bytes]:
    added, greatest_deleted_id = None, NO_ID
    for at in range(3, len(args), 2):
        name = args[at].upper()
        if name not in {b"ENTRIESADDED", b"MAXDELETEDID"} or at + 1 == len(args):
            raise syntax_error()
        if name == b"ENTRIESADDED":
            added = parse_int64(args[at + 1])
            if added < 0:
                raise CommandError("ERR entries_added must be positive")
        else:
            greatest_deleted_id = parse_strict_id(args[at + 1])
            if last_id < greatest_deleted_id:
                raise CommandError("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
    return added, greatest_deleted_id


# Reads.


@command("xlen", 2, "readonly fast", FIRST_KEY)
def xlen(context: Context, args: list[bytes]) -> Value:
    """Returns the number of entries of a stream."""
    stream = look_up(context, args[1], Stream)
    return 0 if stream is None else len(stream)


@command("xrange", -4, "readonly", FIRST_KEY)
def xrange(context: Context, args: list[bytes]) -> Value:
    """Returns the entries of a stream from an id to another."""
    start, stop = parse_start(args[2]), parse_stop(args[3])
    return _range(context, args, start, stop, reverse=False)


@command("xrevrange", -4, "readonly", FIRST_KEY)
def xrevrange(context: Context, args: list[bytes]) -> Value:
    """Returns the entries of a stream from an id down to another."""
    start, stop = parse_start(args[3]), parse_stop(args[2])
    return _range(context, args, start, stop, reverse=True)


def _range(context: Context, args: list[bytes], start: bytes, stop: bytes, *, reverse: bool) -> Value:
    count = None
    for at in range(4, len(args), 2):
        if args[at].upper() != b"COUNT" or at + 1 == len(args):
            raise syntax_error()
        count = max(0, parse_int64(args[at + 1]))
    stream = look_up(context, args[1], Stream)
    if stream is None:
        return EMPTY_ARRAY
    if count == 0:
        return NULL_ARRAY
    return range_reply(context, stream, start, stop, count, reverse=reverse)


# Replies with entries.


def show_entries(entries: Iterable[StreamEntry]) -> list[Value]:
    return list(map(show_entry, entries))


def show_entry(entry: StreamEntry) -> Reply:
    """An array of the id and an array of strings: finished here, in one step for most, since replies have many."""
    id_, strings = show_id(entry[0]), entry[1]
    if len(strings) == 2:
        field, value = strings
        head = b"*2\r\n$%d\r\n%b\r\n*2\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
        return Reply(head % (len(id_), id_, len(field), field, len(value), value))
    parts = [b"$%d\r\n%b\r\n" % (len(string), string) for string in strings]
    return Reply(b"*2\r\n$%d\r\n%b\r\n*%d\r\n%b" % (len(id_), id_, len(parts), b"".join(parts)))


def range_reply(
    context: Context, stream: Stream, start: bytes, stop: bytes, count: int | None, *, reverse: bool = False
) -> Value:
    """The first `count` entries (None: all) from an id to another, in slices if they are many."""
    most = len(stream) if count is None else min(count, len(stream))
    page = stream.between(start, stop, min(most, limits.PAGE), reverse=reverse)
    if len(page) < limits.PAGE or len(page) == most:
        return show_entries(page)
    pages = stream.pages(start, stop, most, reverse=True) if reverse else stream.frozen_pages(start, stop)
    return _in_slices(context, pages, most)


def _in_slices(context: Context, pages: Iterator[list[StreamEntry]], most: int) -> Slices:
    reply = growing(context)
    for page in pages:
        reply.add(show_entries(page[:most]))
        most -= len(page)
        if most <= 0:
            break
        yield
    return reply.array()
