"""Numbers kept as decimal text: INCR and its kin. They keep the key's expiry.

Integers have 64 bits. INCRBYFLOAT computes as Redis does, with x86's 80-bit numbers (long_double.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flin.engine.entry import make_entry
from flin.errors import CommandError
from flin.net import long_double
from flin.net.commands.strings import string_at
from flin.net.commands.table import FIRST_KEY, Flag, command
from flin.net.numbers import INT64_MAX, INT64_MIN, parse_int64
from flin.net.replies import NOT_A_FLOAT, Value

if TYPE_CHECKING:
    from flin.net.context import Context


@command(
    "incr",
    arity=2,
    flags=Flag.WRITE | Flag.DENYOOM | Flag.FAST,
    keys=FIRST_KEY,
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Adds one to the integer at a key; an absent key counts as 0.",
)
def incr(context: Context, args: list[bytes]) -> Value:
    return _add(context, args[1], 1)


@command(
    "decr",
    arity=2,
    flags=Flag.WRITE | Flag.DENYOOM | Flag.FAST,
    keys=FIRST_KEY,
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Takes one from the integer at a key; an absent key counts as 0.",
)
def decr(context: Context, args: list[bytes]) -> Value:
    return _add(context, args[1], -1)


@command(
    "incrby",
    arity=3,
    flags=Flag.WRITE | Flag.DENYOOM | Flag.FAST,
    keys=FIRST_KEY,
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Adds an integer to the one at a key; an absent key counts as 0.",
)
def incrby(context: Context, args: list[bytes]) -> Value:
    return _add(context, args[1], parse_int64(args[2]))


@command(
    "decrby",
    arity=3,
    flags=Flag.WRITE | Flag.DENYOOM | Flag.FAST,
    keys=FIRST_KEY,
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Takes an integer from the one at a key; an absent key counts as 0.",
)
def decrby(context: Context, args: list[bytes]) -> Value:
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


@command(
    "incrbyfloat",
    arity=3,
    flags=Flag.WRITE | Flag.DENYOOM | Flag.FAST,
    keys=FIRST_KEY,
    group="string",
    since="2.6.0",
    complexity="O(1)",
    summary="Adds a decimal number to the one at a key; an absent key counts as 0.",
)
def incrbyfloat(context: Context, args: list[bytes]) -> Value:
    value, expires_at_ms = string_at(context.keyspace, args[1])
    try:
        text = long_double.add_texts(b"0" if value is None else value, args[2])
    except ValueError:
        raise CommandError(NOT_A_FLOAT) from None
    except OverflowError:
        raise CommandError("ERR increment would produce NaN or Infinity") from None
    context.keyspace.put(args[1], make_entry(text, expires_at_ms))
    return text
