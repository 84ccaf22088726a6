"""Random requests for sorted sets: a part of generator.py's tables.

A few keys, members and scores, so that commands meet each other's work. Ranges of members are asked of sorted sets that
are made for them: what they answer of large ones with several scores Redis leaves to chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from tests.net.beside import beside

if TYPE_CHECKING:
    from tests.net.generator import Burst, Comparison, Generator, Maker, Request

SORTED_SET_KEYS: Final = [b"z:0", b"z:1", b"z:2", b"\xff\x01z"]
_LEX_KEYS: Final = [b"z:lex", b"\xff\x01lex"]
SCORED: Final = [b"a", b"b", b"c", b"d", b"e", b"f", b"", b"\xff", b"\xff\x01a", b"m\r\n\x00*", b"m" * 64, b"m" * 65]
SCORES: Final = [
    *(b"%d" % number for number in range(-2, 6)),
    *[b"0.1", b"-1.5", b"3.0e2", b"1e-7", b"1e20", b"inf", b"-inf", b"+Infinity", b".5", b"0x1p-3", b"17179869184.5"],
]
NO_SCORES: Final = [b"", b"abc", b"nan", b" 1", b"1 ", b"1,5", b"1e500", b"(1", b"1e-400"]
_ENDS: Final = [*SCORES[:12], b"(1", b"(0", b"(3", b"-inf", b"+inf", b"(-inf", b"(inf"]
_NO_ENDS: Final = [b"abc", b"((1", b"[1", b"nan", b"1x", b"("]
_LEX_ENDS: Final = [b"-", b"+", b"-", b"+", b"[a", b"(a", b"[c", b"(d", b"[", b"(", b"[\xff", b"(m"]
_NO_LEX_ENDS: Final = [b"", b"a", b"-x", b"+a", b"1"]
_RANKS: Final = [b"0", b"1", b"2", b"5", b"100", b"-1", b"-2", b"-4", b"-100", b"9223372036854775807"]
_NO_RANKS: Final = [b"", b"abc", b"1.5", b"9223372036854775808"]
POPPED: Final = [b"0", b"1", b"2", b"3", b"100", b"9223372036854775807"]
NO_POPPED: Final = [b"", b"abc", b"-1", b"1.5", b"9223372036854775808"]
DRAWN: Final = [b"0", b"1", b"2", b"100", b"-1", b"-30", b"9223372036854775807"]
NO_DRAWN: Final = [b"", b"abc", b"1.5", b"-9223372036854775808", b"9223372036854775808"]
TOO_FAR: Final = [b"4611686018427387904", b"-4611686018427387904"]
PATTERNS: Final = [b"*", b"?", b"[a-c]", b"m*", b"*\xff*", b"", b"nothing*"]

Words = Callable[["Generator"], list[bytes]]


def sorted_set_key(source: Generator) -> bytes:
    return source.pick(SORTED_SET_KEYS) if source.random.random() < 0.9 else source.key()


def _key(source: Generator) -> list[bytes]:
    return [sorted_set_key(source)]


def _member(source: Generator) -> list[bytes]:
    return [source.pick(SCORED)]


def _members(source: Generator) -> list[bytes]:
    return [source.pick(SCORED) for _ in range(source.random.randint(1, 5))]


def _mostly(good: Sequence[bytes], bad: Sequence[bytes]) -> Words:
    return lambda source: [source.pick(good if source.random.random() < 0.95 else bad)]


_score: Final = _mostly(SCORES, NO_SCORES)


def _pairs(source: Generator) -> list[bytes]:
    return [word for _ in range(source.random.randint(1, 6)) for word in (source.pick(SCORES), *_member(source))]


def _two(words: Words) -> Words:
    return lambda source: [*words(source), *words(source)]


_ranks: Final = _two(_mostly(_RANKS, _NO_RANKS))
_scores: Final = _two(_mostly(_ENDS, _NO_ENDS))
_lex: Final = _two(_mostly(_LEX_ENDS, _NO_LEX_ENDS))


def _all(source: Generator, key: bytes) -> Request:
    return source.request("zrange", key, b"0", b"-1", b"WITHSCORES")


def _around(source: Generator, key: bytes, request: Request) -> Burst:
    """Sometimes a sorted set is made anew before it, sometimes another command comes behind it; and what is there."""
    burst: Burst = []
    if source.random.random() < 0.3:
        burst += [source.request("del", key), source.request("zadd", key, *_pairs(source))]
    burst.append(request)
    if source.random.random() < 0.2:
        burst.append(beside(source, key, sorted_set_key(source), b"sadd", b"a", b"1"))
    if source.random.random() < 0.3:
        burst.append(_all(source, key))
    return burst


def _maker(name: str, *words: Words, compare: Comparison = "same") -> Maker:
    def make(source: Generator) -> Burst:
        key = sorted_set_key(source)
        made = [word for make_words in words for word in make_words(source)]
        return _around(source, key, source.request(name, key, *made, compare=compare))

    return make


def _for_members(source: Generator) -> tuple[bytes, Burst]:
    """A key for ranges of members, made anew: all have one score, or they are small ones, of which Redis can tell."""
    key = source.pick(_LEX_KEYS)
    if source.random.random() < 0.7:
        pairs = [word for member in source.random.sample(SCORED, 8) for word in (b"0", member)]
    else:
        pairs = [word for member in _members(source) for word in (source.pick(SCORES), member[:64])]
    return key, [source.request("del", key), source.request("zadd", key, *pairs)]


def _lex_maker(name: str, *words: Words) -> Maker:
    def make(source: Generator) -> Burst:
        made = [word for make_words in words for word in make_words(source)]
        key, burst = _for_members(source)
        return [*burst, source.request(name, key, *made), _all(source, key)]

    return make


def _add_options(source: Generator) -> Burst:
    key = sorted_set_key(source)
    names = [
        source.spelled(source.pick(["NX", "XX", "GT", "LT", "CH", "INCR"])) for _ in range(source.random.randint(1, 3))
    ]
    pairs = _pairs(source)
    odd = source.random.random()
    if odd < 0.4:
        pairs = pairs[:2]
    elif odd < 0.5:
        pairs[0] = source.pick(NO_SCORES)
    elif odd < 0.55:
        pairs.pop()
    return [*_around(source, key, source.request("zadd", key, *names, *pairs)), _all(source, key)]


def _increment(source: Generator) -> Burst:
    key = sorted_set_key(source)
    return _around(source, key, source.request("zincrby", key, *_score(source), *_member(source)))


def _limit(source: Generator) -> list[bytes]:
    limits = [b"0", b"1", b"2", b"-1", b"100"]
    return [source.spelled("LIMIT"), source.pick(limits), source.pick(limits)]


def _range_burst(source: Generator) -> tuple[bytes, list[bytes], Burst]:
    """A key, ends and options of ZRANGE and ZRANGESTORE in any order, and what comes before."""
    kind = source.pick(["", "BYSCORE", "BYLEX"])
    ends = {"": _ranks, "BYSCORE": _scores, "BYLEX": _lex}[kind](source)
    options = [[source.spelled(kind)]] if kind else []
    if source.random.random() < 0.4:
        options.append([source.spelled("REV")])
    if source.random.random() < (0.5 if kind else 0.1):
        options.append(_limit(source))
    source.random.shuffle(options)
    key, burst = _for_members(source) if kind == "BYLEX" else (sorted_set_key(source), [])
    return key, [*ends, *(word for option in options for word in option)], burst


def _range_options(source: Generator) -> Burst:
    key, words, burst = _range_burst(source)
    if source.random.random() < 0.4:
        words.append(source.spelled("WITHSCORES"))
    if source.random.random() < 0.08:
        words.append(source.pick([b"FOO", b"LIMIT", b"REV", b"BYSCORE"]))
    return [*burst, source.request("zrange", key, *words)]


def _store_range(*, has_options: bool) -> Maker:
    def make(source: Generator) -> Burst:
        key, words, burst = _range_burst(source) if has_options else (sorted_set_key(source), _ranks(source), [])
        target = sorted_set_key(source)
        burst.append(source.request("zrangestore", target, key, *words))
        return [*burst, _all(source, target), source.request("type", target)]

    return make


def _with_options(name: str, ends: Words) -> Maker:
    """WITHSCORES and LIMIT of the older commands."""

    def make(source: Generator) -> Burst:
        key, burst = _for_members(source) if ends is _lex else (sorted_set_key(source), [])
        options = [[source.spelled("WITHSCORES")]] if source.random.random() < (0.1 if ends is _lex else 0.7) else []
        if source.random.random() < 0.5 or not options:
            options.append(_limit(source))
        if source.random.random() < 0.08:
            options.append([source.pick([b"FOO", b"REV", b"BYLEX", b"LIMIT"])])
        source.random.shuffle(options)
        words = [word for option in options for word in option]
        return [*burst, source.request(name, key, *ends(source), *words)]

    return make


def _random(source: Generator) -> Burst:
    key = sorted_set_key(source)
    single = [source.request("del", key), source.request("zadd", key, b"1", *_member(source))]
    if source.random.random() < 0.5:
        return [*single, source.request("zrandmember", key)]
    return _around(source, key, source.request("zrandmember", key, compare="shape"))


def _random_options(source: Generator) -> Burst:
    key = sorted_set_key(source)
    with_scores = [source.spelled("WITHSCORES")] if source.random.random() < 0.5 else []
    odd = source.random.random()
    if odd < 0.25:
        single = [source.request("del", key), source.request("zadd", key, b"1.5", *_member(source))]
        return [*single, source.request("zrandmember", key, source.pick(DRAWN[:-1]), *with_scores)]
    if odd < 0.4:
        words = [source.pick([*NO_DRAWN, *TOO_FAR[:1]]), *with_scores] if odd < 0.36 else [b"1", b"x", *with_scores]
        return [source.request("zrandmember", key, *words, compare="length")]
    if odd < 0.45:
        return [source.request("zrandmember", key, source.pick(TOO_FAR), b"WITHSCORES")]
    return _around(
        source, key, source.request("zrandmember", key, source.pick(DRAWN[:-1]), *with_scores, compare="length")
    )


def _scan(source: Generator) -> Burst:
    key = sorted_set_key(source)
    words = [
        source.pick([b"0", b"0", b"17", b"abc", b"-1"]),
        *source.pick([[b"FOO"], [b"COUNT", b"0"], [b"COUNT", b"abc"], [b"TYPE", b"string"], [b"MATCH"], [b"COUNT"]]),
    ]
    wrong = source.request("zscan", sorted_set_key(source), *words, kind="wrong")
    return [*_around(source, key, source.request("zscan", key, b"0", compare="shape")), wrong]


def _scan_options(source: Generator) -> Burst:
    """Of a sorted set that both servers hold small: it comes whole, its scores as small ones are written."""
    words = [source.spelled("COUNT"), b"1000"]
    if source.random.random() < 0.7:
        words = [source.spelled("MATCH"), source.pick(PATTERNS), *words]
    key = sorted_set_key(source)
    made = [source.request("del", key), source.request("zadd", key, *_pairs(source))]
    return [*made, source.request("zscan", key, b"0", *words, compare="pairs")]


def _pop_options(name: str) -> Maker:
    def make(source: Generator) -> Burst:
        key = sorted_set_key(source)
        odd = source.random.random()
        words = [source.pick(POPPED)]
        if odd < 0.2:
            words = [source.pick(NO_POPPED)] if odd < 0.15 else [b"1", b"x"]
        return _around(source, key, source.request(name, key, *words))

    return make


# Several sorted sets, sets among them.


def _source_key(source: Generator) -> bytes:
    return source.pick([b"s:0", b"s:1"]) if source.random.random() < 0.2 else sorted_set_key(source)


def _made(source: Generator, key: bytes) -> Request:
    """Members for a key, if it is not of another type."""
    if key.startswith(b"s:"):
        return source.request("sadd", key, *_members(source))
    return source.request("zadd", key, *_pairs(source))


def _numbered(source: Generator) -> tuple[list[bytes], list[bytes], Burst]:
    """Keys, the number with them behind it, and what gives some of them members."""
    keys = [_source_key(source) for _ in range(source.random.randint(1, 4))]
    return keys, [b"%d" % len(keys), *keys], [_made(source, key) for key in keys if source.random.random() < 0.5]


def _combine_options(source: Generator, keys: list[bytes], *, has_weights: bool, has_scores: bool) -> list[bytes]:
    options = []
    if has_weights and source.random.random() < 0.6:
        # What is stored must not be -0: the table of differences tells why.
        good = SCORES if has_scores else [score for score in SCORES if score[:1] not in (b"-", b"0")]
        weights = [source.pick([*good, *NO_SCORES[:3]] if source.random.random() < 0.05 else good) for _ in keys]
        options.append([source.spelled("WEIGHTS"), *weights])
    if has_weights and source.random.random() < 0.6:
        options.append([source.spelled("AGGREGATE"), source.spelled(source.pick(["SUM", "MIN", "MAX"]))])
    if has_scores and source.random.random() < 0.7:
        options.append([source.spelled("WITHSCORES")])
    if source.random.random() < 0.05:
        options.append([source.pick([b"FOO", b"WEIGHTS", b"AGGREGATE", b"LIMIT"])])
    source.random.shuffle(options)
    return [word for option in options for word in option]


def _combine(name: str, *, has_options: bool = False) -> Maker:
    has_weights = has_options and not name.startswith("zdiff")

    def make(source: Generator) -> Burst:
        keys, words, burst = _numbered(source)
        if has_options and source.random.random() < 0.06:
            words[0] = source.pick([b"0", b"-1", b"abc", b"100", b"9223372036854775808"])
        if has_options:
            words += _combine_options(source, keys, has_weights=has_weights, has_scores=not name.endswith("store"))
        if not name.endswith("store"):
            return [*burst, source.request(name, *words)]
        target = sorted_set_key(source)
        return [*burst, source.request(name, target, *words), _all(source, target), source.request("type", target)]

    return make


def _card(*, has_options: bool) -> Maker:
    def make(source: Generator) -> Burst:
        _, words, burst = _numbered(source)
        if has_options:
            words += [
                source.spelled("LIMIT"),
                source.pick([b"0", b"1", b"2", b"100", b"-1", b"x", b"9223372036854775808"]),
            ]
        return [*burst, source.request("zintercard", *words)]

    return make


def _pop_several(name: str, *, has_options: bool) -> Maker:
    """One that could wait is given a key with members, or one of a wrong type."""

    def make(source: Generator) -> Burst:
        keys = [sorted_set_key(source) for _ in range(source.random.randint(1, 3))]
        words = [b"%d" % len(keys), *keys, source.spelled(source.pick(["MIN", "MAX"]))]
        if has_options:
            counts = [b"1", b"2", b"3", b"100", b"0", b"-1", b"abc"]
            words += [source.spelled("COUNT"), source.pick(counts)]
        is_made = name == "bzmpop" or source.random.random() < 0.6
        burst = [source.request("zadd", keys[-1], *_pairs(source))] if is_made else []
        timeout = [source.pick([b"0", b"0.5", b"1e3"])] if name == "bzmpop" else []
        return [*burst, source.request(name, *timeout, *words), _all(source, keys[-1])]

    return make


def _blocking_pop(name: str) -> Maker:
    def make(source: Generator) -> Burst:
        keys = [sorted_set_key(source) for _ in range(source.random.randint(1, 3))]
        burst = [source.request("zadd", keys[-1], *_pairs(source))]
        timeout = source.pick([b"0", b"1", b"0.25", b"-1", b"abc", b"inf", b"0x1p3"])
        return [*burst, source.request(name, *keys, timeout), _all(source, keys[-1])]

    return make


def sorted_set_encoding(source: Generator) -> Burst:
    """Redis tells of a sorted set's history, which begins here: listpack or skiplist."""
    key, other = b"z:0", b"z:1"
    burst = [source.request("del", key, other), source.request("zadd", key, *_pairs(source))]
    if source.random.random() < 0.5:
        burst.append(source.request("zrem", key, *_members(source)))
    if source.random.random() < 0.5:
        name = source.pick(["zrangestore", "zunionstore", "zinterstore", "zdiffstore"])
        words = [key, b"0", b"-1"] if name == "zrangestore" else [b"1", key]
        burst.append(source.request(name, other, *words))
        burst.append(source.request("object|encoding", other))
    return [*burst, source.request("object|encoding", key), source.request("object|refcount", key)]


