"""The first element that is asked for by its rank: all of a large collection are counted before, in slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import GeneratorType
from typing import Any

import pytest

from flin.errors import CommandError
from flin.net.commands import elements
from flin.objects import limits
from flin.objects.live_objects import LiveObjects
from flin.objects.set import MEMBER_BYTES, Set
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


def object_of(server: Handling) -> Set:
    found = server.context.keyspace.objects.find(b"c", Set)
    assert found is not None
    return found


def words_of(add: bytes, names: list[bytes]) -> list[bytes]:
    if add == b"HSET":
        return [word for name in names for word in (name, b"v")]
    return [word for name in names for word in (name[1:], name)] if add == b"ZADD" else names


@pytest.fixture(params=[True, False], ids=["room", "no room"])
def large(server: Handling, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Large:
    """With room for large sets these are gathered; all others are found by rank."""
    if not request.param:
        monkeypatch.setattr(LiveObjects, "large_bytes", 0)
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


# Large sets that become whole.


@pytest.fixture
def large_set(large: Large) -> Handling:
    return large(b"SADD")


gathered = pytest.mark.parametrize("large", [True], ids=["room"], indirect=True)


@gathered
def test_a_large_set_gives_each_member_once(large_set: Handling) -> None:
    server = large_set
    expected = {b"m%04d" % number for number in range(ELEMENTS)}
    coming = iter(range(ELEMENTS))

    def change() -> None:
        number = next(coming)
        for name in (b"m%04d" % number, b"m%04d" % (ELEMENTS - 1 - number)):
            server.call(b"SREM", b"c", name)
            expected.discard(name)
        for name in (b"a%04d" % number, b"m05%04d" % number, b"z%04d" % number):
            server.call(b"SADD", b"c", name)
            expected.add(name)

    _, first = run(server.handle(b"SPOP", b"c"), change)
    assert object_of(server).is_whole
    popped = [first]
    while len(popped) < 300:
        popped.append(server.call(b"SPOP", b"c"))
        if len(popped) % 50 == 0:
            server.pending.commit()
            server.context.keyspace.objects.forget_all()  # what was gathered is forgotten, what was popped is not
    assert len(set(popped)) == len(popped)
    assert set(popped) <= expected
    assert set(object_of(server).elements()) == expected - set(popped)
    assert server.call(b"SCARD", b"c") == len(expected) - len(popped)


@gathered
def test_one_that_grows_beyond_the_room_is_read_by_ranks(large_set: Handling, monkeypatch: pytest.MonkeyPatch) -> None:
    server = large_set
    assert server.call(b"SRANDMEMBER", b"c")
    found = object_of(server)
    assert found.is_whole
    assert found.charge_bytes() > ELEMENTS * MEMBER_BYTES
    monkeypatch.setattr(LiveObjects, "large_bytes", (ELEMENTS + 10) * MEMBER_BYTES + 6 * ELEMENTS)
    server.call(b"SADD", b"c", *[b"n%d" % number for number in range(50)])
    assert not found.is_whole
    assert found.charge_bytes() < ELEMENTS * MEMBER_BYTES
    assert server.call(b"SPOP", b"c")
    assert server.call(b"SCARD", b"c") == ELEMENTS + 49


@gathered
def test_large_members_are_read_by_ranks(server: Handling, large: Large, monkeypatch: pytest.MonkeyPatch) -> None:
    """How large they are shows while they are gathered."""
    monkeypatch.setattr(LiveObjects, "large_bytes", ELEMENTS * (MEMBER_BYTES + 100))
    names = [b"%04d" % number + b"-" * 500 for number in range(ELEMENTS)]
    server.call(b"SADD", b"c", *names)
    server.pending.commit()
    assert {server.call(b"SPOP", b"c") for _ in range(5)} < set(names)
    assert not object_of(server).is_whole
    assert object_of(server).charge_bytes() < ELEMENTS * MEMBER_BYTES


@gathered
def test_a_set_whose_ranks_are_known_is_gathered_once_many_are_asked_for(
    large_set: Handling, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = large_set
    monkeypatch.setattr(limits, "RANK_READS", ELEMENTS // 10)
    with monkeypatch.context() as patch:
        patch.setattr(LiveObjects, "large_bytes", 0)
        for _ in range(9):
            server.call(b"SRANDMEMBER", b"c")
    assert not isinstance(server.handle(b"SRANDMEMBER", b"c"), GeneratorType)
    assert isinstance(server.handle(b"SRANDMEMBER", b"c"), GeneratorType)
    assert server.call(b"SRANDMEMBER", b"c")
    assert object_of(server).is_whole
