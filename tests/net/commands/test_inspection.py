"""FLIN.STATS and FLIN.CHECK, beside clients that go on."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event

import redis

import flin.engine
from flin.engine.engine import store_of
from flin.errors import FlinError, StorageError
from flin.testing.process import PATIENCE_SECONDS
from tests.net.raw_client import RawClient
from tests.net.serving import ServerThread


def test_figures(tmp_path: Path) -> None:
    with (
        flin.engine.open(tmp_path / "db", runner="inline") as engine,
        ServerThread(store_of(engine)) as server,
        RawClient(server.port) as client,
    ):
        assert json.loads(client.call(b"FLIN.STATS").payload) == {}
        object.__setattr__(server.server.services, "engine_statistics", engine.stats)
        assert json.loads(client.call(b"FLIN.STATS").payload)["path"] == str(tmp_path / "db")


def test_a_whole_and_a_damaged_database(tmp_path: Path) -> None:
    with flin.engine.open(tmp_path / "db", runner="inline") as engine:
        engine.put_many({b"k%04d" % number: b"v" * 50 for number in range(1000)})
        engine.flush()
        with ServerThread(store_of(engine), check=engine.verify) as server, RawClient(server.port) as client:
            assert client.pipeline([[b"SET", b"a", b"1"], [b"FLIN.CHECK"], [b"GET", b"a"]])[1].items == ()
            [table] = (tmp_path / "db").glob("*.sst")
            data = bytearray(table.read_bytes())
            data[100] ^= 1
            with table.open("r+b") as file:  # the same file: the server has it open
                file.write(data)
            [problem] = client.call(b"FLIN.CHECK").items
            assert table.name.encode() in problem.payload


def test_others_go_on_and_join(tmp_path: Path) -> None:
    calls: list[int] = []
    may_end = Event()

    def check() -> list[FlinError]:
        calls.append(1)
        assert may_end.wait(PATIENCE_SECONDS)
        return []

    with ServerThread(check=check) as server, redis.Redis(port=server.port) as other:
        with RawClient(server.port) as first, RawClient(server.port) as second:
            for client in (first, second):
                client.send([[b"FLIN.CHECK"]])
            for number in range(100):
                other.set("k", number)
            may_end.set()
            assert [client.read().items for client in (first, second)] == [(), ()]
        assert calls == [1]


def test_what_keeps_it_from_its_end() -> None:
    def check() -> list[FlinError]:
        raise StorageError("read", "a file", OSError(5, "Input/output error"))

    def fail() -> list[FlinError]:
        raise ZeroDivisionError

    for each, text in ((check, b"Input/output error"), (fail, b"the log says how")):
        with ServerThread(check=each) as server, RawClient(server.port) as client:
            assert text in client.call(b"FLIN.CHECK").data
            assert client.call(b"PING").data == b"+PONG\r\n"


def test_the_end_does_not_wait_for_it() -> None:
    may_end = Event()
    with ServerThread(check=lambda: [may_end.wait(60)]) as server, RawClient(server.port) as client:
        client.send([[b"FLIN.CHECK"]])
        with RawClient(server.port) as other:
            assert other.call(b"PING").data == b"+PONG\r\n"
    may_end.set()