PLAIN_SORTED_SETS: Final[dict[str, Maker]] = {
    "bzmpop": _pop_several("bzmpop", has_options=False),
    "bzpopmax": _blocking_pop("bzpopmax"),
    "bzpopmin": _blocking_pop("bzpopmin"),
    "zdiff": _combine("zdiff"),
    "zdiffstore": _combine("zdiffstore"),
    "zinter": _combine("zinter"),
    "zintercard": _card(has_options=False),
    "zinterstore": _combine("zinterstore"),
    "zmpop": _pop_several("zmpop", has_options=False),
    "zunion": _combine("zunion"),
    "zunionstore": _combine("zunionstore"),
    "zadd": _maker("zadd", _pairs),
    "zcard": _maker("zcard"),
    "zcount": _maker("zcount", _scores),
    "zincrby": _increment,
    "zlexcount": _lex_maker("zlexcount", _lex),
    "zmscore": _maker("zmscore", _members),
    "zpopmax": _maker("zpopmax"),
    "zpopmin": _maker("zpopmin"),
    "zrandmember": _random,
    "zrange": _maker("zrange", _ranks),
    "zrangebylex": _lex_maker("zrangebylex", _lex),
    "zrangebyscore": _maker("zrangebyscore", _scores),
    "zrangestore": _store_range(has_options=False),
    "zrank": _maker("zrank", _member),
    "zrem": _maker("zrem", _members),
    "zremrangebylex": _lex_maker("zremrangebylex", _lex),
    "zremrangebyrank": _maker("zremrangebyrank", _ranks),
    "zremrangebyscore": _maker("zremrangebyscore", _scores),
    "zrevrange": _maker("zrevrange", _ranks),
    "zrevrangebylex": _lex_maker("zrevrangebylex", _lex),
    "zrevrangebyscore": _maker("zrevrangebyscore", _scores),
    "zrevrank": _maker("zrevrank", _member),
    "zscan": _scan,
    "zscore": _maker("zscore", _member),
}

