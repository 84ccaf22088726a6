"""What commands over hashes, sets and sorted sets share: look-ups, scans, elements at random.

A reply about a large collection is made in slices. Each element is equally likely to be drawn, each choice of several
elements too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from weakref import ref

from flin.errors import CommandError
from flin.net.commands.scan import END, ScanOptions, parse_cursor, scan_options
from flin.net.wire.growing_reply import GrowingReply
from flin.net.wire.numbers import INT64_MAX, INT64_MIN, parse_int64
from flin.net.wire.replies import EMPTY_ARRAY, EMPTY_BULK, Slices, Value, too_large_reply
from flin.objects import limits
from flin.objects.layout import elements_namespace
from flin.objects.live_object import LiveObject
from flin.objects.sorted_set import SortedSet
from flin.objects.unordered import Unordered

if TYPE_CHECKING:
    from flin.net.run.context import Context

SLICE_ELEMENTS: Final = 256
"""Elements that are drawn or scanned in one slice."""

SLICE_RANKS: Final = 16
"""Elements that are found by their ranks in one slice: some 70 microseconds for each, so others wait 1 ms."""

MAX_COUNTS: Final = 3
"""Times that a count of ranks begins again before it goes on without a pause."""

Shown: TypeAlias = Callable[[list[Any]], list[Value]]
"""Elements as the reply has them."""

Collection: TypeAlias = Unordered[Any] | SortedSet

Kind = TypeVar("Kind", bound=LiveObject)
Ranked = TypeVar("Ranked", bound=Collection)


def look_up(context: Context, key: bytes, kind: type[Kind]) -> Kind | None:
    """The collection of a command that shows it: INFO counts whether it was there. WRONGTYPE for another type."""
    keyspace = context.keyspace
    try:
        found = keyspace.objects.find(key, kind)
    except CommandError:  # it is there, of another type
        keyspace.hits += 1
        raise
    if found is None:
        keyspace.misses += 1
    else:
        keyspace.hits += 1
    return found


def growing(context: Context) -> GrowingReply:
    """A reply that grows while others are served: what there is of it counts as the client's."""
    reply = GrowingReply(context.session.encode, context.services.config.largest_reply_bytes)
    context.session.growing = ref(reply)
    return reply


def all_in_slices(context: Context, pages: Iterable[list[Any]], shown: Shown) -> Slices:
    """An array of all elements."""
    reply = growing(context)
    for page in pages:
        reply.add(shown(page))
        yield
    return reply.array()


def ranked_first(context: Context, key: bytes, kind: type[Ranked], answer: Callable[[Ranked | None], Value]) -> Slices:
    """What a command answers that asks for ranks: those of a large collection that is not in memory are counted before,
    in slices. If others drive it out of memory meanwhile, the count begins again, at last in one slice."""
    objects = context.keyspace.objects
    found, begun = objects.find(key, kind), 0
    while found is not None and not found.rank_some():
        if begun < MAX_COUNTS:
            yield
            before, found = found, objects.find(key, kind)
            begun += found is not before
    value = answer(found)
    if isinstance(value, GeneratorType):
        value = yield from value
    return value


# HSCAN, SSCAN, ZSCAN. A packed collection is returned whole. A spread one's cursor stands for its key and the last
# element.

Matching: TypeAlias = Callable[[list[Any], Callable[[bytes], bool]], list[bytes]]
"""The words of those elements that match."""


def scan_elements(
    context: Context, args: list[bytes], kind: type[Unordered[Any]] | type[SortedSet], matching: Matching
) -> Value:
    cursor = parse_cursor(args[2])
    found = look_up(context, args[1], kind)
    if found is None:
        return [END, []]  # whatever the options are: as in Redis
    options = scan_options(args, 3, has_type=False)
    if found.is_packed:
        return [END, matching(found.elements(), options.glob.matches)]
    return _scan_spread(context, args[1], kind, cursor, options, matching)


