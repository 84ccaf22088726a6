"""`on_expired`: which keys a program is told of, when, and what its mistakes do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

import flin.engine
from flin.testing import ManualClock, SimulatedDisk

OpenEngine = Callable[..., Any]


@pytest.mark.parametrize("is_flushed", [False, True])
def test_it_is_told_of_each_key_that_has_expired(open_engine: OpenEngine, is_flushed: bool) -> None:
    told: list[bytes] = []
    clock = ManualClock()
    db = open_engine(fs=SimulatedDisk(), clock_ms=clock, on_expired=told.append, value_threshold=8)
    db.put_many(dict.fromkeys([b"a", b"b", b"\xff\x01", b"written", b"deleted", b"kept"], b"long enough"), ttl=5)
    db.put(b"later", b"v", ttl=50)
    if is_flushed:
        db.flush()
    db.put(b"written", b"again")
    db.delete(b"deleted")
    db.persist(b"kept")
    assert (len(db), told) == (6, [])
    clock.advance(5)
    assert (db.get(b"a"), told) == (None, []), "a read finds nothing, and only the sweep deletes"
    assert len(db) == 3
    assert sorted(told) == [b"a", b"b", b"\xff\x01"]
    len(db)
    assert len(told) == 3


def test_it_may_use_the_database(open_engine: OpenEngine) -> None:
    clock = ManualClock()

    def tell(key: bytes) -> None:
        db.put(b"gone:" + key, b"", ttl=5)

    db: Any = open_engine(fs=SimulatedDisk(), clock_ms=clock, on_expired=tell)
    db.put(b"a", b"", ttl=1)
    clock.advance(1)
    assert len(db) == 1
    assert list(db) == [b"gone:a"]


def test_its_exception_is_logged_and_the_sweep_goes_on(
    open_engine: OpenEngine, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[bytes] = []

    def tell(key: bytes) -> None:
        told.append(key)
        raise RuntimeError("no")

    clock = ManualClock()
    db = open_engine(fs=SimulatedDisk(), clock_ms=clock, on_expired=tell)
    db.put_many({b"a": b"", b"b": b""}, ttl=1)
    clock.advance(1)
    with caplog.at_level(logging.ERROR, "flin.engine"):
        assert len(db) == 0
    assert sorted(told) == [b"a", b"b"]
    assert "on_expired has failed for the key b'a'" in caplog.text
    assert "RuntimeError: no" in caplog.text


def test_the_background_tells(tmp_path: Path) -> None:
    told, expired = list[bytes](), Event()

    def tell(key: bytes) -> None:
        told.append(key)
        expired.set()

    with flin.engine.open(tmp_path / "db", runner="thread", on_expired=tell) as db:
        db.put(b"k", b"v", ttl=0.01)
        assert expired.wait(60)
    assert told == [b"k"]
