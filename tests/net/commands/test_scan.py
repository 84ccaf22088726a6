"""Walks over all keys: KEYS and SCAN by patterns, SCAN's guarantee while keys come and go, RANDOMKEY's fairness."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from flin.engine.entry import make_entry
from flin.net.commands import scan
from tests.net.commands.handling import LIST_TAG, START_MS, Handling

OK = b"+OK\r\n"
SYNTAX = "-ERR syntax error"


@pytest.fixture
def filled(server: Handling) -> Handling:
    for number in range(500):
        server.put(b"key:%03d" % number, b"v")
    return server


def whole_scan(server: Handling, *options: bytes) -> list[bytes]:
    found: list[bytes] = []
    cursor = b"0"
    while True:
        cursor, page = server.call(b"SCAN", cursor, *options)
        found += page
        if cursor == b"0":
            return found


def test_keys(server: Handling) -> None:
    server.talk(
        [
            ("KEYS *", []),
            ("MSET a 1 user:1 2 user:2 3 user 4 v 5", OK),
            ("KEYS *", [b"a", b"user", b"user:1", b"user:2", b"v"]),
            ("KEYS user:*", [b"user:1", b"user:2"]),
            ("KEYS user*", [b"user", b"user:1", b"user:2"]),
            ("KEYS *2", [b"user:2"]),
            ("KEYS user:[12]", [b"user:1", b"user:2"]),
            ("KEYS user:1", [b"user:1"]),
            ("KEYS none", []),
            ("KEYS ?", [b"a", b"v"]),
        ]
    )


def test_keys_beginning_with_ff(server: Handling) -> None:
    keys = [b"\xff", b"\xff\x00", b"\xff\x01", b"\xff\xff", b"\xff\xff*"]
    for key in keys:
        server.call(b"SET", key, b"v")
    assert server.call(b"KEYS", b"*") == keys
    assert server.call(b"KEYS", b"\xff*") == keys
    assert server.call(b"KEYS", b"\xff\xff*") == keys[3:]
    assert sorted(whole_scan(server, b"COUNT", b"2", b"MATCH", b"\xff*")) == keys


@pytest.mark.parametrize("count", [1, 7, 10, 31, 32, 33, 499, 500, 1000])
def test_whole_scan(filled: Handling, count: int) -> None:
    assert whole_scan(filled, b"COUNT", b"%d" % count) == [b"key:%03d" % number for number in range(500)]
    assert len(filled.services.cursors) <= 2


@pytest.mark.parametrize("pattern", [b"*", b"key:*", b"key:0*", b"*7", b"key:123", b"none", b"key:[0-1]?5", b"z*"])
def test_scan_with_pattern(filled: Handling, pattern: bytes) -> None:
    for count in (b"3", b"1000"):
        assert whole_scan(filled, b"MATCH", pattern, b"COUNT", count) == filled.call(b"KEYS", pattern)


def test_scan_ends_at_the_prefix(filled: Handling) -> None:
    """A pattern's literal prefix bounds the walk: two calls, however many keys there are elsewhere."""
    cursor, page = filled.call(b"SCAN", b"0", b"MATCH", b"key:12*", b"COUNT", b"9")
    assert len(page) == 9
    assert filled.call(b"SCAN", cursor, b"MATCH", b"key:12*", b"COUNT", b"9") == [b"0", [b"key:129"]]


def test_a_costly_pattern_is_searched_in_small_slices(server: Handling) -> None:
    keys = [b"%02d" % number + b"a" * 3000 for number in range(20)]
    for key in keys:
        server.put(key, b"v")
    pattern = b"*" + b"[ab]" * 150 + b"*"
    slices = scan.keys(server.context, [b"KEYS", pattern])
    assert len(list(slices)) == 10  # two keys each
    assert server.call(b"KEYS", pattern) == keys
    assert whole_scan(server, b"MATCH", pattern, b"COUNT", b"7") == keys


