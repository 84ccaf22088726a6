"""Random requests for hashes: a part of generator.py's tables.

A few keys and fields, so that commands meet each other's work, and values on both sides of every limit: numbers, 64
bytes (Redis's listpack), 4,096 bytes together (Flin's packed form).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.net.generator import Burst, Comparison, Generator, Maker, Request

HASH_KEYS: Final = [b"h:0", b"h:1", b"h:2", b"\xff\x01h"]
FIELDS: Final = [b"a", b"b", b"c", b"name", b"", b"\xff", b"\xff\x01a", b"f\r\n\x00*", b"f" * 64, b"g" * 65, b"count"]
HASH_NUMBERS: Final = [b"0", b"1", b"-1", b"10", b"9223372036854775807", b"-9223372036854775808"]
NO_HASH_NUMBERS: Final = [b"", b"abc", b"1.5", b" 1", b"+1", b"9223372036854775808"]
HASH_FLOATS: Final = [b"0.1", b"-1.5", b"3.0e2", b"1e-7", b"5", b"-0", b"0x1p-3", b".5", b"1e4900", b"-1e4900"]
NO_HASH_FLOATS: Final = [b"", b"abc", b"nan", b"inf", b"-Infinity", b"1e5000", b"1e-5000", b" 1", b"1,5"]
COUNTS: Final = [b"0", b"1", b"2", b"3", b"100", b"-1", b"-2", b"-30", b"9223372036854775807"]
"""HRANDFIELD's. A negative one answers that many elements, so none is far below zero."""
NO_COUNTS: Final = [b"", b"abc", b"1.5", b"-9223372036854775808", b"9223372036854775808"]
TOO_FAR: Final = [b"4611686018427387904", b"-4611686018427387904", b"-9223372036854775807"]
"""Refused with WITHVALUES."""
FIELD_PATTERNS: Final = [b"*", b"?", b"[a-c]", b"f*", b"*\xff*", b"name", b"", b"nothing*"]


def hash_key(source: Generator) -> bytes:
    return source.pick(HASH_KEYS) if source.random.random() < 0.85 else source.key()


def _field(source: Generator) -> list[bytes]:
    return [source.pick(FIELDS)]


def _fields(source: Generator) -> list[bytes]:
    return [source.pick(FIELDS) for _ in range(source.random.randint(1, 5))]


def _value(source: Generator) -> list[bytes]:
    return [source.pick(HASH_NUMBERS) if source.random.random() < 0.4 else source.value()]


def _pairs(source: Generator) -> list[bytes]:
    return [word for _ in range(source.random.randint(1, 6)) for word in (*_field(source), *_value(source))]


def _mostly(good: Sequence[bytes], bad: Sequence[bytes]) -> Callable[[Generator], list[bytes]]:
    return lambda source: [source.pick(good if source.random.random() < 0.85 else bad)]


def _beside(source: Generator, key: bytes) -> Request:
    """What happens to keys of any type, to one that is often a hash."""
    other = hash_key(source)
    return source.pick(
        [
            source.request("del", key),
            source.request("expire", key, b"100000"),
            source.request("expire", key, b"-1"),
            source.request("persist", key),
            source.request("ttl", key, compare="near"),
            source.request("type", key),
            source.request("exists", key, other),
            source.request("rename", key, other),
            source.request("renamenx", key, other),
            source.request("copy", key, other, b"REPLACE"),
            source.request("copy", key, other, b"DB", b"1", b"REPLACE"),
            source.request("set", key, b"12"),
            source.request("get", key),
            source.request("incr", key),
            source.request("mget", key, other),
            source.request("object|encoding", key, compare="shape"),
            source.request("object|refcount", key, compare="shape"),
        ]
    )


def _around(source: Generator, key: bytes, request: Request) -> Burst:
    """Sometimes a hash is made anew before it, sometimes another command comes behind it; and what is there then."""
    burst: Burst = []
    if source.random.random() < 0.2:
        burst += [source.request("del", key), source.request("hset", key, *_pairs(source))]
    burst.append(request)
    if source.random.random() < 0.3:
        burst.append(_beside(source, key))
    if source.random.random() < 0.3:
        burst.append(source.request("hgetall", key, compare="pairs"))
    return burst


def _maker(name: str, *words: Callable[[Generator], list[bytes]], compare: Comparison = "same") -> Maker:
    def make(source: Generator) -> Burst:
        key = hash_key(source)
        made = [word for make_words in words for word in make_words(source)]
        return _around(source, key, source.request(name, key, *made, compare=compare))

    return make


def _scan_options(source: Generator) -> Burst:
    """With a count above the number of fields, so that one call returns them all."""
    words = [source.spelled("COUNT"), b"1000"]
    if source.random.random() < 0.7:
        words = [source.spelled("MATCH"), source.pick(FIELD_PATTERNS), *words]
    key = hash_key(source)
    return _around(source, key, source.request("hscan", key, b"0", *words, compare="pairs"))


