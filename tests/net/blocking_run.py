"""Blocking and pushing clients in turn, on Flin and on Redis: who is served, with what, and who still waits.

A run has several clients on each server. A step sends a request, a transaction or a short pipeline from a client that
does not wait. Then the run lets both servers come to rest (every client has all its replies, or waits for a key) and
compares all that arrived, and who waits. So nothing depends on time: what is served in which order is the servers' own.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable

from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.net.raw_client import RawClient

CLIENTS = 6
KEYS = ("a", "b", "c", "d")
DATABASE = 1
"""Not 0, which Flin cannot swap."""


class Side:
    """One of the two servers, with the clients of the run."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._control = RawClient(port)
        self._control.call(b"FLUSHALL")
        self.clients: list[RawClient] = []
        self.ids: list[int] = []
        self.owed = [0] * CLIENTS  # replies that have not arrived
        self.arrived: list[list[bytes]] = [[] for _ in range(CLIENTS)]
        for number in range(CLIENTS):
            self.clients.append(self._connect(number))

    def close(self) -> None:
        for client in [*self.clients, self._control]:
            client.close()

    def _connect(self, number: int) -> RawClient:
        client = RawClient(self._port)
        client.call(b"HELLO", b"%d" % (2 + number % 2))
        client.call(b"SELECT", b"%d" % DATABASE)
        self.ids[number : number + 1] = [int(client.call(b"CLIENT", b"ID").payload)]
        return client

    def replace(self, number: int) -> None:
        """The client leaves without a word, and another one takes its place."""
        gone = self.ids[number]
        self.clients[number].close()
        wait_until(lambda: gone not in self._flags(), "the server has noticed")
        self.owed[number] = 0
        self.clients[number] = self._connect(number)

    def send(self, number: int, requests: list[str]) -> None:
        words = [re.sub(r"id-of-(\d)", lambda found: str(self.ids[int(found[1])]), request) for request in requests]
        self.owed[number] += len(requests)
        self.clients[number].send([request.encode().split() for request in words])

    def come_to_rest(self) -> tuple[list[list[bytes]], list[int]]:
        """What has arrived for each client, and who waits."""
        waiting: list[int] = []
        deadline = time.monotonic() + PATIENCE_SECONDS

        def is_at_rest() -> bool:
            self._take()
            waiting[:] = [number for number in range(CLIENTS) if self.owed[number]]
            flags = self._flags()
            # Redis may send the reply to CLIENT LIST before one that it made earlier.
            self._control.call(b"PING")
            return not self._take() and all(flags.get(self.ids[number]) == "b" for number in waiting)

        while not is_at_rest():  # a few rounds of the servers' loops: a pause between would be most of the time
            assert time.monotonic() < deadline, "clients neither have their replies nor wait"
        arrived, self.arrived = self.arrived, [[] for _ in range(CLIENTS)]
        return arrived, waiting

    def _take(self) -> bool:
        """Read the replies that are there. Returns whether there were any."""
        before = sum(self.owed)
        for number, client in enumerate(self.clients):
            while self.owed[number] and client.has_reply():
                self.arrived[number].append(client.read().data)
                self.owed[number] -= 1
        return sum(self.owed) < before

    def _flags(self) -> dict[int, str]:
        listed = self._control.call(b"CLIENT", b"LIST").data.decode()
        return {int(found[1]): found[2] for found in re.finditer(r"\bid=(\d+) .*? flags=(\w+) ", listed)}


