"""Commands over points on the earth: GEOADD, GEODIST, GEOSEARCH and their kin (objects/geohash.py).

Points are members of a sorted set, whose scores are their geohashes. A search looks at those whose scores lie in a few
ranges and judges each by its distance. One in a large sorted set goes in slices, of the state at its beginning, unless
it stores what it finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from flin.errors import CommandError
from flin.net.command.command import FIRST_KEY, FIRST_TWO_KEYS, Keys
from flin.net.command.registry import command
from flin.net.commands.elements import look_up
from flin.net.commands.sorted_sets import parse_score, room_for, store, zadd
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import EMPTY_ARRAY, NULL_ARRAY, OUT_OF_MEMORY, Reply, Slices, Value, last_of, syntax_error
from flin.objects.geohash import (
    LATITUDE_MAX,
    LONGITUDE_MAX,
    METRES,
    Box,
    Circle,
    coordinate_text,
    covering_ranges,
    decode,
    distance_m,
    distance_text,
    encode,
    geohash_text,
)
from flin.objects.score import encode_score
from flin.objects.sorted_set import SortedSet, pair_at

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "geo"

_UNKNOWN_UNIT: Final = "ERR unsupported unit provided. please use M, KM, FT, MI"
_UNKNOWN_MEMBER: Final = "ERR could not decode requested zset member"
_ADD_OPTIONS: Final = (b"nx", b"xx", b"ch")

Point = tuple[float, float]
"""Longitude and latitude, in degrees."""


def _parse_point(longitude: bytes, latitude: bytes) -> Point:
    x, y = parse_score(longitude), parse_score(latitude)
    if abs(x) > LONGITUDE_MAX or abs(y) > LATITUDE_MAX:
        raise CommandError(f"ERR invalid longitude,latitude pair {x:f},{y:f}")
    return x, y


def _parse_unit(text: bytes) -> float:
    """How many metres it has."""
    metres = METRES.get(text.lower())
    if metres is None:
        raise CommandError(_UNKNOWN_UNIT)
    return metres


def _shown_point(context: Context, point: Point) -> Value:
    form = b",%b\r\n" if context.session.protocol == 3 else None
    texts = map(coordinate_text, point)
    return [*texts] if form is None else [Reply(form % text) for text in texts]


# Named members.


@command("geoadd", -5, "write denyoom", FIRST_KEY)
def geoadd(context: Context, args: list[bytes]) -> Value:
    """Sets points of members of a sorted set, made if there is none; returns how many are new."""
    first = 2
    while first < len(args) and args[first].lower() in _ADD_OPTIONS:
        first += 1
    options = {option.lower() for option in args[2:first]}
    if (len(args) - first) % 3 or {b"nx", b"xx"} <= options:
        raise syntax_error()
    request = [b"zadd", *args[1:first]]
    for at in range(first, len(args), 3):
        request += [b"%d" % encode(*_parse_point(args[at], args[at + 1])), args[at + 2]]
    return zadd(context, request)


@command("geodist", -4, "readonly", FIRST_KEY)
def geodist(context: Context, args: list[bytes]) -> Value:
    """Returns the distance of two members of a sorted set; null if one of them is absent."""
    if len(args) > 5:
        raise syntax_error()
    unit = _parse_unit(args[4]) if len(args) == 5 else 1.0
    one, other = _points(look_up(context, args[1], SortedSet), args[2:4])
    return None if one is None or other is None else distance_text(distance_m(*one, *other) / unit)


@command("geohash", -2, "readonly", FIRST_KEY)
def geohash(context: Context, args: list[bytes]) -> Value:
    """Returns the geohashes of members of a sorted set, as geohash.org reads them; null for one that is absent."""
    found = look_up(context, args[1], SortedSet)
    scores = [None if found is None else found.score(member) for member in args[2:]]
    return [None if score is None else geohash_text(score) for score in scores]


@command("geopos", -2, "readonly", FIRST_KEY)
def geopos(context: Context, args: list[bytes]) -> Value:
    """Returns the points of members of a sorted set; null for one that is absent."""
    points = _points(look_up(context, args[1], SortedSet), args[2:])
    return [NULL_ARRAY if point is None else _shown_point(context, point) for point in points]


def _points(found: SortedSet | None, members: list[bytes]) -> list[Point | None]:
    scores = [None if found is None else found.score(member) for member in members]
    return [None if score is None else decode(score) for score in scores]


# Searches: their options.


@dataclass(slots=True)
class _Search:
    """What a command asks for."""

    is_free: bool = False
    """Centre and shape are options: GEOSEARCH."""
    may_store: bool = False  # STORE key, STOREDIST key
    name: str = ""
    centre: Point | None = None
    from_member: bool = False
    from_point: bool = False
    radius_m: float | None = None
    sides_m: Point | None = None
    unit: float = 1.0
    has_distances: bool = False
    has_scores: bool = False
    has_points: bool = False
    count: int = 0
    takes_any: bool = False
    order: bytes = b""
    destination: bytes | None = None
    stores_distances: bool = False

    def take_radius(self, radius: bytes, unit: bytes) -> None:
        number = parse_score(radius, "ERR need numeric radius")
        if number < 0:
            raise CommandError("ERR radius cannot be negative")
        self.unit = _parse_unit(unit)
        self.radius_m = number * self.unit

    def take_box(self, width: bytes, height: bytes, unit: bytes) -> None:
        sides = parse_score(width, "ERR need numeric width"), parse_score(height, "ERR need numeric height")
        if min(sides) < 0:
            raise CommandError("ERR height or width cannot be negative")
        self.unit = _parse_unit(unit)
        self.sides_m = sides[0] * self.unit, sides[1] * self.unit

    def take_member(self, found: SortedSet | None, member: bytes) -> None:
        self.from_member = True
        if found is not None:
            self.centre = _points(found, [member])[0]
            if self.centre is None:
                raise CommandError(_UNKNOWN_MEMBER)

    def shape(self) -> Circle | Box:
        assert self.centre is not None
        if self.radius_m is not None:
            return Circle(*self.centre, self.radius_m)
        assert self.sides_m is not None
        return Box(*self.centre, *self.sides_m)

    def check(self) -> None:
        """Whether the options go together; the errors in Redis's order."""
        if self.destination is not None and (self.has_distances or self.has_scores or self.has_points):
            what = "GEOSEARCHSTORE" if self.is_free else "STORE option in GEORADIUS"
            raise CommandError(f"ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
        if self.is_free and not (self.from_member or self.from_point):
            raise CommandError(f"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {self.name}")
        if self.is_free and self.radius_m is None and self.sides_m is None:
            raise CommandError(f"ERR exactly one of BYRADIUS and BYBOX can be specified for {self.name}")
        if self.takes_any and not self.count:
            raise CommandError("ERR the ANY argument requires COUNT argument")


_FLAGS: Final = {
    b"withdist": "has_distances",
    b"withhash": "has_scores",
    b"withcoord": "has_points",
    b"any": "takes_any",
}


def _parse_options(search: _Search, found: SortedSet | None, args: list[bytes], at: int) -> None:
    """Those from `at` on, in any order."""
    while at < len(args):
        name, rest = args[at].lower(), args[at + 1 :]
        if name in _FLAGS:
            setattr(search, _FLAGS[name], True)
            at += 1
        elif name in (b"asc", b"desc"):
            search.order = name
            at += 1
        elif name == b"count" and rest:
            search.count = parse_int64(rest[0])
            if search.count <= 0:
                raise CommandError("ERR COUNT must be > 0")
            at += 2
        elif name in (b"store", b"storedist") and rest and search.may_store:
            search.destination, search.stores_distances = rest[0], name == b"storedist"
            at += 2
        elif search.is_free and (taken := _take_of_free(search, found, name, rest)):
            at += 1 + taken
        elif name == b"storedist" and search.is_free and search.destination is not None:
            search.stores_distances = True
            at += 1
        else:
            raise syntax_error()


def _take_of_free(search: _Search, found: SortedSet | None, name: bytes, rest: list[bytes]) -> int:
    """Where GEOSEARCH looks: how many words the option takes; 0: it is none, or the other one was there."""
    if name == b"frommember" and rest and not search.from_point:
        search.take_member(found, rest[0])
        return 1
    if name == b"fromlonlat" and len(rest) >= 2 and not search.from_member:
        search.centre, search.from_point = _parse_point(rest[0], rest[1]), True
        return 2
    if name == b"byradius" and len(rest) >= 2 and search.sides_m is None:
        search.take_radius(rest[0], rest[1])
        return 2
    if name == b"bybox" and len(rest) >= 3 and search.radius_m is None:
        search.take_box(rest[0], rest[1], rest[2])
        return 3
    return 0


# Searches: what they find.


class _Hit(NamedTuple):
    member: bytes
    score: float
    point: Point
    distance_m: float


def _hits(shape: Circle | Box, pages: Iterable[list[bytes]], count: int) -> Iterator[list[_Hit]]:
    """Those of the shape among places, page by page; up to `count` of them, 0: all."""
    found = 0
    for places in pages:
        page = []
        for member, score in map(pair_at, places):
            point = decode(score)
            distance = shape.maybe_distance_m(*point)
            if distance is not None:
                page.append(_Hit(member, score, point, distance))
                found += 1
                if found == count:
                    yield page
                    return
        yield page


def _run(context: Context, search: _Search, found: SortedSet | None) -> Value | Slices:
    search.check()
    if found is None:
        return EMPTY_ARRAY if search.destination is None else store(context, search.destination, {}, b"")
    finding = _find(context, search, found)
    if search.destination is None:
        showing = _show(context, search, finding)
        return showing if found.is_large else last_of(showing)
    hits = last_of(finding)
    scores = {hit.member: hit.distance_m / search.unit if search.stores_distances else hit.score for hit in hits}
    return store(context, search.destination, scores, b"geosearchstore" if search.is_free else b"georadiusstore")


def _find(context: Context, search: _Search, found: SortedSet) -> Slices:
    """The hits, in order. CommandError OOM if they are too many to be held together."""
    shape = search.shape()
    bounds = [(encode_score(float(start)), encode_score(float(stop))) for start, stop in covering_ranges(shape)]
    parts = found.order.frozen_parts if found.is_large and search.destination is None else found.order.parts
    hits: list[_Hit] = []
    ranges = [parts(start, stop) for start, stop in bounds]  # all of them now, of one state
    for page in _hits(shape, chain.from_iterable(ranges), search.count if search.takes_any else 0):
        hits += page
        if len(hits) > room_for(context):
            raise CommandError(OUT_OF_MEMORY)
        yield
    # The nearest ones are wanted if there are too many, except those of ANY.
    order = search.order or (b"asc" if search.count and not search.takes_any else b"")
    if order:
        hits.sort(key=lambda hit: hit.distance_m, reverse=order == b"desc")
    return hits[: search.count] if search.count else hits


def _show(context: Context, search: _Search, finding: Slices) -> Slices:
    hits = yield from finding
    if not (search.has_distances or search.has_scores or search.has_points):
        return [hit.member for hit in hits]
    rows: list[Value] = []
    for hit in hits:
        row: list[Value] = [hit.member]
        if search.has_distances:
            row.append(distance_text(hit.distance_m / search.unit))
        if search.has_scores:
            row.append(int(hit.score))
        if search.has_points:
            row.append(_shown_point(context, hit.point))
        rows.append(row)
    return rows


# Searches: the commands.


def _stored_keys(first_option: int) -> Keys:
    """The key, and the last one behind STORE or STOREDIST."""

    def find(args: list[bytes]) -> list[int]:
        found = [1]
        at = first_option
        while at + 1 < len(args):
            if args[at].lower() in (b"store", b"storedist"):
                found[1:] = [at + 1]
                at += 1
            at += 1
        return found

    return Keys(1, 1, 1, find)


@command("georadius", -6, "write denyoom movablekeys", _stored_keys(6))
def georadius(context: Context, args: list[bytes]) -> Value | Slices:
    """Finds the members of a sorted set within a distance of a point; replies with them, or stores them."""
    return _around_point(context, args, may_store=True)


@command("georadius_ro", -6, "readonly", FIRST_KEY)
def georadius_ro(context: Context, args: list[bytes]) -> Value | Slices:
    """Finds the members of a sorted set within a distance of a point."""
    return _around_point(context, args, may_store=False)


def _around_point(context: Context, args: list[bytes], *, may_store: bool) -> Value | Slices:
    found = look_up(context, args[1], SortedSet)
    search = _Search(may_store=may_store)
    search.centre = _parse_point(args[2], args[3])
    search.take_radius(args[4], args[5])
    _parse_options(search, found, args, 6)
    return _run(context, search, found)


@command("georadiusbymember", -5, "write denyoom movablekeys", _stored_keys(5))
def georadiusbymember(context: Context, args: list[bytes]) -> Value | Slices:
    """Finds the members of a sorted set within a distance of one of them; replies with them, or stores them."""
    return _around_member(context, args, may_store=True)


@command("georadiusbymember_ro", -5, "readonly", FIRST_KEY)
def georadiusbymember_ro(context: Context, args: list[bytes]) -> Value | Slices:
    """Finds the members of a sorted set within a distance of one of them."""
    return _around_member(context, args, may_store=False)


def _around_member(context: Context, args: list[bytes], *, may_store: bool) -> Value | Slices:
    found = look_up(context, args[1], SortedSet)
    search = _Search(may_store=may_store)
    if found is not None:  # else Redis looks at nothing but the options
        search.take_member(found, args[2])
        search.take_radius(args[3], args[4])
    _parse_options(search, found, args, 5)
    return _run(context, search, found)


@command("geosearch", -7, "readonly", FIRST_KEY)
def geosearch(context: Context, args: list[bytes]) -> Value | Slices:
    """Finds the members of a sorted set in a circle or box around a point or member."""
    return _search_free(context, args, 1, _Search(is_free=True))


@command("geosearchstore", -8, "write denyoom", FIRST_TWO_KEYS)
def geosearchstore(context: Context, args: list[bytes]) -> Value | Slices:
    """Stores the members of a sorted set in a circle or box around a point or member; returns how many there are."""
    return _search_free(context, args, 2, _Search(is_free=True, destination=args[1]))


def _search_free(context: Context, args: list[bytes], key: int, search: _Search) -> Value | Slices:
    search.name = args[0].decode("latin-1")
    found = look_up(context, args[key], SortedSet)
    _parse_options(search, found, args, key + 1)
    return _run(context, search, found)
