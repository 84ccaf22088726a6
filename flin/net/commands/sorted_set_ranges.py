"""Commands over ranges of sorted sets: ZRANGE, ZRANK, ZCOUNT, ZREMRANGEBYSCORE and their kin.

A range is one of ranks, of scores or of members. The reply about a large one is made in slices, of the state at its
beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from flin.errors import CommandError, ConflictError
from flin.net.command.arguments import option_name
from flin.net.command.command import FIRST_KEY, FIRST_TWO_KEYS
from flin.net.command.registry import command
from flin.net.commands.elements import growing, look_up, ranked_first
from flin.net.commands.sorted_sets import room_for, shown_pairs, store, take_out
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import EMPTY_ARRAY, OUT_OF_MEMORY, ZERO, Slices, Value, syntax_error
from flin.objects import limits
from flin.objects.layout import SCORE_BYTES
from flin.objects.lex_bounds import Bounds, lex_bounds
from flin.objects.score import LexRange, ScoreRange, parse_lex_range, parse_score_range
from flin.objects.sorted_set import SortedSet, member_at, pairs_at, place_of

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "sorted-set"

_ALL: Final = 1 << 63

_RANKS: Final = "ranks"
_SCORES: Final = "scores"
_MEMBERS: Final = "members"


# Ranges.


class _Ranks(NamedTuple):
    """From start to stop, both inclusive, 0 for the first; negative: from the end on."""

    start: int
    stop: int

    def within(self, count: int) -> tuple[int, int]:
        """The first rank, and how many: of so many members."""
        start = max(0, self.start + count if self.start < 0 else self.start)
        stop = min(count - 1, self.stop + count if self.stop < 0 else self.stop)
        return start, max(0, stop - start + 1)


_EVERYTHING: Final = _Ranks(0, -1)

_Range = _Ranks | ScoreRange | LexRange


def _parse_ranks(start: bytes, stop: bytes) -> _Ranks:
    return _Ranks(parse_int64(start), parse_int64(stop))


def _parse_scores(minimum: bytes, maximum: bytes) -> ScoreRange:
    try:
        return parse_score_range(minimum, maximum)
    except ConflictError:
        raise CommandError("ERR min or max is not a float") from None


def _parse_members(minimum: bytes, maximum: bytes) -> LexRange:
    try:
        return parse_lex_range(minimum, maximum)
    except ConflictError:
        raise CommandError("ERR min or max not valid string range item") from None


_PARSERS: Final[dict[str, Callable[[bytes, bytes], _Range]]] = {
    _RANKS: _parse_ranks,
    _SCORES: _parse_scores,
    _MEMBERS: _parse_members,
}


def _bounds_of(found: SortedSet, range_: ScoreRange | LexRange, *, reverse: bool = False) -> Bounds:
    return range_.bounds() if isinstance(range_, ScoreRange) else lex_bounds(found.order, range_, reverse=reverse)


@dataclass(slots=True)
class _Query:
    """What a command asks for. offset, count: LIMIT's, which skips in the direction of the reply."""

    kind: str | None
    reverse: bool | None
    range: _Range = _EVERYTHING
    has_scores: bool = False
    offset: int = 0
    count: int = -1


