"""Random requests for lists: a part of generator.py's tables.

A few keys, elements that are alike, and indices within and beyond the lists that they make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from tests.net.beside import beside

if TYPE_CHECKING:
    from tests.net.generator import Burst, Comparison, Generator, Maker, Request

LIST_KEYS: Final = [b"l:0", b"l:1", b"l:2", b"\xff\x01l"]
ELEMENTS: Final = [b"a", b"b", b"c", b"d", b"", b"\xff", b"\xff\x01a", b"e\r\n\x00*", b"1", b"f" * 99]
INDICES: Final = [*(b"%d" % number for number in range(-9, 12)), b"100", b"-100", b"9223372036854775807"]
NO_INDICES: Final = [b"", b"abc", b"1.5", b" 1", b"-0", b"9223372036854775808"]
POP_COUNTS: Final = [b"0", b"1", b"2", b"3", b"5", b"100", b"9223372036854775807"]
NO_POP_COUNTS: Final = [b"", b"abc", b"-1", b"1.5", b"-9223372036854775808", b"9223372036854775808"]


NO_SIDES: Final = [b"", b"L", b"UP", b"LEFT "]
TIMEOUTS: Final = [b"0.001", b"0.002", b"1e-3", b"0.0005"]
"""Short, since a list that is not there is waited for."""
NO_TIMEOUTS: Final = [b"", b"abc", b"-1", b"-0.5", b"nan", b"1e400", b"0x", b"1 "]
RANKS: Final = [b"1", b"2", b"3", b"-1", b"-2", b"-3", b"100", b"9223372036854775807", b"-9223372036854775807"]
POS_COUNTS: Final = [b"0", b"1", b"2", b"3", b"100", b"9223372036854775807"]
NO_RANKS: Final = [b"0", b"", b"abc", b"-1", b"1.5", b"9223372036854775808", b"-9223372036854775809"]
REM_COUNTS: Final = [b"0", b"1", b"2", b"-1", b"-2", b"100", b"-100", b"9223372036854775807", b"-9223372036854775808"]


def list_key(source: Generator) -> bytes:
    return source.pick(LIST_KEYS) if source.random.random() < 0.9 else source.key()


def _element(source: Generator) -> list[bytes]:
    return [source.pick(ELEMENTS)]


def _elements(source: Generator) -> list[bytes]:
    return [source.pick(ELEMENTS) for _ in range(source.random.randint(1, 5))]


def _mostly(good: Sequence[bytes], bad: Sequence[bytes]) -> Callable[[Generator], list[bytes]]:
    return lambda source: [source.pick(good if source.random.random() < 0.92 else bad)]


_index: Final = _mostly(INDICES, NO_INDICES)


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
        burst.append(beside(source, key, list_key(source), b"hset", b"a", b"1"))
    if source.random.random() < 0.3:
        burst.append(source.request("lrange", key, b"0", b"-1"))
    return burst


def _maker(name: str, *words: Callable[[Generator], list[bytes]], compare: Comparison = "same") -> Maker:
    def make(source: Generator) -> Burst:
        key = list_key(source)
        made = [word for make_words in words for word in make_words(source)]
        return _around(source, key, source.request(name, key, *made, compare=compare))

    return make


def _sides(source: Generator) -> list[bytes]:
    return [_side(source), _side(source)]


def _side(source: Generator) -> bytes:
    return source.spelled(source.pick(["LEFT", "RIGHT"])) if source.random.random() < 0.95 else source.pick(NO_SIDES)


def _two_lists(name: str, *words: Callable[[Generator], list[bytes]]) -> Maker:
    """Often the same list twice; and what is in the second one then."""

    def make(source: Generator) -> Burst:
        key, other = list_key(source), list_key(source)
        made = [word for make_words in words for word in make_words(source)]
        burst = _around(source, key, source.request(name, key, other, *made))
        return [*burst, source.request("lrange", other, b"0", b"-1")]

    return make


def _insert(source: Generator) -> list[bytes]:
    side = source.spelled(source.pick(["BEFORE", "AFTER"])) if source.random.random() < 0.97 else b"BESIDE"
    return [side, *_element(source), source.pick([*ELEMENTS, b"new"])]


def _mpop_words(source: Generator) -> list[bytes]:
    keys = [list_key(source) for _ in range(source.random.randint(1, 3))]
    number = b"%d" % len(keys) if source.random.random() < 0.95 else source.pick([b"0", b"-1", b"abc", b"9", b""])
    return [number, *keys, _side(source)]


def _mpop(*, options: bool) -> Maker:
    def make(source: Generator) -> Burst:
        words = _mpop_words(source)
        if options:
            words += [source.spelled("COUNT"), *_mostly(POP_COUNTS[1:], [*NO_POP_COUNTS, b"0"])(source)]
            if source.random.random() < 0.1:
                words += source.pick([[b"COUNT", b"1"], [b"COUNT"], [b"FOO", b"1"]])
        return _around(source, words[1], source.request("lmpop", *words))

    return make


def _pos_options(source: Generator) -> list[bytes]:
    words: list[bytes] = []
    for name, numbers in (("RANK", RANKS), ("COUNT", POS_COUNTS), ("MAXLEN", POS_COUNTS)):
        if source.random.random() < 0.55:
            words += [source.spelled(name), *_mostly(numbers, NO_RANKS)(source)]
    if source.random.random() < 0.1:
        words += source.pick([[b"RANK"], [b"FOO", b"1"], [b"COUNT", b"0"]])
    return words or [b"RANK", b"-1"]


def _timeout(source: Generator) -> list[bytes]:
    return [source.pick(TIMEOUTS if source.random.random() < 0.95 else NO_TIMEOUTS)]


def _blocking_pop(name: str) -> Maker:
    def make(source: Generator) -> Burst:
        keys = [list_key(source) for _ in range(source.random.randint(1, 3))]
        return _around(source, source.pick(keys), source.request(name, *keys, *_timeout(source)))

    return make


def _blocking_mpop(*, options: bool) -> Maker:
    def make(source: Generator) -> Burst:
        burst = _mpop(options=options)(source)
        words = next(request.words for request in burst if request.name == "lmpop")[1:]
        return [
            source.request("blmpop", *_timeout(source), *words) if request.name == "lmpop" else request
            for request in burst
        ]

    return make


PLAIN_LISTS: Final[dict[str, Maker]] = {
    "blmove": _two_lists("blmove", _sides, _timeout),
    "blmpop": _blocking_mpop(options=False),
    "blpop": _blocking_pop("blpop"),
    "brpop": _blocking_pop("brpop"),
    "brpoplpush": _two_lists("brpoplpush", _timeout),
    "lindex": _maker("lindex", _index),
    "linsert": _maker("linsert", _insert),
    "llen": _maker("llen"),
    "lmove": _two_lists("lmove", _sides),
    "lmpop": _mpop(options=False),
    "lpop": _maker("lpop"),
    "lpos": _maker("lpos", _element),
    "lpush": _maker("lpush", _elements),
    "lpushx": _maker("lpushx", _elements),
    "lrange": _maker("lrange", _index, _index),
    "lrem": _maker("lrem", _mostly(REM_COUNTS, NO_INDICES), _element),
    "lset": _maker("lset", _index, _element),
    "ltrim": _maker("ltrim", _index, _index),
    "rpop": _maker("rpop"),
    "rpoplpush": _two_lists("rpoplpush"),
    "rpush": _maker("rpush", _elements),
    "rpushx": _maker("rpushx", _elements),
}

LIST_OPTIONS: Final[dict[str, Maker]] = {
    "blmpop": _blocking_mpop(options=True),
    "lmpop": _mpop(options=True),
    "lpop": _maker("lpop", _mostly(POP_COUNTS, NO_POP_COUNTS)),
    "lpos": _maker("lpos", _element, _pos_options),
    "rpop": _maker("rpop", _mostly(POP_COUNTS, NO_POP_COUNTS)),
}

WRONG_LISTS: Final[dict[str, list[list[bytes]]]] = {
    "blmove": [
        [],
        [b"l:0", b"l:1", b"LEFT", b"RIGHT"],
        [b"l:0", b"l:1", b"LEFT", b"UP", b"abc"],
        [b"l:0", b"l:1", b"LEFT", b"RIGHT", b"abc"],
        [b"l:0", b"l:1", b"LEFT", b"RIGHT", b"0.001", b"x"],
    ],
    "blmpop": [
        [],
        [b"0.001", b"1", b"l:0"],
        [b"abc", b"0", b"l:0", b"LEFT"],
        [b"0.001", b"2", b"l:0", b"LEFT"],
        [b"-1", b"1", b"l:0", b"LEFT"],
        [b"0.001", b"1", b"l:0", b"LEFT", b"COUNT", b"0"],
        [b"0.001", b"1", b"l:0", b"LEFT", b"COUNT", b"1", b"COUNT", b"1"],
    ],
    "blpop": [[], [b"0.001"], [b"l:0", b"abc"], [b"l:0", b"-1"], [b"l:0", b"l:1", b"1e400"]],
    "brpop": [[], [b"0.001"], [b"l:0", b"abc"], [b"l:0", b"-1"], [b"l:0", b"l:1", b"nan"]],
    "brpoplpush": [[], [b"l:0", b"l:1"], [b"l:0", b"l:1", b"abc"], [b"l:0", b"l:1", b"-1"]],
}
"""By hand: a random change may leave one that waits for ever."""

LIST_CHANGES: Final = [
    ("rpush", "KEY", "a"),
    ("lpushx", "KEY", "a"),
    ("lpop", "KEY"),
    ("rpop", "KEY", "2"),
    ("llen", "KEY"),
    ("lset", "KEY", "0", "a"),
    ("lrem", "KEY", "0", "a"),
    ("ltrim", "KEY", "0", "-1"),
    ("ltrim", "KEY", "1", "2"),
    ("linsert", "KEY", "BEFORE", "a", "b"),
    ("lmove", "KEY", "KEY", "LEFT", "RIGHT"),
    ("rpoplpush", "l:1", "KEY"),
    ("lmpop", "2", "l:2", "KEY", "LEFT"),
    ("lpos", "KEY", "a"),
]
"""What another connection does to a watched key."""
