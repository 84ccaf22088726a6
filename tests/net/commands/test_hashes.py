"""Hashes: replies of both protocols, errors in their order, both forms, fair chances, slices."""

from __future__ import annotations

import random
from collections import Counter
from itertools import chain
from types import GeneratorType
from typing import Any

import pytest

import flin.objects.limits
from flin.errors import LimitError
from flin.net.wire.glob import compile_glob
from flin.net.wire.numbers import INT64_MAX as MOST
from flin.net.wire.replies import Reply, last_of
from flin.net.wire.resp import encode2, split_replies
from flin.objects import limits
from flin.objects.hash import Hash
from tests.net.commands.handling import Handling

OK = b"+OK\r\n"
ZERO, ONE = b":0\r\n", b":1\r\n"
EMPTY = b"*0\r\n"
SYNTAX = "-ERR syntax error"
WRONG_TYPE = "-WRONGTYPE Operation against a key holding the wrong kind of value"
NO_INTEGER = "-ERR value is not an integer or out of range"
NO_FLOAT = "-ERR value is not a valid float"
OVERFLOW = "-ERR increment or decrement would overflow"
SMALL = 4
SEED = 12


@pytest.fixture(params=["packed", "spread", "never whole"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Handling:
    """Hashes as they are; such that are spread from the fifth field on; and such that are never whole then."""
    if request.param != "packed":
        monkeypatch.setattr(flin.objects.limits, "MAX_PACKED_ELEMENTS", SMALL)
    if request.param == "never whole":
        monkeypatch.setattr(flin.objects.limits, "MAX_WHOLE", 0)
    return Handling()


@pytest.fixture
def filled(server: Handling) -> Handling:
    """Twelve fields: packed by the usual limit, spread by the small one."""
    server.call(b"HSET", b"h", *(word for number in range(12) for word in (b"f%02d" % number, b"%d" % number)))
    return server


FILLED = {b"f%02d" % number: b"%d" % number for number in range(12)}


def test_fields(server: Handling) -> None:
    server.talk(
        [
            ("HSET h a 1 b 2", 2),
            ("HSET h a 3 c 4", 1),
            ("HSET h d 5 d 6 d 7", 1),
            ("HMSET h a 8 e 9", OK),
            ("HGET h a", b"8"),
            ("HGET h none", None),
            ("HGET none a", None),
            ("HMGET h d none a d", [b"7", None, b"8", b"7"]),
            ("HMGET none a b", [None, None]),
            ("HLEN h", 5),
            ("HLEN none", 0),
            ("HEXISTS h a", ONE),
            ("HEXISTS h none", ZERO),
            ("HEXISTS none a", ZERO),
            ("HSTRLEN h a", 1),
            ("HSTRLEN h none", 0),
            ("HSTRLEN none a", 0),
            ("HSETNX h a 0", ZERO),
            ("HSETNX h f 10", ONE),
            ("HSETNX new '' ''", ONE),
            ("HGET new ''", b""),
            ("HEXISTS new ''", ONE),
            ("HSETNX new '' x", ZERO),
            ("HDEL h a b none a", 2),
            ("HDEL h none", 0),
            ("HDEL none a", ZERO),
            ("HLEN h", 4),
            ("TYPE h", b"+hash\r\n"),
        ]
    )
    assert server.call(b"HGETALL", b"h") == {b"c": b"4", b"d": b"7", b"e": b"9", b"f": b"10"}


def test_an_empty_hash_is_no_key(server: Handling) -> None:
    server.talk(
        [
            ("HSET h a 1 b 2", 2),
            ("EXPIRE h 100", ONE),
            ("HDEL h a b", 2),
            ("EXISTS h", 0),
            ("TYPE h", b"+none\r\n"),
            ("HSET h a 1", 1),
            ("TTL h", -1),
            ("HINCRBY none f x", NO_INTEGER),
            ("HINCRBYFLOAT none f x", NO_FLOAT),
            ("HINCRBYFLOAT none f inf", "-ERR value is NaN or Infinity"),
            ("EXISTS none", 0),
        ]
    )


def test_expiry_is_kept(server: Handling) -> None:
    server.talk(
        [
            ("HSET h a 1", 1),
            ("EXPIRE h 10", ONE),
            ("HSET h b 2 c 3 d 4 e 5 f 6", 5),
            ("HINCRBY h a 1", 2),
            ("HDEL h b", 1),
            ("TTL h", 10),
        ]
    )
    server.pass_time(10_000)
    server.talk([("HGET h a", None), ("HLEN h", 0), ("HSET h a 1", 1), ("TTL h", -1), ("HLEN h", 1)])


def test_integers(server: Handling) -> None:
    server.talk(
        [
            ("HINCRBY h f 5", 5),
            ("HINCRBY h f -7", -2),
            ("HGET h f", b"-2"),
            ("HINCRBY h f x", NO_INTEGER),
            ("HINCRBY h f 9223372036854775808", NO_INTEGER),
            ("HINCRBY h f -9223372036854775807", OVERFLOW),
            ("HGET h f", b"-2"),
            ("HINCRBY h f 9223372036854775807", 9223372036854775805),
            ("HINCRBY h f 3", OVERFLOW),
            ("HSET h f 01", 0),
            ("HINCRBY h f 1", "-ERR hash value is not an integer"),
            ("HINCRBY h f x", NO_INTEGER),
            ("HGET h f", b"01"),
        ]
    )


def test_floats(server: Handling) -> None:
    server.talk(
        [
            ("HINCRBYFLOAT h f 10.50", b"10.5"),
            ("HINCRBYFLOAT h f 0.1", b"10.6"),
            ("HINCRBYFLOAT h f -5e0", b"5.6"),
            ("HINCRBYFLOAT h new -0", b"0"),
            ("HGET h f", b"5.6"),
            ("HINCRBYFLOAT h f nan", NO_FLOAT),
            ("HINCRBYFLOAT h f 1e5000", NO_FLOAT),
            ("HINCRBYFLOAT h f -inf", "-ERR value is NaN or Infinity"),
            ("HSET h f abc", 0),
            ("HINCRBYFLOAT h f 1", "-ERR hash value is not a float"),
            ("HINCRBYFLOAT h f abc", NO_FLOAT),
            ("HSET h f inf", 0),
            ("HINCRBYFLOAT h f 1", "-ERR increment would produce NaN or Infinity"),
            ("HSET h f 1e4932", 0),
            ("HINCRBYFLOAT h f 1e4932", "-ERR increment would produce NaN or Infinity"),
            ("HGET h f", b"1e4932"),
        ]
    )


HASH_LINES = [
    "HDEL k a",
    "HEXISTS k a",
    "HGET k a",
    "HGETALL k",
    "HINCRBY k a 1",
    "HINCRBYFLOAT k a 1",
    "HKEYS k",
    "HLEN k",
    "HMGET k a",
    "HMSET k a 1",
    "HRANDFIELD k",
    "HRANDFIELD k 0",
    "HRANDFIELD k -3",
    "HSCAN k 0",
    "HSCAN k 0 FOO",
    "HSET k a 1",
    "HSETNX k a 1",
    "HSTRLEN k a",
    "HVALS k",
]


@pytest.mark.parametrize("line", HASH_LINES)
def test_a_string_is_no_hash(server: Handling, line: str) -> None:
    server.talk([("SET k v", OK), (line, WRONG_TYPE), ("GET k", b"v")])


STRING_LINES = [
    "GET h",
    "GETSET h x",
    "GETDEL h",
    "GETEX h",
    "APPEND h x",
    "STRLEN h",
    "SETRANGE h 0 x",
    "GETRANGE h 0 1",
    "INCR h",
    "INCRBYFLOAT h 1",
    "SET h x GET",
    "SETBIT h 0 1",
    "BITCOUNT h",
    "BITFIELD h GET u8 0",
]


@pytest.mark.parametrize("line", STRING_LINES)
def test_a_hash_is_no_string(filled: Handling, line: str) -> None:
    filled.talk([(line, WRONG_TYPE)])
    assert filled.call(b"HGETALL", b"h") == FILLED


def test_a_string_in_a_hashs_place(filled: Handling) -> None:
    filled.talk(
        [
            ("MGET h", [None]),
            ("SETNX h x", ZERO),
            ("SET h x", OK),
            ("GET h", b"x"),
            ("HLEN h", WRONG_TYPE),
            ("DEL h", 1),
            ("HLEN h", 0),
            ("HSET h f00 1", 1),
            ("HLEN h", 1),
        ]
    )


@pytest.mark.parametrize("name", ["hset", "hmset"])
def test_pairs_are_whole(server: Handling, name: str) -> None:
    """Whatever the key holds: the number of arguments comes first."""
    error = f"-ERR wrong number of arguments for '{name}' command"
    server.talk([("SET k v", OK), (f"{name} k a 1 b", error), (f"{name} none a 1 b", error), ("EXISTS none", 0)])


# Shapes on the wire.

PAIR2, PAIR3 = b"*2\r\n$1\r\na\r\n$1\r\n1\r\n", b"%1\r\n$1\r\na\r\n$1\r\n1\r\n"
FIELD = b"$1\r\na\r\n"

SHAPES = [
    ("HGETALL h", PAIR2, PAIR3),
    ("HGETALL none", EMPTY, b"%0\r\n"),
    ("HKEYS h", b"*1\r\n" + FIELD, b"*1\r\n" + FIELD),
    ("HKEYS none", EMPTY, EMPTY),
    ("HVALS h", b"*1\r\n$1\r\n1\r\n", b"*1\r\n$1\r\n1\r\n"),
    ("HVALS none", EMPTY, EMPTY),
    ("HMGET h a b", b"*2\r\n$1\r\n1\r\n$-1\r\n", b"*2\r\n$1\r\n1\r\n_\r\n"),
    ("HMGET none a", b"*1\r\n$-1\r\n", b"*1\r\n_\r\n"),
    ("HRANDFIELD h", FIELD, FIELD),
    ("HRANDFIELD none", b"$-1\r\n", b"_\r\n"),
    ("HRANDFIELD h 5", b"*1\r\n" + FIELD, b"*1\r\n" + FIELD),
    ("HRANDFIELD h -2", b"*2\r\n" + FIELD * 2, b"*2\r\n" + FIELD * 2),
    ("HRANDFIELD h 0 WITHVALUES", EMPTY, EMPTY),
    ("HRANDFIELD h 5 withvalues", PAIR2, b"*1\r\n" + PAIR2),
    ("HRANDFIELD h -2 WITHVALUES", b"*4" + PAIR2[2:] + PAIR2[4:], b"*2\r\n" + PAIR2 * 2),
    ("HRANDFIELD none -5 WITHVALUES", EMPTY, EMPTY),
    ("HSCAN h 0", b"*2\r\n$1\r\n0\r\n" + PAIR2, b"*2\r\n$1\r\n0\r\n" + PAIR2),
    ("HSCAN none 0", b"*2\r\n$1\r\n0\r\n*0\r\n", b"*2\r\n$1\r\n0\r\n*0\r\n"),
    ("HINCRBYFLOAT h f 0.5", b"$3\r\n0.5\r\n", b"$3\r\n0.5\r\n"),
    ("HEXISTS h a", ONE, ONE),
    ("HGET h b", b"$-1\r\n", b"_\r\n"),
]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(("line", "resp2", "resp3"), SHAPES, ids=[line for line, _, _ in SHAPES])
def test_shapes(server: Handling, protocol: int, line: str, resp2: bytes, resp3: bytes) -> None:
    server.session.set_protocol(protocol)
    server.call(b"HSET", b"h", b"a", b"1")
    assert server.wire(*line.encode().split()) == (resp3 if protocol == 3 else resp2)


def test_everything(filled: Handling) -> None:
    assert filled.call(b"HGETALL", b"h") == FILLED
    assert sorted(filled.call(b"HKEYS", b"h")) == sorted(FILLED)
    assert sorted(filled.call(b"HVALS", b"h")) == sorted(FILLED.values())


@pytest.fixture
def large(server: Handling, monkeypatch: pytest.MonkeyPatch) -> Handling:
    """A hash of 3,000 fields, which is spread and counts as large."""
    monkeypatch.setattr(flin.objects.limits, "SLICED", 100)
    server.call(b"HSET", b"h", *chain.from_iterable(LARGE.items()))
    return server


LARGE = {b"f%d" % number: b"v%d" % number for number in range(3000)}


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", [b"HGETALL", b"HKEYS", b"HVALS"])
def test_large_hashes_reply_in_slices(large: Handling, protocol: int, name: bytes) -> None:
    """The state at the beginning: what others change meanwhile is not in the reply."""
    large.session.set_protocol(protocol)
    slices = large.handle(name, b"h")
    next(slices)
    large.talk([("HSET h new v f1 changed", 1), ("HDEL h f0 f2999", 2)])
    reply = last_of(slices).data
    head, body = reply[: reply.index(b"\r\n")], split_replies(reply[reply.index(b"\r\n") + 2 :])
    fields, values = map(encode2, LARGE), map(encode2, LARGE.values())
    if name == b"HGETALL":
        assert head == (b"%3000" if protocol == 3 else b"*6000")
        pairs = dict(zip(body[::2], body[1::2], strict=True))
        assert pairs == dict(zip(fields, values, strict=True))
    else:
        assert head == b"*3000"
        assert sorted(body) == sorted(fields if name == b"HKEYS" else values)


@pytest.mark.parametrize("line", ["HGETALL h", "HVALS h", "HMGET h f1 f2 f1 f2", "HRANDFIELD h 999 WITHVALUES",
                                  "HRANDFIELD h -3000", "HRANDFIELD h 2999 WITHVALUES"])  # fmt: skip
def test_a_reply_that_is_too_large(large: Handling, line: str) -> None:
    """One field named many times is a reply larger than all that is in memory."""
    large.call(b"HSET", b"h", b"f1", b"x" * 600, b"f2", b"y" * 600)
    large.services.config.largest_reply_bytes = 1000
    with pytest.raises(LimitError, match="the size of the reply in bytes"):
        large.call(*line.encode().split())


def test_far_too_many_at_random(server: Handling) -> None:
    """Refused at once, before a slice of it is drawn."""
    server.call(b"HSET", b"h", b"a", b"1")
    with pytest.raises(LimitError, match="the size of the reply in bytes"):
        server.call(b"HRANDFIELD", b"h", b"-9223372036854775807")


# HSCAN.


def whole_scan(server: Handling, *options: bytes) -> tuple[list[tuple[bytes, bytes]], int]:
    """All pairs, and the number of calls."""
    found: list[tuple[bytes, bytes]] = []
    cursor = b"0"
    for calls in range(1, 5000):
        cursor, page = server.call(b"HSCAN", b"h", cursor, *options)
        words = _elements(page)
        found += zip(words[::2], words[1::2], strict=True)
        if cursor == b"0":
            return found, calls
    raise AssertionError("the scan never ends")


def _elements(array: list[bytes] | Reply) -> list[bytes]:
    """Of an array of bulks, which may be a finished reply."""
    if isinstance(array, list):
        return array
    bulks = split_replies(array.data[array.data.index(b"\r\n") + 2 :])
    return [bulk[bulk.index(b"\r\n") + 2 : -2] for bulk in bulks]


def test_packed_scans_return_all(server: Handling) -> None:
    pairs = {b"a": b"1", b"b": b"2", b"c": b""}
    server.call(b"HSET", b"h", *chain.from_iterable(pairs.items()))
    for options in ([], [b"COUNT", b"1"], [b"COUNT", b"1", b"MATCH", b"*"]):
        assert whole_scan(server, *options) == (list(pairs.items()), 1)
    assert whole_scan(server, b"MATCH", b"[bc]")[0] == [(b"b", b"2"), (b"c", b"")]
    assert server.call(b"HSCAN", b"h", b"17", b"MATCH", b"none") == [b"0", []]


@pytest.mark.parametrize("count", [10, 255, 256, 257, 2999, 3000, 5000])
def test_spread_scans(large: Handling, count: int) -> None:
    found, calls = whole_scan(large, b"COUNT", b"%d" % count)
    assert sorted(found) == sorted(LARGE.items())
    assert calls == -(-3000 // count)
    assert len(large.services.cursors) <= 2


def test_patterns_of_spread_scans(large: Handling) -> None:
    for pattern in (b"f1*", b"*9", b"f[0-1]?5", b"f123", b"none", b"v*"):
        expected = sorted(field for field in LARGE if compile_glob(pattern).matches(field))
        found, _ = whole_scan(large, b"MATCH", pattern, b"COUNT", b"400")
        assert sorted(field for field, _ in found) == expected


def test_a_cursor_is_that_of_its_hash(large: Handling) -> None:
    """For another hash, or for keys, it is unknown; so those scans begin at the beginning, and miss nothing."""
    cursor, _ = large.call(b"HSCAN", b"h", b"0", b"COUNT", b"2000")
    large.talk([("COPY h i", ONE)])
    _, page = large.call(b"HSCAN", b"i", cursor, b"COUNT", b"3000")
    assert len(_elements(page)) == 6000
    assert large.call(b"SCAN", cursor) == [b"0", [b"h", b"i"]]
    large.context.select(1)
    assert large.call(b"HSCAN", b"h", cursor) == [b"0", []]
    large.context.select(0)
    _, page = large.call(b"HSCAN", b"h", cursor, b"COUNT", b"3000")
    assert len(_elements(page)) == 2000


def test_a_scan_returns_what_is_there_all_the_time(large: Handling) -> None:
    chance = random.Random(SEED)
    stable = {field for number, field in enumerate(LARGE) if number % 3 == 0}
    found: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, page = large.call(b"HSCAN", b"h", cursor, b"COUNT", b"20")
        found.update(_elements(page)[::2])
        if cursor == b"0":
            break
        for _ in range(10):
            field = b"f%d" % chance.randrange(4000)
            if field not in stable:
                large.call(*chance.choice([(b"HDEL", b"h", field), (b"HSET", b"h", field, b"w")]))
    assert stable <= found


def test_a_hash_that_goes_while_it_is_scanned(large: Handling) -> None:
    slices = large.handle(b"HSCAN", b"h", b"0", b"COUNT", b"3000")
    next(slices)
    large.talk([("DEL h", 1)])
    cursor, page = last_of(slices)
    assert cursor == b"0"
    assert 0 < len(_elements(page)) < 6000


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("HSCAN h abc", "-ERR invalid cursor"),
        ("HSCAN none abc", "-ERR invalid cursor"),
        ("HSCAN k abc", "-ERR invalid cursor"),
        ("HSCAN k 0 FOO", WRONG_TYPE),
        ("HSCAN h 0 FOO", SYNTAX),
        ("HSCAN h 0 COUNT", SYNTAX),
        ("HSCAN h 0 COUNT 0", SYNTAX),
        ("HSCAN h 0 COUNT x", NO_INTEGER),
        ("HSCAN h 0 TYPE string", SYNTAX),
        ("HSCAN none 0 FOO", [b"0", []]),
        ("HSCAN none 0 COUNT 0", [b"0", []]),
    ],
)
def test_errors_of_hscan(filled: Handling, line: str, error: str) -> None:
    filled.talk([("SET k v", OK), (line, error)])


# HRANDFIELD.


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("abc", NO_INTEGER),
        ("1.5", NO_INTEGER),
        ("9223372036854775808", NO_INTEGER),
        ("abc FOO", NO_INTEGER),
        ("-9223372036854775808", f"-ERR value is out of range, value must between {-MOST} and {MOST}"),
        ("1 FOO", SYNTAX),
        ("1 WITHVALUES x", SYNTAX),
        ("4611686018427387904 WITHVALUES", "-ERR value is out of range"),
        ("-4611686018427387904 WITHVALUES", "-ERR value is out of range"),
        ("0", EMPTY),
    ],
)
def test_counts_of_hrandfield(filled: Handling, words: str, answer: Any) -> None:
    """All but WRONGTYPE comes before the key is looked at."""
    filled.talk([(f"HRANDFIELD h {words}", answer), (f"HRANDFIELD none {words}", answer)])
    filled.talk([("HRANDFIELD none -9223372036854775807", EMPTY), ("HRANDFIELD none 9223372036854775807", EMPTY)])
    filled.talk(
        [(f"HRANDFIELD none {MOST // 2} WITHVALUES", EMPTY), (f"HRANDFIELD none -{MOST // 2} WITHVALUES", EMPTY)]
    )


