"""Commands that take elements out of lists: LPOP, LMPOP, LMOVE, which puts them into another, and those that wait.

A handler that finds nothing to take returns WaitForKeys; once a key is ready the same handler runs again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from flin.engine.table.cold_read import ColdRead
from flin.errors import CommandError, CorruptionError
from flin.net.batch.pending import BATCH_ENTRIES
from flin.net.command.arguments import keys_after_number, option_name, parse_count, pop_arguments, timeout_seconds
from flin.net.command.command import FIRST_KEY, FIRST_TWO_KEYS, Keys
from flin.net.command.registry import command
from flin.net.commands.columns import NONE_DONE, bulk_of_each
from flin.net.commands.lists import one_list
from flin.net.wire.replies import (
    EMPTY_ARRAY,
    NULL_ARRAY,
    OUT_OF_MEMORY,
    Value,
    WaitForKeys,
    syntax_error,
    too_large_reply,
    wrong_arity,
)
from flin.objects.list import List

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "list"

_ENDS: Final = {b"LEFT": True, b"RIGHT": False}
"""Whether the first elements are meant."""

_ALL_BUT_LAST: Final = Keys(1, -2, 1)
"""The timeout stands behind the keys."""

_MAX_STEP_BYTES: Final = 1 << 16
"""Elements that many pops take in one step; if those of all are longer, so many of them at a time:"""

_STEP: Final = 256

_BULK_BYTES: Final = 6
"""What a bulk has beside its bytes, at least."""

_POPPED_BYTES: Final = 200
"""What an element takes beside its bytes while it is taken out: itself, and its tombstone in the batch; about."""


# Out of one list.


def _lpop_many(context: Context, keys: tuple[bytes, ...]) -> Sequence[bytes]:
    return _pop_in_one(context, keys, is_left=True)


def _rpop_many(context: Context, keys: tuple[bytes, ...]) -> Sequence[bytes]:
    return _pop_in_one(context, keys, is_left=False)


def _pop_in_one(context: Context, keys: tuple[bytes, ...], *, is_left: bool) -> Sequence[bytes]:
    """Pops of one list, up to its last element, or where a read waits for the disk or fails, or elements are long. None
    if somebody watches or waits. What is left runs one by one."""
    found = one_list(context, keys)
    if found is None:
        return NONE_DONE
    if not len(found):
        return [context.session.encode(None)] * len(keys)
    replies: list[bytes] = []
    wanted = step = min(len(keys), BATCH_ENTRIES)
    while count := min(wanted - len(replies), len(found) - 1, step):
        try:
            taken = found.at_end(count, is_left=is_left)
            if sum(map(len, taken)) > _MAX_STEP_BYTES:
                if count <= _STEP:
                    break
                step = _STEP
                continue
            found.drop(count if is_left else 0, 0 if is_left else count)
        except (ColdRead, CorruptionError):
            break
        for key in keys[:count]:
            _note_popped(context, key, is_left=is_left, is_empty=False)
        replies += bulk_of_each(taken)
    return replies


@command("lpop", -2, "write fast counted", FIRST_KEY, batch=_lpop_many)
def lpop(context: Context, args: list[bytes]) -> Value:
    """Takes the first elements out of a list and returns them; without elements the key is gone."""
    return _pop(context, args, "lpop", is_left=True)


@command("rpop", -2, "write fast counted", FIRST_KEY, batch=_rpop_many)
def rpop(context: Context, args: list[bytes]) -> Value:
    """Takes the last elements out of a list and returns them, the last one first; without elements the key is gone."""
    return _pop(context, args, "rpop", is_left=False)


def _pop(context: Context, args: list[bytes], name: str, *, is_left: bool) -> Value:
    if len(args) == 2:
        found = context.keyspace.objects.find(args[1], List)
        return None if found is None else _pop_one(context, found, is_left=is_left)
    if len(args) > 3:
        raise wrong_arity(name)
    count = parse_count(args[2])
    found = context.keyspace.objects.find(args[1], List)
    if found is None:
        return NULL_ARRAY
    return _pop_many(context, found, count, is_left=is_left) if count else EMPTY_ARRAY


def _pop_one(context: Context, found: List, *, is_left: bool) -> bytes:
    element = found.pop_left() if is_left else found.pop_right()
    _note_popped(context, found.key, is_left=is_left, is_empty=not len(found))
    return element


def _pop_many(context: Context, found: List, count: int, *, is_left: bool) -> list[bytes]:
    """So many elements, at least one, or all; in the order in which they leave. They are refused before anything
    changes if they are too large for a reply."""
    length = len(found)
    count = min(count, length)
    taken = _of_a_reply(context, found.pages(0, count) if is_left else found.pages(length - count, length))
    found.drop(count if is_left else 0, 0 if is_left else count)
    _note_popped(context, found.key, is_left=is_left, is_empty=count == length)
    return taken if is_left else taken[::-1]


def _of_a_reply(context: Context, pages: Iterable[list[bytes]]) -> list[bytes]:
    config = context.services.config
    most_bytes, most_memory = config.largest_reply_bytes, config.options.memory_limit // 4
    found: list[bytes] = []
    size = 0
    for page in pages:
        size += sum(map(len, page)) + _BULK_BYTES * len(page)
        if size > most_bytes:
            raise too_large_reply(size, most_bytes)
        found += page
        if size + _POPPED_BYTES * len(found) > most_memory:
            raise CommandError(OUT_OF_MEMORY)
    return found


def _note_popped(context: Context, key: bytes, *, is_left: bool, is_empty: bool) -> None:
    context.notify(b"lpop" if is_left else b"rpop", key)
    if is_empty:
        context.notify(b"del", key)


# Out of the first of several.


@command("lmpop", -4, "write movablekeys", keys_after_number(1))
def lmpop(context: Context, args: list[bytes]) -> Value:
    """Takes elements out of the first list that has any, and returns its key and them."""
    keys, is_left, count = pop_arguments(args, 1, _ENDS)
    popped = _pop_first(context, keys, is_left=is_left, count=count)
    return NULL_ARRAY if popped is None else popped


def _pop_first(context: Context, keys: list[bytes], *, is_left: bool, count: int) -> Value:
    """The key of the first list that is there, and elements of it; None if none is."""
    for key in keys:
        found = context.keyspace.objects.find(key, List)
        if found is not None:
            return [key, _pop_many(context, found, count, is_left=is_left)]
    return None


def _is_left(side: bytes) -> bool:
    is_left = _ENDS.get(option_name(side))
    if is_left is None:
        raise syntax_error()
    return is_left


# From one list into another.


@command("lmove", 5, "write denyoom", FIRST_TWO_KEYS)
def lmove(context: Context, args: list[bytes]) -> Value:
    """Moves the element at one end of a list to an end of another, or the same; returns it."""
    return _move(context, args, is_from_left=_is_left(args[3]), is_to_left=_is_left(args[4]))


@command("rpoplpush", 3, "write denyoom", FIRST_TWO_KEYS)
def rpoplpush(context: Context, args: list[bytes]) -> Value:
    """Moves the last element of a list before the first of another, or the same; returns it."""
    return _move(context, args, is_from_left=False, is_to_left=True)


def _move(context: Context, args: list[bytes], *, is_from_left: bool, is_to_left: bool) -> bytes | None:
    """None if there is no source."""
    objects = context.keyspace.objects
    source = objects.find(args[1], List)
    if source is None:
        return None
    if args[1] == args[2]:
        element = source.rotate(is_from_left=is_from_left, is_to_left=is_to_left)
    else:
        destination = objects.find_or_make(args[2], List)
        element = source.pop_left() if is_from_left else source.pop_right()
        destination.push_left((element,)) if is_to_left else destination.push_right((element,))
    context.notify(b"lpush" if is_to_left else b"rpush", args[2])
    _note_popped(context, args[1], is_left=is_from_left, is_empty=not len(source))
    return element


# Those that wait.


@command("blpop", -3, "write noscript blocking", _ALL_BUT_LAST)
def blpop(context: Context, args: list[bytes]) -> Value:
    """Takes the first element of the first list that has one, or waits for it; returns its key and it."""
    return _pop_or_wait(context, args, is_left=True)


@command("brpop", -3, "write noscript blocking", _ALL_BUT_LAST)
def brpop(context: Context, args: list[bytes]) -> Value:
    """Takes the last element of the first list that has one, or waits for it; returns its key and it."""
    return _pop_or_wait(context, args, is_left=False)


def _pop_or_wait(context: Context, args: list[bytes], *, is_left: bool) -> Value:
    seconds = timeout_seconds(args[-1])
    keys = args[1:-1]
    for key in keys:
        found = context.keyspace.objects.find(key, List)
        if found is not None:
            return [key, _pop_one(context, found, is_left=is_left)]
    return WaitForKeys(keys, seconds, NULL_ARRAY)


@command("blmpop", -5, "write blocking movablekeys", keys_after_number(2))
def blmpop(context: Context, args: list[bytes]) -> Value:
    """Takes elements out of the first list that has any, or waits for one; returns its key and them."""
    keys, is_left, count = pop_arguments(args, 2, _ENDS)
    seconds = timeout_seconds(args[1])
    popped = _pop_first(context, keys, is_left=is_left, count=count)
    return WaitForKeys(keys, seconds, NULL_ARRAY) if popped is None else popped


@command("blmove", 6, "write denyoom noscript blocking", FIRST_TWO_KEYS)
def blmove(context: Context, args: list[bytes]) -> Value:
    """Does what LMOVE does, or waits until the list has an element."""
    is_from_left, is_to_left = _is_left(args[3]), _is_left(args[4])
    return _move_or_wait(context, args, is_from_left=is_from_left, is_to_left=is_to_left)


@command("brpoplpush", 4, "write denyoom noscript blocking", FIRST_TWO_KEYS)
def brpoplpush(context: Context, args: list[bytes]) -> Value:
    """Does what RPOPLPUSH does, or waits until the list has an element."""
    return _move_or_wait(context, args, is_from_left=False, is_to_left=True)


def _move_or_wait(context: Context, args: list[bytes], *, is_from_left: bool, is_to_left: bool) -> Value:
    seconds = timeout_seconds(args[-1])
    element = _move(context, args, is_from_left=is_from_left, is_to_left=is_to_left)
    return WaitForKeys([args[1]], seconds, None) if element is None else element
