"""Retired generations: flushed ones that lookups of single keys ask before the tables."""

from __future__ import annotations

import errno
from collections.abc import Callable
from itertools import chain
from random import Random
from typing import Any

import pytest

import flin.engine
from flin.engine.catalog.generation import MAX_RETIRED_MEMTABLES, RetiredGeneration, kept
from flin.engine.catalog.manifest import ManifestWriter
from flin.engine.entry import TOMBSTONE
from flin.engine.memtable import Memtable
from flin.engine.read.read_path import from_retired
from flin.errors import StorageError
from flin.testing import ManualClock, SimulatedDisk
from flin.testing.run import check_retired, drop_retired

OpenEngine = Callable[..., Any]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=[1, 4], ids="{} shards".format)
def db(request: pytest.FixtureRequest, open_engine: OpenEngine, clock: ManualClock) -> Any:
    return open_engine(fs=SimulatedDisk(), shards=request.param, clock_ms=clock, memory_limit="1mb", value_threshold=0)


def retired_of(db: Any) -> list[dict[bytes, Any]]:
    """The entries of each retired generation, newest first."""
    return [
        dict(chain.from_iterable(memtable.entries.items() for memtable in chain.from_iterable(generation.memtables)))
        for generation in db._store.state.retired
    ]


def table_reads(db: Any) -> int:
    stats = db.stats()
    return sum(stats[cache][count] for cache in ("block_cache", "value_cache") for count in ("hits", "misses"))


def generation(size_bytes: int, memtables: int = 1) -> RetiredGeneration:
    return RetiredGeneration((tuple(Memtable() for _ in range(memtables)),), size_bytes)


@pytest.mark.parametrize(
    ("sizes", "room", "number"),
    [
        ([], 10, 0),
        ([4, 6], 10, 2),
        ([4, 7], 10, 1),
        ([11, 1], 10, 0),
        ([4, 7, 1], 10, 1),  # what lies below a gap is not the newest that was flushed
        ([4], -1, 0),
        ([0] * 9, 0, MAX_RETIRED_MEMTABLES),
    ],
)
def test_the_newest_that_fit_are_kept(sizes: list[int], room: int, number: int) -> None:
    newest_first = [generation(size) for size in sizes]
    assert kept(newest_first, room) == tuple(newest_first[:number])


def test_a_generation_of_many_memtables_is_not_kept() -> None:
    small, many = generation(1), generation(1, MAX_RETIRED_MEMTABLES)
    assert kept([many], 9) == (many,)
    assert kept([small, many, small], 9) == (small,)


def test_a_lookup_finds_what_was_flushed_without_a_table(db: Any) -> None:
    db.put_many({b"%d" % number: b"v%d" % number for number in range(50)})
    db.flush()
    before = table_reads(db)
    assert [db.get(b"%d" % number) for number in range(50)] == [b"v%d" % number for number in range(50)]
    assert db._store.read_nowait(b"7") == b"v7"
    assert table_reads(db) == before
    stats = db.stats()["memtables"]
    assert stats["retired_generations"] == 1
    assert stats["retired_bytes"] == db._store.state.retired_bytes > 50 * 180
    assert db.get(b"absent") is None
    assert table_reads(db) == before, "the filters know"


def test_newer_generations_come_first(db: Any) -> None:
    db.put_many(dict.fromkeys((b"a", b"b", b"c", b"d"), b"1"))
    db.flush()
    db.put(b"b", b"2")
    db.delete(b"c")
    db.flush()
    assert len(retired_of(db)) == 2
    db.put(b"d", b"3")
    assert [db.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"1", b"2", None, b"3"]
    db._store.freeze()  # d becomes a frozen memtable
    assert db.get(b"d") == b"3"
    db._store.seal()
    assert db.get(b"d") == b"3"
    db.incr(b"b", 5)
    assert db.get(b"b") == b"7", "a write reads them, too"


