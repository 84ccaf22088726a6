"""Commands over hashes: HSET, HGET and their kin. A hash is never empty: who takes its last field deletes the key.

Fields come in no promised order. Replies about a large hash are made in slices, of the state at their beginning.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command.command import FIRST_KEY
from flin.net.command.registry import command
from flin.net.commands.scan import END, ScanOptions, parse_cursor, scan_options
from flin.net.wire import long_double
from flin.net.wire.growing_reply import GrowingReply
from flin.net.wire.numbers import INT64_MAX, INT64_MIN, parse_int64
from flin.net.wire.replies import (
    EMPTY_ARRAY,
    EMPTY_BULK,
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
from flin.objects.layout import elements_namespace

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "hash"

SLICE_FIELDS: Final = 256
"""Fields that are drawn or scanned in one slice."""

SLICE_RANKS: Final = 16
"""Fields that are found by their ranks in one slice: some 200 microseconds for each, so others wait 3 ms."""

_flat: Final = chain.from_iterable


def _look_up(context: Context, key: bytes) -> Hash | None:
    """The hash of a command that shows it: INFO counts whether it was there. WRONGTYPE for another type."""
    keyspace = context.keyspace
    found = keyspace.objects.find(key, Hash)
    if found is None:
        keyspace.misses += 1
    else:
        keyspace.hits += 1
    return found


# Writes. Each reads all it needs before its first change.


@command("hset", -4, "write denyoom fast", FIRST_KEY)
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
        added = hash_.put_many(pairs, longest_bytes)
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


@command("hincrby", 4, "write denyoom fast", FIRST_KEY)
def hincrby(context: Context, args: list[bytes]) -> Value:
    """Adds an integer to the one at a field; an absent field counts as 0."""
    increment = parse_int64(args[3])
    hash_ = context.keyspace.objects.find_or_make(args[1], Hash)
    text = hash_.get(args[2])
    total = increment if text is None else parse_int64(text, "ERR hash value is not an integer") + increment
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


@command("hget", 3, "readonly fast", FIRST_KEY)
def hget(context: Context, args: list[bytes]) -> Value:
    """Returns the value of a field of a hash."""
    hash_ = _look_up(context, args[1])
    return None if hash_ is None else hash_.get(args[2])


@command("hmget", -3, "readonly fast", FIRST_KEY)
def hmget(context: Context, args: list[bytes]) -> Value:
    """Returns the values of fields of a hash; null for a field that is absent."""
    hash_ = _look_up(context, args[1])
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
    hash_ = _look_up(context, args[1])
    return ZERO if hash_ is None or hash_.get(args[2]) is None else ONE


@command("hstrlen", 3, "readonly fast", FIRST_KEY)
def hstrlen(context: Context, args: list[bytes]) -> Value:
    """Returns the length of the value of a field of a hash."""
    hash_ = _look_up(context, args[1])
    return 0 if hash_ is None else len(hash_.get(args[2]) or b"")


@command("hlen", 2, "readonly fast", FIRST_KEY)
def hlen(context: Context, args: list[bytes]) -> Value:
    """Returns the number of fields of a hash."""
    hash_ = _look_up(context, args[1])
    return 0 if hash_ is None else len(hash_)


# Reads of all fields.


@command("hgetall", 2, "readonly", FIRST_KEY)
def hgetall(context: Context, args: list[bytes]) -> Value:
    """Returns all fields of a hash with their values."""
    hash_ = _look_up(context, args[1])
    if hash_ is None:
        return {}
    return _all_pairs(context, hash_.pages()) if hash_.is_large else hash_.items()


def _all_pairs(context: Context, pages: Iterable[dict[bytes, bytes]]) -> Slices:
    reply = _growing(context)
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
    hash_ = _look_up(context, key)
    if hash_ is None:
        return EMPTY_ARRAY
    return _all_parts(context, hash_.pages(), part) if hash_.is_large else part(hash_.items())


def _all_parts(context: Context, pages: Iterable[dict[bytes, bytes]], part: _Part) -> Slices:
    reply = _growing(context)
    for page in pages:
        reply.add(part(page))
        yield
    return reply.array()


def _growing(context: Context) -> GrowingReply:
    return GrowingReply(context.session.encode, context.services.config.largest_reply_bytes)


# HSCAN. A packed hash is returned whole. The cursor of a spread one stands for its key and the last field.


@command("hscan", -3, "readonly", FIRST_KEY)
def hscan(context: Context, args: list[bytes]) -> Value:
    """Returns some fields of a hash with their values, and the cursor to go on with; 0 at the end."""
    cursor = parse_cursor(args[2])
    hash_ = _look_up(context, args[1])
    if hash_ is None:
        return [END, []]  # whatever the options are: as in Redis
    options = scan_options(args, 3, has_type=False)
    if hash_.is_packed:
        return [END, _matching(hash_.items(), options)]
    return _scan_spread(context, args[1], cursor, options)


def _scan_spread(context: Context, key: bytes, cursor: int, options: ScanOptions) -> Slices:
    """In a slice the hash is looked up anew: others may have changed or deleted it."""
    cursors, namespace = context.services.cursors, elements_namespace(context.keyspace.namespace)
    head = b"%d:%b" % (len(key), key)
    position = cursors.find(cursor, namespace) if cursor else None
    after = position[len(head) :] if position is not None and position.startswith(head) else None
    reply = _growing(context)
    left = options.count
    most_fields = max(1, SLICE_FIELDS // (1 + options.glob.searched))  # a costly pattern is matched in shorter slices
    while (hash_ := context.keyspace.objects.find(key, Hash)) is not None:
        if hash_.is_packed:
            reply.add(_matching(hash_.items(), options))
            break
        pairs, after = hash_.scan(after, min(left, most_fields))
        reply.add(_matching(pairs, options))
        if after is None:
            break
        left -= len(pairs)
        if left <= 0:
            return [b"%d" % cursors.save(namespace, head + after, cursor), reply.array()]
        yield
    return [END, reply.array()]


def _matching(pairs: dict[bytes, bytes], options: ScanOptions) -> list[bytes]:
    """Field, value, field, value …"""
    matches = options.glob.matches
    return [word for pair in pairs.items() if matches(pair[0]) for word in pair]


# HRANDFIELD. Each field is equally likely, each choice of several fields too.


@command("hrandfield", -2, "readonly", FIRST_KEY)
def hrandfield(context: Context, args: list[bytes]) -> Value:
    """Returns fields of a hash at random: different ones, or with a negative count each drawn from all."""
    if len(args) == 2:
        hash_ = _look_up(context, args[1])
        return None if hash_ is None else hash_.field_at(random.randrange(len(hash_)))[0]
    count, has_values = _count_of_random(args)
    hash_ = _look_up(context, args[1])
    if hash_ is None or not count:
        return EMPTY_ARRAY
    if count < 0:
        return _draw(context, args[1], -count, has_values)
    return _choose(context, hash_, count, has_values)


def _count_of_random(args: list[bytes]) -> tuple[int, bool]:
    """The count, and whether WITHVALUES follows; the errors in Redis's order."""
    count = parse_int64(args[2])
    if count == INT64_MIN:
        raise CommandError(f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}")
    if len(args) == 3:
        return count, False
    if len(args) > 4 or args[3].upper() != b"WITHVALUES":
        raise syntax_error()
    if abs(count) > INT64_MAX // 2:
        raise CommandError("ERR value is out of range")
    return count, True


