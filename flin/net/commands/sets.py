"""Commands over sets: SADD, SINTER and their kin. A set is never empty: who takes its last member deletes the key.

Members come in no promised order. SMEMBERS of a large set is made in slices, of the state at its beginning. What
large sets have together is read in slices, too, but stored in one step, as in Redis; a result that takes too much
memory is refused before anything changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import chain
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command.arguments import keys_after_number, option_name, parse_count, parse_limit, parse_number_of_keys
from flin.net.command.command import ALL_KEYS, FIRST_KEY, FIRST_TWO_KEYS
from flin.net.command.registry import command
from flin.net.commands.columns import NONE_DONE, one_object, one_or_new, replies_of_held, replies_of_new
from flin.net.commands.elements import (
    are_found_by_rank,
    different_elements,
    growing,
    look_up,
    one_at_random,
    parse_random_count,
    random_element,
    ranked_first,
    scan_elements,
    several_at_random,
)
from flin.net.wire.replies import (
    ONE,
    OUT_OF_MEMORY,
    ZERO,
    Slices,
    Value,
    last_of,
    syntax_error,
    too_large_reply,
)
from flin.objects import limits
from flin.objects.set import MEMBER_BYTES, Set, is_large

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "set"

_BULK_BYTES: Final = 6
"""What a bulk has beside its bytes, at least."""

_MOVED: Final = 5
"""SPOP with a count of at least so many times what stays: what stays becomes a new set, as in Redis."""


def _set_of(context: Context, members: Sequence[bytes]) -> Value:
    """A set in RESP3."""
    return set(members) if context.session.protocol == 3 else members


# One set.


def _sadd_many(context: Context, keys: tuple[bytes, ...], members: tuple[bytes, ...]) -> Sequence[bytes]:
    found = one_or_new(context, keys, Set)
    if found is None:
        return NONE_DONE
    new = found.absent(members)
    if new:
        found.add_absent(new)
        context.notify_times(b"sadd", keys[0], len(new))
    return replies_of_new(members, new)


@command("sadd", -3, "write denyoom fast", FIRST_KEY, batch=_sadd_many)
def sadd(context: Context, args: list[bytes]) -> Value:
    """Adds members to a set, made if there is none; returns how many are new."""
    found = context.keyspace.objects.find_or_make(args[1], Set)
    if len(args) == 3:  # one member, as nearly always
        if args[2] in found:
            return 0
        new = args[2:]
    else:
        new = found.absent(args[2:])
        if not new:
            return 0
    found.add_absent(new)
    context.notify(b"sadd", args[1])
    return len(new)


@command("srem", -3, "write fast", FIRST_KEY)
def srem(context: Context, args: list[bytes]) -> Value:
    """Takes members out of a set and returns how many there were; without members the key is gone."""
    found = context.keyspace.objects.find(args[1], Set)
    gone = [] if found is None else found.present(args[2:])
    if found is not None and gone:
        _take_out(context, args[1], found, gone, b"srem")
    return len(gone)


def _take_out(context: Context, key: bytes, found: Set, gone: list[bytes], event: bytes) -> None:
    found.remove_present(gone)
    context.notify(event, key)
    if not len(found):
        context.notify(b"del", key)


@command("smove", 4, "write fast", FIRST_TWO_KEYS)
def smove(context: Context, args: list[bytes]) -> Value:
    """Moves a member from one set to another, made if there is none; returns whether it was there."""
    objects, member = context.keyspace.objects, args[3]
    source = objects.find(args[1], Set)
    if source is None:
        return ZERO
    destination = objects.find_or_make(args[2], Set)
    if member not in source:
        return ZERO
    if args[1] == args[2]:
        return ONE
    is_new = member not in destination
    _take_out(context, args[1], source, [member], b"srem")
    if is_new:
        destination.add_absent([member])
        context.notify(b"sadd", args[2])
    return ONE


@command("scard", 2, "readonly fast", FIRST_KEY)
def scard(context: Context, args: list[bytes]) -> Value:
    """Returns the number of members of a set."""
    found = look_up(context, args[1], Set)
    return 0 if found is None else len(found)


def _sismember_many(context: Context, keys: tuple[bytes, ...], members: tuple[bytes, ...]) -> Sequence[bytes]:
    found = one_object(context, keys, Set)
    if found is None:
        return NONE_DONE
    replies = replies_of_held(found.hold(members))
    context.keyspace.hits += len(keys)
    return replies


@command("sismember", 3, "readonly fast", FIRST_KEY, batch=_sismember_many)
def sismember(context: Context, args: list[bytes]) -> Value:
    """Returns whether a set has a member."""
    found = look_up(context, args[1], Set)
    return ONE if found is not None and args[2] in found else ZERO


@command("smismember", -3, "readonly fast", FIRST_KEY)
def smismember(context: Context, args: list[bytes]) -> Value:
    """Returns for each member whether a set has it."""
    found = look_up(context, args[1], Set)
    return [0 if found is None else int(member in found) for member in args[2:]]


@command("smembers", 2, "readonly", FIRST_KEY)
def smembers(context: Context, args: list[bytes]) -> Value:
    """Returns all members of a set."""
    found = look_up(context, args[1], Set)
    if found is None:
        return _set_of(context, [])
    return _all_members(context, found.element_pages()) if found.is_large else _set_of(context, found.elements())


def _all_members(context: Context, pages: Iterator[list[bytes]]) -> Slices:
    reply = growing(context)
    for page in pages:
        reply.add(page)
        yield
    return reply.set(is_resp3=context.session.protocol == 3)


@command("sscan", -3, "readonly", FIRST_KEY)
def sscan(context: Context, args: list[bytes]) -> Value:
    """Returns some members of a set, and the cursor to go on with; 0 at the end."""
    return scan_elements(context, args, Set, _matching)


def _matching(members: list[bytes], matches: Callable[[bytes], bool]) -> list[bytes]:
    return list(filter(matches, members))


# At random.


@command("srandmember", -2, "readonly", FIRST_KEY)
def srandmember(context: Context, args: list[bytes]) -> Value:
    """Returns members of a set at random: different ones, or with a negative count each drawn from all."""
    if len(args) > 3:
        raise syntax_error()
    if len(args) == 2:
        return one_at_random(context, args[1], Set, bytes)
    return several_at_random(context, args[1], Set, parse_random_count(args[2]), list)


@command("spop", -2, "write fast counted", FIRST_KEY)
def spop(context: Context, args: list[bytes]) -> Value:
    """Takes members out of a set at random and returns them; without members the key is gone."""
    if len(args) > 3:
        raise syntax_error()
    count = parse_count(args[2]) if len(args) == 3 else None

    def popped(found: Set | None) -> Value:
        if count is not None:
            return _set_of(context, _pop_many(context, args[1], count))
        if found is None:
            return None
        member: bytes = random_element(found)
        _take_out(context, args[1], found, [member], b"spop")
        return member

    found = context.keyspace.objects.find(args[1], Set)
    if found is not None and not found.is_ranked and (count is None or (count and are_found_by_rank(found, count))):
        return ranked_first(context, args[1], Set, popped)
    return popped(found)


def _pop_many(context: Context, key: bytes, count: int) -> list[bytes]:
    found = context.keyspace.objects.find(key, Set)
    if found is None or not count:
        return []
    left = max(0, len(found) - count)
    held = count if left * _MOVED > count else len(found)
    if held * MEMBER_BYTES > context.services.config.options.memory_limit // 4:
        raise CommandError(OUT_OF_MEMORY)
    if left * _MOVED > count:
        gone = _of_a_reply(context, [different_elements(found, count)])
        _take_out(context, key, found, gone, b"spop")
        return gone
    gone = _of_a_reply(context, [found.elements()])
    stay = different_elements(found, left) if left else []
    if stay:
        gone = list(dict.fromkeys(gone).keys() - set(stay))
    context.notify(b"spop", key)
    if stay:
        _make(context, key, stay, found.expires_at_ms)
    else:
        context.keyspace.delete(key)
        context.notify(b"del", key)
    return gone


def _make(
    context: Context, key: bytes, members: list[bytes], expires_at_ms: int = 0, *, was_large: bool = False
) -> None:
    """A set in the place of whatever is at the key. Nothing is read."""
    made = Set(context.keyspace.objects, key)
    made.expires_at_ms = expires_at_ms
    made.was_large = was_large
    made.add_absent(members)


# Several sets. All of them are looked up first: a wrong type is an error even behind an empty one.


@command("sunion", -2, "readonly", ALL_KEYS)
def sunion(context: Context, args: list[bytes]) -> Value:
    """Returns the members of all sets together."""
    return _read_several(context, args[1:], _union)


@command("sinter", -2, "readonly", ALL_KEYS)
def sinter(context: Context, args: list[bytes]) -> Value:
    """Returns the members that all sets have."""
    return _read_several(context, args[1:], _intersection)


@command("sdiff", -2, "readonly", ALL_KEYS)
def sdiff(context: Context, args: list[bytes]) -> Value:
    """Returns the members of the first set that no other set has."""
    return _read_several(context, args[1:], _difference)


@command("sunionstore", -3, "write denyoom", ALL_KEYS)
def sunionstore(context: Context, args: list[bytes]) -> Value:
    """Stores the members of all sets together in a set; returns how many they are."""
    return _store(context, args[1], _union(_sets(context, args[2:])), b"sunionstore")


@command("sinterstore", -3, "write denyoom", ALL_KEYS)
def sinterstore(context: Context, args: list[bytes]) -> Value:
    """Stores the members that all sets have in a set; returns how many they are."""
    return _store(context, args[1], _intersection(_sets(context, args[2:])), b"sinterstore")


@command("sdiffstore", -3, "write denyoom", ALL_KEYS)
def sdiffstore(context: Context, args: list[bytes]) -> Value:
    """Stores the members of the first set that no other set has in a set; returns how many they are."""
    sets = _sets(context, args[2:])
    return _store(context, args[1], _difference(sets), b"sdiffstore", was_large=_was_copied_large(context, sets))


@command("sintercard", -3, "readonly movablekeys", keys_after_number(1))
def sintercard(context: Context, args: list[bytes]) -> Value:
    """Returns the number of members that all sets have; with LIMIT it stops counting there."""
    number = parse_number_of_keys(args[1])
    if number > len(args) - 2:
        raise CommandError("ERR Number of keys can't be greater than number of args")
    limit = _limit(args[2 + number :])
    keys = args[2 : 2 + number]
    sets = _sets(context, keys)
    if _are_small(context, sets):
        return last_of(_counted(_intersection(sets), limit))
    return _undisturbed(context, keys, lambda sets: _counted(_intersection(sets), limit))


def _counted(pages: _Pages, limit: int) -> Slices:
    count = 0
    for page in pages:
        count += len(page)
        if limit and count >= limit:
            return limit
        yield
    return count


def _limit(words: list[bytes]) -> int:
    """The number of LIMIT; 0: none."""
    limit = 0
    for position in range(0, len(words), 2):
        if option_name(words[position]) != b"LIMIT" or position + 1 == len(words):
            raise syntax_error()
        limit = parse_limit(words[position + 1])
    return limit


_Sets = list[Set | None]
_Pages = Iterable[list[bytes]]


def _sets(context: Context, keys: list[bytes]) -> _Sets:
    return [look_up(context, key, Set) for key in keys]


def _short_pages(found: Set) -> _Pages:
    """A whole set is one page: in pieces."""
    return (page[start : start + limits.PAGE] for page in found.pages() for start in range(0, len(page), limits.PAGE))


def _union(sets: _Sets) -> _Pages:
    """Pages in which a member may come again."""
    return chain.from_iterable(_short_pages(found) for found in sets if found is not None)


def _intersection(sets: _Sets) -> _Pages:
    present = [found for found in sets if found is not None]
    if len(present) < len(sets):
        return []
    smallest, *others = sorted(present, key=len)
    return (
        reduce(lambda page, other: [m for m in page if m in other], others, page) for page in _short_pages(smallest)
    )


def _difference(sets: _Sets) -> _Pages:
    first, *others = sets
    if first is None:
        return []
    present = [found for found in others if found is not None]
    return (
        reduce(lambda page, other: [m for m in page if m not in other], present, page) for page in _short_pages(first)
    )


def _was_copied_large(context: Context, sets: _Sets) -> bool:
    """Where the other sets are small, Redis copies the first one and takes their members out of the copy, which then
    has the encoding that all members of the first asked for."""
    first = sets[0]
    sizes = [len(found) for found in sets if found is not None]
    if first is None or len(first) * len(sizes) // 2 <= sum(sizes):
        return False
    thresholds = context.keyspace.objects.thresholds
    return any(is_large(page, len(first), thresholds) for page in first.pages())


def _collected(pages: _Pages, most_bytes: int) -> Slices:
    """The members of all pages, each once. CommandError OOM if they take more memory than that."""
    found: dict[bytes, None] = {}
    size = 0
    for page in pages:
        new = [member for member in page if member not in found]
        size += sum(map(len, new)) + MEMBER_BYTES * len(new)
        if size > most_bytes:
            raise CommandError(OUT_OF_MEMORY)
        found.update(dict.fromkeys(new))
        yield
    return list(found)


def _of_a_reply(context: Context, pages: _Pages) -> list[bytes]:
    """Each once. CommandError OOM if they take more memory than a command may; LimitError for too large a reply."""
    found: list[bytes] = last_of(_collected(pages, context.services.config.options.memory_limit // 4))
    size, most_bytes = sum(map(len, found)) + _BULK_BYTES * len(found), context.services.config.largest_reply_bytes
    if size > most_bytes:
        raise too_large_reply(size, most_bytes)
    return found


# Of large sets these reads go in slices. If another client writes to one of them meanwhile, all is read again in one
# step: so a reply is of one moment.


def _are_small(context: Context, sets: _Sets) -> bool:
    """Or it is a transaction, which is one step anyway."""
    return sum(map(len, filter(None, sets))) <= limits.SLICED or context.keyspace.is_in_transaction


def _read_several(context: Context, keys: list[bytes], join: Callable[[_Sets], _Pages]) -> Value:
    sets = _sets(context, keys)
    if _are_small(context, sets):
        return _set_of(context, _of_a_reply(context, join(sets)))
    return _read_in_slices(context, keys, join)


def _read_in_slices(context: Context, keys: list[bytes], join: Callable[[_Sets], _Pages]) -> Slices:
    most_bytes = context.services.config.options.memory_limit // 4
    members = yield from _undisturbed(context, keys, lambda sets: _collected(join(sets), most_bytes))
    reply = growing(context)
    for start in range(0, len(members), limits.PAGE):
        reply.add(members[start : start + limits.PAGE])
        yield
    return reply.set(is_resp3=context.session.protocol == 3)


def _undisturbed(context: Context, keys: list[bytes], work: Callable[[_Sets], Slices]) -> Slices:
    """The result of the work on these sets."""
    keyspace = context.keyspace

    def begin() -> Slices:
        return work([keyspace.objects.find(key, Set) for key in keys])

    with keyspace.journal(commits=True) as journal:
        slices = begin()
        while True:
            try:
                with keyspace.waiting():
                    next(slices)
            except StopIteration as end:
                result = end.value
                break
            yield
        if not keyspace.changed(journal, keys):
            return result
    with keyspace.waiting():
        return last_of(begin())


def _store(context: Context, key: bytes, pages: _Pages, event: bytes, *, was_large: bool = False) -> int:
    """Put the members in the place of whatever is at the key; if there are none, delete it."""
    keyspace, most_bytes = context.keyspace, context.services.config.options.memory_limit // 4
    members: list[bytes] = last_of(_collected(pages, most_bytes))
    replaced = keyspace.entry(key)
    if replaced is not None:
        keyspace.note_gone(replaced)
    if members:
        _make(context, key, members, was_large=was_large)
        context.notify(event, key)
    elif replaced is not None:
        keyspace.delete(key)
        context.notify(b"del", key)
    return len(members)
