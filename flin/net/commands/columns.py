"""What the batch forms of commands over collections share (command.py: `Batch`): a pipeline over one collection.

Requests come as columns (wire/columns.py). A batch form is for those that all name one key, as redis-benchmark's and
most clients' do: the object is found once, and loops in C go over the elements. Any others run one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeVar, cast

from flin.net.data.reply_cache import MAX_CACHED_BYTES
from flin.objects.live_object import LiveObject

if TYPE_CHECKING:
    from flin.net.run.context import Context

NONE_DONE: Final[tuple[bytes, ...]] = ()
"""The requests run one by one."""

_ZERO: Final = b":0\r\n"
_ONE: Final = b":1\r\n"

Kind = TypeVar("Kind", bound=LiveObject)


def one_object(context: Context, keys: Sequence[bytes], kind: type[Kind]) -> Kind | None:
    """The object that all of these keys name; None: they name several, or there is none. It raises what `find` does."""
    key = keys[0]
    return context.keyspace.objects.find(key, kind) if keys.count(key) == len(keys) else None


def one_or_new(context: Context, keys: Sequence[bytes], kind: type[Kind]) -> Kind | None:
    """`one_object` for writes, with `find_or_make`. Also None if a client waits for a key: it must see each write."""
    key = keys[0]
    if context.services.waiters.number or keys.count(key) < len(keys):
        return None
    return context.keyspace.objects.find_or_make(key, kind)


def replies_of_new(elements: Sequence[bytes], new: Sequence[bytes]) -> list[bytes]:
    """The reply of each request that put an element: 1 for the first that puts one of the new ones."""
    if not new:
        return [_ZERO] * len(elements)
    if len(new) == len(elements):
        return [_ONE] * len(elements)
    left = set(new)
    replies = []
    for element in elements:
        replies.append(_ONE if element in left else _ZERO)
        left.discard(element)
    return replies


def replies_of_held(held: Sequence[bool]) -> list[bytes]:
    return list(map((_ZERO, _ONE).__getitem__, held))


def replies_of_numbers(numbers: Sequence[int]) -> list[bytes]:
    """A reply of each number."""
    return (b":%d\r\n" * len(numbers) % tuple(numbers)).splitlines(keepends=True)


def bulks(context: Context, values: Sequence[bytes | None]) -> list[bytes] | None:
    """A reply of each value. None if one is long: `run` counts those."""
    lengths = {-1 if value is None else len(value) for value in values}
    if max(lengths) > MAX_CACHED_BYTES:
        return None
    if None not in values:
        return bulk_of_each(cast("Sequence[bytes]", values))
    null = context.session.encode(None)
    return [null if value is None else b"$%d\r\n%b\r\n" % (len(value), value) for value in values]


def bulk_of_each(values: Sequence[bytes]) -> list[bytes]:
    length = len(values[0])
    if all(map(length.__eq__, map(len, values))):
        return list(map((b"$%d\r\n%%b\r\n" % length).__mod__, values))
    return [b"$%d\r\n%b\r\n" % (len(value), value) for value in values]
