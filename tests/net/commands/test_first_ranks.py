"""The first element that is asked for by its rank: all of a large collection are counted before, in slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import GeneratorType
from typing import Any

import pytest

from flin.errors import CommandError
from flin.net.commands import elements
from flin.objects import limits
from tests.net.commands.handling import Handling

ELEMENTS = 1000
PAGES = ELEMENTS // 64

LINES = [
    (b"SADD", b"SRANDMEMBER c"),
    (b"SADD", b"SRANDMEMBER c 3"),
    (b"SADD", b"SRANDMEMBER c -3"),
    (b"SADD", b"SPOP c"),
    (b"SADD", b"SPOP c 3"),
    (b"HSET", b"HRANDFIELD c"),
    (b"HSET", b"HRANDFIELD c 3"),
    (b"ZADD", b"ZRANDMEMBER c"),
    (b"ZADD", b"ZRANDMEMBER c 3"),
    (b"ZADD", b"ZRANK c m0700"),
    (b"ZADD", b"ZCOUNT c 500 600"),
]

Large = Callable[[bytes], Handling]


def words_of(add: bytes, names: list[bytes]) -> list[bytes]:
    if add == b"HSET":
        return [word for name in names for word in (name, b"v")]
    return [word for name in names for word in (name[1:], name)] if add == b"ZADD" else names


@pytest.fixture
def large(server: Handling, monkeypatch: pytest.MonkeyPatch) -> Large:
    monkeypatch.setattr(limits, "SLICED", 100)
    monkeypatch.setattr(limits, "MAX_WHOLE", 0)
    monkeypatch.setattr(limits, "PAGE", 64)

    def made(add: bytes) -> Handling:
        server.call(add, b"c", *words_of(add, [b"m%04d" % number for number in range(ELEMENTS)]))
        server.pending.commit()
        return server

    return made


def run(slices: Iterator[Any], between: Callable[[], object]) -> tuple[int, Any]:
    """How many slices there were, and the value; something happens after each."""
    number = 0
    while True:
        try:
            next(slices)
        except StopIteration as end:
            return number, end.value
        number += 1
        between()


@pytest.mark.parametrize(("add", "line"), LINES)
def test_they_are_counted_once_in_slices(large: Large, add: bytes, line: bytes) -> None:
    server = large(add)
    slices = server.handle(*line.split())
    assert isinstance(slices, GeneratorType)
    added = iter(range(ELEMENTS))

    def more() -> None:
        server.call(add, b"c", *words_of(add, [b"n%04d" % next(added)]))

    number, value = run(slices, more)
    assert number >= PAGES
    assert value
    again = server.handle(*line.split())
    assert not isinstance(again, GeneratorType) or run(again, lambda: None)[0] <= 1


@pytest.mark.parametrize(("add", "line"), LINES)
def test_who_is_driven_out_of_memory_again_and_again_gets_an_answer(large: Large, add: bytes, line: bytes) -> None:
    server = large(add)
    slices = server.handle(*line.split())
    number, value = run(slices, server.context.keyspace.objects.forget_all)
    assert elements.MAX_COUNTS <= number <= elements.MAX_COUNTS + 1
    assert value


@pytest.mark.parametrize(("add", "line"), LINES)
def test_a_key_that_is_deleted_meanwhile(large: Large, add: bytes, line: bytes) -> None:
    server = large(add)
    nothing = server.call(*line.replace(b" c", b" missing").split())
    slices = server.handle(*line.split())
    number, value = run(slices, lambda: server.call(b"DEL", b"c"))
    assert number == 1
    assert getattr(value, "data", value) == nothing


def test_a_key_of_another_type_meanwhile(large: Large) -> None:
    server = large(b"SADD")
    slices = server.handle(b"SPOP", b"c")
    next(slices)
    server.call(b"SET", b"c", b"v")
    with pytest.raises(CommandError, match="WRONGTYPE"):
        next(slices)
