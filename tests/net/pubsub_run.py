"""Random sequences of several clients about pub/sub, run on Redis and on Flin side by side.

One action at a time: a client sends a request, or a pipeline, and then every client reads what has come for it. On a
connection messages arrive in the order in which they were sent; behind each action every client that is touched by none
sends a PING, whose answer ends what there is to read. What is compared is every byte, but for the order in which a hash
table is walked: the frames of one (un)subscription of everything, and the messages of one publication by patterns.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.net.raw_client import Raw, RawClient

NAMES = (b"a", b"b", b"ab", b"ba", b"aba", b"news.x", b"news.y", b"", b"a\r\nb")
PATTERNS = (b"*", b"a*", b"?", b"*a", b"[ab]*", b"news.*", b"ab", b"a?a", b"[^a]*", b"\\*", b"a[")
KINDS = (b"", b"P", b"S")
CLIENTS = 5


@dataclass
class Step:
    """What one client sends at once."""

    client: int
    requests: list[list[bytes]]


@dataclass
class Plan:
    """Makes steps. It knows which clients are subscribed in RESP2, as far as it needs to send what runs."""

    random: random.Random
    protocols: list[int] = field(default_factory=lambda: [2] * CLIENTS)

    def steps(self, number: int) -> Iterator[Step]:
        for client in range(CLIENTS):
            if self.random.random() < 0.5:
                self.protocols[client] = 3
                yield Step(client, [[b"HELLO", b"3"]])
        for _ in range(number):
            client = self.random.randrange(CLIENTS)
            length = self.random.choice((1, 1, 1, 2, 4))
            requests = [self.request(client) for _ in range(length)]
            if self.random.random() < 0.15:
                requests = [[b"MULTI"], *[self.queued(client) for _ in range(length)], [b"EXEC"]]
            elif self.random.random() < 0.15:  # alike: such pipelines are recognised by their bytes, and run as one
                requests = [
                    [b"PUBLISH", self.random.choice(NAMES[:2]), b"%03d" % number] for number in range(length + 4)
                ]
            yield Step(client, requests)

    def names(self, names: tuple[bytes, ...], least: int) -> list[bytes]:
        return self.random.choices(names, k=self.random.randint(least, 3))

    def request(self, client: int) -> list[bytes]:
        pick = self.random.random()
        if pick < 0.35:
            return [b"PUBLISH", self.random.choice(NAMES), b"%d" % self.random.randrange(10**6)]
        if pick < 0.42:
            return [b"SPUBLISH", self.random.choice(NAMES), b"m"]
        if pick < 0.62:
            return self.subscribing(b"SUBSCRIBE", 1)
        if pick < 0.78:
            return self.subscribing(b"UNSUBSCRIBE", self.random.randint(0, 1))
        if pick < 0.84:
            return self.random.choice(([b"PING"], [b"ping", b"x"], [b"PING", b"x", b"y"], [b"GET", b"k"]))
        if pick < 0.86:
            self.protocols[client] = 2
            return [b"RESET"]
        if pick < 0.88:
            return [b"HELLO", self.random.choice((b"2", b"3"))]
        return self.asking()

    def queued(self, client: int) -> list[bytes]:
        """Without messages to itself: where they stand in EXEC's reply is a listed difference."""
        return self.asking() if self.random.random() < 0.4 else self.subscribing(b"SUBSCRIBE", 1)

    def subscribing(self, verb: bytes, least: int) -> list[bytes]:
        kind = self.random.choice(KINDS)
        verb = verb.lower() if self.random.random() < 0.2 else verb
        return [kind + verb, *self.names(PATTERNS if kind == b"P" else NAMES, least)]

    def asking(self) -> list[bytes]:
        shard = self.random.choice((b"", b"SHARD"))
        return self.random.choice(
            (
                [b"PUBSUB", shard + b"NUMSUB", *self.names(NAMES, 0)],
                [b"PUBSUB", shard + b"CHANNELS", *self.names(PATTERNS, 0)[:1]],
                [b"PUBSUB", b"NUMPAT"],
                [b"PUBSUB", b"numpat", b"x"],
                [b"PUBSUB", shard + b"CHANNELS", b"a", b"b"],
            )
        )


def run(port: int, steps: list[Step]) -> list[list[Raw]]:
    """What each client read after each step, clients in order."""
    clients = [RawClient(port) for _ in range(CLIENTS)]
    try:
        seen = [read for step in steps for read in _run_step(clients, step)]
        for (
            client
        ) in clients:  # the next run must not meet their subscriptions, which a closed connection may still have
            assert client.call(b"RESET").payload == b"RESET"
        return seen
    finally:
        for client in clients:
            client.close()


END = b"the-end"


def _run_step(clients: list[RawClient], step: Step) -> Iterator[list[Raw]]:
    clients[step.client].send(step.requests)
    yield _read_to_end(clients[step.client])
    for number, client in enumerate(clients):
        if number != step.client:
            yield _read_to_end(client)


def _read_to_end(client: RawClient) -> list[Raw]:
    client.send([[b"PING", END]])
    seen: list[Raw] = []
    while True:
        read = client.read()
        if END in read.data:  # a bulk, or the array of a client that is subscribed
            return seen
        seen.append(read)


def differences(steps: list[Step], theirs: list[list[Raw]], ours: list[list[Raw]]) -> Iterator[str]:
    """What differs, client by client, after each step."""
    for number, (expected, seen) in enumerate(zip(theirs, ours, strict=True)):
        if comparable(expected) != comparable(seen):
            yield f"client after {steps[number // CLIENTS]}: Redis {comparable(expected)}, Flin {comparable(seen)}"


def comparable(seen: list[Raw]) -> list[object]:
    """What must be equal on both sides: runs of frames whose order is that of a hash table are sorted."""
    result: list[object] = []
    run: list[bytes] = []
    for raw in seen:
        verb = raw.items[0].payload if raw.items else b""
        if verb in (b"unsubscribe", b"punsubscribe", b"sunsubscribe"):
            run += (b"".join(item.data for item in raw.items[:2]), raw.items[2].data)
            continue
        if verb == b"pmessage":
            run.append(raw.data)
            continue
        if run:
            result.append(sorted(run))
            run = []
        if verb == b"server":  # HELLO's reply, with the client's id
            result.append(raw.kind)
        elif raw.kind in b"*" and raw.items and verb not in (b"subscribe", b"psubscribe", b"ssubscribe", b"message"):
            result.append(_unordered(raw))
        else:
            result.append(raw.data)
    return [*result, sorted(run)] if run else result


def _unordered(raw: Raw) -> object:
    """The names that PUBSUB CHANNELS gives come in any order, in EXEC too."""
    return [raw.kind, *sorted(map(_unordered, raw.items), key=repr)] if raw.items else raw.data
