"""Random requests for every command: what the differential test and the fuzzer send.

A burst is a few requests that belong together (SET, then OBJECT ENCODING of that key). Each request says for which
command it counts, whether it has options, and how the two servers' replies to it compare. Future times are far away and
past times long past, so that no reply depends on the speed of a server.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

from tests.net.bit_generator import BIT_OPTIONS, PLAIN_BITS, WRONG_SWAPS
from tests.net.geo_generator import GEO_OPTIONS, PLAIN_GEO
from tests.net.hash_generator import (
    HASH_CHANGES,
    HASH_COMPARISONS,
    HASH_KEYS,
    HASH_OPTIONS,
    PLAIN_HASHES,
    hash_encoding,
)
from tests.net.hyperloglog_generator import PLAIN_HYPERLOGLOGS, WRONG_HYPERLOGLOGS
from tests.net.key_generator import KEY_COMPARISONS, KEY_OPTIONS, PLAIN_KEYS, WRONG_KEYS
from tests.net.list_generator import LIST_CHANGES, LIST_KEYS, LIST_OPTIONS, PLAIN_LISTS, WRONG_LISTS
from tests.net.set_generator import (
    PLAIN_SETS,
    SET_CHANGES,
    SET_COMPARISONS,
    SET_KEYS,
    SET_OPTIONS,
    WRONG_SETS,
    set_encoding,
)
from tests.net.sorted_set_generator import (
    PLAIN_SORTED_SETS,
    SORTED_SET_CHANGES,
    SORTED_SET_COMPARISONS,
    SORTED_SET_KEYS,
    SORTED_SET_OPTIONS,
    WRONG_SORTED_SETS,
    sorted_set_encoding,
)
from tests.net.stream_generator import (
    PLAIN_STREAMS,
    STREAM_CHANGES,
    STREAM_COMPARISONS,
    STREAM_KEYS,
    STREAM_OPTIONS,
)

Comparison = Literal["same", "unordered", "pairs", "length", "near", "shape", "numbers", "transaction"]
"""same: every byte. unordered: an array's elements in any order. pairs: the pairs of a map, or of an array of keys and
values in turn, in any order; also after a cursor. length: the number of elements; errors are the same. near: integers
that are a remaining time.
shape: the same type, or both errors. numbers: integers may differ, all else is the same.
transaction: an EXEC, each element by its own command's comparison."""

Kind = Literal["plain", "options", "wrong"]


@dataclass
class Request:
    name: str
    words: list[bytes]
    compare: Comparison = "same"
    kind: Kind = "plain"
    elements: list[Comparison] = field(default_factory=list)  # of an EXEC: how its elements compare
    connection: int = 0


Burst = list[Request]
Choice = TypeVar("Choice")

KEYS: Final = [
    *(b"key:%d" % number for number in range(8)),
    b"",
    b"\xff\x01key",
    b"{tag}a",
    b"k\r\n\x00*[?",
    b"long" * 50,
    *HASH_KEYS,
    *LIST_KEYS,
    *SET_KEYS,
    *SORTED_SET_KEYS,
    *STREAM_KEYS,
]
INTEGERS: Final = [b"0", b"1", b"-1", b"10", b"-15", b"1000", b"9223372036854775807", b"-9223372036854775808"]
NO_INTEGERS: Final = [
    b"",
    b"abc",
    b"1.5",
    b" 1",
    b"1 ",
    b"+1",
    b"01",
    b"-0",
    b"1_0",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"0x10",
    b"1e3",
    b"1\x00",
]
FLOATS: Final = [
    b"0.1",
    b"-1.5",
    b"3.0e2",
    b"1e-7",
    b"5",
    b"-0",
    b"1e17",
    b"0x1p-3",
    b".5",
    b"5.",
    b"+2.25",
    b"123456789.987654321",
    b"1e4900",
    b"-1e4900",
    b"1e-4940",
    b"inf",
    b"-Infinity",
]
NO_FLOATS: Final = [b"", b"abc", b"nan", b" 1", b"1 ", b"1e", b".", b"1,5", b"0x", b"1e5000", b"1e-5000", b"1_0.5"]
TEXTS: Final = [b"", b"a", b"hello world", b"\x00\xff\r\n$5\r\n", b"x" * 44, b"y" * 45, b"z" * 2000]
PATTERNS: Final = [
    b"*",
    b"key:*",
    b"key:?",
    b"key:[1-3]",
    b"key:[^1-3]",
    b"*0*",
    b"key\\:1",
    b"key:1",
    b"nothing*",
    b"**",
    b"[",
    b"*[?",
    b"\xff*",
    b"{tag}*",
    b"?*",
    b"",
    b"[z-a]*",
    b"key:[",
    b"*\\",
]
JUNK: Final = [
    b"",
    b"abc",
    b"-1",
    b"0",
    b"1.5",
    b"9223372036854775808",
    b"NX",
    b"EX",
    b"\xff\x00",
    b"*",
    b"GET",
    b"key:1",
]
PAST_SECONDS: Final = [b"1", b"1000000000"]
PAST_MS: Final = [b"1", b"1000000000000"]
FUTURE_SECONDS: Final = [b"9999999999", b"4102444800", b"9223372036854775"]
FUTURE_MS: Final = [b"9999999999999", b"4102444800000", b"9223372036854775807"]
DELAY_SECONDS: Final = [b"100000", b"1000000"]
DELAY_MS: Final = [b"100000000", b"1000000000"]
WRONG_TIMES: Final = [b"0", b"-1", b"9223372036854775807", b"-9223372036854775808", b"9223372036854776"]


