"""Sets: replies of both protocols, errors in their order, both forms, fair chances, slices, several sets at once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from types import GeneratorType

import pytest

import flin.objects.limits
from flin.errors import CommandError, LimitError
from flin.net.wire.numbers import INT64_MAX as MOST
from flin.net.wire.replies import Reply, last_of
from flin.net.wire.resp import encode2, split_replies
from tests.net.commands.handling import Handling

OK = b"+OK\r\n"
ZERO, ONE = b":0\r\n", b":1\r\n"
EMPTY = b"*0\r\n"
SYNTAX = "-ERR syntax error"
WRONG_TYPE = "-WRONGTYPE Operation against a key holding the wrong kind of value"
NO_INTEGER = "-ERR value is not an integer or out of range"
NOT_POSITIVE = "-ERR value is out of range, must be positive"
OUT_OF_MEMORY = "-OOM command not allowed when used memory > 'maxmemory'."
SMALL = 4
SEED = 12


@pytest.fixture(params=["packed", "spread", "never whole"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Handling:
    """Sets as they are; such that are spread from the fifth member on; and such that are never whole then."""
    if request.param != "packed":
        monkeypatch.setattr(flin.objects.limits, "MAX_PACKED_ELEMENTS", SMALL)
    if request.param == "never whole":
        monkeypatch.setattr(flin.objects.limits, "MAX_WHOLE", 0)
    random.seed(SEED)
    return Handling()


FILLED = {b"m%02d" % number for number in range(12)}
LARGE = {b"m%d" % number for number in range(3000)}


@pytest.fixture
def filled(server: Handling) -> Handling:
    """Twelve members: packed by the usual limit, spread by the small one."""
    server.call(b"SADD", b"s", *sorted(FILLED))
    return server


@pytest.fixture
def large(server: Handling, monkeypatch: pytest.MonkeyPatch) -> Handling:
    """A set of 3,000 members, which is spread and counts as large."""
    monkeypatch.setattr(flin.objects.limits, "SLICED", 100)
    server.call(b"SADD", b"s", *sorted(LARGE))
    return server


def members_of(server: Handling, key: bytes = b"s") -> set[bytes]:
    """What SMEMBERS says; each once."""
    found = _elements(server.call(b"SMEMBERS", key))
    assert len(found) == len(set(found))
    return set(found)


def _elements(array: Iterable[bytes] | Reply | bytes) -> list[bytes]:
    """Of an array of bulks, which may be a finished reply."""
    data = array.data if isinstance(array, Reply) else array
    if not isinstance(data, bytes):
        return list(data)
    return [bulk[bulk.index(b"\r\n") + 2 : -2] for bulk in split_replies(data[data.index(b"\r\n") + 2 :])]


def test_members(server: Handling) -> None:
    server.talk(
        [
            ("SADD s a b c a", 3),
            ("SADD s a d", 1),
            ("SADD s a", 0),
            ("SADD s e f ''", 3),
            ("SCARD s", 7),
            ("SCARD none", 0),
            ("SISMEMBER s a", ONE),
            ("SISMEMBER s ''", ONE),
            ("SISMEMBER s none", ZERO),
            ("SISMEMBER none a", ZERO),
            ("SMISMEMBER s a none a", [1, 0, 1]),
            ("SMISMEMBER none a b", [0, 0]),
            ("SREM s a none a b", 2),
            ("SREM s none", 0),
            ("SREM none a", 0),
            ("TYPE s", b"+set\r\n"),
        ]
    )
    assert members_of(server) == {b"c", b"d", b"e", b"f", b""}


def test_an_empty_set_is_no_key(server: Handling) -> None:
    server.talk(
        [
            ("SADD s 1 2 3 4 5 6", 6),
            ("EXPIRE s 100", ONE),
            ("SREM s 1 2 3 4 5 6", 6),
            ("EXISTS s", 0),
            ("SADD s a", 1),
            ("TTL s", -1),
            ("SPOP s", b"a"),
            ("EXISTS s", 0),
            ("SADD s a", 1),
            ("SMOVE s t a", ONE),
            ("EXISTS s t", 1),
        ]
    )


def test_expiry_is_kept(server: Handling) -> None:
    server.talk([("SADD s 1 2 3 4 5 6 7 8", 8), ("EXPIRE s 10", ONE), ("SADD s x", 1), ("SREM s 1", 1), ("TTL s", 10)])
    assert len(_elements(server.call(b"SPOP", b"s", b"7"))) == 7, "what stays becomes a new set"
    server.talk([("TTL s", 10), ("SCARD s", 1)])
    server.pass_time(10_000)
    server.talk([("SCARD s", 0), ("SADD s 1", 1), ("TTL s", -1)])


def test_moves(server: Handling) -> None:
    server.talk(
        [
            ("SADD s a b c d e f", 6),
            ("SADD t a", 1),
            ("SET str x", OK),
            ("SMOVE s t a", ONE),
            ("SMOVE s t a", ZERO),
            ("SMOVE s t b", ONE),
            ("SMOVE s s c", ONE),
            ("SMOVE s s none", ZERO),
            ("SMOVE none str a", ZERO),
            ("SMOVE s str none", WRONG_TYPE),
            ("SMOVE s str c", WRONG_TYPE),
            ("SMOVE str s c", WRONG_TYPE),
            ("SMOVE str str c", WRONG_TYPE),
        ]
    )
    assert members_of(server) == set(b"c d e f".split())
    assert members_of(server, b"t") == {b"a", b"b"}


SET_LINES = [
    "SADD k a",
    "SCARD k",
    "SDIFF none k",
    "SDIFF k none",
    "SDIFFSTORE d none k",
    "SINTER none k",
    "SINTER k",
    "SINTERCARD 2 none k",
    "SINTERSTORE d none k",
    "SISMEMBER k a",
    "SMEMBERS k",
    "SMISMEMBER k a",
    "SMOVE k d a",
    "SPOP k",
    "SPOP k 0",
    "SRANDMEMBER k",
    "SRANDMEMBER k 0",
    "SREM k a",
    "SSCAN k 0 FOO",
    "SUNION none k",
    "SUNIONSTORE d none k",
]


@pytest.mark.parametrize("line", SET_LINES)
@pytest.mark.parametrize(("make", "type_"), [("SET k v", b"+string\r\n"), ("HSET k f v", b"+hash\r\n")])
def test_another_type_is_no_set(server: Handling, line: str, make: str, type_: bytes) -> None:
    server.call(*make.encode().split())
    server.talk([(line, WRONG_TYPE), ("TYPE k", type_), ("EXISTS d", 0)])


@pytest.mark.parametrize("line", ["GET s", "APPEND s x", "INCR s", "HGET s a", "HSET s a 1", "HLEN s", "HSCAN s 0"])
def test_a_set_is_nothing_else(filled: Handling, line: str) -> None:
    filled.talk([(line, WRONG_TYPE)])
    assert members_of(filled) == FILLED


ITEM = b"$1\r\na\r\n"
ONE2, ONE3 = b"*1\r\n" + ITEM, b"~1\r\n" + ITEM
NONE2, NONE3 = b"*0\r\n", b"~0\r\n"

SHAPES = [
    ("SMEMBERS s", ONE2, ONE3),
    ("SMEMBERS none", NONE2, NONE3),
    ("SUNION s none", ONE2, ONE3),
    ("SUNION none", NONE2, NONE3),
    ("SINTER s s", ONE2, ONE3),
    ("SINTER s none", NONE2, NONE3),
    ("SDIFF s none", ONE2, ONE3),
    ("SDIFF s s", NONE2, NONE3),
    ("SPOP s", ITEM, ITEM),
    ("SPOP none", b"$-1\r\n", b"_\r\n"),
    ("SPOP s 5", ONE2, ONE3),
    ("SPOP s 0", NONE2, NONE3),
    ("SPOP none 5", NONE2, NONE3),
    ("SRANDMEMBER s", ITEM, ITEM),
    ("SRANDMEMBER none", b"$-1\r\n", b"_\r\n"),
    ("SRANDMEMBER s 5", ONE2, ONE2),
    ("SRANDMEMBER s -2", b"*2\r\n" + ITEM * 2, b"*2\r\n" + ITEM * 2),
    ("SRANDMEMBER s 0", NONE2, NONE2),
    ("SRANDMEMBER none 5", NONE2, NONE2),
    ("SSCAN s 0", b"*2\r\n$1\r\n0\r\n" + ONE2, b"*2\r\n$1\r\n0\r\n" + ONE2),
    ("SSCAN none 0", b"*2\r\n$1\r\n0\r\n*0\r\n", b"*2\r\n$1\r\n0\r\n*0\r\n"),
    ("SISMEMBER s a", ONE, ONE),
    ("SMISMEMBER s a b", b"*2\r\n:1\r\n:0\r\n", b"*2\r\n:1\r\n:0\r\n"),
    ("SINTERCARD 1 s", ONE, ONE),
]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(("line", "resp2", "resp3"), SHAPES, ids=[line for line, _, _ in SHAPES])
def test_shapes(server: Handling, protocol: int, line: str, resp2: bytes, resp3: bytes) -> None:
    server.session.set_protocol(protocol)
    server.call(b"SADD", b"s", b"a")
    assert server.wire(*line.encode().split()) == (resp3 if protocol == 3 else resp2)


# Several sets.


def _with_three(server: Handling) -> None:
    for key, low, high in ((b"a", 0, 10), (b"b", 5, 15), (b"c", 8, 9)):
        server.call(b"SADD", key, *(b"%d" % number for number in range(low, high)))


@pytest.mark.parametrize(
    ("name", "keys", "expected"),
    [
        ("SUNION", "a b c none", range(15)),
        ("SUNION", "a a", range(10)),
        ("SINTER", "a b", range(5, 10)),
        ("SINTER", "a b c", [8]),
        ("SINTER", "a b none", []),
        ("SDIFF", "a b", range(5)),
        ("SDIFF", "b c a none", range(10, 15)),
        ("SDIFF", "none a", []),
        ("SDIFF", "a a", []),
    ],
)
def test_several_sets(server: Handling, name: str, keys: str, expected: Iterable[int]) -> None:
    members = {b"%d" % number for number in expected}
    words = keys.encode().split()
    for destination in (b"new", b"a", b"str"):
        _with_three(server)
        server.call(b"SET", b"str", b"x", b"EX", b"100")
        assert set(_elements(server.call(name.encode(), *words))) == members
        assert server.call(name.encode() + b"STORE", destination, *words) == len(members)
        assert members_of(server, destination) == members
        assert server.call(b"EXISTS", destination) == int(bool(members)), "a result of nothing deletes"
        assert server.call(b"TTL", destination) == (-1 if members else -2)
        server.call(b"DEL", b"a", b"b", b"c", b"str", b"new")


def test_sintercard(server: Handling) -> None:
    _with_three(server)
    few = "-ERR numkeys should be greater than 0"
    server.talk(
        [
            ("SINTERCARD 2 a b", 5),
            ("SINTERCARD 3 a b c", 1),
            ("SINTERCARD 2 a none", 0),
            ("SINTERCARD 2 a b LIMIT 3", 3),
            ("SINTERCARD 2 a b limit 0", 5),
            ("SINTERCARD 2 a b LIMIT 3 LIMIT 2", 2),
            ("SINTERCARD 0 a", few),
            ("SINTERCARD -1 a", few),
            ("SINTERCARD x a", few),
            ("SINTERCARD 3 a b", "-ERR Number of keys can't be greater than number of args"),
            ("SINTERCARD 1 a b", SYNTAX),
            ("SINTERCARD 1 a LIMIT", SYNTAX),
            ("SINTERCARD 1 a FOO 1", SYNTAX),
            ("SINTERCARD 1 a LIMIT -1", "-ERR LIMIT can't be negative"),
            ("SINTERCARD 1 a LIMIT x", "-ERR LIMIT can't be negative"),
        ]
    )


@pytest.mark.parametrize("name", [b"SUNIONSTORE", b"SINTERSTORE", b"SDIFFSTORE"])
def test_a_result_that_is_too_large_changes_nothing(filled: Handling, name: bytes) -> None:
    object.__setattr__(filled.services.config.options, "memory_limit", 4 * 12 * 150)
    filled.talk([("SET d x", OK), ("EXPIRE d 100", ONE)])
    assert filled.call(name, b"d", b"s") == OUT_OF_MEMORY
    filled.talk([("GET d", b"x"), ("TTL d", 100)])
    object.__setattr__(filled.services.config.options, "memory_limit", 4 * 12 * 154)
    assert filled.call(name, b"d", b"s") == 12


@pytest.mark.parametrize("line", ["SUNION s", "SINTER s", "SDIFF s", "SPOP s 2999", "SPOP s 2000", "SPOP s 5000",
                                  "SMEMBERS s", "SRANDMEMBER s -3000"])  # fmt: skip
def test_a_reply_that_is_too_large(large: Handling, line: str) -> None:
    large.services.config.largest_reply_bytes = 10_000
    with pytest.raises(LimitError, match="the size of the reply in bytes"):
        large.call(*line.encode().split())
    assert large.call(b"SCARD", b"s") == 3000


# All members, and scans.


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_large_set_replies_in_slices(large: Handling, protocol: int) -> None:
    """The state at the beginning: what others change meanwhile is not in the reply."""
    large.session.set_protocol(protocol)
    slices = large.handle(b"SMEMBERS", b"s")
    next(slices)
    large.talk([("SADD s new", 1), ("SREM s m0 m2999", 2)])
    reply = last_of(slices).data
    assert reply.startswith(b"~3000\r\n" if protocol == 3 else b"*3000\r\n")
    assert sorted(split_replies(reply[7:])) == sorted(map(encode2, LARGE))


OTHERS = {b"m%d" % number for number in range(1500, 4500)}
ALGEBRA = {"SUNION s o": LARGE | OTHERS, "SINTER s o": LARGE & OTHERS, "SDIFF s o": LARGE - OTHERS}


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("line", ALGEBRA)
def test_several_large_sets_are_read_in_slices(large: Handling, line: str, protocol: int) -> None:
    """Of one moment: if one of them changes meanwhile, of that of the end. Other keys may change."""
    large.session.set_protocol(protocol)
    large.call(b"SADD", b"o", *OTHERS)
    words = line.encode().split()
    assert set(_elements(large.call(*words))) == ALGEBRA[line] == _now(large, line)
    for change in ("SADD other m", "SADD o new", "SREM s m0 m2999", "DEL o", "DEL s"):
        large.call(b"SADD", b"o", *OTHERS)
        slices = large.handle(*words)
        next(slices)
        next(slices)
        large.call(*change.encode().split())
        large.pending.commit()
        found = _elements(last_of(slices))
        assert len(found) == len(set(found))
        assert set(found) == _now(large, line)


def _now(server: Handling, line: str) -> set[bytes]:
    """What there is now, by the members of each."""
    name, *keys = line.split()
    one, other = (set(_elements(server.call(b"SMEMBERS", key.encode()))) for key in keys)
    return {"SUNION": one | other, "SINTER": one & other, "SDIFF": one - other}[name]


def test_the_number_of_what_large_sets_share_is_counted_in_slices(large: Handling) -> None:
    large.call(b"SADD", b"o", *OTHERS)
    for words, count, less in (([], 1500, 1499), ([b"LIMIT", b"0"], 1499, 1498), ([b"LIMIT", b"1100"], 1100, 1100)):
        slices = large.handle(b"SINTERCARD", b"2", b"s", b"o", *words)
        assert next(slices) is None
        large.call(b"SREM", b"o", max(set(_elements(large.call(b"SINTER", b"s", b"o")))))
        assert last_of(slices) == less
        assert large.call(b"SINTERCARD", b"2", b"s", b"o", *words) == less
        assert count >= less


def test_a_set_that_becomes_another_type_meanwhile(large: Handling) -> None:
    large.call(b"SADD", b"o", *OTHERS)
    slices = large.handle(b"SUNION", b"s", b"o")
    next(slices)
    large.talk([("DEL o", 1), ("SET o text", OK)])
    with pytest.raises(CommandError, match="WRONGTYPE"):
        last_of(slices)


@pytest.mark.parametrize("count", [10, 256, 257, 3000, 5000])
def test_scans(large: Handling, count: int) -> None:
    found, calls, cursor = [], 0, b"0"
    while calls == 0 or cursor != b"0":
        cursor, page = large.call(b"SSCAN", b"s", cursor, b"COUNT", b"%d" % count)
        found += _elements(page)
        calls += 1
    assert sorted(found) == sorted(LARGE)
    assert calls == -(-3000 // count)


def test_patterns_of_scans(server: Handling) -> None:
    server.talk([("SADD s a", 1), ("SSCAN s 7 MATCH x*", [b"0", []]), ("SSCAN s 0 MATCH a*", [b"0", [b"a"]])])
    server.talk([("SSCAN s x", "-ERR invalid cursor"), ("SSCAN s 0 FOO", SYNTAX), ("SSCAN none 0 FOO", [b"0", []])])
    server.talk([("SSCAN s 0 COUNT 0", SYNTAX), ("SSCAN s 0 COUNT x", NO_INTEGER), ("SSCAN s 0 TYPE set", SYNTAX)])


# At random.


def test_counts(filled: Handling) -> None:
    range_ = f"-ERR value is out of range, value must between {-MOST} and {MOST}"
    for key in ("s", "none"):
        filled.talk([(f"SPOP {key} {word}", NOT_POSITIVE) for word in ("-1", "x", "1.5", str(MOST + 1))])
        filled.talk([(f"SRANDMEMBER {key} {word}", NO_INTEGER) for word in ("x", "1.5", str(MOST + 1))])
        filled.talk([(f"SRANDMEMBER {key} {-MOST - 1}", range_)])
        filled.talk([(f"SPOP {key} 1 x", SYNTAX), (f"SRANDMEMBER {key} x x", SYNTAX)])
    assert members_of(filled) == FILLED


@pytest.mark.parametrize("count", [1, 2, 5, 9, 10, 11, 12, 13, MOST])
def test_pops(filled: Handling, count: int) -> None:
    popped = _elements(filled.call(b"SPOP", b"s", b"%d" % count))
    assert len(popped) == len(set(popped)) == min(12, count)
    assert members_of(filled) == FILLED - set(popped)
    assert filled.call(b"EXISTS", b"s") == int(count < 12)


@pytest.mark.parametrize("count", [15, 100, 2000, 2600, 3000])
def test_pops_of_a_large_set(large: Handling, count: int) -> None:
    popped = _elements(large.call(b"SPOP", b"s", b"%d" % count))
    assert len(popped) == len(set(popped)) == count
    large.pending.commit()
    assert members_of(large) == LARGE - set(popped)


@pytest.mark.parametrize("count", [1, 5, 12, 13])
def test_different_members(filled: Handling, count: int) -> None:
    found = _elements(filled.call(b"SRANDMEMBER", b"s", b"%d" % count))
    assert len(found) == len(set(found)) == min(12, count)
    assert set(found) <= FILLED
    assert len(_elements(filled.call(b"SRANDMEMBER", b"s", b"-%d" % (100 * count)))) == 100 * count


def _drawn(server: Handling, words: list[bytes]) -> list[bytes]:
    value = server.handle(*words)
    value = last_of(value) if isinstance(value, GeneratorType) else value
    return [value] if isinstance(value, bytes) else _elements(value)


@pytest.mark.parametrize(
    "line",
    ["SRANDMEMBER s", "SRANDMEMBER s 1", "SRANDMEMBER s 5", "SRANDMEMBER s -3", "SPOP s", "SPOP s 3", "SPOP s 11"],
)
def test_every_member_is_equally_likely(filled: Handling, line: str) -> None:
    """Pearson's chi-squared over 12 members, of a fixed seed: with 11 degrees of freedom above 55 once in 10**7."""
    counts = Counter[bytes]()
    for _ in range(2000):
        drawn = _drawn(filled, line.encode().split())
        counts.update(drawn)
        if line.startswith("SPOP"):
            filled.call(b"SADD", b"s", *drawn)
    expected = counts.total() / 12
    assert counts.keys() == FILLED
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 55


