"""Commands that take the first or last members out of sorted sets: ZPOPMIN, ZMPOP and their kin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command.command import FIRST_KEY
from flin.net.command.registry import command
from flin.net.commands.sorted_sets import shown_pairs, take_out
from flin.net.wire.numbers import maybe_int64
from flin.net.wire.replies import Value, syntax_error
from flin.objects.sorted_set import Pair, SortedSet, pair_at

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "sorted-set"


@command("zpopmin", -2, "write fast timed", FIRST_KEY)
def zpopmin(context: Context, args: list[bytes]) -> Value:
    """Takes the members with the lowest scores out of a sorted set and returns them."""
    return _pop(context, args, is_last=False)


@command("zpopmax", -2, "write fast timed", FIRST_KEY)
def zpopmax(context: Context, args: list[bytes]) -> Value:
    """Takes the members with the highest scores out of a sorted set and returns them."""
    return _pop(context, args, is_last=True)


def _pop(context: Context, args: list[bytes], *, is_last: bool) -> Value:
    if len(args) > 3:
        raise syntax_error()
    if len(args) == 2:
        pairs = _taken(context, args[1], 1, is_last=is_last)
        return pairs[0] if pairs else []
    return shown_pairs(context)(_taken(context, args[1], _positive(args[2]), is_last=is_last))


def _positive(text: bytes) -> int:
    count = maybe_int64(text)
    if count is None or count < 0:
        raise CommandError("ERR value is out of range, must be positive")
    return count


def _taken(context: Context, key: bytes, count: int, *, is_last: bool) -> list[Pair]:
    found = context.keyspace.objects.find(key, SortedSet)
    if found is None or not count:
        return []
    places = found.order.from_rank(0, count, reverse=is_last)
    take_out(context, key, found, places, b"zpopmax" if is_last else b"zpopmin")
    return list(map(pair_at, places))
