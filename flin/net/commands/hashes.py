"""Commands over hashes: HSET, HGET and their kin. A hash is never empty: who takes its last field deletes the key.

Fields come in no promised order. Replies about a large hash are made in slices, of the state at their beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import add, itemgetter
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command.command import FIRST_KEY
from flin.net.command.registry import command
from flin.net.commands.columns import NONE_DONE, bulks, one_object, one_or_new, replies_of_new, replies_of_numbers
from flin.net.commands.elements import (
    all_in_slices,
    growing,
    look_up,
    one_at_random,
    parse_random_count,
    scan_elements,
    several_at_random,
)
from flin.net.wire import long_double
from flin.net.wire.numbers import INT64_MAX, INT64_MIN, maybe_small, parse_int64, texts_of
from flin.net.wire.replies import (
    EMPTY_ARRAY,
    NOT_A_FLOAT,
    OK,
    ONE,
    ZERO,
    Slices,
    Value,
    syntax_error,
    too_large_reply,
    wrong_arity,
)
from flin.objects.hash import Hash

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "hash"

_NO_INTEGER: Final = "ERR hash value is not an integer"

_Pairs = Sequence[tuple[bytes, bytes]]

_flat: Final = chain.from_iterable


# Writes. Each reads all it needs before its first change.


def _hset_many(
    context: Context, keys: tuple[bytes, ...], fields: tuple[bytes, ...], values: tuple[bytes, ...]
) -> Sequence[bytes]:
    hash_ = one_or_new(context, keys, Hash)
    if hash_ is None:
        return NONE_DONE
    new = hash_.put_many(dict(zip(fields, values, strict=True)), max(map(len, values)))
    context.notify_times(b"hset", keys[0], len(keys))
    return replies_of_new(fields, new)


@command("hset", -4, "write denyoom fast", FIRST_KEY, batch=_hset_many)
def hset(context: Context, args: list[bytes]) -> Value:
    """Sets fields of a hash, made if there is none; returns how many are new."""
    return _put_pairs(context, args, "hset")


@command("hmset", -4, "write denyoom fast", FIRST_KEY)
def hmset(context: Context, args: list[bytes]) -> Value:
    """The old form of HSET, which only says OK."""
    _put_pairs(context, args, "hmset")
    return OK


def _put_pairs(context: Context, args: list[bytes], name: str) -> int:
    if len(args) % 2:
        raise wrong_arity(name)
    hash_ = context.keyspace.objects.find_or_make(args[1], Hash)
    if len(args) == 4:  # one field, as nearly always
        before = hash_.get(args[2])
        hash_.put(args[2], args[3], before)
        added = int(before is None)
    else:
        pairs = dict(zip(args[2::2], args[3::2], strict=True))
        longest_bytes = max(map(len, args[2:])) if 2 * len(pairs) < len(args) - 2 else 0  # a field was named twice
        added = len(hash_.put_many(pairs, longest_bytes))
    context.notify(b"hset", args[1])
    return added


@command("hsetnx", 4, "write denyoom fast", FIRST_KEY)
def hsetnx(context: Context, args: list[bytes]) -> Value:
    """Sets a field of a hash, made if there is none, unless the field exists."""
    hash_ = context.keyspace.objects.find_or_make(args[1], Hash)
    if hash_.get(args[2]) is not None:
        return ZERO
    hash_.put(args[2], args[3], None)
    context.notify(b"hset", args[1])
    return ONE


def _hincrby_many(
    context: Context, keys: tuple[bytes, ...], fields: tuple[bytes, ...], increments: tuple[bytes, ...]
) -> Sequence[bytes]:
    """Nothing of it is done if one of them fails."""
    hash_ = one_or_new(context, keys, Hash)
    if hash_ is None:
        return NONE_DONE
    steps = map({text: parse_int64(text) for text in set(increments)}.__getitem__, increments)
    unique = dict.fromkeys(fields)
    before = hash_.get_many(unique)
    texts = [b"0" if text is None else text for text in before]
    numbers = maybe_small(texts) or [parse_int64(text, _NO_INTEGER) for text in texts]
    if len(unique) == len(fields):
        totals = list(map(add, numbers, steps))
    else:
        totals = _running_totals(dict(zip(unique, numbers, strict=True)), fields, steps)
    if min(totals) < INT64_MIN or max(totals) > INT64_MAX:
        return NONE_DONE
    texts = texts_of(totals)
    hash_.replace_many(dict(zip(fields, texts, strict=True)), before, max(map(len, texts)))
    context.notify_times(b"hincrby", keys[0], len(keys))
    return replies_of_numbers(totals)


def _running_totals(sums: dict[bytes, int], fields: Iterable[bytes], steps: Iterable[int]) -> list[int]:
    totals = []
    for field, step in zip(fields, steps, strict=True):
        sums[field] = total = sums[field] + step
        totals.append(total)
    return totals


@command("hincrby", 4, "write denyoom fast", FIRST_KEY, batch=_hincrby_many)
def hincrby(context: Context, args: list[bytes]) -> Value:
    """Adds an integer to the one at a field; an absent field counts as 0."""
    increment = parse_int64(args[3])
    hash_ = context.keyspace.objects.find_or_make(args[1], Hash)
    text = hash_.get(args[2])
    total = increment if text is None else parse_int64(text, _NO_INTEGER) + increment
    if not INT64_MIN <= total <= INT64_MAX:
        raise CommandError("ERR increment or decrement would overflow")
    hash_.put(args[2], b"%d" % total, text)
    context.notify(b"hincrby", args[1])
    return total


@command("hincrbyfloat", 4, "write denyoom fast", FIRST_KEY)
def hincrbyfloat(context: Context, args: list[bytes]) -> Value:
    """Adds a decimal number to the one at a field, which stays text; an absent field counts as 0."""
    increment = args[3]
    if not long_double.is_number(increment):
        raise CommandError(NOT_A_FLOAT)
    if long_double.is_infinite(increment):
        raise CommandError("ERR value is NaN or Infinity")
    hash_ = context.keyspace.objects.find_or_make(args[1], Hash)
    text = hash_.get(args[2])
    try:
        total = long_double.add_texts(b"0" if text is None else text, increment)
    except ValueError:
        raise CommandError("ERR hash value is not a float") from None
    except OverflowError:
        raise CommandError("ERR increment would produce NaN or Infinity") from None
    hash_.put(args[2], total, text)
    context.notify(b"hincrbyfloat", args[1])
    return total


@command("hdel", -3, "write fast", FIRST_KEY)
def hdel(context: Context, args: list[bytes]) -> Value:
    """Deletes fields of a hash and returns how many there were; without fields the key is gone."""
    hash_ = context.keyspace.objects.find(args[1], Hash)
    if hash_ is None:
        return ZERO
    deleted = hash_.delete_many(args[2:])
    if deleted:
        context.notify(b"hdel", args[1])
        if not len(hash_):
            context.notify(b"del", args[1])
    return deleted


# Reads of named fields.


def _hget_many(context: Context, keys: tuple[bytes, ...], fields: tuple[bytes, ...]) -> Sequence[bytes]:
    hash_ = one_object(context, keys, Hash)
    replies = None if hash_ is None else bulks(context, hash_.get_many(fields))
    if replies is None:
        return NONE_DONE
    context.keyspace.hits += len(keys)
    return replies


@command("hget", 3, "readonly fast", FIRST_KEY, batch=_hget_many)
def hget(context: Context, args: list[bytes]) -> Value:
    """Returns the value of a field of a hash."""
    hash_ = look_up(context, args[1], Hash)
    return None if hash_ is None else hash_.get(args[2])


@command("hmget", -3, "readonly fast", FIRST_KEY)
def hmget(context: Context, args: list[bytes]) -> Value:
    """Returns the values of fields of a hash; null for a field that is absent."""
    hash_ = look_up(context, args[1], Hash)
    if hash_ is None:
        return [None] * (len(args) - 2)
    values = hash_.get_many(args[2:])
    # A field may be named many times: the reply is larger than what is in memory.
    size = sum(len(value) for value in values if value is not None)
    if size > context.services.config.largest_reply_bytes:
        raise too_large_reply(size, context.services.config.largest_reply_bytes)
    return values


@command("hexists", 3, "readonly fast", FIRST_KEY)
def hexists(context: Context, args: list[bytes]) -> Value:
    """Returns whether a hash has a field."""
    hash_ = look_up(context, args[1], Hash)
    return ZERO if hash_ is None or hash_.get(args[2]) is None else ONE


@command("hstrlen", 3, "readonly fast", FIRST_KEY)
def hstrlen(context: Context, args: list[bytes]) -> Value:
    """Returns the length of the value of a field of a hash."""
    hash_ = look_up(context, args[1], Hash)
    return 0 if hash_ is None else len(hash_.get(args[2]) or b"")


@command("hlen", 2, "readonly fast", FIRST_KEY)
def hlen(context: Context, args: list[bytes]) -> Value:
    """Returns the number of fields of a hash."""
    hash_ = look_up(context, args[1], Hash)
    return 0 if hash_ is None else len(hash_)


# Reads of all fields.


@command("hgetall", 2, "readonly", FIRST_KEY)
def hgetall(context: Context, args: list[bytes]) -> Value:
    """Returns all fields of a hash with their values."""
    hash_ = look_up(context, args[1], Hash)
    if hash_ is None:
        return {}
    return _all_pairs(context, hash_.pages()) if hash_.is_large else _items(context, hash_)


def _items(context: Context, hash_: Hash) -> dict[bytes, bytes]:
    """All pairs; LimitError for a few huge values, before all of them are read."""
    return hash_.items(context.services.config.largest_reply_bytes)


def _all_pairs(context: Context, pages: Iterable[dict[bytes, bytes]]) -> Slices:
    reply = growing(context)
    for page in pages:
        reply.add(list(_flat(page.items())))
        yield
    return reply.map(is_resp3=context.session.protocol == 3)


@command("hkeys", 2, "readonly", FIRST_KEY)
def hkeys(context: Context, args: list[bytes]) -> Value:
    """Returns all fields of a hash."""
    return _part_of_all(context, args[1], list)


@command("hvals", 2, "readonly", FIRST_KEY)
def hvals(context: Context, args: list[bytes]) -> Value:
    """Returns the values of all fields of a hash."""
    return _part_of_all(context, args[1], _values)


def _values(pairs: dict[bytes, bytes]) -> list[bytes]:
    return list(pairs.values())


_Part = Callable[[dict[bytes, bytes]], list[bytes]]


def _part_of_all(context: Context, key: bytes, part: _Part) -> Value:
    hash_ = look_up(context, key, Hash)
    if hash_ is None:
        return EMPTY_ARRAY
    if hash_.is_large:
        return all_in_slices(context, hash_.element_pages(), lambda pairs: part(dict(pairs)))
    return part(_items(context, hash_))


@command("hscan", -3, "readonly", FIRST_KEY)
def hscan(context: Context, args: list[bytes]) -> Value:
    """Returns some fields of a hash with their values, and the cursor to go on with; 0 at the end."""
    return scan_elements(context, args, Hash, _matching)


def _matching(pairs: _Pairs, matches: Callable[[bytes], bool]) -> list[bytes]:
    """Field, value, field, value …"""
    return [word for pair in pairs if matches(pair[0]) for word in pair]


@command("hrandfield", -2, "readonly", FIRST_KEY)
def hrandfield(context: Context, args: list[bytes]) -> Value:
    """Returns fields of a hash at random: different ones, or with a negative count each drawn from all."""
    if len(args) == 2:
        return one_at_random(context, args[1], Hash, itemgetter(0))
    count, has_values = _count_of_random(args)
    shown = _fields if not has_values else _pairs if context.session.protocol == 3 else _words
    return several_at_random(context, args[1], Hash, count, shown)


def _count_of_random(args: list[bytes]) -> tuple[int, bool]:
    """The count, and whether WITHVALUES follows; the errors in Redis's order."""
    count = parse_random_count(args[2])
    if len(args) == 3:
        return count, False
    if len(args) > 4 or args[3].upper() != b"WITHVALUES":
        raise syntax_error()
    if abs(count) > INT64_MAX // 2:
        raise CommandError("ERR value is out of range")
    return count, True


def _fields(pairs: _Pairs) -> list[Value]:
    return [field for field, _ in pairs]


def _pairs(pairs: _Pairs) -> list[Value]:
    """WITHVALUES in RESP3."""
    return list(pairs)


def _words(pairs: _Pairs) -> list[Value]:
    """WITHVALUES in RESP2: one after the other."""
    return list(_flat(pairs))