NAMES: Final = [b"", b"name", b"a-b:c", b"a b", b"a\n", b"\xff", b"x" * 100]
KILL_FILTERS: Final = [
    [b"ID", b"999999999"],
    [b"ADDR", b"127.0.0.9:1"],
    [b"LADDR", b"127.0.0.9:1"],
    [b"id", b"999999999", b"type", b"normal", b"SKIPME", b"no"],
    [b"USER", b"default", b"ID", b"999999999"],
]
SET_PARAMETERS: Final = [
    [b"slowlog-max-len", b"128"],
    [b"SLOWLOG-MAX-LEN", b"128"],
    [b"maxmemory", b"0"],
    [b"maxmemory-policy", b"NoEviction"],
    [b"appendfsync", b"everysec", b"save", b""],
    [b"daemonize", b"no"],
    [b"hash-max-listpack-entries", b"512"],
    [b"hash-max-listpack-entries", b"512", b"databases", b"16"],
    [b"maxmemory", b"x"],
    [b"appendfsync", b"x"],
]
LIST_FILTERS: Final = [
    [b"FILTERBY", b"ACLCAT", b"string"],
    [b"FILTERBY", b"PATTERN", b"get*"],
    [b"filterby", b"module", b"nosuch"],
]


class Generator:
    """A source of bursts, the same ones for the same seed."""

    def __init__(self, seed: int | random.Random, protocol: int = 2) -> None:
        self.protocol = b"%d" % protocol
        self.random = seed if isinstance(seed, random.Random) else random.Random(seed)
        self._delays = 0

    def pick(self, choices: Sequence[Choice]) -> Choice:
        return self.random.choice(choices)

    # Words.

    def key(self) -> bytes:
        return self.pick(KEYS)

    def some_keys(self) -> list[bytes]:
        return [self.key() for _ in range(self.random.randint(1, 5))]

    def value(self) -> bytes:
        return self.pick(self.pick([INTEGERS, NO_INTEGERS, FLOATS, NO_FLOATS, TEXTS]))

    def delay_seconds(self) -> int:
        """A delay minutes away from every other one: which is later does not depend on a server's speed."""
        self._delays += 1
        return self.pick([900_000 - 200 * self._delays, 2_000_000 + 200 * self._delays])

    def integer(self) -> bytes:
        return self.pick(INTEGERS if self.random.random() < 0.8 else NO_INTEGERS)

    def offset(self) -> bytes:
        return b"%d" % self.random.randint(-60, 60) if self.random.random() < 0.8 else self.integer()

    def pairs(self) -> list[bytes]:
        return [word for key in self.some_keys() for word in (key, self.value())]

    def spelled(self, name: str) -> bytes:
        """A name as clients write it: lower, upper or mixed case."""
        return self.pick([name.lower(), name.upper(), name.title()]).encode()

    def request(self, name: str, *words: bytes, compare: Comparison = "same", kind: Kind = "plain") -> Request:
        """`name` is the table's: a subcommand's holds a bar and becomes two words."""
        return Request(name, [*(self.spelled(part) for part in name.split("|")), *words], compare, kind)

    # Expiry words of SET and GETEX. A past time is left out here: see `expired`.

    def expiry_words(self) -> list[bytes]:
        unit = self.pick(["EX", "PX", "EXAT", "PXAT"])
        good = {"EX": DELAY_SECONDS, "PX": DELAY_MS, "EXAT": FUTURE_SECONDS, "PXAT": FUTURE_MS}[unit]
        odd = self.random.random()
        if odd < 0.75:
            return [self.spelled(unit), self.pick(good)]
        if odd < 0.85:
            return [self.spelled(unit), self.pick(NO_INTEGERS)]
        # PXAT takes any positive number as a time, so a wrong one must not be one.
        return [self.spelled(unit), self.pick(WRONG_TIMES[:2] if unit == "PXAT" else WRONG_TIMES[:4])]

    def set_words(self) -> list[bytes]:
        options = [option for option in ("NX", "XX", "GET", "KEEPTTL") if self.random.random() < 0.3]
        words = [[self.spelled(option)] for option in options]
        if self.random.random() < 0.6 or not words:
            words.append(self.expiry_words())
        self.random.shuffle(words)
        return [word for group in words for word in group]

    # Bursts.

    def burst(self, name: str, kind: Kind) -> Burst:
        """Requests for this command; the one that counts has this kind."""
        table = OPTIONS if kind == "options" and name in OPTIONS else PLAIN
        requests = table[name](self)
        for request in requests:
            if request.name == name and request.kind == "plain" and table is OPTIONS:
                request.kind = "options"
        return requests

    def wrong(self, name: str) -> Burst:
        """A request for this command that lost, gained or changed words: often, not always, an error."""
        if name in WRONG:
            request = self.request(name, *self.pick(WRONG[name]), kind="wrong")
            return [request, self.request("hello", self.protocol, compare="numbers")] if name == "hello" else [request]
        words = next(request for request in self.burst(name, "plain") if request.name == name).words
        first = name.count("|") + 1
        change = self.random.randrange(3)
        if change == 0:
            words = words[: self.random.randint(first, len(words))]
        elif change == 1:
            words.insert(self.random.randint(first, len(words)), self.pick(JUNK))
        elif len(words) > first:
            words[self.random.randrange(first, len(words))] = self.pick(JUNK)
        if name == "zadd":  # BYLEX over different scores is a listed difference: only the key's own maker writes it
            words = [b"z:0" if word == b"z:lex" else word for word in words]
        is_by_clock = name == "xadd" and b"*" in words  # then the id is the time
        request = Request(name, words, "shape" if is_by_clock else COMPARISONS.get(name, "same"), "wrong")
        return [request, self.request("del", *words[1:2])] if is_by_clock else [request]

    def transaction(self, names: Sequence[str]) -> Burst:
        """WATCH sometimes, MULTI, a few requests, EXEC or DISCARD; sometimes with a mistake among them."""
        burst: Burst = []
        watched = self.some_keys() if self.random.random() < 0.65 else []
        if watched:
            burst.append(self.request("watch", *watched))
            if self.random.random() < 0.8:
                # From the other connection: sometimes a watched key, sometimes an unwatched one.
                key = self.pick(watched) if self.random.random() < 0.8 else self.key()
                name, *words = self.pick(_CHANGES)
                change = self.request(name, *(key if word == "KEY" else word.encode() for word in words))
                change.connection = 1
                burst.append(change)
            if self.random.random() < 0.2:
                burst.append(self.request("unwatch"))
        burst.append(self.request("multi"))
        queued: Burst = []
        for _ in range(self.random.randint(0, 6)):
            queued += self.burst(self.pick(names), "plain")
        burst += [Request(request.name, request.words, "same", request.kind) for request in queued]
        odd = self.random.random()
        if odd < 0.06:
            burst.append(self.request("multi", kind="wrong"))
        elif odd < 0.12:
            burst.append(self.request("watch", self.key(), kind="wrong"))
        elif odd < 0.18:
            burst.append(Request("get", [b"GET"], "same", "wrong"))
        elif odd < 0.24:
            burst.append(Request("unknown", [b"NOSUCHCOMMAND", b"a", b"b\r\n"], "same", "wrong"))
        if self.random.random() < 0.15:
            burst.append(self.request("discard"))
        else:
            end = self.request("exec", compare="transaction")
            end.elements = [request.compare for request in queued]
            burst.append(end)
        return burst


