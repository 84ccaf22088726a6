"""Random requests for SORT, DUMP and RESTORE: a part of generator.py's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flin.rdb import dump
from flin.rdb.value import Hash, List, Set, SortedSet, String
from tests.net.list_generator import list_key
from tests.net.set_generator import set_key
from tests.net.sorted_set_generator import sorted_set_key
from tests.rdb.samples import SAMPLES
from tests.rdb.values import sealed

if TYPE_CHECKING:
    from tests.net.generator import Burst, Comparison, Generator, Maker

# RESTORE. A payload of every form; some that are none.

KINDS: Final = (String, Hash, List, Set)
SCORES: Final = [{b"a": 1.5, b"7": -3.0, b"": float("inf"), b"b": 1e300}, {b"%d" % n: n / 8 for n in range(200)}]
"""In order: Redis keeps small ones as the payload has them."""

PAYLOADS: Final = [
    *(sealed(data) for data, value in SAMPLES.values() if isinstance(value, KINDS)),
    *(dump.encode(value) for _, value in SAMPLES.values() if isinstance(value, KINDS)),
    *(dump.encode(SortedSet(scores)) for scores in SCORES),
]
NO_PAYLOADS: Final = [b"", b"abc", PAYLOADS[0][:-1], PAYLOADS[0] + b"\0", sealed(b"\x63"), sealed(b"\x01\x00")]
TIMES: Final = [b"0", b"0", b"0", b"100000000", b"1000000000"]
NO_TIMES: Final = [b"", b"abc", b"-1", b"1.5", b"9223372036854775808"]
RESTORE_WORDS: Final = [
    [b"ABSTTL"],
    [b"IDLETIME", b"5"],
    [b"FREQ", b"7"],
    [b"FREQ", b"1", b"FREQ", b"255"],
    [b"IDLETIME", b"-1"],
    [b"FREQ", b"256"],
    [b"IDLETIME", b"x"],
    [b"IDLETIME", b"1", b"FREQ", b"1"],
    [b"FREQ"],
    [b"FOO"],
]


def _key(source: Generator) -> bytes:
    return source.pick([list_key, set_key, sorted_set_key])(source)


def _payload(source: Generator) -> bytes:
    return source.pick(PAYLOADS if source.random.random() < 0.9 else NO_PAYLOADS)


def _time(source: Generator) -> bytes:
    return source.pick(TIMES if source.random.random() < 0.95 else NO_TIMES)


def _seen(source: Generator, key: bytes) -> Burst:
    """What is at the key, whatever its type is."""
    return [
        source.request("type", key),
        source.request("pttl", key, compare="near"),
        source.request("get", key),
        source.request("hgetall", key, compare="pairs"),
        source.request("lrange", key, b"0", b"-1"),
        source.request("smembers", key, compare="unordered"),
        source.request("zrange", key, b"0", b"-1", b"WITHSCORES"),
        source.request("sort", key, b"BY", b"nosort", b"STORE", b"sorted"),
    ]


def _restore(source: Generator) -> Burst:
    key = _key(source)
    request = source.request("restore", key, _time(source), _payload(source))
    before = [source.request("del", key)] if source.random.random() < 0.6 else []
    return [*before, request, *_seen(source, key)]


def _restore_options(source: Generator) -> Burst:
    key = _key(source)
    words = [source.spelled("REPLACE")] if source.random.random() < 0.8 else []
    time = _time(source)
    odd = source.random.random()
    if odd < 0.2:
        words.append(source.spelled("ABSTTL"))
        time = source.pick([b"1", b"1000", b"4102444800000", b"0"])
    elif odd < 0.7 or not words:
        words += source.pick(RESTORE_WORDS)
        time = b"0"
    return [source.request("restore", key, time, _payload(source), *words), *_seen(source, key)]


def _dump(source: Generator) -> Burst:
    return [source.request("dump", source.key(), compare="shape")]


# SORT.

NUMBERS: Final = [
    *(b"%d" % number for number in range(-3, 12)),
    b"1.5",
    b"-0.25",
    b"1e2",
    b" 7",
    b"0x1f",
    b"inf",
    b"-inf",
    b"",
    b"13\x00z",  # and no 13: SORT ALPHA of both is a listed difference
    b"123456789012345678",
]
NO_NUMBERS: Final = [b"a", b"nan", b"1 ", b"0x", b" "]
"""None that is out of range: see the table of differences."""

WORDS: Final = [b"pear", b"apple", b"fig", b"\xff\x01", b"\xffz", b"Zebra", b"apples"]
LIMITS: Final = [[b"0", b"3"], [b"1", b"2"], [b"-5", b"2"], [b"2", b"-1"], [b"2", b"0"], [b"100", b"5"], [b"0", b"-9"]]
NO_LIMITS: Final = [[b"a", b"1"], [b"1", b"1.5"], [b"1"], [b"", b""]]
GETS: Final = [b"#", b"w_*", b"h_*->n", b"h_*->none", b"none_*", b"w_*x", b"h_*", b"w_*->n", b"constant", b"", b"h_*->"]


def _made(source: Generator, key: bytes, elements: list[bytes]) -> Burst:
    name = source.pick(["rpush", "sadd", "zadd"])
    if name == "zadd":
        elements = [word for element in elements for word in (b"%d" % source.random.randint(0, 5), element)]
    return [source.request("del", key), source.request(name, key, *elements)]


def _elements(source: Generator) -> list[bytes]:
    odd = source.random.random()
    choices = NUMBERS if odd < 0.7 else WORDS if odd < 0.9 else [*NUMBERS, *NO_NUMBERS]
    return [source.pick(choices) for _ in range(source.random.randint(1, 9))]


def _in_range(source: Generator) -> Burst:
    """In Redis a number out of range, of any command, makes each SORT by numbers fail until something else succeeds or
    fails in C's library. INCRBYFLOAT begins with a clean slate."""
    return [source.request("incrbyfloat", b"zero", b"0")]