def _parse_query(
    args: list[bytes], first: int, kind: str | None = None, *, reverse: bool | None = None, stores: bool = False
) -> _Query:
    """The range that begins at `first`, and the options after it. kind, reverse: where no option may say it."""
    query = _Query(kind, reverse)
    at = first + 2
    while at < len(args):
        name = option_name(args[at])
        if name == b"WITHSCORES" and not stores:
            query.has_scores = True
        elif name == b"LIMIT" and at + 2 < len(args):
            query.offset, query.count = parse_int64(args[at + 1]), parse_int64(args[at + 2])
            at += 2
        elif name == b"REV" and reverse is None:
            reverse = query.reverse = True
        elif name in (b"BYSCORE", b"BYLEX") and query.kind is None:
            query.kind = _SCORES if name == b"BYSCORE" else _MEMBERS
        else:
            raise syntax_error()
        at += 1
    query.kind = query.kind or _RANKS
    if query.count != -1 and query.kind is _RANKS:
        raise CommandError("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
    if query.has_scores and query.kind is _MEMBERS:
        raise CommandError("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
    low, high = args[first], args[first + 1]
    if query.reverse and query.kind is not _RANKS:
        low, high = high, low
    query.range = _PARSERS[query.kind](low, high)
    return query


class _Answer:
    """The places that a query asks for, before they are read."""

    def __init__(self, found: SortedSet, query: _Query) -> None:
        self._order = found.order
        self._reverse = bool(query.reverse)
        self._start: bytes = b""
        self._stop: bytes | None = None
        self._is_by_rank = isinstance(query.range, _Ranks)
        if isinstance(query.range, _Ranks):
            self._skip, self._count = query.range.within(len(found))
        else:
            self._start, self._stop = _bounds_of(found, query.range, reverse=self._reverse)
            self._skip, self._count = max(0, query.offset), _ALL if query.count < 0 else query.count
            if query.offset < 0:  # no member has such a place: as in Redis
                self._count = 0
        self._total = len(found)
        self._count = min(self._count, self._total)

    def first(self, count: int) -> list[bytes]:
        """Up to so many of them."""
        count = min(count, self._count)
        if not count:
            return []
        if self._is_by_rank:
            return self._order.from_rank(self._skip, count, reverse=self._reverse)
        return self._order.part(self._start, self._stop, count, reverse=self._reverse, skip=self._skip)

    def needs_ranks(self) -> bool:
        """Whether the rank index is needed, and not there yet."""
        is_deep = self._skip > limits.PAGE
        if self._is_by_rank:
            is_deep = is_deep and self._total - self._skip > limits.PAGE
        return is_deep and not self._order.is_ranked

    def is_all(self) -> bool:
        """Whether these are all members."""
        if self._is_by_rank:
            return self._count == self._total
        first, last = self._order.from_rank(0, 1), self._order.from_rank(0, 1, reverse=True)
        return self._start <= first[0] and (self._stop is None or last[0] < self._stop)

    def frozen_pages(self) -> Iterator[list[bytes]]:
        """All of them as of this call, some at a time; other commands may run in between."""
        first = self.first(1)
        start, stop = self._start, self._stop
        if self._skip and first:
            start, stop = (start, first[0] + b"\0") if self._reverse else (first[0], stop)
        pages = self._order.frozen_parts(start, stop, reverse=self._reverse)
        return self._counted(pages) if first else iter(())

    def _counted(self, pages: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
        left = self._count
        for page in pages:
            yield page[:left]
            left -= len(page)
            if left <= 0:
                return


# Reads of ranges.


@command("zrange", -4, "readonly", FIRST_KEY)
def zrange(context: Context, args: list[bytes]) -> Value:
    """Returns a range of a sorted set, by ranks, scores (BYSCORE) or members (BYLEX), in order or in reverse (REV)."""
    if len(args) == 4:
        return _plain_range(context, args, reverse=False)
    return _range(context, args[1], _parse_query(args, 2))


@command("zrevrange", -4, "readonly", FIRST_KEY)
def zrevrange(context: Context, args: list[bytes]) -> Value:
    """Returns a range of ranks of a sorted set, counted from the highest score downwards."""
    if len(args) == 4:
        return _plain_range(context, args, reverse=True)
    return _range(context, args[1], _parse_query(args, 2, _RANKS, reverse=True))


@command("zrangebyscore", -4, "readonly", FIRST_KEY)
def zrangebyscore(context: Context, args: list[bytes]) -> Value:
    """Returns the members of a sorted set whose scores lie in a range."""
    return _range(context, args[1], _parse_query(args, 2, _SCORES, reverse=False))


@command("zrevrangebyscore", -4, "readonly", FIRST_KEY)
def zrevrangebyscore(context: Context, args: list[bytes]) -> Value:
    """Returns the members of a sorted set whose scores lie in a range, from the highest score downwards."""
    return _range(context, args[1], _parse_query(args, 2, _SCORES, reverse=True))


@command("zrangebylex", -4, "readonly", FIRST_KEY)
def zrangebylex(context: Context, args: list[bytes]) -> Value:
    """Returns the members of a sorted set that lie in a range, where all have the same score."""
    return _range(context, args[1], _parse_query(args, 2, _MEMBERS, reverse=False))


@command("zrevrangebylex", -4, "readonly", FIRST_KEY)
def zrevrangebylex(context: Context, args: list[bytes]) -> Value:
    """Returns the members of a sorted set that lie in a range downwards, where all have the same score."""
    return _range(context, args[1], _parse_query(args, 2, _MEMBERS, reverse=True))


def _plain_range(context: Context, args: list[bytes], *, reverse: bool) -> Value:
    """What `_range` answers where there are no options, as nearly always."""
    ranks = _parse_ranks(args[2], args[3])
    found = look_up(context, args[1], SortedSet)
    if found is None:
        return EMPTY_ARRAY
    start, count = ranks.within(len(found))
    if start + count > limits.PAGE:
        return _range_of(context, args[1], _Query(_RANKS, reverse, ranks), found)
    return [place[SCORE_BYTES:] for place in found.order.from_rank(start, count, reverse=reverse)]


def _range(context: Context, key: bytes, query: _Query) -> Value:
    found = look_up(context, key, SortedSet)
    return EMPTY_ARRAY if found is None else _range_of(context, key, query, found)


def _range_of(context: Context, key: bytes, query: _Query, found: SortedSet) -> Value:
    show = shown_places(context, has_scores=query.has_scores)
    answer = _Answer(found, query)
    if answer.needs_ranks():
        return ranked_first(
            context,
            key,
            SortedSet,
            lambda found: EMPTY_ARRAY if found is None else _range_of(context, key, query, found),
        )
    places = answer.first(limits.SLICED + 1)
    return show(places) if len(places) <= limits.SLICED else _range_in_slices(context, answer, show)


def shown_places(context: Context, *, has_scores: bool) -> Callable[[Sequence[bytes]], list[Value]]:
    """Places as a reply has them: their members, perhaps with scores."""
    if not has_scores:
        return lambda places: list(map(member_at, places))
    show = shown_pairs(context)
    return lambda places: show(pairs_at(places))


def _range_in_slices(context: Context, answer: _Answer, show: Callable[[Sequence[bytes]], list[Value]]) -> Slices:
    reply = growing(context)
    for page in answer.frozen_pages():
        reply.add(show(page))
        yield
    return reply.array()


@command("zrangestore", -5, "write denyoom", FIRST_TWO_KEYS)
def zrangestore(context: Context, args: list[bytes]) -> Value:
    """Stores a range of a sorted set, as ZRANGE says it, in another one; returns how many members it has."""
    query = _parse_query(args, 3, stores=True)
    found = look_up(context, args[2], SortedSet)
    places: list[bytes] = []
    if found is not None:
        answer = _Answer(found, query)
        places = answer.first(room_for(context) + 1)
    return store(context, args[1], dict(pairs_at(places)), b"zrangestore")


# Counts and ranks.


@command("zcount", 4, "readonly fast timed", FIRST_KEY)
def zcount(context: Context, args: list[bytes]) -> Value:
    """Returns the number of members of a sorted set whose scores lie in a range."""
    return _count(context, args[1], _parse_scores(args[2], args[3]))


@command("zlexcount", 4, "readonly fast timed", FIRST_KEY)
def zlexcount(context: Context, args: list[bytes]) -> Value:
    """Returns the number of members of a sorted set that lie in a range, where all have the same score."""
    return _count(context, args[1], _parse_members(args[2], args[3]))


def _count(context: Context, key: bytes, range_: ScoreRange | LexRange) -> Value:
    found = look_up(context, key, SortedSet)
    if found is None:
        return ZERO
    bounds = _bounds_of(found, range_)
    if found.order.knows_ranks(*bounds):
        return found.order.count(*bounds)
    return ranked_first(
        context, key, SortedSet, lambda found: ZERO if found is None else found.order.count(*_bounds_of(found, range_))
    )


@command("zrank", 3, "readonly fast timed", FIRST_KEY)
def zrank(context: Context, args: list[bytes]) -> Value:
    """Returns how many members of a sorted set come before one."""
    return _rank(context, args, reverse=False)


@command("zrevrank", 3, "readonly fast timed", FIRST_KEY)
def zrevrank(context: Context, args: list[bytes]) -> Value:
    """Returns how many members of a sorted set come after one."""
    return _rank(context, args, reverse=True)


def _rank(context: Context, args: list[bytes], *, reverse: bool) -> Value:
    found = look_up(context, args[1], SortedSet)
    score = None if found is None else found.score(args[2])
    if found is None or score is None:
        return None
    place = place_of(args[2], score)
    if not found.order.knows_ranks(place):
        return ranked_first(context, args[1], SortedSet, lambda found: _rank_in(found, args[2], reverse=reverse))
    rank = found.order.rank_of(place)
    return len(found) - 1 - rank if reverse else rank


def _rank_in(found: SortedSet | None, member: bytes, *, reverse: bool) -> int | None:
    rank = None if found is None else found.rank(member)
    return len(found) - 1 - rank if found is not None and rank is not None and reverse else rank


# Deletions of ranges.


@command("zremrangebyrank", 4, "write", FIRST_KEY)
def zremrangebyrank(context: Context, args: list[bytes]) -> Value:
    """Takes a range of ranks out of a sorted set; returns how many members that were."""
    return _remove(context, args[1], _parse_ranks(args[2], args[3]), b"zremrangebyrank")


@command("zremrangebyscore", 4, "write", FIRST_KEY)
def zremrangebyscore(context: Context, args: list[bytes]) -> Value:
    """Takes the members whose scores lie in a range out of a sorted set; returns how many they were."""
    return _remove(context, args[1], _parse_scores(args[2], args[3]), b"zremrangebyscore")


@command("zremrangebylex", 4, "write", FIRST_KEY)
def zremrangebylex(context: Context, args: list[bytes]) -> Value:
    """Takes the members that lie in a range out of a sorted set, where all have the same score; returns how many."""
    return _remove(context, args[1], _parse_members(args[2], args[3]), b"zremrangebylex")


def _remove(context: Context, key: bytes, range_: _Range, event: bytes) -> Value:
    found = context.keyspace.objects.find(key, SortedSet)
    if found is None:
        return ZERO
    answer = _Answer(found, _Query(None, reverse=False, range=range_))
    if answer.is_all():
        count = len(found)
        found.remove_all()
        context.notify(event, key)
        context.notify(b"del", key)
        return count
    most = room_for(context)
    places = answer.first(most + 1)
    if len(places) > most:
        raise CommandError(OUT_OF_MEMORY)
    if places:
        take_out(context, key, found, places, event)
    return len(places)
