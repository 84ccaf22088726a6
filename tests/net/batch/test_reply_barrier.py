"""`always`: no reply shows what a crash could take back, and no reply waits for what it does not show."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any, cast

import pytest

import flin.net.commands.every  # noqa: F401 - declares them
from flin.engine.entry import Entry, Range
from flin.net.run.services import make_services
from flin.net.serve.acceptor import accept
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from flin.net.wire.resp import encode_requests
from tests.net.fake_store import FakeStore
from tests.net.wire.test_columns import Loop, Transport

KEYS = [b"k%d" % number for number in range(6)]


class GatedDisk(Executor):
    """Syncs when the test says so; commits that came meanwhile are not covered."""

    def __init__(self) -> None:
        self.begun: list[tuple[Future[Any], int]] = []
        self.store = FakeStore()

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.begun.append((future, self.store.position))
        return future

    def sync(self) -> None:
        for future, position in self.begun.copy():
            self.begun.remove((future, position))
            self.store.synced_position = position
            future.set_result(None)


class Scene:
    """Some connections in `always` mode, to a store that holds every key, durably."""

    def __init__(self, connections: int) -> None:
        self.disk = GatedDisk()
        self.store = self.disk.store
        self.loop = Loop()
        loop: Any = self.loop
        services = make_services(
            self.store,
            Config(ServerOptions(databases=2, sync="always")),
            loop.call_soon,
            executor=self.disk,
            wake=lambda callback: callback(),
        )
        self.store.entries.update({key: b"first of %b" % key for key in KEYS})
        self.store.entries.update({services.databases.keyspaces[1].stored(key): b"other" for key in KEYS})
        self.transports = [Transport() for _ in range(connections)]
        self.connections = [accept(services, loop, loop, cast(Any, transport)) for transport in self.transports]

    def say(self, number: int, *requests: bytes) -> bytes:
        """Send a pipeline in a round of its own. Returns what has left for that connection since the last call."""
        self.transports[number].sent, before = b"", self.transports[number].sent
        assert not before, "everything that left was looked at"
        self.connections[number].data_received(encode_requests([request.split() for request in requests]))
        self.loop.run()
        return self.left(number)

    def left(self, number: int) -> bytes:
        sent, self.transports[number].sent = self.transports[number].sent, b""
        return sent


@pytest.fixture
def scene() -> Scene:
    """The first connection has written k0, and its sync is under way."""
    scene = Scene(3)
    assert scene.say(0, b"SET k0 new") == b""
    assert len(scene.disk.begun) == 1
    return scene


FIRST = {key: b"$11\r\nfirst of %b\r\n" % key for key in KEYS}


@pytest.mark.parametrize(
    ("requests", "reply"),
    [
        ([b"GET k1"], FIRST[b"k1"]),
        ([b"GET k1"] * 5, FIRST[b"k1"] * 5),
        ([b"GET k1", b"GET k2", b"STRLEN k3"], FIRST[b"k1"] + FIRST[b"k2"] + b":11\r\n"),
        ([b"MGET k1 k2"], b"*2\r\n" + FIRST[b"k1"] + FIRST[b"k2"]),
        ([b"GET absent"], b"$-1\r\n"),
        ([b"TTL k1", b"EXISTS k1 k2", b"get k1"], b":-1\r\n:2\r\n" + FIRST[b"k1"]),
        ([b"GETRANGE k1 0 4"], b"$5\r\nfirst\r\n"),
    ],
)
def test_reads_of_other_keys_leave_at_once(scene: Scene, requests: list[bytes], reply: bytes) -> None:
    for _ in range(3):  # cold, filled, cached; the third as columns
        assert scene.say(1, *requests) == reply
    assert len(scene.disk.begun) == 1, "no sync for the sake of a read"


@pytest.mark.parametrize(
    "requests",
    [
        [b"GET k0"],
        [b"GET k0"] * 5,
        [b"GET k1", b"GET k0"],
        [b"MGET k1 k0"],
        [b"EXISTS k0"],
        [b"SET k1 x"],
        [b"MULTI", b"GET k1", b"EXEC"],
        [b"DBSIZE"],
        [b"KEYS k1"],
        [b"RANDOMKEY"],
        [b"SELECT 1", b"GET k1"],
        [b"SORT_RO k1 BY k0"],
        [b"XPENDING k1 group"],
        [b"INCR other"],
        [b"NOTHING k1"],
    ],
)
def test_what_may_show_it_waits(scene: Scene, requests: list[bytes]) -> None:
    assert scene.say(1, *requests) == b""
    scene.disk.sync()
    scene.disk.sync()
    assert scene.left(1) != b""
    assert scene.left(0) == b"+OK\r\n"


def test_a_cached_reply_waits_until_it_is_durable(scene: Scene) -> None:
    """The GET after the tick of the SET fills the reply cache; the next ones hit it, and still wait."""
    for _ in range(3):
        assert scene.say(1, b"GET k0") == b""
    scene.disk.sync()
    assert scene.left(1) == b"$3\r\nnew\r\n" * 3
    assert scene.say(1, b"GET k0") == b"$3\r\nnew\r\n"


def test_a_pipeline_keeps_its_order(scene: Scene) -> None:
    assert scene.say(0, b"GET k1") == b"", "it has a reply that is held"
    assert scene.say(1, b"GET k0") == b""
    assert scene.say(1, b"GET k2", b"GET k3") == b""
    assert scene.say(2, b"SET k2 new", b"GET k3") == b""
    scene.disk.sync()
    assert scene.left(0) == b"+OK\r\n" + FIRST[b"k1"]
    assert scene.left(1) == b"$3\r\nnew\r\n" + FIRST[b"k2"] + FIRST[b"k3"]
    assert scene.left(2) == b"", "the sync had begun before"
    scene.disk.sync()
    assert scene.left(2) == b"+OK\r\n" + FIRST[b"k3"]


def test_a_key_of_a_later_commit_waits_for_the_next_sync(scene: Scene) -> None:
    assert scene.say(1, b"SET k1 new") == b""
    assert scene.say(2, b"GET k1") == b""
    scene.disk.sync()
    assert scene.left(0) == b"+OK\r\n"
    assert scene.left(1) == scene.left(2) == b""
    scene.disk.sync()
    assert scene.left(1) == b"+OK\r\n"
    assert scene.left(2) == b"$3\r\nnew\r\n"


@pytest.mark.parametrize("flush", [b"FLUSHALL", b"FLUSHDB"])
def test_after_a_range_delete_every_read_waits(scene: Scene, flush: bytes) -> None:
    scene.say(1, flush)
    assert scene.say(2, b"GET k1") == b""
    scene.disk.sync()
    assert scene.left(2) == b""
    scene.disk.sync()
    assert scene.left(2) == b"$-1\r\n"
    assert scene.say(2, b"GET k1") == b"$-1\r\n"


def test_absence_waits_too(scene: Scene) -> None:
    assert scene.say(1, b"DEL k1") == b""
    assert scene.say(2, b"GET k1") == b""
    scene.disk.sync()
    scene.disk.sync()
    assert scene.left(2) == b"$-1\r\n"


def test_databases_are_told_apart() -> None:
    scene = Scene(2)
    assert scene.say(1, b"SELECT 1") == b"+OK\r\n"
    assert scene.say(0, b"SET k0 new") == b""
    assert scene.say(1, b"GET k0") == b"$5\r\nother\r\n"


def test_a_cold_read_is_judged_when_it_is_answered(scene: Scene) -> None:
    scene.store.make_cold(b"k0", b"k1")
    assert scene.say(1, b"GET k1") == FIRST[b"k1"]
    assert scene.say(2, b"GET k0") == b""
    scene.disk.sync()
    assert scene.left(2) == b"$3\r\nnew\r\n"


def test_a_write_of_the_same_round_waits_and_so_do_its_readers() -> None:
    scene = Scene(2)
    scene.connections[0].data_received(encode_requests([[b"SET", b"k0", b"new"]]))
    scene.connections[1].data_received(encode_requests([[b"GET", b"k0"]]))
    scene.loop.run()
    assert scene.left(1) == b""
    scene.disk.sync()
    assert scene.left(1) == b"$3\r\nnew\r\n"


@pytest.mark.parametrize("seed", range(60))
def test_nothing_shown_can_be_taken_back(seed: int) -> None:
    """Random pipelines and syncs. Replies that leave show values of durable commits only; in the end all have left."""
    source = random.Random(seed)
    scene = Scene(4)
    committed: dict[bytes, int] = {}  # value → the position of its commit
    commit = scene.store.commit

    def note(batch: dict[bytes, Entry], ranges: Sequence[Range] = ()) -> int:
        position = commit(batch, ranges)
        committed.update({value: position for value in batch.values() if type(value) is bytes})
        return position

    scene.store.commit = note  # type: ignore[method-assign]
    unanswered = [0] * 4

    def look(number: int, sent: bytes) -> None:
        parts = sent.split(b"\r\n")
        assert all(committed[part] <= scene.store.synced_position for part in parts if part[:1] == b"v")
        unanswered[number] -= sum(part[:1] in (b"$", b"+") for part in parts)

    for step in range(80):
        scene.store.make_cold(*source.sample(KEYS, source.randrange(3)))
        number = source.randrange(4)
        requests = list(_pipeline(source, step))
        unanswered[number] += len(requests)
        look(number, scene.say(number, *requests))
        if source.random() < 0.4:
            scene.disk.sync()
            for other in range(4):
                look(other, scene.left(other))
    while scene.disk.begun:
        scene.disk.sync()
    for other in range(4):
        look(other, scene.left(other))
    assert unanswered == [0] * 4


def _pipeline(source: random.Random, step: int) -> Iterator[bytes]:
    """SETs of distinct keys, so that every value that is ever shown is one of a commit."""
    writes = source.random() < 0.4
    keys = source.sample(KEYS, 5)
    for number in range(source.choice((1, 1, 2, 5))):
        is_write = writes and source.random() < 0.6
        yield b"SET %b v%d.%d" % (keys[number], step, number) if is_write else b"GET %b" % source.choice(KEYS)