def test_range_deletes_of_each_hide_what_is_older(db: Any) -> None:
    db.put_many(dict.fromkeys((b"a", b"b", b"c"), b"1"))
    db.flush()
    db.delete_range(b"a", b"c")
    db.put(b"b", b"2")
    assert [db.get(key) for key in (b"a", b"b", b"c")] == [None, b"2", b"1"]
    db.flush()
    assert [db.get(key) for key in (b"a", b"b", b"c")] == [None, b"2", b"1"]
    assert db._store.read_nowait(b"a") is None
    db.delete_range(b"b", b"z")
    assert [db.get(key) for key in (b"a", b"b", b"c")] == [None, None, None]


@pytest.mark.parametrize("compacts", [False, True])
def test_what_a_flush_or_a_merge_found_expired_stays_so(db: Any, clock: ManualClock, compacts: bool) -> None:
    """However the clock is set then: tables alone know. What they still hold lives again."""
    db.put(b"a", b"1", ttl=10.0)
    db.put(b"b", b"2", ttl=5000.0)
    if not compacts:
        clock.advance(20.0)
    db.flush()
    if compacts:
        clock.advance(20.0)
        db.put(b"c", b"3")
        db.flush()
        db._store.holds_sweep = True
        db.compact()
    clock.advance(-15.0)
    found = dict(db.scan())
    assert found.pop(b"c", b"3") == b"3"
    if not compacts or len(db._store.state.active) == 1:  # else nothing was merged in its shard
        assert found == {b"b": b"2"}
    assert db.get(b"a") == found.get(b"a")
    assert db.get(b"b") == b"2"
    shard = db._store.state.shard_of(b"b")
    assert from_retired(db._store.state, shard, b"b") is None


@pytest.mark.parametrize("seed", range(8))
def test_loops_over_the_dicts_find_what_lookups_find(open_engine: OpenEngine, seed: int) -> None:
    """`older_entries` after the newest ones: bytes are the newest value, whatever else they find is looked up."""
    chance = Random(seed)
    keys = [b"%02d" % number for number in range(30)]
    db = open_engine(fs=SimulatedDisk(), memory_limit="1mb")
    store = db._store
    deeper = 0
    for _ in range(120):
        key = chance.choice(keys)
        match chance.randrange(12):
            case 0:
                db.flush()
            case 1:
                store.freeze()
            case 2:
                db.delete(key)
            case 3:
                db.delete_range(key, key + b"9")
            case 4:
                db.put(key, b"t", ttl=100.0)
            case _:
                db.put(key, chance.randbytes(2))
        newest = store.newest_entries()
        assert newest is not None
        for key in keys:
            entry = newest.get(key)
            if entry is None:
                [entry] = store.older_entries([key])
                deeper += entry is not None
            if type(entry) is bytes:
                assert db.get(key) == store.read_nowait(key) == entry
    assert deeper > 100
    assert store.freeze().older_gets == ()


def test_who_keeps_a_state_keeps_none(db: Any) -> None:
    db.put_many({b"%d" % number: b"v" for number in range(50)})
    db.flush()
    db.put(b"x", b"1")
    store = db._store
    for state in (store.freeze(), store.state.with_copies(())):
        assert state.retired == ()
        assert not any(state.retired_memtables)
    assert store.state.retired
    with db.snapshot() as snapshot:
        before = table_reads(db)
        assert snapshot.get(b"7") == b"v"
        assert table_reads(db) > before
        assert len(snapshot) == len(db) == 51
    assert len(list(db.scan())) == 51


def test_they_leave_the_memory_to_what_waits_for_its_flush(db: Any) -> None:
    """Together with the open generation they never take more than three eighths of the limit."""
    store = db._store
    room = 3 * store.options.budget.generation
    room += room // 16
    most = 0
    for number in range(6000):
        db.put(b"%05d" % (number * 7919 % 6000), b"x" * 200)
        state = store.state
        most = max(most, len(state.retired))
        waiting = sum(sealed.size_bytes for sealed in state.sealed)
        assert store.open_bytes() + waiting + state.retired_bytes <= room
    assert most == 2
    assert all(db.get(b"%05d" % number) == b"x" * 200 for number in range(6000))
    check_retired(db)
    drop_retired(db)
    assert store.state.retired == ()


