"""The fast paths of requests against the plain one: the same bytes, the same data, for random pipelines."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, cast

import pytest

import flin.net.commands.every  # noqa: F401 - declares them
from flin.engine.entry import TOMBSTONE, Entry, make_entry
from flin.net.batch.pending import BATCH_ENTRIES, SHORT_BYTES
from flin.net.command.command import MAX_UNTIMED_ARGUMENTS
from flin.net.command.registry import with_subcommands
from flin.net.commands.counters import _small_numbers
from flin.net.run import tick as tick_module
from flin.net.run.services import make_services
from flin.net.serve.acceptor import accept
from flin.net.serve.connection import TURN_COMMANDS
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from flin.net.wire import columns
from flin.net.wire import requests as requests_module
from flin.net.wire.columns import KEPT_LAYOUTS, MAX_ARGUMENT, MIN_REQUESTS, maybe_columns
from flin.net.wire.requests import maybe_single
from flin.net.wire.resp import encode_requests
from tests.net.fake_store import FakeStore

NOW_MS = 1_800_000_000_000
LIST_TAG = 7

KEYS = [b"k%d" % number for number in range(12)] + [b"", b"\xff", b"\xff\x01", b"a longer key", b"line\r\nend"]
VALUES = [b"", b"1", b"-7", b"007", b"9223372036854775807", b"text", b"*1\r\n$4\r\nPING\r\n", b"x" * SHORT_BYTES]
VALUES += [b"y" * (SHORT_BYTES + 1), b"z" * 5000]


class Transport:
    """Collects the sent bytes."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data

    def get_extra_info(self, name: str) -> Any:
        return None if name == "socket" else ("127.0.0.1", 1)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Loop:
    """A loop without sockets, and reader threads that finish at once."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, function: Callable[[], None]) -> None:
        self.soon.append(function)

    def submit(self, load: Callable[[], None], then: Callable[[], None]) -> None:
        load()
        self.soon.append(then)

    def run(self) -> None:
        while self.soon:
            self.soon.pop(0)()


class Scene:
    """Two connections to a server over a store that holds entries of all kinds, some of them cold."""

    def __init__(self, seed: int) -> None:
        source = random.Random(seed)
        self.store = FakeStore(clock=lambda: NOW_MS)
        self.loop = Loop()
        self.services = make_services(self.store, Config(ServerOptions(databases=2)), self.loop.call_soon)
        for key in KEYS:
            if source.random() < 0.7:
                stored = self.services.databases.keyspaces[0].stored(key)
                self.store.entries[stored] = _random_entry(source)
                if source.random() < 0.3:
                    self.store.make_cold(stored)
        self.transports = [Transport(), Transport()]
        loop: Any = self.loop
        self.connections = [accept(self.services, loop, loop, cast(Any, transport)) for transport in self.transports]

    def play(self, chunks: list[list[tuple[int, bytes]]]) -> tuple[list[bytes], dict[bytes, Entry], list[int]]:
        """Run each list of chunks in one round. Returns the sent bytes, the stored entries, and the counts of calls."""
        commands = list(with_subcommands())
        before = [command.calls for command in commands]
        for tick in chunks:
            for number, data in tick:
                self.connections[number].data_received(data)
            self.loop.run()
        calls = [command.calls - earlier for command, earlier in zip(commands, before, strict=True)]
        return [transport.sent for transport in self.transports], self.store.entries, calls


def _random_entry(source: random.Random) -> Entry:
    value = source.choice(VALUES)
    expires_at_ms = source.choice((0, 0, 0, NOW_MS - 1, NOW_MS + 60_000))
    return make_entry(value, expires_at_ms, LIST_TAG if source.random() < 0.1 else 0)


def random_chunks(source: random.Random) -> list[list[tuple[int, bytes]]]:
    """Rounds of pipelines, most of them of one command."""
    return [
        [(number, encode_requests(_pipeline(source))) for number in range(2) if source.random() < 0.8]
        for _ in range(source.randrange(1, 12))
    ]


def _pipeline(source: random.Random) -> list[list[bytes]]:
    length = source.choice((1, 1, 2, MIN_REQUESTS, 5, 16, TURN_COMMANDS, TURN_COMMANDS + 1))
    kind = source.choice((*_KINDS, b"mixed"))
    keys = KEYS[:10] if source.random() < 0.4 else KEYS  # of one length
    values = [source.choice(VALUES)] if source.random() < 0.4 else VALUES
    requests = [
        _request(source, kind if kind != b"mixed" else source.choice(_KINDS), keys, values) for _ in range(length)
    ]
    if source.random() < 0.1:
        requests.insert(source.randrange(len(requests)), source.choice(_RARE))
    return requests


_KINDS = (b"GET", b"GET", b"SET", b"SET", b"INCR", b"get", b"set", b"EXISTS", b"MSET", b"DEL")
_RARE = (
    [b"MULTI"],
    [b"EXEC"],
    [b"WATCH", b"k1"],
    [b"SELECT", b"1"],
    [b"SELECT", b"0"],
    [b"HELLO", b"3"],
    [b"GET"],
    [b"SET", b"k1"],
    [b"NOTHING", b"k1"],
    [b"SET", b"k1", b"v", b"NX"],
    [b"FLUSHALL"],
)


def _request(source: random.Random, name: bytes, keys: list[bytes], values: list[bytes]) -> list[bytes]:
    request = [name, source.choice(keys)]
    if name.upper() in (b"SET", b"MSET"):
        request.append(source.choice(values))
    if name == b"MSET":
        request += [source.choice(keys), source.choice(values)] * source.randrange(3)
    return request


@pytest.mark.parametrize("seed", range(150))
def test_pipelines_of_all_kinds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = random_chunks(random.Random(seed))
    fast = Scene(seed).play(chunks)
    monkeypatch.setattr(requests_module, "maybe_columns", lambda data, most: None)
    monkeypatch.setattr(requests_module, "maybe_single", lambda data: None)
    plain = Scene(seed).play(chunks)
    assert fast == plain


@pytest.mark.parametrize("seed", range(100, 150))
def test_pipelines_of_a_lone_connection(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered as it arrives, as it would be at the end of the round."""
    chunks = random_chunks(random.Random(seed))
    waiting = Scene(seed).play(chunks)
    monkeypatch.setattr(tick_module, "LONE_TICKS", 1)
    assert Scene(seed).play(chunks) == waiting


