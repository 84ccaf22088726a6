"""Random requests for lists: a part of generator.py's tables.

A few keys, elements that are alike, and indices within and beyond the lists that they make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.net.generator import Burst, Comparison, Generator, Maker, Request

LIST_KEYS: Final = [b"l:0", b"l:1", b"l:2", b"\xff\x01l"]
ELEMENTS: Final = [b"a", b"b", b"c", b"d", b"", b"\xff", b"\xff\x01a", b"e\r\n\x00*", b"1", b"f" * 99]
INDICES: Final = [*(b"%d" % number for number in range(-9, 12)), b"100", b"-100", b"9223372036854775807"]
NO_INDICES: Final = [b"", b"abc", b"1.5", b" 1", b"-0", b"9223372036854775808"]
POP_COUNTS: Final = [b"0", b"1", b"2", b"3", b"5", b"100", b"9223372036854775807"]
NO_POP_COUNTS: Final = [b"", b"abc", b"-1", b"1.5", b"-9223372036854775808", b"9223372036854775808"]


def list_key(source: Generator) -> bytes:
    return source.pick(LIST_KEYS) if source.random.random() < 0.9 else source.key()


def _element(source: Generator) -> list[bytes]:
    return [source.pick(ELEMENTS)]


def _elements(source: Generator) -> list[bytes]:
    return [source.pick(ELEMENTS) for _ in range(source.random.randint(1, 5))]


def _mostly(good: Sequence[bytes], bad: Sequence[bytes]) -> Callable[[Generator], list[bytes]]:
    return lambda source: [source.pick(good if source.random.random() < 0.92 else bad)]


_index: Final = _mostly(INDICES, NO_INDICES)


def _beside(source: Generator, key: bytes) -> Request:
    """What happens to keys of any type, to one that is often a list."""
    other = list_key(source)
    return source.pick(
        [
            source.request("del", key),
            source.request("expire", key, b"100000"),
            source.request("persist", key),
            source.request("ttl", key, compare="near"),
            source.request("type", key),
            source.request("rename", key, other),
            source.request("copy", key, other, b"REPLACE"),
            source.request("set", key, b"12"),
            source.request("get", key),
            source.request("hset", key, b"a", b"1"),
            source.request("object|encoding", key, compare="shape"),
        ]
    )


def _around(source: Generator, key: bytes, request: Request) -> Burst:
    """Sometimes a list is made anew before it, or made longer; sometimes another command comes behind it; and what is
    there then."""
    burst: Burst = []
    odd = source.random.random()
    if odd < 0.15:
        burst += [source.request("del", key), source.request("rpush", key, *_elements(source))]
    elif odd < 0.5:
        burst += [source.request(source.pick(["rpush", "lpush"]), key, *_elements(source))]
    burst.append(request)
    if source.random.random() < 0.1:
        burst.append(_beside(source, key))
    if source.random.random() < 0.3:
        burst.append(source.request("lrange", key, b"0", b"-1"))
    return burst


def _maker(name: str, *words: Callable[[Generator], list[bytes]], compare: Comparison = "same") -> Maker:
    def make(source: Generator) -> Burst:
        key = list_key(source)
        made = [word for make_words in words for word in make_words(source)]
        return _around(source, key, source.request(name, key, *made, compare=compare))

    return make


PLAIN_LISTS: Final[dict[str, Maker]] = {
    "lindex": _maker("lindex", _index),
    "llen": _maker("llen"),
    "lpop": _maker("lpop"),
    "lpush": _maker("lpush", _elements),
    "lpushx": _maker("lpushx", _elements),
    "lrange": _maker("lrange", _index, _index),
    "rpop": _maker("rpop"),
    "rpush": _maker("rpush", _elements),
    "rpushx": _maker("rpushx", _elements),
}

LIST_OPTIONS: Final[dict[str, Maker]] = {
    "lpop": _maker("lpop", _mostly(POP_COUNTS, NO_POP_COUNTS)),
    "rpop": _maker("rpop", _mostly(POP_COUNTS, NO_POP_COUNTS)),
}

LIST_CHANGES: Final = [
    ("rpush", "KEY", "a"),
    ("lpushx", "KEY", "a"),
    ("lpop", "KEY"),
    ("rpop", "KEY", "2"),
    ("llen", "KEY"),
]
"""What another connection does to a watched key."""
