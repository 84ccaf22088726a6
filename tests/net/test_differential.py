"""Flin against a real Redis: byte-equal replies to random requests, and the table of differences, which stays true."""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import flin.engine
from flin.net.command.registry import all_commands, with_subcommands
from flin.net.commands import bitmaps
from flin.net.data import text
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from flin.net.settings.parameter import same_text
from flin.net.settings.redis_parameters import without_effect
from flin.objects import limits as sizes
from flin.objects import long_string, stream, stream_tail
from tests.net.bit_generator import PLAIN_BITS
from tests.net.differential import MIN_OF_EACH, Pair, agree, counts, focused, schedule, shortened
from tests.net.fake_store import FakeStore, OftenColdStore
from tests.net.generator import OPTIONS, PLAIN, TRANSACTIONS, Kind, Request
from tests.net.geo_generator import PLAIN_GEO
from tests.net.hash_generator import PLAIN_HASHES
from tests.net.hyperloglog_generator import PLAIN_HYPERLOGLOGS
from tests.net.key_generator import PLAIN_KEYS
from tests.net.list_generator import PLAIN_LISTS
from tests.net.raw_client import Raw, RawClient
from tests.net.serving import ServerThread
from tests.net.set_generator import PLAIN_SETS
from tests.net.sorted_set_generator import PLAIN_SORTED_SETS
from tests.net.stream_generator import PLAIN_STREAMS
from tests.rdb.values import sealed

DOCUMENT = Path(__file__).parents[2] / "docs" / "redis-differences.md"

REQUESTS = 8_000  # of each slow run of one type
HASH_REQUESTS = 3_000
HYPERLOGLOG_REQUESTS = 1_200
LIST_REQUESTS = 3_000
SET_REQUESTS = 2_400
TEXT_REQUESTS = 3_600
GEO_REQUESTS = 1_200
SORTED_SET_REQUESTS = 4_800
STREAM_REQUESTS = 4_200
KEY_REQUESTS = 1_800
SEEDS = range(int(os.environ.get("FLIN_DIFFERENTIAL_SEEDS", "1")))
"""Of the slow runs, which have minutes: more are a command in docs/redis-differences.md."""

SEED = 20_261_120  # any number: a run can be repeated, and the slow runs take others

NOT_GENERATED = {
    "quit": "it closes the connection: test_quit",
    "pfselftest": "it takes Redis half a second: tests/net/commands/test_hyperloglogs.py",
    **{
        found.name: "sequences of several clients: tests/net/test_pubsub_differential.py"
        for found in with_subcommands()
        if found.group == "pubsub"
    },
    **{
        found.name: "sequences about users: tests/net/test_acl_differential.py"
        for found in with_subcommands()
        if found.name.startswith("acl|")
    },
    **{
        found.name: "its lines are in tests/net/test_administration_beside_redis.py"
        for found in with_subcommands()
        if found.handler.__module__.rpartition(".")[2]
        in ("cluster", "debug", "latency", "lolwut", "persistence", "replication")
        or found.name in ("memory|doctor", "memory|malloc-stats", "memory|purge", "memory|stats")
        or (found.name in ("latency|help", "module|help"))
    },
    **{
        found.name: "scripts of their own: tests/net/test_scripts_differential.py"
        for found in with_subcommands()
        if found.group == "scripting" and not found.name.endswith("|flush")
    },
    **{found.name: "Redis has no such command" for found in with_subcommands() if found.group == "flin"},
    "config|rewrite": "it writes a file: tests/net/settings/test_rewriting.py",
    "monitor": "its connection gets lines from then on: tests/net/test_scenes.py",
    "shutdown": "it ends the server: its errors are in test_errors_of_shutdown",
    "client|setinfo": "Redis 7.0 does not know it: see the table of differences",
    "client|no-touch": "Redis 7.0 does not know it: see the table of differences",
}
"""The commands that the generator leaves out, and why."""