def _sort(name: str) -> Maker:
    def make(source: Generator) -> Burst:
        key, made = source.key(), []
        if source.random.random() < 0.8:
            key = _key(source)
            made = _made(source, key, _elements(source))
        return [*made, *_in_range(source), source.request(name, key)]

    return make


def _weights(source: Generator, elements: list[bytes], weights: list[bytes]) -> Burst:
    """A string and a field for most elements, and none that an earlier burst has left."""
    burst: Burst = []
    for element in dict.fromkeys([*NUMBERS, *WORDS, *elements]):
        text, hash_ = b"w_" + element, b"h_" + element
        if element not in elements or source.random.random() < 0.15:
            burst.append(source.request("del", text, hash_))
            continue
        weight = source.pick(weights)
        burst.append(source.request("set", text, weight))
        burst.append(source.request("del", hash_))
        burst.append(source.request("hset", hash_, b"n", weight, b"more", b"x"))
    return burst


def _sort_options(name: str) -> Maker:
    """Whatever leaves the order open (a set's own, equal weights in ALPHA) is compared without it."""

    def make(source: Generator) -> Burst:
        key, elements = _key(source), _elements(source)
        burst = _made(source, key, elements)
        is_set = burst[1].name == "sadd"
        groups: list[list[bytes]] = []
        compare: Comparison = "same"
        by, is_text = source.random.random(), source.random.random() < 0.4
        has_limit = source.random.random() < 0.4
        if is_text:
            groups.append([source.spelled("ALPHA")])
        if by < 0.4:
            burst += _weights(source, elements, WORDS if is_text else NUMBERS[:12])
            groups.append([source.spelled("BY"), source.pick([b"w_*", b"h_*->n", b"none_*"])])
            if is_text:
                compare, has_limit = "unordered", False
        elif by < 0.6:
            groups.append([source.spelled("BY"), source.pick([b"nosort", b"", b"#"])])
            if is_set:
                compare, has_limit = "unordered", False
        if has_limit:
            limit = source.pick(LIMITS if source.random.random() < 0.9 else NO_LIMITS)
            groups.append([source.spelled("LIMIT"), *limit])
        if source.random.random() < 0.4 and compare == "same":
            if by >= 0.4:
                burst += _weights(source, elements, WORDS)
            groups += [[source.spelled("GET"), source.pick(GETS)] for _ in range(source.random.randint(1, 3))]
        if source.random.random() < 0.5:
            groups.append([source.spelled(source.pick(["ASC", "DESC", "DESC"]))])
        is_stored = source.random.random() < 0.3 and name == "sort"
        if is_stored:
            groups.append([source.spelled("STORE"), b"sorted"])
            if by >= 0.4:
                compare = "same"
        if source.random.random() < 0.03:
            groups.append([source.pick([b"FOO", b"GET", b"BY", b"STORE", b"LIMIT"])])
        source.random.shuffle(groups)
        words = [word for group in groups for word in group]
        burst += [*_in_range(source), source.request(name, key, *words, compare=compare)]
        if is_stored:
            burst += [
                source.request("lrange", b"sorted", b"0", b"-1", compare=compare),
                source.request("type", b"sorted"),
            ]
        return burst

    return make


PLAIN_KEYS: Final[dict[str, Maker]] = {
    "dump": _dump,
    "restore": _restore,
    "sort": _sort("sort"),
    "sort_ro": _sort("sort_ro"),
}

KEY_OPTIONS: Final[dict[str, Maker]] = {
    "restore": _restore_options,
    "sort": _sort_options("sort"),
    "sort_ro": _sort_options("sort_ro"),
}

WRONG_KEYS: Final[dict[str, list[list[bytes]]]] = {
    name: [
        [],
        [b"l:0", b"ALPHA", b"FOO"],
        [b"l:0", b"BY"],
        [b"l:0", b"ALPHA", b"LIMIT", b"1"],
        [b"l:0", b"ALPHA", b"LIMIT", b"x", b"1"],
        [b"l:0", b"ALPHA", b"LIMIT", b"1", b"9223372036854775808"],
        [b"key:0", b"BY", b"nosort", b"GET"],
        [b"none", b"BY", b"w_*", b"STORE"],
        [b"none", b"ASC", b"DESC", b"asc", b"alpha", b"LIMIT", b"-1", b"-1"],
        [b"none", b"LIMIT", b"0", b"1", b"GET", b"#", b"DESC"],
    ]
    for name in ("sort", "sort_ro")
}
"""By hand: a random change of a SORT by numbers would meet the slate of `_in_range` unwiped."""

KEY_COMPARISONS: Final[dict[str, Comparison]] = {"dump": "shape"}
