"""Open tables and obsolete files; what verification finds; what an open checks and removes."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flin.engine.catalog import manifest as manifest_format
from flin.engine.catalog.manifest import Manifest
from flin.engine.disk.file_name import maybe_parse
from flin.engine.table.block_cache import BlockCache
from flin.engine.table.state import TableState
from flin.engine.tree.table_cache import TableCache
from flin.errors import CorruptionError, FlinError, StorageError
from flin.testing import Fault, SimulatedDisk
from tests.engine.intruder import intruding
from tests.engine.small_database import DB, opened

OpenEngine = Callable[..., Any]


def tables(disk: SimulatedDisk) -> list[str]:
    return [name for name in disk.names(DB) if name.endswith(".sst")]


@pytest.fixture
def disk() -> SimulatedDisk:
    """A database with two tables and a WAL, closed."""
    disk = SimulatedDisk()
    db = opened(disk)
    for number in range(2):
        db.put_many({b"%d-%03d" % (number, index): b"v" * 50 for index in range(200)})
        db.flush()
    db.put(b"in the WAL", b"v")
    db.close(flush=False)
    assert len(tables(disk)) == 2
    return disk


# Opening.


def test_files_that_nothing_names_are_removed(disk: SimulatedDisk) -> None:
    before = set(disk.names(DB))
    strays = ["00000099-0000.1.sst", "00000098-0003.1.sst", "MANIFEST.1.tmp", "MANIFEST.77.tmp"]
    for name in strays:
        disk.write(f"{DB}/{name}", b"left by somebody who was killed")
    others = ["notes.txt", "LOCK.old", "00000099-0000.1.sst.bak", "manifest"]
    for name in others:
        disk.write(f"{DB}/{name}", b"not Flin's")
    db = opened(disk)
    found = set(disk.names(DB))
    assert not found & set(strays)
    assert set(others) <= found
    assert set(tables(disk)) == {name for name in before if name.endswith(".sst")}
    assert len(db) == 401
    db.close()


def test_a_table_that_is_missing_or_short(disk: SimulatedDisk) -> None:
    name = tables(disk)[0]
    whole = disk.read(f"{DB}/{name}")
    before = disk.files()
    damages: list[Callable[[], None]] = [
        lambda: disk.lose(f"{DB}/{name}"),
        lambda: disk.write(f"{DB}/{name}", whole[:-1]),
    ]
    for damage in damages:
        damage()
        damaged = {path: data for path, data in disk.files().items() if not path.endswith("LOCK")}
        with pytest.raises(CorruptionError, match=r"no such regular file|bytes long, the manifest says"):
            opened(disk)
        assert {path: data for path, data in disk.files().items() if not path.endswith("LOCK")} == damaged
        disk.write(f"{DB}/{name}", whole)
    assert disk.files().keys() == before.keys()
    opened(disk).close()


def test_every_open_raises_the_epoch(disk: SimulatedDisk) -> None:
    for _ in range(3):
        before = manifest_format.read(disk, DB)
        db = opened(disk)
        after = manifest_format.read(disk, DB)
        assert isinstance(before, Manifest)
        assert isinstance(after, Manifest)
        assert after.epoch == before.epoch + 1 == db.stats()["epoch"]
        db.put(b"k", b"v")
        written = [parsed for name in disk.names(DB) if (parsed := maybe_parse(name)) and parsed.role == "wal"]
        assert max(parsed.epoch for parsed in written) == after.epoch
        db.close()


def test_a_refused_open_changes_nothing(disk: SimulatedDisk) -> None:
    before = disk.files()
    with pytest.raises(ValueError, match="has 1 shards"):
        opened(disk, shards=4)
    after = disk.files()
    assert {path: data for path, data in after.items() if not path.endswith("LOCK")} == {
        path: data for path, data in before.items() if not path.endswith("LOCK")
    }
    assert disk.open_locks() == []


def test_the_first_open_is_all_or_nothing() -> None:
    """A database whose creation was cut off is created by the next open."""
    disk = SimulatedDisk()
    disk.faults.append(Fault(0, operations=frozenset({"rename"})))
    with pytest.raises(StorageError):
        opened(disk)
    db = opened(disk, shards=4)
    db.put(b"k", b"v")
    db.close()
    assert opened(disk).stats()["shards"] == 4


def test_an_edit_replaces_all_tables_at_once(disk: SimulatedDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a flush opened the tables of its edit, the sweep of another thread found none, and `len()` counted what
    had expired."""
    db = opened(disk)
    cache, is_file = db._store.tables, disk.is_file
    before = cache.tables()
    found: list[list[Any]] = []

    def looking(path: str) -> bool:
        found.append(cache.tables())
        return is_file(path)

    monkeypatch.setattr(disk, "is_file", looking)
    db.put(b"another", b"v")
    db.flush()
    assert len(before) == 2
    assert found[0] == before
    db.close()


