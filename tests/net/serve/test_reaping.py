"""The reaper: what is dead goes, what lives stays, whatever happens in between."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

import flin.engine
from flin.engine.engine import store_of
from flin.engine.key import PIECES_START, PIECES_STOP
from flin.engine.table.cold_read import ColdRead
from flin.errors import CorruptionError
from flin.net.batch.pending import Pending
from flin.net.data.databases import Databases
from flin.objects import limits
from flin.objects import reaper as reaper_module
from flin.objects.hash import Hash
from flin.objects.reaper import WALK_MS, Reaper
from flin.testing import ManualClock, SimulatedDisk
from flin.testing.process import wait_until
from tests.net.serving import ServerThread


class Scene:
    def __init__(self, disk: SimulatedDisk | None = None, shards: int = 1) -> None:
        self.disk = disk or SimulatedDisk()
        self.clock = ManualClock()
        self.shards = shards
        self.now_ms = 0
        self.open()

    def open(self) -> None:
        self.engine = flin.engine.open(
            "/db", fs=self.disk, runner="inline", memory_limit="4mb", clock_ms=self.clock, shards=self.shards
        )
        self.store = store_of(self.engine)
        self.pending = Pending(self.store)
        self.databases = Databases(self.store, self.pending, 3, 1 << 20)
        objects = [keyspace.objects for keyspace in self.databases.keyspaces]
        self.reaper = Reaper(objects, self.pending.delete_range, self.pending.commit)

    def crash(self) -> None:
        """The process is killed: what was committed is there, and nobody has noted anything."""
        self.engine.close()
        self.open()

    def fill(self, key: bytes, count: int, database: int = 0) -> None:
        self.databases.keyspaces[database].objects.find_or_make(key, Hash).put_many(
            {b"%d" % number: b"v" for number in range(count)}
        )
        self.pending.commit()

    def replace(self, key: bytes, count: int) -> None:
        """With a collection of other elements."""
        self.databases.keyspaces[0].delete(key)
        self.fill(key, count)

    def delete(self, key: bytes, database: int = 0) -> None:
        keyspace = self.databases.keyspaces[database]
        entry = keyspace.settled(key)
        assert entry is not None
        keyspace.note_gone(entry)
        keyspace.delete(key)
        self.pending.commit()

    def pieces(self) -> int:
        pages = self.store.pages(self.store.freeze(), PIECES_START, PIECES_STOP)
        return sum(len(keys) for keys, _ in pages)

    def reap(self, steps: int = 50) -> None:
        for _ in range(steps):
            load = self.reaper.step(self.now_ms, lambda: False)
            self.now_ms += 100
            if load is not None:
                load()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", 4)
    return Scene()


def test_pieces_go_after_their_key_and_others_stay(scene: Scene) -> None:
    scene.fill(b"dead", 700)
    scene.fill(b"alive", 10)
    scene.fill(b"dead", 20, database=2)
    scene.delete(b"dead")
    scene.delete(b"dead", database=2)
    scene.reap()
    assert scene.pieces() == 11
    assert scene.reaper.reaped == 2
    alive = scene.databases.keyspaces[0].objects.find(b"alive", Hash)
    assert alive is not None
    assert len(alive.items()) == 10


ENDS: dict[str, Callable[[Scene], Any]] = {
    "a SET": lambda scene: scene.databases.keyspaces[0].put_value(b"k", b"string"),
    "DEL of one that nobody read": lambda scene: scene.databases.keyspaces[0].delete(b"k"),
    "an embedded put": lambda scene: scene.engine.put(b"k", b"string"),
    "an embedded range delete": lambda scene: scene.engine.delete_prefix(b"k"),
    "another hash": lambda scene: scene.replace(b"k", 7),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_nobody_noted_is_found_by_a_walk(scene: Scene, end: str) -> None:
    scene.fill(b"k", 300)
    scene.crash()
    ENDS[end](scene)
    scene.pending.commit()
    scene.crash()
    scene.reap()
    assert scene.pieces() == (8 if end == "another hash" else 0)
    scene.fill(b"later", 9)
    scene.crash()
    scene.reap()
    scene.databases.keyspaces[0].put_value(b"later", b"")  # noted by nobody: its object is not live
    scene.pending.commit()
    scene.reap(1)
    before = scene.pieces()
    scene.now_ms += WALK_MS
    scene.reap(2)
    assert scene.pieces() == before - 10, "an hour later"


def test_a_renamed_collection_keeps_its_pieces(scene: Scene) -> None:
    scene.fill(b"old", 30)
    keyspace = scene.databases.keyspaces[0]
    entry = keyspace.settled(b"old")
    assert entry is not None
    keyspace.rename(b"old", b"new", entry)
    scene.pending.commit()
    scene.crash()
    scene.reap()
    assert scene.pieces() == 31
    found = scene.databases.keyspaces[0].objects.find(b"new", Hash)
    assert found is not None
    assert len(found.items()) == 30


def test_an_expired_key_owns_its_pieces_until_its_sweep(scene: Scene) -> None:
    scene.fill(b"k", 30)
    keyspace = scene.databases.keyspaces[0]
    entry = keyspace.settled(b"k")
    assert type(entry) is tuple
    keyspace.put(b"k", (entry[0], scene.clock.now_ms + 1000, entry[2]))
    scene.pending.commit()
    scene.clock.advance(2)
    scene.pending.refresh_clock()
    assert keyspace.entry(b"k") is None
    scene.reap()
    assert scene.pieces() == 31
    len(scene.engine)  # sweeps
    scene.crash()
    scene.reap()
    assert scene.pieces() == 0


def test_many_pieces_go_by_one_range_delete(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper_module, "PAGE", 16)
    monkeypatch.setattr(reaper_module, "MAX_TOMBSTONES", 64)
    ranges: list[tuple[bytes, bytes]] = []

    def delete_range(start: bytes, stop: bytes) -> None:
        ranges.append((start, stop))
        scene.pending.delete_range(start, stop)

    monkeypatch.setattr(scene.reaper, "_delete_range", delete_range)
    for key in (b"one", b"two", b"small"):
        scene.fill(key, 60 if key == b"small" else 500)
        scene.delete(key)
    scene.reap(1)
    assert len(ranges) == 1, "one a second"
    assert scene.pieces() > 400
    scene.reap(30)
    assert len(ranges) == 2, "the small one went piece by piece"
    assert scene.pieces() == 0
    assert scene.engine.verify() == []


def test_a_refused_batch_is_written_again(scene: Scene) -> None:
    scene.fill(b"dead", 30)
    scene.delete(b"dead")
    calls = []

    def refuse(*arguments: Any, **named: Any) -> int:
        calls.append(arguments)
        raise CorruptionError("the disk", 0, "a test says so")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene.store, "commit", refuse)
        patch.setattr(scene.store, "put", refuse)
        scene.reap(1)
    assert calls
    assert scene.pieces() == 31
    scene.now_ms += WALK_MS
    scene.reap()
    assert scene.pieces() == 0


def test_what_cannot_be_read_is_skipped(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (b"damaged", b"dead"):
        scene.fill(key, 30)
        scene.delete(key)
    host = scene.databases.keyspaces[0].objects.host
    page, first = host.page, [True]

    def damaged(*arguments: Any, **named: Any) -> Any:
        if first.pop() if first else False:
            raise CorruptionError("a table", 0, "a test says so")
        return page(*arguments, **named)

    monkeypatch.setattr(type(host), "page", lambda self, *arguments, **named: damaged(*arguments, **named))
    with pytest.raises(CorruptionError):
        scene.reaper.step(0, lambda: False)
    scene.reaper.skip()
    scene.reap(2)
    assert scene.reaper.reaped >= 1


def test_cold_pages_are_loaded_between_two_steps(scene: Scene) -> None:
    scene.fill(b"dead", 200)
    scene.delete(b"dead")
    scene.engine.flush()
    scene.crash()
    scene.disk.resident = False
    gc.collect()
    gc.disable()
    try:
        load = scene.reaper.step(0, lambda: False)
        assert load is not None
        kept = [each for each in gc.get_objects() if type(each) is ColdRead]
        assert kept == [], "it would keep the state that it read, and its files, until the collector runs"
    finally:
        gc.enable()
    assert scene.pieces() == 201
    load()
    scene.reap()
    assert scene.pieces() == 0


@pytest.mark.parametrize("shards", [1, 4, 16])
def test_all_of_a_collection_lies_in_its_shard(shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", 4)
    scene = Scene(shards=shards)
    for number in range(20):
        scene.fill(b"key %d" % number, 12)
    for memtable in scene.store.state.active:
        owners = {key[4:6] for key in memtable.entries if PIECES_START <= key < PIECES_STOP}
        keys = [key for key in memtable.entries if key.startswith(b"key")]
        assert len(owners) == len(keys)


@pytest.mark.parametrize("how", ["DEL k", "SET k string", "PEXPIRE k 1", "FLUSHDB"])
@pytest.mark.parametrize("slower_than", ["10000", "0"])
def test_a_server_reaps_beside_its_clients(scene: Scene, how: str, slower_than: str) -> None:
    """Also where the slow log times every command, and so no gate is passed unseen."""
    with ServerThread(scene.store) as server, Redis(port=server.port) as client:
        scene.store.listeners.on_expired = server.server.reaping.note_expired
        client.config_set("slowlog-log-slower-than", slower_than)
        client.hset("k", mapping={f"f{number}": "v" for number in range(100)})
        client.hset("alive", mapping={f"f{number}": "v" for number in range(10)})
        assert scene.pieces() == 112
        client.execute_command(*how.split())
        if how.startswith("PEXPIRE"):
            scene.clock.advance(1)
            wait_until(lambda: not client.exists("k"), "it expires")
            len(scene.engine)  # which sweeps
        wait_until(lambda: scene.pieces() == (0 if how == "FLUSHDB" else 11), "its pieces are gone")
        assert client.hlen("alive") == (0 if how == "FLUSHDB" else 10)
    scene.store.listeners.on_expired = None
    assert scene.engine.verify() == []