@pytest.mark.parametrize("seed", range(60))
def test_columns_and_pipelines_that_are_nearly_such(seed: int) -> None:
    source = random.Random(seed)
    lengths = [source.randrange(4) for _ in range(source.randrange(1, 4))]
    name = source.choice((b"GET", b"x", b"", b"%b", b"100%"))
    number = source.randrange(1, 8)
    # Arguments with bytes that the protocol uses, too.
    rows = [tuple(bytes(source.choices(b"*$1\r\n", k=length)) for length in lengths) for _ in range(number)]
    wire = encode_requests([[name, *row] for row in rows])
    found = maybe_columns(wire, 6)
    if not MIN_REQUESTS <= number <= 6:
        assert found is None
    elif found is None:  # only for a line end in what its first request begins with
        assert b"\r" in b"".join(rows[0][:-1])
    else:
        assert found == (name, list(zip(*rows, strict=True)))
    for _ in range(50):
        at = source.randrange(len(wire))
        spoilt = wire[:at] + bytes(source.choices(b"*$1\r\n", k=source.randrange(3))) + wire[at + 1 :]
        again = maybe_columns(spoilt, 6)
        if again is not None:
            assert encode_requests([[again[0], *row] for row in zip(*again[1], strict=True)]) == spoilt
    assert len(columns._layouts) <= KEPT_LAYOUTS


def test_long_arguments_make_no_columns() -> None:
    for size, is_alike in ((MAX_ARGUMENT, True), (MAX_ARGUMENT + 1, False)):
        wire = encode_requests([[b"SET", b"k", b"v" * size]]) * MIN_REQUESTS
        assert (maybe_columns(wire, 256) is not None) == is_alike


def test_many_writes_of_one_round_are_several_frames() -> None:
    scene = Scene(0)
    wire = encode_requests([[b"SET", b"%d" % number, b"v"] for number in range(TURN_COMMANDS)])
    other = wire.replace(b"$1\r\nv", b"$1\r\nw")
    for number in range(BATCH_ENTRIES // TURN_COMMANDS + 1):
        scene.connections[number % 2].data_received(wire if number % 2 else other)
    scene.loop.run()
    assert scene.transports[0].sent.count(b"+OK\r\n") == TURN_COMMANDS * 3
    assert scene.store.entries[b"255"] == b"w"


@pytest.mark.parametrize(
    "request_",
    [[b"GET", b"k"], [b"SET", b"k", b"v"], [b"SET", b"", b""], [b"GET", b"x" * 9000], [b"HSET", b"h", b"", b"v"]],
)
def test_a_single_request_and_what_is_nearly_one(request_: list[bytes]) -> None:
    wire = encode_requests([request_])
    assert maybe_single(wire) == [request_]
    for end in range(len(wire)):
        assert maybe_single(wire[:end]) is None
    for spoilt in (wire + b"\r\n", wire + wire, wire[:-2] + b"xy", wire.replace(b"$", b"+", 1), b"*1" + wire[2:]):
        assert maybe_single(spoilt) is None


@pytest.mark.parametrize("seed", range(40))
def test_numbers_increased_at_once(seed: int) -> None:
    source = random.Random(seed)
    kinds = [b"%d" % source.randrange(10 ** source.randrange(1, 19)) for _ in range(8)]
    odd: list[Entry | None] = [b"", b"007", b"-1", b"+1", b"1_0", b" 1", b"1 2", b"1 ", b"x", b"9" * 19, None]
    odd += [(b"1", NOW_MS, 0), TOMBSTONE]
    entries: list[Entry | None] = [
        source.choice([*kinds, b"0", b"10", b"9" * 18]) for _ in range(source.randrange(1, 20))
    ]
    assert _small_numbers(entries) == [int(cast(bytes, entry)) for entry in entries]
    for one in odd:
        entries[source.randrange(len(entries))] = one
        assert _small_numbers(entries) is None, one
        entries = [entry if entry != one else b"5" for entry in entries]


def test_a_pipeline_of_short_msets_is_several_frames() -> None:
    scene = Scene(0)
    request = [
        b"MSET",
        *(part for number in range(MAX_UNTIMED_ARGUMENTS // 2 - 1) for part in (b"%d" % number, b"v" * 1000)),
    ]
    scene.connections[0].data_received(encode_requests([request] * TURN_COMMANDS))
    scene.loop.run()
    assert scene.transports[0].sent == b"+OK\r\n" * TURN_COMMANDS
    assert len(scene.store.commits) >= TURN_COMMANDS * (MAX_UNTIMED_ARGUMENTS // 2 - 1) // BATCH_ENTRIES - 1
