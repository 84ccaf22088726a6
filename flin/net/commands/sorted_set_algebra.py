"""Commands over several sorted sets: ZUNION, ZINTER, ZDIFF and their kin. Sets may be among them: their scores are 1.

What several have together is found in one step, as in Redis, and a result that takes too much memory is refused before
anything changes. All of them are looked up before an option is read: a wrong type is an error even behind an empty one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import repeat
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command.arguments import keys_after_number, option_name, parse_limit
from flin.net.command.registry import command
from flin.net.commands.elements import look_up
from flin.net.commands.keys import tag_of
from flin.net.commands.sorted_sets import parse_score, shown_pairs, store
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import OUT_OF_MEMORY, Value, syntax_error, too_large_reply
from flin.objects.layout import SET
from flin.objects.set import Set
from flin.objects.sorted_set import MEMBER_BYTES, Pair, SortedSet

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "sorted-set"


# Arguments.


def _sum(one: float, other: float) -> float:
    total = one + other
    return total if total == total else 0.0  # inf and -inf: as in Redis


def _least(one: float, other: float) -> float:
    return other if other < one else one


def _greatest(one: float, other: float) -> float:
    return other if other > one else one


Aggregate = Callable[[float, float], float]

_AGGREGATES: Final[dict[bytes, Aggregate]] = {b"SUM": _sum, b"MIN": _least, b"MAX": _greatest}


@dataclass(slots=True)
class _Source:
    found: SortedSet | Set | None
    weight: float = 1.0

    def __len__(self) -> int:
        return 0 if self.found is None else len(self.found)

    def pages(self) -> Iterator[Iterable[Pair]]:
        """Members with their own scores, some at a time."""
        if isinstance(self.found, SortedSet):
            return self.found.pages()
        return (zip(page, repeat(1.0)) for page in self.found.pages()) if self.found is not None else iter(())

    def score(self, member: bytes) -> float | None:
        """The member's own score; None: it is no member."""
        if isinstance(self.found, SortedSet):
            return self.found.score(member)
        return 1.0 if self.found is not None and member in self.found else None


@dataclass(slots=True)
class _Request:
    """What all of these commands are asked: the options that they do not know stay as they are."""

    sources: list[_Source]
    aggregate: Aggregate = _sum
    has_scores: bool = False
    limit: int = 0  # 0: none


def _parse(context: Context, args: list[bytes], at: int, known: Sequence[bytes]) -> _Request:
    """at: where the number of keys stands; known: the options that this command has. The errors in Redis's order."""
    number = parse_int64(args[at])
    if number < 1:
        raise CommandError(f"ERR at least 1 input key is needed for '{args[0].lower().decode()}' command")
    start = at + 1 + number
    if start > len(args):
        raise syntax_error()
    request = _Request([_Source(_look_up(context, key)) for key in args[at + 1 : start]])
    _parse_options(args[start:], request, known)
    return request


def _look_up(context: Context, key: bytes) -> SortedSet | Set | None:
    """WRONGTYPE for anything else."""
    entry = context.keyspace.entry(key)
    if entry is not None and tag_of(entry) == SET:
        return look_up(context, key, Set)
    return look_up(context, key, SortedSet)


def _parse_options(words: list[bytes], request: _Request, known: Sequence[bytes]) -> None:
    sources = request.sources
    at = 0
    while at < len(words):
        name, left = option_name(words[at]), len(words) - at - 1
        if name not in known:
            raise syntax_error()
        if name == b"WEIGHTS" and left >= len(sources):
            for source, text in zip(sources, words[at + 1 :], strict=False):
                source.weight = parse_score(text, "ERR weight value is not a float")
            at += len(sources)
        elif name == b"AGGREGATE" and left and option_name(words[at + 1]) in _AGGREGATES:
            request.aggregate = _AGGREGATES[option_name(words[at + 1])]
            at += 1
        elif name == b"LIMIT" and left:
            request.limit = parse_limit(words[at + 1])
            at += 1
        elif name == b"WITHSCORES":
            request.has_scores = True
        else:
            raise syntax_error()
        at += 1


# Results, as pages of members with their new scores.

_Operation = Callable[[_Request, "_Room"], dict[bytes, float]]


class _Room:
    """For the result: a command may take a quarter of the limit."""

    def __init__(self, context: Context) -> None:
        self._left_bytes = context.services.config.options.memory_limit // 4

    def take(self, members: Iterable[bytes]) -> None:
        """CommandError OOM if these do not fit."""
        sizes = list(map(len, members))
        self._left_bytes -= sum(sizes) + MEMBER_BYTES * len(sizes)
        if self._left_bytes < 0:
            raise CommandError(OUT_OF_MEMORY)


def _weighted(score: float, weight: float) -> float:
    product = score * weight
    return product if product == product else 0.0  # inf times 0


def _by_size(sources: list[_Source]) -> list[_Source]:
    """The order in which Redis takes them, and in which it adds their scores up."""
    return sorted(sources, key=len)