@pytest.fixture(scope="module", params=["cold", "engine"])
def flin_port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server over a dict, one over a dict that seems to be on a disk, and one over the engine."""
    if request.param != "engine":
        with ServerThread(OftenColdStore() if request.param == "cold" else FakeStore()) as server:
            yield server.port
        return
    with (
        flin.engine.open(str(tmp_path_factory.mktemp("flin") / "db"), runner="inline") as engine,
        ServerThread(engine._store) as server,
    ):
        yield server.port


def test_every_command_is_generated() -> None:
    declared = set()
    for command in all_commands():
        if command.subcommands is None:
            declared.add(command.name)
        else:
            declared.update(sub.name for sub in command.subcommands.values())
    made = {*PLAIN, *TRANSACTIONS}
    assert declared == made | NOT_GENERATED.keys()
    assert not made & NOT_GENERATED.keys()


def test_every_command_is_generated_often_enough() -> None:
    """By the two runs of `test_random_requests` together; by each of the slow ones."""
    made: Counter[tuple[str, Kind]] = Counter()
    for protocol in (2, 3):
        made += counts(schedule(SEED + protocol, MIN_OF_EACH // 2 + 5, protocol))
    for name in PLAIN:
        assert made[name, "plain"] >= MIN_OF_EACH, name
        assert made[name, "wrong"] >= MIN_OF_EACH, name
    for name in OPTIONS:
        assert made[name, "options"] >= MIN_OF_EACH, name
    for name in TRANSACTIONS:
        assert made[name, "plain"] >= MIN_OF_EACH, name
        assert made[name, "wrong"] >= MIN_OF_EACH, name


@pytest.mark.parametrize(("flin_port", "protocol"), [("cold", 2), ("engine", 3)], indirect=["flin_port"])
def test_random_requests(flin_port: int, redis_port: int, protocol: int) -> None:
    """The other stores and protocols are among the slow runs."""
    _compare(flin_port, redis_port, protocol, SEED + protocol, MIN_OF_EACH // 2 + 5)


@pytest.mark.slow
@pytest.mark.parametrize("flin_port", ["memory", "cold", "engine"], indirect=True)
@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("seed", SEEDS)
def test_more_random_requests(flin_port: int, redis_port: int, protocol: int, seed: int) -> None:
    _compare(flin_port, redis_port, protocol, seed, MIN_OF_EACH + 10)


def _compare(flin_port: int, redis_port: int, protocol: int, seed: int, each: int) -> None:
    with Pair(flin_port, redis_port, protocol) as pair:
        found = list(pair.differences(schedule(seed, each, protocol)))
        assert min(pair.ends[end] for end in ("run", "touched", "aborted")) >= each // 2, pair.ends
    assert not found, f"{len(found)} replies differ, seed {seed}:\n" + "\n".join(found[:10])


# Hashes alone, with the commands that change keys of any type.

BESIDE_HASHES = ["del", "unlink", "expire", "persist", "ttl", "rename", "copy", "move", "swapdb", "flushdb", "set",
                 "getdel", "mset", "object|encoding", "scan", "keys", "dbsize"]  # fmt: skip
HASH_NAMES = [*PLAIN_HASHES, *PLAIN_HASHES, *BESIDE_HASHES]

AS_THEY_ARE = sizes.MAX_PACKED_ELEMENTS, sizes.MAX_WHOLE, sizes.SLICED
LIMITS = [(4, 7, AS_THEY_ARE[2]), (4, AS_THEY_ARE[1], 6), AS_THEY_ARE]
"""Elements of a packed hash or set, of a spread one that is kept whole, and of one whose replies go in slices."""


@pytest.fixture
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(("MAX_PACKED_ELEMENTS", "MAX_WHOLE", "SLICED"), request.param, strict=True):
        monkeypatch.setattr(sizes, name, value)


@pytest.mark.parametrize(
    ("limits", "flin_port", "protocol"),
    [(LIMITS[0], "cold", 3), (LIMITS[1], "engine", 2), (LIMITS[2], "engine", 3)],
    indirect=["limits", "flin_port"],
)
def test_hashes(flin_port: int, redis_port: int, protocol: int, limits: None) -> None:
    requests = list(focused(HASH_NAMES, SEED, HASH_REQUESTS, protocol))
    made = Counter(request.name for request in requests)
    assert min(made[name] for name in PLAIN_HASHES) >= MIN_OF_EACH
    _compare_all(flin_port, redis_port, protocol, requests)


@pytest.mark.slow
@pytest.mark.parametrize(("flin_port", "protocol"), [("cold", 2), ("engine", 3)], indirect=["flin_port"])
@pytest.mark.parametrize("limits", LIMITS, indirect=True)
@pytest.mark.parametrize("seed", SEEDS)
def test_more_hashes(flin_port: int, redis_port: int, protocol: int, limits: None, seed: int) -> None:
    _compare_all(flin_port, redis_port, protocol, list(focused(HASH_NAMES, seed, REQUESTS, protocol)))


def _compare_all(flin_port: int, redis_port: int, protocol: int, requests: list[Request]) -> None:
    with Pair(flin_port, redis_port, protocol) as pair:
        found = list(pair.differences(requests))
    assert not found, f"{len(found)} of {len(requests)} replies differ:\n" + "\n".join(found[:10])


@pytest.mark.parametrize(("flin_port", "protocol"), [("cold", 3), ("engine", 2)], indirect=["flin_port"])
def test_hyperloglogs(flin_port: int, redis_port: int, protocol: int) -> None:
    """GET among them: the strings have the same bytes, the cached counts too."""
    requests = list(focused([*PLAIN_HYPERLOGLOGS], SEED, HYPERLOGLOG_REQUESTS, protocol))
    with Pair(flin_port, redis_port, protocol) as pair:
        found = list(pair.differences(requests))
    made = Counter(request.name for request in requests)
    assert min(made[name] for name in PLAIN_HYPERLOGLOGS) >= HYPERLOGLOG_REQUESTS // 20
    assert not found, f"{len(found)} of {len(requests)} replies differ:\n" + "\n".join(found[:10])


@pytest.mark.parametrize(
    "change",
    [
        "PFADD h",
        "PFADD h a",
        "PFADD h c",
        "PFCOUNT h",
        "PFCOUNT h h",
        "PFCOUNT h i",
        "PFMERGE h",
        "PFMERGE i h",
        "PFMERGE h i",
        "PFDEBUG ENCODING h",
        "PFDEBUG DECODE h",
    ],
)
def test_what_touches_a_watched_hyperloglog(clients: tuple[RawClient, RawClient], change: str) -> None:
    """So does a count that is kept in it. The connection's own writes touch, too."""
    words = [word.encode() for word in change.split()]
    requests = [[b"PFADD", b"h", b"a", b"b"], [b"PFADD", b"i", b"c"], [b"WATCH", b"h"], words, [b"MULTI"], [b"EXEC"]]
    requests += [[b"PFCOUNT", b"h"], [b"WATCH", b"h"], words, [b"MULTI"], [b"EXEC"], [b"GET", b"h"]]
    ours, theirs = (client.pipeline(requests) for client in clients)
    assert [reply.data for reply in ours] == [reply.data for reply in theirs]


