"""Typed views: the calls of an engine, a snapshot and a batch, with keys and values of Python's types."""

from __future__ import annotations

import pickle
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any

import pytest

from flin.engine import CodecError, ConflictError, Snapshot, WriteBatch
from flin.engine.transaction import Transaction
from flin.engine.typed import TypedBatch, TypedEngine, TypedSnapshot, TypedTransaction
from flin.engine.updates import Updates
from flin.errors import ClosedError
from flin.testing import ManualClock, SimulatedDisk

OpenEngine = Callable[..., Any]

AGES = {"Ada": 36, "Grace": 85, "Ägir": -1, "": 0, "G": 2**70}


@pytest.fixture(params=["whole", "prefixed"])
def ages(request: pytest.FixtureRequest, open_engine: OpenEngine) -> Any:
    db = open_engine(fs=SimulatedDisk(), clock_ms=ManualClock())
    view = (db if request.param == "whole" else db.prefixed(b"ages:")).typed(key=str, value=int)
    view.put_many(AGES)
    return view


def test_it_is_a_mapping_in_key_order(ages: Any) -> None:
    ordered = dict(sorted(AGES.items()))
    assert issubclass(type(ages), MutableMapping)
    assert dict(ages.items()) == dict(ages) == ordered
    assert list(ages) == list(ages.keys()) == list(ordered)
    assert list(ages.values()) == list(ordered.values())
    assert list(reversed(ages.items())) == list(reversed(ordered.items()))
    assert (len(ages), bool(ages), "Ada" in ages, "x" in ages) == (5, True, True, False)
    assert (ages["Ada"], ages.get("x"), ages.get("x", "d")) == (36, None, "d")
    assert ages.get_many(["Ada", "x"]) == [36, None]
    assert (ages.first(), ages.last(), ages.next_key("G"), ages.prev_key("G")) == ("", "Ägir", "Grace", "Ada")
    assert list(ages.scan(prefix="G", reverse=True)) == [("Grace", 85), ("G", 2**70)]
    assert list(ages.scan_keys(start="Ada", stop="Grace", include_start=False, include_stop=True)) == ["G", "Grace"]
    assert list(ages.scan(start="Grace", limit=1)) == [("Grace", 85)]
    assert dict(ages["B":"H"].items()) == {"G": 2**70, "Grace": 85}
    assert ages["B":]["Ägir"] == -1
    assert ages.keys() & {"Ada", "x"} == {"Ada"}
    with pytest.raises(KeyError, match="x"):
        ages["x"]


def test_its_writes(ages: Any) -> None:
    ages["new"] = 1
    ages.put("short", 2, ttl=5, sync=True)
    assert (ages.ttl("short"), ages.expire("new", 7), ages.persist("new")) == (5, True, True)
    assert (ages.pop("new"), ages.pop("new", None), ages.setdefault("s", 3), ages.setdefault("s", 4)) == (1, None, 3, 3)
    assert (ages.incr("s", 2), ages.put_if_absent("s", 1), ages.compare_and_set("s", 5, 6)) == (5, False, True)
    ages |= {"u": 1}
    ages.update(v=2)
    ages.update([("w", 3)], x=4)
    del ages["u"]
    ages.delete("v")
    ages.delete_many(["w"])
    del ages["x":"y"]
    assert ages.popitem() == ("", 0)
    ages.delete_prefix("G")
    ages.delete_range("A", "B")
    assert dict(ages) == {"s": 6, "short": 2, "Ägir": -1}
    for gone in ("u", "nobody"):
        with pytest.raises(KeyError, match=gone):
            del ages[gone]
    ages.clear()
    assert len(ages) == 0


def test_snapshots_and_batches(ages: Any) -> None:
    with ages.snapshot() as then, ages.write_batch() as batch:
        batch["Ada"] = 37
        batch.delete_prefix("G")
        assert (batch["Ada"], ages["Ada"], batch.writes) == (37, 36, 2)
        batch.commit()
        assert dict(then) == AGES
    assert dict(ages) == {"Ada": 37, "Ägir": -1, "": 0}
    with pytest.raises(ClosedError):
        batch["Ada"] = 5
    with pytest.raises(ClosedError):
        len(then)
    with suppress(ZeroDivisionError), ages.write_batch() as batch:
        batch["Ada"] = 1 // 0
    batch = ages.write_batch()
    batch.clear()
    batch.discard()
    later = ages.write_batch()
    later["z"] = 1
    later.commit()
    assert len(ages) == 4


def test_tuples_have_prefixes_and_partial_bounds(open_engine: OpenEngine) -> None:
    scores = open_engine(fs=SimulatedDisk()).typed(key=tuple[str, int], value="json")
    scores.put_many({(name, day): {"score": day} for name in ("ada", "adam", "bob") for day in (-1, 2, 10)})
    assert [key for key, _ in scores.scan(prefix=("ada",))] == [("ada", -1), ("ada", 2), ("ada", 10)]
    assert list(scores.scan_keys(start=("ada", 2), stop=("adam",))) == [("ada", 2), ("ada", 10)]
    assert list(scores[("adam",) : ("adam", 10)]) == [("adam", -1), ("adam", 2)]
    assert scores["bob", 2] == {"score": 2}
    scores.delete_prefix(("adam",))
    del scores[("bob",) :]
    assert len(scores) == 3


class Celsius:
    """A codec of a program."""

    def encode(self, value: complex) -> bytes:
        return b"%d" % int(value.real)

    def decode(self, data: bytes) -> complex:
        return complex(data.decode())


def test_own_codecs(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    view = db.typed(key=Celsius(), value=Celsius())
    view[5 + 0j] = 7 + 0j
    assert (dict(view), db[b"5"]) == ({5 + 0j: 7 + 0j}, b"7")
    with pytest.raises(TypeError, match="only str, bytes and tuples have prefixes"):
        view.scan(prefix=5)


def test_what_is_not_of_the_type(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    ages = db.typed(key=str, value=int)
    for wrong in (lambda: ages.get(b"Ada"), lambda: b"Ada" in ages, lambda: ages.put("Ada", "36"), lambda: ages[5],
                  lambda: db.typed(key=str, value=str).incr("Ada"), lambda: ages.put("a", 1, tll=5),
                  lambda: db.typed(key=int, value=int).scan(prefix=1)):  # fmt: skip
        with pytest.raises(TypeError):
            wrong()
    db[b"\xff"] = b"x"
    with pytest.raises(CodecError, match=r"b'\\xff' was not made of str"):
        list(ages)
    with pytest.raises(CodecError, match="b'x' was not made of int"):
        db.typed(key=bytes, value=int).get(b"\xff")
    with pytest.raises(ConflictError):
        db.typed(key=bytes, value=int).incr(b"\xff")
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        pickle.dumps(ages)
    with pytest.raises(ValueError, match="no step"):
        ages["a":"b":2]


OF_BYTES = {"prefixed", "typed", "iterator", "type", "hash", "list", "set", "sorted_set", "stream"}
"""Calls that are for bytes."""


@pytest.mark.parametrize(
    ("typed", "calls"),
    [
        (
            TypedEngine,
            {*dir(Updates), "transactional", "put_many", "delete", "delete_many", "delete_range", "delete_prefix"},
        ),
        (TypedBatch, {*dir(WriteBatch)}),
        (TypedTransaction, {*dir(Transaction)}),
        (TypedSnapshot, {*dir(Snapshot)}),
    ],
)
def test_it_has_the_calls_of_what_is_below(typed: type, calls: set[str]) -> None:
    assert {name for name in calls if not name.startswith("_")} - {*dir(typed)} <= OF_BYTES
