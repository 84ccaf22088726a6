"""A real Redis as the oracle: its dumps are read as the values that it shows, and it restores what Flin writes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from flin.errors import LimitError, PayloadError, PayloadFooterError
from flin.rdb import body, dump
from flin.rdb.value import Stream, Value
from tests.net.redis_server import running_redis
from tests.rdb.samples import MOST_BYTES
from tests.rdb.server import JudgingClient, in_order
from tests.rdb.test_body import BAD
from tests.rdb.test_stream import BAD_GROUPS, BAD_NODES, OLD_GROUPS, old_type
from tests.rdb.values import ALL, VALUES, damaged, random_payloads, sealed

KEY = b"key"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JudgingClient]:
    with running_redis(tmp_path_factory.mktemp("redis")) as port, JudgingClient(port) as found:
        found.ask(b"CONFIG", b"SET", b"sanitize-dump-payload", b"yes")
        yield found


@pytest.fixture(autouse=True)
def _empty(client: JudgingClient) -> None:
    client.ask(b"FLUSHALL")


# What Redis writes.

SMALL: dict[str, list[list[bytes]]] = {
    "string": [[b"SET", KEY, b"hello"]],
    "empty string": [[b"SET", KEY, b""]],
    "integer": [[b"SET", KEY, b"-70000"]],
    "compressed string": [[b"SET", KEY, b"hello world " * 50]],
    "long string": [[b"SET", KEY, bytes(range(256)) * 300]],
    "list": [[b"RPUSH", KEY, b"", b"a", b"1", b"-5000", b"9223372036854775807", b"x" * 70, b"y" * 5000]],
    "list with a plain node": [[b"RPUSH", KEY, b"a", bytes(9000), b"b"]],
    "set of integers": [[b"SADD", KEY, b"1", b"-5", b"300"]],
    "set of large integers": [[b"SADD", KEY, b"1", b"-9223372036854775808"]],
    "set": [[b"SADD", KEY, b"1", b"a", b"", b"x" * 100]],
    "sorted set": [[b"ZADD", KEY, b"1", b"a", b"-1.5", b"b", b"inf", b"", b"-inf", b"7", b"0.1", b"c", b"1e300", b"d"]],
    "hash": [[b"HSET", KEY, b"f", b"v", b"", b"7", b"g", b""]],
}
COMPRESSIBLE = [b"%d element %d " % (number, number) * 4 for number in range(600)]
LARGE: dict[str, list[list[bytes]]] = {
    "list": [[b"RPUSH", KEY, *COMPRESSIBLE]],
    "set": [[b"SADD", KEY, *COMPRESSIBLE]],
    "set of integers": [[b"SADD", KEY, *(b"%d" % number**3 for number in range(600))]],
    "sorted set": [[b"ZADD", KEY, *(part for n, member in enumerate(COMPRESSIBLE) for part in (b"%d.25" % n, member))]],
    "hash": [[b"HSET", KEY, *(part for member in COMPRESSIBLE for part in (member, member[:20]))]],
}
STREAMS: dict[str, list[list[bytes]]] = {
    "small": [[b"XADD", KEY, b"1-1", b"a", b"1"], [b"XADD", KEY, b"2-0", b"b", b"x", b"b", b"y"]],
    "emptied": [[b"XADD", KEY, b"5-1", b"a", b"1"], [b"XDEL", KEY, b"5-1"]],
    "made by a group": [[b"XGROUP", b"CREATE", KEY, b"g", b"$", b"MKSTREAM"]],
    "nodes": [[b"XADD", KEY, b"%d-%d" % (n // 3 + 1, n), b"a", b"%d" % n, b"b", b"x" * (n % 90)] for n in range(350)],
    "trimmed": [
        *([b"XADD", KEY, b"7-%d" % n, b"a" if n % 5 else b"c", b"%d" % n] for n in range(1, 250)),
        [b"XDEL", KEY, b"7-3", b"7-120"],
        [b"XTRIM", KEY, b"MAXLEN", b"=", b"133"],
        [b"XSETID", KEY, b"9-9", b"ENTRIESADDED", b"1000", b"MAXDELETEDID", b"8-0"],
    ],
    "groups": [
        *([b"XADD", KEY, b"7-%d" % n, b"a", b"%d" % n] for n in range(1, 20)),
        [b"XGROUP", b"CREATE", KEY, b"first", b"0"],
        [b"XGROUP", b"CREATE", KEY, b"middle", b"7-5"],
        [b"XGROUP", b"CREATE", KEY, b"told", b"7-6", b"ENTRIESREAD", b"6"],
        [b"XGROUP", b"CREATECONSUMER", KEY, b"first", b"idle"],
        [b"XREADGROUP", b"GROUP", b"first", b"one", b"COUNT", b"5", b"STREAMS", KEY, b">"],
        [b"XREADGROUP", b"GROUP", b"first", b"two", b"COUNT", b"4", b"STREAMS", KEY, b">"],
        [b"XREADGROUP", b"GROUP", b"middle", b"one", b"STREAMS", KEY, b">"],
        [b"XACK", KEY, b"first", b"7-2"],
        [b"XCLAIM", KEY, b"first", b"two", b"0", b"7-1", b"RETRYCOUNT", b"300"],
        [b"XDEL", KEY, b"7-4"],
    ],
}
SPREAD = {
    b"hash-max-listpack-entries": b"0",
    b"zset-max-listpack-entries": b"0",
    b"set-max-intset-entries": b"0",
    b"list-max-listpack-size": b"2",
    b"stream-node-max-entries": b"3",
    b"rdbcompression": b"no",
}
"""The other forms of small values."""


def agree(client: JudgingClient, requests: list[list[bytes]]) -> Value:
    """Check that a dump of Redis is the value that it shows, and that Redis restores the same from Flin's payload."""
    for request in requests:
        client.ask(*request)
    said = client.value(KEY)
    assert in_order(dump.decode(client.dump(KEY), MOST_BYTES)) == said
    assert client.maybe_error(b"again", dump.encode(said)) is None
    assert client.value(b"again") == said
    return said


