"""Scenes: a script of several clients, played on Flin and on Redis; after each step all that has arrived is compared.

    a: SUBSCRIBE channel            one step: the requests of client `a`, with `; ` between them, in one write
    b3: PUBLISH channel x; GET y    a name that ends in 3 speaks RESP3
    a: (leaves)                     the connection is closed
    b3: CLIENT KILL ID {a}          the number of another client

Ports, numbers of clients and times differ by nature, and are made equal before the comparison.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable

from flin.testing.process import wait_until
from tests.net.differential import shortened
from tests.net.raw_client import RawClient

FIRST_NUMBER = 200
"""Numbers of clients begin here on both servers, so that they look like no other number of a scene."""

LEAVES = "(leaves)"


class Stage:
    """One of the two servers, with the clients of the scene."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._control = RawClient(port)
        self._control.call(b"FLUSHALL")
        self._clients: dict[str, RawClient] = {}
        self.numbers: dict[str, int] = {}
        while int(self._control.call(b"CLIENT", b"ID").payload) < FIRST_NUMBER:
            self._control.close()
            self._control = RawClient(port)

    def close(self) -> None:
        for client in [*self._clients.values(), self._control]:
            client.close()

    def play(self, name: str, requests: list[str]) -> dict[str, bytes]:
        """What has arrived for each client after the step."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = RawClient(self._port)
            self.numbers[name] = int(client.call(b"CLIENT", b"ID").payload)
            if name.endswith("3"):
                client.call(b"HELLO", b"3")
        if requests == [LEAVES]:
            client.close()
            del self._clients[name]
            number = self.numbers[name]
            wait_until(lambda: not self._control.call(b"CLIENT", b"LIST", b"ID", b"%d" % number).payload, "it has left")
        else:
            filled = [re.sub(r"\{(\w+)\}", lambda found: str(self.numbers[found[1]]), line) for line in requests]
            client.send([[_word(text) for text in request.split(" ")] for request in filled])
        return self._arrived()

    def _arrived(self) -> dict[str, bytes]:
        arrived: dict[str, bytes] = defaultdict(bytes)
        is_quiet = False
        while not is_quiet:
            is_quiet = True
            # The step may be read after the first PING, and written after its reply; not after the third.
            for _ in range(3):
                self._control.call(b"PING")
            for name, client in self._clients.items():
                data = self._without_accidents(client.read_what_is_there())
                if data and not arrived[name].endswith(b"(closed)"):
                    arrived[name] += data
                    is_quiet = False
        return {name: data for name, data in arrived.items() if data}

    def _without_accidents(self, data: bytes) -> bytes:
        own = rb"\+\d{10}\.\d{6} \[0 127\.0\.0\.1:%d\] [^\r]*\r\n" % self._control.port
        data = re.sub(own, b"", data)
        data = re.sub(rb"\+\d{10}\.\d{6} \[(\d+) ", rb"+TIME [\1 ", data)
        data = re.sub(rb"(?<=\[\d )127\.0\.0\.1:\d+\]", rb"ADDRESS]", data)
        data = re.sub(rb"[$=]\d+\r\n(?:txt:)?((?:id=\d+ [^\r]*\n)+)\r\n", _without_sizes, data)
        for name, number in self.numbers.items():
            data = re.sub(rb"(?<=redir=)%d\b" % number, b"number of " + name.encode(), data)
            data = re.sub(rb"(?<=:)%d(?=\r)" % number, b"number of " + name.encode(), data)
        return data


def _without_sizes(listed: re.Match[bytes]) -> bytes:
    """CLIENT LIST, INFO: the fields that do not depend on the machine. (Redis turns its list of clients round now and
    then.)"""
    lines = [dict(field.split(b"=", 1) for field in line.split(b" ")) for line in listed[1].splitlines()]
    return b"".join(sorted(b" ".join(line[name] for name in _FIELDS) + b"\r\n" for line in lines))


_FIELDS = (b"name", b"flags", b"db", b"sub", b"psub", b"ssub", b"multi", b"cmd", b"user", b"redir", b"resp")


def _word(text: str) -> bytes:
    """With escapes: `\\x20` is a space within a word."""
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


Arrived = dict[str, bytes]


def are_equal(ours: Arrived, theirs: Arrived) -> bool:
    return ours == theirs


def compare(
    flin_port: int,
    redis_port: int,
    script: str | Iterable[str],
    agree: Callable[[Arrived, Arrived], bool] = are_equal,
) -> dict[str, list[bytes]]:
    """Play the script on both. Returns what arrived for each client, step by step: for tests that something did."""
    steps = script.strip().splitlines() if isinstance(script, str) else script
    flin, redis = Stage(flin_port), Stage(redis_port)
    history: list[str] = []
    told: dict[str, list[bytes]] = defaultdict(list)
    try:
        for step in steps:
            name, _, requests = step.strip().partition(": ")
            history.append(step.strip())
            theirs = redis.play(name, requests.split("; "))
            ours = flin.play(name, requests.split("; "))
            if not agree(ours, theirs):
                lines = "\n    ".join(history[-25:])
                raise AssertionError(f"{lines}\nRedis: {_shown(theirs)}\nFlin:  {_shown(ours)}")
            for client, data in theirs.items():
                told[client].append(data)
                history.append(f"    {client} got {shortened(data)}")
    finally:
        flin.close()
        redis.close()
    return told


def _shown(arrived: dict[str, bytes]) -> str:
    return str({name: shortened(data) for name, data in arrived.items()})
