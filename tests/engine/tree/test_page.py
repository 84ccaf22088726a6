"""Pages of a store: the first or last entries of a range, with and without waiting for the disk."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flin.engine.entry import TOMBSTONE, Page
from flin.engine.key import namespace_prefix
from flin.engine.table.cold_read import ColdRead
from flin.engine.tree import ordered_reads
from flin.engine.verify import verify_store
from flin.testing import SimulatedDisk
from tests.engine import small_database

PREFIX = namespace_prefix(0x8000) + b"\x30\1"  # a slot's pieces
KEYS = [b"%02d" % number for number in range(24)]

keys = st.sampled_from(KEYS)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(keys, max_size=9)),
        st.tuples(st.just("delete"), st.lists(keys, max_size=9)),
        st.tuples(st.just("delete_range"), st.tuples(keys, keys).map(sorted)),
        st.tuples(st.sampled_from(["flush", "compact", "reopen", "snapshot"]), st.none()),
    ),
    max_size=12,
)


opened = partial(small_database.opened, value_cache=False)


def page(store: Any, start: bytes, stop: bytes, count: int, *, reverse: bool) -> tuple[list[bytes], int]:
    """The keys of a page that waits for nothing, and how many loads it took."""
    loads = 0
    while True:
        try:
            return store.page(start, stop, count, reverse=reverse, nowait=True)[0], loads
        except ColdRead as cold:
            loads += 1
            assert loads < 9
            cold.load()


def read_near(store: Any, keys: list[bytes]) -> list[Any]:
    """Without waiting for the disk, but where a load does."""
    while True:
        try:
            found: list[Any] = store.read_near(keys, nowait=True)
        except ColdRead as cold:
            cold.load()
        else:
            return found


def no_collections(pages: Iterable[Page]) -> list[str]:
    """The pieces here are nobody's: the engine's own part of verify() asks for no owner."""
    list(pages)
    return []


@settings(max_examples=60)
@given(steps, keys, keys, st.integers(1, 30), st.booleans(), st.sampled_from([1, 4]))
def test_pages_against_a_dict(
    work: list[tuple[str, Any]], one: bytes, other: bytes, count: int, reverse: bool, shards: int
) -> None:
    disk, model = SimulatedDisk(), dict[bytes, bytes]()
    disk.resident = False
    db = opened(disk, shards=shards)
    snapshots = []
    for number, (what, argument) in enumerate(work):
        store = db._store
        match what:
            case "put":
                store.commit({PREFIX + key: b"%d" % number for key in argument})
                model |= {PREFIX + key: b"%d" % number for key in argument}
            case "delete":
                store.commit(dict.fromkeys((PREFIX + key for key in argument), TOMBSTONE))
                model = {key: value for key, value in model.items() if key[len(PREFIX) :] not in argument}
            case "delete_range":
                start, stop = (PREFIX + bound for bound in argument)
                if start < stop:
                    store.commit({}, [(start, stop)])
                    model = {key: value for key, value in model.items() if not start <= key < stop}
            case "snapshot":
                snapshots.append(db.snapshot())
            case "reopen":
                db.close()
                db = opened(disk, shards=shards)
            case _:
                getattr(db, what)()
    start, stop = sorted((PREFIX + one, PREFIX + other))
    expected = sorted((key for key in model if start <= key < stop), reverse=reverse)[:count]
    assert page(db._store, start, stop, count, reverse=reverse)[0] == expected
    found = db._store.page(start, stop, count, reverse=reverse)
    assert found == (expected, [model[key] for key in expected])
    near = [PREFIX + key for key in KEYS if one <= key]
    assert read_near(db._store, near) == db._store.read_near(near) == [model.get(key) for key in near]
    assert verify_store(db._store, no_collections) == []
    db.close()


def test_a_range_that_no_shard_holds_alone_is_scanned() -> None:
    start, stop = namespace_prefix(0x8000), namespace_prefix(0x8001)
    with opened(SimulatedDisk(), shards=4) as db:
        found = [start + slot.to_bytes(2, "big") + b"key" for slot in range(0, 16_384, 1000)]
        db._store.commit(dict.fromkeys(found, b"v"))
        assert page(db._store, start, stop, 9, reverse=False)[0] == found[:9]
        assert page(db._store, found[2], found[4], 9, reverse=False)[0] == found[2:4]
        assert page(db._store, found[2], found[2] + b"\0", 9, reverse=False)[0] == found[2:3]


@pytest.mark.parametrize("live_every", [2, 16, 400])
def test_tombstones_between_live_entries(live_every: int) -> None:
    """Some are passed, of more the page asks again, and then the scan."""
    with opened(SimulatedDisk()) as db:
        found = [PREFIX + b"%04d" % number for number in range(2000)]
        db._store.commit(dict.fromkeys(found, b"v"))
        db.flush()
        db._store.commit({key: TOMBSTONE for number, key in enumerate(found) if number % live_every})
        for _ in range(2):
            for count in (1, 3, 100):
                keys = page(db._store, PREFIX + b"0001", PREFIX + b"\xff", count, reverse=False)[0]
                assert keys == found[live_every::live_every][:count]
            db.flush()


@pytest.mark.parametrize("reverse", [False, True])
def test_one_load_reads_all_that_a_page_needs(reverse: bool) -> None:
    """Eight runs, each with a range delete of its own; none of them is open."""
    disk = SimulatedDisk()
    with opened(disk) as db:
        for run in range(8):
            pieces = {PREFIX + b"%04d" % (8 * number + run): b"v" * 100 for number in range(200)}
            db._store.commit(pieces, [(PREFIX + b"x%d" % run, PREFIX + b"y")])
            db.flush()
    disk.resident = False
    with opened(disk) as db:
        bounds = (PREFIX + b"0100", PREFIX + b"1500")
        found, loads = page(db._store, *bounds, 128, reverse=reverse)
        expected = [PREFIX + b"%04d" % number for number in range(100, 1500)]
        assert found == (expected[::-1] if reverse else expected)[:128]
        assert loads == 1
        assert page(db._store, *bounds, 128, reverse=reverse) == (found, 0), "from the cache"


def test_one_load_reads_neighbours() -> None:
    disk = SimulatedDisk()
    keys = [PREFIX + b"%04d" % number for number in range(400)]
    with opened(disk) as db:
        for run in range(4):
            db._store.commit(dict.fromkeys(keys[run::4], b"v" * 100))
            db.flush()
    disk.resident = False
    with opened(disk) as db:
        db._store.commit({keys[150]: b"new", keys[151]: TOMBSTONE})
        with pytest.raises(ColdRead) as cold:
            db._store.read_near(keys[100:228], nowait=True)
        cold.value.load()
        found = db._store.read_near(keys[100:228], nowait=True)
        assert found == [b"v" * 100] * 50 + [b"new", None] + [b"v" * 100] * 76


def test_a_load_that_never_suffices_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimulatedDisk()
    with opened(disk) as db:
        db._store.commit({PREFIX + b"%04d" % number: b"v" * 100 for number in range(2000)})
        db.flush()
    disk.resident = False
    monkeypatch.setattr(ordered_reads, "MAX_LOADS", 3)
    with opened(disk) as db:
        with pytest.raises(ColdRead) as cold:
            db._store.page(PREFIX, PREFIX + b"\xff", 2000, nowait=True)
        cold.value.load()
        assert len(db._store.page(PREFIX, PREFIX + b"\xff", 2000)[0]) == 2000, "who waits needs no load"