# Requests of the other connection while keys are watched: some change the key, some do not.
_CHANGES: Final = [
    ("del", "KEY"),
    ("set", "KEY", "y"),
    ("set", "KEY", "y", "NX"),
    ("setnx", "KEY", "y"),
    ("set", "KEY", "y", "XX"),
    ("append", "KEY", "x"),
    ("setbit", "KEY", "3", "1"),
    ("setbit", "KEY", "3", "0"),
    ("bitop", "NOT", "KEY", "key:1"),
    ("bitfield", "KEY", "SET", "u8", "0", "255"),
    ("bitfield", "KEY", "GET", "u8", "0"),
    ("move", "KEY", "1"),
    ("swapdb", "1", "2"),
    ("append", "KEY", ""),
    ("setrange", "KEY", "0", "x"),
    ("setrange", "KEY", "0", ""),
    ("incr", "KEY"),
    ("get", "KEY"),
    ("getex", "KEY"),
    ("getex", "KEY", "PERSIST"),
    ("getex", "KEY", "EX", "100000"),
    ("getdel", "KEY"),
    ("expire", "KEY", "100000"),
    ("expire", "KEY", "100000", "XX"),
    ("expire", "KEY", "-1"),
    ("persist", "KEY"),
    ("rename", "KEY", "KEY"),
    ("rename", "KEY", "key:1"),
    ("renamenx", "key:2", "KEY"),
    ("copy", "KEY", "key:3"),
    ("copy", "key:4", "KEY", "REPLACE"),
    ("mset", "KEY", "y"),
    ("msetnx", "KEY", "y", "key:5", "y"),
    ("touch", "KEY"),
    ("flushall",),
    ("flushdb",),
    *HASH_CHANGES,
    *LIST_CHANGES,
    *SET_CHANGES,
    *SORTED_SET_CHANGES,
    *STREAM_CHANGES,
]

