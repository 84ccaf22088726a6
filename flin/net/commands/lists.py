"""Commands over lists: LPUSH, LRANGE and their kin. A list is never empty: who takes its last element deletes the key.

A reply with many elements of a large list is made in slices, of the state at its beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command.command import FIRST_KEY
from flin.net.command.registry import command
from flin.net.commands.elements import all_in_slices, look_up
from flin.net.wire.numbers import maybe_int64, parse_int64
from flin.net.wire.replies import EMPTY_ARRAY, NULL_ARRAY, ZERO, Value, too_large_reply, wrong_arity
from flin.objects import limits
from flin.objects.list import List

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "list"

_BULK_BYTES: Final = 6
"""What a bulk has beside its bytes, at least."""


# Pushes.


@command("lpush", -3, "write denyoom fast", FIRST_KEY)
def lpush(context: Context, args: list[bytes]) -> Value:
    """Puts elements before the first of a list, made if there is none; returns its length."""
    found = context.keyspace.objects.find_or_make(args[1], List)
    found.push_left(args[2:])
    context.notify(b"lpush", args[1])
    return len(found)


@command("rpush", -3, "write denyoom fast", FIRST_KEY)
def rpush(context: Context, args: list[bytes]) -> Value:
    """Puts elements behind the last of a list, made if there is none; returns its length."""
    found = context.keyspace.objects.find_or_make(args[1], List)
    found.push_right(args[2:])
    context.notify(b"rpush", args[1])
    return len(found)


@command("lpushx", -3, "write denyoom fast", FIRST_KEY)
def lpushx(context: Context, args: list[bytes]) -> Value:
    """Puts elements before the first of a list that exists; returns its length."""
    found = context.keyspace.objects.find(args[1], List)
    if found is None:
        return ZERO
    found.push_left(args[2:])
    context.notify(b"lpush", args[1])
    return len(found)


@command("rpushx", -3, "write denyoom fast", FIRST_KEY)
def rpushx(context: Context, args: list[bytes]) -> Value:
    """Puts elements behind the last of a list that exists; returns its length."""
    found = context.keyspace.objects.find(args[1], List)
    if found is None:
        return ZERO
    found.push_right(args[2:])
    context.notify(b"rpush", args[1])
    return len(found)


# Pops.


@command("lpop", -2, "write fast timed", FIRST_KEY)
def lpop(context: Context, args: list[bytes]) -> Value:
    """Takes the first elements out of a list and returns them; without elements the key is gone."""
    return _pop(context, args, "lpop", is_left=True)


@command("rpop", -2, "write fast timed", FIRST_KEY)
def rpop(context: Context, args: list[bytes]) -> Value:
    """Takes the last elements out of a list and returns them, the last one first; without elements the key is gone."""
    return _pop(context, args, "rpop", is_left=False)


def _pop(context: Context, args: list[bytes], name: str, *, is_left: bool) -> Value:
    if len(args) > 3:
        raise wrong_arity(name)
    count = positive(args[2]) if len(args) == 3 else None
    found = context.keyspace.objects.find(args[1], List)
    if found is None:
        return None if count is None else NULL_ARRAY
    if count == 0:
        return EMPTY_ARRAY
    if count is None:
        popped: Value = found.pop_left() if is_left else found.pop_right()
    else:
        popped = take(context, found, count, is_left=is_left)
    note_popped(context, args[1], found, is_left=is_left)
    return popped


def positive(text: bytes) -> int:
    count = maybe_int64(text)
    if count is None or count < 0:
        raise CommandError("ERR value is out of range, must be positive")
    return count


def take(context: Context, found: List, count: int, *, is_left: bool) -> list[bytes]:
    """Take so many elements out, at least one, or all; in the order in which they leave."""
    length = len(found)
    count = min(count, length)
    if is_left:
        taken = _of_a_reply(context, found.pages(0, count))
        found.drop_left(count)
        return taken
    taken = _of_a_reply(context, found.pages(length - count, length))
    found.drop_right(count)
    return taken[::-1]


def note_popped(context: Context, key: bytes, found: List, *, is_left: bool) -> None:
    context.notify(b"lpop" if is_left else b"rpop", key)
    if not len(found):
        context.notify(b"del", key)


def _of_a_reply(context: Context, pages: Iterable[list[bytes]]) -> list[bytes]:
    """The elements of all pages, unless they are too large for a reply."""
    most_bytes = context.services.config.largest_reply_bytes
    found: list[bytes] = []
    size = 0
    for page in pages:
        size += sum(map(len, page)) + _BULK_BYTES * len(page)
        if size > most_bytes:
            raise too_large_reply(size, most_bytes)
        found += page
    return found


# Reads.


@command("llen", 2, "readonly fast", FIRST_KEY)
def llen(context: Context, args: list[bytes]) -> Value:
    """Returns the number of elements of a list."""
    found = look_up(context, args[1], List)
    return 0 if found is None else len(found)


@command("lindex", 3, "readonly", FIRST_KEY)
def lindex(context: Context, args: list[bytes]) -> Value:
    """Returns the element at an index of a list; negative: from the end."""
    found = look_up(context, args[1], List)
    if found is None:
        return None
    index = parse_int64(args[2])
    length = len(found)
    if index < 0:
        index += length
    return found.at(index) if 0 <= index < length else None


@command("lrange", 4, "readonly", FIRST_KEY)
def lrange(context: Context, args: list[bytes]) -> Value:
    """Returns the elements of a list from an index to another, both included; negative: from the end."""
    first, last = parse_int64(args[2]), parse_int64(args[3])
    found = look_up(context, args[1], List)
    if found is None:
        return EMPTY_ARRAY
    start, stop = bounds(first, last, len(found))
    if start >= stop:
        return EMPTY_ARRAY
    if stop - start > limits.SLICED:
        return all_in_slices(context, found.frozen_pages(start, stop), list)
    return found.between(start, stop)


def bounds(first: int, last: int, length: int) -> tuple[int, int]:
    """From which element to below which these indices mean."""
    start = max(first + length, 0) if first < 0 else first
    stop = (last + length if last < 0 else last) + 1
    return start, min(stop, length)