SORTED_SET_OPTIONS: Final[dict[str, Maker]] = {
    "bzmpop": _pop_several("bzmpop", has_options=True),
    "zdiff": _combine("zdiff", has_options=True),
    "zinter": _combine("zinter", has_options=True),
    "zintercard": _card(has_options=True),
    "zinterstore": _combine("zinterstore", has_options=True),
    "zmpop": _pop_several("zmpop", has_options=True),
    "zunion": _combine("zunion", has_options=True),
    "zunionstore": _combine("zunionstore", has_options=True),
    "zadd": _add_options,
    "zpopmax": _pop_options("zpopmax"),
    "zpopmin": _pop_options("zpopmin"),
    "zrandmember": _random_options,
    "zrange": _range_options,
    "zrangebylex": _with_options("zrangebylex", _lex),
    "zrangebyscore": _with_options("zrangebyscore", _scores),
    "zrangestore": _store_range(has_options=True),
    "zrevrange": _with_options("zrevrange", _ranks),
    "zrevrangebylex": _with_options("zrevrangebylex", _lex),
    "zrevrangebyscore": _with_options("zrevrangebyscore", _scores),
    "zscan": _scan_options,
}

SORTED_SET_COMPARISONS: Final[dict[str, Comparison]] = {"zrandmember": "length", "zscan": "shape"}

