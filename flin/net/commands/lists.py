"""Commands over lists: LPUSH, LRANGE and their kin. A list is never empty: who takes its last element deletes the key.

A reply with many elements of a large list is made in slices, of the state at its beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final

from flin.engine.table.cold_read import ColdRead
from flin.errors import CommandError, CorruptionError, FormatVersionError
from flin.net.command.arguments import option_name
from flin.net.command.command import FIRST_KEY
from flin.net.command.registry import command
from flin.net.commands.columns import NONE_DONE
from flin.net.commands.elements import all_in_slices, look_up
from flin.net.wire.numbers import INT64_MAX, maybe_int64, parse_int64
from flin.net.wire.replies import EMPTY_ARRAY, NO_SUCH_KEY, OK, OUT_OF_MEMORY, ZERO, Value, syntax_error
from flin.objects import limits
from flin.objects.list import List

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "list"

# Pushes.


def one_list(context: Context, keys: tuple[bytes, ...]) -> List | None:
    """The list, or an empty one, that all of these keys name, for a pipeline that is done in one step. None if they
    name several, if somebody watches or waits for a key of this database, or where it has to be read: then the requests
    run one by one."""
    key, keyspace = keys[0], context.keyspace
    if keyspace.observers or keys.count(key) < len(keys):
        return None
    try:
        return keyspace.objects.find_or_make(key, List)
    except (ColdRead, CommandError, CorruptionError, FormatVersionError):
        return None


def _lpush_many(context: Context, keys: tuple[bytes, ...], elements: tuple[bytes, ...]) -> Sequence[bytes]:
    found = one_list(context, keys)
    if found is None:
        return NONE_DONE
    found.push_left(elements)
    for key in keys:
        context.notify(b"lpush", key)
    return _lengths(len(found), len(keys))


def _rpush_many(context: Context, keys: tuple[bytes, ...], elements: tuple[bytes, ...]) -> Sequence[bytes]:
    found = one_list(context, keys)
    if found is None:
        return NONE_DONE
    found.push_right(elements)
    for key in keys:
        context.notify(b"rpush", key)
    return _lengths(len(found), len(keys))


def _lengths(last: int, count: int) -> list[bytes]:
    """The replies of so many pushes, as the list grew."""
    return list(map(b":%d\r\n".__mod__, range(last - count + 1, last + 1)))


@command("lpush", -3, "write denyoom fast", FIRST_KEY, batch=_lpush_many)
def lpush(context: Context, args: list[bytes]) -> Value:
    """Puts elements before the first of a list, made if there is none; returns its length."""
    found = context.keyspace.objects.find_or_make(args[1], List)
    found.push_left(args[2:])
    context.notify(b"lpush", args[1])
    return len(found)


@command("rpush", -3, "write denyoom fast", FIRST_KEY, batch=_rpush_many)
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
    rank = _maybe_rank(args[2], len(found))
    return None if rank is None else found.at(rank)


def _maybe_rank(text: bytes, length: int) -> int | None:
    """The rank that an index means; None if it lies outside."""
    index = parse_int64(text)
    rank = index + length if index < 0 else index
    return rank if 0 <= rank < length else None


@command("lrange", 4, "readonly", FIRST_KEY)
def lrange(context: Context, args: list[bytes]) -> Value:
    """Returns the elements of a list from an index to another, both included; negative: from the end."""
    first, last = parse_int64(args[2]), parse_int64(args[3])
    found = look_up(context, args[1], List)
    if found is None:
        return EMPTY_ARRAY
    start, stop = _bounds(first, last, len(found))
    if start == stop:
        return EMPTY_ARRAY
    if stop - start > limits.SLICED:
        return all_in_slices(context, found.frozen_pages(start, stop), list)
    return found.between(start, stop)


def _bounds(first: int, last: int, length: int) -> tuple[int, int]:
    """From which rank to below which these indices mean."""
    start = max(first + length, 0) if first < 0 else first
    stop = min(last + length if last < 0 else last, length - 1) + 1
    return (start, stop) if start < stop else (0, 0)


@dataclass(slots=True)
class _Wanted:
    """The options of LPOS."""

    rank: int = 1
    count: int | None = None
    most_compared: int = 0
    """0: all."""


@command("lpos", -3, "readonly", FIRST_KEY)
def lpos(context: Context, args: list[bytes]) -> Value:
    """Returns the index of an element of a list, or with COUNT the indices of several that are equal."""
    wanted = _lpos_options(args)
    found = look_up(context, args[1], List)
    if found is None:
        return None if wanted.count is None else EMPTY_ARRAY
    ranks = _ranks(found, args[2], wanted)
    if wanted.count is None:
        return next(ranks, None)
    return list(islice(ranks, wanted.count or None))


def _lpos_options(args: list[bytes]) -> _Wanted:
    """RANK, COUNT, MAXLEN, each followed by a number."""
    wanted = _Wanted()
    for position in range(3, len(args), 2):
        name = option_name(args[position])
        if position + 1 == len(args) or name not in (b"RANK", b"COUNT", b"MAXLEN"):
            raise syntax_error()
        number = args[position + 1]
        if name == b"RANK":
            wanted.rank = _rank_option(number)
        elif name == b"COUNT":
            wanted.count = _not_negative(number, "COUNT")
        else:
            wanted.most_compared = _not_negative(number, "MAXLEN")
    return wanted


def _rank_option(text: bytes) -> int:
    rank = parse_int64(text)
    if rank < -INT64_MAX:
        raise CommandError(f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}")
    if not rank:
        raise CommandError(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to "
            "start from the end of the list"
        )
    return rank


def _not_negative(text: bytes, name: str) -> int:
    number = maybe_int64(text)
    if number is None or number < 0:
        raise CommandError(f"ERR {name} can't be negative")
    return number


def _ranks(found: List, element: bytes, wanted: _Wanted) -> Iterator[int]:
    """The ranks of the elements that equal this one, from the wanted one on; a negative rank counts from the end."""
    is_reverse = wanted.rank < 0
    length = len(found)
    all_equal = (
        before + place
        for before, page in _with_counts(found.all_pages(reverse=is_reverse))
        for place, other in enumerate(page)
        if other == element
    )
    most = wanted.most_compared or length
    equal = islice(takewhile(lambda place: place < most, all_equal), abs(wanted.rank) - 1, None)
    return (length - 1 - place for place in equal) if is_reverse else equal


def _with_counts(pages: Iterable[list[bytes]]) -> Iterator[tuple[int, list[bytes]]]:
    """Each page with the number of elements in those before it."""
    before = 0
    for page in pages:
        yield before, page
        before += len(page)


# Changes.


@command("lset", 4, "write denyoom", FIRST_KEY)
def lset(context: Context, args: list[bytes]) -> Value:
    """Puts an element in the place of the one at an index of a list; negative: from the end."""
    found = context.keyspace.objects.find(args[1], List)
    if found is None:
        raise CommandError(NO_SUCH_KEY)
    rank = _maybe_rank(args[2], len(found))
    if rank is None:
        raise CommandError("ERR index out of range")
    found.set_at(rank, args[3])
    context.notify(b"lset", args[1])
    return OK


@command("linsert", 5, "write denyoom", FIRST_KEY)
def linsert(context: Context, args: list[bytes]) -> Value:
    """Puts an element before or behind the first that equals the pivot; returns the length, -1 without a pivot."""
    side = option_name(args[2])
    if side not in (b"BEFORE", b"AFTER"):
        raise syntax_error()
    found = context.keyspace.objects.find(args[1], List)
    if found is None:
        return ZERO
    length = len(found)
    try:
        if not found.insert(args[3], args[4], is_before=side == b"BEFORE", most_bytes=_quarter(context)):
            return -1
    except MemoryError:
        raise CommandError(OUT_OF_MEMORY) from None
    context.notify(b"linsert", args[1])
    return length + 1


def _quarter(context: Context) -> int:
    """What a command may hold in memory at once."""
    return context.services.config.options.memory_limit // 4


@command("lrem", 4, "write", FIRST_KEY)
def lrem(context: Context, args: list[bytes]) -> Value:
    """Takes elements that equal one out of a list: the first ones, or for a negative count the last, 0: all."""
    count = parse_int64(args[2])
    found = context.keyspace.objects.find(args[1], List)
    if found is None:
        return ZERO
    length = len(found)
    removed = found.remove(args[3], count)
    if removed:
        context.notify(b"lrem", args[1])
    if removed == length:
        context.notify(b"del", args[1])
    return removed


@command("ltrim", 4, "write", FIRST_KEY)
def ltrim(context: Context, args: list[bytes]) -> Value:
    """Takes all elements out of a list but those from an index to another, both included; negative: from the end."""
    first, last = parse_int64(args[2]), parse_int64(args[3])
    found = context.keyspace.objects.find(args[1], List)
    if found is None:
        return OK
    start, stop = _bounds(first, last, len(found))
    if stop - start == len(found):
        found.touch()
    else:
        found.keep(start, stop, _quarter(context))
    context.notify(b"ltrim", args[1])
    if start == stop:
        context.notify(b"del", args[1])
    return OK
