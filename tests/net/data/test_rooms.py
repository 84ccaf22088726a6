"""Room between blocks and cached replies: who gets it, and that both never have more than before."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

import flin.engine
from flin.net.commands.string_columns import get_many
from flin.net.data.reply_cache import OVERHEAD_BYTES, ReplyCache
from flin.net.data.rooms import FEW, LOOK_STEPS, REST_LOOKS, SHARE, Rooms
from flin.net.wire.resp import encode_requests
from flin.testing import ManualClock, SimulatedDisk
from tests.net.commands.handling import Handling
from tests.net.fake_peer import Clients
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


def test_counters_that_are_reset_are_no_sign_that_others_read() -> None:
    scene = Scene()
    for _ in range(8):
        scene.look(MANY, MANY)
    scene.hot.misses = scene.hot.evictions = 0
    scene.look(MANY // 2, MANY)
    assert scene.lent() >= int(LIMIT * SHARE)
    scene.look(MANY, MANY)
    assert scene.lent() >= int(LIMIT * SHARE)


def test_what_live_objects_use_is_freed_though_nothing_is_filled() -> None:
    scene = Scene()
    scene.look(0, 0)
    assert scene.hot.approximate_bytes() > ROOM * 9 // 10
    scene.hot.lend(ROOM)
    scene.rooms.step()
    assert scene.hot.approximate_bytes() <= ROOM // 2


def test_a_get_that_waits_for_the_disk_counts_once() -> None:
    """It is run twice or three times. Otherwise rooms would see other reads than there are."""
    for together in (1, 10):
        disk = SimulatedDisk()
        db = flin.engine.open("/db", fs=disk, runner="inline", block_size_bytes=1024, value_cache=False)
        db.put_many({b"%03d" % number: b"v" * 1000 for number in range(200)})
        db.compact()
        db.close()
        db = flin.engine.open("/db", fs=disk, runner="inline", value_cache=False)
        disk.resident = False
        store: Any = db._store
        clients = Clients(store)
        peer = clients.connect()
        for number in range(0, 200, together):
            asked = [b"GET %03d" % each for each in range(number, number + together)]
            assert peer.ask(*asked) == (b"$1000\r\n" + b"v" * 1000 + b"\r\n") * together
        assert clients.services.counters.cold_reads >= 200
        assert clients.services.databases.keyspaces[0].hot.misses == 200
        assert store.block_misses == 200
        db.close()


KEYS = 2500
COMMANDS = (
    *(b"GET k", b"GET k", b"GET k", b"MGET k k k", b"SET k v", b"SET k v EX 1", b"SET k v NX", b"DEL k", b"GETDEL k"),
    *(b"EXPIRE k 2", b"PERSIST k", b"APPEND k v", b"INCRBY n 3", b"GET n", b"RENAME k k", b"COPY k k REPLACE"),
    *(b"MOVE k 1", b"SELECT 1", b"SELECT 0", b"SELECT 0", b"SWAPDB 1 2", b"MULTI", b"EXEC", b"EXEC", b"DISCARD"),
    *(b"MSET k v k v", b"STRLEN k", b"EXISTS k k", b"LPUSH l v v", b"RPOP l", b"LRANGE l 0 9", b"HSET h k v"),
    *(b"EVAL return{redis.call('get',KEYS[1]),redis.call('set',KEYS[1],ARGV[1]),redis.call('get',KEYS[1])} 1 k v",),
)


@pytest.mark.parametrize("seed", range(2))
def test_replies_are_those_of_a_server_without_cached_ones_while_room_moves(seed: int) -> None:
    source = Random(seed)
    clock = ManualClock()
    options: dict[str, Any] = {"memory_limit": "2mb", "block_size_bytes": 1024, "value_cache": False}
    db = flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", clock_ms=clock, **options)
    store: Any = db._store
    cached = Clients(store, memory_limit=2 << 20, databases=3, buffers_share=0.9)
    plain = Clients(FakeStore(clock), memory_limit=2 << 20, databases=3, hot_keys_share=0.0, buffers_share=0.9)
    servers = [(clients, [clients.connect() for _ in range(3)]) for clients in (cached, plain)]
    keyspaces = cached.services.databases.keyspaces
    rooms, blocks, memory = cached.guard._rooms, store.tables.block_cache, store.tables.memory
    hot = keyspaces[0].hot
    most = 0
    for step in range(400):
        if step % 200 == 0:
            pairs = [word for number in range(KEYS) for word in (b"k%d" % number, b"fill" * 20)]
            sent = [[b"DISCARD"], [b"SELECT", b"0"], [b"FLUSHDB"], [b"MSET", *pairs]]
        elif step % 3:
            sent = [[b"DISCARD"], [b"SELECT", b"0"]]
            sent += [[b"GET", b"k%d" % min(int(source.paretovariate(0.3)), KEYS - 1)] for _ in range(100)]
            sent += [[b"GET", b"k%d" % source.randrange(KEYS)] for _ in range(100)]
        else:
            sent = [_request(source) for _ in range(source.choice((1, 1, 4, 40)))]
        speaker = source.randrange(3)
        replies = []
        for _, peers in servers:
            peers[speaker].send_raw(encode_requests(sent))
            replies.append(peers[speaker].read_all())
        assert replies[0] == replies[1] != b"", (step, sent)
        if step % 100 == 50:
            db.compact()
        rooms._is_lending = step % 100 >= 50  # whatever the counters say: so it looks at none
        rooms._steps = 0
        for clients, _ in servers:
            clients.guard.step()
        if source.random() < 0.1:
            clock.advance(0.3)
            for clients, _ in servers:
                clients.pending.refresh_clock()
        held = hot.approximate_bytes()
        most = max(most, held)
        assert hot._bytes == held <= hot._room_bytes + hot._capacity_bytes // 2 + (4 << 10)
        for keyspace in keyspaces[1:]:
            assert keyspace.hot._bytes == keyspace.hot.approximate_bytes()
        assert hot._borrowed_bytes <= rooms.lent_bytes <= memory._lent_bytes
        blocks._check()
        assert blocks.capacity_bytes + memory._lent_bytes <= store.options.budget.quiet_block_cache
    assert hot.evictions > 100
    assert most > hot._capacity_bytes, "what is lent was used"
    rooms._look()
    rooms._is_lending = False
    for _ in range(300):
        rooms.step()
    assert rooms.lent_bytes == memory._lent_bytes == hot._borrowed_bytes == 0
    db.verify()
    db.close()


def _request(source: Random) -> list[bytes]:
    words = source.choice(COMMANDS).split()
    if words[0] == b"EVAL":
        words = [b"EVAL", b" ".join(words[1:-3]), *words[-3:]]
    sizes = (1, 9, 80, 900, 900, 900, 5000)
    drawn = {b"k": lambda: b"k%d" % source.randrange(KEYS), b"v": lambda: b"v" * source.choice(sizes)}
    drawn |= {b"l": lambda: b"l%d" % source.randrange(9), b"n": lambda: b"n%d" % source.randrange(9)}
    drawn |= {b"h": lambda: b"h%d" % source.randrange(9)}
    return [drawn[word]() if word in drawn else word for word in words]


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
