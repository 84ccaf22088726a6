"""Sizes of ranges, and their compaction: estimates against what the files hold."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from flin.engine.background.compaction import CompactionOptions
from flin.errors import ClosedError
from flin.testing import SimulatedDisk

OpenEngine = Callable[..., Any]


def filled(open_engine: OpenEngine, value: bytes = b"v" * 100, **options: Any) -> Any:
    """20,000 keys in several tables and runs; 000 to 199, a hundred keys each."""
    db = open_engine(fs=SimulatedDisk(), compression="none", memory_limit="4mb", **options)
    numbers = list(range(20_000))
    Random(5).shuffle(numbers)
    for at in range(0, len(numbers), 5000):
        db.put_many({b"%05d" % number: value for number in numbers[at : at + 5000]})
        db.flush()
    return db


@pytest.mark.parametrize("shards", [1, 4])
def test_sizes_of_ranges(open_engine: OpenEngine, shards: int) -> None:
    db = filled(open_engine, shards=shards)
    whole = db.approximate_size()
    tables = sum(table.meta.length for table in db._store.tables.tables())
    assert whole == tables > 20_000 * 100
    runs = sum(map(len, db._store.state.runs))
    for start, stop in ((0, 5000), (3000, 17_000), (19_000, 20_000), (500, 600)):
        expected = whole * (stop - start) / 20_000
        found = db.approximate_size(b"%05d" % start, b"%05d" % stop)
        assert abs(found - expected) <= (runs + 1) * 2 * 8192
    assert (
        db.approximate_size(b"%05d" % 10_000) + db.approximate_size(None, b"%05d" % 10_000) - whole <= runs * 2 * 8192
    )
    assert db.approximate_size(b"x") == db.approximate_size(b"5", b"4") == 0
    assert db.prefixed(b"0").approximate_size() == db.approximate_size(b"0", b"1")
    assert db.prefixed(b"0").approximate_size(b"5000", b"6") == db.approximate_size(b"05000", b"06")
    db.put_many({b"new": bytes(10_000)})
    assert db.approximate_size(b"new") == 0, "it is in no table yet"
    db.close()
    with pytest.raises(ClosedError):
        db.approximate_size()


def test_values_in_value_files_count(open_engine: OpenEngine) -> None:
    db = filled(open_engine, value=b"v" * 600, value_threshold=512)
    assert db._store.state.version.value_files
    assert 20_000 * 600 < db.approximate_size() < 20_000 * 700
    assert 5000 * 500 < db.approximate_size(b"05", b"10") < 5000 * 800


def test_a_range_is_compacted_and_the_rest_is_not(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk(), compression="none", memory_limit="4mb")
    never = CompactionOptions(maximum_runs=100, merge_width=100, bottom_ratio=1000.0, tombstone_ratio=1000.0)
    db._compactor.set_sizes(never, 1 << 16)
    for number in range(3):
        for letter in (b"a", b"m", b"z"):
            db.put_many({letter + b"%04d" % key: b"%d" % number * 100 for key in range(1000)})
            db.flush()
    db.delete_many(b"m%04d" % key for key in range(500))

    def tables() -> dict[bytes, set[tuple[str, int]]]:
        found: dict[bytes, set[tuple[str, int]]] = {b"a": set(), b"m": set(), b"z": set()}
        for table in db._store.tables.tables():
            found[table.meta.smallest[:1]].add((table.meta.file, table.meta.offset))
        return found

    db.flush()
    before = tables()
    db.compact(b"m", b"n")
    after = tables()
    assert (after[b"a"], after[b"z"]) == (before[b"a"], before[b"z"])
    assert (len(before[b"m"]), len(after[b"m"])) == (4, 1)
    assert db.approximate_size(b"m", b"n") < 500 * 130
    db.prefixed(b"z").compact()
    assert len(tables()[b"z"]) == 1
    assert (len(db), db.get(b"m0001"), db.get(b"m0501")) == (2500, None, b"2" * 100)
    db.compact()
    assert [len(runs) for runs in db._store.state.runs] == [1]


def test_a_range_without_tables_is_done_at_once(open_engine: OpenEngine) -> None:
    db = filled(open_engine)
    job = db._store.next_job()
    db.compact(b"x")
    db.compact(b"9", b"1")
    assert db._store.next_job() == job + 1, "no job was run"
    with pytest.raises(TypeError, match="a key must be bytes"):
        db.compact("a")