def drawn(server: Handling, *words: bytes) -> list[bytes]:
    found = server.handle(b"HRANDFIELD", b"h", *words)
    return _elements(last_of(found) if isinstance(found, GeneratorType) else found)


@pytest.mark.parametrize("count", [1, 2, 5, 11, 12, 13, 1000])
def test_different_fields(filled: Handling, count: int) -> None:
    fields = drawn(filled, b"%d" % count)
    assert len(fields) == len(set(fields)) == min(count, 12)
    assert set(fields) <= FILLED.keys()
    words = drawn(filled, b"%d" % count, b"WITHVALUES")
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    assert len(pairs) == min(count, 12)
    assert pairs.items() <= FILLED.items()


@pytest.mark.parametrize("count", [10, 256, 257, 1000, 2999, 3000, 5000])
def test_different_fields_of_a_large_hash(large: Handling, count: int) -> None:
    words = drawn(large, b"%d" % count, b"WITHVALUES")
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    assert len(pairs) == len(words) // 2 == min(count, 3000)
    assert pairs.items() <= LARGE.items()


def test_repeated_fields(filled: Handling) -> None:
    assert len(drawn(filled, b"-1000")) == 1000
    words = drawn(filled, b"-300", b"WITHVALUES")
    assert set(zip(words[::2], words[1::2], strict=True)) <= set(FILLED.items())
    assert len(words) == 600


