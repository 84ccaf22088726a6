"""Random requests for sets: a part of generator.py's tables.

A few keys and members, so that commands meet each other's work; integers, things that look like them, and words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tests.net.beside import beside

if TYPE_CHECKING:
    from tests.net.generator import Burst, Comparison, Generator, Maker, Request

SET_KEYS: Final = [b"s:0", b"s:1", b"s:2", b"\xff\x01s"]
MEMBERS: Final = [
    *(b"%d" % number for number in range(-2, 9)),
    b"9223372036854775807",
    b"-9223372036854775808",
]
NO_INTEGER_MEMBERS: Final = [b"", b"a", b"b", b"\xff", b"\xff\x01a", b"01", b"-0", b"9223372036854775808", b"m" * 99]
POP_COUNTS: Final = [b"0", b"1", b"2", b"3", b"100", b"9223372036854775807"]
NO_POP_COUNTS: Final = [b"", b"abc", b"-1", b"1.5", b"-9223372036854775808", b"9223372036854775808"]
COUNTS: Final = [b"0", b"1", b"2", b"3", b"100", b"-1", b"-2", b"-30", b"9223372036854775807"]
"""SRANDMEMBER's. Redis draws as many as a negative one says, so none is far below zero."""
NO_COUNTS: Final = [b"", b"abc", b"1.5", b"-9223372036854775808", b"9223372036854775808"]
MEMBER_PATTERNS: Final = [b"*", b"?", b"[1-4]", b"-*", b"*\xff*", b"a", b"", b"nothing*"]


def set_key(source: Generator) -> bytes:
    return source.pick(SET_KEYS) if source.random.random() < 0.88 else source.key()


def _member(source: Generator) -> list[bytes]:
    return [source.pick(MEMBERS if source.random.random() < 0.8 else NO_INTEGER_MEMBERS)]


def _members(source: Generator) -> list[bytes]:
    return [word for _ in range(source.random.randint(1, 7)) for word in _member(source)]


def _set_keys(source: Generator) -> list[bytes]:
    return [set_key(source) for _ in range(source.random.randint(0, 3))]


def _key(source: Generator) -> list[bytes]:
    return [set_key(source)]


def _around(source: Generator, key: bytes, request: Request) -> Burst:
    """Sometimes a set is made anew before it, sometimes another command comes behind it; and what is there then."""
    burst: Burst = []
    if source.random.random() < 0.3:
        burst += [source.request("del", key), source.request("sadd", key, *_members(source))]
    burst.append(request)
    if source.random.random() < 0.25:
        burst.append(beside(source, key, set_key(source), b"hset", b"a", b"1"))
    if source.random.random() < 0.3:
        burst.append(source.request("smembers", key, compare="unordered"))
    return burst


def _maker(name: str, *words: Callable[[Generator], list[bytes]], compare: Comparison = "same") -> Maker:
    def make(source: Generator) -> Burst:
        key = set_key(source)
        made = [word for make_words in words for word in make_words(source)]
        return _around(source, key, source.request(name, key, *made, compare=compare))

    return make


def _single(source: Generator, key: bytes) -> Burst:
    """A set of one member: what is drawn from it is known."""
    return [source.request("del", key), source.request("sadd", key, *_member(source))]


def _pop(source: Generator) -> Burst:
    """What is left differs between two servers, so the set goes afterwards."""
    key = set_key(source)
    if source.random.random() < 0.5:
        return [*_single(source, key), source.request("spop", key), source.request("exists", key)]
    return [
        source.request("spop", key, compare="shape"),
        source.request("scard", key),
        source.request("del", key),
    ]


def _pop_options(source: Generator) -> Burst:
    key = set_key(source)
    odd = source.random.random()
    if odd < 0.2:
        words = [source.pick(NO_POP_COUNTS)] if odd < 0.15 else [b"1", b"x"]
        return [source.request("spop", key, *words)]
    if odd < 0.4:
        return [
            *_single(source, key),
            source.request("spop", key, source.pick(POP_COUNTS)),
            source.request("scard", key),
        ]
    if odd < 0.6:
        return _around(source, key, source.request("spop", key, b"100", compare="unordered"))
    count = source.request("spop", key, source.pick(POP_COUNTS), compare="length")
    return [count, source.request("scard", key), source.request("del", key)]


def _random(source: Generator) -> Burst:
    key = set_key(source)
    if source.random.random() < 0.5:
        return [*_single(source, key), source.request("srandmember", key)]
    return _around(source, key, source.request("srandmember", key, compare="shape"))


def _random_options(source: Generator) -> Burst:
    key = set_key(source)
    odd = source.random.random()
    if odd < 0.25:
        return [*_single(source, key), source.request("srandmember", key, source.pick(COUNTS))]
    if odd < 0.5:
        return _around(source, key, source.request("srandmember", key, b"100", compare="unordered"))
    if odd < 0.65:
        words = [source.pick(NO_COUNTS)] if odd < 0.6 else [b"1", b"x"]
        return [source.request("srandmember", key, *words)]
    return _around(source, key, source.request("srandmember", key, source.pick(COUNTS), compare="length"))


