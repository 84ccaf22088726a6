"""Room between blocks and cached replies: who gets it, and that both never have more than before."""

from __future__ import annotations

from random import Random
from typing import Any

import flin.engine
from flin.net.commands.string_columns import get_many
from flin.net.data.reply_cache import OVERHEAD_BYTES, ReplyCache
from flin.net.data.rooms import FEW, LOOK_STEPS, REST_LOOKS, SHARE, Rooms
from flin.testing import SimulatedDisk
from tests.net.commands.handling import Handling
from tests.net.fake_store import FakeStore

LIMIT = 1 << 20
ROOM = 1 << 17
MANY = 10 * FEW


class Scene:
    """`look` lets a second pass, in which so many GETs found no reply, and so many blocks were read."""

    def __init__(self, room: int = ROOM) -> None:
        self.hot = ReplyCache(room)
        self.store = FakeStore()
        self.rooms = Rooms(self.hot, self.store, LIMIT)
        self._names = iter(range(1 << 30))

    def look(self, gets: int, blocks: int) -> None:
        for _ in range(4):
            keys = [b"%d" % next(self._names) for _ in range(400)]
            for _ in range(2):
                self.hot.fill_many(keys, [b"$-1\r\n"] * 400)
        self.hot.misses += gets
        self.store.block_misses += blocks
        self.pass_second()

    def pass_second(self) -> None:
        for _ in range(LOOK_STEPS):
            before = self.store.lent_bytes
            self.rooms.step()
            assert self.hot._borrowed_bytes <= self.store.lent_bytes
            assert self.hot.approximate_bytes() <= ROOM + min(before, self.store.lent_bytes) + 4096

    def lent(self) -> int:
        assert self.store.lent_bytes <= int(LIMIT * SHARE) + LIMIT // 256
        return self.store.lent_bytes


def test_scattered_gets_have_the_room() -> None:
    scene = Scene()
    for _ in range(8):
        scene.look(MANY, MANY * 9 // 10)
    assert scene.lent() >= int(LIMIT * SHARE)
    assert scene.hot.size() * (OVERHEAD_BYTES + 8) > ROOM, "and use it"


def test_it_goes_back_when_others_read_blocks_and_stays_there_for_a_while() -> None:
    scene = Scene()
    for _ in range(8):
        scene.look(MANY, MANY)
    assert scene.lent()
    for _ in range(5):
        scene.look(MANY, MANY * 2)
    assert scene.lent() == 0
    for _ in range(REST_LOOKS - 1):
        scene.look(MANY, MANY)
        assert scene.lent() == 0
    scene.look(MANY, MANY)
    assert scene.lent()


def test_ranges_alone_take_it_back_though_nothing_is_filled() -> None:
    scene = Scene()
    for _ in range(8):
        scene.look(MANY, MANY)
    for _ in range(6):
        scene.store.block_misses += MANY
        scene.pass_second()
    assert scene.lent() == 0
    assert scene.hot.approximate_bytes() <= ROOM


def test_neighbours_and_what_lies_in_memory_need_no_replies() -> None:
    scene = Scene()
    for _ in range(8):
        scene.look(MANY, MANY)
    for _ in range(6):
        scene.look(MANY * 3, MANY)
    assert scene.lent() == 0
    scene.look(MANY, MANY)
    assert scene.lent(), "without a rest"


def test_little_changes_nothing() -> None:
    scene = Scene()
    for _ in range(3):
        scene.look(MANY, FEW)
    assert scene.lent() == 0
    for _ in range(8):
        scene.look(MANY, MANY)
    lent = scene.lent()
    scene.look(0, FEW)
    assert scene.lent() == lent


def test_counters_that_begin_anew_and_no_replies_at_all() -> None:
    scene = Scene()
    scene.look(MANY, MANY)
    scene.hot.misses = scene.hot.evictions = 0
    scene.look(MANY, MANY)
    assert scene.hot._borrowed_bytes <= scene.lent()
    without = Scene(0)
    for _ in range(3):
        without.look(MANY, MANY)
    assert without.lent() == 0


def test_an_engine_lends_what_its_blocks_have() -> None:
    """Gets of scattered keys, then scans: the block cache and the replies stay in their rooms together."""
    options: dict[str, Any] = {"memory_limit": "2mb", "block_size_bytes": 1024, "value_cache": False}
    db = flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", **options)
    keys = [b"%06d" % number for number in range(16_000)]
    for start in range(0, len(keys), 1000):
        db.put_many({key: key * 40 for key in keys[start : start + 1000]})
    db.compact()
    for key in keys[::10]:
        assert db.get(key) == key * 40
    store: Any = db._store
    server = Handling(store)
    hot = server.context.keyspace.hot = ReplyCache(ROOM)
    rooms = Rooms(hot, store, 2 << 20)
    cache = store.tables.block_cache
    memory = store.tables.memory
    source = Random(3)

    def check() -> None:
        budget = store.options.budget.block_cache
        memory.fit(budget)
        held = cache.capacity_bytes + memory.used_bytes() + hot.approximate_bytes()
        assert held <= budget + ROOM + OVERHEAD_BYTES + 300
        assert cache.capacity_bytes >= (2 << 20) // 32
        cache._check()

    for _ in range(12):
        asked = [source.choice(keys) for _ in range(1000)]
        for at in range(0, 1000, 100):
            some = asked[at : at + 100]
            assert get_many(server.context, some) == [b"$240\r\n%b\r\n" % (key * 40) for key in some]
            rooms.step()
            check()
    assert rooms.lent_bytes >= int((2 << 20) * SHARE)
    for _ in range(12 * LOOK_STEPS):
        start = source.randrange(len(keys) - 200)
        for place in range(start, start + 200, 20):
            assert store.page(keys[place], b"\xff", 10)[0] == keys[place : place + 10]
            store.page(keys[source.randrange(len(keys))], b"\xff", 10)
        rooms.step()
        check()
    assert rooms.lent_bytes == 0
    assert get_many(server.context, keys[:50]) == [b"$240\r\n%b\r\n" % (key * 40) for key in keys[:50]]
    db.verify()
    db.close()
