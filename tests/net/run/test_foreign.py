"""What the log writes beneath a follower's server: nothing that was cached outlives it, and who observes is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

import flin.engine
from flin.engine.engine import store_of
from flin.engine.entry import TOMBSTONE, Entry, Range
from flin.errors import ReadOnlyError
from flin.net.batch.following_store import FOLLOWS, FollowingStore
from flin.net.run.foreign import apply_foreign
from flin.net.run.services import Services, make_services
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from tests.net.fake_store import FakeStore
from tests.net.role import following
from tests.net.serving import HandlerClient


def follower(store: FakeStore) -> HandlerClient:
    config = Config(ServerOptions())
    services = make_services(FollowingStore(store), config, lambda callback: None, role=following())
    return HandlerClient(services=services)


def test_what_was_cached_is_gone() -> None:
    client = follower(FakeStore())
    client.call(b"READONLY")
    apply_foreign(client.services, {b"a{x}": b"1", b"x": b"1", b"\xff\x00{x}": b"1"})
    for _ in range(3):
        assert client.call(b"MGET", b"a{x}", b"\xff{x}", b"x") == b"*3\r\n" + b"$1\r\n1\r\n" * 3
        assert client.call(b"GET", b"a{x}") == b"$1\r\n1\r\n"
    apply_foreign(client.services, {b"a{x}": b"2", b"\xff\x00{x}": TOMBSTONE})
    assert client.call(b"MGET", b"a{x}", b"\xff{x}", b"x") == b"*3\r\n$1\r\n2\r\n$-1\r\n$1\r\n1\r\n"
    assert client.call(b"GET", b"x") == b"$1\r\n1\r\n"
    apply_foreign(client.services, {b"c{x}": b"3"}, [(b"", b"\xff\xff")])
    assert client.call(b"MGET", b"a{x}", b"x", b"c{x}") == b"*3\r\n$-1\r\n$-1\r\n$1\r\n3\r\n"
    assert client.call(b"GET", b"x") == b"$-1\r\n"


def test_watchers_are_touched() -> None:
    client = follower(FakeStore())
    other = client.another()
    other.call(b"READONLY")
    for key, points, ranges, is_touched in [
        (b"a", {b"a": b"1"}, [], True),
        (b"a", {b"b": b"1"}, [], False),
        (b"a", {}, [(b"a", b"b")], True),
        (b"b", {}, [(b"a", b"b")], False),
    ]:
        other.call(b"WATCH", key)
        apply_foreign(client.services, dict(points), ranges)
        other.call(b"MULTI")
        assert (other.call(b"EXEC") == b"*-1\r\n") is is_touched


def test_nothing_else_writes() -> None:
    store = FakeStore()
    client = follower(store)
    assert client.services.store.read_only_reason == FOLLOWS
    with pytest.raises(ReadOnlyError, match="follows"):
        client.services.store.commit({b"a": b"1"})
    with pytest.raises(ReadOnlyError, match="follows"):
        client.services.store.put(b"a", b"1")
    client.services.pause.end()
    assert client.services.store.holds_sweep
    assert not client.services.clients.takes_writes()
    assert store.commits == []


@dataclass
class Recorder:
    """The store of a leader, whose commits a follower's server takes over at once."""

    leader: HandlerClient
    follower: Services

    def call(self, *request: bytes) -> bytes:
        pending = self.leader.pending
        taken: list[tuple[dict[bytes, Entry], list[Range]]] = []
        commit, put = self.leader.store.commit, self.leader.store.put

        def noted(batch: dict[bytes, Entry], ranges: tuple[Range, ...] = ()) -> int:
            taken.append((dict(batch), [*ranges]))
            return int(commit(batch, ranges))

        self.leader.store.commit = noted
        self.leader.store.put = lambda key, value: noted({key: value})
        try:
            reply = self.leader.call(*request)
            assert not pending.points
        finally:
            self.leader.store.commit, self.leader.store.put = commit, put
        for points, ranges in taken:
            apply_foreign(self.follower, points, ranges)
        return reply


_WRITES = [
    (b"SET k%d v%d", b"GET k%d"),
    (b"HSET h%d f%d long-enough-to-make-it-spread-soon", b"HGETALL h%d"),
    (b"HDEL h%d f%d", b"HLEN h%d"),
    (b"RPUSH l%d v%d", b"LRANGE l%d 0 -1"),
    (b"LPOP l%d", b"LINDEX l%d 0"),
    (b"SADD s%d m%d", b"SCARD s%d"),
    (b"ZADD z%d %d m", b"ZRANGE z%d 0 -1 WITHSCORES"),
    (b"ZINCRBY z%d 1 m%d", b"ZRANK z%d m1"),
    (b"XADD x%d * f v", b"XLEN x%d"),
    (b"XGROUP CREATE x%d g%d 0 MKSTREAM", b"XINFO GROUPS x%d"),
    (b"XREADGROUP GROUP g1 me COUNT 1 STREAMS x%d >", b"XPENDING x%d g1"),
    (b"DEL k%d", b"EXISTS k%d"),
    (b"DEL h%d", b"HLEN h%d"),
    (b"DEL x%d", b"XLEN x%d"),
    (b"SETRANGE k%d 70000 v%d", b"STRLEN k%d"),
    (b"FLUSHALL", b"DBSIZE"),
]


@pytest.mark.parametrize("seed", range(2))
def test_a_follower_shows_what_its_leader_shows(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    with (
        flin.engine.open(tmp_path / "leader", runner="inline") as first,
        flin.engine.open(tmp_path / "follower", runner="inline") as second,
    ):
        leader = HandlerClient(store_of(first))
        reader = HandlerClient(
            services=make_services(
                FollowingStore(store_of(second)), Config(ServerOptions()), lambda callback: None, role=following()
            )
        )
        recorder = Recorder(leader, reader.services)
        reader.call(b"READONLY")
        for _ in range(200):
            write, _ = random.choice(_WRITES[:-1] if random.random() < 0.98 else _WRITES)
            numbers = tuple(random.randrange(3) for _ in range(write.count(b"%d")))
            recorder.call(*(write % numbers).split())
            for _ in range(2):
                _, read = random.choice(_WRITES)
                request = (read % ((random.randrange(3),) * read.count(b"%d"))).split()
                assert reader.call(*request) == leader.call(*request), (write, numbers, request)
