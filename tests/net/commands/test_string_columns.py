"""GETs and MGETs of one column: the same replies and counters as one by one, whatever lies where."""

from __future__ import annotations

from random import Random

from flin.engine.entry import make_entry
from flin.errors import CommandError
from flin.net.commands.string_columns import get_many, mget_many
from flin.net.data.reply_cache import OVERHEAD_BYTES, ReplyCache
from tests.net.commands.handling import START_MS, Handling

KEYS = 120


def prepared(seed: int) -> tuple[Handling, Random]:
    """A server with keys of every kind: in the store, and in the pending batch; its reply cache is small."""
    source = Random(seed)
    server = Handling()
    server.context.keyspace.hot = ReplyCache(source.choice([0, 40, 4000]) * (OVERHEAD_BYTES + 20))
    for number in range(KEYS):
        key, draw = b"k%d" % number, source.random()
        if draw < 0.6:
            server.put(key, b"v" * source.choice([3, 3, 3, 9]))
        elif draw < 0.8:
            server.put(key, make_entry(b"brief", START_MS + source.choice([-1, 1000])))
    server.call(b"MSET", *[word for number in range(0, KEYS, 7) for word in (b"k%d" % number, b"new")])
    server.call(b"DEL", *[b"k%d" % number for number in range(0, KEYS, 11)])
    if seed % 2:
        server.call(b"HSET", b"k5", b"f", b"v")
        server.put(b"k6", b"w" * 5000)
    return server, source


def counted(server: Handling) -> tuple[int, int]:
    keyspace = server.context.keyspace
    return keyspace.hits + keyspace.hot.hits, keyspace.misses


def test_gets_of_a_column_are_those_one_by_one() -> None:
    for seed in range(60):
        (together, source), (alone, _) = prepared(seed), prepared(seed)
        for _ in range(30):
            keys = [b"k%d" % source.randrange(KEYS) for _ in range(source.randrange(1, 30))]
            replies = get_many(together.context, keys)
            for key, reply in zip(keys, replies, strict=False):
                assert alone.wire(b"GET", key) == reply, (seed, key)
            assert counted(together) == counted(alone)
            if len(replies) < len(keys):
                try:
                    assert len(alone.wire(b"GET", keys[len(replies)])) > 4096
                except CommandError as error:
                    assert "WRONGTYPE" in str(error)
                together.call(b"GET", keys[len(replies)])
            together.pending.commit()
            alone.pending.commit()


def test_mgets_of_a_column_are_those_one_by_one() -> None:
    for seed in range(0, 60, 2):
        (together, source), (alone, _) = prepared(seed), prepared(seed)
        for _ in range(30):
            rows = [[b"k%d" % source.randrange(KEYS) for _ in range(5)] for _ in range(source.randrange(1, 30))]
            replies = mget_many(together.context, *zip(*rows, strict=True))
            assert replies == [alone.wire(b"MGET", *row) for row in rows]
            assert counted(together) == counted(alone)
