"""DBSIZE is exact and holds nobody up; INFO costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Semaphore
from typing import Any

import pytest

import flin.engine
from flin.engine.read import live_count
from flin.net.data import keyspace
from flin.net.data.databases import Databases
from flin.net.wire.replies import last_of
from flin.testing.process import PATIENCE_SECONDS
from tests.net.raw_client import RawClient
from tests.net.serving import HandlerClient, ServerThread


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Any]:
    """A database with 100 settled keys, and 50 more and as many overwritten ones that nobody has counted."""
    with flin.engine.open(str(tmp_path / "db"), runner="inline") as engine:
        for begin, end in ((0, 100), (50, 150)):
            engine.put_many({b"%03d" % number: b"v" for number in range(begin, end)})
            engine.flush()
        yield engine


def test_info_does_not_count_and_dbsize_is_exact(engine: Any) -> None:
    client = HandlerClient(services=replace(HandlerClient(engine._store).services, engine_statistics=engine.stats))
    assert b"db0:keys=100," in client.call(b"INFO", b"keyspace")
    assert b"engine_count_unsettled_entries:100\r\n" in client.call(b"INFO", b"flin")
    assert engine.stats()["count"]["jobs"] == 0
    assert client.call(b"DBSIZE") == b":150\r\n"
    assert b"db0:keys=150," in client.call(b"INFO", b"keyspace")
    assert b"engine_count_unsettled_entries:0\r\n" in client.call(b"INFO", b"flin")


def test_one_step_that_counts_does_so_ahead(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """EXEC and scripts wait until a thread has counted; others are served meanwhile, and what they write counts."""
    monkeypatch.setattr(keyspace, "COUNTED_AT_ONCE", 10)
    count_ahead = type(engine._store).count_ahead
    has_counted, may_go_on = Semaphore(0), Semaphore(0)

    def held(store: Any) -> None:
        count_ahead(store)
        has_counted.release()
        assert may_go_on.acquire(timeout=PATIENCE_SECONDS)

    monkeypatch.setattr(type(engine._store), "count_ahead", held)
    with ServerThread(engine._store) as server, RawClient(server.port) as counting, RawClient(server.port) as other:
        requests = {
            150: b"MULTI\r\nSET 001 again\r\nSET new v\r\nDBSIZE\r\nEXEC\r\n",
            200: b"EVAL \"redis.call('DEL', '001') return redis.call('DBSIZE')\" 0\r\n",
        }
        for keys, request in requests.items():
            engine.put_many({b"%03d" % number: b"v" for number in range(keys - 50, keys)})
            counting.send_raw(request)
            assert has_counted.acquire(timeout=PATIENCE_SECONDS)
            assert other.call(b"SET", b"other%d" % keys, b"v").data == b"+OK\r\n"
            assert other.call(b"GET", b"other%d" % keys).data == b"$1\r\nv\r\n"
            engine.put_many({b"more%d-%d" % (keys, number): b"v" for number in range(11)})  # too many to count at once
            may_go_on.release()
            assert has_counted.acquire(timeout=PATIENCE_SECONDS)
            assert other.call(b"SET", b"another", b"v").data == b"+OK\r\n"
            may_go_on.release()
            if keys == 150:
                assert [counting.read().data for _ in range(4)] == [b"+OK\r\n", *[b"+QUEUED\r\n"] * 3]
                assert counting.read().data == b"*3\r\n+OK\r\n+OK\r\n:%d\r\n" % (150 + 1 + 1 + 11 + 1)
            else:
                assert counting.read().data == b":%d\r\n" % (200 + 1 + 2 + 22 + 1 - 1)
        assert other.call(b"DBSIZE").data == b":%d\r\n" % len(engine)


def test_one_step_counts_little_at_once(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(engine) == 150
    monkeypatch.setattr(type(engine._store), "count_ahead", None)
    client = HandlerClient(engine._store)
    for word in (b"MULTI", b"DBSIZE", b"FLUSHDB", b"DBSIZE"):
        client.call(word)
    assert client.call(b"EXEC") == b"*3\r\n:150\r\n+OK\r\n:0\r\n"


def test_dbsize_waits_in_a_reader_thread(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the loop it counts nothing but memtables, even if others write meanwhile."""
    monkeypatch.setattr(live_count, "_settling_of", None)  # nobody counts runs here
    client = HandlerClient(engine._store)
    databases: Databases = client.services.databases
    counting = databases.keyspaces[0].count()
    load = next(counting)
    load()
    engine.put_many({b"%03d" % number: b"v" for number in range(140, 160)})
    engine.flush()
    assert last_of(counting) == 150, "as of its beginning"
