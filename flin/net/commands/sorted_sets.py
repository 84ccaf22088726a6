"""Commands over sorted sets that name members: ZADD, ZSCORE, ZREM and their kin; and members at random.

A sorted set is never empty: who takes its last member deletes the key. Ranges are in sorted_set_ranges.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, compress, repeat
from operator import is_, itemgetter, ne
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command.arguments import option_name
from flin.net.command.command import FIRST_KEY
from flin.net.command.registry import command
from flin.net.commands.columns import NONE_DONE, one_object, one_or_new, replies_of_new
from flin.net.commands.elements import (
    look_up,
    one_at_random,
    parse_random_count,
    scan_elements,
    several_at_random,
)
from flin.net.wire.numbers import INT64_MAX
from flin.net.wire.replies import NOT_A_FLOAT, OUT_OF_MEMORY, ZERO, Value, syntax_error
from flin.objects.score import maybe_parse_score, maybe_parse_scores, score_text, small_score_text
from flin.objects.sorted_set import MEMBER_BYTES, Change, Pair, SortedSet, place_of

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "sorted-set"

_flat: Final = chain.from_iterable


def parse_score(text: bytes, error: str = NOT_A_FLOAT) -> float:
    score = maybe_parse_score(text)
    if score is None:
        raise CommandError(error)
    return score


def take_out(context: Context, key: bytes, found: SortedSet, places: Sequence[bytes], event: bytes) -> None:
    """Take members out of a sorted set; it is gone with its last one."""
    found.remove(places)
    context.notify(event, key)
    if not len(found):
        context.notify(b"del", key)


def room_for(context: Context) -> int:
    """How many members a command may put into a sorted set at once."""
    return context.services.config.options.memory_limit // 4 // MEMBER_BYTES


def store(context: Context, key: bytes, scores: dict[bytes, float], event: bytes) -> int:
    """Put a sorted set in the place of whatever is at the key; if it has no members, delete that. CommandError OOM if
    it takes too much memory."""
    keyspace = context.keyspace
    if len(scores) * MEMBER_BYTES + sum(map(len, scores)) > context.services.config.options.memory_limit // 4:
        raise CommandError(OUT_OF_MEMORY)
    replaced = keyspace.entry(key)
    if replaced is not None:
        keyspace.note_gone(replaced)
    if scores:
        SortedSet(keyspace.objects, key).put_many([(member, score, None) for member, score in scores.items()])
        context.notify(event, key)
    elif replaced is not None:
        keyspace.delete(key)
        context.notify(b"del", key)
    return len(scores)


# Writes. Each reads all it needs before its first change.


@dataclass(slots=True)
class _AddOptions:
    if_absent: bool = False  # NX
    if_present: bool = False  # XX
    if_greater: bool = False  # GT
    if_less: bool = False  # LT
    counts_changed: bool = False  # CH
    increments: bool = False  # INCR

    def allow(self, score: float, before: float | None) -> bool:
        """Whether the score may take the place of what was there."""
        if before is None:
            return not self.if_present
        return not (self.if_absent or (self.if_greater and score <= before) or (self.if_less and score >= before))


_ADD_OPTIONS: Final = {
    b"NX": "if_absent",
    b"XX": "if_present",
    b"GT": "if_greater",
    b"LT": "if_less",
    b"CH": "counts_changed",
    b"INCR": "increments",
}


def _zadd_many(
    context: Context, keys: tuple[bytes, ...], texts: tuple[bytes, ...], members: tuple[bytes, ...]
) -> Sequence[bytes]:
    found, scores, members, before = _looked_up(context, keys, texts, members)
    if found is None:
        return NONE_DONE
    _put_changed(context, keys[0], found, zip(members, scores, before), b"zadd")  # noqa: B905  the scores may be more
    new = list(compress(members, map(is_, before, repeat(None)))) if None in before else []
    return replies_of_new(members, new)


def _looked_up(
    context: Context, keys: tuple[bytes, ...], texts: tuple[bytes, ...], members: tuple[bytes, ...]
) -> tuple[SortedSet | None, Sequence[float], tuple[bytes, ...], Sequence[float | None]]:
    """The sorted set, the numbers, the members up to one that is named again, and their scores. No sorted set: the
    requests run one by one."""
    found = one_or_new(context, keys, SortedSet)
    numbers = maybe_parse_scores(texts)
    if found is None or numbers is None:
        return None, (), (), ()
    members = _different(members)
    return found, numbers, members, found.scores_of(members)


def _different(members: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The first ones, up to one that is named again: what is written of it is read anew."""
    if len(set(members)) == len(members):
        return members
    seen: set[bytes] = set()
    for number, member in enumerate(members):
        if member in seen:
            return members[:number]
        seen.add(member)
    return members


