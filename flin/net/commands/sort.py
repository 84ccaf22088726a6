"""SORT and SORT_RO: the elements of a list, set or sorted set in another order, or values of keys that they name.

All of it is one step, as in Redis. Where many keys are named, they are read in slices before, so that the step finds
them in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from flin.engine.table.cold_read import ColdRead
from flin.errors import CommandError
from flin.net.command.arguments import option_name
from flin.net.command.command import FIRST_KEY, Keys
from flin.net.command.registry import command
from flin.net.commands.keys import tag_of
from flin.net.data.many_keys import find_many
from flin.net.data.text import string_or_none
from flin.net.run.permission import may_read_every_key
from flin.net.wire.double import maybe_double
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import OUT_OF_MEMORY, WRONG_TYPE, Slices, syntax_error, too_large_reply
from flin.objects.hash import Hash
from flin.objects.kinds import KINDS
from flin.objects.layout import HASH, LIST, SET, SORTED_SET
from flin.objects.list import List
from flin.objects.set import Set
from flin.objects.sorted_set import SortedSet, member_at
from flin.rdb.primitives import ELEMENT_BYTES

if TYPE_CHECKING:
    from flin.net.data.keyspace import Keyspace
    from flin.net.run.context import Context

GROUP: Final = "generic"

_CATEGORIES: Final = "set sortedset list dangerous"
_SORTED: Final = (LIST, SET, SORTED_SET)
_NO_DOUBLE: Final = "ERR One or more scores can't be converted into double"
_ITSELF: Final = b"#"
_BULK_BYTES: Final = 6


@dataclass(slots=True)
class _Options:
    by: bytes | None = None
    is_sorted: bool = True
    """False: BY named no key."""
    start: int = 0
    count: int = -1
    get: list[bytes] = field(default_factory=list)
    is_descending: bool = False
    is_text: bool = False  # ALPHA
    store: bytes | None = None

    def bounds(self, count: int) -> tuple[int, int]:
        """The ranks that LIMIT selects of so many elements: from the first to below the second."""
        start = min(max(self.start, 0), count)
        return start, count if self.count < 0 else min(start + self.count, count)


def _sort_keys(args: list[bytes]) -> list[int]:
    """The key and the last STORE's: those that BY and GET name depend on the elements."""
    found = [1]
    position = 2
    while position < len(args):
        name = option_name(args[position])
        if name == b"STORE" and position + 1 < len(args):
            position += 1
            found[1:] = [position]
        else:
            position += {b"LIMIT": 2, b"GET": 1, b"BY": 1}.get(name, 0)
        position += 1
    return found


@command("sort", -2, "write denyoom movablekeys", Keys(1, 1, 1, _sort_keys), categories=_CATEGORIES)
def sort(context: Context, args: list[bytes]) -> Slices:
    """Returns the elements of a list, set or sorted set in order, or what they name, or stores that as a list."""
    return _sort(context, args[1], _parse_options(context, args, may_store=True))


@command("sort_ro", -2, "readonly movablekeys shows_more", FIRST_KEY, categories=_CATEGORIES)
def sort_ro(context: Context, args: list[bytes]) -> Slices:
    """Returns the elements of a list, set or sorted set in order, or what they name."""
    return _sort(context, args[1], _parse_options(context, args, may_store=False))


def _parse_options(context: Context, args: list[bytes], *, may_store: bool) -> _Options:
    options = _Options()
    in_cluster = context.services.slot_gate is not None
    is_trusted = context.session.user.is_unrestricted or may_read_every_key(context, args)
    position = 2
    while position < len(args):
        name, left = option_name(args[position]), len(args) - position - 1
        if name in (b"ASC", b"DESC"):
            options.is_descending = name == b"DESC"
        elif name == b"ALPHA":
            options.is_text = True
        elif name == b"LIMIT" and left >= 2:
            options.start, options.count = parse_int64(args[position + 1]), parse_int64(args[position + 2])
            position += 2
        elif name == b"STORE" and left >= 1 and may_store:
            position += 1
            options.store = args[position]
        elif name == b"BY" and left >= 1:
            position += 1
            options.by = args[position]
            options.is_sorted = options.is_sorted and b"*" in options.by
            if b"*" in options.by:
                _check_pattern("BY", in_cluster=in_cluster, is_trusted=is_trusted)
        elif name == b"GET" and left >= 1:
            position += 1
            options.get.append(args[position])
            _check_pattern("GET", in_cluster=in_cluster, is_trusted=is_trusted)
        else:
            raise syntax_error()
        position += 1
    return options


def _check_pattern(option: str, *, in_cluster: bool, is_trusted: bool) -> None:
    """Nobody knows beforehand which keys it reads: they may be elsewhere in a cluster, and the user must be allowed to
    read every one."""
    if in_cluster:
        raise CommandError(f"ERR {option} option of SORT denied in Cluster mode.")
    if not is_trusted:
        raise CommandError(f"ERR {option} option of SORT denied due to insufficient ACL permissions.")


def _sort(context: Context, key: bytes, options: _Options) -> Slices:
    by = None if options.by is None else _Pattern(options.by)
    gets = list(map(_Pattern, options.get))
    try:
        return _finish(context, key, options, by, gets)
    except ColdRead:
        if context.keyspace.is_in_transaction:
            raise
    if by is not None and by.names_keys:
        yield from find_many(context.keyspace, list(map(by.key, _elements(context, key, options))))
    elements = _selected(context, key, options, by)
    yield from find_many(context.keyspace, [get.key(element) for element in elements for get in gets if get.names_keys])
    return _finish(context, key, options, by, gets)


