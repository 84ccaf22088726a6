"""One database: the pending batch first, expiry by the tick's clock, watches, cached replies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flin.engine.entry import TOMBSTONE
from flin.engine.key import namespace_prefix
from flin.errors import CommandError
from flin.net.client.link import NO_LINK
from flin.net.client.session import KnownPeer
from flin.net.data.keyspace import Keyspace
from flin.net.run.services import make_services
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from flin.net.wire.replies import Reply
from tests.net.fake_store import FakeStore


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.store = FakeStore(self.clock)
        self.services = make_services(self.store, Config(ServerOptions()), lambda callback: None)
        self.pending = self.services.pending
        self.first, self.second = self.services.databases.keyspaces[:2]


@pytest.fixture
def world() -> World:
    return World()


def test_pending_hides_the_store(world: World) -> None:
    world.store.entries[b"a"] = b"old"
    assert world.first.entry(b"a") == b"old"
    world.first.put(b"a", b"new")
    assert world.first.value(b"a") == b"new"
    world.first.delete(b"a")
    assert world.first.entry(b"a") is None
    assert world.store.entries[b"a"] == b"old"
    world.pending.commit()
    assert b"a" not in world.store.entries


def test_databases_do_not_meet(world: World) -> None:
    world.first.put(b"a", b"0")
    world.second.put(b"a", b"1")
    assert (world.first.value(b"a"), world.second.value(b"a")) == (b"0", b"1")
    world.pending.commit()
    assert world.store.entries == {b"a": b"0", namespace_prefix(1) + b"a": b"1"}
    world.second.clear()
    assert (world.first.value(b"a"), world.second.value(b"a")) == (b"0", None)


@pytest.mark.parametrize("key", [b"", b"\xff", b"\xff\x00", b"\xff\x01", b"\xff\xff"])
def test_keys_that_look_internal(world: World, key: bytes) -> None:
    for keyspace in (world.first, world.second):
        keyspace.put_value(key, b"v")
        assert keyspace.value(key) == b"v"
        assert [found for page, _ in keyspace.pages() for found in page] == [key]
        keyspace.delete(key)
        assert not keyspace.exists(key)


def test_expiry_at_the_millisecond(world: World) -> None:
    world.first.put(b"a", (b"v", world.clock.ms + 10, 0))
    world.pending.commit()
    world.clock.ms += 9
    world.pending.refresh_clock()
    assert world.first.value(b"a") == b"v"
    assert world.first.expires_at_ms(b"a") == world.clock.ms + 1
    world.clock.ms += 1
    world.pending.refresh_clock()
    assert world.first.value(b"a") is None
    assert world.first.expires_at_ms(b"a") is None
    assert list(world.first.pages()) == [([], [])]


def test_another_type(world: World) -> None:
    world.first.put(b"a", (b"v", 0, 3))
    for read in (world.first.value, world.first.bulk):
        with pytest.raises(CommandError, match="WRONGTYPE"):
            read(b"a")
    assert world.first.expires_at_ms(b"a") == 0


def test_cached_replies_come_from_reads_of_the_store_only(world: World) -> None:
    keyspace = world.first
    keyspace.put_value(b"a", b"1")
    assert keyspace.bulk(b"a") == b"1"
    assert keyspace.hot.size() == 0, "a pending value may still be dropped"
    world.pending.commit()
    assert keyspace.bulk(b"a") == b"1"
    keyspace.bulk(b"a")  # the second miss
    ready = keyspace.bulk(b"a")
    assert isinstance(ready, Reply)
    assert ready.data == b"$1\r\n1\r\n"
    keyspace.put_value(b"a", b"2")
    assert keyspace.bulk(b"a") == b"2"
    world.pending.commit()
    keyspace.put(b"a", (b"3", world.clock.ms + 100, 0))
    world.pending.commit()
    assert [keyspace.bulk(b"a") for _ in range(3)] == [b"3"] * 3
    assert keyspace.hot.size() == 0, "what expires is not kept"


def test_watches_are_touched_by_every_write(world: World) -> None:
    def is_touched_by(write: str) -> bool:
        keyspace = world.first
        keyspace.put(b"a", b"0")
        session = world.services.clients.open_session(NO_LINK, KnownPeer("a:1", "b:2"), 0)
        session.watch(keyspace, b"a", is_there=True)
        session.watch(keyspace, b"a", is_there=True)
        writes: dict[str, Callable[[], None]] = {
            "put": lambda: keyspace.put(b"a", b"1"),
            "put_value": lambda: keyspace.put_value(b"a", b"1"),
            "delete": lambda: keyspace.delete(b"a"),
            "clear": keyspace.clear,
            "another key": lambda: keyspace.put_value(b"b", b"1"),
            "another database": lambda: world.second.put_value(b"a", b"1"),
        }
        writes[write]()
        dirty = session.is_dirty
        world.services.clients.close_session(session)
        assert keyspace.observers == []
        return dirty

    for write in ("put", "put_value", "delete", "clear"):
        assert is_touched_by(write), write
    for write in ("another key", "another database"):
        assert not is_touched_by(write), write


def test_pages_go_on_after_a_key(world: World) -> None:
    names = [b"k%03d" % number for number in range(100)]
    for name in names:
        world.second.put_value(name, b"")
    for after, stop, expected in ((None, None, names), (b"k049", None, names[50:]), (None, b"k010", names[:10])):
        found = [key for page, _ in world.second.pages(after, stop=stop) for key in page]
        assert found == expected
    assert world.store.commits == [100], "the pending batch is committed first"


def test_count_in_slices(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[int | None] = [None, None, 7]
    monkeypatch.setattr(world.store, "count", lambda namespace, budget, state: answers.pop(0))
    assert finish(world.first) == 7
    assert answers == []
    assert world.first.last_count == 7


def finish(keyspace: Keyspace) -> int:
    counting = keyspace.count()
    while True:
        try:
            next(counting)
        except StopIteration as end:
            number: int = end.value
            return number


def test_large_values_are_summed(world: World) -> None:
    world.first.put_value(b"a", b"x" * 2000)
    world.first.put(b"b", (b"x" * 3000, 5, 0))
    assert world.pending.large_bytes == 5000
    world.first.put_value(b"c", b"x")
    assert world.pending.large_bytes == 5000
    assert world.pending.points[b"c"] is not TOMBSTONE