def _put_changed(context: Context, key: bytes, found: SortedSet, changes: Iterable[Change], event: bytes) -> None:
    """Put those that differ from what is there."""
    changed = [change for change in changes if change[1] != change[2]]
    if changed:
        found.put_many(changed)
        context.notify_times(event, key, len(changed))


@command("zadd", -4, "write denyoom fast", FIRST_KEY, batch=_zadd_many)
def zadd(context: Context, args: list[bytes]) -> Value:
    """Sets scores of members of a sorted set, made if there is none; returns how many are new."""
    if len(args) == 4:  # one member, as nearly always
        score = _score_or_option(args[2])
        found = context.keyspace.objects.find_or_make(args[1], SortedSet)
        member = args[3]
        before = found.score(member)
        if score != before:
            found.put(member, score, before)
            context.notify(b"zadd", args[1])
        return int(before is None)
    options, first = _add_options(args)
    pairs = list(zip(args[first + 1 :: 2], map(parse_score, args[first::2]), strict=True))
    if options.increments:
        return _increment(context, args[1], *pairs[0], options)
    return _add(context, args[1], pairs, options)


def _score_or_option(text: bytes) -> float:
    """The score where one member is named; an option there, which Redis looks for first, leaves no pair."""
    score = maybe_parse_score(text)
    if score is None:
        raise syntax_error() if option_name(text) in _ADD_OPTIONS else CommandError(NOT_A_FLOAT)
    return score


def _add_options(args: list[bytes]) -> tuple[_AddOptions, int]:
    """The options, and where the scores begin."""
    options = _AddOptions()
    first = 2
    while first < len(args) and (name := _ADD_OPTIONS.get(option_name(args[first]))):
        setattr(options, name, True)
        first += 1
    if first == len(args) or (len(args) - first) % 2:
        raise syntax_error()
    if options.if_absent and options.if_present:
        raise CommandError("ERR XX and NX options at the same time are not compatible")
    if options.if_absent + options.if_greater + options.if_less > 1:
        raise CommandError("ERR GT, LT, and/or NX options at the same time are not compatible")
    if options.increments and len(args) - first > 2:
        raise CommandError("ERR INCR option supports a single increment-element pair")
    return options, first


def _add(context: Context, key: bytes, pairs: list[Pair], options: _AddOptions) -> int:
    """A member may be named several times: each pair meets what those before it have made of it."""
    found = context.keyspace.objects.find_or_make(key, SortedSet)
    before: dict[bytes, float | None] = {member: found.score(member) for member, _ in pairs}
    now = before.copy()
    changed = 0
    for member, score in pairs:
        if score != now[member] and options.allow(score, now[member]):
            now[member] = score
            changed += 1
    changes: list[Change] = [
        (member, score, before[member])
        for member, score in now.items()
        if score is not None and score != before[member]
    ]
    if changes:
        found.put_many(changes)
    if changed:
        context.notify(b"zadd", key)
    return changed if options.counts_changed else sum(score is None for _, _, score in changes)


def _increment(context: Context, key: bytes, member: bytes, increment: float, options: _AddOptions) -> Value:
    """The new score, or null if an option forbids it."""
    found = context.keyspace.objects.find_or_make(key, SortedSet)
    before = found.score(member)
    if before is None and options.if_present:
        return None
    if before is not None and options.if_absent:
        return None
    total = increment if before is None else before + increment
    if total != total:
        raise CommandError("ERR resulting score is not a number (NaN)")
    if not options.allow(total, before):
        return None
    if total != before:
        found.put(member, total, before)
        context.notify(b"zincr", key)
    return total


def _zincrby_many(
    context: Context, keys: tuple[bytes, ...], texts: tuple[bytes, ...], members: tuple[bytes, ...]
) -> Sequence[bytes]:
    found, increments, members, before = _looked_up(context, keys, texts, members)
    if found is None:
        return NONE_DONE
    totals = [one if score is None else score + one for score, one in zip(before, increments)]  # noqa: B905  as above
    if any(map(ne, totals, totals)):
        return NONE_DONE  # inf - inf
    _put_changed(context, keys[0], found, zip(members, totals, before, strict=True), b"zincr")
    return list(map(context.session.encode, totals))