TEXT_NAMES = [*PLAIN_BITS, *PLAIN_BITS, "append", "setrange", "getrange", "strlen", "get", "getset", "getdel", "getex",
              "mget", "set", "incr", "expire", "rename", "copy", "del"]  # fmt: skip


@pytest.fixture
def small_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A string of more than 4 bytes becomes an object when a part of it changes, of more than 24 chunks of 16."""
    monkeypatch.setattr(text, "MAX_PLAIN_BYTES", 4)
    monkeypatch.setattr(long_string, "MAX_WHOLE_BYTES", 24)
    for module in (long_string, bitmaps):
        monkeypatch.setattr(module, "CHUNK_BYTES", 16)
    monkeypatch.setattr(bitmaps, "_CHUNK_BITS", 8 * 16)


@pytest.mark.parametrize(("flin_port", "protocol"), [("cold", 3), ("engine", 2)], indirect=["flin_port"])
def test_texts(flin_port: int, redis_port: int, protocol: int, small_texts: None) -> None:
    requests = list(focused(TEXT_NAMES, SEED, TEXT_REQUESTS, protocol))
    made = Counter(request.name for request in requests)
    assert min(made[name] for name in TEXT_NAMES) >= MIN_OF_EACH
    _compare_all(flin_port, redis_port, protocol, requests)


@pytest.mark.slow
@pytest.mark.parametrize(("flin_port", "protocol"), [("cold", 2), ("engine", 3)], indirect=["flin_port"])
@pytest.mark.parametrize("seed", SEEDS)
def test_more_texts(flin_port: int, redis_port: int, protocol: int, small_texts: None, seed: int) -> None:
    _compare_all(flin_port, redis_port, protocol, list(focused(TEXT_NAMES, seed, REQUESTS, protocol)))


GEO_NAMES = [*PLAIN_GEO, *PLAIN_GEO, "del"]


@pytest.mark.parametrize(
    ("limits", "flin_port", "protocol"),
    [(LIMITS[0], "cold", 2), (LIMITS[1], "engine", 3), (LIMITS[2], "engine", 2)],
    indirect=["limits", "flin_port"],
)
def test_geo(flin_port: int, redis_port: int, protocol: int, limits: None) -> None:
    requests = list(focused(GEO_NAMES, SEED, GEO_REQUESTS, protocol))
    made = Counter(request.name for request in requests)
    assert min(made[name] for name in PLAIN_GEO) >= MIN_OF_EACH
    _compare_all(flin_port, redis_port, protocol, requests)


@pytest.mark.slow
@pytest.mark.parametrize(("flin_port", "protocol"), [("cold", 2), ("engine", 3)], indirect=["flin_port"])
@pytest.mark.parametrize("limits", LIMITS, indirect=True)
@pytest.mark.parametrize("seed", SEEDS)
def test_more_geo(flin_port: int, redis_port: int, protocol: int, limits: None, seed: int) -> None:
    _compare_all(flin_port, redis_port, protocol, list(focused(GEO_NAMES, seed, REQUESTS, protocol)))


LIST_NAMES = [*PLAIN_LISTS, *PLAIN_LISTS, "del", "expire", "copy", "rename", "object|encoding", "dbsize"]


@pytest.mark.parametrize(
    ("limits", "flin_port", "protocol"),
    [(LIMITS[0], "cold", 3), (LIMITS[1], "engine", 2), (LIMITS[2], "engine", 3)],
    indirect=["limits", "flin_port"],
)
def test_lists(flin_port: int, redis_port: int, protocol: int, limits: None) -> None:
    requests = list(focused(LIST_NAMES, SEED, LIST_REQUESTS, protocol))
    made = Counter(request.name for request in requests)
    assert min(made[name] for name in PLAIN_LISTS) >= MIN_OF_EACH
    _compare_all(flin_port, redis_port, protocol, requests)


@pytest.mark.slow
@pytest.mark.parametrize(("flin_port", "protocol"), [("cold", 2), ("engine", 3)], indirect=["flin_port"])
@pytest.mark.parametrize("limits", LIMITS, indirect=True)
@pytest.mark.parametrize("seed", SEEDS)
def test_more_lists(flin_port: int, redis_port: int, protocol: int, limits: None, seed: int) -> None:
    _compare_all(flin_port, redis_port, protocol, list(focused(LIST_NAMES, seed, REQUESTS, protocol)))


SET_NAMES = [*PLAIN_SETS, *PLAIN_SETS, "del", "expire", "object|encoding", "scan", "dbsize"]


@pytest.mark.parametrize(
    ("limits", "flin_port", "protocol"),
    [(LIMITS[0], "cold", 2), (LIMITS[1], "engine", 3), (LIMITS[2], "engine", 2)],
    indirect=["limits", "flin_port"],
)
def test_sets(flin_port: int, redis_port: int, protocol: int, limits: None) -> None:
    requests = list(focused(SET_NAMES, SEED, SET_REQUESTS, protocol))
    made = Counter(request.name for request in requests)
    assert min(made[name] for name in PLAIN_SETS) >= MIN_OF_EACH
    _compare_all(flin_port, redis_port, protocol, requests)


@pytest.mark.slow
@pytest.mark.parametrize(("flin_port", "protocol"), [("cold", 2), ("engine", 3)], indirect=["flin_port"])
@pytest.mark.parametrize("limits", LIMITS, indirect=True)
@pytest.mark.parametrize("seed", SEEDS)
def test_more_sets(flin_port: int, redis_port: int, protocol: int, limits: None, seed: int) -> None:
    _compare_all(flin_port, redis_port, protocol, list(focused(SET_NAMES, seed, REQUESTS, protocol)))


BESIDE_SORTED_SETS = ["del", "expire", "copy", "rename", "object|encoding", "sadd"]
SORTED_SET_NAMES = [*PLAIN_SORTED_SETS, *PLAIN_SORTED_SETS, *BESIDE_SORTED_SETS]


@pytest.mark.parametrize(
    ("limits", "flin_port", "protocol"),
    [(LIMITS[0], "cold", 3), (LIMITS[1], "engine", 2), (LIMITS[2], "engine", 3)],
    indirect=["limits", "flin_port"],
)
def test_sorted_sets(flin_port: int, redis_port: int, protocol: int, limits: None) -> None:
    requests = list(focused(SORTED_SET_NAMES, SEED, SORTED_SET_REQUESTS, protocol))
    made = Counter(request.name for request in requests)
    assert min(made[name] for name in PLAIN_SORTED_SETS) >= MIN_OF_EACH
    _compare_all(flin_port, redis_port, protocol, requests)


@pytest.mark.slow
@pytest.mark.parametrize(("flin_port", "protocol"), [("cold", 2), ("engine", 3)], indirect=["flin_port"])
@pytest.mark.parametrize("limits", LIMITS, indirect=True)
@pytest.mark.parametrize("seed", SEEDS)
def test_more_sorted_sets(flin_port: int, redis_port: int, protocol: int, limits: None, seed: int) -> None:
    _compare_all(flin_port, redis_port, protocol, list(focused(SORTED_SET_NAMES, seed, REQUESTS, protocol)))


KEY_NAMES = [*PLAIN_KEYS, *PLAIN_KEYS, "copy", "move", "swapdb", "rename", "object|encoding",
             "expire", "rpush", "sadd", "hset", "set"]  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "flin_port", "protocol"),
    [(LIMITS[0], "cold", 2), (LIMITS[1], "engine", 3), (LIMITS[2], "engine", 2)],
    indirect=["limits", "flin_port"],
)
def test_keys_of_all_types(flin_port: int, redis_port: int, protocol: int, limits: None) -> None:
    requests = list(focused(KEY_NAMES, SEED, KEY_REQUESTS, protocol))
    made = Counter(request.name for request in requests)
    assert min(made[name] for name in PLAIN_KEYS) >= MIN_OF_EACH
    _compare_all(flin_port, redis_port, protocol, requests)


@pytest.mark.slow
@pytest.mark.parametrize(("flin_port", "protocol"), [("cold", 2), ("engine", 3)], indirect=["flin_port"])
@pytest.mark.parametrize("limits", LIMITS, indirect=True)
@pytest.mark.parametrize("seed", SEEDS)
def test_more_keys_of_all_types(flin_port: int, redis_port: int, protocol: int, limits: None, seed: int) -> None:
    _compare_all(flin_port, redis_port, protocol, list(focused(KEY_NAMES, seed, REQUESTS, protocol)))


STREAM_NAMES = [*PLAIN_STREAMS, *PLAIN_STREAMS, "del", "expire", "copy", "rename", "object|encoding", "dbsize"]


@pytest.fixture
def stream_limits(limits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few elements in a packed stream, few are read at once, too, and few stay in memory."""
    if AS_THEY_ARE[0] != sizes.MAX_PACKED_ELEMENTS:
        monkeypatch.setattr(sizes, "PAGE", 5)
        monkeypatch.setattr(stream, "READ_AHEAD", 3)
        monkeypatch.setattr(stream_tail, "MAX_HELD", 2)


