"""Whatever happens (refused batches, cold reads, EXEC, scripts, evictions), no client keeps what is old in its cache.

Clients cache what they read, and forget what they are told of. After each round, when all messages have been read,
every cached value is the one that the server has.
"""

from __future__ import annotations

import random
from collections import deque

import pytest

from flin.errors import StorageError
from tests.net.fake_peer import Clients, Peer
from tests.net.fake_store import FakeStore, OftenColdStore
from tests.net.raw_client import Raw, replies_in

FULL = StorageError("write", "wal", "no space left")
SCRIPT = b"redis.call('get', KEYS[1]) return redis.call('set', KEYS[1], ARGV[1])"
KEYS = [b"a", b"b", b"ab", b"c", b"d"]


class CachingClient:
    def __init__(self, clients: Clients, options: bytes) -> None:
        self.peer: Peer = clients.connect()
        self.peer.ask(b"HELLO 3", b"CLIENT TRACKING ON " + options)
        self.cache: dict[bytes, bytes | None] = {}
        self.told = 0
        self._own_writes_are_told = b"NOLOOP" not in options
        self._asked: deque[list[bytes]] = deque()
        self._queue: list[list[bytes]] | None = None

    def say(self, requests: list[list[bytes]]) -> None:
        self._asked.extend(requests)
        self.peer.say(*requests)

    def read(self) -> None:
        for reply in replies_in(self.peer.read_all()):
            if reply.kind == b">":
                self._invalidate(reply.items[1])
            else:
                self._note(self._asked.popleft(), reply)
        assert not self._asked

    def _invalidate(self, keys: Raw) -> None:
        self.told += 1
        if keys.is_null:
            self.cache.clear()
        for key in keys.items:
            self.cache.pop(key.payload, None)

    def _note(self, request: list[bytes], reply: Raw) -> None:
        if request[0] == b"MULTI":
            self._queue = []
        elif request[0] == b"EXEC":
            queue, self._queue = self._queue or [], None
            for queued, item in zip(queue, reply.items, strict=False):
                self._note(queued, item)
        elif self._queue is not None:
            self._queue.append(request)
        elif reply.is_error:
            pass
        elif request[0] == b"GET":
            self.cache[request[1]] = None if reply.is_null else reply.payload
        elif request[0] == b"MGET":
            for key, item in zip(request[1:], reply.items, strict=True):
                self.cache[key] = None if item.is_null else item.payload
        elif not self._own_writes_are_told:
            self._forget_own(request)

    def _forget_own(self, request: list[bytes]) -> None:
        """It knows itself what it has written."""
        if request[0] == b"FLUSHALL":
            self.cache.clear()
        for word in request[1:]:
            self.cache.pop(word, None)


def requests(draw: random.Random) -> list[list[bytes]]:
    """A pipeline, perhaps a transaction."""
    made: list[list[bytes]] = []
    for _ in range(draw.choice((1, 1, 2, 4))):
        key, other, value = draw.choice(KEYS), draw.choice(KEYS), b"%d" % draw.randrange(1000)
        made.append(
            draw.choice(
                [
                    *([[b"GET", key]] * 4),
                    *([[b"MGET", key, other]] * 2),
                    [b"SET", key, value],
                    [b"MSET", key, value, other, value],
                    [b"DEL", key],
                    [b"INCR", key],
                    [b"RENAME", key, other],
                    [b"COPY", key, other, b"REPLACE"],
                    [b"EVAL", SCRIPT, b"1", key, value],
                    [b"SET", key, b"x" * 1100],
                    *([[b"FLUSHALL"]] if draw.random() < 0.1 else []),
                ]
            )
        )
    return [[b"MULTI"], *made, [b"EXEC"]] if draw.random() < 0.25 else made


@pytest.mark.parametrize("is_cold", [False, True])
@pytest.mark.parametrize("seed", [*range(4), *[pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 40)]])
def test_nothing_old_stays_cached(seed: int, is_cold: bool) -> None:
    pytest.importorskip("lupa")
    draw = random.Random(seed)
    clients = Clients(OftenColdStore() if is_cold else FakeStore())
    caching = [CachingClient(clients, options) for options in (b"", b"NOLOOP", b"BCAST", b"BCAST NOLOOP", b"")]
    writer = clients.connect()
    if seed % 2:
        writer.ask(b"CONFIG SET tracking-table-max-keys 3")
    history: list[str] = []
    for _ in range(250):
        for client in draw.sample([*caching, None], draw.randint(1, 4)):
            said = requests(draw)
            history.append(f"{'w' if client is None else caching.index(client)}: {b'; '.join(map(b' '.join, said))!r}")
            if client is None:
                writer.say(*said)
            else:
                client.say(said)
        clients.store.failure = FULL if draw.random() < 0.15 else None
        history.append(f"the round ends, {clients.store.failure}")
        clients.loop.run()
        clients.store.failure = None
        writer.read_all()
        clients.loop.run()
        for client in caching:
            client.read()
        for number, client in enumerate(caching):
            for key, value in client.cache.items():
                assert value == clients.store.entries.get(key), (number, key, history[-15:])
    assert min(client.told for client in caching) > 20
