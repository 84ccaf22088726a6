"""Commands that take the first or last members out of sorted sets: ZPOPMIN, ZMPOP and their kin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command.arguments import keys_after_number, parse_count, pop_arguments, timeout_seconds
from flin.net.command.command import FIRST_KEY, Keys
from flin.net.command.registry import command
from flin.net.commands.sorted_sets import room_for, shown_pairs, take_out
from flin.net.wire.replies import NULL_ARRAY, OUT_OF_MEMORY, Value, WaitForKeys, syntax_error, too_large_reply
from flin.objects.sorted_set import Pair, SortedSet, pair_at, pairs_at

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "sorted-set"

MAX_UNCHECKED: Final = 1024
"""Members that are read before it is known how large the reply will be."""

_BULKS_BYTES: Final = 13
"""What the bulks of a member and its score have beside their bytes, at least."""

_ENDS: Final = {b"MIN": False, b"MAX": True}
"""Whether the last members are meant."""


@command("zpopmin", -2, "write fast counted", FIRST_KEY)
def zpopmin(context: Context, args: list[bytes]) -> Value:
    """Takes the members with the lowest scores out of a sorted set and returns them."""
    return _pop(context, args, is_last=False)


@command("zpopmax", -2, "write fast counted", FIRST_KEY)
def zpopmax(context: Context, args: list[bytes]) -> Value:
    """Takes the members with the highest scores out of a sorted set and returns them."""
    return _pop(context, args, is_last=True)


def _pop(context: Context, args: list[bytes], *, is_last: bool) -> Value:
    if len(args) > 3:
        raise syntax_error()
    if len(args) == 2:
        return _taken_one(context, args[1], is_last=is_last) or []
    return shown_pairs(context)(_taken(context, args[1], parse_count(args[2]), is_last=is_last))


def _check_reply(context: Context, count: int, size_bytes: int) -> None:
    """LimitError, before anything is taken out, if so many members of that size together make too large a reply."""
    size_bytes += count * _BULKS_BYTES
    most_bytes = context.services.config.largest_reply_bytes
    if size_bytes > most_bytes:
        raise too_large_reply(size_bytes, most_bytes)


def _taken_one(context: Context, key: bytes, *, is_last: bool) -> Pair | None:
    """`_taken` of one, as most queues ask."""
    found = context.keyspace.objects.find(key, SortedSet)
    if found is None:
        return None
    places = found.order.from_rank(0, 1, reverse=is_last)
    if len(places[0]) > MAX_UNCHECKED:
        _check_reply(context, 1, len(places[0]))
    take_out(context, key, found, places, b"zpopmax" if is_last else b"zpopmin")
    return pair_at(places[0])


def _taken(context: Context, key: bytes, count: int, *, is_last: bool) -> list[Pair]:
    found = context.keyspace.objects.find(key, SortedSet)
    if found is None or not count:
        return []
    count = min(count, len(found))
    if count > room_for(context):
        raise CommandError(OUT_OF_MEMORY)
    if count > MAX_UNCHECKED:
        _check_reply(context, count, 0)
    places = found.order.from_rank(0, count, reverse=is_last)
    _check_reply(context, count, sum(map(len, places)))
    take_out(context, key, found, places, b"zpopmax" if is_last else b"zpopmin")
    return pairs_at(places)


# From the first of several keys that has members.


@command("zmpop", -4, "write movablekeys", keys_after_number(1))
def zmpop(context: Context, args: list[bytes]) -> Value:
    """Takes members out of the first sorted set that has some, and returns its key and them."""
    keys, is_last, count = pop_arguments(args, 1, _ENDS)
    return _pop_first(context, keys, count, is_last=is_last) or NULL_ARRAY


@command("bzmpop", -5, "write blocking movablekeys", keys_after_number(2))
def bzmpop(context: Context, args: list[bytes]) -> Value:
    """Takes members out of the first sorted set that has some, or waits for them; returns its key and them."""
    keys, is_last, count = pop_arguments(args, 2, _ENDS)
    seconds = timeout_seconds(args[1])

    def from_keys(keys: list[bytes]) -> Value:
        return _pop_first(context, keys, count, is_last=is_last) or WaitForKeys(
            keys, seconds, NULL_ARRAY, lambda key: from_keys([key])
        )

    return from_keys(keys)


def _pop_first(context: Context, keys: list[bytes], count: int, *, is_last: bool) -> Value:
    """None if no key has members."""
    for key in keys:
        pairs = _taken(context, key, count, is_last=is_last)
        if pairs:
            return [key, pairs]
    return None


@command("bzpopmin", -3, "write noscript blocking fast timed", Keys(1, -2, 1))
def bzpopmin(context: Context, args: list[bytes]) -> Value:
    """Takes the member with the lowest score out of the first sorted set that has some, or waits for one."""
    return _pop_or_wait(context, args, is_last=False)


@command("bzpopmax", -3, "write noscript blocking fast timed", Keys(1, -2, 1))
def bzpopmax(context: Context, args: list[bytes]) -> Value:
    """Takes the member with the highest score out of the first sorted set that has some, or waits for one."""
    return _pop_or_wait(context, args, is_last=True)


def _pop_or_wait(context: Context, args: list[bytes], *, is_last: bool) -> Value:
    seconds, keys = timeout_seconds(args[-1]), args[1:-1]
    popped = _pop_first(context, keys, 1, is_last=is_last)
    if popped is None:
        return WaitForKeys(keys, seconds, NULL_ARRAY)
    key, [pair] = popped
    return [key, *pair]