def _scan_spread(
    context: Context,
    key: bytes,
    kind: type[Unordered[Any]] | type[SortedSet],
    cursor: int,
    options: ScanOptions,
    matching: Matching,
) -> Slices:
    """In a slice the collection is looked up anew: others may have changed or deleted it."""
    cursors, namespace = context.services.cursors, elements_namespace(context.keyspace.namespace)
    head = b"%d:%b" % (len(key), key)
    position = cursors.find(cursor, namespace) if cursor else None
    after = position[len(head) :] if position is not None and position.startswith(head) else None
    reply = growing(context)
    left = options.count
    most = max(1, SLICE_ELEMENTS // (1 + options.glob.searched))  # a costly pattern is matched in shorter slices
    while (found := context.keyspace.objects.find(key, kind)) is not None:
        if found.is_packed:
            reply.add(matching(found.elements(), options.glob.matches))
            break
        elements, after = found.scan(after, min(left, most))
        reply.add(matching(elements, options.glob.matches))
        if after is None:
            break
        left -= len(elements)
        if left <= 0:
            return [b"%d" % cursors.save(namespace, head + after, cursor), reply.array()]
        yield
    return [END, reply.array()]


# HRANDFIELD, SRANDMEMBER, ZRANDMEMBER.


def parse_random_count(text: bytes) -> int:
    count = parse_int64(text)
    if count == INT64_MIN:
        raise CommandError(f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}")
    return count


def random_element(found: Collection) -> Any:
    return found.element_at(random.randrange(len(found)))


def one_at_random(context: Context, key: bytes, kind: type[Ranked], shown: Callable[[Any], Value]) -> Value:
    """What a command without a count answers; null if there is no such collection."""
    return _by_ranks(context, key, kind, lambda found: None if found is None else shown(random_element(found)))


def several_at_random(context: Context, key: bytes, kind: type[Ranked], count: int, shown: Shown) -> Value:
    """Different elements, or with a negative count each drawn from all; none of a collection that is not there."""

    def chosen(found: Ranked | None) -> Value:
        if found is None or not count:
            return EMPTY_ARRAY
        return draw(context, key, kind, -count, shown) if count < 0 else choose(context, found, count, shown)

    return _by_ranks(context, key, kind, chosen, asked=0 != count <= SLICE_RANKS)


def _by_ranks(
    context: Context, key: bytes, kind: type[Ranked], answer: Callable[[Ranked | None], Value], *, asked: bool = True
) -> Value:
    """The answer, after the ranks are counted if they are asked."""
    found = look_up(context, key, kind)
    if found is not None and asked and not found.is_ranked:
        return ranked_first(context, key, kind, answer)
    return answer(found)


def are_found_by_rank(found: Collection, count: int) -> bool:
    """Whether so many different elements are few enough for that."""
    number = len(found)
    return count < number and (count <= SLICE_RANKS or count * limits.RANK_READS <= number)


def different_elements(found: Collection, count: int) -> list[Any]:
    """That many different elements, or all: by their ranks where they are few among many."""
    number = len(found)
    if are_found_by_rank(found, count):
        return list(map(found.element_at, random.sample(range(number), count)))
    elements = found.elements()
    return elements if count >= number else random.sample(elements, count)


def choose(context: Context, found: Collection, count: int, shown: Shown) -> Value:
    """That many different elements, or all."""
    if found.is_large and (count > SLICE_RANKS or count >= len(found)):
        return _choose_in_slices(context, found.element_pages(), min(count, len(found)), len(found), shown)
    return shown(different_elements(found, count))


def _choose_in_slices(context: Context, pages: Iterator[list[Any]], count: int, number: int, shown: Shown) -> Slices:
    """Walk over all elements and take each with the probability that is right for those still wanted: Knuth's algorithm
    S (The Art of Computer Programming, 3.4.2)."""
    reply = growing(context)
    for page in pages:
        chosen = []
        for element in page:
            if random.random() * number < count:
                chosen.append(element)
                count -= 1
            number -= 1
        reply.add(shown(chosen))
        yield
    return reply.array()


def draw(context: Context, key: bytes, kind: type[Ranked], count: int, shown: Shown) -> Slices:
    """Draw an element from all, that many times. Others may change the collection between slices: then from what it has
    then, and if it is deleted, that is the end."""
    least_bytes, most_bytes = count * len(EMPTY_BULK.data), context.services.config.largest_reply_bytes
    if least_bytes > most_bytes:
        raise too_large_reply(least_bytes, most_bytes)
    reply = growing(context)
    while count and (found := context.keyspace.objects.find(key, kind)) is not None:
        if found.is_whole or (count > SLICE_RANKS and not found.is_large):
            slice_ = min(count, SLICE_ELEMENTS)
            elements = random.choices(found.elements(), k=slice_)
        else:
            slice_ = min(count, SLICE_RANKS)
            elements = [random_element(found) for _ in range(slice_)]
        reply.add(shown(elements))
        count -= slice_
        if count:
            yield
    return reply.array()
