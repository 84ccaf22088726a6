"""Sorted sets: replies of both protocols, errors in their order, both forms, fair chances, slices, several at once."""

from __future__ import annotations

import random
from collections import Counter
from types import GeneratorType
from typing import Any

import pytest

from flin.errors import LimitError
from flin.net.wire.replies import Reply, WaitForKeys, last_of
from flin.net.wire.resp import split_replies
from flin.objects import limits
from tests.net.commands.handling import Handling

OK, ZERO, ONE, EMPTY = b"+OK\r\n", b":0\r\n", b":1\r\n", b"*0\r\n"
SYNTAX = "-ERR syntax error"
WRONG_TYPE = "-WRONGTYPE Operation against a key holding the wrong kind of value"
NO_FLOAT = "-ERR value is not a valid float"
NO_INTEGER = "-ERR value is not an integer or out of range"
NOT_POSITIVE = "-ERR value is out of range, must be positive"
NO_RANGE = "-ERR min or max is not a float"
NO_LEX = "-ERR min or max not valid string range item"
NO_LIMIT = "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
NAN = "-ERR resulting score is not a number (NaN)"
OUT_OF_MEMORY = "-OOM command not allowed when used memory > 'maxmemory'."
SMALL = 4
SEED = 12


@pytest.fixture(params=["packed", "spread", "never whole"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Handling:
    """Sorted sets as they are; spread from the fifth member on; and such that are never whole then."""
    if request.param != "packed":
        monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", SMALL)
    if request.param == "never whole":
        monkeypatch.setattr(limits, "MAX_WHOLE", 0)
    random.seed(SEED)
    return Handling()


FILLED = [b"m%02d" % number for number in range(12)]
LARGE = 3000


@pytest.fixture
def filled(server: Handling) -> Handling:
    """Twelve members, m00 with the score 0 to m11 with 11."""
    server.call(b"ZADD", b"z", *(word for score, member in enumerate(FILLED) for word in (b"%d" % score, member)))
    return server


@pytest.fixture
def large(server: Handling, monkeypatch: pytest.MonkeyPatch) -> Handling:
    """3,000 members, which count as large: replies go in slices, ranks are counted in slices."""
    monkeypatch.setattr(limits, "SLICED", 100)
    pairs = [word for number in range(LARGE) for word in (b"%d" % number, b"m%04d" % number)]
    server.call(b"ZADD", b"z", *pairs)
    return server


def members_of(value: Any) -> list[bytes]:
    """Of an array of bulks, which may be a finished reply."""
    data = value.data if isinstance(value, Reply) else value
    if not isinstance(data, bytes):
        return list(data)
    return [bulk[bulk.index(b"\r\n") + 2 : -2] for bulk in split_replies(data[data.index(b"\r\n") + 2 :])]


def test_members_and_scores(server: Handling) -> None:
    server.talk(
        [
            ("ZADD z 1 a 2 b 3 c 2 a", 3),
            ("ZCARD z", 3),
            ("ZRANGE z 0 -1 WITHSCORES", [b"a", 2.0, b"b", 2.0, b"c", 3.0]),
            ("ZADD z 5 a 6 d", 1),
            ("ZSCORE z a", 5.0),
            ("ZSCORE z none", None),
            ("ZSCORE none a", None),
            ("ZMSCORE z a none d", [5.0, None, 6.0]),
            ("ZMSCORE none a b", [None, None]),
            ("ZINCRBY z 1.5 a", 6.5),
            ("ZINCRBY z -1 new", -1.0),
            ("ZRANK z new", 0),
            ("ZREVRANK z new", 4),
            ("ZRANK z none", None),
            ("ZRANK none a", None),
            ("ZREM z a none new new", 2),
            ("ZREM none a", ZERO),
            ("ZRANGE z 0 -1", [b"b", b"c", b"d"]),
            ("ZREM z b c d", 3),
            ("EXISTS z", 0),
            ("ZCARD z", 0),
        ]
    )


def test_options_of_zadd(server: Handling) -> None:
    server.talk(
        [
            ("ZADD z XX 1 a", 0),
            ("EXISTS z", 0),
            ("ZADD z NX 1 a 2 b", 2),
            ("ZADD z NX CH 9 a 3 c", 1),
            ("ZADD z XX CH 5 a 9 new", 1),
            ("ZADD z GT CH 4 a 7 b 1 d", 2),
            ("ZADD z LT CH 4 a 9 b", 1),
            ("ZADD z ch 4 a", 0),
            ("ZADD z INCR 2 a", 6.0),
            ("ZADD z NX INCR 2 a", None),
            ("ZADD z XX INCR 2 none", None),
            ("ZADD z GT INCR -2 a", None),
            ("ZADD z LT INCR 2 a", None),
            ("ZADD z LT INCR -2 a", 4.0),
            ("ZADD z NX XX 1 a", "-ERR XX and NX options at the same time are not compatible"),
            ("ZADD z GT LT 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
            ("ZADD z NX GT 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
            ("ZADD z INCR 1 a 2 b", "-ERR INCR option supports a single increment-element pair"),
            ("ZADD z 1 a 2", SYNTAX),
            ("ZADD z NX 1", SYNTAX),
            ("ZADD z 1 a x b", NO_FLOAT),
            ("ZADD z nan a", NO_FLOAT),
            ("ZINCRBY z NX a", SYNTAX),
            ("ZINCRBY z x a", NO_FLOAT),
            ("ZADD z inf i", 1),
            ("ZINCRBY z -inf i", NAN),
            ("ZADD z INCR -inf i", NAN),
            ("ZSCORE z i", float("inf")),
        ]
    )


def test_ranges(filled: Handling) -> None:
    filled.talk(
        [
            ("ZRANGE z 0 1", [b"m00", b"m01"]),
            ("ZRANGE z -2 -1", [b"m10", b"m11"]),
            ("ZRANGE z 5 4", []),
            ("ZRANGE z 12 20", []),
            ("ZRANGE z 0 1 REV", [b"m11", b"m10"]),
            ("ZREVRANGE z 1 2 WITHSCORES", [b"m10", 10.0, b"m09", 9.0]),
            ("ZRANGE z (2 4 BYSCORE", [b"m03", b"m04"]),
            ("ZRANGE z 4 (2 BYSCORE REV", [b"m04", b"m03"]),
            ("ZRANGE z -inf +inf BYSCORE LIMIT 3 2", [b"m03", b"m04"]),
            ("ZRANGE z -inf +inf BYSCORE LIMIT -1 2", []),
            ("ZRANGE z -inf +inf BYSCORE LIMIT 10 -1", [b"m10", b"m11"]),
            ("ZRANGE z +inf -inf BYSCORE REV LIMIT 1 1 WITHSCORES", [b"m10", 10.0]),
            ("ZRANGEBYSCORE z 2 3", [b"m02", b"m03"]),
            ("ZREVRANGEBYSCORE z 3 2", [b"m03", b"m02"]),
            ("ZCOUNT z (2 5", 3),
            ("ZCOUNT z -inf +inf", 12),
            ("ZCOUNT z 20 30", 0),
            ("ZCOUNT none 0 1", ZERO),
            ("ZRANGE none 0 1", EMPTY),
            ("ZRANGE z 0 1 LIMIT 0 1", NO_LIMIT),
            ("ZRANGE z - + BYLEX WITHSCORES", "-ERR syntax error, WITHSCORES not supported in combination with BYLEX"),
            ("ZRANGE z 0 1 BYSCORE BYLEX", SYNTAX),
            ("ZREVRANGE z 0 1 REV", SYNTAX),
            ("ZRANGE z a 1", NO_INTEGER),
            ("ZRANGE z a 1 BYSCORE", NO_RANGE),
            ("ZCOUNT z 1 x", NO_RANGE),
            ("ZLEXCOUNT z a +", NO_LEX),
            ("ZRANGEBYLEX z - a", NO_LEX),
        ]
    )  # fmt: skip


def test_ranges_of_members(server: Handling) -> None:
    server.call(b"ZADD", b"z", *(word for member in (b"a", b"b", b"c", b"d", b"e", b"") for word in (b"7", member)))
    server.talk(
        [
            ("ZRANGEBYLEX z - +", [b"", b"a", b"b", b"c", b"d", b"e"]),
            ("ZRANGEBYLEX z [b (d", [b"b", b"c"]),
            ("ZRANGEBYLEX z (b [d", [b"c", b"d"]),
            ("ZRANGEBYLEX z + -", []),
            ("ZREVRANGEBYLEX z [c (a", [b"c", b"b"]),
            ("ZRANGE z [c (a BYLEX REV LIMIT 1 1", [b"b"]),
            ("ZLEXCOUNT z - +", 6),
            ("ZLEXCOUNT z (a (a", 0),
            ("ZREMRANGEBYLEX z [b (d", 2),
            ("ZRANGE z 0 -1", [b"", b"a", b"d", b"e"]),
            ("ZREMRANGEBYLEX z - +", 4),
            ("EXISTS z", 0),
        ]
    )


def test_removed_ranges(filled: Handling) -> None:
    filled.talk(
        [
            ("ZREMRANGEBYRANK z 0 1", 2),
            ("ZREMRANGEBYRANK z -1 -1", 1),
            ("ZREMRANGEBYRANK z 5 4", 0),
            ("ZREMRANGEBYSCORE z (3 5", 2),
            ("ZREMRANGEBYSCORE z 50 60", 0),
            ("ZRANGE z 0 -1", [b"m02", b"m03", b"m06", b"m07", b"m08", b"m09", b"m10"]),
            ("ZREMRANGEBYSCORE z x 1", NO_RANGE),
            ("ZREMRANGEBYRANK z x 1", NO_INTEGER),
            ("ZREMRANGEBYSCORE none 0 1", ZERO),
            ("ZREMRANGEBYSCORE z -inf inf", 7),
            ("EXISTS z", 0),
            ("ZADD z 1 a", 1),
            ("ZRANGE z 0 -1", [b"a"]),
        ]
    )


def test_a_range_is_stored(filled: Handling) -> None:
    filled.talk(
        [
            ("SET d x", OK),
            ("ZRANGESTORE d z 2 4", 3),
            ("ZRANGE d 0 -1 WITHSCORES", [b"m02", 2.0, b"m03", 3.0, b"m04", 4.0]),
            ("ZRANGESTORE d z 4 3 BYSCORE REV", 2),
            ("ZRANGE d 0 -1", [b"m03", b"m04"]),
            ("ZRANGESTORE z z 0 0", 1),
            ("ZRANGE z 0 -1", [b"m00"]),
            ("ZRANGESTORE d z 5 6", 0),
            ("EXISTS d", 0),
            ("ZRANGESTORE d none 0 -1", 0),
            ("ZRANGESTORE d z 0 1 WITHSCORES", SYNTAX),
        ]
    )


def test_pops(filled: Handling) -> None:
    filled.talk(
        [
            ("ZPOPMIN z", (b"m00", 0.0)),
            ("ZPOPMAX z", (b"m11", 11.0)),
            ("ZPOPMIN z 2", [b"m01", 1.0, b"m02", 2.0]),
            ("ZPOPMAX z 2", [b"m10", 10.0, b"m09", 9.0]),
            ("ZPOPMIN z 0", []),
            ("ZPOPMIN z -1", NOT_POSITIVE),
            ("ZPOPMIN z x", NOT_POSITIVE),
            ("ZPOPMIN z 1 2", SYNTAX),
            ("ZPOPMIN none", []),
            ("ZPOPMIN none 3", []),
            ("ZMPOP 2 none z MIN", [b"z", [(b"m03", 3.0)]]),
            ("ZMPOP 1 z max count 2", [b"z", [(b"m08", 8.0), (b"m07", 7.0)]]),
            ("ZMPOP 0 z MIN", "-ERR numkeys should be greater than 0"),
            ("ZMPOP 1 z MIN COUNT 0", "-ERR count should be greater than 0"),
            ("ZMPOP 1 z FOO", SYNTAX),
            ("ZMPOP 1 z MIN COUNT", SYNTAX),
            ("BZPOPMIN none z 0", [b"z", b"m04", 4.0]),
            ("BZPOPMAX z 0", [b"z", b"m06", 6.0]),
            ("BZMPOP 0 2 none z MAX COUNT 5", [b"z", [(b"m05", 5.0)]]),
            ("EXISTS z", 0),
        ]
    )


@pytest.mark.parametrize("line", ["BZPOPMIN z y 1.5", "BZPOPMAX z y 1.5", "BZMPOP 1.5 2 z y MIN"])
def test_who_finds_nothing_waits(server: Handling, line: str) -> None:
    wanted = server.handle(*line.encode().split())
    assert isinstance(wanted, WaitForKeys)
    assert (wanted.keys, wanted.seconds) == ([b"z", b"y"], 1.5)
    if wanted.again is not None:
        server.call(b"ZADD", b"y", b"2", b"b")
        assert wanted.again(b"y") == [b"y", [(b"b", 2.0)]]
        assert isinstance(wanted.again(b"y"), WaitForKeys)


@pytest.mark.parametrize("line", ["BZPOPMIN z x", "BZPOPMIN z -1", "BZMPOP x 1 z MIN"])
def test_timeouts_are_numbers(server: Handling, line: str) -> None:
    reply = "-ERR timeout is negative" if "-1" in line else "-ERR timeout is not a float or out of range"
    server.talk([(line, reply)])


LINES = ["ZADD {} 1 a", "ZINCRBY {} 1 a", "ZREM {} a", "ZCARD {}", "ZSCORE {} a", "ZMSCORE {} a", "ZRANGE {} 0 1",
         "ZRANGESTORE d {} 0 1", "ZCOUNT {} 0 1", "ZLEXCOUNT {} - +", "ZRANK {} a", "ZREMRANGEBYRANK {} 0 1",
         "ZPOPMIN {}", "ZMPOP 1 {} MIN", "BZPOPMIN {} 0", "ZRANDMEMBER {}", "ZRANDMEMBER {} 2", "ZSCAN {} 0",
         "ZUNION 2 none {}", "ZINTER 2 none {}", "ZDIFFSTORE d 2 none {}", "ZINTERCARD 2 none {}"]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_another_type_is_no_sorted_set(server: Handling, line: str) -> None:
    server.talk([("SET k 1", OK), (line.format("k"), WRONG_TYPE), ("HSET h a 1", 1), (line.format("h"), WRONG_TYPE)])


@pytest.mark.parametrize("line", ["GET z", "SADD z a", "HGET z a", "LPUSH z a", "SCARD z", "INCR z"])
def test_a_sorted_set_is_nothing_else(filled: Handling, line: str) -> None:
    filled.talk([(line, WRONG_TYPE), ("TYPE z", b"+zset\r\n"), ("ZCARD z", 12)])


A2, A3 = b"*2\r\n$1\r\na\r\n$3\r\n1.5\r\n", b"*2\r\n$1\r\na\r\n,1.5\r\n"
SHAPES = [
    ("ZSCORE z a", b"$3\r\n1.5\r\n", b",1.5\r\n"),
    ("ZSCORE z none", b"$-1\r\n", b"_\r\n"),
    ("ZINCRBY z 0 a", b"$3\r\n1.5\r\n", b",1.5\r\n"),
    ("ZRANGE z 0 -1", b"*1\r\n$1\r\na\r\n", b"*1\r\n$1\r\na\r\n"),
    ("ZRANGE z 0 -1 WITHSCORES", A2, b"*1\r\n" + A3),
    ("ZPOPMIN z", A2, A3),
    ("ZPOPMIN z 1", A2, b"*1\r\n" + A3),
    ("ZPOPMIN none", EMPTY, EMPTY),
    ("ZRANDMEMBER z", b"$1\r\na\r\n", b"$1\r\na\r\n"),
    ("ZRANDMEMBER none", b"$-1\r\n", b"_\r\n"),
    ("ZRANDMEMBER z 1 WITHSCORES", A2, b"*1\r\n" + A3),
    ("ZUNION 1 z WITHSCORES", A2, b"*1\r\n" + A3),
    ("ZMPOP 1 z MIN", b"*2\r\n$1\r\nz\r\n*1\r\n" + A2, b"*2\r\n$1\r\nz\r\n*1\r\n" + A3),
    ("ZMPOP 1 none MIN", b"*-1\r\n", b"_\r\n"),
    ("BZPOPMIN z 0", b"*3\r\n$1\r\nz\r\n" + A2[4:], b"*3\r\n$1\r\nz\r\n" + A3[4:]),
    ("ZSCAN z 0", b"*2\r\n$1\r\n0\r\n" + A2, b"*2\r\n$1\r\n0\r\n" + A2),
    ("ZMSCORE z a b", b"*2\r\n$3\r\n1.5\r\n$-1\r\n", b"*2\r\n,1.5\r\n_\r\n"),
]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(("line", "resp2", "resp3"), SHAPES, ids=[line for line, _, _ in SHAPES])
def test_shapes(server: Handling, protocol: int, line: str, resp2: bytes, resp3: bytes) -> None:
    server.session.set_protocol(protocol)
    server.call(b"ZADD", b"z", b"1.5", b"a")
    assert server.wire(*line.encode().split()) == (resp3 if protocol == 3 else resp2)


@pytest.mark.parametrize(
    ("score", "text"),
    [(b"3", b"3"), (b"0.1", b"0.10000000000000001"), (b"1e20", b"1e+20"), (b"-inf", b"-inf"), (b"-0", b"0")],
)
def test_texts_of_scores(server: Handling, score: bytes, text: bytes) -> None:
    server.call(b"ZADD", b"z", score, b"a")
    assert server.wire(b"ZSCORE", b"z", b"a") == b"$%d\r\n%b\r\n" % (len(text), text)


# Several sorted sets.


def test_unions_intersections_differences(server: Handling) -> None:
    server.talk(
        [
            ("ZADD a 1 x 2 y", 2),
            ("ZADD b 10 y 20 z", 2),
            ("SADD s y w", 2),
            ("ZUNION 2 a b WITHSCORES", [b"x", 1.0, b"y", 12.0, b"z", 20.0]),
            ("ZUNION 2 a b WEIGHTS 2 0.5 WITHSCORES", [b"x", 2.0, b"y", 9.0, b"z", 10.0]),
            ("ZUNION 2 a b AGGREGATE MAX WITHSCORES", [b"x", 1.0, b"y", 10.0, b"z", 20.0]),
            ("ZUNION 2 a s AGGREGATE MIN WITHSCORES", [b"w", 1.0, b"x", 1.0, b"y", 1.0]),
            ("ZINTER 3 a b s WITHSCORES", [b"y", 13.0]),
            ("ZINTER 2 a none", []),
            ("ZDIFF 2 a s WITHSCORES", [b"x", 1.0]),
            ("ZDIFF 1 none", []),
            ("ZINTERCARD 2 a b", 1),
            ("ZINTERCARD 2 a a LIMIT 1", 1),
            ("ZUNIONSTORE d 2 a b", 3),
            ("ZSCORE d y", 12.0),
            ("ZINTERSTORE d 2 d b WEIGHTS 1 -1", 2),
            ("ZRANGE d 0 -1 WITHSCORES", [b"z", 0.0, b"y", 2.0]),
            ("ZDIFFSTORE d 2 a a", 0),
            ("EXISTS d", 0),
            ("ZADD i inf x", 1),
            ("ZADD j -inf x", 1),
            ("ZUNION 2 i j WITHSCORES", [b"x", 0.0]),
            ("ZUNION 1 i WEIGHTS 0 WITHSCORES", [b"x", 0.0]),
            ("ZUNION 0 a", "-ERR at least 1 input key is needed for 'zunion' command"),
            ("ZUNION 3 a b", SYNTAX),
            ("ZUNION 1 a WEIGHTS x", "-ERR weight value is not a float"),
            ("ZUNION 1 a AGGREGATE AVG", SYNTAX),
            ("ZDIFF 1 a WEIGHTS 1", SYNTAX),
            ("ZINTERCARD 1 a LIMIT -1", "-ERR LIMIT can't be negative"),
        ]
    )


@pytest.mark.parametrize("line", ["ZUNIONSTORE d 1 z", "ZINTERSTORE d 1 z", "ZDIFFSTORE d 1 z", "ZRANGESTORE d z 0 -1"])
def test_a_result_that_is_too_large_changes_nothing(filled: Handling, line: str) -> None:
    object.__setattr__(filled.services.config.options, "memory_limit", 4 * 12 * 250)
    filled.talk([("SET d x", OK), ("EXPIRE d 100", ONE), (line, OUT_OF_MEMORY), ("GET d", b"x"), ("TTL d", 100)])
    object.__setattr__(filled.services.config.options, "memory_limit", 4 * 12 * 254)
    filled.talk([(line, 12)])


def test_a_removal_that_is_too_large_changes_nothing(filled: Handling) -> None:
    """All members go at once, whatever the memory."""
    object.__setattr__(filled.services.config.options, "memory_limit", 4 * 10 * 250)
    filled.talk([("ZREMRANGEBYRANK z 0 10", OUT_OF_MEMORY), ("ZCARD z", 12), ("ZREMRANGEBYSCORE z -inf inf", 12)])


@pytest.mark.parametrize(
    "line", ["ZRANGE z 0 -1", "ZPOPMIN z 2999", "ZPOPMAX z 1000", "ZUNION 1 z", "ZRANDMEMBER z -3000"]
)
def test_a_reply_that_is_too_large(large: Handling, line: str) -> None:
    large.services.config.largest_reply_bytes = 10_000
    with pytest.raises(LimitError, match="the size of the reply in bytes"):
        large.call(*line.encode().split())
    assert large.call(b"ZCARD", b"z") == LARGE


# Large ones.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ZRANGE z 0 -1", range(LARGE)),
        ("ZRANGE z 100 -100", range(100, LARGE - 99)),
        ("ZREVRANGE z 0 -1", range(LARGE)[::-1]),
        ("ZREVRANGE z 1500 2000", range(LARGE - 2001, LARGE - 1500)[::-1]),
        ("ZRANGEBYSCORE z 10 (2000", range(10, 2000)),
        ("ZRANGEBYSCORE z 10 2000 LIMIT 500 1000", range(510, 1510)),
        ("ZREVRANGEBYSCORE z 2000 10 LIMIT 3 200", range(1798, 1998)[::-1]),
    ],
)
def test_a_large_range_goes_in_slices(large: Handling, line: str, expected: range) -> None:
    """The state at the beginning: what others change meanwhile is not in the reply."""
    assert _value(large, b"ZRANK", b"z", b"m1500") == 1500  # the ranks are counted
    slices = large.handle(*line.encode().split())
    next(slices)
    large.talk([("ZADD z -5 new", 1), ("ZREM z m2999", 1)])
    assert members_of(last_of(slices)) == [b"m%04d" % number for number in expected]


@pytest.mark.parametrize("number", [0, 1, 1500, 2999])
def test_ranks_are_counted_in_slices(large: Handling, number: int) -> None:
    member = b"m%04d" % number
    assert _value(large, b"ZRANK", b"z", member) == number
    assert _value(large, b"ZREVRANK", b"z", member) == LARGE - 1 - number
    assert _value(large, b"ZCOUNT", b"z", b"(%d" % number, b"+inf") == LARGE - 1 - number
    large.talk([("ZADD z -1 first", 1)])
    assert _value(large, b"ZRANK", b"z", member) == number + 1


def _value(server: Handling, *words: bytes) -> Any:
    value = server.handle(*words)
    return last_of(value) if isinstance(value, GeneratorType) else value


@pytest.mark.parametrize("count", [10, 256, 3000])
def test_scans(large: Handling, count: int) -> None:
    found: list[bytes] = []
    cursor = b""
    while cursor != b"0":
        cursor, page = large.call(b"ZSCAN", b"z", cursor or b"0", b"COUNT", b"%d" % count)
        found += members_of(page)
    assert sorted(found[::2]) == [b"m%04d" % number for number in range(LARGE)]
    assert all(int(score) == int(member[1:]) for member, score in zip(found[::2], found[1::2], strict=True))


# At random.


def test_counts_at_random(filled: Handling) -> None:
    filled.talk(
        [
            ("ZRANDMEMBER z 0", EMPTY),
            ("ZRANDMEMBER none 5", EMPTY),
            ("ZRANDMEMBER z x", NO_INTEGER),
            ("ZRANDMEMBER z 1 x", SYNTAX),
            ("ZRANDMEMBER z 4611686018427387904 WITHSCORES", "-ERR value is out of range"),
        ]
    )
    for count in (1, 5, 12, 13):
        found = members_of(filled.call(b"ZRANDMEMBER", b"z", b"%d" % count))
        assert len(found) == len(set(found)) == min(12, count)
        assert len(members_of(filled.call(b"ZRANDMEMBER", b"z", b"-%d" % (20 * count)))) == 20 * count


@pytest.mark.parametrize("line", ["ZRANDMEMBER z", "ZRANDMEMBER z 1", "ZRANDMEMBER z 5", "ZRANDMEMBER z -3"])
def test_every_member_is_equally_likely(filled: Handling, line: str) -> None:
    """Pearson's chi-squared over 12 members, of a fixed seed: with 11 degrees of freedom above 55 once in 10**7."""
    counts = Counter[bytes]()
    for _ in range(2000):
        value = _value(filled, *line.encode().split())
        counts.update([value] if isinstance(value, bytes) else members_of(value))
    expected = counts.total() / 12
    assert sorted(counts) == FILLED
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 55


@pytest.mark.parametrize("line", ["ZRANDMEMBER z 300", "ZRANDMEMBER z 10"])
def test_members_of_a_large_one_are_equally_likely(large: Handling, line: str) -> None:
    """In 30 parts of 100: 29 degrees of freedom, above 90 once in 10**7."""
    counts = Counter[int]()
    for _ in range(100):
        counts.update(int(member[1:]) // 100 for member in members_of(_value(large, *line.encode().split())))
    expected = counts.total() / 30
    assert len(counts) == 30
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 90


# What other commands tell.


def test_encoding(server: Handling) -> None:
    long = "m" * 65
    server.talk(
        [
            ("ZADD z 1 a", 1),
            ("OBJECT ENCODING z", b"listpack"),
            (f"ZADD z 1 {long}", 1),
            ("OBJECT ENCODING z", b"skiplist"),
            (f"ZREM z {long}", 1),
            ("OBJECT ENCODING z", b"skiplist"),
            ("ZRANGESTORE d z 0 -1", 1),
            ("OBJECT ENCODING d", b"listpack"),
        ]
    )
    for number in range(128):
        assert server.call(b"OBJECT", b"ENCODING", b"d") == b"listpack"
        server.call(b"ZADD", b"d", b"%d" % number, b"%d" % number)
    server.talk([("OBJECT ENCODING d", b"skiplist")])


def test_other_commands(filled: Handling) -> None:
    filled.talk(
        [
            ("EXPIRE z 100", ONE),
            ("ZADD z 1 a", 1),
            ("TTL z", 100),
            ("COPY z y", ONE),
            ("RENAME z x", OK),
            ("ZADD x 50 b", 1),
            ("ZCARD y", 13),
            ("ZREVRANGE x 0 1", [b"b", b"m11"]),
            ("ZREVRANGE y 0 1", [b"m11", b"m10"]),
            ("ZREMRANGEBYRANK y 0 -1", 13),
            ("EXISTS y", 0),
        ]
    )
