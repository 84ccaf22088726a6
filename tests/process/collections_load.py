"""A server that is killed behind pipelined commands over collections, and a checker of what is left.

Each lane is a connection with two databases of its own. It sends units (a command, or a transaction) in pipelines, and
remembers how many were answered. What is found after a kill -9 must be what the first n units make, for an n between
those answered and those sent, in all keys of the lane together. The same handlers over a store in memory, without any
limit on what is packed, say what the units make (tests/net compares these with a real Redis).
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any, Final, TypeAlias, TypeVar

import hiredis

from flin.testing.process import wait_until
from tests.net.commands.handling import Handling
from tests.net.raw_client import RawClient
from tests.source import ROOT

PIPELINE: Final = 24
"""Commands that are sent at once."""

LOW: Final = "MAX_PACKED_ELEMENTS=3 MAX_WHOLE=6 MIN_REWRITTEN=2 MAX_REWRITES=2 PAGE=4"
"""Limits with which a few elements make a collection spread, and a few more none that stays whole."""

PROGRAM: Final = """
import sys
from flin.objects import limits
for name, value in (word.split("=") for word in sys.argv.pop(1).split()):
    assert hasattr(limits, name), name
    setattr(limits, name, int(value))
from flin.cli.main import main
sys.exit(main())
"""

Request: TypeAlias = list[bytes]
Unit: TypeAlias = list[Request]
"""One command, or those of a transaction."""

Drawn = TypeVar("Drawn")

KEYS: Final = [b"a", b"b", b"c", b"\xffd", b"{a}e", b"f"]
NAMES: Final = [b"%d" % number for number in range(12)] + [b"", b"\xff", b"long" * 50]
FAR_MS: Final = 4_000_000_000_000


def _element(random: Random) -> bytes:
    return random.choice(NAMES) * random.choice((1, 1, 1, 9))


def _several(random: Random, draw: Callable[[Random], Drawn]) -> list[Drawn]:
    return [draw(random) for _ in range(random.choice((1, 1, 2, 5)))]


def _name(random: Random) -> bytes:
    return random.choice(NAMES)


def _key(random: Random) -> bytes:
    return random.choice(KEYS)


@cache
def payloads() -> list[bytes]:
    """What DUMP writes of every type: of one element, of some, and of more than stay packed with low limits."""
    handling = Handling()
    found = []
    for count in (1, 3, 20):
        elements = [b"e%d" % number for number in range(count)]
        pairs = list(chain(*((element, b"%d" % number) for number, element in enumerate(elements))))
        for request in (
            [b"hset", b"k", *pairs],
            [b"rpush", b"k", *elements],
            [b"sadd", b"k", *elements],
            [b"zadd", b"k", *pairs[1:], b"last"],
            [b"xadd", b"k", b"7-1", *pairs],
            [b"set", b"k", b"string" * count],
        ):
            handling.call(*request)
            found.append(handling.call(b"dump", b"k"))
            handling.call(b"del", b"k")
    return found


MAKERS: Final[dict[str, Callable[[Random], Request]]] = {
    "hset": lambda r: [b"hset", _key(r), *chain(*_several(r, lambda r: (_name(r), _element(r))))],
    "hincrby": lambda r: [b"hincrby", _key(r), b"n%d" % r.randrange(3), b"%d" % r.randrange(-9, 99)],
    "hdel": lambda r: [b"hdel", _key(r), *_several(r, _name)],
    "sadd": lambda r: [b"sadd", _key(r), *_several(r, _name)],
    "srem": lambda r: [b"srem", _key(r), *_several(r, _name)],
    "smove": lambda r: [b"smove", _key(r), _key(r), _name(r)],
    "sunionstore": lambda r: [b"sunionstore", _key(r), _key(r), _key(r)],
    "lpush": lambda r: [b"lpush", _key(r), *_several(r, _element)],
    "rpush": lambda r: [b"rpush", _key(r), *_several(r, _element)],
    "lpop": lambda r: [b"lpop", _key(r), *r.choice(([], [b"3"]))],
    "rpop": lambda r: [b"rpop", _key(r), *r.choice(([], [b"2"]))],
    "zadd": lambda r: [b"zadd", _key(r), *chain(*_several(r, lambda r: (b"%d" % r.randrange(9), _name(r))))],
    "zincrby": lambda r: [b"zincrby", _key(r), b"%d" % r.randrange(-9, 9), _name(r)],
    "zrem": lambda r: [b"zrem", _key(r), *_several(r, _name)],
    "zremrangebyrank": lambda r: [b"zremrangebyrank", _key(r), b"0", b"%d" % r.randrange(3)],
    "xadd": lambda r: [b"xadd", _key(r), b"%d-*" % r.randrange(99), _name(r), _element(r)],
    "xtrim": lambda r: [b"xtrim", _key(r), b"maxlen", b"%d" % r.randrange(9)],
    "xgroup": lambda r: [b"xgroup", b"create", _key(r), b"g%d" % r.randrange(2), b"0"],
    "setrange": lambda r: [b"setrange", _key(r), b"%d" % r.randrange(40_000), _name(r)],
    "set": lambda r: [b"set", _key(r), _element(r)],
    "del": lambda r: [b"del", *_several(r, _key)],
    "rename": lambda r: [b"rename", _key(r), _key(r)],
    "copy": lambda r: [b"copy", _key(r), _key(r), b"replace"],
    "pexpireat": lambda r: [b"pexpireat", _key(r), b"%d" % (FAR_MS + r.randrange(9))],
    "persist": lambda r: [b"persist", _key(r)],
    "sinterstore": lambda r: [b"sinterstore", _key(r), _key(r), _key(r)],
    "sdiffstore": lambda r: [b"sdiffstore", _key(r), _key(r), _key(r)],
    "zunionstore": lambda r: [b"zunionstore", _key(r), b"2", _key(r), _key(r)],
    "zinterstore": lambda r: [b"zinterstore", _key(r), b"2", _key(r), _key(r)],
    "zrangestore": lambda r: [b"zrangestore", _key(r), _key(r), b"0", b"%d" % r.randrange(9)],
    "geosearchstore": lambda r: [b"geosearchstore", _key(r), _key(r), b"frommember", _name(r), b"byradius", b"9999",
                                 b"km"],
    "sort": lambda r: [b"sort", _key(r), b"alpha", b"store", _key(r)],
    "restore": lambda r: [b"restore", _key(r), b"%d" % r.choice((0, FAR_MS)), r.choice(payloads()), b"absttl",
                          *r.choice(([], [b"replace"], [b"replace"]))],
    "bitop": lambda r: [b"bitop", r.choice((b"or", b"xor")), _key(r), _key(r), _key(r)],
}  # fmt: skip
"""A random request of each command. One that meets another type, or nothing, changes nothing: that is part of it."""

WHOLE: Final = ["copy", "restore", "sort", "bitop", "sunionstore", "sinterstore", "sdiffstore", "zunionstore",
                "zinterstore", "zrangestore", "geosearchstore"]  # fmt: skip
"""Commands that write a whole key anew."""

RARE: Final = {"set", "del", "rename", "pexpireat", "persist", *WHOLE}
"""Commands that take collections away: a third as often, so that some grow."""


def units(seed: int, lane: int) -> Iterator[Unit]:
    random = Random(f"{seed} {lane}")
    names = [name for name in MAKERS for _ in range(1 if name in RARE else 3)]
    databases = [b"%d" % (2 * lane), b"%d" % (2 * lane + 1)]
    while True:
        drawn = random.random()
        if drawn < 0.01:
            yield [[b"swapdb", *databases]]
        elif drawn < 0.015:
            yield [[b"move", _key(random), databases[1]]]
        elif drawn < 0.018:
            yield [[b"flushdb", *random.choice(([], [b"async"]))]]
        else:
            commands = [
                MAKERS[random.choice(names)](random) for _ in range(random.choice((2, 5)) if drawn < 0.1 else 1)
            ]
            yield commands


class Lane:
    def __init__(self, seed: int, number: int) -> None:
        self.number = number
        self._units = units(seed, number)
        self._model = Handling()
        self._model.call(b"select", self._databases[0])
        self.unchecked: list[Unit] = []
        """Those that were sent and are not in the model yet."""
        self.answered = 0
        """Of the unchecked ones."""
        self.failure: BaseException | None = None

    @property
    def _databases(self) -> list[bytes]:
        return [b"%d" % (2 * self.number), b"%d" % (2 * self.number + 1)]

    # The load.

    def drive(self, port: int) -> None:
        """Until the server is killed."""
        try:
            with RawClient(port) as client:
                client.call(b"select", self._databases[0])
                while True:
                    self._pipeline(client)
        except (EOFError, ConnectionError):
            pass
        except BaseException as error:  # raised by the test
            self.failure = error

    def _pipeline(self, client: RawClient) -> None:
        sent: list[Unit] = []
        while sum(map(len, sent)) < PIPELINE:
            sent.append(next(self._units))
        self.unchecked += sent
        client.send(request for unit in sent for request in _as_sent(unit))
        for unit in sent:
            for _ in _as_sent(unit):
                reply = client.read()
            assert not reply.data.startswith(b"-EXECABORT"), unit
            self.answered += 1

    # The check.

    def check(self, client: RawClient) -> int:
        """How many of the unchecked units are there. What was sent and is lost was never answered."""

        def ask(*words: bytes) -> Any:
            return parsed(client.call(*words).data)

        found = self._shown(ask)
        for number, unit in enumerate([*self.unchecked, []]):
            if number >= self.answered and self._shown(self._ask_model) == found:
                self.unchecked, self.answered = [], 0
                return number
            for request in unit:
                self._model.call(*request)
            self._model.pending.commit()
        raise AssertionError(f"lane {self.number}: found {found}, answered {self.answered} of {len(self.unchecked)}")

    def _shown(self, ask: Callable[..., Any]) -> list[dict[bytes, Any]]:
        """Both databases; the first is selected then."""
        found = []
        for database in self._databases[::-1]:
            ask(b"select", database)
            found.append(shown(ask))
        return found

    def _ask_model(self, *words: bytes) -> Any:
        return parsed(self._model.wire(*words))


def _as_sent(unit: Unit) -> list[Request]:
    return unit if len(unit) == 1 else [[b"multi"], *unit, [b"exec"]]


def parsed(data: bytes) -> Any:
    reader = hiredis.Reader()
    reader.feed(data)
    return reader.gets()


READS: Final[dict[bytes, Callable[[Callable[..., Any], bytes], Any]]] = {
    b"string": lambda ask, key: ask(b"get", key),
    b"hash": lambda ask, key: sorted(zip(*[iter(ask(b"hgetall", key))] * 2, strict=True)),
    b"set": lambda ask, key: sorted(ask(b"smembers", key)),
    b"list": lambda ask, key: ask(b"lrange", key, b"0", b"-1"),
    b"zset": lambda ask, key: ask(b"zrange", key, b"0", b"-1", b"withscores"),
    b"stream": lambda ask, key: [ask(b"xrange", key, b"-", b"+"), ask(b"xinfo", b"groups", key)],
}


def shown(ask: Callable[..., Any]) -> dict[bytes, Any]:
    """All keys of a database, with their expiry."""
    found = {}
    for key in KEYS:
        kind = ask(b"type", key)
        kind = kind if isinstance(kind, bytes) else str(kind).encode()
        if kind != b"none":
            found[key] = (kind, READS[kind](ask, key), ask(b"pexpiretime", key))
    assert ask(b"dbsize") == len(found)
    return found


class Served:
    """The server of one directory, again and again."""

    def __init__(self, directory: Path, sync: str, limits: str, shards: int) -> None:
        self.directory, self._sync, self._limits, self._shards = directory, sync, limits, shards
        self._log = directory.with_suffix(".log")

    def start(self) -> int:
        """The port."""
        words = ["serve", "--port", "0", "--dir", str(self.directory), "--sync", self._sync]
        words += ["--shards", str(self._shards), "--memory-limit", "16mb"]
        with self._log.open("wb") as log:
            command = [sys.executable, "-c", PROGRAM, self._limits, *words]
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        wait_until(lambda: self._ready() or self.process.poll() is not None, "the server opens")
        found = self._ready()
        assert found, self._log.read_text()
        return int(found[1])

    def _ready(self) -> re.Match[str] | None:
        return re.search(r"is ready on \S+ port (\d+)", self._log.read_text())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait() == 0, self._log.read_text()


def load_and_kill(served: Served, lanes: Sequence[Lane], answers: int) -> None:
    """Kill the server once each lane has had this many answers."""
    port = served.start()
    threads = [Thread(target=lane.drive, args=(port,)) for lane in lanes]
    try:
        for thread in threads:
            thread.start()
        wait_until(
            lambda: all(lane.answered >= answers for lane in lanes) or not all(each.is_alive() for each in threads),
            "the load is answered",
        )
    finally:
        served.kill()
        for thread in threads:
            thread.join()
    for lane in lanes:
        if lane.failure is not None:
            raise lane.failure
