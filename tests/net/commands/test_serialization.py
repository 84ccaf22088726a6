"""DUMP and RESTORE: both ways with a real Redis, options and errors in their order, slices, what is too large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import GeneratorType

import pytest

import flin.objects.limits
from flin.net.wire.replies import last_of
from flin.rdb import dump
from flin.rdb.value import Group, Hash, List, Pending, Set, SortedSet, Stream, String, Value
from tests.net.commands.handling import START_MS, Handling
from tests.net.redis_server import running_redis
from tests.rdb.server import JudgingClient, in_order
from tests.rdb.test_redis import LARGE, SMALL, SPREAD, STREAMS
from tests.rdb.values import ALL, sealed

OK = b"+OK\r\n"
BUSY = "-BUSYKEY Target key name already exists."
BAD_FOOTER = "-ERR DUMP payload version or checksum are wrong"
BAD_FORMAT = "-ERR Bad data format"
SYNTAX = "-ERR syntax error"
NO_INTEGER = "-ERR value is not an integer or out of range"
OUT_OF_MEMORY = "-OOM command not allowed when used memory > 'maxmemory'."
KEY = b"key"
TYPES = (String, Hash, List, Set, SortedSet)


@pytest.fixture(params=["packed", "spread"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Handling:
    if request.param == "spread":
        monkeypatch.setattr(flin.objects.limits, "MAX_PACKED_ELEMENTS", 2)
    return Handling()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JudgingClient]:
    with running_redis(tmp_path_factory.mktemp("redis")) as port, JudgingClient(port) as found:
        found.ask(b"CONFIG", b"SET", b"sanitize-dump-payload", b"yes")
        yield found


def value(server: Handling, key: bytes = KEY) -> Value:
    """The key's value, as its commands say."""
    kind = server.call(b"TYPE", key)
    if kind == b"+hash\r\n":
        return Hash(server.call(b"HGETALL", key))
    if kind == b"+list\r\n":
        return List(server.call(b"LRANGE", key, b"0", b"-1"))
    if kind == b"+zset\r\n":
        members = server.call(b"ZRANGE", key, b"0", b"-1")
        return SortedSet({member: float(server.call(b"ZSCORE", key, member)) for member in members})
    if kind == b"+set\r\n":
        return Set(set(server.call(b"SMEMBERS", key)))
    assert kind == b"+string\r\n"
    return String(server.call(b"GET", key))


def there_and_back(server: Handling, redis: JudgingClient, payload: bytes, expected: Value) -> None:
    """A payload gives this value here, and so does the payload that is made of it, in Redis."""
    assert server.call(b"RESTORE", KEY, b"0", payload, b"REPLACE") == OK
    assert value(server) == expected
    assert redis.maybe_error(KEY, server.call(b"DUMP", KEY)) is None
    assert in_order(redis.value(KEY)) == expected
    assert server.call(b"TTL", KEY) == -1


SAID = [
    *(("small", name) for name in SMALL),
    *(("large", name) for name in LARGE),
    *(("other", name) for name in SMALL),
]


@pytest.mark.parametrize(("kind", "name"), SAID)
def test_what_redis_wrote(server: Handling, redis: JudgingClient, kind: str, name: str) -> None:
    redis.ask(b"DEL", KEY)
    for option, text in SPREAD.items() if kind == "other" else ():
        redis.ask(b"CONFIG", b"SET", option, text)
    for request in (LARGE if kind == "large" else SMALL)[name]:
        redis.ask(*request)
    payload, said = redis.dump(KEY), redis.value(KEY)
    if isinstance(said, TYPES):
        there_and_back(server, redis, payload, said)


@pytest.mark.parametrize("name", ALL)
def test_every_form(server: Handling, redis: JudgingClient, name: str) -> None:
    data, said = ALL[name]
    if isinstance(said, TYPES):
        there_and_back(server, redis, sealed(data), said)


def since_1970(value: Value) -> Value:
    """A sample has a consumer that was seen before 1970. No DUMP writes that; here it is 1970."""
    assert isinstance(value, Stream)
    groups = [
        replace(group, consumers={name: max(0, seen_ms) for name, seen_ms in group.consumers.items()})
        for group in value.groups
    ]
    return replace(value, groups=groups)