Maker = Callable[[Generator], Burst]


def _one(name: str, *words: Callable[[Generator], bytes | list[bytes]], compare: Comparison = "same") -> Maker:
    """A burst of one request, its words made anew each time."""

    def make(source: Generator) -> Burst:
        made: list[bytes] = []
        for word in words:
            value = word(source)
            made += [value] if isinstance(value, bytes) else value
        return [source.request(name, *made, compare=compare)]

    return make


def _from(choices: Sequence[bytes]) -> Callable[[Generator], bytes]:
    return lambda source: source.pick(choices)


def _expired(source: Generator) -> Burst:
    """SET with a past time. Redis drops the key at its next access, so it is read, and set again."""
    key = source.key()
    unit, times = source.pick([("EXAT", PAST_SECONDS), ("PXAT", PAST_MS)])
    return [
        source.request("set", key, source.value(), source.spelled(unit), source.pick(times), kind="options"),
        source.request("get", key),
        source.request("set", key, source.value()),
    ]


def _set_options(source: Generator) -> Burst:
    if source.random.random() < 0.1:
        return _expired(source)
    return [source.request("set", source.key(), source.value(), *source.set_words())]


def _getex_options(source: Generator) -> Burst:
    odd = source.random.random()
    if odd < 0.3:
        words = [source.spelled("PERSIST")]
    elif odd < 0.4:
        words = [source.spelled("EXAT"), source.pick(PAST_SECONDS)]
    else:
        words = source.expiry_words()
    return [source.request("getex", source.key(), *words)]


def _expire_times(name: str) -> list[bytes]:
    return {
        "expire": [*DELAY_SECONDS, b"0", b"-1"],
        "pexpire": [*DELAY_MS, b"0", b"-1"],
        "expireat": [*FUTURE_SECONDS, *PAST_SECONDS],
        "pexpireat": [*FUTURE_MS, *PAST_MS],
    }[name]


def _expire(name: str, *, options: bool) -> Maker:
    def make(source: Generator) -> Burst:
        odd = source.random.random()
        times = _expire_times(name) if odd < 0.85 else NO_INTEGERS if odd < 0.93 else WRONG_TIMES[2:]
        if name == "pexpireat" and times == WRONG_TIMES[2:]:
            times = NO_INTEGERS
        words = [source.pick(times)]
        if options:
            if times == _expire_times(name) and name in ("expire", "pexpire"):
                words = [b"%d" % (source.delay_seconds() * (1000 if name == "pexpire" else 1))]
            many = 1 if source.random.random() < 0.6 else 2
            words += [source.spelled(source.pick(["NX", "XX", "GT", "LT"])) for _ in range(many)]
        return [source.request(name, source.key(), *words)]

    return make


def _copy_options(source: Generator) -> Burst:
    words = [source.spelled("REPLACE")] if source.random.random() < 0.7 else []
    if source.random.random() < 0.5:
        words += [source.spelled("DB"), source.pick([b"0", b"1", b"2", b"99", b"-1", b"abc", b"99999999999"])]
    return [source.request("copy", source.key(), source.key(), *words or [b"REPLACE"])]