def _choose(context: Context, hash_: Hash, count: int, has_values: bool) -> Value:
    """That many different fields, or all: by their ranks where they are few among many."""
    number = len(hash_)
    if count < number and count <= SLICE_RANKS and not hash_.is_whole:
        return _shown(context, [hash_.field_at(rank) for rank in random.sample(range(number), count)], has_values)
    if hash_.is_large:
        return _choose_in_slices(context, hash_.pages(), min(count, number), number, has_values)
    pairs = list(hash_.items().items())
    return _shown(context, pairs if count >= number else random.sample(pairs, count), has_values)


def _choose_in_slices(
    context: Context, pages: Iterator[dict[bytes, bytes]], count: int, number: int, has_values: bool
) -> Slices:
    """Walk over all fields and take each with the probability that is right for those still wanted: Knuth's algorithm
    S (The Art of Computer Programming, 3.4.2)."""
    reply = _growing(context)
    for page in pages:
        chosen = []
        for pair in page.items():
            if random.random() * number < count:
                chosen.append(pair)
                count -= 1
            number -= 1
        reply.add(_shown(context, chosen, has_values))
        yield
    return reply.array()


def _draw(context: Context, key: bytes, count: int, has_values: bool) -> Slices:
    """Draw a field from all, that many times. Others may change the hash between slices: then from the fields it has
    then, and if it is deleted, that is the end."""
    least_bytes, most_bytes = count * len(EMPTY_BULK.data), context.services.config.largest_reply_bytes
    if least_bytes > most_bytes:
        raise too_large_reply(least_bytes, most_bytes)
    reply = _growing(context)
    while count and (hash_ := context.keyspace.objects.find(key, Hash)) is not None:
        if hash_.is_whole or (count > SLICE_RANKS and not hash_.is_large):
            slice_ = min(count, SLICE_FIELDS)
            pairs = random.choices(list(hash_.items().items()), k=slice_)
        else:
            slice_ = min(count, SLICE_RANKS)
            pairs = [hash_.field_at(random.randrange(len(hash_))) for _ in range(slice_)]
        reply.add(_shown(context, pairs, has_values))
        count -= slice_
        if count:
            yield
    return reply.array()


def _shown(context: Context, pairs: Sequence[tuple[bytes, bytes]], has_values: bool) -> list[Value]:
    """Fields alone, or with their values: pairs in RESP3, one after the other in RESP2."""
    if not has_values:
        return [field for field, _ in pairs]
    return list(pairs) if context.session.protocol == 3 else list(_flat(pairs))
