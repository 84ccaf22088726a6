"""Which segments a flush keeps as value files, and what it copies into the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import flin.engine
from flin.engine.background import value_garbage
from flin.engine.background.value_segments import live_bytes
from flin.engine.entry import TOMBSTONE, Pointer
from flin.engine.wal.large_values import LargeValues
from flin.testing import ManualClock, SimulatedDisk

VALUE = b"v" * 1000


def opened(disk: SimulatedDisk, clock: ManualClock | None = None, **options: Any) -> Any:
    defaults: dict[str, Any] = {"runner": "inline", "memory_limit": "1mb", "value_threshold": 500}
    return flin.engine.open("/db", fs=disk, clock_ms=clock or ManualClock(), **defaults | options)


def files_of(db: Any) -> list[tuple[int, int]]:
    """(length, live bytes) of each value file."""
    return [(each.length, each.live_bytes) for each in db._store.manifest.version.value_files]


def stored(db: Any) -> set[type]:
    """The types of what the tables hold."""
    return {
        type(entry[0] if type(entry) is tuple else entry)
        for table in db._store.tables.tables()
        for _, entries in table.pages()
        for entry in entries
    }


def test_a_segment_of_large_values_becomes_a_value_file() -> None:
    disk = SimulatedDisk()
    with opened(disk) as db:
        for number in range(20):
            db.put(b"%02d" % number, VALUE)
        db.flush()
        ((length, live),) = files_of(db)
        assert live == 20 * len(VALUE)
        assert live > 0.9 * length
        assert stored(db) == {Pointer}
        assert dict(db.items()) == {b"%02d" % number: VALUE for number in range(20)}
    with opened(disk, value_threshold=0) as db:  # the option is for flushes, not for what is there
        assert stored(db) == {Pointer}
        assert db[b"07"] == VALUE
        assert list(db.verify()) == []


def test_small_values_beside_large_ones_keep_a_segment_from_it() -> None:
    with opened(SimulatedDisk()) as db:
        for number in range(20):
            db.put(b"a%02d" % number, VALUE)
            db.put(b"b%02d" % number, b"s" * 499)
        db.flush()
        assert (files_of(db), stored(db)) == ([], {bytes})
        assert db[b"a07"] == VALUE


def test_what_was_overwritten_within_the_generation_counts_as_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_garbage, "LEAST_UNKNOWN_SHARE", 10.0)  # no merge finds out what the second flush hides
    with opened(SimulatedDisk()) as db:
        for number in range(20):
            db.put(b"%02d" % (number % 10), VALUE + b"%d" % number)
        db.flush()
        assert (files_of(db), stored(db)) == ([], {bytes})
        for number in range(20):
            db.put(b"%02d" % (number % 18), VALUE + b"%d" % number)
        db.flush()
        assert stored(db) == {bytes, Pointer}
        assert db[b"03"] == VALUE + b"3"
        assert db[b"00"] == VALUE + b"18"


def test_batches_expiries_and_deletes() -> None:
    clock = ManualClock()
    disk = SimulatedDisk()
    with opened(disk, clock) as db:
        db.put_many({b"%02d" % number: VALUE for number in range(10)})
        db.put_many({b"t%02d" % number: VALUE for number in range(10)}, ttl=100)
        db.put_many({b"u%02d" % number: VALUE for number in range(3)}, ttl=1)
        db.delete(b"05")
        db.delete_range(b"07", b"09")
        clock.advance(2)
        db.flush()
        ((_, live),) = files_of(db)
        assert live == 17 * len(VALUE), "what has expired is emptied"
        expected = {b"%02d" % number: VALUE for number in (0, 1, 2, 3, 4, 6, 9)}
        expected |= {b"t%02d" % number: VALUE for number in range(10)}
        assert dict(db.items()) == expected
        assert db.ttl(b"t03") == 98


def test_a_few_segments_of_one_generation_are_told_apart() -> None:
    disk = SimulatedDisk()
    with opened(disk) as db:
        db.put_many({b"a%02d" % number: VALUE for number in range(10)})
        db.close(flush=False)
    with opened(disk) as db:  # the generation goes on, in another segment
        db.put_many({b"b%04d" % number: b"s" for number in range(100)})
        db.put(b"c", VALUE)
        db.flush()
        assert len(files_of(db)) == 1
        assert stored(db) == {bytes, Pointer}
        assert len(db) == 111
        assert db[b"a05"] == db[b"c"] == VALUE


@pytest.mark.parametrize("threshold", [0, 8, 1 << 30])
def test_thresholds(threshold: int) -> None:
    with opened(SimulatedDisk(), value_threshold=threshold) as db:
        db.put_many({b"%03d" % number: b"12345678" * 10 for number in range(100)})
        db.flush()
        assert stored(db) == ({Pointer} if threshold == 8 else {bytes})


def test_live_bytes() -> None:
    first, second = LargeValues(1, 1), LargeValues(2, 1)
    entries: list[Any] = [b"plain", TOMBSTONE, (b"t", 0, 1), first.pointer(9, b"abc"), (second.pointer(9, b"de"), 5, 0)]
    assert live_bytes([*entries, first.pointer(99, b"f")]) == {1: 4, 2: 2}
    assert live_bytes([]) == {}


def test_a_session_that_writes_little_leaves_no_file_of_a_whole_window(tmp_path: Path) -> None:
    """On the real file system the WAL is written through windows of 256 KiB."""
    for session in range(3):
        with flin.engine.open(tmp_path / "db", runner="inline", value_threshold=500) as db:
            db.put_many({b"%d" % (100 * session + number): VALUE for number in range(20)})
    size = sum(path.stat().st_size for path in (tmp_path / "db").iterdir())
    assert size < 2 * 60 * len(VALUE)
    with flin.engine.open(tmp_path / "db", runner="inline", value_threshold=500) as db:
        assert files_of(db) == []
        db.put_many({b"%d" % number: VALUE for number in range(200)})  # most of a window
        db.flush()
        assert len(files_of(db)) == 1
