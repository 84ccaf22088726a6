"""Commands over strings: GET, SET and their kin. A string is a key's whole value, up to proto-max-bulk-len.

A command that changes part of a value (APPEND, SETRANGE) keeps the key's expiry; one that replaces the value drops it
unless KEEPTTL says otherwise.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Final

from flin.engine.entry import make_entry, maybe_pointer, value_length
from flin.errors import CommandError
from flin.net.command.arguments import (
    EX,
    PX,
    ExpiryUnit,
    LcsOptions,
    getex_options,
    lcs_options,
    positive_expiry,
    set_options,
)
from flin.net.command.command import ALL_KEYS, FIRST_KEY, FIRST_TWO_KEYS, KEYS_AND_VALUES
from flin.net.command.registry import command
from flin.net.commands.longest_common import LongestCommon
from flin.net.commands.string_columns import get_many, mget_many, mset_many, set_many
from flin.net.data import text as texts
from flin.net.data.long_bulk import SLICED_BYTES, bulk_in_slices
from flin.net.data.many_keys import MAX_UNSLICED_KEYS, find_many, read_many
from flin.net.data.text import part_of, shown_text, string_at, string_or_none, text_at, text_of, write_parts
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import (
    EMPTY_BULK,
    OK,
    ONE,
    ZERO,
    Slices,
    Value,
    too_large_reply,
    wrong_arity,
)
from flin.objects.layout import LONG_STRING
from flin.objects.long_string import LongString

if TYPE_CHECKING:
    from flin.net.data.keyspace import Keyspace
    from flin.net.run.context import Context

GROUP: Final = "string"


def _check_reply(context: Context, value: Sized | None) -> None:
    """Call it before a command changes the key whose value it shows. LimitError if the value is too large for a reply,
    as one put by `flin.engine` may be: else the error would replace the only copy."""
    most_bytes = context.services.config.largest_reply_bytes
    if value is not None and len(value) > most_bytes:
        raise too_large_reply(len(value), most_bytes)


@command("get", 2, "readonly fast", FIRST_KEY, batch=get_many, is_batch_gated=True)
def get(context: Context, args: list[bytes]) -> Value:
    """Returns the string at a key."""
    return context.keyspace.bulk(args[1])


@command("set", -3, "write denyoom untimed", FIRST_KEY, batch=set_many)
def set_(context: Context, args: list[bytes]) -> Value:
    """Sets a key to a string, whatever it held; on conditions and with an expiry if wanted."""
    if len(args) == 3:
        context.keyspace.put_value(args[1], args[2])
        return OK
    return _set_with_options(context, args)


def _set_with_options(context: Context, args: list[bytes]) -> Value:
    keyspace, key, value = context.keyspace, args[1], args[2]
    options = set_options(args, 3)
    expires_at_ms = 0
    if options.expiry is not None:
        expires_at_ms = positive_expiry(options.expiry, options.unit, context.now_ms, "set")
    old = keyspace.value(key) if options.get else None
    _check_reply(context, old)
    if options.if_absent or options.if_present or options.keep_ttl:
        current_ms = keyspace.expires_at_ms(key)
        if (options.if_absent and current_ms is not None) or (options.if_present and current_ms is None):
            return old
        if options.keep_ttl:
            expires_at_ms = current_ms or 0
    keyspace.put(key, make_entry(value, expires_at_ms))
    context.notify(b"set", key)
    if options.expiry is not None:
        context.notify(b"expire", key)
    return old if options.get else OK


@command("setex", 4, "write denyoom untimed", FIRST_KEY)
def setex(context: Context, args: list[bytes]) -> Value:
    """Sets a key to a string that expires after some seconds."""
    return _set_expiring(context, args, EX, "setex")


@command("psetex", 4, "write denyoom untimed", FIRST_KEY)
def psetex(context: Context, args: list[bytes]) -> Value:
    """Sets a key to a string that expires after some milliseconds."""
    return _set_expiring(context, args, PX, "psetex")


def _set_expiring(context: Context, args: list[bytes], unit: ExpiryUnit, name: str) -> Value:
    expires_at_ms = positive_expiry(args[2], unit, context.now_ms, name)
    context.keyspace.put(args[1], make_entry(args[3], expires_at_ms))
    context.notify(b"set", args[1])
    context.notify(b"expire", args[1])
    return OK


@command("setnx", 3, "write denyoom fast", FIRST_KEY)
def setnx(context: Context, args: list[bytes]) -> Value:
    """Sets a key to a string if the key does not exist."""
    if context.keyspace.exists(args[1]):
        return ZERO
    context.keyspace.put_value(args[1], args[2])
    context.notify(b"set", args[1])
    return ONE


@command("getset", 3, "write denyoom fast", FIRST_KEY)
def getset(context: Context, args: list[bytes]) -> Value:
    """Sets a key to a string and returns the one it held."""
    old = context.keyspace.value(args[1])
    _check_reply(context, old)
    context.keyspace.put_value(args[1], args[2])
    context.notify(b"set", args[1])
    return old


@command("getdel", 2, "write fast", FIRST_KEY)
def getdel(context: Context, args: list[bytes]) -> Value:
    """Returns the string at a key and deletes the key."""
    value = context.keyspace.value(args[1])
    _check_reply(context, value)
    if value is not None:
        context.keyspace.delete(args[1])
        context.notify(b"del", args[1])
    return value


@command("getex", -2, "write fast", FIRST_KEY)
def getex(context: Context, args: list[bytes]) -> Value:
    """Returns the string at a key and sets or removes the key's expiry."""
    keyspace, key = context.keyspace, args[1]
    options = getex_options(args, 2)
    value, current_ms = string_at(keyspace, key)
    _check_reply(context, value)
    keyspace.count_look_ups(value is not None, 1)
    if value is None:
        return None
    if options.expiry is not None:
        expires_at_ms = positive_expiry(options.expiry, options.unit, context.now_ms, "getex")
        if expires_at_ms <= keyspace.now_ms:
            keyspace.delete(key)
            context.notify(b"del", key)
        else:
            _set_expiry(keyspace, key, expires_at_ms)
            context.notify(b"expire", key)
    elif options.persist and current_ms:
        _set_expiry(keyspace, key, 0)
        context.notify(b"persist", key)
    return value


