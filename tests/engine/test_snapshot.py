"""Snapshots: the state and the clock of one moment, whatever happens afterwards; and the files that they hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flin.errors import ClosedError
from flin.testing import ManualClock, SimulatedDisk

OpenEngine = Callable[..., Any]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=[1, 4, 16, 64], ids="{} shards".format)
def db(request: pytest.FixtureRequest, open_engine: OpenEngine, clock: ManualClock) -> Any:
    return open_engine(fs=SimulatedDisk(), shards=request.param, clock_ms=clock)


def _check(view: Any, model: dict[bytes, bytes]) -> None:
    assert list(view.scan()) == sorted(model.items())
    assert list(view.scan_keys(reverse=True)) == sorted(model, reverse=True)
    assert list(view) == sorted(model)
    assert len(view) == len(model)
    for key in (b"0000", b"0007", b"0100", b"0250", b"0399", b"new", b"\xff"):
        assert view.get(key) == model.get(key)
        assert (key in view) == (key in model)
    assert view.get_many(sorted(model)[:3]) == [model[key] for key in sorted(model)[:3]]
    assert (view.first(), view.last()) == ((min(model), max(model)) if model else (None, None))


def test_snapshots_hold_their_moment(db: Any) -> None:
    """Writes, range deletes, flushes and compactions go on; no snapshot changes."""
    model = {b"%04d" % number: b"v" for number in range(400)} | {b"\xff": b"v"}
    views = []
    steps: list[tuple[Callable[[], object], Callable[[], object]]] = [
        (lambda: db.put_many(model), lambda: None),
        (lambda: db.delete_range(b"0100", b"0200"), lambda: _remove(model, b"0100", b"0200")),
        (lambda: db.put(b"new", b"1"), lambda: model.__setitem__(b"new", b"1")),
        (db.flush, lambda: None),
        (lambda: db.put(b"0007", b"changed"), lambda: model.__setitem__(b"0007", b"changed")),
        (lambda: db.delete(b"0000"), lambda: model.pop(b"0000")),
        (db.flush, lambda: None),
        (lambda: db.delete_range(b"0200", b"0300"), lambda: _remove(model, b"0200", b"0300")),
        (db.compact, lambda: None),
        (lambda: db.delete_prefix(b"03"), lambda: _remove(model, b"03", b"04")),
        (db.clear, model.clear),
        (db.compact, lambda: None),
    ]
    for change, follow in steps:
        change()
        follow()
        views.append((db.snapshot(), dict(model)))
        for view, expected in views:
            _check(view, expected)
    for view, expected in reversed(views):
        _check(view, expected)
        view.close()


def _remove(model: dict[bytes, bytes], start: bytes, stop: bytes) -> None:
    for key in [key for key in model if start <= key < stop]:
        del model[key]


def test_the_clock_stands_still(db: Any, clock: ManualClock) -> None:
    db.put(b"a", b"1", ttl=5)
    db.put(b"b", b"2", ttl=50)
    with db.snapshot() as view:
        clock.advance(10)
        assert (view[b"a"], view.ttl(b"a"), view.ttl(b"b")) == (b"1", 5, 50)
        assert len(db) == 1
        db.compact()
        assert dict(view.scan()) == {b"a": b"1", b"b": b"2"}
        assert len(view) == 2
    assert db.ttl(b"b") == 40


def test_a_second_snapshot_without_a_write_is_free(db: Any) -> None:
    db.put(b"a", b"1")
    with db.snapshot(), db.snapshot(), db.snapshot():
        assert db.stats()["memtables"]["frozen_memtables"] == 1


def test_memtables_of_similar_size_are_joined(open_engine: OpenEngine) -> None:
    """A snapshot after every write: there are about log2(n) memtables, not n."""
    db = open_engine(fs=SimulatedDisk())
    views = []
    for number in range(200):
        db.put(b"%d" % number, b"v")
        views.append(db.snapshot())
    assert db.stats()["memtables"]["frozen_memtables"] <= 8
    for number, view in enumerate(views):
        assert len(view) == number + 1
        assert b"%d" % number in view
        assert b"%d" % (number + 1) not in view


def test_files_stay_while_they_are_read(open_engine: OpenEngine) -> None:
    disk = SimulatedDisk()
    db = open_engine(fs=disk)
    db.put_many({b"%d" % number: b"v" for number in range(100)})
    db.flush()
    view = db.snapshot()
    old = set(_tables(disk, db))
    db.put(b"k", b"v")
    db.compact()
    assert old <= set(_tables(disk, db)), "the snapshot reads from it"
    assert len(list(view.scan())) == 100
    view.close()
    db.put(b"k", b"w")
    db.compact()
    assert not old & set(_tables(disk, db)), "nobody does any more"


def _tables(disk: SimulatedDisk, db: Any) -> list[str]:
    return [name for name in disk.names(db.path) if name.endswith(".sst")]


def test_a_closed_snapshot(db: Any) -> None:
    db.put(b"a", b"1")
    with db.snapshot() as view:
        pass
    view.close()
    for call in (lambda: view.get(b"a"), lambda: view[b"a"], lambda: list(view.scan()), lambda: len(view),
                 view.first, lambda: b"a" in view, lambda: view.ttl(b"a")):  # fmt: skip
        with pytest.raises(ClosedError, match="the snapshot is closed"):
            call()


def test_a_snapshot_takes_no_writes(db: Any) -> None:
    with db.snapshot() as view:
        assert not hasattr(view, "put")
        with pytest.raises(TypeError):
            view[b"a"] = b"1"
