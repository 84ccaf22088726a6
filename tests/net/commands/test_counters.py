"""Counters: limits, strict integers, expiry kept. The digits of INCRBYFLOAT are test_long_double's."""

from __future__ import annotations

import random

import pytest

from flin.net.commands.counters import FEW, _incr_many
from flin.net.wire.numbers import SHARED
from tests.net.commands.handling import Handling

OK = b"+OK\r\n"
NO_INTEGER = "-ERR value is not an integer or out of range"
OVERFLOW = "-ERR increment or decrement would overflow"
NO_FLOAT = "-ERR value is not a valid float"
INFINITE = "-ERR increment would produce NaN or Infinity"


def test_integers(server: Handling) -> None:
    server.talk(
        [
            ("INCR k", 1),
            ("DECR k", 0),
            ("DECR k", -1),
            ("INCRBY k 10", 9),
            ("INCRBY k -20", -11),
            ("DECRBY k 5", -16),
            ("DECRBY k -16", 0),
            ("GET k", b"0"),
        ]
    )


def test_limits(server: Handling) -> None:
    server.talk(
        [
            ("SET k 9223372036854775806", OK),
            ("INCR k", (1 << 63) - 1),
            ("INCR k", OVERFLOW),
            ("INCRBY k 9223372036854775807", OVERFLOW),
            ("DECRBY k 9223372036854775807", 0),
            ("DECRBY k -9223372036854775808", "-ERR decrement would overflow"),
            ("INCRBY k -9223372036854775808", -(1 << 63)),
            ("DECR k", OVERFLOW),
            ("GET k", b"-9223372036854775808"),
        ]
    )


@pytest.mark.parametrize("text", [b"", b"abc", b"1.5", b" 1", b"1 ", b"+1", b"01", b"-0", b"1_0", b"1" * 30, b"1\0"])
def test_no_integers(server: Handling, text: bytes) -> None:
    server.call(b"SET", b"k", text)
    assert server.call(b"INCR", b"k") == NO_INTEGER
    assert server.call(b"INCRBY", b"other", text) == NO_INTEGER
    assert server.call(b"DECRBY", b"other", text) == NO_INTEGER
    assert server.call(b"GET", b"k") == text
    assert server.call(b"EXISTS", b"other") == 0


def test_expiry_is_kept(server: Handling) -> None:
    server.talk(
        [
            ("SET k 1 EX 10", OK),
            ("INCR k", 2),
            ("TTL k", 10),
            ("INCRBYFLOAT k 0.5", b"2.5"),
            ("TTL k", 10),
        ]
    )
    server.pass_time(10_000)
    server.talk([("INCR k", 1), ("TTL k", -1)])


def test_floats(server: Handling) -> None:
    server.talk(
        [
            ("INCRBYFLOAT k 10.50", b"10.5"),
            ("INCRBYFLOAT k 0.1", b"10.6"),
            ("INCRBYFLOAT k -5", b"5.6"),
            ("GET k", b"5.6"),
            ("SET k 5.0e3", OK),
            ("INCRBYFLOAT k 2.0e2", b"5200"),
            ("INCR k", 5201),
            ("INCRBYFLOAT k abc", NO_FLOAT),
            ("INCRBYFLOAT k nan", NO_FLOAT),
            ("INCRBYFLOAT k inf", INFINITE),
            ("SET k abc", OK),
            ("INCRBYFLOAT k 1", NO_FLOAT),
            ("SET k 1e4932", OK),
            ("INCRBYFLOAT k 1e4932", INFINITE),
            ("SET k -inf", OK),
            ("INCRBYFLOAT k inf", INFINITE),
            ("GET k", b"-inf"),
        ]
    )


@pytest.mark.parametrize("seed", range(60))
def test_many_at_once(seed: int) -> None:
    """Up to the largest numbers that share their texts, and beyond; with keys that are named again, few or many."""
    source = random.Random(seed)
    keys = [b"k%d" % number for number in range(source.choice((4, 4 * FEW, 20 * FEW)))]
    starts = [0, 9, 99, SHARED - 3, SHARED - 2, SHARED - 1] + [SHARED, 10**12] * source.randrange(2)
    held = {key: b"%d" % source.choice(starts) for key in keys if source.random() < 0.9}
    asked = tuple(source.choices(keys, k=source.randrange(1, 5 * FEW)))
    if source.random() < 0.5:
        asked = tuple(dict.fromkeys(asked))
    together, alone = Handling(), Handling()
    for server in (together, alone):
        for key, text in held.items():
            server.call(b"SET", key, text)
    assert _incr_many(together.context, asked) == [alone.wire(b"INCR", key) for key in asked]
    for key in keys:
        assert together.call(b"GET", key) == alone.call(b"GET", key)
