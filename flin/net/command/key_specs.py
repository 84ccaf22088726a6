"""Key specifications: where the keys of a request stand, and what its command does with each of them.

A specification begins somewhere (at a position, behind a keyword, or nowhere that could be told beforehand) and goes on
to a last key, or for as many keys as a number says. COMMAND INFO shows them, ACL rules and COMMAND GETKEYSANDFLAGS are
computed from them. `KEY_SPECS` has those of every command of Redis 7.0 that names keys, by name: a row each for those
that are alike.

How they are written: `1` the argument at 1 · `1..-1` from 1 to the last argument · `1..-2` to the one before ·
`1..+1` and one more · `1..-1/2` every second · `2#` their number stands at 2, they follow it · `STORE@6` behind this
word, which is looked for from 6 on · `STREAMS@1..-1:2` the first half of what follows it · `?` nobody can say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final, NamedTuple, TypeAlias

from flin.net.wire.numbers import maybe_int64


class KeyFlag(IntFlag):
    """What a command does with a key. The names are Redis's; the first four speak of the entry (read, changed,
    overwritten unseen, removed unseen), the next four of what the user gains by it."""

    NONE = 0
    RO = 1
    RW = 2
    OW = 4
    RM = 8
    ACCESS = 16  # shows something of the value
    UPDATE = 32
    INSERT = 64
    DELETE = 128
    NOT_KEY = 256  # a sharded channel: it has a slot, but is no key
    INCOMPLETE = 512
    VARIABLE_FLAGS = 1024


SHOWN_NAMES: Final = {
    flag: (flag.name or "") if flag <= KeyFlag.RM else (flag.name or "").lower() for flag in KeyFlag if flag
}

UNBOUNDED: Final = 1 << 30
"""The maximum of a command that takes any number of arguments; the parser stops long before."""

READS: Final = 1
WRITES: Final = 2
"""What a user must be allowed to do with a key; both: 3, and neither (EXISTS, which shows no value): 0."""


def needs(flags: KeyFlag) -> int:
    """READS, WRITES, both, or neither."""
    changes = flags & (KeyFlag.UPDATE | KeyFlag.INSERT | KeyFlag.DELETE)
    return (READS if flags & KeyFlag.ACCESS else 0) | (WRITES if changes else 0)


class Use(NamedTuple):
    """What happens to a key."""

    flags: KeyFlag
    needs: int


def use_of(flags: KeyFlag) -> Use:
    return Use(flags, needs(flags))


Touch: TypeAlias = tuple[Use, Sequence[int]]
"""What happens to the keys at these positions of a request."""


def flag_names(flags: KeyFlag) -> list[str]:
    """The flags as Redis shows them."""
    return [name for flag, name in SHOWN_NAMES.items() if flags & flag]


@dataclass(frozen=True, slots=True)
class KeySpec:
    """A specification. index: where it begins; keyword: else behind this word, looked for from index on (from the end,
    backwards, where that is negative). is_unknown: neither. last, step, limit: the range; is_counted: a number
    instead."""

    flags: KeyFlag
    index: int = 0
    keyword: bytes = b""
    is_unknown: bool = False
    is_counted: bool = False
    last: int = 0
    step: int = 1
    limit: int = 0

    @property
    def is_one_key(self) -> bool:
        """Whether it names the argument at `index`, and only that."""
        return not (self.keyword or self.is_unknown or self.is_counted or self.last or self.flags & KeyFlag.NOT_KEY)

    def positions(self, request: list[bytes]) -> range | None:
        """The positions of the keys, empty where the keyword is not there; None: the request cannot be right."""
        first = self.index
        if self.keyword:
            found = self._behind_keyword(request)
            if found is None:
                return range(0)
            first = found
        if self.is_unknown or first >= len(request):
            return None
        if self.is_counted:
            number = maybe_int64(request[first])
            if number is None or number < 1:
                return None
            first, last = first + 1, first + number
        elif self.last >= 0:
            last = first + self.last
        elif self.limit:
            last = first + (len(request) - first) // self.limit + self.last
        else:
            last = len(request) + self.last
        return range(first, last + 1, self.step) if first <= last < len(request) else None

    def _behind_keyword(self, request: list[bytes]) -> int | None:
        start = self.index if self.index > 0 else len(request) + self.index
        places = range(start, len(request)) if self.index > 0 else range(start, 0, -1)
        for at in places:
            if request[at].upper() == self.keyword:
                return at + 1
        return None

    def describe(self) -> dict[bytes, Any]:
        """An element of COMMAND INFO."""
        return {
            b"flags": dict.fromkeys(flag_names(self.flags)).keys(),
            b"begin_search": self._begin(),
            b"find_keys": self._find(),
        }

    def _begin(self) -> dict[bytes, Any]:
        if self.is_unknown:
            return {b"type": b"unknown", b"spec": {}}
        if self.keyword:
            return {b"type": b"keyword", b"spec": {b"keyword": self.keyword, b"startfrom": self.index}}
        return {b"type": b"index", b"spec": {b"index": self.index}}

    def _find(self) -> dict[bytes, Any]:
        if self.is_unknown:
            return {b"type": b"unknown", b"spec": {}}
        if self.is_counted:
            return {b"type": b"keynum", b"spec": {b"keynumidx": 0, b"firstkey": 1, b"keystep": 1}}
        return {b"type": b"range", b"spec": {b"lastkey": self.last, b"keystep": self.step, b"limit": self.limit}}


# The table.

_TABLE: Final = """
1 RO access: bitcount bitfield_ro bitpos dump expiretime geodist geohash geopos georadius_ro georadiusbymember_ro
1 RO access: geosearch get getbit getrange hget hgetall hkeys hmget hrandfield hscan hvals lindex lpos lrange
1 RO access: pexpiretime pttl smembers smismember srandmember sscan substr ttl xpending xrange xrevrange zcount
1 RO access: zlexcount zmscore zrandmember zrange zrangebylex zrangebyscore zrank zrevrange zrevrangebylex
1 RO access: zrevrangebyscore zrevrank zscan zscore
1 RO: hexists hlen hstrlen llen scard sismember strlen type xlen zcard
1 RW insert: append hsetnx linsert lpush lpushx pfadd rpush rpushx sadd
1 RW update: expire expireat geoadd hmset hset lset persist pexpire pexpireat setrange xack xadd xclaim xsetid zadd
1 RW delete: hdel lrem ltrim srem xautoclaim xdel xtrim zrem zremrangebylex zremrangebyrank zremrangebyscore
1 RW access update: decr decrby getex getset hincrby hincrbyfloat incr incrby incrbyfloat move setbit zincrby
1 RW access update variable_flags: bitfield set
1 RW access delete: getdel lpop rpop spop zpopmax zpopmin
1 OW update: psetex restore restore-asking setex
1 OW insert: setnx
1 not_key: spublish
1..+1 RO access: lcs
1..-1 RO access: mget sdiff sinter sunion
1..-1 RO: exists touch watch
1..-1 RW access: pfcount
1..-1 RM delete: del unlink
1..-1 not_key: ssubscribe sunsubscribe
1..-1/2 OW update: mset
1..-1/2 OW insert: msetnx
1..-2 RW access delete: blpop brpop bzpopmax bzpopmin
1 RO access; 2 OW update: copy
1 RW access delete; 2 OW update: rename
1 RW access delete; 2 OW insert: renamenx
1 RW access delete; 2 RW insert: blmove brpoplpush lmove rpoplpush smove
1 OW update; 2 RO access: geosearchstore zrangestore
1 OW update; 2..-1 RO access: sdiffstore sunionstore
1 RW update; 2..-1 RO access: sinterstore
1 RW access insert; 2..-1 RO access: pfmerge
1 OW update; 2# RO access: zdiffstore zinterstore zunionstore
1 RO access; STORE@6 OW update; STOREDIST@6 OW update: georadius
1 RO access; STORE@5 OW update; STOREDIST@5 OW update: georadiusbymember
1 RO access; ? RO access; ? OW update: sort
1 RO access; ? RO access: sort_ro
1# RO access: sintercard zdiff zinter zintercard zunion
1# RW access delete: lmpop zmpop
2 RO access: xinfo|consumers xinfo|groups xinfo|stream
2 RO: memory|usage object|encoding object|freq object|idletime object|refcount
2 RW access: pfdebug
2 RW insert: xgroup|create xgroup|createconsumer
2 RW update: xgroup|setid
2 RW delete: xgroup|delconsumer xgroup|destroy
2 OW update; 3..-1 RO access: bitop
2# RO access: eval_ro evalsha_ro fcall_ro
2# RW access delete: blmpop bzmpop
2# RW access update: eval evalsha fcall
3 RW access delete; KEYS@-2..-1 RW access delete incomplete: migrate
STREAMS@1..-1:2 RO access: xread
STREAMS@4..-1:2 RO access: xreadgroup
? RO access: flin.txn
"""

_WHERE: Final = re.compile(
    r"(?P<unknown>\?)|(?:(?P<keyword>[A-Z]+)@)?(?P<index>-?\d+)"
    r"(?P<counted>#)?(?:\.\.(?P<last>[+-]\d+))?(?:/(?P<step>\d+))?(?::(?P<limit>\d+))?"
)


def _parse(text: str) -> KeySpec:
    where, *names = text.split()
    found = _WHERE.fullmatch(where)
    assert found is not None, where
    return KeySpec(
        KeyFlag(sum(KeyFlag[name.upper()] for name in names)),
        int(found["index"] or 0),
        (found["keyword"] or "").encode(),
        is_unknown=bool(found["unknown"]),
        is_counted=bool(found["counted"]),
        last=int(found["last"] or 0),
        step=int(found["step"] or 1),
        limit=int(found["limit"] or 0),
    )


def _read_table() -> Iterator[tuple[str, tuple[KeySpec, ...]]]:
    for line in _TABLE.strip().splitlines():
        specs, _, names = line.partition(": ")
        parsed = tuple(_parse(spec) for spec in specs.split(";"))
        for name in names.split():
            yield name, parsed


KEY_SPECS: Final = dict(_read_table())


# What specifications cannot say: it depends on the other arguments.


_READ: Final = use_of(KeyFlag.RO | KeyFlag.ACCESS)
_OVERWRITTEN: Final = use_of(KeyFlag.OW | KeyFlag.UPDATE)
_CHANGED: Final = use_of(KeyFlag.RW | KeyFlag.ACCESS | KeyFlag.UPDATE)


def _of_set(request: list[bytes]) -> Use:
    shows = len(request) > 3 and any(word.upper() == b"GET" for word in request[3:])
    return _CHANGED if shows else _OVERWRITTEN


_BITFIELD_WORDS: Final = {b"GET": 2, b"OVERFLOW": 1}


def _of_bitfield(request: list[bytes]) -> Use:
    at = 2
    while at < len(request):
        words = _BITFIELD_WORDS.get(request[at].upper())
        if words is None or at + words >= len(request):
            return _CHANGED
        at += 1 + words
    return _READ


VARIABLE: Final[dict[str, Callable[[list[bytes]], Use]]] = {"set": _of_set, "bitfield": _of_bitfield}
"""What happens to the only key."""


class Uses:
    """The keys of one command's requests, as its specifications have them."""

    __slots__ = ("_of_only_key", "_of_others", "_specs", "only_key", "specs")

    def __init__(self, name: str, *, is_write: bool) -> None:
        self.specs = KEY_SPECS.get(name, ())
        self._of_only_key = VARIABLE.get(name)
        self._of_others = _OVERWRITTEN if is_write else _READ
        self._specs = [
            (spec, use_of(spec.flags)) for spec in self.specs if not (spec.is_unknown or spec.flags & KeyFlag.NOT_KEY)
        ]
        self.only_key: tuple[int, int, int] | None = None
        """Where the only key stands and what is needed of it, if that is the same in all requests of up to so many
        arguments: so it is for most commands."""
        if name == "set":
            self.only_key = (1, WRITES, 3)
        elif len(self.specs) == 1 and self.specs[0].is_one_key and self._of_only_key is None:
            self.only_key = (self.specs[0].index, self._specs[0][1].needs, UNBOUNDED)

    def touches(self, request: list[bytes], found: list[int] | None) -> list[Touch]:
        """What happens to which keys of a request. found: the positions that the command itself computes, if it does:
        those that no specification names are taken to be written by a command that writes. No key is left out."""
        if self._of_only_key is not None:
            at = self.specs[0].index
            return [(self._of_only_key(request), (at,))] if at < len(request) else []
        touches: list[Touch] = []
        for spec, use in self._specs:
            positions = spec.positions(request)
            if positions is None:
                touches = []
                break
            touches.append((use, positions))
        if found is not None:
            named = {position for _, positions in touches for position in positions}
            fixed = {spec.index: use for spec, use in self._specs if spec.is_one_key}
            touches += [(fixed.get(at, self._of_others), (at,)) for at in found if at not in named]
        return touches