def _object(name: str, compare: Comparison = "same") -> Maker:
    """OBJECT depends on a value's history in Redis; for one just set both servers answer the same."""

    def make(source: Generator) -> Burst:
        if source.random.random() < 0.3 and name in ("object|encoding", "object|refcount"):
            return source.pick([hash_encoding, set_encoding, sorted_set_encoding])(source)
        key = source.key()
        set_first = source.request("set", key, source.pick([*INTEGERS, *NO_INTEGERS, *TEXTS, b"9999", b"10000"]))
        missing = source.request("del", key)
        return [source.pick([set_first, set_first, missing]), source.request(name, key, compare=compare)]

    return make


def _select(source: Generator) -> Burst:
    """To another database for a moment, then back: the other bursts mean database 0."""
    number = source.pick([b"0", b"1", b"2", b"15"])
    wrong = source.request("select", source.pick([b"16", b"-1", b"abc", b"99999999999", b""]), kind="wrong")
    return [
        source.request("select", number),
        source.request("set", source.key(), source.value()),
        source.request("get", source.key()),
        wrong,
        source.request("select", b"0"),
    ]


def _flush(name: str, *, options: bool) -> Maker:
    def make(source: Generator) -> Burst:
        words = [source.spelled(source.pick(["SYNC", "ASYNC", "FOO"]))] if options else []
        return [source.request(name, *words), source.request("dbsize")]

    return make


def _reset(source: Generator) -> Burst:
    """RESET goes back to RESP2 and database 0."""
    return [source.request("reset"), source.request("hello", source.protocol, compare="numbers")]


def _hello(source: Generator) -> Burst:
    """To the other protocol and back, so that the run keeps its own."""
    other = source.request("hello", source.pick([b"2", b"3"]), compare="numbers")
    return [other, source.request("hello", source.protocol, compare="numbers")]


def _hello_options(source: Generator) -> Burst:
    words = [[b"AUTH", b"default", b"any"], [b"SETNAME", source.pick(NAMES)]]
    source.random.shuffle(words)
    chosen = [word for group in words[: source.random.randint(1, 2)] for word in group]
    return [source.request("hello", source.protocol, *chosen, compare="numbers")]


def _command_names(name: str) -> Maker:
    """Rarely for all commands: Redis describes some 240, and reading that takes time."""

    def make(source: Generator) -> Burst:
        names = [source.pick([b"get", b"SET", b"nosuch"]) for _ in range(source.random.randint(1, 3))]
        return [source.request(name, *([] if source.random.random() < 0.03 else names), compare="shape")]

    return make


def _command_keys(asked: str) -> Maker:
    """Of a request, made as if it were to be run."""

    def make(source: Generator) -> Burst:
        name = source.pick(["get", "set", "mset", "del", "copy", "object|encoding", "expire", "ping", "keys"])
        inner = next(request for request in source.burst(name, "plain") if request.name == name)
        return [source.request(asked, *inner.words)]

    return make


def _key(source: Generator) -> bytes:
    return source.key()


def _keys(source: Generator) -> list[bytes]:
    return source.some_keys()


def _value(source: Generator) -> bytes:
    return source.value()


def _integer(source: Generator) -> bytes:
    return source.integer()


def _offset(source: Generator) -> bytes:
    return source.offset()


def _scan_words(source: Generator) -> list[bytes]:
    words: list[bytes] = []
    if source.random.random() < 0.6:
        words += [source.spelled("MATCH"), source.pick(PATTERNS)]
    if source.random.random() < 0.4:
        words += [source.spelled("TYPE"), source.pick([b"string", b"STRING", b"hash", b"set", b"list", b"nosuch"])]
    return [*words, source.spelled("COUNT"), b"1000"]


def _scan_wrong(source: Generator) -> Burst:
    words = source.pick(
        [
            [source.pick([b"abc", b"1 ", b" 0", b"18446744073709551616", b"--1"])],
            [b"0", b"COUNT", source.pick([b"0", b"-1", b"abc", b""])],
            [b"0", source.pick([b"MATCH", b"COUNT", b"TYPE", b"FOO"])],
            [b"0", b"FOO", b"bar"],
        ]
    )
    return [source.request("scan", *words, kind="wrong")]


def _scan_plain(source: Generator) -> Burst:
    """Without options a whole scan takes several calls, whose cursors differ: only an error or its shape compares."""
    return [source.request("scan", b"0", compare="shape"), *_scan_wrong(source)]


