"""Points on the earth: what random requests against Redis (tests/net/test_differential.py) do not show."""

from __future__ import annotations

from types import GeneratorType

import pytest

from flin.net.command.registry import find
from flin.net.wire.replies import last_of
from flin.objects import limits
from tests.net.commands.handling import Handling


@pytest.fixture
def sicily() -> Handling:
    handling = Handling()
    handling.call(b"GEOADD", b"g", b"13.361389", b"38.115556", b"Palermo", b"15.087269", b"37.502669", b"Catania")
    return handling


def test_a_point_and_its_forms(sicily: Handling) -> None:
    assert sicily.call(b"GEODIST", b"g", b"Palermo", b"Catania", b"KM") == b"166.2742"
    assert sicily.call(b"GEOHASH", b"g", b"Palermo", b"none") == [b"sqc8b49rny0", None]
    assert sicily.wire(b"GEOPOS", b"g", b"Palermo", b"none") == (
        b"*2\r\n*2\r\n$20\r\n13.36138933897018433\r\n$20\r\n38.11555639549629859\r\n*-1\r\n"
    )
    sicily.session.set_protocol(3)
    assert sicily.wire(b"GEOPOS", b"g", b"Palermo", b"none") == (
        b"*2\r\n*2\r\n,13.36138933897018433\r\n,38.11555639549629859\r\n_\r\n"
    )


def test_a_search_shows_what_is_asked_for(sicily: Handling) -> None:
    words = b"GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km ASC WITHHASH WITHDIST COUNT 1".split(b" ")
    assert sicily.call(*words) == [[b"Catania", b"56.4413", 3479447370796909]]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("GEOADD g 181 0 a", "-ERR invalid longitude,latitude pair 181.000000,0.000000"),
        ("GEOADD g NX XX 1 1 a", "-ERR syntax error"),
        ("GEODIST g Palermo Catania cm", "-ERR unsupported unit provided. please use M, KM, FT, MI"),
        ("GEOSEARCH g FROMMEMBER nobody BYRADIUS 1 m", "-ERR could not decode requested zset member"),
        ("GEOSEARCH g FROMMEMBER Palermo BYBOX -1 1 m", "-ERR height or width cannot be negative"),
        ("GEORADIUS g 15 37 -1 km", "-ERR radius cannot be negative"),
        ("GEORADIUS_RO g 15 37 1 km STORE d", "-ERR syntax error"),
        (
            "GEORADIUS g 15 37 1 km STORE d WITHDIST",
            "-ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
        ("GEOSEARCH g FROMMEMBER Palermo BYRADIUS 1 m ANY", "-ERR the ANY argument requires COUNT argument"),
    ],
)
def test_errors(sicily: Handling, line: str, error: str) -> None:
    assert sicily.call(*line.encode().split(b" ")) == error


def test_what_is_stored(sicily: Handling) -> None:
    sicily.talk(
        [
            ("SET d string", b"+OK\r\n"),
            ("GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 100 km STOREDIST", 1),
            ("GEOSEARCHSTORE d g FROMLONLAT 80 37 BYRADIUS 100 km", 0),
            ("EXISTS d", 0),
            ("GEORADIUS g 15 37 200 km STOREDIST d STORE e", 2),
            ("ZSCORE e Palermo", 3479099956230698.0),
            ("EXISTS d", 0),
            ("GEORADIUS none 15 37 200 km STORE e", 0),
            ("EXISTS e", 0),
        ]
    )


def test_the_keys_that_a_command_names() -> None:
    command = find(b"georadius")
    assert command is not None
    line = b"GEORADIUS g 15 37 200 km STORE d COUNT 1 STOREDIST e"
    assert command.keys.positions(line.split(b" ")) == [1, 11]
    assert command.keys.positions(line.split(b" ")[:6]) == [1]


def test_a_search_in_a_large_one_goes_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows the state at its beginning."""
    handling = Handling()
    monkeypatch.setattr(limits, "SLICED", 100)
    monkeypatch.setattr(limits, "PAGE", 10)
    words = [word for number in range(200) for word in (b"1.%03d" % number, b"1", b"%d" % number)]
    handling.call(b"GEOADD", b"g", *words)
    slices = handling.handle(*b"GEOSEARCH g FROMLONLAT 1 1 BYRADIUS 100 km ASC".split(b" "))
    assert isinstance(slices, GeneratorType)
    next(slices)
    handling.call(b"DEL", b"g")
    assert last_of(slices) == [b"%d" % number for number in range(200)]
