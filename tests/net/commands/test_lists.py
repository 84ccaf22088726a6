"""Handlers of lists: packed, spread, and spread with replies in slices."""

from __future__ import annotations

from dataclasses import replace

import pytest

import flin.objects.limits
from flin.engine.entry import make_entry
from flin.errors import LimitError
from flin.net.command.registry import find
from flin.net.wire.replies import NULL_ARRAY, WaitForKeys, last_of
from flin.net.wire.resp import encode2
from tests.net.commands.handling import Handling

OK = b"+OK\r\n"
ZERO, ONE = b":0\r\n", b":1\r\n"
EMPTY = b"*0\r\n"
SYNTAX = "-ERR syntax error"
WRONG_TYPE = "-WRONGTYPE Operation against a key holding the wrong kind of value"
NO_INTEGER = "-ERR value is not an integer or out of range"
NOT_POSITIVE = "-ERR value is out of range, must be positive"
SMALL = 4


@pytest.fixture(params=["packed", "spread"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Handling:
    """Lists as they are, and such that are spread from the fifth element on."""
    if request.param == "spread":
        monkeypatch.setattr(flin.objects.limits, "MAX_PACKED_ELEMENTS", SMALL)
    return Handling()


def elements_of(server: Handling, key: bytes = b"l") -> list[bytes]:
    found = server.call(b"LRANGE", key, b"0", b"-1")
    return [] if found == EMPTY else list(found)


def test_pushes_and_pops(server: Handling) -> None:
    server.talk(
        [
            ("RPUSH l c d", 2),
            ("LPUSH l b a", 4),
            ("RPUSH l e f g", 7),
            ("LLEN l", 7),
            ("TYPE l", b"+list\r\n"),
            ("OBJECT ENCODING l", b"quicklist"),
            ("LPOP l", b"a"),
            ("RPOP l", b"g"),
            ("LPOP l 2", [b"b", b"c"]),
            ("RPOP l 2", [b"f", b"e"]),
            ("LPOP l 0", EMPTY),
            ("LPUSHX l c", 2),
            ("RPUSHX l '' e", 4),
            ("LRANGE l 0 -1", [b"c", b"d", b"", b"e"]),
            ("LPOP l 100", [b"c", b"d", b"", b"e"]),
            ("EXISTS l", 0),
            ("LLEN l", 0),
            ("LPOP l", None),
            ("RPOP l", None),
            ("LPUSHX l a", ZERO),
            ("RPUSHX l a", ZERO),
            ("EXISTS l", 0),
        ]
    )
    for line in ("LPOP l 0", "RPOP l 2"):
        assert server.wire(*line.encode().split()) == b"*-1\r\n"


@pytest.mark.parametrize("name", ["LPOP", "RPOP"])
def test_counts_of_pops(server: Handling, name: str) -> None:
    server.talk(
        [
            (f"{name} l -1", NOT_POSITIVE),
            (f"{name} l abc", NOT_POSITIVE),
            (f"{name} l 9223372036854775808", NOT_POSITIVE),
            (f"{name} l 1 x", f"-ERR wrong number of arguments for '{name.lower()}' command"),
            ("SET l x", OK),
            (f"{name} l -1", NOT_POSITIVE),
            (f"{name} l 0", WRONG_TYPE),
        ]
    )


def test_an_empty_list_is_no_key(server: Handling) -> None:
    server.talk(
        [
            ("RPUSH l 1 2 3 4 5 6", 6),
            ("EXPIRE l 100", ONE),
            ("LPOP l 6", [b"1", b"2", b"3", b"4", b"5", b"6"]),
            ("EXISTS l", 0),
            ("LPUSH l a", 1),
            ("TTL l", -1),
            ("RPOP l", b"a"),
            ("EXISTS l", 0),
        ]
    )


def test_expiry_is_kept(server: Handling) -> None:
    server.talk([("RPUSH l 1 2 3 4 5 6", 6), ("EXPIRE l 10", ONE), ("RPUSH l x", 7), ("LPOP l", b"1"), ("TTL l", 10)])
    server.pass_time(10_000)
    server.talk([("LLEN l", 0), ("RPUSH l 1", 1), ("TTL l", -1)])


def test_indices(server: Handling) -> None:
    server.talk(
        [
            ("RPUSH l a b c d e f", 6),
            ("LINDEX l 0", b"a"),
            ("LINDEX l 5", b"f"),
            ("LINDEX l 6", None),
            ("LINDEX l -1", b"f"),
            ("LINDEX l -6", b"a"),
            ("LINDEX l -7", None),
            ("LINDEX none 0", None),
            ("LINDEX none x", None),
            ("LINDEX l x", NO_INTEGER),
            ("LRANGE l 1 3", [b"b", b"c", b"d"]),
            ("LRANGE l -2 -1", [b"e", b"f"]),
            ("LRANGE l -100 1", [b"a", b"b"]),
            ("LRANGE l 4 100", [b"e", b"f"]),
            ("LRANGE l 3 2", EMPTY),
            ("LRANGE l 6 7", EMPTY),
            ("LRANGE l 0 -100", EMPTY),
            ("LRANGE none 0 -1", EMPTY),
            ("LRANGE none x -1", NO_INTEGER),
            ("LRANGE l 0 x", NO_INTEGER),
        ]
    )


def test_copies_and_renames(server: Handling) -> None:
    server.talk(
        [
            ("RPUSH l a b c d e f", 6),
            ("COPY l m", ONE),
            ("RENAME l n", OK),
            ("LPUSH n x", 7),
            ("RPOP m", b"f"),
            ("RPUSH m f2", 6),
            ("RPOP m", b"f2"),
            ("RPOP n", b"f"),
            ("RPUSH n f3", 7),
            ("RPOP n", b"f3"),
            ("LRANGE m 0 -1", [b"a", b"b", b"c", b"d", b"e"]),
            ("LRANGE n 0 -1", [b"x", b"a", b"b", b"c", b"d", b"e"]),
            ("EXISTS l", 0),
        ]
    )


def test_long_elements_are_spread(server: Handling) -> None:
    element = b"x" * 5000
    assert server.call(b"RPUSH", b"l", element, b"a", element) == 3
    assert server.call(b"LPOP", b"l") == element
    assert elements_of(server) == [b"a", element]


def test_elements_that_are_set(server: Handling) -> None:
    server.talk(
        [
            ("RPUSH l a b c d e f", 6),
            ("LSET l 0 A", OK),
            ("LSET l -1 F", OK),
            ("LSET l 2 C", OK),
            ("LRANGE l 0 -1", [b"A", b"b", b"C", b"d", b"e", b"F"]),
            ("LSET l 6 x", "-ERR index out of range"),
            ("LSET l -7 x", "-ERR index out of range"),
            ("LSET l x x", NO_INTEGER),
            ("LSET none 0 x", "-ERR no such key"),
            ("LSET none x x", "-ERR no such key"),
        ]
    )


def test_insertions(server: Handling) -> None:
    server.talk(
        [
            ("RPUSH l a b a c d", 5),
            ("LINSERT l BEFORE a x", 6),
            ("LINSERT l after a y", 7),
            ("LINSERT l AFTER d z", 8),
            ("LINSERT l BEFORE c w", 9),
            ("LRANGE l 0 -1", [b"x", b"a", b"y", b"b", b"a", b"w", b"c", b"d", b"z"]),
            ("LINDEX l 5", b"w"),
            ("LINSERT l BEFORE none x", -1),
            ("LINSERT l BESIDE a x", SYNTAX),
            ("LINSERT none BESIDE a x", SYNTAX),
            ("LINSERT none BEFORE a x", ZERO),
            ("EXISTS none", 0),
        ]
    )


def test_an_insertion_that_needs_too_much_memory(server: Handling) -> None:
    """Nothing is changed."""
    server.call(b"RPUSH", b"l", *(b"%d" % number for number in range(SMALL + 1)))
    server.services.config.options = replace(server.services.config.options, memory_limit=400)
    replies = [server.call(b"LINSERT", b"l", b"BEFORE", b"2", b"x%d" % number) for number in range(400)]
    assert replies[200] == SMALL + 202
    assert replies[-1] == "-OOM command not allowed when used memory > 'maxmemory'."
    assert server.call(b"LLEN", b"l") == SMALL + 1 + 400 - replies.count(replies[-1])


def test_removals(server: Handling) -> None:
    server.talk(
        [
            ("RPUSH l a b a c a d a", 7),
            ("LREM l 1 a", 1),
            ("LREM l -1 a", 1),
            ("LRANGE l 0 -1", [b"b", b"a", b"c", b"a", b"d"]),
            ("LREM l 0 none", 0),
            ("LREM l -5 a", 2),
            ("LREM l 2 c", 1),
            ("LINDEX l 1", b"d"),
            ("LREM l x b", NO_INTEGER),
            ("LREM none x b", NO_INTEGER),
            ("LREM none 0 b", ZERO),
            ("RPUSH l b b", 4),
            ("LREM l 0 d", 1),
            ("LREM l 0 b", 3),
            ("EXISTS l", 0),
        ]
    )


def test_trims(server: Handling) -> None:
    server.talk(
        [
            ("RPUSH l a b c d e f g h", 8),
            ("EXPIRE l 100", ONE),
            ("LTRIM l 0 -1", OK),
            ("LLEN l", 8),
            ("LTRIM l 1 -2", OK),
            ("LRANGE l 0 -1", [b"b", b"c", b"d", b"e", b"f", b"g"]),
            ("LTRIM l -2 100", OK),
            ("LRANGE l 0 -1", [b"f", b"g"]),
            ("TTL l", 100),
            ("LTRIM l 1 x", NO_INTEGER),
            ("LTRIM none 0 1", OK),
            ("LTRIM l 5 1", OK),
            ("EXISTS l", 0),
        ]
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", 1),
        ("RANK 2", 3),
        ("RANK -1", 6),
        ("RANK 4", None),
        ("COUNT 0", [1, 3, 6]),
        ("COUNT 2", [1, 3]),
        ("COUNT 0 RANK -2", [3, 1]),
        ("RANK 2 COUNT 1", [3]),
        ("MAXLEN 1", None),
        ("MAXLEN 2", 1),
        ("MAXLEN 4 COUNT 0", [1, 3]),
        ("MAXLEN 3 RANK -1 COUNT 0", [6]),
        ("COUNT 2 COUNT 0", [1, 3, 6]),
        ("RANK 0", "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use "
                   "negative to start from the end of the list"),
        ("RANK x", NO_INTEGER),
        ("COUNT -1", "-ERR COUNT can't be negative"),
        ("COUNT x", "-ERR COUNT can't be negative"),
        ("MAXLEN -1", "-ERR MAXLEN can't be negative"),
        ("COUNT", SYNTAX),
        ("FOO 1", SYNTAX),
    ],
)  # fmt: skip
def test_positions(server: Handling, words: str, expected: object) -> None:
    server.call(b"RPUSH", b"l", *b"a x b x c d x".split())
    assert server.call(b"LPOS", b"l", b"x", *words.encode().split()) == expected
    nothing: object = EMPTY if "COUNT" in words else None
    missing = server.call(b"LPOS", b"none", b"x", *words.encode().split())
    assert missing == (expected if isinstance(expected, str) else nothing)


def test_moves(server: Handling) -> None:
    server.talk(
        [
            ("RPUSH l a b c d e f", 6),
            ("RPOPLPUSH l m", b"f"),
            ("LMOVE l m LEFT RIGHT", b"a"),
            ("LMOVE l m right right", b"e"),
            ("LRANGE l 0 -1", [b"b", b"c", b"d"]),
            ("LRANGE m 0 -1", [b"f", b"a", b"e"]),
            ("LMOVE l l LEFT RIGHT", b"b"),
            ("RPOPLPUSH l l", b"b"),
            ("LMOVE l l LEFT LEFT", b"b"),
            ("LRANGE l 0 -1", [b"b", b"c", b"d"]),
            ("LMOVE none m LEFT LEFT", None),
            ("LMOVE none none LEFT LEFT", None),
            ("LMOVE l m UP LEFT", SYNTAX),
            ("LMOVE l m LEFT UP", SYNTAX),
            ("SET s x", OK),
            ("LMOVE l s LEFT LEFT", WRONG_TYPE),
            ("LMOVE none s LEFT LEFT", None),
            ("RPOPLPUSH l s", WRONG_TYPE),
            ("LLEN l", 3),
            ("RPUSH one x", 1),
            ("RPOPLPUSH one one", b"x"),
            ("RPOPLPUSH one m", b"x"),
            ("EXISTS one", 0),
        ]
    )


def test_pops_of_the_first_list(server: Handling) -> None:
    server.talk(
        [
            ("RPUSH l a b c d e f", 6),
            ("LMPOP 2 none l LEFT", [b"l", [b"a"]]),
            ("LMPOP 2 l none RIGHT COUNT 2", [b"l", [b"f", b"e"]]),
            ("LMPOP 1 l left count 100", [b"l", [b"b", b"c", b"d"]]),
            ("EXISTS l", 0),
            ("LMPOP 0 l LEFT", "-ERR numkeys should be greater than 0"),
            ("LMPOP x l LEFT", "-ERR numkeys should be greater than 0"),
            ("LMPOP 2 l LEFT", SYNTAX),
            ("LMPOP 1 l UP", SYNTAX),
            ("LMPOP 1 l LEFT COUNT", SYNTAX),
            ("LMPOP 1 l LEFT COUNT 1 COUNT 1", SYNTAX),
            ("LMPOP 1 l LEFT FOO 1", SYNTAX),
            ("LMPOP 1 l LEFT COUNT 0", "-ERR count should be greater than 0"),
            ("LMPOP 1 l LEFT COUNT x", "-ERR count should be greater than 0"),
        ]
    )
    assert server.wire(b"LMPOP", b"1", b"none", b"LEFT") == b"*-1\r\n"


def waits(value: object, *keys: bytes, seconds: float, null: object) -> bool:
    return type(value) is WaitForKeys and (value.keys, value.seconds, value.null) == ([*keys], seconds, null)


def test_those_that_find_nothing_wait(server: Handling) -> None:
    call = server.call
    assert waits(call(b"BLPOP", b"k", b"l", b"1.5"), b"k", b"l", seconds=1.5, null=NULL_ARRAY)
    assert waits(call(b"BRPOP", b"k", b"0"), b"k", seconds=0, null=NULL_ARRAY)
    assert waits(call(b"BLMPOP", b"2", b"2", b"k", b"l", b"LEFT"), b"k", b"l", seconds=2, null=NULL_ARRAY)
    assert waits(call(b"BLMOVE", b"k", b"l", b"LEFT", b"LEFT", b"3"), b"k", seconds=3, null=None)
    assert waits(call(b"BRPOPLPUSH", b"k", b"l", b"3"), b"k", seconds=3, null=None)


def test_those_that_find_something_do_not_wait(server: Handling) -> None:
    server.talk(
        [
            ("RPUSH l a b c d e f g", 7),
            ("BLPOP k l 0", [b"l", b"a"]),
            ("BRPOP k l 0", [b"l", b"g"]),
            ("BLMPOP 0 2 k l LEFT COUNT 2", [b"l", [b"b", b"c"]]),
            ("BLMOVE l m RIGHT LEFT 0", b"f"),
            ("BRPOPLPUSH l m 0", b"e"),
            ("LRANGE m 0 -1", [b"e", b"f"]),
            ("BLPOP l l 0", [b"l", b"d"]),
            ("EXISTS l", 0),
        ]
    )


@pytest.mark.parametrize("line", ["BLPOP s", "BRPOP s", "BLMOVE s l LEFT LEFT", "BRPOPLPUSH s l"])
def test_timeouts(server: Handling, line: str) -> None:
    """They are looked at before the keys."""
    server.talk(
        [
            ("SET s x", OK),
            (f"{line} abc", "-ERR timeout is not a float or out of range"),
            (f"{line} -1", "-ERR timeout is negative"),
            (f"{line} 0", WRONG_TYPE),
            ("BLMPOP abc 1 s LEFT", "-ERR timeout is not a float or out of range"),
            ("BLMPOP abc 0 s LEFT", "-ERR numkeys should be greater than 0"),
            ("BLMPOP 0 0 s LEFT", "-ERR numkeys should be greater than 0"),
            ("BLMPOP 0 1 s LEFT", WRONG_TYPE),
            ("BLMOVE s l UP LEFT abc", SYNTAX),
        ]
    )


LIST_LINES = [
    "LINSERT k BEFORE a b",
    "LMOVE k l LEFT LEFT",
    "LMOVE k k LEFT LEFT",
    "LMPOP 1 k LEFT",
    "LPOS k a",
    "LREM k 0 a",
    "LSET k 0 a",
    "LSET k x a",
    "LTRIM k 0 1",
    "RPOPLPUSH k l",
    "LINDEX k 0",
    "LLEN k",
    "LPOP k",
    "LPOP k 2",
    "LPUSH k a",
    "LPUSHX k a",
    "LRANGE k 0 1",
    "RPOP k",
    "RPOP k 2",
    "RPUSH k a",
    "RPUSHX k a",
]


@pytest.mark.parametrize("line", LIST_LINES)
def test_a_string_is_no_list(server: Handling, line: str) -> None:
    server.talk([("SET k v", OK), (line, WRONG_TYPE), ("GET k", b"v")])


@pytest.mark.parametrize("line", ["GET l", "APPEND l x", "INCR l", "HGET l f", "SADD l m", "SETRANGE l 0 x"])
def test_a_list_is_nothing_else(server: Handling, line: str) -> None:
    server.talk([("RPUSH l a b c d e", 5), (line, WRONG_TYPE), ("LLEN l", 5)])


# Batches.


def points(server: Handling) -> int:
    return len(server.pending.points)


def test_what_is_pushed_and_popped_in_one_batch_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flin.objects.limits, "MAX_PACKED_ELEMENTS", SMALL)
    server = Handling()
    server.talk([("RPUSH l 1 2 3 4 5 6", 6)])
    server.pending.commit()
    server.talk([("RPUSH l 7", 7)])
    before = points(server)
    server.talk([("LPUSH l 0", 8), ("LPOP l", b"0"), ("RPUSH l 8 9", 9), ("RPOP l 2", [b"9", b"8"])])
    assert points(server) == before
    server.talk([("RPOP l", b"7"), ("RPOP l", b"6"), ("RPUSH l 6b", 6), ("RPOP l", b"6b"), ("LPOP l", b"1")])
    assert points(server) == before - 1 + 2, "6 and 1 are in the store: their tombstones stay"
    server.pending.commit()
    stored = [entry for key, entry in server.store.entries.items() if key.startswith(b"\xff\x01\x80")]
    assert stored == [b"2", b"3", b"4", b"5"]