@pytest.mark.parametrize(
    ("limits", "flin_port", "protocol"),
    [(LIMITS[0], "cold", 2), (LIMITS[1], "engine", 3), (LIMITS[2], "engine", 2)],
    indirect=["limits", "flin_port"],
)
def test_streams(flin_port: int, redis_port: int, protocol: int, stream_limits: None) -> None:
    requests = list(focused(STREAM_NAMES, SEED, STREAM_REQUESTS, protocol))
    made = Counter(request.name for request in requests)
    assert min(made[name] for name in PLAIN_STREAMS) >= MIN_OF_EACH
    _compare_all(flin_port, redis_port, protocol, requests)


@pytest.mark.slow
@pytest.mark.parametrize(("flin_port", "protocol"), [("cold", 2), ("engine", 3)], indirect=["flin_port"])
@pytest.mark.parametrize("limits", LIMITS, indirect=True)
@pytest.mark.parametrize("seed", SEEDS)
def test_more_streams(flin_port: int, redis_port: int, protocol: int, stream_limits: None, seed: int) -> None:
    _compare_all(flin_port, redis_port, protocol, list(focused(STREAM_NAMES, seed, REQUESTS, protocol)))


@pytest.fixture
def clients(request: pytest.FixtureRequest, flin_port: int, redis_port: int) -> Iterator[tuple[RawClient, RawClient]]:
    """One connection each to Flin and Redis, both empty; RESP2 where the store is cold, else RESP3."""
    protocol = {"cold": 2, "engine": 3}[request.node.callspec.params["flin_port"]]
    with RawClient(flin_port) as flin, RawClient(redis_port) as redis:
        for client in (flin, redis):
            client.call(b"HELLO", b"%d" % protocol)
            client.call(b"FLUSHALL")
        yield flin, redis