class Script:
    """A random script: `step` gives the next client and what it sends."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self._number = 0

    def step(self, waiting: list[int]) -> tuple[int, list[str]]:
        """The next client that speaks, and its requests. None: it leaves."""
        idle = [number for number in range(CLIENTS) if number not in waiting]
        number = self.random.choice(idle)
        draw = self.random.random()
        # With nearly all waiting, somebody must push.
        if draw < 0.55 and len(idle) > 2:
            requests = [self._blocking()]
            if draw < 0.15:
                requests += [
                    self.random.choice((self._plain, self._blocking))() for _ in range(self.random.randint(1, 3))
                ]
        elif draw < 0.65:
            requests = self._transaction()
        elif draw < 0.68:
            requests = self._exchange()
        elif draw < 0.73 and waiting:
            requests = [
                f"CLIENT UNBLOCK id-of-{self.random.choice(waiting)} {self.random.choice(('TIMEOUT', 'ERROR'))}"
            ]
        else:
            requests = [self._plain() for _ in range(self.random.choice((1, 1, 1, 2, 4)))]
        self.counts.update(request.split()[0] for request in requests)
        return number, requests

    def _key(self) -> str:
        return self.random.choice(KEYS)

    def _keys(self) -> str:
        return " ".join(self.random.choices(KEYS, k=self.random.randint(1, 3)))

    def _side(self) -> str:
        return self.random.choice(("LEFT", "RIGHT"))

    def _blocking(self) -> str:
        keys = self._keys()
        return self._one_of(
            lambda: f"BLPOP {keys} 0",
            lambda: f"BRPOP {keys} 0",
            lambda: f"BLMOVE {self._key()} {self._key()} {self._side()} {self._side()} 0",
            lambda: f"BRPOPLPUSH {self._key()} {self._key()} 0",
            lambda: f"BZPOPMIN {keys} 0",
            lambda: f"BZPOPMAX {keys} 0",
            lambda: f"BZMPOP 0 {len(keys.split())} {keys} {self.random.choice(('MIN', 'MAX'))}",
            lambda: f"XREAD BLOCK 0 STREAMS {self._key()} $",
            lambda: f"XREAD COUNT 2 BLOCK 0 STREAMS {self._key()} {self._key()} {self._number or 1}-1 $",
            lambda: f"XREADGROUP GROUP {self.random.choice('gh')} consumer BLOCK 0 STREAMS {self._key()} >",
            lambda: f"XREADGROUP GROUP g other COUNT 1 BLOCK 0 NOACK STREAMS {self._key()} {self._key()} > >",
            lambda: f"BLMPOP 0 {len(keys.split())} {keys} {self._side()} COUNT {self.random.randint(1, 3)}",
        )

    def _push(self) -> str:
        values = []
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            self._number += 1
            values.append(str(self._number))
        draw = self.random.random()
        if draw < 0.2:
            return f"XADD {self._key()} {self._number}-1 field {self._number}"
        if draw < 0.3:
            return f"XGROUP CREATE {self._key()} {self.random.choice('gh')} $ MKSTREAM"
        if draw < 0.5:
            return f"ZADD {self._key()} {' '.join(f'{value} {value}' for value in values)}"
        return f"{self.random.choice(('LPUSH', 'RPUSH'))} {self._key()} {' '.join(values)}"

    def _plain(self) -> str:
        if self.random.random() < 0.4:
            return self._push()
        return self._one_of(
            lambda: f"DEL {self._keys()}",
            lambda: f"LLEN {self._key()}",
            lambda: f"LRANGE {self._key()} 0 -1",
            lambda: f"LPOP {self._key()}",
            lambda: f"SET {self._key()} string",
            lambda: f"SADD {self._key()} member",
            lambda: f"XGROUP DESTROY {self._key()} g",
            lambda: f"XTRIM {self._key()} MAXLEN 1",
            lambda: f"RENAME {self._key()} {self._key()}",
            lambda: f"RENAMENX {self._key()} {self._key()}",
            lambda: f"COPY {self._key()} {self._key()} REPLACE",
            lambda: f"MOVE {self._key()} {DATABASE + 1}",
            lambda: self.random.choice(("FLUSHDB", "FLUSHALL", "PING", "EXISTS a b c d")),
        )

    def _transaction(self) -> list[str]:
        queued = [self._plain() for _ in range(self.random.randint(1, 5))]
        if self.random.random() < 0.3:
            queued.append(self._blocking())
        return ["MULTI", *queued, "EXEC"]

    def _exchange(self) -> list[str]:
        """The other database has one key: the order of several is that of a dict in Redis."""
        into, back = f"SELECT {DATABASE + 1}", f"SELECT {DATABASE}"
        return [into, "FLUSHDB", self._push(), back, f"SWAPDB {DATABASE} {DATABASE + 1}"]

    def _one_of(self, *makers: Callable[[], str]) -> str:
        return self.random.choice(makers)()


def compare(flin_port: int, redis_port: int, seed: int, steps: int) -> Counter[str]:
    """Run a script on both. Returns how often each command was sent, `served` and `left` among them."""
    script = Script(seed)
    flin, redis = Side(flin_port), Side(redis_port)
    history: list[str] = []
    waiting: list[int] = []
    try:
        for _ in range(steps):
            if waiting and script.random.random() < 0.04:
                number = script.random.choice(waiting)
                history.append(f"client {number} leaves")
                script.counts["left"] += 1
                for side in (flin, redis):
                    side.replace(number)
            number, requests = script.step([*waiting])
            history.append(f"client {number}: {'; '.join(requests)}")
            for side in (flin, redis):
                side.send(number, requests)
            before = waiting
            arrived, waiting = redis.come_to_rest()
            ours = flin.come_to_rest()
            told = "\n".join([*history[-30:], f"Redis: {arrived, waiting}", f"Flin:  {ours}"])
            assert ours == (arrived, waiting), told
            history += [f"    {client} got {data!r}" for client, data in enumerate(arrived) if data]
            script.counts["served"] += len(set(before) - set(waiting))
    finally:
        flin.close()
        redis.close()
    return script.counts