# Large lists.


@pytest.fixture
def large(server: Handling, monkeypatch: pytest.MonkeyPatch) -> Handling:
    """A list of 3,000 elements, which is spread and counts as large."""
    monkeypatch.setattr(flin.objects.limits, "SLICED", 100)
    server.call(b"RPUSH", b"l", *LARGE)
    return server


LARGE = [b"e%d" % number for number in range(3000)]


def test_a_large_reply_goes_in_slices(large: Handling) -> None:
    """Of the state at the beginning."""
    slices = large.handle(b"LRANGE", b"l", b"1", b"-2")
    next(slices)
    large.call(b"LPOP", b"l", b"1000")
    large.call(b"DEL", b"l")
    large.pending.commit()
    assert last_of(slices).data == encode2(LARGE[1:-1])


def test_ranges_of_a_large_list(large: Handling) -> None:
    assert large.call(b"LRANGE", b"l", b"1000", b"1050") == LARGE[1000:1051]
    assert large.call(b"LRANGE", b"l", b"-3", b"-1") == LARGE[-3:]
    assert large.call(b"LINDEX", b"l", b"1234") == LARGE[1234]
    assert large.call(b"RPOP", b"l", b"1500") == LARGE[:1499:-1]
    assert large.call(b"LLEN", b"l") == 1500