def _finish(
    context: Context, key: bytes, options: _Options, by: _Pattern | None, gets: list[_Pattern]
) -> list[bytes | None] | int:
    """The one step."""
    elements = _selected(context, key, options, by)
    shown: Iterable[bytes | None] = elements
    if gets:
        shown = (get.value(context.keyspace, element) for element in elements for get in gets)
    if options.store is None:
        most_bytes = context.services.config.largest_reply_bytes
        return _collected(shown, _BULK_BYTES, most_bytes, lambda size: too_large_reply(size, most_bytes))
    most_bytes = context.services.config.options.memory_limit // 4
    stored = _collected(shown, ELEMENT_BYTES, most_bytes, lambda _: CommandError(OUT_OF_MEMORY))
    return _store(context, options.store, [value or b"" for value in stored])


def _collected(
    shown: Iterable[bytes | None], each_bytes: int, most_bytes: int, refusal: Callable[[int], Exception]
) -> list[bytes | None]:
    """All of them, unless they take more memory than that."""
    found = []
    size = 0
    for value in shown:
        size += each_bytes if value is None else each_bytes + len(value)
        if size > most_bytes:
            raise refusal(size)
        found.append(value)
    return found


def _store(context: Context, key: bytes, values: list[bytes]) -> int:
    """Put a list in the place of whatever is at the key; if it would be empty, delete it."""
    keyspace = context.keyspace
    replaced = keyspace.entry(key)
    if replaced is not None:
        keyspace.note_gone(replaced)
    if values:
        List(keyspace.objects, key).push_right(values)
        context.notify(b"sortstore", key)
    elif replaced is not None:
        keyspace.delete(key)
        context.notify(b"del", key)
    return len(values)


# The elements.


def _elements(context: Context, key: bytes, options: _Options) -> list[bytes]:
    """Those to be sorted; or, if their own order is wanted, those that LIMIT selects. CommandError OOM if they are too
    many to be held together."""
    keyspace = context.keyspace
    entry = keyspace.look_up(key)
    if entry is None:
        return []
    tag = tag_of(entry)
    if tag not in _SORTED:
        raise CommandError(WRONG_TYPE)
    found = keyspace.objects.find(key, KINDS[tag])
    assert found is not None
    start, stop = (0, len(found)) if options.is_sorted else options.bounds(len(found))
    if (stop - start) * ELEMENT_BYTES > context.services.config.options.memory_limit // 4:
        raise CommandError(OUT_OF_MEMORY)
    if isinstance(found, Set):
        return found.elements()[start:stop]
    if isinstance(found, SortedSet):
        if options.is_sorted:
            return [member for member, _ in found.elements()]
        places = found.order.from_rank(start, stop - start, reverse=options.is_descending)
        return list(map(member_at, places))
    backwards = options.is_descending and not options.is_sorted
    if isinstance(found, SortedSet):
        return list(map(member_at, found.order.from_rank(start, stop - start, reverse=backwards)))
    if backwards:
        start, stop = len(found) - stop, len(found) - start
    assert isinstance(found, List)
    elements = found.between(start, stop)
    return elements[::-1] if backwards else elements


def _selected(context: Context, key: bytes, options: _Options, by: _Pattern | None) -> list[bytes]:
    """The elements in the order of the reply."""
    keyspace = context.keyspace
    if options.store is not None and not options.is_sorted:
        entry = keyspace.entry(key)
        if entry is not None and tag_of(entry) == SET:  # it has no order of its own, but what is stored has one
            options, by = replace(options, is_sorted=True, is_text=True), None
    elements = _elements(context, key, options)
    if not options.is_sorted:
        return elements
    weights: list[bytes | None] = [*elements]
    if by is not None:
        most_bytes = context.services.config.options.memory_limit // 4
        found = (by.value(keyspace, element) for element in elements)
        weights = _collected(found, ELEMENT_BYTES, most_bytes, lambda _: CommandError(OUT_OF_MEMORY))
    start, stop = options.bounds(len(elements))
    if options.is_text:  # what has no weight comes first, and stays among its like as it was
        order: list[Any] = [(weight is not None, weight or b"") for weight in weights]
    else:
        order = list(zip(map(_number, weights), elements, strict=True))
    ranks = sorted(range(len(elements)), key=order.__getitem__, reverse=options.is_descending)
    return [elements[rank] for rank in ranks[start:stop]]


def _number(weight: bytes | None) -> float:
    number = 0.0 if weight is None else maybe_double(weight)
    if number is None:
        raise CommandError(_NO_DOUBLE)
    return number


# What BY and GET name.


class _Pattern:
    """`weight_*`: the string at the key with the element in place of the star. `user:*->age`: a field of the hash
    there. `#`: the element itself."""

    def __init__(self, text: bytes) -> None:
        self.is_element = text == _ITSELF
        self._prefix, star, rest = text.partition(b"*")
        self.names_keys = bool(star)
        suffix, arrow, name = rest.partition(b"->")
        self._suffix = suffix if arrow and name else rest
        self._field = name if arrow else b""  # empty: the string at the key

    def key(self, element: bytes) -> bytes:
        """The key that is asked for, if it names keys."""
        return self._prefix + element + self._suffix

    def value(self, keyspace: Keyspace, element: bytes) -> bytes | None:
        if self.is_element:
            return element
        if not self.names_keys:
            return None
        key = self.key(element)
        entry = keyspace.look_up(key)
        if entry is None:
            return None
        if not self._field:
            return string_or_none(keyspace, key, entry)
        if tag_of(entry) != HASH:
            return None
        found = keyspace.objects.find(key, Hash)
        return None if found is None else found.get(self._field)