@pytest.mark.parametrize("line", ["SRANDMEMBER s 300", "SRANDMEMBER s 10", "SPOP s 10"])
def test_members_of_a_large_set_are_equally_likely(large: Handling, line: str) -> None:
    """In 30 parts of 100: 29 degrees of freedom, above 90 once in 10**7."""
    counts = Counter[int]()
    for _ in range(100):
        drawn = _drawn(large, line.encode().split())
        counts.update(int(member[1:]) // 100 for member in drawn)
        if line.startswith("SPOP"):
            large.call(b"SADD", b"s", *drawn)
    expected = counts.total() / 30
    assert len(counts) == 30
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 90


# What other commands tell of sets.


def test_encoding(server: Handling) -> None:
    server.talk(
        [
            (f"SADD s 1 2 3 -4 0 {MOST} {-MOST - 1}", 7),
            ("OBJECT ENCODING s", b"intset"),
            ("SADD s 01", 1),
            ("OBJECT ENCODING s", b"hashtable"),
            ("SREM s 01", 1),
            ("OBJECT ENCODING s", b"hashtable"),
            ("COPY s t", ONE),
            ("OBJECT ENCODING t", b"hashtable"),
            ("SUNIONSTORE t s", 7),
            ("OBJECT ENCODING t", b"intset"),
            (f"SADD t {MOST + 1}", 1),
            ("OBJECT ENCODING t", b"hashtable"),
            ("SADD u -0", 1),
            ("OBJECT ENCODING u", b"hashtable"),
            ("OBJECT REFCOUNT u", 1),
        ]
    )


def test_encoding_by_number(server: Handling) -> None:
    server.services.config.set({b"set-max-intset-entries": b"5"})
    server.talk(
        [
            ("SADD s 1 2 3 4 5", 5),
            ("OBJECT ENCODING s", b"intset"),
            ("SADD s 5", 0),
            ("OBJECT ENCODING s", b"intset"),
            ("SADD s 6", 1),
            ("OBJECT ENCODING s", b"hashtable"),
            ("SREM s 6", 1),
            ("OBJECT ENCODING s", b"hashtable"),
        ]
    )


def test_a_difference_was_a_copy(server: Handling) -> None:
    """Where the others are small, Redis takes them out of a copy of the first: its encoding stays."""
    server.talk([("SADD a 1 2 3 4 x", 5), ("SADD b x", 1), ("SDIFFSTORE d a b", 4), ("OBJECT ENCODING d", b"intset")])
    server.talk([("SADD c x y", 2), ("SDIFFSTORE d a b b b b", 4)])
    assert server.call(b"OBJECT", b"ENCODING", b"d") == b"hashtable"


def test_other_commands(filled: Handling) -> None:
    filled.talk([("SCAN 0 TYPE set", [b"0", [b"s"]]), ("RENAME s t", OK), ("SCARD t", 12), ("COPY t s", ONE)])
    filled.talk([("SREM t m00", 1), ("SISMEMBER s m00", ONE), ("DEL s t", 2), ("SCARD s", 0), ("SADD s a", 1)])
    assert members_of(filled) == {b"a"}
