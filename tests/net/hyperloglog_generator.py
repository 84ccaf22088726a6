"""Random requests for HyperLogLogs: a part of generator.py's tables.

They have keys of their own: APPEND and its kin would damage the strings, and of damaged ones Redis and Flin notice
different parts. Behind a change GET shows the whole string, byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.net.generator import Burst, Generator, Maker, Request

PF_KEYS: Final = [b"pf:0", b"pf:1", b"pf:2", b"\xff\x01pf"]
LIMITS: Final = [b"0", b"18", b"40", b"300", b"3000", b"1kb"]
"""Of hll-sparse-max-bytes; 3000 is the default, to which each burst goes back."""
NO_HYPERLOGLOGS: Final = [
    b"",
    b"12",
    b"HYLL",
    b"HYLL\x02\0\0\0" + bytes(10),
    b"HYLL\0\0\0\0" + bytes(12_000),
    b"XYLL\x01\0\0\0" + bytes(8) + b"\x7f\xff",
]
ODD: Final = [
    b"HYLL\x01\0\0\0" + bytes(8) + b"\x7f\xff",  # a count that is cached
    b"HYLL\x01\1\2\3" + bytes(7) + b"\x80\x7f\xff",  # unused bytes are set
    b"HYLL\x01\0\0\0" + b"\x07" + bytes(7) + b"\x7f\xff",  # a cached count that is wrong
    b"HYLL\0\0\0\0" + bytes(7) + b"\x80" + bytes(12_288),  # dense, empty
]


def _key(source: Generator) -> bytes:
    return source.pick(PF_KEYS)


def _elements(source: Generator) -> list[bytes]:
    odd = source.random.random()
    if odd < 0.1:
        return []
    if odd < 0.6:
        return [source.value() for _ in range(source.random.randint(1, 5))]
    many = 30 if odd < 0.95 else 1500
    return [b"%d" % source.random.randrange(10_000) for _ in range(source.random.randint(1, many))]


def _beside(source: Generator, key: bytes) -> Request:
    """What happens to keys of any type."""
    return source.pick(
        [
            source.request("del", key),
            source.request("expire", key, b"100000"),
            source.request("persist", key),
            source.request("ttl", key, compare="near"),
            source.request("type", key),
            source.request("strlen", key),
            source.request("rename", key, source.pick(PF_KEYS)),
            source.request("copy", key, source.pick(PF_KEYS), b"REPLACE"),
            source.request("set", key, source.pick(ODD)),
        ]
    )


def _around(source: Generator, key: bytes, *requests: Request) -> Burst:
    """With another limit at times, and what is there then."""
    burst = [*requests]
    if source.random.random() < 0.3:
        limit = source.spelled("hll-sparse-max-bytes")
        burst = [
            source.request("config|set", limit, source.pick(LIMITS)),
            *burst,
            source.request("config|get", limit),
            source.request("config|set", limit, b"3000"),
        ]
    if source.random.random() < 0.4:
        burst.append(_beside(source, key))
    return [*burst, source.request("get", key)]


def _of_another_type(source: Generator, key: bytes, *requests: Request) -> Burst:
    """One of its keys holds something else for a moment."""
    value = source.pick(NO_HYPERLOGLOGS)
    other = source.pick([source.request("set", key, value), source.request("hset", key, b"a", b"1")])
    return [source.request("del", key), other, *requests, source.request("del", key)]


def _add(source: Generator) -> Burst:
    key = _key(source)
    added = source.request("pfadd", key, *_elements(source))
    if source.random.random() < 0.1:
        return _of_another_type(source, key, added)
    return _around(source, key, added, source.request("pfadd", key, *_elements(source)))


def _count(source: Generator) -> Burst:
    """A count is kept in the string, and taken from there."""
    key = _key(source)
    more = [_key(source) for _ in range(source.pick([0, 0, 1, 2, 12]))]
    keys = [key, *more, *([source.key()] if source.random.random() < 0.1 else [])]
    counted = source.request("pfcount", *keys)
    if source.random.random() < 0.1:
        return _of_another_type(source, source.pick(PF_KEYS), counted)
    added = source.request("pfadd", key, *_elements(source))
    return [added, counted, source.request("get", key), counted, source.request("get", key)]


def _merge(source: Generator) -> Burst:
    key = _key(source)
    merged = source.request("pfmerge", key, *(_key(source) for _ in range(source.random.randint(0, 4))))
    if source.random.random() < 0.1:
        return _of_another_type(source, source.pick(PF_KEYS), merged)
    return _around(source, key, merged)


def _debug(source: Generator) -> Burst:
    """Registers rarely: 16,384 take time."""
    key = _key(source)
    what = source.pick(["ENCODING", "DECODE", "TODENSE", "FOO"])
    debug = source.request("pfdebug", source.spelled("GETREG" if source.random.random() < 0.03 else what), key)
    if source.random.random() < 0.1:
        return _of_another_type(source, key, debug)
    if source.random.random() < 0.5:
        return _around(source, key, source.request("pfadd", key, *_elements(source)), debug)
    return [source.request("del", key), source.request("pfadd", key, *_elements(source)), debug]


PLAIN_HYPERLOGLOGS: Final[dict[str, Maker]] = {
    "pfadd": _add,
    "pfcount": _count,
    "pfdebug": _debug,
    "pfmerge": _merge,
}

WRONG_HYPERLOGLOGS: Final[dict[str, list[list[bytes]]]] = {
    "pfadd": [[]],
    "pfcount": [[]],
    "pfdebug": [[], [b"ENCODING"], [b"ENCODING", b"nosuch"], [b"FOO", b"nosuch"], [b"ENCODING", b"pf:0", b"x"]],
    "pfmerge": [[]],
}
"""By hand: a random change could make one at a key of other commands."""