PLAIN: Final[dict[str, Maker]] = {
    **PLAIN_BITS,
    **PLAIN_GEO,
    **PLAIN_HASHES,
    **PLAIN_HYPERLOGLOGS,
    **PLAIN_KEYS,
    **PLAIN_LISTS,
    **PLAIN_SETS,
    **PLAIN_SORTED_SETS,
    **PLAIN_STREAMS,
    "get": _one("get", _key),
    "set": _one("set", _key, _value),
    "setex": _one("setex", _key, _from([*DELAY_SECONDS, *WRONG_TIMES[:4], *NO_INTEGERS]), _value),
    "psetex": _one("psetex", _key, _from([*DELAY_MS, *WRONG_TIMES[:3], *NO_INTEGERS]), _value),
    "setnx": _one("setnx", _key, _value),
    "getset": _one("getset", _key, _value),
    "getdel": _one("getdel", _key),
    "getex": _one("getex", _key),
    "mget": _one("mget", _keys),
    "mset": _one("mset", lambda source: source.pairs()),
    "msetnx": _one("msetnx", lambda source: source.pairs()),
    "append": _one("append", _key, _from([*INTEGERS, *TEXTS[:4]])),
    "strlen": _one("strlen", _key),
    "getrange": _one("getrange", _key, _offset, _offset),
    "substr": _one("substr", _key, _offset, _offset),
    "setrange": _one("setrange", _key, _from([b"0", b"1", b"5", b"50", b"-1", *NO_INTEGERS]), _from(TEXTS[:4])),
    "incr": _one("incr", _key),
    "decr": _one("decr", _key),
    "incrby": _one("incrby", _key, _integer),
    "decrby": _one("decrby", _key, _integer),
    "incrbyfloat": _one("incrbyfloat", _key, _from([*FLOATS, *NO_FLOATS])),
    "del": _one("del", _keys),
    "unlink": _one("unlink", _keys),
    "exists": _one("exists", _keys),
    "touch": _one("touch", _keys),
    "type": _one("type", _key),
    "copy": _one("copy", _key, _key),
    "rename": _one("rename", _key, _key),
    "renamenx": _one("renamenx", _key, _key),
    "object|encoding": _object("object|encoding"),
    "object|refcount": _object("object|refcount"),
    "object|idletime": _object("object|idletime", "near"),
    "object|freq": _object("object|freq"),
    "object|help": _one("object|help"),
    "keys": _one("keys", _from(PATTERNS), compare="unordered"),
    "scan": _scan_plain,
    "randomkey": _one("randomkey", compare="shape"),
    "expire": _expire("expire", options=False),
    "pexpire": _expire("pexpire", options=False),
    "expireat": _expire("expireat", options=False),
    "pexpireat": _expire("pexpireat", options=False),
    "expiretime": _one("expiretime", _key, compare="near"),
    "pexpiretime": _one("pexpiretime", _key, compare="near"),
    "ttl": _one("ttl", _key, compare="near"),
    "pttl": _one("pttl", _key, compare="near"),
    "persist": _one("persist", _key),
    "unwatch": _one("unwatch"),
    "dbsize": _one("dbsize"),
    "ping": _one("ping"),
    "echo": _one("echo", _value),
    "select": _select,
    "flushdb": _flush("flushdb", options=False),
    "flushall": _flush("flushall", options=False),
    "reset": _reset,
    "auth": _one("auth", _from([b"secret", b""])),
    "hello": _hello,
    "client|id": _one("client|id", compare="shape"),
    "client|getname": _one("client|getname"),
    "client|setname": _one("client|setname", _from(NAMES)),
    "client|no-evict": _one("client|no-evict", _from([b"on", b"OFF", b"maybe", b""])),
    # No ON: invalidations would stand between the replies. tracking_scripts.py has it, scenes of several clients.
    "client|tracking": _one("client|tracking", _from([b"off", b"OFF", b"maybe", b""])),
    "client|caching": _one("client|caching", _from([b"yes", b"NO", b"maybe"])),
    "client|getredir": _one("client|getredir"),
    "client|trackinginfo": _one("client|trackinginfo"),
    "client|reply": _one("client|reply", _from([b"on", b"ON", b"maybe"])),
    "client|pause": _one("client|pause", _from([b"0", b"-1", b"x", b"1.5"])),
    "client|unpause": _one("client|unpause"),
    "client|info": _one("client|info", compare="shape"),
    "client|list": _one("client|list", compare="shape"),
    "client|kill": _one("client|kill", _from([b"127.0.0.9:1", b"", b"abc"])),
    "client|unblock": _one("client|unblock", _from([b"999999", b"0", b"-1", b"abc"])),
    "client|help": _one("client|help", compare="shape"),
    "info": _one("info", compare="shape"),
    "time": _one("time", compare="shape"),
    "config|get": _one("config|get", _from([b"databases", b"DataBases", b"nosuch", b"no*such"])),
    "config|set": _one("config|set", lambda source: source.pick(SET_PARAMETERS)),
    "config|resetstat": _one("config|resetstat"),
    "config|help": _one("config|help", compare="shape"),
    "command|count": _one("command|count", compare="shape"),
    "command|list": _one("command|list", compare="shape"),
    "command|docs": _command_names("command|docs"),
    "command|info": _command_names("command|info"),
    **{name: _command_keys(name) for name in ("command|getkeys", "command|getkeysandflags")},
    "command|help": _one("command|help", compare="shape"),
    "slowlog|get": _one("slowlog|get", compare="shape"),
    "slowlog|len": _one("slowlog|len", compare="shape"),
    "slowlog|reset": _one("slowlog|reset"),
    "slowlog|help": _one("slowlog|help", compare="shape"),
    "memory|usage": _one("memory|usage", _key, compare="shape"),
    "memory|help": _one("memory|help", compare="shape"),
    "function|flush": _one("function|flush"),
    "script|flush": _one("script|flush"),
}
"""Every command without its options; the fuzzer and transactions draw from here."""

