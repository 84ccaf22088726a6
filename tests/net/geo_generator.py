"""Random requests for points on the earth: a part of generator.py's tables.

Points lie all over the earth, near its edges, and close together, so that searches of every size find some and leave
some out. No two are as far from a third, or Redis's sort would leave their order to chance: the numbers have many
digits, and nothing else gives scores to the members of these keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.net.generator import Burst, Generator, Maker

GEO_KEYS: Final = [b"geo:0", b"geo:1", b"\xff\x01geo"]
_STORED: Final = b"geo:stored"
PLACES: Final = [b"p%d" % number for number in range(16)] + [b"", b"\xff", b"p\r\n\x00"]
_CENTRES: Final = [(0.0, 0.0), (13.361389, 38.115556), (179.9, 10.0), (-179.9, -10.0), (2.0, 84.0), (50.0, -85.0)]
_NO_NUMBERS: Final = [b"", b"abc", b"nan", b" 1", b"1x", b"-1"]
_OUTSIDE: Final = [b"180.1", b"-180.1", b"85.06", b"-85.06", b"1e30", b"inf", b"-inf"]
_UNITS: Final = ["m", "km", "ft", "mi"]
_RADII: Final = [b"0", b"1", b"50", b"200.5", b"1000", b"5000", b"20000", b"1e5", b"1e7"]

Words = Callable[["Generator"], list[bytes]]


def _key(source: Generator) -> bytes:
    return source.pick(GEO_KEYS) if source.random.random() < 0.95 else source.key()


def _member(source: Generator) -> bytes:
    return source.pick(PLACES)


def _members(source: Generator) -> list[bytes]:
    return [_member(source) for _ in range(source.random.randint(1, 4))]


def _number(number: float, most: float) -> bytes:
    return b"%.9f" % min(max(number, -most), most)


def _point(source: Generator) -> list[bytes]:
    odd = source.random.random()
    if odd < 0.03:
        return [source.pick(_NO_NUMBERS + _OUTSIDE), b"1.5"]
    if odd < 0.06:
        return [b"1.5", source.pick(_NO_NUMBERS + _OUTSIDE)]
    longitude, latitude = source.random.choice(_CENTRES)
    if odd < 0.4:
        longitude, latitude = source.random.uniform(-180, 180), source.random.uniform(-86, 86)
    spread = source.random.choice([0.001, 0.1, 3])
    x = longitude + source.random.uniform(-spread, spread)
    return [_number(x, 180), _number(latitude + source.random.uniform(-spread, spread), 85.05112878)]


def _size(source: Generator) -> bytes:
    return source.pick(_RADII if source.random.random() < 0.95 else _NO_NUMBERS)


def _unit(source: Generator) -> bytes:
    return source.spelled(source.pick(_UNITS)) if source.random.random() < 0.97 else source.pick([b"", b"cm", b"kmx"])


def _radius(source: Generator) -> list[bytes]:
    return [_size(source), _unit(source)]


def _points(source: Generator) -> list[bytes]:
    return [word for _ in range(source.random.randint(1, 5)) for word in (*_point(source), _member(source))]


def _many(source: Generator, key: bytes) -> Burst:
    """Sometimes a key with many points is there before a search."""
    if source.random.random() < 0.7:
        return []
    words = [word for member in PLACES for word in (*_point(source), member)]
    burst = [source.request("geoadd", key, *words)]
    return [source.request("del", key), *burst] if source.random.random() < 0.3 else burst


def _add_options(source: Generator) -> Burst:
    key = _key(source)
    words = [source.spelled(source.pick(["NX", "XX", "CH", "CH"])) for _ in range(source.random.randint(1, 2))]
    added = source.request("geoadd", key, *words, *_points(source))
    return [added, source.request("zcard", key)]


def _options(source: Generator, *, stores: bool) -> list[bytes]:
    """Any options of a search."""
    words: list[bytes] = []
    for _ in range(source.random.randint(0, 4)):
        name = source.pick(["WITHDIST", "WITHHASH", "WITHCOORD", "ASC", "DESC", "COUNT", "COUNT", "ANY", "STORE"])
        if name == "STORE":
            if stores or source.random.random() < 0.1:
                words += [source.spelled(source.pick(["STORE", "STOREDIST"])), _STORED]
        else:
            words.append(source.spelled(name))
            if name == "COUNT":
                odd = source.random.random()
                words.append(source.pick([b"1", b"2", b"3", b"100"] if odd < 0.95 else [b"0", b"-1", b"abc", b""]))
    return words if source.random.random() < 0.97 else [*words, source.pick([b"FOO", b"COUNT", b"STORE"])]


def _with_options(source: Generator, name: str, key: bytes, words: list[bytes], *, stores: bool) -> Burst:
    burst = [*_many(source, key), source.request(name, key, *words, *_options(source, stores=stores))]
    return [*burst, source.request("zrange", _STORED, b"0", b"-1", b"WITHSCORES")] if stores else burst


def _around_point(name: str, *, options: bool, stores: bool = False) -> Maker:
    def make(source: Generator) -> Burst:
        key, words = _key(source), [*_point(source), *_radius(source)]
        if options:
            return _with_options(source, name, key, words, stores=stores)
        return [*_many(source, key), source.request(name, key, *words)]

    return make


def _around_member(name: str, *, options: bool, stores: bool = False) -> Maker:
    def make(source: Generator) -> Burst:
        key, words = _key(source), [_member(source), *_radius(source)]
        if options:
            return _with_options(source, name, key, words, stores=stores)
        return [*_many(source, key), source.request(name, key, *words)]

    return make


def _where(source: Generator) -> list[bytes]:
    """Centre and shape, mostly one of each, in any order."""
    centres = [[source.spelled("FROMLONLAT"), *_point(source)], [source.spelled("FROMMEMBER"), _member(source)]]
    shapes = [
        [source.spelled("BYRADIUS"), *_radius(source)],
        [source.spelled("BYBOX"), _size(source), *_radius(source)],
    ]
    parts = [source.random.choice(centres), source.random.choice(shapes)]
    odd = source.random.random()
    if odd < 0.03:
        parts.pop()
    elif odd < 0.06:
        parts += [source.random.choice(centres)]
    elif odd < 0.09:
        parts += [source.random.choice(shapes)]
    source.random.shuffle(parts)
    return [word for part in parts for word in part]


def _search(*, options: bool) -> Maker:
    def make(source: Generator) -> Burst:
        key, words = _key(source), _where(source)
        if options:
            words += _options(source, stores=False)
        return [*_many(source, key), source.request("geosearch", key, *words)]

    return make


def _search_store(*, options: bool) -> Maker:
    def make(source: Generator) -> Burst:
        key, words = _key(source), _where(source)
        if options:
            words += [word for word in _options(source, stores=False) if not word.lower().startswith(b"with")]
            words += [source.spelled("STOREDIST")] if source.random.random() < 0.5 else []
        request = source.request("geosearchstore", _STORED, key, *words)
        stored = source.request("zrange", _STORED, b"0", b"-1", b"WITHSCORES")
        return [*_many(source, key), request, stored]

    return make


def _maker(name: str, words: Words) -> Maker:
    return lambda source: [source.request(name, _key(source), *words(source))]


def _distance_options(source: Generator) -> Burst:
    words = [_unit(source)] if source.random.random() < 0.95 else [b"m", b"m"]
    return [source.request("geodist", _key(source), _member(source), _member(source), *words)]


PLAIN_GEO: Final[dict[str, Maker]] = {
    "geoadd": _maker("geoadd", _points),
    "geodist": _maker("geodist", lambda source: [_member(source), _member(source)]),
    "geohash": _maker("geohash", _members),
    "geopos": _maker("geopos", _members),
    "georadius": _around_point("georadius", options=False),
    "georadius_ro": _around_point("georadius_ro", options=False),
    "georadiusbymember": _around_member("georadiusbymember", options=False),
    "georadiusbymember_ro": _around_member("georadiusbymember_ro", options=False),
    "geosearch": _search(options=False),
    "geosearchstore": _search_store(options=False),
}

GEO_OPTIONS: Final[dict[str, Maker]] = {
    "geoadd": _add_options,
    "geodist": _distance_options,
    "georadius": _around_point("georadius", options=True, stores=True),
    "georadius_ro": _around_point("georadius_ro", options=True),
    "georadiusbymember": _around_member("georadiusbymember", options=True, stores=True),
    "georadiusbymember_ro": _around_member("georadiusbymember_ro", options=True),
    "geosearch": _search(options=True),
    "geosearchstore": _search_store(options=True),
}