# Obsolete files.


def test_inputs_of_a_compaction_are_removed(disk: SimulatedDisk) -> None:
    db = opened(disk)
    old = set(tables(disk))
    scan = db.scan()
    next(scan)
    db.put_many({b"0-%03d" % index: b"new" for index in range(200)})
    db.compact()
    assert old <= set(tables(disk)), "the scan reads from them"
    assert len(list(scan)) == 400
    del scan
    db._compactor.run_pending()
    assert not old & set(tables(disk))
    db.close()
    again = opened(disk)
    assert again[b"0-007"] == b"new"
    again.close()


def cached_slots(db: Any) -> tuple[int, set[int]]:
    """How many blocks and pages are cached, and the ids of the cache rows that hold any."""
    cache = db._store.tables.block_cache
    cache._check()
    return len(cache), {id(slots) for slots, _, _ in cache._clock}


def living_slots(db: Any) -> set[int]:
    """The ids of the rows of the tables and sorted views in the newest state."""
    state = db._store.state
    found = {id(joined.view[1]) for joined in state.sorted_views if joined is not None}
    return found | {id(table.loaded().blocks) for run in state.runs[0] for table in run.tables}


def test_lookups_that_are_spread_evenly_do_not_turn_the_full_cache_over() -> None:
    """Each would unpack a block, put it in and another one out, for nothing."""
    db = opened(SimulatedDisk(), memory_limit="1mb", value_cache=False)
    keys = [b"%05d" % index for index in range(20_000)]
    db.put_many(dict.fromkeys(keys, b"v" * 100))
    db.compact()
    cache = db._store.tables.block_cache
    order = random.Random(1).sample(keys, len(keys))
    for key in order:
        assert db.get(key) == b"v" * 100
    assert cache.is_full
    misses, evictions = cache.misses, cache.evictions
    for key in order:
        assert db.get(key) == b"v" * 100
    assert cache.misses - misses > 1000
    assert cache.evictions - evictions < (cache.misses - misses) / 2
    cache._check()
    db.close()


def test_the_next_lookup_may_use_a_block_that_the_full_cache_did_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    db = opened(SimulatedDisk(), memory_limit="1mb", value_cache=False)
    keys = [b"%05d" % index for index in range(20_000)]
    db.put_many(dict.fromkeys(keys, b"v" * 100))
    db.compact()
    unpacked: list[int] = []
    unpack = TableState.unpack

    def noted(self: TableState, number: int) -> bytes:
        unpacked.append(number)
        return unpack(self, number)

    monkeypatch.setattr(TableState, "unpack", noted)
    cache = db._store.tables.block_cache
    assert db.get(keys[0]) == b"v" * 100
    unpacked.clear()
    cache.is_full = True
    for key in keys[5000:5020]:
        assert db.get(key) == b"v" * 100
    assert len(unpacked) <= 2, "twenty neighbours lie in a block or two"
    assert len(cache) == 1, "that of the first key"
    db.compact()
    gc.collect()
    cache.drop_gone()
    assert cache.passing[1] == -1, "nor does it stay longer than its table"
    db.close()