def test_numbers_beyond_what_is_kept(server: Handling) -> None:
    pending = [Pending((1, 1), b"c", -5, 1 << 40)]
    value = Stream([], (1, 1), (1, 1), 1, [Group(b"g", (1, 1), 1, {b"c": -(1 << 63)}, pending)])
    assert server.call(b"RESTORE", KEY, b"0", dump.encode(value)) == OK
    said = server.call(b"XPENDING", KEY, b"g", b"-", b"+", b"10")
    assert said[0][1] == b"c"
    assert said[0][3] == (1 << 32) - 1


@pytest.mark.parametrize("name", [*STREAMS, *(name for name, (_, said) in ALL.items() if isinstance(said, Stream))])
def test_streams(server: Handling, redis: JudgingClient, name: str) -> None:
    """With groups, consumers and what is pending: Redis finds in Flin's payload what Flin was given."""
    redis.ask(b"DEL", KEY)
    if name in STREAMS:
        for request in STREAMS[name]:
            redis.ask(*request)
    else:
        assert redis.maybe_error(KEY, sealed(ALL[name][0])) is None
    said = since_1970(in_order(redis.value(KEY)))
    assert server.call(b"RESTORE", KEY, b"0", redis.dump(KEY)) == OK
    assert redis.maybe_error(KEY, server.call(b"DUMP", KEY)) is None
    assert in_order(redis.value(KEY)) == said


@pytest.mark.parametrize("is_sliced", [False, True])
def test_a_large_collection(
    server: Handling, redis: JudgingClient, monkeypatch: pytest.MonkeyPatch, is_sliced: bool
) -> None:
    if is_sliced:
        monkeypatch.setattr(flin.objects.limits, "SLICED", 100)
        monkeypatch.setattr(flin.objects.limits, "MAX_WHOLE", 100)
    members = [b"member %d" % number for number in range(20_000)]
    server.call(b"SADD", KEY, *members)
    slices = server.handle(b"DUMP", KEY)
    assert isinstance(slices, GeneratorType)
    next(slices)
    server.call(b"SREM", KEY, *members[:1000])  # between two slices: what is written is the state at the beginning
    payload = last_of(slices)
    assert redis.maybe_error(KEY, payload) is None
    assert redis.value(KEY) == Set(set(members))
    assert server.call(b"RESTORE", b"copy", b"0", payload) == OK
    assert server.call(b"SCARD", b"copy") == len(members)


def test_nothing_to_dump(server: Handling) -> None:
    assert server.call(b"DUMP", KEY) is None


HELLO = dump.encode(String(b"hello"))
HASH = dump.encode(Hash({b"a": b"1", b"b": b"2", b"c": b"3"}))


def test_times(server: Handling) -> None:
    for ttl, words, expected in (
        (b"0", [], -1),
        (b"1500", [], START_MS + 1500),
        (b"%d" % (START_MS + 9), [b"ABSTTL"], START_MS + 9),
        (b"0", [b"absttl"], -1),
        (b"1", [b"IDLETIME", b"5", b"Replace", b"idletime", b"0"], START_MS + 1),
        (b"1", [b"FREQ", b"255", b"FREQ", b"0"], START_MS + 1),
    ):
        for payload in (HELLO, HASH):
            assert server.call(b"RESTORE", KEY, ttl, payload, b"REPLACE", *words) == OK
            assert server.call(b"PEXPIRETIME", KEY) == expected


@pytest.mark.parametrize("payload", [HELLO, HASH])
def test_a_time_that_has_passed(server: Handling, payload: bytes) -> None:
    assert server.call(b"RESTORE", KEY, b"1", payload, b"ABSTTL") == OK
    assert server.call(b"EXISTS", KEY) == 0
    server.call(b"HSET", KEY, *b"abcdef".hex().encode().split(b"!"), b"x")
    assert server.call(b"RESTORE", KEY, b"%d" % START_MS, payload, b"ABSTTL", b"REPLACE") == OK
    assert server.call(b"EXISTS", KEY) == 0