@pytest.mark.parametrize("name", SMALL)
def test_small(client: JudgingClient, name: str) -> None:
    agree(client, SMALL[name])


@pytest.mark.parametrize("name", LARGE)
def test_large(client: JudgingClient, name: str) -> None:
    agree(client, LARGE[name])


@pytest.mark.parametrize("name", STREAMS)
def test_streams(client: JudgingClient, name: str) -> None:
    assert isinstance(agree(client, STREAMS[name]), Stream)


@pytest.mark.parametrize("name", [*(f"small {name}" for name in SMALL), *(f"stream {name}" for name in STREAMS)])
def test_other_forms(client: JudgingClient, name: str) -> None:
    kind, _, which = name.partition(" ")
    before = {option: client.ask(b"CONFIG", b"GET", option)[1] for option in SPREAD}
    for option, value in SPREAD.items():
        client.ask(b"CONFIG", b"SET", option, value)
    try:
        agree(client, (SMALL if kind == "small" else STREAMS)[which])
    finally:
        for option, value in before.items():
            client.ask(b"CONFIG", b"SET", option, value)


def test_every_form_that_redis_writes_is_among_these(client: JudgingClient) -> None:
    forms = set()
    for requests in [*SMALL.values(), *LARGE.values(), *STREAMS.values()]:
        client.ask(b"DEL", KEY)
        for request in requests:
            client.ask(*request)
        forms.add(client.dump(KEY)[0])
    assert forms == {0, 2, 4, 5, 11, 16, 17, 18, 19}


def test_the_same_bytes_for_a_string(client: JudgingClient) -> None:
    """Short ones: longer ones Redis compresses."""
    for text in (b"", b"a", b"hello", b"x" * 20, b"0", b"-1", b"007", b"-0", b"127", b"128", b"2147483648", b"1.5"):
        client.ask(b"SET", KEY, text)
        assert dump.encode(dump.decode(client.dump(KEY), MOST_BYTES)) == client.dump(KEY)


# What is written.