def _union(request: _Request, room: _Room) -> dict[bytes, float]:
    found: dict[bytes, float] = {}
    for source in _by_size(request.sources):
        weight = source.weight
        for page in source.pages():
            scored = [(member, _weighted(score, weight)) for member, score in page]
            room.take(member for member, _ in scored if member not in found)
            for member, score in scored:
                before = found.get(member)
                found[member] = score if before is None else request.aggregate(before, score)
    return found


def _intersection(request: _Request, room: _Room) -> dict[bytes, float]:
    found: dict[bytes, float] = {}
    for page in _common(request):
        room.take(member for member, _ in page)
        found.update(page)
    return found


def _common(request: _Request) -> Iterator[list[Pair]]:
    """Members that all sources have, some at a time."""
    smallest, *others = _by_size(request.sources)
    if not smallest:
        return
    for page in smallest.pages():
        common = []
        for member, own in page:
            score = _weighted(own, smallest.weight)
            for other in others:
                its = other.score(member)
                if its is None:
                    break
                score = request.aggregate(score, its * other.weight)
            else:
                common.append((member, score))
        yield common


def _difference(request: _Request, room: _Room) -> dict[bytes, float]:
    found: dict[bytes, float] = {}
    first, *others = request.sources
    for whole in first.pages():
        page = reduce(_without, others, list(whole))
        room.take(member for member, _ in page)
        found.update(page)
    return found


def _without(page: list[Pair], other: _Source) -> list[Pair]:
    return [pair for pair in page if other.score(pair[0]) is None]


# Replies.

_BULK_BYTES: Final = 6
"""What a bulk has beside its bytes, at least."""


def _answer(context: Context, request: _Request, operation: _Operation) -> Value:
    """In order. CommandError OOM if it takes too much memory; LimitError for too large a reply."""
    scores = operation(request, _Room(context))
    size, most_bytes = sum(map(len, scores)) + _BULK_BYTES * len(scores), context.services.config.largest_reply_bytes
    if size > most_bytes:
        raise too_large_reply(size, most_bytes)
    pairs = sorted(scores.items(), key=lambda pair: (pair[1], pair[0]))
    return shown_pairs(context)(pairs) if request.has_scores else [member for member, _ in pairs]


def _stored(context: Context, args: list[bytes], request: _Request, operation: _Operation) -> int:
    return store(context, args[1], operation(request, _Room(context)), args[0].lower())


_WEIGHTED: Final = (b"WEIGHTS", b"AGGREGATE")


@command("zunion", -3, "readonly movablekeys", keys_after_number(1))
def zunion(context: Context, args: list[bytes]) -> Value:
    """Returns the members of all sorted sets together, with the sums of their scores, or as AGGREGATE says."""
    return _answer(context, _parse(context, args, 1, (*_WEIGHTED, b"WITHSCORES")), _union)


@command("zinter", -3, "readonly movablekeys", keys_after_number(1))
def zinter(context: Context, args: list[bytes]) -> Value:
    """Returns the members that all sorted sets have, with the sums of their scores, or as AGGREGATE says."""
    return _answer(context, _parse(context, args, 1, (*_WEIGHTED, b"WITHSCORES")), _intersection)


@command("zdiff", -3, "readonly movablekeys", keys_after_number(1))
def zdiff(context: Context, args: list[bytes]) -> Value:
    """Returns the members of the first sorted set that no other one has."""
    return _answer(context, _parse(context, args, 1, (b"WITHSCORES",)), _difference)


@command("zunionstore", -4, "write denyoom movablekeys", keys_after_number(2, is_stored=True))
def zunionstore(context: Context, args: list[bytes]) -> Value:
    """Stores what ZUNION returns in a sorted set; returns how many members it has."""
    return _stored(context, args, _parse(context, args, 2, _WEIGHTED), _union)


@command("zinterstore", -4, "write denyoom movablekeys", keys_after_number(2, is_stored=True))
def zinterstore(context: Context, args: list[bytes]) -> Value:
    """Stores what ZINTER returns in a sorted set; returns how many members it has."""
    return _stored(context, args, _parse(context, args, 2, _WEIGHTED), _intersection)


@command("zdiffstore", -4, "write denyoom movablekeys", keys_after_number(2, is_stored=True))
def zdiffstore(context: Context, args: list[bytes]) -> Value:
    """Stores what ZDIFF returns in a sorted set; returns how many members it has."""
    return _stored(context, args, _parse(context, args, 2, ()), _difference)


@command("zintercard", -3, "readonly movablekeys", keys_after_number(1))
def zintercard(context: Context, args: list[bytes]) -> Value:
    """Returns the number of members that all sorted sets have; with LIMIT it stops counting there."""
    request = _parse(context, args, 1, (b"LIMIT",))
    count = 0
    for page in _common(request):
        count += len(page)
        if request.limit and count >= request.limit:
            return request.limit
    return count