def test_errors_in_their_order(server: Handling) -> None:
    server.call(b"SET", KEY, b"v")
    for words, error in (
        ([KEY, b"x", b"", b"FOO"], SYNTAX),
        ([KEY, b"x", b"", b"IDLETIME"], SYNTAX),
        ([KEY, b"x", b"", b"FREQ"], SYNTAX),
        ([KEY, b"x", b"", b"FREQ", b"1", b"IDLETIME", b"1"], SYNTAX),
        ([KEY, b"x", b"", b"IDLETIME", b"1", b"FREQ", b"1"], SYNTAX),
        ([KEY, b"x", b"", b"IDLETIME", b"x", b"FOO"], NO_INTEGER),
        ([KEY, b"x", b"", b"IDLETIME", b"-1"], "-ERR Invalid IDLETIME value, must be >= 0"),
        ([KEY, b"x", b"", b"FREQ", b"256"], "-ERR Invalid FREQ value, must be >= 0 and <= 255"),
        ([KEY, b"x", b""], BUSY),
        ([b"new", b"x", b""], NO_INTEGER),
        ([KEY, b"-1", b"", b"REPLACE"], "-ERR Invalid TTL value, must be >= 0"),
        ([b"new", b"9223372036854775807", HELLO], "-ERR invalid expire time in 'restore' command"),
        ([b"new", b"0", b""], BAD_FOOTER),
        ([b"new", b"0", b"short"], BAD_FOOTER),
        ([b"new", b"0", HELLO[:-1] + b"x"], BAD_FOOTER),
        ([b"new", b"0", sealed(b"\x00\x05hell")], BAD_FORMAT),
        ([b"new", b"0", sealed(b"\x04\x02\x01a\x01b\x01a\x01c")], BAD_FORMAT),
        ([b"new", b"0", sealed(b"\x63\x01a")], BAD_FORMAT),
    ):
        assert server.call(b"RESTORE", *words) == error, words
    assert server.call(b"GET", KEY) == b"v"
    assert server.call(b"DBSIZE") == 1


def test_over_another_type(server: Handling) -> None:
    server.call(b"SADD", KEY, b"a", b"b", b"c", b"d")
    assert server.call(b"RESTORE", KEY, b"0", HASH, b"REPLACE") == OK
    assert server.call(b"HGETALL", KEY) == {b"a": b"1", b"b": b"2", b"c": b"3"}
    assert server.call(b"RESTORE", KEY, b"0", HELLO, b"REPLACE") == OK
    assert server.call(b"GET", KEY) == b"hello"


def test_a_key_that_comes_between_the_slices(server: Handling) -> None:
    payload = dump.encode(String(bytes(300_000)))
    slices = server.handle(b"RESTORE", KEY, b"0", payload)
    next(slices)
    server.call(b"SET", KEY, b"mine")
    with pytest.raises(Exception, match="BUSYKEY"):
        last_of(slices)
    assert server.call(b"GET", KEY) == b"mine"


def test_too_large(server: Handling) -> None:
    """A quarter of the memory is the limit; nothing has changed."""
    object.__setattr__(server.services.config.options, "memory_limit", 4 * 15_000)
    server.call(b"SADD", KEY, b"a")
    for name, data in {
        "members": b"\x02\x41\x00" + b"".join(b"\x02%c%c" % divmod(number, 200) for number in range(256)),
        "compressed": b"\x00\xc3\x03\x80" + (15_001).to_bytes(4, "big") + b"\x00a\x20",
        "a string": b"\x00\x80" + (15_001).to_bytes(4, "big") + bytes(15_001),
    }.items():
        assert server.call(b"RESTORE", KEY, b"0", sealed(data), b"REPLACE") == OUT_OF_MEMORY, name
        assert server.call(b"RESTORE", b"new", b"0", sealed(data)) == OUT_OF_MEMORY, name
    assert server.call(b"SMEMBERS", KEY) == [b"a"]
    assert server.call(b"DBSIZE") == 1
    server.put(b"long", bytes(15_000))
    assert server.call(b"DUMP", b"long") == OUT_OF_MEMORY