def test_blocks_of_obsolete_tables_leave_the_cache() -> None:
    """They filled it, and blocks read afterwards were admitted late."""
    db = opened(SimulatedDisk(), memory_limit="2mb")
    keys = [b"%05d" % index for index in range(20_000)]
    for part in range(3):
        db.put_many(dict.fromkeys(keys[part::3], b"%0100d" % part))
        db.flush()
    cache = db._store.tables.block_cache
    for _ in range(3):
        for key in keys:
            assert db.get(key) is not None
    before, owners = cached_slots(db)
    assert cache.is_full
    assert before > 20
    assert owners <= living_slots(db)
    with db.snapshot() as view:
        db.compact()
        assert cached_slots(db)[0] > 0, "the snapshot reads from them"
        assert view[keys[0]] == b"%0100d" % 0
    db._compactor.run_pending()
    assert (len(cache), cache.used_bytes, cache.is_full) == (0, 0, False), "all was dead"
    for _ in range(2):  # as many as it takes while there is room
        for key in keys[:500]:
            assert db.get(key) is not None
    assert cached_slots(db)[1] <= living_slots(db)
    assert 0 < len(cache) < before
    db.close()


def test_an_obsolete_file_that_cannot_be_removed_goes_at_the_next_open(disk: SimulatedDisk) -> None:
    db = opened(disk)
    old = set(tables(disk))
    disk.faults.append(Fault(0, operations=frozenset({"remove"}), sticky=True))
    db.compact()
    assert db[b"0-007"] == b"v" * 50
    disk.faults.clear()
    db.close()
    opened(disk).close()
    assert not old & set(tables(disk))


def test_descriptors_are_let_go(open_engine: OpenEngine) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system has no /proc to ask for descriptors")
    before = set(os.listdir("/proc/self/fd"))
    db = open_engine("fds")
    for number in range(6):
        db.put_many({b"%03d" % index: b"%d" % number for index in range(100)})
        db.flush()
        list(db.scan())
    db.compact()
    db.close()
    assert set(os.listdir("/proc/self/fd")) <= before


# Verification.


def problems_after(disk: SimulatedDisk, damage: Callable[[], None]) -> list[FlinError]:
    """The problems that an open engine finds after the damage."""
    db = opened(disk)
    assert db.verify() == []
    damage()
    problems: list[FlinError] = db.verify()
    return problems


def test_verify_finds_a_damaged_block(disk: SimulatedDisk) -> None:
    path = f"{DB}/{tables(disk)[0]}"
    (problem, *_) = problems_after(disk, lambda: disk.flip(path, 8 * 100))
    assert isinstance(problem, CorruptionError)
    assert problem.path == path


def test_verify_finds_a_damaged_manifest(disk: SimulatedDisk) -> None:
    (problem,) = problems_after(disk, lambda: disk.flip(f"{DB}/MANIFEST", 8 * 30))
    assert isinstance(problem, CorruptionError)
    assert problem.path == f"{DB}/MANIFEST"


def test_verify_finds_a_lost_manifest(disk: SimulatedDisk) -> None:
    (problem,) = problems_after(disk, lambda: disk.lose(f"{DB}/MANIFEST"))
    assert "is gone" in str(problem)


def test_verify_finds_a_wrong_count(disk: SimulatedDisk) -> None:
    db = opened(disk)
    db._store.state.version.counts[0] += 1
    (problem,) = db.verify()
    assert "said to have 402 keys and has 401" in str(problem)


def test_verify_reads_the_wal_of_sealed_generations(disk: SimulatedDisk) -> None:
    db = opened(disk)
    db.put(b"k", b"v" * 100)
    db._store.seal()
    assert db.verify() == []
    name = [name for name in disk.names(DB) if name.endswith(".wal")][-1]
    disk.flip(f"{DB}/{name}", 8 * 140)
    assert any(isinstance(problem, CorruptionError) and problem.path.endswith(name) for problem in db.verify())


def test_two_remove_obsolete_files_at_once(disk: SimulatedDisk) -> None:
    """At any line, one may find that the other was faster."""
    open_tables = TableCache(disk, DB, BlockCache(1 << 20))
    at = lines = 0
    while at <= lines:
        at += 1
        open_tables._gone.extend(tables(disk))

        def intrude(number: int, place: str, at: int = at) -> None:
            if number == at:
                open_tables.remove_obsolete()

        with intruding(intrude) as count:
            assert open_tables.remove_obsolete() == []
        lines = count[0]
        assert open_tables.obsolete_files == 0
        assert tables(disk) == []
        for name in ("1.sst", "2.sst"):
            disk.write(f"{DB}/{name}", b"")
    assert lines > 10
