"""kill -9 of a server that runs scripts: each is there whole or not at all, and those that were answered are there."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from threading import Thread

import pytest

from flin.testing.process import wait_until
from tests.figures import KILLS, Figures
from tests.net.raw_client import RawClient
from tests.process.collections_load import LOW, Served

pytest.importorskip("lupa.luajit21", exc_type=ImportError)

MOVE = b"""
    redis.call('INCRBY', KEYS[1], ARGV[1])
    redis.call('HINCRBY', KEYS[2], 'sum', -ARGV[1])
    redis.call('RPUSH', KEYS[3], ARGV[2])
    for i = 1, 20 do redis.call('ZADD', 'places', ARGV[1] + i, ARGV[2] .. ':' .. i) end
    if ARGV[3] == 'long' then
        local till = redis.call('TIME')[1] + 3600
        while tonumber(redis.call('TIME')[1]) < till do redis.call('SET', 'never', ARGV[2]) end
    end
    return redis.call('LLEN', KEYS[3])
"""
"""Moves an amount from a counter to a hash, and notes it; a long one never ends."""


class Mover(Thread):
    def __init__(self, port: int, names: count[int]) -> None:
        super().__init__()
        self.answered: list[bytes] = []
        self._client = RawClient(port)
        self._names = names

    def run(self) -> None:
        try:
            while True:
                names = [b"%d" % next(self._names) for _ in range(8)]
                self._client.send([b"EVAL", MOVE, b"3", b"a", b"b", b"log", name, name, b"short"] for name in names)
                for name in names:
                    reply = self._client.read()
                    if reply.kind == b":":
                        self.answered.append(name)
                    else:
                        assert reply.data.startswith(b"-BUSY"), reply.data
        except (OSError, EOFError, ValueError):  # the server has died, perhaps in the midst of a reply
            pass
        finally:
            self._client.close()


def check(port: int, answered: list[bytes]) -> None:
    with RawClient(port) as client:
        log = [item.payload for item in client.call(b"LRANGE", b"log", b"0", b"-1").items]
        total = sum(map(int, log))
        assert int(client.call(b"GET", b"a").payload) == total
        assert int(client.call(b"HGET", b"b", b"sum").payload) == -total
        assert int(client.call(b"ZCARD", b"places").payload) == 20 * len(log)
        assert len(log) == len(set(log))
        assert set(answered) <= set(log)
        assert client.call(b"EXISTS", b"never").data == b":0\r\n"


@pytest.mark.parametrize("ends", ["short", "long"])
def test_scripts_and_a_killed_server(tmp_path: Path, figures: Figures, ends: str) -> None:
    served = Served(tmp_path / "db", "interval", LOW, 1)
    answered: list[bytes] = []
    names = count(1)
    for _ in range(2):
        answered += live(served, names, is_long=ends == "long")
        figures.add(KILLS, 1)
        check(served.start(), answered)
        served.stop()


def live(served: Served, names: count[int], *, is_long: bool) -> list[bytes]:
    """A life of the server, until enough scripts are answered, or it dies in the midst of a long one."""
    port = served.start()
    movers = [Mover(port, names) for _ in range(3)]
    for mover in movers:
        mover.start()
    wait_until(lambda: all(len(mover.answered) >= 40 for mover in movers), "scripts are answered")
    if is_long:
        with RawClient(port) as client, RawClient(port) as other:
            other.call(b"CONFIG", b"SET", b"busy-reply-threshold", b"1")
            client.send([[b"EVAL", MOVE, b"3", b"a", b"b", b"log", b"7", b"%d" % next(names), b"long"]])
            wait_until(lambda: other.call(b"PING").is_error, "the server is busy")
    served.kill()
    for mover in movers:
        mover.join()
    return [name for mover in movers for name in mover.answered]
