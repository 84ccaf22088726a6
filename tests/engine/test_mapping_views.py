"""A mapping like Python's own: an engine, a snapshot and a batch compared with a dict, over every state of the data."""

from __future__ import annotations

import collections
import shelve
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import pytest

from flin.testing import ManualClock, SimulatedDisk

OpenEngine = Callable[..., Any]

MODEL = {b"": b"empty", b"a": b"1", b"b": b"2", b"c": b"", b"\xfe": b"1", b"\xff": b"5", b"\xff\x01": b"6"}


@contextmanager
def _engine(db: Any) -> Iterator[Any]:
    yield db


@contextmanager
def _snapshot(db: Any) -> Iterator[Any]:
    with db.snapshot() as view:
        db.put(b"later", b"")
        db.delete(b"a")
        yield view
        db.put(b"a", b"1")
        db.delete(b"later")


@contextmanager
def _batch(db: Any) -> Iterator[Any]:
    db.put(b"gone", b"")
    db.put(b"a", b"other")
    with db.write_batch() as batch:
        batch.delete(b"gone")
        batch[b"a"] = b"1"
        yield batch


@pytest.fixture(params=[_engine, _snapshot, _batch], ids=["engine", "snapshot", "batch"])
def view(request: pytest.FixtureRequest, open_engine: OpenEngine) -> Iterator[Any]:
    """MODEL, in tables, frozen and in memory, among keys that were deleted or have expired."""
    clock = ManualClock()
    db = open_engine(fs=SimulatedDisk(), clock_ms=clock)
    db.put_many(dict.fromkeys([b"b", b"c", b"x", b"y"], b"old"))
    db.put(b"in tables", b"", ttl=1)
    db.put(b"y", b"", ttl=1)
    db.flush()
    db.put_many(list(MODEL.items())[:4])
    db.put(b"in memory", b"", ttl=1)
    db.snapshot().close()
    db.put_many(MODEL, ttl=100)
    db.delete(b"x")
    clock.advance(2)
    with request.param(db) as made:
        yield made


def test_it_is_a_mapping(view: Any) -> None:
    as_it_is: Any = view
    assert isinstance(view, Mapping)
    assert isinstance(view, MutableMapping) == hasattr(view, "put")
    assert len(view) == len(MODEL), "what reads hide does not count"
    assert view
    assert dict(view) == {**view} == dict(view.items()) == MODEL
    assert list(view) == sorted(MODEL)
    assert list(reversed(view)) == sorted(MODEL, reverse=True)
    assert (min(view), max(view)) == (b"", b"\xff\x01")
    assert b"a" in view
    assert b"gone" not in view
    assert dict(collections.ChainMap({b"a": b"9"}, as_it_is)) == MODEL | {b"a": b"9"}
    rest: dict[bytes, bytes]
    match view:
        case {b"a": value, **rest}:
            assert value == b"1"
            assert rest == {key: value for key, value in MODEL.items() if key != b"a"}
        case _:
            pytest.fail("no mapping")


def test_its_views_are_those_of_a_dict(view: Any) -> None:
    model = dict(sorted(MODEL.items()))
    for mine, plain in ((view.keys(), model.keys()), (view.items(), model.items()), (view.values(), model.values())):
        assert list(mine) == list(plain)
        assert list(reversed(mine)) == list(reversed(plain))
        assert len(mine) == len(plain)
        assert repr(view) in repr(mine)
        assert all(part in mine for part in plain)
    assert b"none" not in view.keys()  # noqa: SIM118  the view itself is tested
    assert (b"a", b"2") not in view.items()
    assert (b"none", b"1") not in view.items()
    assert b"none" not in view.values()


@pytest.mark.parametrize(
    "other",
    [{b"a", b"z"}, {b"": 1}.keys(), MODEL.keys(), set(), frozenset({b"z"})],
    ids=["some", "a view", "the same", "none", "others"],
)
def test_set_operations(view: Any, other: Any) -> None:
    keys, plain = view.keys(), MODEL.keys()
    assert keys & other == plain & other
    assert other & keys == other & plain
    assert keys | other == plain | other
    assert keys - other == plain - other
    assert other - keys == other - plain
    assert keys ^ other == plain ^ other
    assert keys.isdisjoint(other) == plain.isdisjoint(other)
    assert (keys == other, keys <= other, keys >= other) == (plain == other, plain <= other, plain >= other)
    pairs = {(key, b"1") for key in other}
    assert view.items() & pairs == MODEL.items() & pairs
    assert view.items() - pairs == MODEL.items() - pairs
    assert view.items() == MODEL.items()


def test_there_is_no_union(view: Any) -> None:
    for left, right in ((view, {}), ({}, view), (view, view)):
        with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \|"):
            left | right


def test_two_are_never_compared_key_by_key(view: Any) -> None:
    assert view == view
    assert view != MODEL
    assert len({view, view}) == 1


def test_an_items_copy_has_no_key_error(open_engine: OpenEngine) -> None:
    """dict(db) lists the keys and then looks each up, so it may raise; `dict(db.items())` and a snapshot may not."""
    now_ms = 1_800_000_000_000

    def clock() -> int:
        nonlocal now_ms
        now_ms += 5
        return now_ms

    db = open_engine(fs=SimulatedDisk(), clock_ms=clock)
    db.put_many({b"%04d" % number: b"v" for number in range(1000)}, ttl=2)
    with db.snapshot() as view:
        assert len(dict(db.items())) == len(dict(view)) == len({**view}) == len(view) == 1000
        with pytest.raises(KeyError):
            dict(db)
        assert len(dict(view)) == len(view) == 1000
    assert dict(db.items()) == {}


def test_a_shelf(open_engine: OpenEngine) -> None:
    """The standard library's shelve over an engine, with everything that it inherits."""
    shelf: Any = shelve.Shelf(open_engine(fs=SimulatedDisk()), writeback=True)
    with shelf:
        shelf["list"] = [1, 2]
        shelf["list"].append(3)
        shelf.sync()
        assert shelf.setdefault("number", 5) == 5
        shelf["more"] = None
        assert dict(shelf) == {"list": [1, 2, 3], "number": 5, "more": None}
        assert (len(shelf), "list" in shelf, "none" in shelf) == (3, True, False)
        assert shelf.pop("list") == [1, 2, 3]
        shelf.clear()
        assert not dict(shelf)