@pytest.mark.parametrize("line", ["LPOP l 3000", "RPOP l 2000"])
def test_pops_whose_reply_is_too_large(large: Handling, line: str) -> None:
    """They are refused before they take anything."""
    large.services.config.largest_reply_bytes = 10_000
    with pytest.raises(LimitError, match="size of the reply"):
        large.handle(*line.encode().split())
    assert large.call(b"LLEN", b"l") == 3000


# What the disk says.


def test_a_list_of_a_newer_flin_is_left_alone(server: Handling) -> None:
    server.put(b"l", make_entry(b"\x09what", 0, 2))
    with pytest.raises(Exception, match="newer Flin"):
        server.call(b"RPUSH", b"l", b"a")


# Pipelines of one command, as columns (wire/columns.py).


def batch_of(server: Handling, name: bytes, *columns: list[bytes]) -> list[bytes]:
    command = find(name)
    assert command is not None
    assert command.batch is not None
    return list(command.batch(server.context, *map(tuple, columns)))


def test_pipelines_of_one_list(server: Handling) -> None:
    """They answer what the requests would one by one."""
    elements = [b"%d" % number for number in range(6)]
    assert batch_of(server, b"LPUSH", [b"l"] * 6, elements) == [b":%d\r\n" % length for length in range(1, 7)]
    assert batch_of(server, b"RPUSH", [b"l"] * 2, [b"a", b"b"]) == [b":7\r\n", b":8\r\n"]
    assert elements_of(server) == [*elements[::-1], b"a", b"b"]
    assert batch_of(server, b"LPOP", [b"l"] * 2) == [b"$1\r\n5\r\n", b"$1\r\n4\r\n"]
    assert batch_of(server, b"RPOP", [b"l"] * 2) == [b"$1\r\nb\r\n", b"$1\r\na\r\n"]
    assert elements_of(server) == [b"3", b"2", b"1", b"0"]


