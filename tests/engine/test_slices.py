"""`db[start:stop]`, of an engine, a snapshot and a batch, against a plain list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flin.errors import ClosedError
from flin.testing import ManualClock, SimulatedDisk

OpenEngine = Callable[..., Any]

KEYS = [b"", b"a", b"a\0", b"ab", b"b", b"\xfe\xff", b"\xff", b"\xff\0", b"\xff\x01", b"\xff\xff"]
PAIRS = {key: b"v" + key for key in KEYS}
BOUNDS = [None, *KEYS, b"aa", b"\xff\x02"]


@pytest.fixture(params=["engine", "snapshot", "batch"])
def view(request: pytest.FixtureRequest, open_engine: OpenEngine) -> Iterator[Any]:
    db = open_engine(fs=SimulatedDisk(), clock_ms=ManualClock())
    db.put_many(PAIRS)
    db.put(b"aa", b"")
    db.flush()
    db.delete(b"aa")
    if request.param == "engine":
        yield db
    elif request.param == "snapshot":
        with db.snapshot() as snapshot:
            db.clear()
            yield snapshot
    else:
        db.delete(b"b")
        batch = db.write_batch()
        batch.put(b"b", PAIRS[b"b"])
        yield batch
        batch.discard()


def inside(start: bytes | None, stop: bytes | None) -> list[bytes]:
    return [key for key in KEYS if (start is None or key >= start) and (stop is None or key < stop)]


def test_a_slice_is_a_mapping_in_key_order(view: Any) -> None:
    for start in BOUNDS:
        for stop in BOUNDS:
            part, keys = view[start:stop], inside(start, stop)
            assert list(part) == keys
            assert dict(part.items()) == {key: PAIRS[key] for key in keys}
            assert list(reversed(part)) == keys[::-1]
            assert (len(part), bool(part)) == (len(keys), bool(keys))
            assert (part.first(), part.last()) == ((keys[0], keys[-1]) if keys else (None, None))
            assert list(part.scan(start=b"a", limit=2)) == [(key, PAIRS[key]) for key in keys if key >= b"a"][:2]
            assert part.get_many(KEYS) == [PAIRS[key] if key in keys else None for key in KEYS]
            assert [key in part for key in KEYS] == [key in keys for key in KEYS]


def test_slices_of_slices(view: Any) -> None:
    assert list(view[b"a":b"b"][b"a\0":]) == [b"a\0", b"ab"]
    assert list(view[b"a":b"b"][:b"ab"][b"":b"\xff"]) == [b"a", b"a\0"]
    assert list(view[b"a":b"b"][b"c":]) == []
    with pytest.raises(KeyError):
        view[b"a":b"b"][b"b"]


def test_what_is_no_slice_of_keys(view: Any) -> None:
    with pytest.raises(ValueError, match="has no step"):
        view[b"a":b"b":2]
    with pytest.raises(TypeError, match="a key must be bytes, not str"):
        view["a":"b"]
    with pytest.raises(TypeError, match="a key must be bytes, not int"):
        view[5]


def test_it_reads_anew_at_each_call(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk(), clock_ms=(clock := ManualClock()))
    part = db[b"a":b"c"]
    assert list(part) == []
    db.put_many({b"a": b"1", b"b": b"2", b"c": b"3"})
    db.put(b"aa", b"", ttl=1)
    assert (list(part), part.ttl(b"aa"), part.ttl(b"c")) == ([b"a", b"aa", b"b"], 1, None)
    clock.advance(1)
    assert list(part) == [b"a", b"b"]
    db.close()
    for read in (part.first, lambda: part.get(b"zz"), lambda: list(db[b"b":b"a"])):
        with pytest.raises(ClosedError):
            read()


@pytest.mark.parametrize("in_batch", [False, True])
def test_delete_a_slice(open_engine: OpenEngine, in_batch: bool) -> None:
    for start in BOUNDS:
        for stop in BOUNDS:
            db = open_engine(f"{BOUNDS.index(start)}-{BOUNDS.index(stop)}", fs=SimulatedDisk())
            db.put_many(PAIRS)
            if in_batch:
                with db.write_batch() as batch:
                    del batch[start:stop]
            else:
                del db[start:stop]
            gone = inside(start, stop)
            assert list(db) == [key for key in KEYS if key not in gone]


def test_nothing_is_deleted_by_a_wrong_slice(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    db.put_many(PAIRS)
    with pytest.raises(ValueError, match="has no step"):
        del db[b"a":b"b":1]
    with pytest.raises(TypeError):
        del db[1:2]
    with pytest.raises(TypeError, match="a key must be bytes, not slice"):
        db[b"a":b"b"] = b""
    assert list(db) == KEYS