def _set_expiry(keyspace: Keyspace, key: bytes, expires_at_ms: int) -> None:
    """The key is there. The chunks of a long string stay where they are."""
    entry = keyspace.settled(key)
    value, _, tag = entry if type(entry) is tuple else (entry, 0, 0)
    assert type(value) is bytes
    keyspace.put(key, make_entry(value, expires_at_ms, tag))


@command("mget", -2, "readonly fast", ALL_KEYS, batch=mget_many, is_batch_wide=True)
def mget(context: Context, args: list[bytes]) -> Value:
    """Returns the strings at several keys; null for a key that is absent or holds no string."""
    if len(args) > MAX_UNSLICED_KEYS:
        return _get_all(context, args)
    keyspace = context.keyspace
    most_bytes = context.services.config.largest_reply_bytes
    values: list[bytes | None] = []
    hits = size = 0
    for key, held in zip(args[1:], keyspace.in_memory(args[1:]), strict=True):
        entry = held if type(held) is bytes else keyspace.entry(key)
        if entry is not None:
            hits += 1
            value = entry if type(entry) is bytes else string_or_none(keyspace, key, entry)
            if value is not None:
                size += len(value)
                if size > most_bytes:
                    raise too_large_reply(size, most_bytes)
            values.append(value)
        else:
            values.append(None)
    keyspace.count_look_ups(hits, len(values))
    return values


def _get_all(context: Context, args: list[bytes]) -> Slices:
    keyspace = context.keyspace
    entries = yield from read_many(keyspace, args[1:], context.services.config.largest_reply_bytes)
    keyspace.count_look_ups(len(entries) - entries.count(None), len(entries))
    return [
        entry if type(entry) is bytes else string_or_none(keyspace, key, entry)
        for key, entry in zip(args[1:], entries, strict=True)
    ]


@command("mset", -3, "write denyoom untimed", KEYS_AND_VALUES, batch=mset_many, is_batch_wide=True)
def mset(context: Context, args: list[bytes]) -> Value:
    """Sets several keys to strings, all at once."""
    if len(args) % 2 == 0:
        raise wrong_arity("mset")
    _put_all(context, args)
    return OK


@command("msetnx", -3, "write denyoom", KEYS_AND_VALUES)
def msetnx(context: Context, args: list[bytes]) -> Value:
    """Sets several keys to strings, all at once, if none of them exists."""
    if len(args) % 2 == 0:
        raise wrong_arity("msetnx")
    keyspace = context.keyspace
    if len(args) > MAX_UNSLICED_KEYS:
        return _put_all_new(context, args)
    if any(keyspace.exists(key) for key in args[1::2]):
        return ZERO
    _put_all(context, args)
    return ONE


def _put_all_new(context: Context, args: list[bytes]) -> Slices:
    entries = yield from find_many(context.keyspace, args[1::2])
    if entries.count(None) < len(entries):
        return ZERO
    _put_all(context, args)
    return ONE


def _put_all(context: Context, args: list[bytes]) -> None:
    context.keyspace.put_values(args[1::2], args[2::2])
    context.notify_each(b"set", args[1::2])


