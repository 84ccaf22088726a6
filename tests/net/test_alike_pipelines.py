"""Pipelines of alike requests, which the server runs at once, against a real Redis.

Every command with a batch form: 2 to 40 requests in one write, over one key and over several, over keys of other types,
with an expiry, and with arguments that are refused. Another client writes at the same time, to keys of its own; a third
watches a key, and sometimes waits for one. After each pipeline the replies and the keys are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, count, product
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from _pytest.mark.structures import ParameterSet

import flin.engine
from flin.net.command.registry import all_commands, find
from flin.objects import limits
from flin.testing.process import wait_until
from tests.net.fake_store import OftenColdStore
from tests.net.raw_client import RawClient
from tests.net.serving import ServerThread
from tests.process.collections_load import parsed, shown

KEYS: Final = [b"a", b"b", b"c", b"\xffd", b"{a}e", b"f"]
"""Those that `shown` reads."""

WORDS: Final[dict[str, list[list[bytes]]]] = {
    "key": [[b"a", b"b", b"c", b"f"], [b"a", b"b", b"c", b"f"], [b"a"], [b"\xffd"], [b"{a}e"]],
    "name": [[b"a", b"b", b"c", b"\xff", b"0"], [b"aa", b"bb", b"12"], [b""], [b"e" * 70, b"f" * 70]],
    "value": [[b"a", b"b", b"7", b"\xff"], [b"-3", b"12", b"xx", b"\xff\xff"], [b""], [b"x" * 300, b"y" * 300]],
    "number": [[b"1", b"5", b"0", b"2"], [b"-1", b"12", b"12", b"-9"], [b"1", b"5", b"0", b"x"],
               [b"9223372036854775807", b"1000000000000000000"]],
    "score": [[b"1", b"2", b"0", b"7"], [b"2.5", b"inf", b"1e3", b"100"], [b"2.5", b"inf", b"nan", b"xyz"],
              [b"-inf", b"1e30", b"-1.5"]],
    "id": [[b"*"], [b"*"], [b"%d-1"], [b"%d-*"], [b"%d-1", b"1-%d"]],
}  # fmt: skip
"""Arguments of equal length, as the requests of such a pipeline have them; an id takes the next number."""

ARGUMENTS: Final[dict[str, list[str]]] = {
    "get": ["key"],
    "mget": ["key", "key"],
    "mset": ["key", "value", "key", "value"],
    "set": ["key", "value"],
    "incr": ["key"],
    "hget": ["key", "name"],
    "hset": ["key", "name", "value"],
    "hincrby": ["key", "name", "number"],
    "lpop": ["key"],
    "rpop": ["key"],
    "lpush": ["key", "value"],
    "rpush": ["key", "value"],
    "sadd": ["key", "value"],
    "sismember": ["key", "value"],
    "zadd": ["key", "score", "name"],
    "zincrby": ["key", "score", "name"],
    "zscore": ["key", "name"],
    "xadd": ["key", "id", "name", "value"],
    "publish": ["key", "value"],
    "del": ["key"],
    "exists": ["key"],
    "touch": ["key"],
    "unlink": ["key"],
}
"""The words of every command with a batch form."""

WAITING: Final = {"lpush": b"blpop", "rpush": b"blpop", "zadd": b"bzpopmin", "zincrby": b"bzpopmin"}
_IDS: Final = count(10_000)

TIMED_ID: Final = re.compile(r"(?:\$\d+\\r\\n)?\d{13}-\d+")
"""Of XADD with `*`: no two servers give the same one."""


def test_every_batch_form_is_tried() -> None:
    assert {command.name for command in all_commands() if command.batch is not None} == ARGUMENTS.keys()


Pipeline = list[list[bytes]]


def _pipelines(random: Random, name: str) -> list[Pipeline]:
    """Several of one kind, of any lengths: the server looks for columns once it has seen one."""
    word = random.choice((name, name.upper())).encode()
    pools = [random.choice(WORDS[kind]) for kind in ARGUMENTS[name]]
    found = [[[word, *map(random.choice, pools)] for _ in range(random.randrange(2, 41))] for _ in range(5)]
    if name == "xadd":
        for request in chain(*found):
            if request[2] != b"*":
                request[2] %= next(_IDS)
    if random.random() < 0.2:  # not all are alike
        pipeline = random.choice(found)
        pipeline.insert(random.randrange(len(pipeline)), [b"ECHO", b"between"])
    return found


def _before(random: Random, name: str) -> Pipeline:
    """What is at the keys: nearly all of the command's own type, small or large; others, nothing; some with an
    expiry."""
    requests = []
    for key in KEYS:
        several = [b"%d" % number for number in range(random.choice((1, 3, 12, 60, 200)))]
        pairs = [word for element in several for word in (element, element)]
        made = {
            "h": [b"hset", key, *pairs],
            "l": [b"rpush", key, *several],
            "s": [b"sadd", key, *several],
            "z": [b"zadd", key, *pairs],
            "x": [b"xadd", key, b"1-1", *pairs],
            "": [b"set", key, random.choice((b"7", b"x" * 300))],
        }
        own = (
            "s"
            if name in ("sadd", "sismember", "del", "touch")
            else "l"
            if "p" in name
            else name[0]
            if name[0] in "hzx"
            else ""
        )
        requests += [[b"del", key], made[own if random.random() < 0.9 else random.choice(list(made))]]
        if random.random() < 0.1:
            requests.append(random.choice(([b"pexpireat", key, b"4000000000000"], [b"del", key])))
    return requests


class Side:
    """The clients of one server: the second is in another database, the third watches, the fourth waits; the last, of
    RESP2, reads all keys."""

    def __init__(self, port: int, protocol: int) -> None:
        self.port = port
        self.clients = [RawClient(port) for _ in range(5)]
        for client in self.clients[:4]:
            client.call(b"HELLO", b"%d" % protocol)
        self.first, self.second, self.third, self.waiting, self.reader = self.clients
        self.first.call(b"FLUSHALL")
        self.second.call(b"SELECT", b"1")

    def close(self) -> None:
        for client in self.clients:
            client.close()

    def wait_for(self, request: list[bytes]) -> None:
        """Send it, and return when it waits; its key does not exist."""
        self.waiting.send([request])
        wait_until(lambda: b"blocked_clients:1\r\n" in self.third.call(b"INFO", b"clients").data, "a client waits")

    def replies(self, wait: list[bytes], watched: bytes | None, mine: list[Pipeline], others: list[Pipeline]) -> str:
        if wait:
            self.wait_for(wait)
        if watched:
            self.third.call(b"WATCH", watched)
        found: list[Any] = []
        for one, other in zip(mine, others, strict=True):
            self.first.send(one)
            self.second.send(other)
            found += [self.first.read().data for _ in one]
            found += [self.second.read().data for _ in other]
        found.append([reply.data for reply in self.third.pipeline([[b"MULTI"], [b"PING"], [b"EXEC"]])])
        if wait:  # unless the pipeline ended that
            end = [b"RPUSH", wait[1]] if wait[0] == b"blpop" else [b"ZADD", wait[1], b"9"]
            found.append([self.third.call(*end, b"end").data, self.waiting.read().data])
        return TIMED_ID.sub("ID", repr([*found, *map(self._shown, (b"0", b"1"))]))

    def _shown(self, database: bytes) -> dict[bytes, Any]:
        self.reader.call(b"SELECT", database)
        return shown(lambda *words: parsed(self.reader.call(*words).data))


SETUPS: Final = [("cold", 4, 2), ("engine", limits.MAX_PACKED_ELEMENTS, 3)]
"""A store, the most elements of a packed collection, and a protocol."""


def _cases() -> Iterator[ParameterSet]:
    """The ordinary suite takes each command in one setup, in turn."""
    for (number, name), (which, setup) in product(enumerate(ARGUMENTS), enumerate(SETUPS)):
        if number % len(SETUPS) == which:
            yield pytest.param(name, *setup, 10, id=f"{name}-{setup[0]}")
        yield pytest.param(name, *setup, 60, id=f"{name}-{setup[0]}-more", marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "store", "packed", "protocol", "rounds"), list(_cases()))
def test_alike(
    name: str,
    store: str,
    packed: int,
    protocol: int,
    rounds: int,
    redis_port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", packed)
    command = find(name.encode())
    assert command is not None
    assert command.batch is not None
    batch, done = command.batch, []

    def counted(*arguments: Any) -> Sequence[bytes]:
        replies = batch(*arguments)
        done.append(len(replies))
        return replies

    monkeypatch.setattr(command, "batch", counted)
    if store == "cold":
        _compare(OftenColdStore(Random(name)), redis_port, name, protocol, rounds)
    else:
        with flin.engine.open(tmp_path / "db", runner="inline") as engine:
            _compare(engine._store, redis_port, name, protocol, rounds)
    assert sum(done) >= rounds, done


def _compare(store: Any, redis_port: int, name: str, protocol: int, rounds: int) -> None:
    random = Random(f"{name} {protocol}")
    with ServerThread(store) as server:
        ours, theirs = Side(server.port, protocol), Side(redis_port, protocol)
        try:
            for _ in range(rounds):
                for words in _before(random, name):
                    assert ours.first.call(*words).data == theirs.first.call(*words).data, words
                key = random.choice(KEYS)
                wait = [WAITING[name], key, b"0"] if name in WAITING and random.random() < 0.3 else []
                if wait:
                    for side in (ours, theirs):
                        side.first.call(b"DEL", key)
                others = _pipelines(random, random.choice(list(ARGUMENTS)))
                watched = random.choice(KEYS) if random.random() < 0.25 else None
                arguments = wait, watched, _pipelines(random, name), others
                assert ours.replies(*arguments) == theirs.replies(*arguments), arguments
        finally:
            ours.close()
            theirs.close()