def test_expiry_as_time_passes(clients: tuple[RawClient, RawClient]) -> None:
    """Half of the keys have certainly expired when they are read, the others certainly not."""
    short, long = b"50", b"100000000"
    sets = [[b"SET", b"k%d" % number, b"v", b"PX", short if number % 2 else long] for number in range(40)]
    names = [b"GET", b"EXISTS", b"TYPE", b"STRLEN", b"PERSIST", b"INCR", b"APPEND", b"GETDEL", b"SETNX", b"COPY"]
    more = {b"APPEND": [b"x"], b"SETNX": [b"x"], b"COPY": [b"copied"]}
    reads = [[names[number // 4], b"k%d" % number, *more.get(names[number // 4], [])] for number in range(40)]
    for client in clients:
        assert all(reply.data == b"+OK\r\n" for reply in client.pipeline(sets))
    time.sleep(0.3)
    ours, theirs = (client.pipeline(reads) for client in clients)
    assert [reply.data for reply in ours] == [reply.data for reply in theirs]


def test_a_watched_key_that_expires(clients: tuple[RawClient, RawClient]) -> None:
    before = [[b"SET", b"k", b"v", b"PX", b"50"], [b"WATCH", b"k", b"other"], [b"EXISTS", b"k"]]
    after = [[b"MULTI"], [b"SET", b"k", b"w"], [b"EXEC"], [b"GET", b"k"]]
    for client in clients:
        while client.pipeline(before)[-1].data == b":0\r\n":  # on a busy machine it may expire before it is watched
            client.call(b"UNWATCH")
    time.sleep(0.3)
    ours, theirs = (client.pipeline(after) for client in clients)
    assert [reply.data for reply in ours] == [reply.data for reply in theirs]
    assert ours[-2].is_null


def test_whole_scans(clients: tuple[RawClient, RawClient]) -> None:
    """Cursors and order differ; the keys that a whole scan finds do not."""
    source = random.Random(SEED)
    keys = [b"%s:%d" % (source.choice([b"a", b"b", b"c"]), number) for number in range(1000)]
    for client in clients:
        client.pipeline([[b"SET", key, b"v"] for key in keys])
    for options in (
        [],
        [b"COUNT", b"7"],
        [b"MATCH", b"a:*"],
        [b"MATCH", b"*9", b"COUNT", b"100"],
        [b"TYPE", b"string"],
    ):
        ours, theirs = (_whole_scan(client, options) for client in clients)
        assert ours == theirs
        assert ours


def _whole_scan(client: RawClient, options: list[bytes], *walk: bytes) -> set[bytes]:
    found: set[bytes] = set()
    cursor = b"0"
    while True:
        reply = client.call(*(walk or [b"SCAN"]), cursor, *options)
        cursor = reply.items[0].payload
        found.update(item.data for item in reply.items[1].items)
        if cursor == b"0":
            return found


@pytest.mark.parametrize("limits", LIMITS, indirect=True)
def test_whole_scans_of_hashes(clients: tuple[RawClient, RawClient], limits: None) -> None:
    """As `test_whole_scans`, for a hash that is large for both servers."""
    source = random.Random(SEED)
    pairs = {b"%s:%d" % (source.choice([b"a", b"b"]), number): b"%d" % (number % 7) for number in range(1000)}
    for client in clients:
        client.call(b"HSET", b"h", *(word for pair in pairs.items() for word in pair))
    for options in ([], [b"COUNT", b"7"], [b"MATCH", b"a:*"], [b"COUNT", b"600", b"MATCH", b"*9"]):
        ours, theirs = (_whole_scan(client, options, b"HSCAN", b"h") for client in clients)
        assert ours == theirs
        assert ours


def test_random_patterns(clients: tuple[RawClient, RawClient]) -> None:
    source = random.Random(SEED)
    letters = [b"a", b"b", b"c", b"\x00", b"\x80", b"\xff", b"-", b"]", b"^", b"[", b"\\"]
    keys = {
        b"".join(source.choices(letters, [9, 9, 5, 1, 1, 1, 1, 1, 1, 1, 1], k=source.randrange(7))) for _ in range(300)
    }
    parts = [*letters, b"*", b"**", b"?", b"[a-c]", b"[^a]", b"[^", b"[ab]", b"*a", b"\\a"]
    patterns = [b"".join(source.choices(parts, k=source.randrange(7))) for _ in range(2000)]
    for client in clients:
        client.pipeline([[b"SET", key, b"v"] for key in sorted(keys)])
    ours, theirs = (client.pipeline([[b"KEYS", pattern] for pattern in patterns]) for client in clients)
    for pattern, one, other in zip(patterns, ours, theirs, strict=True):
        assert sorted(one.items) == sorted(other.items), pattern


def test_random_floats(clients: tuple[RawClient, RawClient]) -> None:
    source = random.Random(SEED)
    requests = []
    for _ in range(3000):
        requests += [[b"SET", b"k", _number(source)], [b"INCRBYFLOAT", b"k", _number(source)]]
    ours, theirs = (client.pipeline(requests) for client in clients)
    for index in range(1, len(requests), 2):
        words = requests[index - 1][2], requests[index][2]
        assert ours[index].data == theirs[index].data, (words, shortened(ours[index].data))


def _number(source: random.Random) -> bytes:
    def digits(most: int) -> bytes:
        return b"%d" % source.randrange(10 ** source.randint(1, most))

    sign = source.choice([b"", b"", b"-", b"+"])
    form = source.randrange(6)
    if form == 0:
        return sign + digits(22)
    if form == 1:
        return sign + digits(20) + b"." + digits(25)
    if form == 2:
        return sign + b"." + b"0" * source.randrange(8) + digits(8)
    if form == 3:
        return sign + digits(20) + b"e%d" % source.randint(-60, 60)
    if form == 4:
        return sign + digits(3) + b"." + digits(5) + b"E%d" % source.randint(-5000, 5000)
    return sign + b"0x%x.%xp%d" % (source.getrandbits(80), source.getrandbits(30), source.randint(-200, 200))


def test_parameters_without_effect(clients: tuple[RawClient, RawClient]) -> None:
    """Their values are Redis's defaults, and setting these answers what Redis answers."""
    parameters = dict(without_effect())
    requests = [[b"CONFIG", b"GET", name] for name in parameters]
    requests += [[b"CONFIG", b"SET", name, parameter.show(_CONFIG)] for name, parameter in parameters.items()]
    requests += [
        [b"CONFIG", b"SET", name, b"bogus"]
        for name, parameter in parameters.items()
        if parameter.parse is not same_text
    ]
    ours, theirs = (client.pipeline(requests) for client in clients)
    for words, one, other in zip(requests, ours, theirs, strict=True):
        assert one.data == other.data, words


_CONFIG = Config(ServerOptions())


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("words", [[b"QUIT"], [b"quit", b"a"]])
def test_quit(flin_port: int, redis_port: int, protocol: int, words: list[bytes]) -> None:
    """Inside a transaction and outside; nothing after it runs."""
    for number in range(MIN_OF_EACH):
        replies = []
        for port in (flin_port, redis_port):
            with RawClient(port) as client:
                client.call(b"HELLO", b"%d" % protocol)
                before = [[b"MULTI"]] * (number % 2)
                client.send([*before, words, [b"PING"]])
                replies.append([client.read().data for _ in [*before, words]])
                assert client.at_end()
        assert replies[0] == replies[1]


def test_errors_of_shutdown(clients: tuple[RawClient, RawClient]) -> None:
    """Only errors: a plain one would end the server."""
    wrong = [[b"FOO"], [b"SAVE", b"NOSAVE"], [b"nosave", b"save"], [b"ABORT", b"NOW"], [b"ABORT"], [b""]]
    requests = [[b"SHUTDOWN", *words] for words in wrong] * 10
    ours, theirs = (client.pipeline(requests) for client in clients)
    assert [reply.data for reply in ours] == [reply.data for reply in theirs]
    assert all(reply.is_error for reply in ours)


def test_corners_of_bits(clients: tuple[RawClient, RawClient]) -> None:
    """Limits of numbers, types and ranges, in all combinations."""
    numbers = [b"0", b"-1", b"255", b"9223372036854775807", b"-9223372036854775808", b"-9223372036854775000"]
    requests = []
    for type_ in (b"u1", b"u8", b"u63", b"i1", b"i8", b"i32", b"i63", b"i64"):
        for overflow in (b"WRAP", b"SAT", b"FAIL"):
            for number in numbers:
                requests += [
                    [b"DEL", b"k"],
                    [b"BITFIELD", b"k", b"OVERFLOW", overflow, b"SET", type_, b"#1", number],
                    [b"BITFIELD", b"k", b"OVERFLOW", overflow, b"INCRBY", type_, b"#1", number, b"GET", type_, b"#1"],
                    [b"GET", b"k"],
                ]
    edges = [b"-17", b"-16", b"-9", b"-8", b"-1", b"0", b"7", b"8", b"15", b"16", b"17"]
    for value in (b"", b"\x00", b"\xff", b"\x0f\xf0", b"\xff\xff", b"\x00\x01"):
        requests += [[b"SET", b"k", value], [b"BITPOS", b"k", b"0"], [b"BITPOS", b"k", b"1"], [b"BITCOUNT", b"k"]]
        for first in edges:
            requests += [[b"BITPOS", b"k", bit, first] for bit in (b"0", b"1")]
            for last in edges:
                for unit in ([], [b"BIT"], [b"byte"]):
                    requests.append([b"BITCOUNT", b"k", first, last, *unit])
                    requests += [[b"BITPOS", b"k", bit, first, last, *unit] for bit in (b"0", b"1")]
    ours, theirs = (client.pipeline(requests) for client in clients)
    for words, one, other in zip(requests, ours, theirs, strict=True):
        assert one.data == other.data, words


def test_inline_requests(clients: tuple[RawClient, RawClient]) -> None:
    lines = [
        b"PING",
        b"  set  k  v ",
        b'SET k "a b\\x41\\n"',
        b"GET k",
        b"GET 'k'",
        b"EXISTS k k",
        b"ECHO",
        b"NOSUCH a",
    ]
    for client in clients:
        client.send_raw(b"".join(line + b"\r\n" for line in [b"", *lines]))
    ours, theirs = ([client.read().data for _ in lines] for client in clients)
    assert ours == theirs


# The table of differences, with requests that show each one: the last reply differs, and only because of it.

_MANY_FIELDS = [b"%d" % number for number in range(2000)]  # 1,000 fields: both servers have left their packed forms

_CUT_OFF = b"HYLL\x01\0\0\0" + bytes(8) + (0x4000 | 15_999).to_bytes(2, "big")  # runs of 16,000 registers

PROBES: dict[str, list[list[bytes]]] = {
    "key-order": [[b"SET", b"%d" % number, b"v"] for number in range(50)] + [[b"KEYS", b"*"]],
    "scan-cursor": [[b"SET", b"%d" % number, b"v"] for number in range(50)] + [[b"SCAN", b"0"]],
    "field-order": [[b"HSET", b"h", *_MANY_FIELDS], [b"HKEYS", b"h"]],
    "hscan-cursor": [[b"HSET", b"h", *_MANY_FIELDS], [b"HSCAN", b"h", b"0"]],
    "member-order": [[b"SADD", b"s", *_MANY_FIELDS], [b"SMEMBERS", b"s"]],
    "sscan-cursor": [[b"SADD", b"s", *_MANY_FIELDS], [b"SSCAN", b"s", b"0"]],
    "zscan-cursor": [[b"ZADD", b"z", *_MANY_FIELDS], [b"ZSCAN", b"z", b"0"]],
    "negative-zero": [[b"ZADD", b"z", b"1", b"m" * 65, b"-0", b"a"], [b"ZSCORE", b"z", b"a"]],
    "object-history": [[b"SET", b"k", b"a"], [b"APPEND", b"k", b"b"], [b"OBJECT", b"ENCODING", b"k"]],
    # One transaction, so that no sweep comes in between.
    "expired-count": [[b"MULTI"], [b"SET", b"k", b"v", b"PXAT", b"1"], [b"GET", b"k"], [b"DBSIZE"], [b"EXEC"]],
    "option-nul": [[b"SET", b"k", b"v", b"NX\x00abc"]],
    "long-option": [[b"EXPIRE", b"k", b"1", b"x" * 200]],
    "getkeys-number": [[b"COMMAND", b"GETKEYS", b"ZUNION", b"1.5", b"a", b"b"]],
    "acl-pattern": [[b"ACL", b"SETUSER", b"probe", b"reset", b"%RW~*"], [b"ACL", b"GETUSER", b"probe"]],
    "acl-store": [
        [b"ACL", b"SETUSER", b"probe", b"reset", b"+@all", b"~k", b"~a"],
        [b"ACL", b"DRYRUN", b"probe", *b"GEORADIUS k 0 0 1 m STORE a STORE b".split()],
    ],
    "acl-text": [
        [
            b"ACL",
            b"SETUSER",
            b"probe",
            b"reset",
            *(b"+" + name for name in b"get set del incr hget ping type ttl mget zadd sadd lpop".split()),
        ],
        [b"ACL", b"GETUSER", b"probe"],
    ],
    "script-debug": [[b"SCRIPT", b"DEBUG", b"YES"]],
    "help-text": [[b"CONFIG", b"HELP"]],
    "client-setinfo": [[b"CLIENT", b"SETINFO", b"LIB-NAME", b"x"]],
    "client-no-touch": [[b"CLIENT", b"NO-TOUCH", b"on"]],
    "command-docs": [[b"COMMAND", b"DOCS", b"get"]],
    "config-names": [[b"CONFIG", b"SET", b"tcp-keepalive", b"301"]],
    "swapdb-zero": [[b"SWAPDB", b"0", b"1"]],
    "hyperloglog-damage": [[b"SET", b"k", _CUT_OFF], [b"PFADD", b"k", b"a"]],
    "pfdebug-watch": [
        [b"PFADD", b"k", b"a"],
        [b"WATCH", b"k"],
        [b"PFDEBUG", b"TODENSE", b"k"],
        [b"MULTI"],
        [b"EXEC"],
    ],
    "dump-form": [[b"HSET", b"h", b"a", b"1"], [b"DUMP", b"h"]],
    "restore-checks": [[b"RESTORE", b"z", b"0", sealed(b"\x01\x01\x01abehind")]],
    "restore-ttl": [[b"RESTORE", b"k", b"%d" % (2**63 - 1), sealed(b"\x00\x01a")]],
    "sort-alpha": [[b"RPUSH", b"l", b"a\0b", b"a\0a"], [b"SORT", b"l", b"ALPHA"]],
    "sort-range": [
        [b"RPUSH", b"l", b"1e999"],
        [b"SORT", b"l"],
        [b"DEL", b"l"],
        [b"RPUSH", b"l", b"1.5"],
        [b"SORT", b"l"],
    ],
    "sort-encoding": [
        [b"ZADD", b"z", b"1", b"a"],
        [b"SORT", b"z", b"ALPHA"],
        [b"OBJECT", b"ENCODING", b"z"],
    ],
    "lpos-rank": [[b"RPUSH", b"l", b"a"], [b"LPOS", b"l", b"a", b"RANK", b"-9223372036854775808"]],
    "stream-nodes": [
        *([b"XADD", b"x", b"%d-1" % (number + 1), b"a", b"v" * 1000] for number in range(50)),
        [b"XINFO", b"STREAM", b"x"],
    ],
    "approximate-trim": [
        *([b"XADD", b"x", b"%d-1" % (number + 1), b"a", b"1"] for number in range(150)),
        [b"XDEL", b"x", *(b"%d-1" % (number + 1) for number in range(50))],
        [b"XTRIM", b"x", b"MAXLEN", b"~", b"50"],
    ],
    "group-watch": [
        [b"XADD", b"x", b"1-1", b"a", b"1"],
        [b"WATCH", b"x"],
        [b"XGROUP", b"CREATE", b"x", b"g", b"0"],
        [b"MULTI"],
        [b"EXEC"],
    ],
    "group-name": [[b"XGROUP", b"CREATE", b"x", b"g" * 65_536, b"0", b"MKSTREAM"]],
    "exec-message": [
        [b"MULTI"],
        [b"SUBSCRIBE", b"c"],
        [b"PUBLISH", b"c", b"told"],
        [b"EXEC"],
    ],
    "glob-budget": [[b"KEYS", b"[ab]" * 300]],
}

NOT_PROBED = {
    "info-keys": "it takes a flush over older tables: tests/net/test_counting.py",
    "monitor-cut": "tests/net/messages/test_monitor.py has Flin's lines",
    "tracking-tick": "tests/net/messages/test_tracking.py has Flin's order",
    "tracking-scripts": "tests/net/messages/test_tracking.py has what Flin enters",
    "tracking-swapdb": "nothing comes from Redis; tests/net/messages/test_tracking.py has Flin's message",
    "script-kill": "redis-server would have to be killed; tests/net/serve/test_long_scripts.py has Flin's side",
    "script-busy": "redis-server would be busy for seconds; tests/net/serve/test_long_scripts.py has Flin's side",
    "script-limits": "it would take Redis seconds; tests/net/scripting/test_script_run.py has Flin's side",
    "script-cache": "it takes 501 scripts; tests/net/scripting/test_scripts.py has Flin's side",
    "silence-in-exec": "Redis's reply there is no whole reply; tests/net/serve/test_silence.py has Flin's",
    "silent-quit": "nothing comes from Redis; tests/net/serve/test_silence.py has Flin's end",
    "unblock-paused": "redis-server 7.0.15 crashes; tests/net/serve/test_pause.py has Flin's reply",
    "object-idletime": "it would have to wait for whole seconds",
    "acl-log-length": "it takes another user: tests/net/commands/test_acl.py",
    "acl-requirepass": "it is about the start: tests/net/access/test_acl_file.py",
    "mixed-scores": "what a skiplist answers depends on the random heights of its nodes",
}


@pytest.mark.parametrize("name", PROBES)
def test_differences_are_still_there(clients: tuple[RawClient, RawClient], name: str) -> None:
    ours, theirs = (client.pipeline(PROBES[name])[-1] for client in clients)
    assert ours.data != theirs.data


def test_the_document_lists_the_differences() -> None:
    heading, *rows = re.findall(r"^\| ([a-z-]+) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert heading == "difference"
    assert sorted(rows) == sorted([*PROBES, *NOT_PROBED])


def test_a_reply_is_compared_by_its_bytes() -> None:
    """The comparison itself: `+OK` and a bulk `OK` are not the same."""
    same = Request("get", [b"GET", b"k"])
    assert agree(same, Raw(b"+", b"+OK\r\n"), Raw(b"+", b"+OK\r\n"))
    assert not agree(same, Raw(b"+", b"+OK\r\n"), Raw(b"$", b"$2\r\nOK\r\n"))
    near = Request("ttl", [b"TTL", b"k"], "near")
    assert agree(near, Raw(b":", b":100000\r\n"), Raw(b":", b":99999\r\n"))
    assert not agree(near, Raw(b":", b":-1\r\n"), Raw(b":", b":99999\r\n"))
    assert not agree(near, Raw(b":", b":-1\r\n"), Raw(b":", b":-2\r\n"))
