"""A database with a size limit: its size, what stays, and what others see of evictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

import flin.engine
from flin.engine.engine import store_of
from flin.engine.eviction.candidates import Candidates, is_newest
from flin.engine.eviction.data_size import DataSize, entry_bytes
from flin.engine.key import KEYS_END
from flin.errors import ConflictError
from flin.testing import CrashModel, SimulatedDisk, after_crash

LIMIT = 1 << 18
VALUE = b"v" * 100
ENTRY = 8 + len(VALUE)

OpenEngine = Callable[..., Any]


@pytest.fixture
def open_limited(open_engine: OpenEngine) -> OpenEngine:
    def open_it(**options: Any) -> Any:
        # The bounds below are those of chance: a small limit may be off by more, some once in a hundred runs.
        chance = Random(options.get("eviction", "")).randbytes
        limited = {"size_limit": LIMIT, "memory_limit": 1 << 20, "fs": SimulatedDisk(), "random_bytes": chance}
        return open_engine(**limited | options)

    return open_it


def fill(db: Any, start: int, stop: int, **options: Any) -> None:
    for number in range(start, stop):
        db.put(b"%08d" % number, VALUE, **options)


def data_bytes(db: Any) -> int:
    return sum(len(key) + len(value) for key, value in db.items())


def test_data_stays_near_the_limit_and_the_newest_stay(open_limited: OpenEngine) -> None:
    db = open_limited()
    for start in range(0, 9000, 500):
        fill(db, start, start + 500)
        assert data_bytes(db) < LIMIT * 5 // 4
    assert data_bytes(db) > LIMIT * 3 // 4
    kept = [int(key) for key in db]
    assert len(db) == len(kept)
    assert sorted(kept)[len(kept) // 2] > 9000 - 2 * LIMIT // ENTRY, "half of it is from the last two limits' worth"
    figures = db.stats()["eviction"]
    assert figures["limit_bytes"] == LIMIT
    assert figures["evicted_keys"] == 9000 - len(kept)
    assert figures["evicted_bytes"] == ENTRY * figures["evicted_keys"]
    assert abs(figures["data_bytes"] - data_bytes(db)) < LIMIT // 4


def test_what_is_used_stays(open_limited: OpenEngine) -> None:
    hot = [b"%08d" % number for number in range(100)]
    found = {}
    for policy in ("least-recently-used", "least-frequently-used", "least-recently-stored"):
        db = open_limited(eviction=policy, fs=SimulatedDisk())
        for start in range(0, 5000, 200):
            fill(db, start, start + 200)
            for key in hot:
                db.get(key)
        found[policy] = sum(key in db for key in hot)
    assert found["least-recently-used"] > 90
    assert found["least-frequently-used"] > 90
    assert found["least-recently-stored"] < 30


@pytest.mark.parametrize(
    "policy", ["volatile-least-recently-used", "volatile-least-frequently-used", "volatile-random", "soonest-expiring"]
)
def test_only_keys_that_expire_go(open_limited: OpenEngine, policy: str) -> None:
    db = open_limited(eviction=policy)
    fill(db, 0, 500)
    fill(db, 500, 3500, ttl=1000)
    db.put_many({b"%08d" % number: VALUE for number in range(3500, 4000)}, ttl=2000)
    assert all(b"%08d" % number in db for number in range(500)), "those without an expiry"
    if policy == "soonest-expiring":
        assert all(b"%08d" % number in db for number in range(3500, 4000))
    assert data_bytes(db) < LIMIT * 5 // 4


def test_where_nothing_may_go_it_grows(open_limited: OpenEngine) -> None:
    db = open_limited(eviction="volatile-random")
    fill(db, 0, 5000)
    assert len(db) == 5000
    other = open_limited(eviction="none", fs=SimulatedDisk())
    fill(other, 0, 5000)
    assert (len(other), other.stats()["eviction"]["limit_bytes"]) == (5000, 0)


def test_overwriting_evicts_hardly_anything(open_limited: OpenEngine) -> None:
    db = open_limited(eviction="least-recently-used")
    for _ in range(12):
        fill(db, 0, LIMIT * 6 // 10 // ENTRY)
    assert len(db) == LIMIT * 6 // 10 // ENTRY


def test_what_was_cleared_makes_room(open_limited: OpenEngine) -> None:
    db = open_limited()
    fill(db, 0, 4000)
    db.clear()
    fill(db, 10_000, 10_000 + LIMIT // 2 // ENTRY)
    assert len(db) == LIMIT // 2 // ENTRY


def test_large_values_count_as_large_and_are_not_read(open_limited: OpenEngine) -> None:
    db = open_limited(size_limit="2mb", value_threshold=4096)
    for number in range(400):
        db.put(b"%08d" % number, b"x" * 20_000)
    assert (1 << 20) < data_bytes(db) < (5 << 19)


def test_shards_and_batches_and_updates(open_limited: OpenEngine) -> None:
    db = open_limited(shards=4, eviction="least-frequently-used")
    for start in range(0, 6000, 300):
        db.put_many({b"%08d" % number: VALUE for number in range(start, start + 300)})
        with db.write_batch() as batch:
            batch.put(b"batch", b"1")
        db.incr(b"n")
        assert db.get_many([b"batch", b"n"])[0] == b"1"
    assert data_bytes(db) < LIMIT * 5 // 4
    assert db.get(b"n") == b"20"


def test_an_eviction_is_a_delete_to_everybody(open_limited: OpenEngine) -> None:
    told: list[bytes] = []
    db = open_limited(on_evicted=told.append, wal_retention="64mb")
    fill(db, 0, 1000)
    snapshot = db.snapshot()
    events = db.watch(timeout=0)
    t = db.transaction()
    assert t.get(b"%08d" % 0) == VALUE
    fill(db, 1000, 8000)
    gone = [key for key in (b"%08d" % number for number in range(1000)) if key not in db]
    assert gone
    assert {*gone} <= {*told}
    assert len(told) == db.stats()["eviction"]["evicted_keys"]
    assert [event.key for event in events if event.value is None] == told
    assert all(snapshot[key] == VALUE for key in gone)
    if b"%08d" % 0 in gone:
        t.put(b"other", b"1")
        with pytest.raises(ConflictError):
            t.commit()
    t.discard()
    snapshot.close()


def test_a_crash_finds_whole_values_and_an_exact_count(open_limited: OpenEngine) -> None:
    disk = SimulatedDisk()
    db = open_limited(fs=disk)
    fill(db, 0, 4000)
    for crash_model in CrashModel:
        clone = after_crash(disk, crash_model, Random(1).randrange)
        again = open_limited(fs=clone)
        assert {*again.values()} <= {VALUE}, crash_model
        assert len(again) == len([*again.keys()]), crash_model
        fill(again, 4000, 5500)
        assert data_bytes(again) < LIMIT * 5 // 4, crash_model
        assert again.verify() == [], crash_model


@pytest.mark.parametrize("runner", ["thread", "auto"])
def test_with_threads_and_real_files(tmp_path: Path, runner: Any) -> None:
    with flin.engine.open(
        tmp_path / "db", size_limit="512kb", memory_limit="1mb", runner=runner, eviction="least-recently-used"
    ) as db:
        fill(db, 0, 9000)
        assert data_bytes(db) < (1 << 19) * 3 // 2
        assert db.stats()["background"]["failures"] == 0
    with flin.engine.open(tmp_path / "db", read_only=True, size_limit="512kb") as reader:
        assert reader.get(b"%08d" % 8999) == VALUE


def test_in_memory(open_engine: OpenEngine) -> None:
    with flin.engine.open(":memory:", size_limit="512kb", memory_limit="1mb", runner="inline") as db:
        fill(db, 0, 9000)
        assert data_bytes(db) < (1 << 19) * 5 // 4


def test_the_size_by_samples_is_near_the_size(open_engine: OpenEngine) -> None:
    """Of overwritten, deleted and expiring entries in tables and memtables."""
    db = open_engine(fs=SimulatedDisk(), memory_limit=1 << 20, value_threshold=600)
    random = Random(3)
    for round_ in range(6):
        for _ in range(1500):
            db.put(
                b"%06d" % random.randrange(4000), b"x" * random.choice((10, 100, 700)), ttl=random.choice((None, 9e9))
            )
        db.delete_range(b"%06d" % (600 * round_), b"%06d" % (600 * round_ + 200))
        if round_ % 2:
            db.flush()
    size = DataSize(store_of(db))
    exact = data_bytes(db)
    assert size.bytes > exact, "a bound, before the first sample"
    errors = []
    for _ in range(20):
        size.measure(store_of(db).freeze())
        errors.append(abs(size.bytes / exact - 1))
    assert errors[-1] < 0.1


def test_what_is_drawn_is_told_from_the_dead(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk(), memory_limit=1 << 20, shards=2)
    random = Random(5)
    for round_ in range(5):
        for _ in range(300):
            db.put(b"%04d" % random.randrange(900), b"%d" % random.randrange(1 << 60))
            db.delete(b"%04d" % random.randrange(900))
        db.delete_range(b"%04d" % (100 * round_), b"%04d" % (100 * round_ + 30))
        if round_ < 3:
            db.flush()
    store = store_of(db)
    state = store.freeze()
    candidates = Candidates(b"seed", b"", KEYS_END)
    seen = set()
    for place, stretch in _some(candidates.stretches(candidates.places(state)), 150):
        for key, entry in stretch:
            newest = store.read(key)
            assert is_newest(state, place, key) == (newest == entry), key
            assert entry_bytes(key, entry) == len(key) + len(entry)
            if newest is not None:
                seen.add(key)
    assert len(seen) > len(db) * 9 // 10


def _some(items: Iterator[Any], number: int) -> list[Any]:
    return [next(items) for _ in range(number)]
