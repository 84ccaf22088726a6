"""Numbers kept as decimal text: INCR and its kin. They keep the key's expiry.

Integers have 64 bits. INCRBYFLOAT computes as Redis does, with x86's 80-bit numbers (long_double.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, count
from operator import ne
from typing import TYPE_CHECKING, Final, cast

from flin.engine.entry import Entry, make_entry
from flin.engine.table.cold_read import ColdRead
from flin.errors import CommandError, CorruptionError
from flin.net.command.command import FIRST_KEY
from flin.net.command.registry import command
from flin.net.commands.columns import replies_of_numbers
from flin.net.data.live_entries import live_entries
from flin.net.data.text import string_at
from flin.net.wire import long_double
from flin.net.wire.numbers import (
    INT64_MAX,
    INT64_MIN,
    SMALL_DIGITS,
    maybe_next,
    maybe_small,
    parse_int64,
    replies_of_shared,
    texts_of,
)
from flin.net.wire.replies import NOT_A_FLOAT, Value

if TYPE_CHECKING:
    from flin.net.data.keyspace import Keyspace
    from flin.net.run.context import Context

GROUP: Final = "string"

ZERO: Final = ord("0")

FEW: Final = 8
"""Where at most one of so many keys is named again in a pipeline, the others are looked up in loops of C: the place of
each that is named again costs 0.4 µs."""


def _incr_many(context: Context, keys: tuple[bytes, ...]) -> list[bytes]:
    """Many INCRs, up to the first that waits for the disk, fails, or has an expiry or a sign."""
    keyspace = context.keyspace
    unique = tuple(dict.fromkeys(keys))
    entries = _entries(context, unique)
    if len(keys) - len(unique) <= len(keys) // FEW:
        texts = maybe_next(entries)
        if texts is not None and (len(unique) == len(keys) or _insert_repeated(keys, texts)):
            keyspace.put_values(keys, texts, are_short=True)
            return replies_of_shared(texts)
    numbers = _small_numbers(entries)
    if numbers is None:
        return _incr_each(keyspace, keys)
    running = dict(zip(unique, numbers, strict=True))
    totals = []
    for key in keys:
        running[key] = total = running[key] + 1
        totals.append(total)
    keyspace.put_values(unique, texts_of(list(running.values())), are_short=True)
    return replies_of_numbers(totals)


def _insert_repeated(keys: tuple[bytes, ...], texts: list[bytes]) -> bool:
    """Given the texts after the first INCR of each key, insert those of keys that are named again, each in its place.
    False: one of them is too large for `maybe_next`."""
    seen: dict[bytes, int] = {}
    firsts = list(map(seen.setdefault, keys, count()))
    newest: dict[bytes, bytes] = {}
    for place in compress(count(), map(ne, firsts, count())):
        key = keys[place]
        found = maybe_next([newest.get(key, texts[firsts[place]])])
        if found is None:
            return False
        newest[key] = found[0]
        texts[place:place] = found
    return True


def _incr_each(keyspace: Keyspace, keys: tuple[bytes, ...]) -> list[bytes]:
    texts: dict[bytes, bytes] = {}
    replies: list[bytes] = []
    for key in keys:
        text = texts.get(key)
        if text is None:
            try:
                entry = keyspace.entry(key)
            except (ColdRead, CorruptionError):
                break
            if entry is None:
                entry = b"0"
            elif type(entry) is not bytes or not _is_small(entry):
                break
            text = entry
        texts[key] = text = b"%d" % (int(text) + 1)
        replies.append(b":%b\r\n" % text)
    if texts:
        keyspace.put_values(list(texts), list(texts.values()))
    return replies


def _entries(context: Context, keys: tuple[bytes, ...]) -> Sequence[Entry | None]:
    """The entries at the keys, absent ones as zeros; where one is None, read them one by one."""
    keyspace = context.keyspace
    entries = keyspace.in_memory(keys)
    if all(entries) or None not in entries:  # the former takes a third of the time
        return entries
    places = [place for place, entry in enumerate(entries) if entry is None]
    found = live_entries(keyspace, context.services.pending, [keys[place] for place in places])
    for place, entry in zip(places, found):  # noqa: B905  fewer may be found
        entries[place] = b"0" if entry is None else entry
    return entries


def _small_numbers(entries: Sequence[Entry | None]) -> list[int] | None:
    """The numbers, if all are small ones without a sign, in canonical form; None: look at them one by one."""
    return maybe_small(cast("Sequence[bytes]", entries)) if set(map(type, entries)) == {bytes} else None


def _is_small(text: bytes) -> bool:
    """Whether the text is a canonical number to which a pipeline's ones can be added without a check of the bounds."""
    return text.isdigit() and len(text) <= SMALL_DIGITS and (text[0] != ZERO or len(text) == 1)


@command("incr", 2, "write denyoom fast", FIRST_KEY, batch=_incr_many)
def incr(context: Context, args: list[bytes]) -> Value:
    """Adds one to the integer at a key; an absent key counts as 0."""
    return _add(context, args[1], 1)


@command("decr", 2, "write denyoom fast", FIRST_KEY)
def decr(context: Context, args: list[bytes]) -> Value:
    """Takes one from the integer at a key; an absent key counts as 0."""
    return _add(context, args[1], -1)


@command("incrby", 3, "write denyoom fast", FIRST_KEY)
def incrby(context: Context, args: list[bytes]) -> Value:
    """Adds an integer to the one at a key; an absent key counts as 0."""
    return _add(context, args[1], parse_int64(args[2]))


@command("decrby", 3, "write denyoom fast", FIRST_KEY)
def decrby(context: Context, args: list[bytes]) -> Value:
    """Takes an integer from the one at a key; an absent key counts as 0."""
    decrement = parse_int64(args[2])
    if decrement == INT64_MIN:
        raise CommandError("ERR decrement would overflow")
    return _add(context, args[1], -decrement)


def _add(context: Context, key: bytes, delta: int) -> int:
    value, expires_at_ms = string_at(context.keyspace, key)
    total = (0 if value is None else parse_int64(value)) + delta
    if not INT64_MIN <= total <= INT64_MAX:
        raise CommandError("ERR increment or decrement would overflow")
    text = b"%d" % total
    if expires_at_ms:
        context.keyspace.put(key, make_entry(text, expires_at_ms))
    else:
        context.keyspace.put_value(key, text)
    return total


@command("incrbyfloat", 3, "write denyoom fast", FIRST_KEY)
def incrbyfloat(context: Context, args: list[bytes]) -> Value:
    """Adds a decimal number to the one at a key; an absent key counts as 0."""
    value, expires_at_ms = string_at(context.keyspace, args[1])
    try:
        text = long_double.add_texts(b"0" if value is None else value, args[2])
    except ValueError:
        raise CommandError(NOT_A_FLOAT) from None
    except OverflowError:
        raise CommandError("ERR increment would produce NaN or Infinity") from None
    context.keyspace.put(args[1], make_entry(text, expires_at_ms))
    context.notify(b"incrbyfloat", args[1])
    return text
