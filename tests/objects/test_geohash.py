"""Geohashes beside a real redis-server: scores, positions, texts, distances, and what a search finds, in its order."""

from __future__ import annotations

import math
import random
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from flin.objects.score import score_text
from tests.net.raw_client import RawClient

EDGES = [(0.0, 0.0), (180.0, 85.05112878), (-180.0, -85.05112878), (180.0, -85.05112878), (-180.0, 85.05112878)]
EDGES += [(180.0, 0.0), (0.0, 85.05112878), (-180.0, 0.0), (0.0, -85.05112878), (-1e-9, -1e-9), (1e-300, -1e-300)]
EDGES += [(0.0, 85.05112877999998), (180.0, 85.05112877999998), (179.99999999999997, 1.0)]
EDGES += [(13.361389, 38.115556), (15.087269, 37.502669), (179.9999999, 85.0511287), (90.0, 45.0)]


def _points(chance: random.Random, count: int) -> list[tuple[float, float]]:
    return [(chance.uniform(-180, 180), chance.uniform(-LATITUDE_MAX, LATITUDE_MAX)) for _ in range(count)]


def _text(number: float) -> bytes:
    return repr(number).encode()


def _add(redis: RawClient, points: list[tuple[float, float]]) -> None:
    redis.call(b"DEL", b"g")
    words = [word for n, (x, y) in enumerate(points) for word in (_text(x), _text(y), b"%d" % n)]
    assert redis.call(b"GEOADD", b"g", *words).payload == b"%d" % len(points)


def test_scores_positions_and_texts(redis: RawClient) -> None:
    points = EDGES + _points(random.Random(1), 500)
    _add(redis, points)
    for number, point in enumerate(points):
        member = b"%d" % number
        score = encode(*point)
        assert redis.call(b"ZSCORE", b"g", member).payload == score_text(score)
        position = redis.call(b"GEOPOS", b"g", member).items[0].items
        assert [item.payload for item in position] == list(map(coordinate_text, decode(score)))
        assert redis.call(b"GEOHASH", b"g", member).items[0].payload == geohash_text(score)


NO_GEOHASHES = [0.0, 1.0, -1.0, 0.5, 2.0**52, 2.0**52 - 1, 2.0**53 + 2, 2.0**63, 2.0**64, -(2.0**63), 1.5e19]
NO_GEOHASHES += [-1e300, 1e300, math.inf, -math.inf, -(2.0**40), 2.0**64 - 2048]


@pytest.mark.parametrize("score", NO_GEOHASHES)
def test_scores_that_are_no_geohashes(redis: RawClient, score: float) -> None:
    redis.call(b"DEL", b"g")
    redis.call(b"ZADD", b"g", _text(score), b"m")
    position = redis.call(b"GEOPOS", b"g", b"m").items[0].items
    assert [item.payload for item in position] == list(map(coordinate_text, decode(score)))
    assert redis.call(b"GEOHASH", b"g", b"m").items[0].payload == geohash_text(score)


@pytest.mark.parametrize("unit", METRES)
def test_distances(redis: RawClient, unit: bytes) -> None:
    chance = random.Random(2)
    near = [(x + chance.uniform(-1e-4, 1e-4), y) for x, y in _points(chance, 50) if abs(x) < 179]
    points = EDGES + near + _points(chance, 50)
    _add(redis, points)
    for _ in range(400):
        one, other = chance.randrange(len(points)), chance.randrange(len(points))
        distance = distance_m(*decode(encode(*points[one])), *decode(encode(*points[other])))
        answer = redis.call(b"GEODIST", b"g", b"%d" % one, b"%d" % other, unit).payload
        assert answer == distance_text(distance / METRES[unit])


def test_stored_distances_to_the_last_bit(redis: RawClient) -> None:
    points = _points(random.Random(3), 500)
    _add(redis, points)
    centre = [b"FROMLONLAT", b"10.5", b"35.25", b"BYRADIUS", b"1e8", b"m"]
    redis.call(b"GEOSEARCHSTORE", b"stored", b"g", *centre, b"STOREDIST")
    for number, point in enumerate(points):
        distance = distance_m(10.5, 35.25, *decode(encode(*point)))
        assert redis.call(b"ZSCORE", b"stored", b"%d" % number).payload == score_text(distance)


@pytest.mark.parametrize(
    ("distance", "text"),
    [
        (0.0, b"0.0000"),
        (0.00004999, b"0.0000"),
        (0.00005, b"0.0000"),
        (11320112.56945, b"11320112.5694"),  # its ten thousandths end in exactly .5: to even
        (11557898.31435, b"11557898.3144"),  # in full 11557898.314349999651…
        (9107800.84835, b"9107800.8484"),
        (1234.99996, b"1235.0000"),
    ],
)
def test_texts_of_distances(distance: float, text: bytes) -> None:
    assert distance_text(distance) == text