def test_scan_by_type(server: Handling) -> None:
    server.put(b"list", make_entry(b"parts", 0, LIST_TAG))
    server.put(b"old", make_entry(b"v", START_MS))
    server.put(b"string", b"v")
    server.put(b"timed", make_entry(b"v", START_MS + 1))
    assert whole_scan(server, b"TYPE", b"string") == [b"string", b"timed"]
    assert whole_scan(server, b"TYPE", b"STRING", b"MATCH", b"t*") == [b"timed"]
    assert whole_scan(server, b"TYPE", b"nosuch") == []
    assert whole_scan(server) == [b"list", b"string", b"timed"]


def test_scan_returns_what_is_there_all_the_time(filled: Handling) -> None:
    """While other keys come and go before, at and after the scan's position."""
    source = random.Random(5)
    stable = {b"key:%03d" % number for number in range(0, 500, 3)}
    found: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, page = filled.call(b"SCAN", cursor)
        found.update(page)
        if cursor == b"0":
            break
        for _ in range(20):
            key = b"key:%03d" % source.randrange(500)
            if key not in stable:
                filled.call(*source.choice([(b"DEL", key), (b"SET", key, b"w")]))
            filled.call(b"SET", b"new:%d" % source.randrange(100), b"v")
    assert stable <= found


def test_a_lost_reply_is_asked_for_again(filled: Handling) -> None:
    cursor, _ = filled.call(b"SCAN", b"0")
    first = filled.call(b"SCAN", cursor)
    assert filled.call(b"SCAN", cursor)[1] == first[1]


def test_unknown_cursors_begin_again(filled: Handling) -> None:
    first = filled.call(b"SCAN", b"0")[1]
    for cursor in (b"17", b"-1", b"+5", b"00012", b"18446744073709551615", b""):
        assert filled.call(b"SCAN", cursor)[1] == first


def test_a_cursor_belongs_to_its_database(filled: Handling) -> None:
    cursor, _ = filled.call(b"SCAN", b"0")
    filled.context.select(1)
    filled.talk([("SET a 1", OK)])
    assert filled.call(b"SCAN", cursor) == [b"0", [b"a"]]
    assert filled.call(b"KEYS", b"*") == [b"a"]


def test_a_cursor_ends_at_a_zero_byte(filled: Handling) -> None:
    _, first = filled.call(b"SCAN", b"0")
    for cursor in (b"\0", b"0\0abc"):
        assert filled.call(b"SCAN", cursor)[1] == first


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("SCAN abc", "-ERR invalid cursor"),
        ("SCAN 1a", "-ERR invalid cursor"),
        ("SCAN +", "-ERR invalid cursor"),
        ("SCAN 18446744073709551616", "-ERR invalid cursor"),
        ("SCAN 0 COUNT 0", SYNTAX),
        ("SCAN 0 COUNT -5", SYNTAX),
        ("SCAN 0 COUNT abc", "-ERR value is not an integer or out of range"),
        ("SCAN 0 COUNT", SYNTAX),
        ("SCAN 0 MATCH", SYNTAX),
        ("SCAN 0 FOO bar", SYNTAX),
        ("SCAN 0 COUNT 5 TYPE", SYNTAX),
    ],
)
def test_errors_of_scan(filled: Handling, line: str, error: str) -> None:
    filled.talk([(line, error)])


def test_randomkey(server: Handling) -> None:
    server.talk([("RANDOMKEY", None), ("SET a 1", OK), ("RANDOMKEY", b"a")])
    server.put(b"b", b"v")
    server.put(b"c", b"v")
    drawn = Counter(server.call(b"RANDOMKEY") for _ in range(900))
    assert set(drawn) == {b"a", b"b", b"c"}
    assert min(drawn.values()) > 200  # 300 expected; fewer than 200 in one of 10**12 runs


def test_randomkey_among_expired_keys(server: Handling) -> None:
    """They count until they are swept, but are never drawn."""
    for number in range(100):
        server.put(b"old:%d" % number, make_entry(b"v", START_MS))
    assert server.call(b"RANDOMKEY") is None
    server.put(b"live", b"v")
    assert {server.call(b"RANDOMKEY") for _ in range(20)} == {b"live"}
