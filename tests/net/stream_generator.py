"""Random requests for streams: a part of generator.py's tables.

Ids are small, so that commands meet each other's work; an id that the server makes of its clock would differ, so it is
asked for in a stream that goes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.net.generator import Burst, Comparison, Generator, Maker, Request

STREAM_KEYS: Final = [b"x:0", b"x:1", b"x:2", b"\xff\x01x"]
FIELDS: Final = [b"a", b"b", b"", b"\xff", b"c\r\n\x00*", b"1", b"f" * 99]
ODD_IDS: Final = [b"0", b"0-0", b"0-1", b"18446744073709551615", b"18446744073709551615-18446744073709551614"]
NO_IDS: Final = [
    b"",
    b"abc",
    b"-",
    b"+",
    b"(",
    b"(5",
    b"$",
    b">",
    b"*",
    b"5-*",
    b"-5",
    b"5-",
    b"5--3",
    b"5--03",
    b"5-3-1",
    b" 5",
    b"+5-1",
    b"05-01",
    b"5 ",
    b"5\x00-1",
    b"18446744073709551616",
    b"-99999999999999999999-1",
    b"1" + b"0" * 130,
]
COUNTS: Final = [b"0", b"1", b"2", b"3", b"5", b"100", b"-1", b"9223372036854775807"]
NO_COUNTS: Final = [b"", b"abc", b"1.5", b"9223372036854775808"]


def stream_key(source: Generator) -> bytes:
    return source.pick(STREAM_KEYS) if source.random.random() < 0.92 else source.key()


def _one_id(source: Generator) -> bytes:
    odd = source.random.random()
    if odd < 0.04:
        return source.pick(NO_IDS)
    if odd < 0.08:
        return source.pick(ODD_IDS)
    ms = b"%d" % source.random.randint(1, 12)
    return ms if odd < 0.3 else ms + b"-%d" % source.random.randint(0, 3)


def _id(source: Generator) -> list[bytes]:
    return [_one_id(source)]


def _ids(source: Generator) -> list[bytes]:
    return [_one_id(source) for _ in range(source.random.randint(1, 5))]


def _new_id(source: Generator) -> list[bytes]:
    odd = source.random.random()
    if odd < 0.03:
        return [source.pick([*NO_IDS, *ODD_IDS]).replace(b"*", b"0")]
    ms = source.random.randint(1, 12 if odd < 0.6 else 60)
    return [b"%d-*" % ms if odd < 0.8 else b"%d-%d" % (ms, source.random.randint(0, 3))]


def _fields(source: Generator) -> list[bytes]:
    return [source.pick(FIELDS) for _ in range(2 * source.random.randint(1, 3))]


def _start(source: Generator) -> list[bytes]:
    odd = source.random.random()
    return [b"-" if odd < 0.3 else b"(" + _one_id(source) if odd < 0.5 else _one_id(source)]


def _stop(source: Generator) -> list[bytes]:
    odd = source.random.random()
    return [b"+" if odd < 0.3 else b"(" + _one_id(source) if odd < 0.5 else _one_id(source)]


def mostly(good: Sequence[bytes], bad: Sequence[bytes]) -> Callable[[Generator], list[bytes]]:
    return lambda source: [source.pick(good if source.random.random() < 0.93 else bad)]


def _count_option(source: Generator) -> list[bytes]:
    words = [source.spelled("COUNT"), source.pick(COUNTS if source.random.random() < 0.93 else NO_COUNTS)]
    odd = source.random.random()
    return words if odd < 0.9 else words[:1] if odd < 0.95 else [*words, b"COUNT", b"1"]


def entries(source: Generator, key: bytes, number: int) -> Burst:
    """A new stream of so many entries."""
    burst = [source.request("del", key)]
    ids = sorted({(source.random.randint(1, 9 + number), source.random.randint(0, 2)) for _ in range(number)})
    burst += [source.request("xadd", key, b"%d-%d" % id_, *_fields(source)[:2]) for id_ in ids if id_ != (0, 0)]
    return burst


def _beside(source: Generator, key: bytes) -> Request:
    """What happens to keys of any type, to one that is often a stream."""
    other = stream_key(source)
    return source.pick(
        [
            source.request("del", key),
            source.request("expire", key, b"100000"),
            source.request("ttl", key, compare="near"),
            source.request("type", key),
            source.request("rename", key, other),
            source.request("copy", key, other, b"REPLACE"),
            source.request("set", key, b"12"),
            source.request("get", key),
            source.request("object|encoding", key, compare="shape"),
        ]
    )


def around(source: Generator, key: bytes, *requests: Request) -> Burst:
    """Sometimes a stream is made anew before it, or made longer; sometimes another command comes behind it; and what
    is there then."""
    burst: Burst = []
    odd = source.random.random()
    if odd < 0.25:
        burst += entries(source, key, source.random.randint(1, 9))
    elif odd < 0.6:
        burst.append(source.request("xadd", key, *_new_id(source), *_fields(source)))
    burst += requests
    if source.random.random() < 0.1:
        burst.append(_beside(source, key))
    if source.random.random() < 0.3:
        burst.append(source.request("xrange", key, b"-", b"+"))
    return burst


def _maker(name: str, *words: Callable[[Generator], list[bytes]], compare: Comparison = "same") -> Maker:
    def make(source: Generator) -> Burst:
        key = stream_key(source)
        made = [word for make_words in words for word in make_words(source)]
        return around(source, key, source.request(name, key, *made, compare=compare))

    return make


def _add_by_clock(source: Generator, key: bytes) -> Burst:
    """In a stream whose last id is above the clock the next id is known."""
    if source.random.random() < 0.5:
        return [
            source.request("del", key),
            source.request("xadd", key, b"*", *_fields(source), compare="shape"),
            source.request("xlen", key),
            source.request("del", key),
        ]
    return [
        source.request("del", key),
        source.request("xadd", key, b"99999999999999-%d" % source.random.randint(0, 3), *_fields(source)),
        source.request("xadd", key, b"*", *_fields(source)),
        source.request("xrevrange", key, b"+", b"-"),
        source.request("del", key),
    ]


def _add(source: Generator) -> Burst:
    if source.random.random() < 0.15:
        return _add_by_clock(source, stream_key(source))
    return _maker("xadd", _new_id, _fields)(source)


def _strategy(source: Generator, *, exact: bool) -> list[bytes]:
    """MAXLEN or MINID. Nodes are only alike in streams that were just made: there `~` is used."""
    sign = [[], [b"="]] if exact else [[b"~"]]
    if source.random.random() < 0.5:
        most = source.pick([b"0", b"1", b"2", b"3", b"5", b"100", b"-1", b"abc"])
        return [source.spelled("MAXLEN"), *source.pick(sign), most]
    return [source.spelled("MINID"), *source.pick(sign), _one_id(source)]


def _odd_strategy(source: Generator) -> list[bytes]:
    return source.pick(
        [
            [b"MAXLEN"],
            [b"MINID", b"5", b"MAXLEN", b"5"],
            [b"MAXLEN", b"~", b"5", b"LIMIT", b"-1"],
            [b"MAXLEN", b"5", b"LIMIT", b"5"],
            [b"MAXLEN", b"=", b"5", b"LIMIT", b"0"],
            [b"LIMIT", b"5"],
            [b"LIMIT", b"0"],
            [b"MAXLEN", b"~"],
            [b"MAXLEN", b"="],
            [b"FOO", b"5"],
            [b"NOMKSTREAM"],
        ]
    )


def _approximate(source: Generator, name: str) -> Burst:
    key = b"x:hundreds"
    burst = [source.request("del", key)]
    number = source.pick([1, 5, 99, 100, 101, 200, 230])
    burst += [source.request("xadd", key, b"%d-1" % (number + 1), b"a", b"1") for number in range(number)]
    words = _strategy(source, exact=False)
    if words[0].upper() == b"MINID":
        words[-1] = b"%d" % source.random.randint(0, 240)
    elif words[-1] not in (b"-1", b"abc"):
        words[-1] = source.pick([b"0", b"1", b"50", b"99", b"100", b"101", b"130", b"200"])
    if source.random.random() < 0.5:
        words += [source.spelled("LIMIT"), source.pick([b"0", b"1", b"99", b"100", b"150", b"250"])]
    if name == "xadd":
        burst.append(source.request("xadd", key, *words, b"500-1", b"a", b"1"))
    else:
        burst.append(source.request("xtrim", key, *words))
    return [*burst, source.request("xlen", key), source.request("xrange", key, b"-", b"+", b"COUNT", b"1")]


def _add_options(source: Generator) -> Burst:
    odd = source.random.random()
    if odd < 0.1:
        return _approximate(source, "xadd")
    words = _strategy(source, exact=True) if odd < 0.8 else []
    if odd > 0.9:
        words = _odd_strategy(source)
    if source.random.random() < 0.3:
        words.insert(0, source.spelled("NOMKSTREAM"))
    key = stream_key(source)
    return around(source, key, source.request("xadd", key, *words, *_new_id(source), *_fields(source)))


def _trim(source: Generator) -> Burst:
    key = stream_key(source)
    return around(source, key, source.request("xtrim", key, *_strategy(source, exact=True)))


def _trim_options(source: Generator) -> Burst:
    odd = source.random.random()
    if odd < 0.3:
        return _approximate(source, "xtrim")
    key = stream_key(source)
    words = _odd_strategy(source) if odd < 0.5 else _strategy(source, exact=True)
    return around(source, key, source.request("xtrim", key, *words))


def _set_id_options(source: Generator) -> Burst:
    words: list[bytes] = []
    if source.random.random() < 0.6:
        words += [source.spelled("ENTRIESADDED"), source.pick([b"0", b"1", b"5", b"100", b"-1", b"abc"])]
    if source.random.random() < 0.6:
        words += [source.spelled("MAXDELETEDID"), _one_id(source)]
    if source.random.random() < 0.1:
        words += source.pick([[b"ENTRIESADDED"], [b"FOO", b"1"]])
    key = stream_key(source)
    return around(source, key, source.request("xsetid", key, *_id(source), *words))


def read_words(source: Generator, ids: Callable[[Generator], list[bytes]]) -> list[bytes]:
    """STREAMS, keys, and as many ids."""
    number = source.random.choice([1, 1, 1, 2, 3])
    words = [source.spelled("STREAMS"), *(stream_key(source) for _ in range(number))]
    words += [word for _ in range(number) for word in ids(source)]
    return words if source.random.random() < 0.96 else words[:-1]


def _after(source: Generator) -> list[bytes]:
    odd = source.random.random()
    return [b"$" if odd < 0.1 else b">" if odd < 0.12 else b"0" if odd < 0.4 else _one_id(source)]


def _read(source: Generator) -> Burst:
    return around(source, stream_key(source), source.request("xread", *read_words(source, _after)))


def _read_options(source: Generator) -> Burst:
    words = _count_option(source)
    if source.random.random() < 0.1:
        words += source.pick([[b"NOACK"], [b"GROUP", b"g", b"c"], [b"FOO"], [b"BLOCK", b"-1"], [b"BLOCK", b"x"]])
    return around(source, stream_key(source), source.request("xread", *words, *read_words(source, _after)))


# Groups.

GROUPS: Final = [b"g", b"g", b"h", b"", b"\xff"]
CONSUMERS: Final = [b"c1", b"c1", b"c2", b"", b"\xffc"]


def _group(source: Generator) -> list[bytes]:
    return [source.pick(GROUPS)]


def _consumer(source: Generator) -> list[bytes]:
    return [source.pick(CONSUMERS)]


def _delivered(source: Generator, key: bytes) -> Burst:
    """Sometimes a group, and something pending in it."""
    burst: Burst = []
    odd = source.random.random()
    if odd < 0.25:
        burst += entries(source, key, source.random.randint(1, 9))
    if odd < 0.5:
        group = source.pick(GROUPS)
        words = [b"MKSTREAM"] if source.random.random() < 0.3 else []
        burst.append(source.request("xgroup|create", key, group, source.pick([b"0", b"0", b"$", b"3"]), *words))
        for _ in range(source.random.randint(0, 2)):
            more = [b"COUNT", source.pick(COUNTS[1:])] if source.random.random() < 0.7 else []
            more += [b"NOACK"] if source.random.random() < 0.1 else []
            burst.append(
                source.request("xreadgroup", b"GROUP", group, *_consumer(source), *more, b"STREAMS", key, b">")
            )
    elif odd < 0.7:
        burst.append(source.request("xadd", key, *_new_id(source), *_fields(source)))
    if source.random.random() < 0.3:
        burst.append(source.request(source.pick(["xdel", "xack"]), key, *_ids(source)))
        if burst[-1].name == "xack":
            burst[-1].words.insert(2, source.pick(GROUPS))
    return burst


def _after_groups(source: Generator, key: bytes) -> Burst:
    """What is there then."""
    odd = source.random.random()
    if odd < 0.15:
        return [source.request("xinfo|groups", key)]
    if odd < 0.3:
        return [source.request("xpending", key, source.pick(GROUPS))]
    if odd < 0.4:
        return [source.request("xinfo|consumers", key, source.pick(GROUPS), compare="numbers")]
    return [_beside(source, key)] if odd < 0.45 else []


def _group_maker(name: str, *words: Callable[[Generator], list[bytes]], compare: Comparison = "same") -> Maker:
    def make(source: Generator) -> Burst:
        key = stream_key(source)
        made = [word for make_words in words for word in make_words(source)]
        request = source.request(name, key, *made, compare=compare)
        return [*_delivered(source, key), request, *_after_groups(source, key)]

    return make


def _read_group_words(source: Generator) -> list[bytes]:
    return read_words(source, lambda source: [b">" if source.random.random() < 0.6 else _after(source)[0]])


def _read_group(source: Generator) -> Burst:
    key = stream_key(source)
    words = _read_group_words(source)
    if source.random.random() < 0.6:
        words = [words[0], key, b">" if source.random.random() < 0.7 else b"0"]
    request = source.request("xreadgroup", b"GROUP", *_group(source), *_consumer(source), *words)
    return [*_delivered(source, key), request, *_after_groups(source, key)]


def _read_group_options(source: Generator) -> Burst:
    key = stream_key(source)
    words = _count_option(source) if source.random.random() < 0.8 else []
    if source.random.random() < 0.4:
        words.append(source.spelled("NOACK"))
    if source.random.random() < 0.1:
        words += source.pick([[b"FOO"], [b"BLOCK", b"-1"], [b"BLOCK", b"x"], [b"GROUP", b"h", b"c"]])
    group = [source.spelled("GROUP"), *_group(source), *_consumer(source)]
    parts = [*words, *group] if source.random.random() < 0.2 else [*group, *words]
    request = source.request("xreadgroup", *parts, source.spelled("STREAMS"), key, source.pick([b">", b"0", b"3-0"]))
    return [*_delivered(source, key), request, *_after_groups(source, key)]


def _group_id(source: Generator) -> list[bytes]:
    return [b"$"] if source.random.random() < 0.2 else [_one_id(source)]


def _make_options(source: Generator) -> list[bytes]:
    words = [source.spelled("MKSTREAM")] if source.random.random() < 0.6 else []
    if source.random.random() < 0.6:
        words += _entries_read(source)
    return words if source.random.random() < 0.9 else [*words, source.pick([b"FOO", b"ENTRIESREAD"])]


def _entries_read(source: Generator) -> list[bytes]:
    return [source.spelled("ENTRIESREAD"), source.pick([b"0", b"1", b"3", b"100", b"-1", b"-2", b"abc"])]


_ABSENT_IDLE: Final = [b"0", b"0", b"0", b"-1", b"1000000000"]
"""Between two requests passes some time, so it is none at all, or more than the tests take."""


def _least_idle(source: Generator) -> list[bytes]:
    return [source.pick(_ABSENT_IDLE if source.random.random() < 0.95 else [b"", b"abc", b"1.5"])]


def _claim_options(source: Generator) -> list[bytes]:
    options = [
        [b"FORCE"],
        [b"JUSTID"],
        [b"IDLE", source.pick([b"0", b"2000000000", b"-1", b"x"])],
        [b"TIME", source.pick([b"0", b"1700000000000", b"-1", b"x", b"9000000000000000"])],
        [b"RETRYCOUNT", source.pick([b"0", b"7", b"-1", b"x", b"9223372036854775807"])],
        [b"LASTID", *_id(source)],
        [b"FOO"] if source.random.random() < 0.3 else [b"force"],
    ]
    return [word for option in source.random.sample(options, source.random.randint(1, 3)) for word in option]


def _claim(source: Generator, *words: Callable[[Generator], list[bytes]]) -> Burst:
    key = stream_key(source)
    made = [word for make_words in words for word in make_words(source)]
    request = source.request("xclaim", key, *made)
    detail = source.request("xpending", key, made[0], b"-", b"+", b"100", compare="numbers")
    return [*_delivered(source, key), request, detail, *_after_groups(source, key)]


def _autoclaim_options(source: Generator) -> list[bytes]:
    words = [source.spelled("COUNT"), source.pick([b"1", b"2", b"5", b"0", b"-1", b"abc"])]
    if source.random.random() < 0.5:
        words.append(source.spelled("JUSTID"))
    return words if source.random.random() < 0.9 else [*words, source.pick([b"FOO", b"COUNT"])]


def _pending_options(source: Generator) -> list[bytes]:
    words = [*_start(source), *_stop(source), source.pick(COUNTS if source.random.random() < 0.95 else NO_COUNTS)]
    if source.random.random() < 0.5:
        words = [source.spelled("IDLE"), *_least_idle(source), *words]
    if source.random.random() < 0.5:
        words += _consumer(source)
    return words if source.random.random() < 0.93 else words[:-2]


def _full(source: Generator) -> list[bytes]:
    words = [source.spelled("FULL")]
    if source.random.random() < 0.7:
        words += [source.spelled("COUNT"), source.pick([b"0", b"1", b"3", b"-1", b"abc"])]
    return words if source.random.random() < 0.9 else source.pick([[b"FOO"], [b"FULL", b"FOO", b"1"], [b"FULL", b"1"]])


PLAIN_STREAMS: Final[dict[str, Maker]] = {
    "xack": _group_maker("xack", _group, _ids),
    "xadd": _add,
    "xautoclaim": _group_maker("xautoclaim", _group, _consumer, _least_idle, _start),
    "xclaim": lambda source: _claim(source, _group, _consumer, _least_idle, _ids),
    "xdel": _maker("xdel", _ids),
    "xgroup|create": _group_maker("xgroup|create", _group, _group_id),
    "xgroup|createconsumer": _group_maker("xgroup|createconsumer", _group, _consumer),
    "xgroup|delconsumer": _group_maker("xgroup|delconsumer", _group, _consumer),
    "xgroup|destroy": _group_maker("xgroup|destroy", _group),
    "xgroup|help": lambda source: [source.request("xgroup|help", compare="shape")],
    "xgroup|setid": _group_maker("xgroup|setid", _group, _group_id),
    "xinfo|consumers": _group_maker("xinfo|consumers", _group, compare="numbers"),
    "xinfo|groups": _group_maker("xinfo|groups"),
    "xinfo|help": lambda source: [source.request("xinfo|help", compare="shape")],
    "xinfo|stream": _group_maker("xinfo|stream"),
    "xlen": _maker("xlen"),
    "xpending": _group_maker("xpending", _group),
    "xrange": _maker("xrange", _start, _stop),
    "xread": _read,
    "xreadgroup": _read_group,
    "xrevrange": _maker("xrevrange", _stop, _start),
    "xsetid": _maker("xsetid", _id),
    "xtrim": _trim,
}

STREAM_OPTIONS: Final[dict[str, Maker]] = {
    "xadd": _add_options,
    "xautoclaim": _group_maker("xautoclaim", _group, _consumer, _least_idle, _start, _autoclaim_options),
    "xclaim": lambda source: _claim(source, _group, _consumer, _least_idle, _ids, _claim_options),
    "xgroup|create": _group_maker("xgroup|create", _group, _group_id, _make_options),
    "xgroup|setid": _group_maker("xgroup|setid", _group, _group_id, _entries_read),
    "xinfo|stream": _group_maker("xinfo|stream", _full, compare="numbers"),
    "xpending": _group_maker("xpending", _group, _pending_options, compare="numbers"),
    "xrange": _maker("xrange", _start, _stop, _count_option),
    "xread": _read_options,
    "xreadgroup": _read_group_options,
    "xrevrange": _maker("xrevrange", _stop, _start, _count_option),
    "xsetid": _set_id_options,
    "xtrim": _trim_options,
}

STREAM_COMPARISONS: Final[dict[str, Comparison]] = {
    "xgroup|help": "shape",
    "xinfo|consumers": "numbers",
    "xinfo|help": "shape",
    "xinfo|stream": "numbers",
    "xpending": "numbers",
}

STREAM_CHANGES: Final = [
    ("xadd", "KEY", "99-*", "a", "1"),
    ("xdel", "KEY", "1-1"),
    ("xtrim", "KEY", "MAXLEN", "1"),
    ("xlen", "KEY"),
    ("xack", "KEY", "g", "1-1"),
    ("xreadgroup", "GROUP", "g", "c1", "STREAMS", "KEY", ">"),
]
"""What another connection does to a watched key."""