WRONG_SORTED_SETS: Final[dict[str, list[list[bytes]]]] = {
    "bzpopmin": [[], [b"z:0"], [b"z:0", b"abc"], [b"z:0", b"-1"], [b"z:0", b"z:1", b""], [b"z:0", b"nan"]],
    "bzpopmax": [[], [b"z:0"], [b"z:0", b"abc"], [b"z:0", b"-0.5"], [b"z:0", b"z:1", b" 1"], [b"z:0", b"1e30"]],
    "bzmpop": [
        [],
        [b"1", b"1", b"z:0"],
        [b"0", b"0", b"z:0", b"MIN"],
        [b"abc", b"1", b"z:0", b"MIN"],
        [b"-1", b"1", b"z:0", b"MAX"],
        [b"0", b"2", b"z:0", b"MIN"],
        [b"0", b"1", b"z:0", b"FOO"],
        [b"x", b"1", b"z:0", b"MIN", b"COUNT", b"0"],
        [b"0", b"1", b"z:0", b"MIN", b"COUNT"],
        [b"0", b"1", b"z:0", b"MIN", b"COUNT", b"1", b"COUNT", b"2"],
    ],
}
"""By hand: a random change may leave one that waits."""

SORTED_SET_CHANGES: Final = [
    ("zadd", "KEY", "1", "a"),
    ("zadd", "KEY", "XX", "1", "none"),
    ("zincrby", "KEY", "1", "a"),
    ("zrem", "KEY", "a"),
    ("zrem", "KEY", "none"),
    ("zpopmin", "KEY"),
    ("zremrangebyrank", "KEY", "0", "0"),
    ("zscore", "KEY", "a"),
]
"""What another connection does to a watched key."""