@command("append", 3, "write denyoom fast timed", FIRST_KEY)
def append(context: Context, args: list[bytes]) -> Value:
    """Appends to the string at a key, or sets it."""
    text, expires_at_ms = text_at(context.keyspace, args[1])
    if type(text) is bytes and not expires_at_ms and len(text) + len(args[2]) <= texts.MAX_PLAIN_BYTES:
        text += args[2]
        context.keyspace.put_value(args[1], text)
        context.notify(b"append", args[1])
        return len(text)
    offset = 0 if text is None else len(text)
    length = offset + len(args[2])
    _check_length(context, length)
    write_parts(context.keyspace, args[1], text, expires_at_ms, [(offset, args[2])], length)
    context.notify(b"append", args[1])
    return length


@command("strlen", 2, "readonly fast peeks", FIRST_KEY)
def strlen(context: Context, args: list[bytes]) -> Value:
    """Returns the length of the string at a key."""
    entry = context.keyspace.look_up(args[1], values=False)
    if entry is None:
        return 0
    pointer = maybe_pointer(entry)
    return len(text_of(context.keyspace, args[1], entry)) if pointer is None else value_length(pointer)


@command("getrange", 4, "readonly", FIRST_KEY)
def getrange(context: Context, args: list[bytes]) -> Value:
    """Returns part of the string at a key; both ends are included, negative ones count from the string's end."""
    start, stop = parse_int64(args[2]), parse_int64(args[3])
    text = shown_text(context.keyspace, args[1])
    if not text or (start < 0 and stop < 0 and start > stop):
        return EMPTY_BULK
    length = len(text)
    # As in Redis, an end before the string's beginning means its first byte.
    first = max(start + length, 0) if start < 0 else start
    last = min(max(stop + length, 0) if stop < 0 else stop, length - 1)
    if type(text) is bytes:
        return text[first : last + 1]
    _check_reply(context, range(first, last + 1))
    if type(text) is LongString and last + 1 - first > SLICED_BYTES:
        return bulk_in_slices(text, first, last + 1)
    return part_of(text, first, last + 1)


@command("substr", 4, "readonly", FIRST_KEY)
def substr(context: Context, args: list[bytes]) -> Value:
    """The old name of GETRANGE."""
    return getrange(context, args)


@command("setrange", 4, "write denyoom", FIRST_KEY)
def setrange(context: Context, args: list[bytes]) -> Value:
    """Overwrites part of the string at a key from an offset on; zero bytes fill a gap before it."""
    offset = parse_int64(args[2])
    if offset < 0:
        raise CommandError("ERR offset is out of range")
    key, part = args[1], args[3]
    text, expires_at_ms = text_at(context.keyspace, key)
    if not part:
        return 0 if text is None else len(text)
    _check_length(context, offset + len(part))
    length = write_parts(context.keyspace, key, text, expires_at_ms, [(offset, part)], offset + len(part))
    context.notify(b"setrange", key)
    return length


def _check_length(context: Context, length: int) -> None:
    """No command may make a longer string than a request may hold."""
    if length > context.services.config.longest_bulk_bytes:
        raise CommandError("ERR string exceeds maximum allowed size (proto-max-bulk-len)")


@command("lcs", -3, "readonly", FIRST_TWO_KEYS)
def lcs(context: Context, args: list[bytes]) -> Value:
    """Returns the longest common subsequence of two strings, its length, or where its parts lie."""
    entries = [context.keyspace.look_up(key) for key in args[1:3]]
    if any(type(entry) is tuple and entry[2] not in (0, LONG_STRING) for entry in entries):
        raise CommandError("ERR The specified keys must contain string values")
    options = lcs_options(args, 3)
    keyspace = context.keyspace
    first, second = (string_or_none(keyspace, key, entry) or b"" for key, entry in zip(args[1:3], entries, strict=True))
    # Redis's table has 32-bit cells; its limit is kept, though the table here takes a thirty-second of it.
    if (len(first) + 1) * (len(second) + 1) * 4 > context.services.config.longest_bulk_bytes:
        raise CommandError("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
    return _lcs(first, second, options)


def _lcs(first: bytes, second: bytes, options: LcsOptions) -> Slices:
    common = LongestCommon(first, second)
    yield from common.fill(keeps_rows=not options.length)
    if options.length:
        return common.length
    yield from common.trace()
    if not options.indices:
        return common.subsequence
    matches: list[Value] = []
    for match in common.matches:
        if match.size >= options.least:
            places: list[Value] = [[match.a_first, match.a_last], [match.b_first, match.b_last]]
            matches.append([*places, match.size] if options.with_lengths else places)
    return {b"matches": matches, b"len": common.length}