def _scan(source: Generator) -> Burst:
    key = set_key(source)
    words = [
        source.pick([b"0", b"0", b"17", b"abc", b"-1"]),
        *source.pick([[b"FOO"], [b"COUNT", b"0"], [b"COUNT", b"abc"], [b"TYPE", b"string"], [b"MATCH"], [b"COUNT"]]),
    ]
    wrong = source.request("sscan", set_key(source), *words, kind="wrong")
    return [*_around(source, key, source.request("sscan", key, b"0", compare="shape")), wrong]


def _scan_options(source: Generator) -> Burst:
    words = [source.spelled("COUNT"), b"1000"]
    if source.random.random() < 0.7:
        words = [source.spelled("MATCH"), source.pick(MEMBER_PATTERNS), *words]
    key = set_key(source)
    return _around(source, key, source.request("sscan", key, b"0", *words, compare="unordered"))


def _store(name: str) -> Maker:
    """And what is in the destination then."""

    def make(source: Generator) -> Burst:
        key = set_key(source)
        store = source.request(name, key, set_key(source), *_set_keys(source))
        burst = _around(source, set_key(source), store)
        return [*burst, source.request("smembers", key, compare="unordered"), source.request("type", key)]

    return make


def _card(source: Generator) -> Burst:
    keys = [set_key(source), *_set_keys(source)]
    return _around(source, keys[0], source.request("sintercard", b"%d" % len(keys), *keys))


def _card_options(source: Generator) -> Burst:
    keys = [set_key(source), *_set_keys(source)]
    number = b"%d" % len(keys)
    limit = [source.spelled("LIMIT"), source.pick([b"0", b"1", b"2", b"100", b"9223372036854775807"])]
    odd = source.random.random()
    if odd < 0.1:
        number = source.pick([b"0", b"-1", b"abc", b"", b"100", b"9223372036854775808"])
    elif odd < 0.25:
        limit = source.pick([[b"LIMIT"], [b"LIMIT", b"-1"], [b"LIMIT", b"x"], [b"FOO", b"1"], [*limit, *limit]])
    return [source.request("sintercard", number, *keys, *limit)]


def set_encoding(source: Generator) -> Burst:
    """Redis tells of a set's history, which begins here: intset or hashtable."""
    key, other, third = b"s:0", b"s:1", b"s:2"
    burst = [source.request("del", key, other, third), source.request("sadd", key, *_members(source))]
    if source.random.random() < 0.5:
        burst.append(source.request("srem", key, *_members(source)))
    if source.random.random() < 0.5:
        burst.append(source.request("sadd", other, *_members(source)))
        burst.append(source.request(source.pick(["sunionstore", "sinterstore", "sdiffstore"]), third, key, other))
        burst.append(source.request("object|encoding", third))
    if source.random.random() < 0.3:
        burst.append(source.request("smove", key, third, *_member(source)))
        burst.append(source.request("object|encoding", third))
    return [*burst, source.request("object|encoding", key), source.request("object|refcount", key)]


PLAIN_SETS: Final[dict[str, Maker]] = {
    "sadd": _maker("sadd", _members),
    "scard": _maker("scard"),
    "sdiff": _maker("sdiff", _set_keys, compare="unordered"),
    "sdiffstore": _store("sdiffstore"),
    "sinter": _maker("sinter", _set_keys, compare="unordered"),
    "sintercard": _card,
    "sinterstore": _store("sinterstore"),
    "sismember": _maker("sismember", _member),
    "smembers": _maker("smembers", compare="unordered"),
    "smismember": _maker("smismember", _members),
    "smove": _maker("smove", _key, _member),
    "spop": _pop,
    "srandmember": _random,
    "srem": _maker("srem", _members),
    "sscan": _scan,
    "sunion": _maker("sunion", _set_keys, compare="unordered"),
    "sunionstore": _store("sunionstore"),
}

SET_OPTIONS: Final[dict[str, Maker]] = {
    "sintercard": _card_options,
    "spop": _pop_options,
    "srandmember": _random_options,
    "sscan": _scan_options,
}

SET_COMPARISONS: Final[dict[str, Comparison]] = {
    "sdiff": "unordered",
    "sinter": "unordered",
    "smembers": "unordered",
    "sunion": "unordered",
    "spop": "length",
    "srandmember": "length",
    "sscan": "shape",
}

WRONG_SETS: Final[dict[str, list[list[bytes]]]] = {
    "spop": [
        [],
        [b"s:0", b"abc"],
        [b"s:1", b"-1"],
        [b"s:0", b"1", b"x"],
        [b"s:1", b"0"],
        [b"s:0", b"0", b"x"],
        [b"s:none", b"5"],
    ],
}
"""By hand: a random change may leave an SPOP that takes other members out of the two servers' sets."""

SET_CHANGES: Final = [
    ("sadd", "KEY", "a"),
    ("srem", "KEY", "a"),
    ("srem", "KEY", "none"),
    ("smove", "KEY", "s:1", "1"),
    ("sunionstore", "KEY", "s:1", "s:2"),
    ("sismember", "KEY", "a"),
]
"""What another connection does to a watched key."""