OPTIONS: Final[dict[str, Maker]] = {
    **BIT_OPTIONS,
    **GEO_OPTIONS,
    **HASH_OPTIONS,
    **KEY_OPTIONS,
    **LIST_OPTIONS,
    **SET_OPTIONS,
    **SORTED_SET_OPTIONS,
    **STREAM_OPTIONS,
    "set": _set_options,
    "getex": _getex_options,
    "copy": _copy_options,
    "scan": _one("scan", lambda source: b"0", _scan_words, compare="unordered"),
    "expire": _expire("expire", options=True),
    "pexpire": _expire("pexpire", options=True),
    "expireat": _expire("expireat", options=True),
    "pexpireat": _expire("pexpireat", options=True),
    "ping": _one("ping", _value),
    "flushdb": _flush("flushdb", options=True),
    "flushall": _flush("flushall", options=True),
    "hello": _hello_options,
    "auth": _one("auth", _from([b"default", b"nobody"]), _from([b"secret", b""])),
    "client|list": _one("client|list", _from([b"TYPE", b"type"]), _from([b"normal", b"master"]), compare="shape"),
    "client|kill": _one("client|kill", lambda source: source.pick(KILL_FILTERS)),
    "client|unblock": _one("client|unblock", _from([b"999999", b"abc"]), _from([b"TIMEOUT", b"error", b"FOO", b""])),
    "info": _one("info", _from([b"server", b"CLIENTS", b"everything", b"nosuch"]), compare="shape"),
    "config|get": _one("config|get", _from([b"*", b"max*", b"[ab]*"]), _from([b"databases"]), compare="shape"),
    "command|list": _one("command|list", lambda source: source.pick(LIST_FILTERS), compare="shape"),
    "slowlog|get": _one("slowlog|get", _from([b"0", b"5", b"-1"]), compare="shape"),
    "memory|usage": _one("memory|usage", _key, _from([b"SAMPLES", b"samples"]), _from([b"0", b"5"]), compare="shape"),
    "function|flush": _one("function|flush", _from([b"SYNC", b"async", b"FOO", b""])),
    "script|flush": _one("script|flush", _from([b"SYNC", b"async", b"FOO", b""])),
}