def test_ten_thousand_distances(redis: RawClient) -> None:
    """So many that some lie in the middle between two texts."""
    chance = random.Random(2)
    points = _points(chance, 10_000)
    _add(redis, points)
    for x, y in points[:4]:
        shape = Circle(x, y, 3e7)
        in_any_order = sorted(_searched(redis, shape))
        assert len(in_any_order) == len(points)
        for member, text in in_any_order:
            distance = shape.maybe_distance_m(*decode(encode(*points[int(member)])))
            assert distance is not None
            assert distance_text(distance) == text


Ordered = list[tuple[int, bytes]]


def _in_order(points: list[tuple[float, float]]) -> Ordered:
    """The sorted set of the points: their scores and members."""
    return sorted((encode(*point), b"%d" % number) for number, point in enumerate(points))


def _found(in_order: Ordered, shape: Circle | Box) -> list[tuple[bytes, bytes]]:
    """Members and distances in the order of a reply that is not sorted."""
    found = []
    for start, stop in covering_ranges(shape):
        for score, member in in_order[bisect_left(in_order, (start,)) : bisect_left(in_order, (stop,))]:
            if (distance := shape.maybe_distance_m(*decode(score))) is not None:
                found.append((member, distance_text(distance)))
    return found


def _searched(redis: RawClient, shape: Circle | Box) -> list[tuple[bytes, bytes]]:
    if isinstance(shape, Circle):
        by = [b"BYRADIUS", _text(shape.radius_m), b"m"]
    else:
        by = [b"BYBOX", _text(shape.width_m), _text(shape.height_m), b"m"]
    centre = [b"FROMLONLAT", _text(shape.longitude), _text(shape.latitude)]
    reply = redis.call(b"GEOSEARCH", b"g", *centre, *by, b"WITHDIST")
    assert not reply.is_error, reply
    return [(item.items[0].payload, item.items[1].payload) for item in reply.items]


def _shapes(chance: random.Random, centre: tuple[float, float]) -> list[Circle | Box]:
    sizes = [10 ** chance.uniform(-1, 7.7) for _ in range(3)]
    return [Circle(*centre, sizes[0]), Box(*centre, sizes[1], sizes[2]), Box(*centre, sizes[0], sizes[0])]


LATITUDES_OF_STEPS = [sign * latitude for latitude in (66.0, 66.5, 80.0, 80.5, 84.0) for sign in (1, -1)]
"""Nearer to a pole a search takes larger boxes."""


@pytest.mark.parametrize("seed", [0, 3, 4])
def test_searches(redis: RawClient, seed: int) -> None:
    """All over the world, or within some degrees of a point, at the edges too."""
    chance = random.Random(seed)
    if seed < 3:
        points = EDGES + _points(chance, 700)
        points += [(chance.uniform(-180, 180), chance.choice((1, -1)) * chance.uniform(60, 85)) for _ in range(300)]
    else:
        x, y = chance.choice(EDGES)
        spread = 10 ** chance.uniform(-3, 1)
        near = [(chance.gauss(x, spread), chance.gauss(y, spread)) for _ in range(800)]
        points = [(x, y) for x, y in near if abs(x) <= 180 and abs(y) <= LATITUDE_MAX]
    _add(redis, points)
    in_order = _in_order(points)
    found_any = 0
    for centre in [
        *EDGES,
        *((x, y) for x in (7.0, 179.0) for y in LATITUDES_OF_STEPS),
        *chance.sample(points, 40),
        *_points(chance, 20),
    ]:
        for shape in _shapes(chance, centre):
            found = _found(in_order, shape)
            assert found == _searched(redis, shape), shape
            found_any += bool(found)
    assert found_any >= 40


@pytest.mark.parametrize("size", [0.0, 5e-324, 1e-6, 2e7, 1e8, 1e300, math.inf])
def test_sizes_beyond_all_sense(redis: RawClient, size: float) -> None:
    points = EDGES + _points(random.Random(4), 100)
    _add(redis, points)
    in_order = _in_order(points)
    for centre in EDGES:
        for shape in (Circle(*centre, size), Box(*centre, size, 1000.0), Box(*centre, 1000.0, size)):
            assert _found(in_order, shape) == _searched(redis, shape), shape


# Up to the last box; what is still nearer to the maximum is rounded to it, and its cell lies outside the grid.
LONGITUDES = st.floats(-LONGITUDE_MAX, LONGITUDE_MAX - 1e-6)
LATITUDES = st.floats(-LATITUDE_MAX, LATITUDE_MAX - 1e-6)


@given(LONGITUDES, LATITUDES)
def test_a_box_holds_its_point(longitude: float, latitude: float) -> None:
    score = encode(longitude, latitude)
    assert 0 <= score < 1 << 52
    x, y = decode(score)
    assert abs(x - longitude) <= 360 / 2**26
    assert abs(y - latitude) <= 2 * LATITUDE_MAX / 2**26
    assert encode(x, y) == score


@given(LONGITUDES, LATITUDES, LONGITUDES, LATITUDES)
def test_distances_are_those_of_a_sphere(x: float, y: float, other_x: float, other_y: float) -> None:
    distance = distance_m(x, y, other_x, other_y)
    assert 0 <= distance <= math.pi * 6372797.560856 * (1 + 1e-12)
    assert math.isclose(distance, distance_m(other_x, other_y, x, y), abs_tol=1e-6)