def test_a_sealed_generation_takes_the_place_of_the_oldest(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        db.put_many({b"%d-%d" % (number, index): b"x" * 200 for index in range(270)})
        db.flush()
    first = retired_of(db)
    assert len(first) == 2
    db.put_many({b"2-%d" % index: b"x" * 200 for index in range(200)})
    store = db._store
    monkeypatch.setattr(store.listeners, "on_sealed", lambda: None)
    store.seal()
    assert retired_of(db) == first[:1], "the newest stays"
    monkeypatch.undo()
    db.flush()
    assert retired_of(db)[1:] == first[:1]


def test_below_one_that_is_too_large_nothing_is_kept(db: Any) -> None:
    db.put(b"k", b"old")
    db.flush()
    assert len(retired_of(db)) == 1
    db.put_many({b"k": b"new"} | {b"%d" % number: b"x" * 200 for number in range(2000)})
    db.flush()
    assert retired_of(db) == []
    assert db.get(b"k") == b"new"


def test_a_flush_whose_edit_fails_retires_nothing(open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    db = open_engine(fs=SimulatedDisk(), memory_limit="1mb")
    db.put(b"a", b"1")
    db.flush()
    db.put(b"a", b"2")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(ManifestWriter, "write", refuse)
    with pytest.raises(StorageError):
        db.flush()
    monkeypatch.undo()
    assert retired_of(db) == [{b"a": b"1"}]
    assert db.get(b"a") == b"2"
    db.flush()
    assert retired_of(db) == [{b"a": b"2"}, {b"a": b"1"}]
    assert db.get(b"a") == b"2"


def test_values_stay_when_their_files_go(open_engine: OpenEngine) -> None:
    """They hold values, not pointers, so it does not matter where a merge has put these."""
    db = open_engine(memory_limit="1mb", value_threshold=8, sync="never")
    for turn in range(3):
        db.put_many({b"%d" % number: b"%d-%d" % (turn, number) * 8 for number in range(60)})
        db.flush()
    db.compact()
    assert len(retired_of(db)) == 3
    assert [db.get(b"%d" % number) for number in range(60)] == [b"2-%d" % number * 8 for number in range(60)]
    drop_retired(db)
    assert [db.get(b"%d" % number) for number in range(60)] == [b"2-%d" % number * 8 for number in range(60)]


def test_a_recovered_generation_is_retired_by_its_flush(open_engine: OpenEngine) -> None:
    db = open_engine(memory_limit="1mb")
    db.put(b"a", b"1")
    db.delete(b"b")
    db.close(flush=False)
    again = open_engine(memory_limit="1mb")
    assert retired_of(again) == []
    again.flush()
    assert retired_of(again) == [{b"a": b"1", b"b": TOMBSTONE}]
    assert again._store.state.retired_bytes > 0
    assert (again.get(b"a"), again.get(b"b")) == (b"1", None)


def test_the_quiet_block_cache_leaves_them_their_room(db: Any) -> None:
    store, budget = db._store, db._store.options.budget
    assert store.cache_budget(is_quiet=True) == budget.quiet_block_cache
    db.put_many({b"%d" % number: b"x" * 200 for number in range(100)})
    db.flush()
    assert store.cache_budget(is_quiet=True) == budget.quiet_block_cache - store.state.retired_bytes
    assert store.cache_budget(is_quiet=False) == budget.block_cache


def test_a_closed_engine_keeps_none() -> None:
    db = flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", sync="never")
    db.put(b"a", b"1")
    db.flush()
    store = db._store
    memtable = store.state.retired_memtables[0][0]
    db.close()
    assert memtable.entries == {b"a": b"1"}
    with pytest.raises(flin.errors.ClosedError):
        _ = store.state.retired
