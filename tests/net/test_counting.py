"""DBSIZE is exact and holds nobody up; INFO costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flin.engine
from flin.engine.read import live_count
from flin.net.data.databases import Databases
from flin.net.wire.replies import last_of
from tests.net.serving import HandlerClient


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
