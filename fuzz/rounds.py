"""Fuzzing the rounds: what many connections send at once is run together (flin/net/serve/round.py).

Invariant: each connection gets the replies that it gets where nothing is put aside, byte for byte, and its writes, the
counters and the errors are those. Every connection has keys of its own, so that no order matters. The same holds of a
client that is the only one to speak, where its requests go their short way (flin/net/serve/short_way.py).

An input is the draws of a scene: rounds in which each of some clients sends chunks of bytes. Most send the same
requests, each with its own keys; some are cut within a request, spoilt, or of their own; now and then the store is
cold, or refuses the batch. Some scenes take place on a node of a cluster, where half of the slots are elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from flin.errors import StorageError
from flin.net.cluster.slots import slot_of
from flin.net.cluster.topology import Node, Topology
from flin.net.command.registry import with_subcommands
from flin.net.run import tick
from flin.net.serve import round as rounds
from flin.net.wire.resp import encode_requests
from fuzz.byte_source import ByteSource
from tests.net.fake_peer import Clients

CLIENTS: Final = 7
MOST_ROUNDS: Final = 8
KEYS: Final = (b"a", b"b", b"list", b"hash", b"set", b"sorted", b"stream", b"a%db", b"long" * 8, b"new\r\nline")
KEYS_OF_A_CLUSTER: Final = (b"a", b"b", b"list", b"{b}a", b"{b}b", b"{a}a", b"{a}b", b"{", b"{}a")
"""The tag b is in the first half of the slots, a in the second."""

HALF_OF_A_CLUSTER: Final = Topology(
    (Node("a" * 40, "", 7000, 0, 8191), Node("b" * 40, "elsewhere", 7001, 8192, 16383)), own=0
)

Chunks: TypeAlias = list[bytes]
"""What one client sends in a round."""

Round: TypeAlias = tuple[list[Chunks], tuple[bytes, ...], bool]
"""What each client sends, which keys (without their client's number) are cold, and whether the batch is refused."""

_KEY: Final = b"\0"
"""Stands for a key in a request that several clients send."""

_NO_ROOM: Final = StorageError("write", "wal", "no space left on device")

_SCRIPT: Final = b"return redis.call('incr', KEYS[1])"
_TEXTS: Final = (
    *(b"", b"0", b"1", b"7", b"-1", b"x", b"%d", b"%", b"\r\n", b"*2\r\n$3\r\nGET\r\n", b"$1\r\nk\r\n", b"12345678"),
    *(b"v" * 30, b"w" * 1025, b"9223372036854775807", b"1.5", b"*", b"2\r\n"),
)
_SHAPES: Final = (
    *("GET k", "GET k", "get k", "gEt k", "SET k t", "SET k t", "SET k t", "SET k t EX 100", "SET k t NX", "INCR k"),
    *("DECR k", "INCRBY k t", "MGET k", "MGET k k", "MGET k k k", "MSET k t", "MSET k t k t", "MSET k t k", "DEL k"),
    *("DEL k k", "EXISTS k", "EXISTS k k", "EXPIRE k 100", "EXPIRE k t", "TTL k", "PERSIST k", "APPEND k t", "TYPE k"),
    *("SETNX k t", "GETSET k t", "GETDEL k", "GETEX k", "GETEX k PERSIST", "STRLEN k", "SETEX k 10 t", "SETEX k t t"),
    *("HSET k t t", "HSET k t t", "HSET k t t t t", "HSET k t", "HGET k t", "HMGET k t t", "HDEL k t", "HINCRBY k t t"),
    *("LPUSH k t", "RPUSH k t t", "LPOP k", "RPOP k", "LPOP k 2", "LLEN k", "LPUSHX k t", "SADD k t", "SADD k t t"),
    *("SREM k t", "SISMEMBER k t", "SCARD k", "SMOVE k k t", "ZADD k 1 t", "ZADD k t t", "ZADD k NX 1 t", "ZSCORE k t"),
    *("ZINCRBY k 1 t", "ZPOPMIN k", "ZCARD k", "XADD k * t t", "XADD k 5-* t t", "XLEN k", "RENAMENX k k", "MOVE k 1"),
    *("GETRANGE k 0 5", "SETRANGE k 3 t", "HGETALL k", "LRANGE k 0 -1", "SMEMBERS k", "ZRANGE k 0 -1", "GETBIT k 3"),
    *("GET", "GET k k", "SET k", "HGET k", "NOTHING k", "PING", "PING t", "ECHO t", "PUBLISH k t", "SELECT 0"),
    *("SELECT 1", "SELECT t", "MULTI", "EXEC", "DISCARD", "WATCH k", "UNWATCH", "HELLO 2", "HELLO 3", "RESET", "QUIT"),
    *("CLIENT REPLY OFF", "CLIENT REPLY ON", "CLIENT REPLY SKIP", "SUBSCRIBE k", "UNSUBSCRIBE", "CLIENT TRACKING ON"),
    *("CLIENT TRACKING OFF", "BLPOP k 0", "EVAL s 1 k", "EVAL s 1 k", "EVAL t 0"),
)


class Failure(Exception):
    """The invariant does not hold."""


def one_input(data: bytes) -> None:
    source = ByteSource(data)
    in_cluster = source.random() > 0.7
    check(random_scene(source, in_cluster=in_cluster), in_cluster=in_cluster)


def check(scene: list[Round], *, in_cluster: bool = False) -> None:
    """Raise Failure if somebody can tell that requests ran together."""
    topology = HALF_OF_A_CLUSTER if in_cluster else None
    with _set(CROWD=0, CACHED_BYTES=1, FEWEST=4 if len(scene) % 2 else CLIENTS):  # in two groups, or in one
        together = _played(scene, topology)
    with _set(CROWD=1 << 30):
        alone = _played(scene, topology)
    if in_cluster:
        foreign = [key for key in alone["entries"] if key < b"\xff" and slot_of(key) >= 8192]
        if foreign:
            raise Failure(f"a node has keys that are elsewhere: {foreign!r}")
    _compare(together, alone)
    silent: list[Chunks] = [[] for _ in range(CLIENTS - 1)]
    only: list[Round] = [([[chunk], *silent], cold, refused) for sent, cold, refused in scene for chunk in sent[0]]
    with _set(LONE_TICKS=1):
        shortly = _played(only, topology)
    with _set(LONE_TICKS=1 << 30):
        _compare(shortly, _played(only, topology))


def _compare(played: dict[str, Any], plainly: dict[str, Any]) -> None:
    for what, found in played.items():
        if found != plainly[what]:
            raise Failure(f"{what}: {found!r} instead of {plainly[what]!r}")


@contextmanager
def _set(**constants: int) -> Iterator[None]:
    """Of the tick or of the round."""
    modules = {name: tick if hasattr(tick, name) else rounds for name in constants}
    before = {name: getattr(module, name) for name, module in modules.items()}
    for name, value in constants.items():
        setattr(modules[name], name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(modules[name], name, value)


def _played(scene: list[Round], topology: Topology | None) -> dict[str, Any]:
    """All that can be told from outside."""
    for command in with_subcommands():
        command.reset_counters()
    clients = Clients(databases=2, topology=topology)
    peers = [clients.connect() for _ in range(CLIENTS)]
    peers[0].ask(b"PING")  # the round before
    played: dict[str, Any] = {}
    for number, (sent, cold, is_refused) in enumerate(scene):
        clients.store.failure = _NO_ROOM if is_refused else None
        clients.store.make_cold(*[b"%d:%b" % (client, key) for client in range(CLIENTS) for key in cold])
        for client, chunks in enumerate(sent):
            for chunk in chunks:
                if not peers[client].is_closed:
                    peers[client].connection.data_received(chunk)
        clients.loop.run()
        for client, peer in enumerate(peers):
            played[f"round {number}, client {client}"] = sent[client], peer.read_all(), peer.is_closed
    clients.store.failure = None
    clients.loop.run()
    played["entries"] = dict(clients.store.entries)
    counters = clients.services.counters
    names = ("input_bytes", "output_bytes", "protocol_errors", "internal_errors", "errors")
    played |= {name: getattr(counters, name) for name in names}
    played["calls"] = {
        command.name: (command.calls, command.failed_calls, command.rejected_calls) for command in with_subcommands()
    }
    spaces = clients.services.databases.keyspaces
    played["look-ups"] = [(space.hits + space.hot.hits, space.misses) for space in spaces]
    played["clients"] = [
        (session.last_command, session.database, session.protocol, len(session.remarks))
        for session in clients.services.clients.sessions.values()
    ]
    return played


def random_scene(source: random.Random, *, in_cluster: bool = False) -> list[Round]:
    keys = KEYS_OF_A_CLUSTER if in_cluster else KEYS
    scene: list[Round] = []
    kept = [b""] * CLIENTS
    for _ in range(source.randrange(1, MOST_ROUNDS + 1)):
        common = [_shape(source, keys) for _ in range(source.choice((1, 1, 1, 2, 4, 6)))]
        if source.random() > 0.6:
            common = common[:1] * len(common)
        sent: list[Chunks] = []
        for client in range(CLIENTS):
            requests = common
            if source.random() > 0.8:
                requests = [_shape(source, keys) for _ in range(source.choice((1, 1, 2, 3)))]
            if source.random() > 0.9:
                sent.append([])
                continue
            wire = kept[client] + _spoilt(
                source, encode_requests([_filled(source, each, client, keys) for each in requests])
            )
            kept[client] = b""
            chunks = [wire]
            if source.random() > 0.85:
                at = source.randrange(len(wire) + 1)
                if source.random() > 0.7:
                    chunks = [wire[:at], wire[at:]]
                else:
                    chunks, kept[client] = [wire[:at]], wire[at:]
            sent.append([chunk for chunk in chunks if chunk])
        cold = tuple(key for key in keys if source.random() > 0.95)
        scene.append((sent, cold, source.random() > 0.88))
    return scene


def _shape(source: random.Random, keys: tuple[bytes, ...]) -> list[bytes]:
    """A request whose keys are still to be filled in."""
    words = source.choice(_SHAPES).split()
    is_alike = source.random() <= 0.5
    return [words[0].encode(), *(_word(source, word, keys if is_alike else ()) for word in words[1:])]


def _word(source: random.Random, word: str, keys: tuple[bytes, ...]) -> bytes:
    if word == "k":
        return _KEY + (source.choice(keys) if keys else b"")
    if word == "t":
        return source.choice(_TEXTS)
    return _SCRIPT if word == "s" else word.encode()


def _filled(source: random.Random, shape: list[bytes], client: int, keys: tuple[bytes, ...]) -> list[bytes]:
    return [b"%d:%b" % (client, word[1:] or source.choice(keys)) if word[:1] == _KEY else word for word in shape]


def _spoilt(source: random.Random, wire: bytes) -> bytes:
    if source.random() <= 0.94:
        return wire
    at = source.randrange(len(wire))
    put = source.choice((b"", b"*", b"$", b"1", b"3", b"\r\n", b"PING\r\n", b"*4\r\n$3\r\nSET\r\n$2\r\n", b"%"))
    return wire[:at] + put + wire[at + source.randrange(2) :]