@command("zincrby", 4, "write denyoom fast", FIRST_KEY, batch=_zincrby_many)
def zincrby(context: Context, args: list[bytes]) -> Value:
    """Adds to the score of a member of a sorted set; an absent one counts as 0. Returns the new score."""
    return _increment(context, args[1], args[3], _score_or_option(args[2]), _AddOptions())


@command("zrem", -3, "write fast", FIRST_KEY)
def zrem(context: Context, args: list[bytes]) -> Value:
    """Takes members out of a sorted set and returns how many there were; without members the key is gone."""
    found = context.keyspace.objects.find(args[1], SortedSet)
    if found is None:
        return ZERO
    scores = {member: found.score(member) for member in args[2:]}
    places = [place_of(member, score) for member, score in scores.items() if score is not None]
    if places:
        take_out(context, args[1], found, places, b"zrem")
    return len(places)


# Reads of named members.


@command("zcard", 2, "readonly fast", FIRST_KEY)
def zcard(context: Context, args: list[bytes]) -> Value:
    """Returns the number of members of a sorted set."""
    found = look_up(context, args[1], SortedSet)
    return 0 if found is None else len(found)


def _zscore_many(context: Context, keys: tuple[bytes, ...], members: tuple[bytes, ...]) -> Sequence[bytes]:
    found = one_object(context, keys, SortedSet)
    if found is None:
        return NONE_DONE
    scores = found.scores_of(members)
    context.keyspace.hits += len(keys)
    if context.session.protocol == 2 and None not in scores:
        texts = (b"%.17g " * len(scores) % tuple(scores)).split()
        return [b"$%d\r\n%b\r\n" % (len(text), text) for text in texts]
    return list(map(context.session.encode, scores))


@command("zscore", 3, "readonly fast", FIRST_KEY, batch=_zscore_many)
def zscore(context: Context, args: list[bytes]) -> Value:
    """Returns the score of a member of a sorted set."""
    found = look_up(context, args[1], SortedSet)
    return None if found is None else found.score(args[2])


@command("zmscore", -3, "readonly fast", FIRST_KEY)
def zmscore(context: Context, args: list[bytes]) -> Value:
    """Returns the scores of members of a sorted set; null for one that is absent."""
    found = look_up(context, args[1], SortedSet)
    return [None] * (len(args) - 2) if found is None else list(map(found.score, args[2:]))


@command("zscan", -3, "readonly", FIRST_KEY)
def zscan(context: Context, args: list[bytes]) -> Value:
    """Returns some members of a sorted set with their scores, and the cursor to go on with; 0 at the end."""

    def matching(pairs: list[Pair], matches: Callable[[bytes], bool]) -> list[bytes]:
        found = context.keyspace.objects.find(args[1], SortedSet)
        text = score_text if found is None or found.was_large else small_score_text
        return [word for member, score in pairs if matches(member) for word in (member, text(score))]

    return scan_elements(context, args, SortedSet, matching)


# At random.


@command("zrandmember", -2, "readonly", FIRST_KEY)
def zrandmember(context: Context, args: list[bytes]) -> Value:
    """Returns members of a sorted set at random: different ones, or with a negative count each drawn from all."""
    if len(args) == 2:
        return one_at_random(context, args[1], SortedSet, itemgetter(0))
    count, has_scores = _count_of_random(args)
    return several_at_random(context, args[1], SortedSet, count, shown_pairs(context) if has_scores else _members)


def _count_of_random(args: list[bytes]) -> tuple[int, bool]:
    """The count, and whether WITHSCORES follows; the errors in Redis's order."""
    count = parse_random_count(args[2])
    if len(args) == 3:
        return count, False
    if len(args) > 4 or option_name(args[3]) != b"WITHSCORES":
        raise syntax_error()
    if abs(count) > INT64_MAX // 2:
        raise CommandError("ERR value is out of range")
    return count, True


def _members(pairs: Sequence[Pair]) -> list[Value]:
    return [member for member, _ in pairs]


def _flat_pairs(pairs: Sequence[Pair]) -> list[Value]:
    return list(_flat(pairs))


def shown_pairs(context: Context) -> Callable[[Sequence[Pair]], list[Value]]:
    """Members with scores as a reply has them: pairs in RESP3, one after the other in RESP2."""
    return list if context.session.protocol == 3 else _flat_pairs