@pytest.mark.parametrize("name", [b"LPOP", b"RPOP"])
def test_pops_of_nearly_all(server: Handling, name: bytes) -> None:
    server.call(b"RPUSH", b"l", *[b"%03d" % number for number in range(900)])
    expected = [b"$3\r\n%03d\r\n" % number for number in range(900)]
    if name == b"RPOP":
        expected.reverse()
    assert batch_of(server, name, [b"l"] * 700) == expected[:700], "in several steps"
    assert batch_of(server, name, [b"l"] * 500) == expected[700:899], "the last one deletes the key"
    assert server.call(b"LLEN", b"l") == 1


@pytest.mark.parametrize("name", [b"LPOP", b"RPOP"])
def test_pipelines_that_run_one_by_one(server: Handling, name: bytes) -> None:
    server.call(b"RPUSH", b"l", *[b"x" * 5000] * 30)
    server.call(b"SET", b"s", b"x")
    for keys in ([b"l", b"m"], [b"s", b"s"], [b"l"] * 30, [b"l"] * 20):
        assert batch_of(server, name, keys) == [], "several, a string, all of it, much"
    assert batch_of(server, name, [b"none"] * 2) == [b"$-1\r\n"] * 2
    server.context.keyspace.watches.add(b"l", server.session)
    assert batch_of(server, name, [b"l"] * 2) == [], "somebody looks"
    assert batch_of(server, name.replace(b"POP", b"PUSH"), [b"l"] * 2, [b"a", b"b"]) == []
    assert server.call(b"LLEN", b"l") == 30