def test_a_hash_that_goes_while_fields_are_drawn(filled: Handling) -> None:
    slices = filled.handle(b"HRANDFIELD", b"h", b"-1000")
    next(slices)
    filled.talk([("DEL h", 1)])
    assert 0 < len(_elements(last_of(slices))) < 1000


@pytest.mark.parametrize("words", [[], [b"1"], [b"5"], [b"-3"]], ids=["one", "1", "5", "-3"])
def test_every_field_is_equally_likely(filled: Handling, words: list[bytes]) -> None:
    """Pearson's chi-squared over 12 fields: with 11 degrees of freedom above 55 once in 10**7 runs."""
    counts = Counter[bytes]()
    for _ in range(3000):
        counts.update(drawn(filled, *words) if words else [filled.call(b"HRANDFIELD", b"h")])
    expected = counts.total() / 12
    assert counts.keys() == FILLED.keys()
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 55


def test_fields_of_a_walk_are_equally_likely(large: Handling) -> None:
    """A choice of many fields of a large hash: 300 of 3,000, in 30 parts of 100 by their order."""
    counts = Counter[int]()
    for _ in range(100):
        counts.update(int(field[1:]) // 100 for field in drawn(large, b"300"))
    assert len(counts) == 30
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 90  # 29 degrees of freedom: once in 10**7


# What other commands tell of hashes.


def test_encoding(server: Handling) -> None:
    long = "x" * 65
    server.talk(
        [
            ("HSET h a 1 b 2 c 3 d 4 e 5", 5),
            ("OBJECT ENCODING h", b"listpack"),
            ("OBJECT REFCOUNT h", 1),
            ("OBJECT IDLETIME h", ZERO),
            (f"HSET h a {long[1:]}", 0),
            ("OBJECT ENCODING h", b"listpack"),
            (f"HSET h a {long}", 0),
            ("OBJECT ENCODING h", b"hashtable"),
            ("HDEL h a b", 2),
            ("OBJECT ENCODING h", b"hashtable"),
            ("DEL h", 1),
            (f"HSET h {long} 1", 1),
            ("OBJECT ENCODING h", b"hashtable"),
            ("DEL h", 1),
            (f"HSET h a {long} a 1", 1),
            ("OBJECT ENCODING h", b"hashtable"),
            ("OBJECT ENCODING none", None),
        ]
    )


def test_encoding_by_number(server: Handling) -> None:
    for number in range(512):
        server.call(b"HSET", b"h", b"%d" % number, b"v")
    server.talk(
        [
            ("OBJECT ENCODING h", b"listpack"),
            ("HSET h more v", 1),
            ("OBJECT ENCODING h", b"hashtable"),
            ("HDEL h more", 1),
            ("OBJECT ENCODING h", b"hashtable"),
        ]
    )


def test_scan_by_type(filled: Handling) -> None:
    filled.talk([("SET s v", OK), ("SCAN 0 TYPE hash", [b"0", [b"h"]]), ("SCAN 0 TYPE string", [b"0", [b"s"]])])
    filled.talk([("KEYS *", [b"h", b"s"])])
    assert last_of(filled.context.keyspace.count()) == 2


def test_look_ups_are_counted(filled: Handling) -> None:
    """Reads count, writes do not: as in Redis."""
    keyspace = filled.context.keyspace
    filled.talk(
        [("HGET h f00", b"0"), ("HGET h none", None), ("HLEN none", 0), ("HSET h f00 1", 0), ("HDEL no a", ZERO)]
    )
    assert (keyspace.hits, keyspace.misses) == (2, 1)


def test_what_reads_keep_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """HGETALL and SMEMBERS of many spread collections: each is whole from then on, and takes its place in the room."""
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", 4)
    handling = Handling()
    objects = handling.context.keyspace.objects
    room_bytes = 1 << 20
    monkeypatch.setattr(objects, "_half_bytes", room_bytes // 2)
    members = [b"%0999d" % number for number in range(100)]
    count = 2 * room_bytes // 100_000
    for number in range(count):
        handling.call(b"hset", b"h%d" % number, *(word for member in members for word in (member, b"v")))
        handling.call(b"sadd", b"s%d" % number, *members)
        handling.pending.commit()
    objects.forget_all()
    for number in range(count):
        assert len(handling.call(b"hgetall", b"h%d" % number)) == 100
        assert len(handling.call(b"smembers", b"s%d" % number)) == 100
        objects._check()
        assert objects.memory_bytes() <= room_bytes
        assert sum(found.charge_bytes() for found in [*objects.live.values(), *objects.old.values()]) <= room_bytes
    kept = next(iter(objects.old))
    handling.call(b"hlen" if kept.startswith(b"h") else b"scard", kept)
    objects._check()  # what is young again costs no room among the old ones


def test_few_huge_values_are_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply that would be too large is refused before all of it is in memory; what is large is not kept."""
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", 4)
    monkeypatch.setattr(limits, "MAX_WHOLE_BYTES", 1000)
    monkeypatch.setattr(limits, "PAGE_BYTES", 200)
    monkeypatch.setattr(limits, "FIRST_PAGE", 2)
    handling = Handling()
    pairs = [word for number in range(200) for word in (b"%03d" % number, b"v" * 100)]
    handling.call(b"hset", b"h", *pairs)
    handling.pending.commit()
    handling.context.keyspace.objects.forget_all()
    page, asked = handling.store.page, list[int]()

    def counted(start: bytes, stop: bytes, count: int, **how: Any) -> Any:
        asked.append(count)
        return page(start, stop, count, **how)

    monkeypatch.setattr(handling.store, "page", counted)
    assert len(handling.call(b"hgetall", b"h")) == 200
    assert max(asked) <= 3
    found = handling.context.keyspace.objects.find(b"h", Hash)
    assert found is not None
    assert not found.is_whole
    monkeypatch.setattr(handling.services.config, "largest_reply_bytes", 1000)
    for name in (b"hgetall", b"hvals", b"hkeys"):
        asked.clear()
        with pytest.raises(LimitError, match="the size of a hash that is read at once in bytes"):
            handling.handle(name, b"h")
        assert sum(asked) < 20