def test_any_value_is_restored(client: JudgingClient) -> None:
    @settings(max_examples=150, suppress_health_check=list(HealthCheck), database=None)
    @given(VALUES)
    def restored(value: Value) -> None:
        assert client.maybe_error(KEY, dump.encode(value)) is None
        assert client.value(KEY) == in_order(value)
        assert in_order(dump.decode(client.dump(KEY), MOST_BYTES)) == in_order(value)

    restored()


@pytest.mark.parametrize("name", ALL)
def test_every_form_is_read_as_redis_reads_it(client: JudgingClient, name: str) -> None:
    data, value = ALL[name]
    assert client.maybe_error(KEY, sealed(data)) is None
    assert client.value(KEY) == in_order(value)


def test_entries_read_in_the_older_type(client: JudgingClient) -> None:
    for entries, last, group_id, _ in OLD_GROUPS:
        data = b"\x0f" + old_type(entries, last, group_id)
        assert client.maybe_error(KEY, sealed(data)) is None
        assert client.value(KEY) == body.decode(data, MOST_BYTES)


# What is refused.

BODIES = {**BAD, **{name: b"\x13" + data for name, data in (*BAD_NODES.items(), *BAD_GROUPS.items())}}
FREED_TWICE = "pending of one twice"
"""Redis 7.0.15 refuses it, and frees one of its entries twice: it crashes, at once or many requests later. So it is not
sent: 400 times it was the only one of these payloads after which Redis crashed."""
READ_BY_REDIS = {
    "NaN, listpack",
    "a score that is none",
    "bytes behind",
    "count is text",
    "flag is text",
    "deleted, but not counted",
    "ID as before",
    "ID below",
    "no fields",
    "no fields of its own",
    "length",
    "last ID",
    "entries added",
    "0-0",
    "pending of two",
    "entries read",
}
"""Redis does not check these, and no DUMP writes them. As values they would be wrong: a score of 0 that was no
number, an XLEN that is not the number of entries, entries out of order."""


def test_what_redis_refuses_is_refused(client: JudgingClient) -> None:
    sent = BODIES.keys() - {FREED_TWICE}
    assert {name for name in sent if client.maybe_error(KEY, sealed(BODIES[name])) is None} == READ_BY_REDIS
    with pytest.raises(PayloadError):
        body.decode(BODIES[FREED_TWICE], MOST_BYTES)


def test_versions_and_checksums(client: JudgingClient) -> None:
    good = sealed(b"\x00\x01a")
    for payload in (sealed(b"\x00\x01a", 11), good[:-1] + b"\x00", good[:-1], b"", b"short"):
        with pytest.raises(PayloadFooterError):
            dump.decode(payload, MOST_BYTES)
        assert client.maybe_error(KEY, payload) == "ERR DUMP payload version or checksum are wrong"


STEP = 7
"""Every seventh damage takes a second; the slow test tries all."""


def judge(client: JudgingClient, payload: bytes) -> bool:
    """Check that a payload that Flin accepts gives the same value in Redis; so Flin refuses what Redis refuses."""
    try:
        value = dump.decode(payload, MOST_BYTES)
    except (PayloadError, LimitError):
        return False
    assert client.maybe_error(KEY, payload) is None, payload
    assert client.value(KEY) == in_order(value), payload
    return True


@pytest.mark.parametrize("name", ALL)
def test_damaged(client: JudgingClient, name: str) -> None:
    for data in damaged(ALL[name][0])[::STEP]:
        judge(client, sealed(data))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_all_damages(client: JudgingClient, name: str) -> None:
    for data in damaged(ALL[name][0]):
        judge(client, sealed(data))


SEED = 20_261_128


def test_random_payloads(client: JudgingClient) -> None:
    judge_random(client, SEED, 5_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_many_random_payloads(client: JudgingClient, seed: int) -> None:
    judge_random(client, seed, 60_000)


def judge_random(client: JudgingClient, seed: int, rounds: int) -> None:
    source = random.Random(seed)
    found = [judge(client, payload) for _ in range(rounds) for payload in random_payloads(source)]
    assert sum(found) > rounds / 10  # enough of them were values
