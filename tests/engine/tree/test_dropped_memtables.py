"""Memtables that make room for newer ones are freed in slices, as soon as nobody else uses their entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flin.engine.memtable import Memtable
from flin.engine.tree import dropped_memtables
from flin.engine.tree.dropped_memtables import LOOKS, SLICE_ENTRIES, DroppedMemtables, is_alone

OpenEngine = Callable[..., Any]


class Pauses:
    """In the place of `sleep`: what was asked for, and how many entries were left then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        self.left: list[int] = []
        self.watched: list[dict[bytes, Any]] = []
        monkeypatch.setattr(dropped_memtables, "sleep", self)

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.left.append(sum(map(len, self.watched)))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    return Pauses(monkeypatch)


def memtable_of(count: int) -> Memtable:
    return Memtable({b"%d" % number: b"v" for number in range(count)})


def test_who_is_alone() -> None:
    memtable = memtable_of(3)
    assert is_alone(memtable)
    entries = memtable.entries
    assert not is_alone(memtable), "a snapshot may have the dict"
    del entries
    get = memtable.entries.get
    assert not is_alone(memtable), "a state has its method"
    del get
    named = [memtable]
    assert not is_alone(memtable), "a state names it"
    named.clear()
    assert is_alone(memtable)


def test_entries_are_freed_in_slices(pauses: Pauses) -> None:
    dropped = DroppedMemtables()
    dropped.add([memtable_of(2 * SLICE_ENTRIES + 1), memtable_of(0), memtable_of(5)])
    assert len(dropped) == 3
    dropped.free()
    assert len(dropped) == 0
    assert pauses.seconds == [dropped_memtables.PAUSE_SECONDS] * 4
    dropped.is_urgent = True
    dropped.add([memtable_of(2 * SLICE_ENTRIES)])
    dropped.free()
    assert pauses.seconds[4:] == [0, 0]


def test_what_others_use_stays_whole(pauses: Pauses) -> None:
    dropped = DroppedMemtables()
    memtable = memtable_of(9)
    pauses.watched.append(memtable.entries)
    dropped.add([memtable])
    dropped.free()
    assert len(memtable.entries) == 9
    assert pauses.left == [9] * LOOKS
    assert len(dropped) == 0, "it is left to them"


def test_a_snapshot_keeps_what_a_seal_drops(open_engine: OpenEngine) -> None:
    """The same dicts are in the snapshot's memtables and in those that are dropped."""
    db = open_engine(memory_limit="1mb", runner="thread")
    seen: list[int] = []
    free = db._store.dropped.free

    def noted() -> None:
        seen.append(len(db._store.dropped))
        free()

    db._store.dropped.free = noted
    expected = {b"%05d" % number: b"1" * 50 for number in range(400)}
    db.put_many(expected)
    with db.snapshot() as snapshot:
        for generation in range(12):
            db.put_many({b"%05d" % number: b"%d" % generation * 50 for number in range(600)})
            db.flush()
            assert dict(snapshot.items()) == expected
    assert sum(seen) > 0
    assert db.get(b"00000") == b"11" * 50


def test_the_thread_that_writes_frees_at_once(open_engine: OpenEngine, pauses: Pauses) -> None:
    db = open_engine(memory_limit="1mb")
    for generation in range(12):
        db.put_many({b"%05d" % number: b"%d" % generation * 50 for number in range(600)})
        db.flush()
    assert len(db._store.state.retired) >= 1
    assert len(db._store.dropped) == 0
    assert pauses.seconds == []
