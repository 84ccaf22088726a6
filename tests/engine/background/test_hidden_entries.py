"""What range deletes hide in older tables, and that its space comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flin.engine import Engine
from flin.engine.background import hidden_entries, maintenance
from flin.engine.background.hidden_entries import HiddenEntries, is_worth_a_flush
from flin.errors import CorruptionError
from flin.testing.process import wait_until

OpenEngine = Callable[..., Any]
KEYS = [b"k%05d" % number for number in range(4000)]


@pytest.fixture
def engine(open_engine: OpenEngine) -> Engine:
    """Four thousand keys in one table."""
    db: Engine = open_engine(runner="inline", shards=1, compression="none")
    db.put_many([(key, b"v" * 50) for key in KEYS])
    db.flush()
    return db


def entries(db: Engine) -> int:
    found: int = db.stats()["tables"]["entries"]
    return found


def test_space_comes_back_though_other_keys_are_written_too(engine: Engine) -> None:
    """The range delete and the points are flushed into one table, whose metadata do not say what it deletes."""
    engine.delete_range(KEYS[0], KEYS[3000])
    engine.put_many([(b"n%03d" % number, b"v") for number in range(100)])
    engine.flush()
    assert entries(engine) == len(engine) == 1100


def test_many_ranges_are_added_up(engine: Engine) -> None:
    for start in range(0, 4000, 100):
        engine.delete_range(KEYS[start], KEYS[start + 50])
    engine.put(b"n", b"v")
    engine.flush()
    assert entries(engine) == len(engine) == 2001


def test_a_few_are_not_worth_a_merge(engine: Engine) -> None:
    engine.delete_range(KEYS[0], KEYS[400])
    engine.put(b"n", b"v")
    engine.flush()
    assert entries(engine) == 4001


@pytest.mark.parametrize(("start", "stop", "is_worth"), [(0, 4000, True), (500, 2500, True), (0, 400, False)])
def test_range_deletes_in_memory_may_be_worth_a_flush(engine: Engine, start: int, stop: int, is_worth: bool) -> None:
    assert not is_worth_a_flush(engine._store.state, 0.25)
    engine.delete_range(KEYS[start], KEYS[stop - 1] + b"x")
    assert is_worth_a_flush(engine._store.state, 0.25) is is_worth
    engine.flush()
    assert not is_worth_a_flush(engine._store.state, 0.25), "none is in memory"


def test_a_damaged_table_does_not_count(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(deleted: object, table: object) -> int:
        raise CorruptionError("a.sst", 0, "a checksum is wrong")

    engine.clear()
    monkeypatch.setattr(hidden_entries, "hidden_below", damaged)
    assert not is_worth_a_flush(engine._store.state, 0.25)


def test_space_comes_back_though_nobody_writes_any_more(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "SPACE_SECONDS", 0.0)
    db: Engine = open_engine(runner="thread", compression="none")
    db.put_many([(key, b"v" * 50) for key in KEYS])
    db.flush()
    assert entries(db) == 4000
    db.clear()
    wait_until(lambda: entries(db) == 0, "all tables are gone")


def test_the_indexes_tell_about_how_many(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("flin.engine.background.compactor.HiddenEntries.among", lambda *_: lambda *_: 0)
        engine.delete_range(KEYS[1000], KEYS[2000])
        engine.put(b"n", b"v")
        engine.flush()
    state = engine._store.state
    (newer,), (older,) = (run.tables for run in state.runs[0])
    block = 4000 // len(older.loaded().separators)
    hides = HiddenEntries().among(state)
    assert abs(hides(newer.meta, older.meta) - 1000) <= 2 * block

    def never(table: object, older: object) -> int:
        raise AssertionError("it is remembered")

    with monkeypatch.context() as patch:
        patch.setattr(hidden_entries, "hidden_entries", never)
        assert hides(newer.meta, older.meta) > 0

    def damaged(table: object, older: object) -> int:
        raise CorruptionError("a.sst", 0, "a checksum is wrong")

    monkeypatch.setattr(hidden_entries, "hidden_entries", damaged)
    assert HiddenEntries().among(state)(newer.meta, older.meta) == 0, "who reads it reports it"