def _scan_errors(source: Generator) -> Burst:
    """Which of two errors comes first, and none at all for an absent key."""
    words = [
        source.pick([b"0", b"0", b"17", b"abc", b"-1", b"18446744073709551616"]),
        *source.pick([[b"FOO"], [b"COUNT", b"0"], [b"COUNT", b"abc"], [b"TYPE", b"string"], [b"MATCH"], [b"COUNT"]]),
    ]
    return [source.request("hscan", hash_key(source), *words, kind="wrong")]


def _scan(source: Generator) -> Burst:
    """Without options a whole scan may take several calls, whose cursors differ."""
    key = hash_key(source)
    scan = source.request("hscan", key, b"0", compare="shape")
    return [*_around(source, key, scan), *_scan_errors(source)]


def _random_options(source: Generator) -> Burst:
    """A count that all fields fit in returns them all, in any order. One that is less, or negative, leaves to chance
    which come: then their number compares, and all of a hash of one field."""
    key = hash_key(source)
    odd = source.random.random()
    words = [] if source.random.random() < 0.4 else [source.spelled("WITHVALUES")]
    # In RESP2 fields and values come by turns, in RESP3 as pairs.
    everything: Comparison = "pairs" if words and source.protocol == b"2" else "unordered"
    if odd < 0.25:
        single = [source.request("del", key), source.request("hset", key, source.pick(FIELDS), *_value(source))]
        return [*single, source.request("hrandfield", key, source.pick(COUNTS), *words)]
    if odd < 0.45:
        return _around(source, key, source.request("hrandfield", key, b"100", *words, compare=everything))
    if odd < 0.6:
        words = source.pick([[b"FOO"], [b"WITHVALUES", b"x"], [b"withvalues"]])
        count = source.pick([*NO_COUNTS, *(TOO_FAR if words == [b"withvalues"] else COUNTS)])
        return [source.request("hrandfield", key, count, *words, compare="length")]
    return _around(source, key, source.request("hrandfield", key, source.pick(COUNTS), *words, compare="length"))


def _random(source: Generator) -> Burst:
    key = hash_key(source)
    single = [source.request("del", key), source.request("hset", key, source.pick(FIELDS), *_value(source))]
    if source.random.random() < 0.5:
        return [*single, source.request("hrandfield", key)]
    return _around(source, key, source.request("hrandfield", key, compare="shape"))


def hash_encoding(source: Generator) -> Burst:
    """Redis tells of a hash's history, which begins here: listpack or hashtable by the values that were set."""
    key = source.pick(HASH_KEYS)
    burst = [source.request("del", key), source.request("hset", key, *_pairs(source))]
    if source.random.random() < 0.4:
        burst.append(source.request("hset", key, *_pairs(source)))
    if source.random.random() < 0.4:
        burst.append(source.request("hdel", key, *_fields(source)))
    return [*burst, source.request("object|encoding", key), source.request("object|refcount", key)]


PLAIN_HASHES: Final[dict[str, Maker]] = {
    "hdel": _maker("hdel", _fields),
    "hexists": _maker("hexists", _field),
    "hget": _maker("hget", _field),
    "hgetall": _maker("hgetall", compare="pairs"),
    "hincrby": _maker("hincrby", _field, _mostly(HASH_NUMBERS, NO_HASH_NUMBERS)),
    "hincrbyfloat": _maker("hincrbyfloat", _field, _mostly(HASH_FLOATS, NO_HASH_FLOATS)),
    "hkeys": _maker("hkeys", compare="unordered"),
    "hlen": _maker("hlen"),
    "hmget": _maker("hmget", _fields),
    "hmset": _maker("hmset", _pairs),
    "hrandfield": _random,
    "hscan": _scan,
    "hset": _maker("hset", _pairs),
    "hsetnx": _maker("hsetnx", _field, _value),
    "hstrlen": _maker("hstrlen", _field),
    "hvals": _maker("hvals", compare="unordered"),
}

HASH_OPTIONS: Final[dict[str, Maker]] = {"hrandfield": _random_options, "hscan": _scan_options}

HASH_COMPARISONS: Final[dict[str, Comparison]] = {
    "hgetall": "pairs",
    "hkeys": "unordered",
    "hvals": "unordered",
    "hrandfield": "length",
    "hscan": "shape",
}

HASH_CHANGES: Final = [
    ("hset", "KEY", "a", "1"),
    ("hsetnx", "KEY", "a", "1"),
    ("hdel", "KEY", "a"),
    ("hdel", "KEY", "none"),
    ("hincrby", "KEY", "count", "1"),
    ("hincrby", "KEY", "a", "x"),
    ("hincrbyfloat", "KEY", "count", "0.5"),
    ("hget", "KEY", "a"),
]
"""What another connection does to a watched key."""
