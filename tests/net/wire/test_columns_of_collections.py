"""Pipelines of one command over collections: as columns they answer and store what they do one by one."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, cast

import pytest

import flin.net.commands.every  # noqa: F401 - declares them
from flin.net.command.registry import find, with_subcommands
from flin.net.run.services import make_services
from flin.net.serve.acceptor import accept
from flin.net.serve.connection import Connection
from flin.net.serve.dispatch import Caller, run_columns
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from flin.net.wire import requests as requests_module
from flin.net.wire.columns import Column
from flin.net.wire.resp import encode_requests
from flin.objects import limits
from flin.objects.layout import elements_prefix
from flin.objects.list_position import INDEX_BYTES
from tests.net.fake_store import FakeStore
from tests.net.wire.test_columns import Loop, Transport

KEYS = [b"h1", b"h2", b"s1", b"s2", b"l1", b"z1", b"c1", b"c2", b"k1"]
"""By the type that each has most often; now and then another one."""

ELEMENTS = [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"10", b"11", b"12", b"\xff\xff", b"\r\n", b""]
NUMBERS = [b"1", b"7", b"0", b"5", b"-1", b"-5", b"10", b"01", b"+1", b"xy", b"9223372036854775807", b""]
SCORES = [*[b"1", b"7", b"0", b"5"] * 2, b"-1", b"-0", b"10", b"1.5", b"2e1", b"inf", b"nan", b"-inf", b"+inf", b"1e-9"]
VALUES = [b"1", b"5", b"x", b"", b"12", b"-3", b"7" * 19, b"v" * 70, b"w" * 700, b"9223372036854775807"]

FORMS = {
    b"HSET": (b"h", ELEMENTS, VALUES),
    b"HGET": (b"h", ELEMENTS),
    b"HINCRBY": (b"c", ELEMENTS, NUMBERS),
    b"SADD": (b"s", ELEMENTS),
    b"SISMEMBER": (b"s", ELEMENTS),
    b"RPUSH": (b"l", VALUES),
    b"LPUSH": (b"l", VALUES),
    b"LPOP": (b"l",),
    b"RPOP": (b"l",),
    b"ZADD": (b"z", SCORES, ELEMENTS),
    b"ZINCRBY": (b"z", SCORES, ELEMENTS),
    b"ZSCORE": (b"z", ELEMENTS),
}
"""Commands by the keys and arguments that they take."""

RARE = [*[b"DEL"] * 8, b"EXPIRE", b"EXPIRE", b"PERSIST", b"SET", b"WATCH", b"MULTI", b"HELLO", b"SELECT", b"HGETALL"]
RARE += [b"SMEMBERS", b"HDEL", b"SREM", b"FLUSHALL", *[b"EXEC"] * 4]


class Scene:
    """Four connections to a server; time passes when told. The third one also waits for keys, the last one looks."""

    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000
        self.store = FakeStore(clock=lambda: self.now_ms)
        self.loop = Loop()
        self.services = make_services(self.store, Config(ServerOptions(databases=2)), self.loop.call_soon)
        self.transports = [Transport() for _ in range(4)]
        loop: Any = self.loop
        self.connections = [accept(self.services, loop, loop, cast(Any, transport)) for transport in self.transports]

    def play(self, round_: list[tuple[int, bytes]]) -> Any:
        """Run the chunks in one round. All that can be told of it."""
        commands = list(with_subcommands())
        before = [command.calls for command in commands]
        for number, data in round_:
            self.connections[number].data_received(data)
        self.loop.run()
        for keyspace in self.services.databases.keyspaces:
            keyspace.objects._check()
        calls = {one.name: one.calls - earlier for one, earlier in zip(commands, before, strict=True)}
        counts = [(keyspace.hits, keyspace.misses) for keyspace in self.services.databases.keyspaces]
        return [one.sent for one in self.transports], len(self.store.entries), self.store.commits, calls, counts


def pipeline(source: random.Random, name: bytes) -> list[list[bytes]]:
    """Requests of one command, most of them for one key and with arguments of one length."""
    letter, *arguments = FORMS[name]
    keys = [key for key in KEYS if key[:1] == letter]
    keys = [source.choice(keys if source.random() < 0.9 else KEYS)] if source.random() < 0.8 else KEYS
    columns: list[list[bytes]] = []
    for all_of_them in cast("list[list[bytes]]", arguments):
        length = len(source.choice(all_of_them))
        alike = [one for one in all_of_them if len(one) == length] if source.random() < 0.9 else all_of_them
        columns.append([source.choice(alike)] if source.random() < 0.3 else alike)
    number = source.choice((1, 2, 4, 5, 8, 16))
    return [[name, source.choice(keys), *map(source.choice, columns)] for _ in range(number)]


def rare(source: random.Random) -> list[bytes]:
    name, key = source.choice(RARE), source.choice(KEYS)
    more: dict[bytes, list[bytes]] = {
        b"EXPIRE": [key, source.choice((b"1", b"2", b"100", b"-1"))],
        b"SET": [key, b"1"],
        b"HELLO": [source.choice((b"2", b"3"))],
        b"SELECT": [source.choice((b"0", b"0", b"1"))],
        b"HDEL": [key, *source.sample(ELEMENTS, 5)],
        b"SREM": [key, *source.sample(ELEMENTS, 5)],
        b"MULTI": [],
        b"EXEC": [],
        b"FLUSHALL": [],
    }
    return [name, *more.get(name, [key])]


def waiting(source: random.Random) -> list[bytes]:
    """Served soon: while anybody waits, writes run one by one."""
    return source.choice(([b"BLPOP", b"l1", b"0"], [b"BZPOPMIN", b"z1", b"0"]))


def round_of(source: random.Random) -> list[tuple[int, bytes]]:
    names = source.choices(list(FORMS), k=2)  # the second pipeline of a kind is looked at as columns
    numbers = [number for number in (0, 1, 0, 1, 0, 1) if source.random() < 0.7]
    chunks = [(number, encode_requests(pipeline(source, names[number]))) for number in numbers]
    if source.random() < 0.3:
        chunks.insert(source.randrange(len(chunks) + 1), (source.randrange(2), encode_requests([rare(source)])))
    if source.random() < 0.03:
        chunks.append((2, encode_requests([waiting(source)])))
    if source.random() < 0.3:
        look = [words for key in KEYS for words in ([b"DUMP", key], [b"PTTL", key])]
        chunks.append((3, encode_requests(look)))
    return chunks


def _is_list_piece(key: bytes) -> bool:
    """Where one lies depends on when its list became spread: perhaps earlier, where requests run one by one."""
    return len(key) == len(elements_prefix(0, 0, 0)) + INDEX_BYTES and key[-INDEX_BYTES] in (0x7F, 0x80)


def test_these_pipelines_reach_the_batch_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    run: Counter[bytes] = Counter()
    left: Counter[bytes] = Counter()

    def counted(caller: Caller, name: bytes, columns: list[Column]) -> int:
        done = run_columns(caller, name, columns)
        run[name] += done
        left[name] += len(columns[0]) - done
        return done

    monkeypatch.setattr(Connection, "_run_columns", staticmethod(counted))
    scene, source = Scene(), random.Random(0)
    for _ in range(600):
        scene.play(round_of(source))
    for name in FORMS:
        command = find(name)
        assert command is not None
        assert command.batch is None or (min(run[name], left[name]) > 25), (name, run[name], left[name])


@pytest.mark.parametrize(("packed", "whole"), [(64, 16384), (3, 16384), (3, 0)], ids=["packed", "whole", "spread"])
@pytest.mark.parametrize("seed", range(5))
def test_they_do_what_the_requests_do_one_by_one(
    packed: int, whole: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", packed)
    monkeypatch.setattr(limits, "MAX_WHOLE", whole)
    source = random.Random(seed)
    fast, plain = Scene(), Scene()
    for _ in range(60):
        played = round_of(source)
        cold = [key for key in sorted(plain.store.entries) if source.random() < 0.05 and not _is_list_piece(key)]
        passed_ms = source.choice((0, 1, 500, 1000))
        for scene in (fast, plain):
            scene.store.make_cold(*cold)
            scene.now_ms += passed_ms
        seen = fast.play(played)
        with monkeypatch.context() as one_by_one:
            one_by_one.setattr(requests_module, "maybe_columns", lambda data, most: None)
            one_by_one.setattr(requests_module, "maybe_single", lambda data: None)
            assert seen == plain.play(played)