# Wrong requests made by hand, for commands that could do real harm after a random change, such as CLIENT KILL.
WRONG: Final[dict[str, list[list[bytes]]]] = {
    **WRONG_HYPERLOGLOGS,
    **WRONG_KEYS,
    **WRONG_LISTS,
    **WRONG_SETS,
    **WRONG_SORTED_SETS,
    "swapdb": WRONG_SWAPS,
    "multi": [[b"a"]],
    "exec": [[], [b"a"], [b"a", b"b"]],
    "discard": [[b"a"], []],
    "watch": [[]],
    "reset": [[b"a"]],
    "auth": [[], [b"a", b"b", b"c"]],
    "hello": [[b"4"], [b"1"], [b"abc"], [b""], [b"2", b"FOO"], [b"2", b"AUTH"], [b"2", b"AUTH", b"default"],
              [b"3", b"SETNAME", b"a b"], [b"3", b"SETNAME"], [b"2", b"AUTH", b"nobody", b"secret"]],
    "client|id": [[b"a"]],
    "client|getname": [[b"a"]],
    "client|setname": [[], [b"a", b"b"], [b"a b"], [b"a\n"]],
    "client|no-evict": [[], [b"on", b"off"], [b"foo"]],
    "client|tracking": [[], [b"on", b"optin", b"OPTOUT"], [b"on", b"prefix", b"a"], [b"off", b"redirect", b"0"],
                        [b"on", b"bcast", b"optin"], [b"on", b"bcast", b"prefix", b"a", b"prefix", b"ab"]],
    "client|caching": [[], [b"yes", b"no"]],
    "client|getredir": [[b"a"]],
    "client|trackinginfo": [[b"a"]],
    "client|reply": [[], [b"on", b"off"]],
    "client|pause": [[], [b"0", b"some"], [b"0", b"ALL", b"a"], [b"x", b"write"]],
    "client|unpause": [[b"a"]],
    "client|info": [[b"a"]],
    "client|list": [[b"FOO"], [b"TYPE"], [b"TYPE", b"foo"], [b"ID"], [b"ID", b"abc"], [b"ID", b"0"],
                    [b"TYPE", b"a", b"b"]],
    "client|kill": [[], [b"ID", b"abc"], [b"ID", b"0"], [b"FOO", b"bar"], [b"TYPE", b"foo"], [b"ID", b"9", b"FOO"],
                    [b"SKIPME", b"maybe"], [b"USER", b"nobody"]],
    "client|help": [[b"a"]],
    "info": [[b"nosuch", b"nosuch2"], [b""]],
    "time": [[b"a"]],
    "config|get": [[], [b"nosuch", b"nosuch2"]],
    "config|set": [[], [b"nosuch"], [b"nosuch", b"1"], [b"dir", b"/tmp"], [b"slowlog-max-len", b"abc"],
                   [b"slowlog-max-len", b"1", b"dir"], [b"slowlog-max-len", b"1", b"slowlog-max-len", b"2"]],
    "config|resetstat": [[b"a"]],
    "config|help": [[b"a"]],
    "command|count": [[b"a"]],
    "command|list": [[b"FOO"], [b"FILTERBY"], [b"FILTERBY", b"FOO", b"bar"], [b"FILTERBY", b"MODULE", b"nosuch"]],
    "command|docs": [[b"nosuch"], [b"nosuch", b""]],
    "command|info": [[b"nosuch"], [b""]],
    "command|help": [[b"a"]],
    "slowlog|get": [[b"abc"], [b"-2"], [b"1", b"2"], [b""]],
    "slowlog|len": [[b"a"]],
    "slowlog|reset": [[b"a"]],
    "slowlog|help": [[b"a"]],
    "memory|usage": [[], [b"nosuch"], [b"nosuch", b"SAMPLES"], [b"nosuch", b"FOO"], [b"nosuch", b"SAMPLES", b"abc"],
                     [b"nosuch", b"SAMPLES", b"-1"]],
    "memory|help": [[b"a"]],
    "function|flush": [[b"SYNC", b"ASYNC"], [b"1"]],
    "script|flush": [[b"SYNC", b"ASYNC"], [b"1"]],
}  # fmt: skip

# Commands whose requests stand alone after a random change.
TRANSACTIONS: Final = ("multi", "exec", "discard", "watch")
"""Commands that only make sense together: `Generator.transaction` makes them."""

COMPARISONS: Final[dict[str, Comparison]] = {
    **HASH_COMPARISONS,
    **KEY_COMPARISONS,
    **SET_COMPARISONS,
    **SORTED_SET_COMPARISONS,
    **STREAM_COMPARISONS,
    "keys": "unordered",
    "object|encoding": "shape",
    "object|refcount": "shape",
    "object|idletime": "near",
    "scan": "shape",
    "randomkey": "shape",
    "expiretime": "near",
    "pexpiretime": "near",
    "ttl": "near",
    "pttl": "near",
}

_UNQUEUED: Final = (
    "select",
    "move",
    "flushall",
    "flushdb",
    "unwatch",
    "reset",
    "hello",
    "auth",
    "object|refcount",
    *(name for name in WRONG if name not in (*PLAIN_HYPERLOGLOGS, *WRONG_LISTS, *WRONG_SETS, *WRONG_SORTED_SETS)),
)
QUEUEABLE: Final = [name for name in PLAIN if name not in _UNQUEUED]
"""The commands of transactions."""
