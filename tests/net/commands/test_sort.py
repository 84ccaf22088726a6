"""SORT: what BY and GET name, orders, limits, what is stored, what is refused; slices only where keys are cold."""

from __future__ import annotations

from typing import Any

import pytest

import flin.objects.limits
from flin.engine.entry import Entry
from flin.net.wire.double import maybe_double
from tests.net.commands.handling import Handling
from tests.net.fake_store import FakeStore

OK = b"+OK\r\n"
SYNTAX = "-ERR syntax error"
WRONG_TYPE = "-WRONGTYPE Operation against a key holding the wrong kind of value"
NO_DOUBLE = "-ERR One or more scores can't be converted into double"
OUT_OF_MEMORY = "-OOM command not allowed when used memory > 'maxmemory'."


@pytest.fixture(params=["packed", "spread"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Handling:
    if request.param == "spread":
        monkeypatch.setattr(flin.objects.limits, "MAX_PACKED_ELEMENTS", 2)
        monkeypatch.setattr(flin.objects.limits, "MAX_WHOLE", 0)
    return Handling()


@pytest.fixture
def filled(server: Handling) -> Handling:
    """Users with ages and names."""
    server.call(b"RPUSH", b"l", b"3", b"1", b"20", b"2")
    server.call(b"SADD", b"s", b"3", b"1", b"20", b"2")
    server.call(b"MSET", b"age_1", b"50", b"age_2", b"9", b"age_3", b"9", b"name_1", b"bob", b"name_20", b"al")
    for number, team in ((b"1", b"red"), (b"2", b"blue"), (b"20", b"green")):
        server.call(b"HSET", b"user:" + number, b"team", team, b"other", b"x", b"more", b"y")
    return server


def test_orders(filled: Handling) -> None:
    filled.talk(
        [
            ("SORT l", [b"1", b"2", b"3", b"20"]),
            ("SORT s DESC", [b"20", b"3", b"2", b"1"]),
            ("SORT l ALPHA", [b"1", b"2", b"20", b"3"]),
            ("SORT l DESC ASC alpha", [b"1", b"2", b"20", b"3"]),
            ("SORT l BY nosort", [b"3", b"1", b"20", b"2"]),
            ("SORT l BY nosort DESC", [b"2", b"20", b"1", b"3"]),
            ("SORT l BY nosort DESC LIMIT 1 2", [b"20", b"1"]),
            ("SORT l LIMIT 1 2", [b"2", b"3"]),
            ("SORT l LIMIT -3 2", [b"1", b"2"]),
            ("SORT l LIMIT 2 -1", [b"3", b"20"]),
            ("SORT l LIMIT 4 2", []),
            ("SORT none", []),
            ("SORT_RO l DESC", [b"20", b"3", b"2", b"1"]),
        ]
    )


def test_sorted_sets(server: Handling) -> None:
    server.call(b"ZADD", b"z", b"5", b"1", b"4", b"30", b"3", b"2", b"2", b"7")
    server.talk(
        [
            ("SORT z", [b"1", b"2", b"7", b"30"]),
            ("SORT z ALPHA DESC", [b"7", b"30", b"2", b"1"]),
            ("SORT z BY nosort", [b"7", b"2", b"30", b"1"]),
            ("SORT z BY nosort DESC LIMIT 1 2", [b"30", b"2"]),
            ("SORT z BY nosort LIMIT 3 9 STORE z", 1),
            ("LRANGE z 0 -1", [b"1"]),
        ]
    )


def test_by_and_get(filled: Handling) -> None:
    """20 has no age, which counts as 0; 2 and 3 have the same."""
    filled.talk(
        [
            ("SORT s BY age_*", [b"20", b"2", b"3", b"1"]),
            ("SORT s BY age_* DESC", [b"1", b"3", b"2", b"20"]),
            ("SORT l BY user:*->team ALPHA", [b"3", b"2", b"20", b"1"]),
            ("SORT l BY user:*->none", [b"1", b"2", b"20", b"3"]),
            ("SORT l GET # GET name_* GET user:*->team", [b"1", b"bob", b"red", b"2", None, b"blue", b"3", None, None,
                                                         b"20", b"al", b"green"]),
            ("SORT l LIMIT 0 1 GET none GET user:* GET age_*->team GET user:*-> GET user*:1->team", [None] * 5),
            ("SORT l BY nosort BY age_* LIMIT 0 2", [b"3", b"1"]),
        ]
    )  # fmt: skip


def test_store(filled: Handling) -> None:
    filled.talk(
        [
            ("SORT s BY nosort STORE d", 4),
            ("LRANGE d 0 -1", [b"1", b"2", b"20", b"3"]),
            ("SORT l GET name_* STORE d", 4),
            ("LRANGE d 0 -1", [b"bob", b"", b"", b"al"]),
            ("SORT l STORE l", 4),
            ("LRANGE l 0 -1", [b"1", b"2", b"3", b"20"]),
            ("EXPIRE s 100", b":1\r\n"),
            ("SORT s DESC STORE s", 4),
            ("LRANGE s 0 0", [b"20"]),
            ("TTL s", -1),
            ("SORT none STORE d", 0),
            ("EXISTS d", 0),
            ("SORT l LIMIT 9 1 STORE none", 0),
            ("SORT_RO l STORE d", SYNTAX),
        ]
    )


def test_errors(filled: Handling) -> None:
    filled.talk(
        [
            ("SORT age_1", WRONG_TYPE),
            ("SORT user:1 BY nosort", WRONG_TYPE),
            ("SORT age_1 LIMIT 1", SYNTAX),
            ("SORT age_1 LIMIT x 1", "-ERR value is not an integer or out of range"),
            ("SORT l BY", SYNTAX),
            ("SORT l GET", SYNTAX),
            ("SORT l STORE", SYNTAX),
            ("SORT l BY name_*", NO_DOUBLE),
            ("SORT l BY name_* STORE l", NO_DOUBLE),
            ("LLEN l", 4),
        ]
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"", 0.0),
        (b" \t1.5", 1.5),
        (b"-.5e1", -5.0),
        (b"5.", 5.0),
        (b"0x1p-3", 0.125),
        (b"INF", float("inf")),
        (b"-infinity", float("-inf")),
        (b"0e999", 0.0),
        (b"7\0x", 7.0),
        (b" ", None),
        (b"1 ", None),
        (b"1_0", None),
        (b"nan", None),
        (b"1e999", None),
        (b"1e-999", None),
        (b"4.9e-324", None),
        (b"0x", None),
        (b"0x1p99999", None),
    ],
)
def test_numbers(text: bytes, number: float | None) -> None:
    assert maybe_double(text) == number


def test_too_large(filled: Handling) -> None:
    object.__setattr__(filled.services.config.options, "memory_limit", 4 * 4 * 150)
    assert filled.call(b"SORT", b"l") == [b"1", b"2", b"3", b"20"]
    assert filled.call(b"SORT", b"l", b"STORE", b"age_1") == OUT_OF_MEMORY  # with their bytes they are too many
    filled.call(b"RPUSH", b"l", b"5")
    assert filled.call(b"SORT", b"l") == OUT_OF_MEMORY
    assert filled.call(b"GET", b"age_1") == b"50"


def test_the_keys_of_a_request(server: Handling) -> None:
    def keys(*words: bytes) -> Any:
        return server.call(b"COMMAND", b"GETKEYS", *words)

    assert keys(b"SORT", b"l", b"BY", b"store", b"GET", b"x", b"LIMIT", b"STORE", b"y") == [b"l"]
    assert keys(b"SORT", b"l", b"STORE", b"a", b"ALPHA", b"store", b"b") == [b"l", b"b"]
    assert keys(b"SORT_RO", b"l", b"STORE", b"a") == [b"l"]


def test_cold_keys_are_read_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of 600 weights is in memory: a thread reads them, in slices, and then they are sorted in one step."""

    def read(store: FakeStore, key: bytes, *, values: bool = True) -> Entry | None:
        store.cold.discard(key)
        return store.entries.get(key)

    monkeypatch.setattr(FakeStore, "read", read)
    server = Handling()
    numbers = [b"%d" % number for number in range(600)]
    server.call(b"RPUSH", b"l", *numbers)
    server.call(b"MSET", *(word for number in numbers for word in (b"w_" + number, b"-" + number)))
    server.pending.commit()
    server.store.make_cold(*(b"w_" + number for number in numbers))
    slices = server.handle(b"SORT", b"l", b"BY", b"w_*", b"GET", b"w_*", b"LIMIT", b"0", b"2")
    loads = []
    while True:
        try:
            load = next(slices)
        except StopIteration as finished:
            assert finished.value == [b"-599", b"-598"]
            break
        if load is not None:
            loads.append(load)
            load()
    assert len(loads) == 3  # of 256 keys
