"""Write batches: all or nothing over every shard, and reads that see the batch's own writes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flin.engine
from flin.errors import ClosedError, StorageError
from flin.testing import Fault, ManualClock, SimulatedDisk

OpenEngine = Callable[..., Any]


@pytest.fixture(params=[1, 4, 16, 64], ids="{} shards".format)
def db(request: pytest.FixtureRequest, open_engine: OpenEngine) -> Any:
    return open_engine(fs=SimulatedDisk(), shards=request.param)


def test_it_is_one_commit(db: Any) -> None:
    position = db._store.position
    with db.write_batch() as batch:
        for number in range(100):
            batch.put(b"%d" % number, b"v")
        assert db._store.position == position
        assert len(db) == 0
        assert len(batch) == batch.writes == 100
    assert len(db) == 100
    db.close(flush=False)


def test_an_exception_discards_it(db: Any) -> None:
    db.put(b"k", b"old")
    position = db._store.position
    batch = db.write_batch()

    def fail() -> None:
        with batch:
            batch.put(b"k", b"new")
            batch.delete_prefix(b"")
            raise RuntimeError("the caller's")

    with pytest.raises(RuntimeError, match="the caller's"):
        fail()
    assert dict(db.scan()) == {b"k": b"old"}
    assert db._store.position == position
    with pytest.raises(ClosedError):
        batch.get(b"k")


def test_the_order_of_its_operations_counts(db: Any) -> None:
    db.put_many({b"a": b"0", b"b": b"0", b"c": b"0"})
    with db.write_batch() as batch:
        batch.put(b"a", b"1")
        batch.delete_range(b"a", b"c")
        batch.put(b"b", b"2")
        batch.delete(b"c")
        batch.put(b"c", b"3")
        batch.put(b"d", b"4")
        batch.delete(b"d")
    assert dict(db.scan()) == {b"b": b"2", b"c": b"3"}
    db.flush()
    assert dict(db.scan()) == {b"b": b"2", b"c": b"3"}


def test_every_read_sees_its_writes(db: Any) -> None:
    db.put_many({b"a": b"0", b"b": b"0", b"p1": b"0", b"p2": b"0", b"\xff": b"0"})
    db.flush()
    with db.write_batch() as batch:
        batch[b"b"] = b"1"
        batch.put_many({b"n": b"1", b"o": b"1"})
        batch.put_many([(b"\xff\xff", b"1")])
        batch.delete(b"a")
        batch.delete_many([b"absent"])
        batch.delete_prefix(b"p")
        batch.put(b"p2", b"1")
        expected = {b"b": b"1", b"n": b"1", b"o": b"1", b"p2": b"1", b"\xff": b"0", b"\xff\xff": b"1"}
        assert dict(batch.scan()) == expected
        assert list(batch.scan_keys()) == sorted(expected)
        assert list(batch.scan_keys(reverse=True, limit=2)) == [b"\xff\xff", b"\xff"]
        assert list(batch.scan_keys(prefix=b"p")) == [b"p2"]
        assert (batch.first(), batch.last()) == (b"b", b"\xff\xff")
        assert (batch.next_key(b"o"), batch.prev_key(b"p2")) == (b"p2", b"o")
        for key in (b"a", b"b", b"n", b"p1", b"p2", b"absent", b"\xff", b"\xff\xff"):
            assert batch.get(key) == expected.get(key)
            assert batch.get(key, 7) == expected.get(key, 7)
            assert (key in batch) == (key in expected)
        assert batch.get_many([b"a", b"b"]) == [None, b"1"]
        with pytest.raises(KeyError):
            batch[b"a"]
        assert db[b"b"] == b"0", "nobody else sees them yet"
    assert dict(db.scan()) == expected


def test_a_scan_of_a_batch_is_as_of_the_call(db: Any) -> None:
    db.put_many({b"%03d" % number: b"v" for number in range(600)})
    with db.write_batch() as batch:
        batch.put(b"000x", b"v")
        scan = batch.scan_keys()
        assert next(scan) == b"000"
        batch.put(b"001x", b"v")
        batch.delete_range(b"1", b"9")
        db.put(b"002x", b"v")
        assert len(list(scan)) == 600


def test_ttl(open_engine: OpenEngine) -> None:
    clock = ManualClock()
    db = open_engine(fs=SimulatedDisk(), clock_ms=clock)
    with db.write_batch() as batch:
        batch.put(b"a", b"1", ttl=5)
        batch.put_many({b"b": b"1"}, ttl=7)
        assert (batch.ttl(b"a"), batch.ttl(b"b"), batch.ttl(b"c")) == (5, 7, None)
        clock.advance(5)
        assert b"a" not in batch
        assert list(batch.scan_keys()) == [b"b"]
    assert list(db) == [b"b"]
    assert db.ttl(b"b") == 2


def test_commit_and_discard_by_hand(db: Any) -> None:
    batch = db.write_batch()
    batch.put(b"a", b"1")
    batch.commit()
    assert db[b"a"] == b"1"
    for call in (batch.commit, lambda: batch.put(b"b", b""), lambda: batch.delete(b"b"), batch.scan,
                 lambda: batch.get(b"a"), lambda: batch.delete_range(b"a", b"b"), lambda: batch.put_many({b"a": b""})
                 ):  # fmt: skip
        with pytest.raises(ClosedError, match="committed or discarded"):
            call()
    with db.write_batch() as batch:
        batch.put(b"a", b"2")
        batch.discard()
    with db.write_batch() as batch:
        batch.put(b"b", b"3")
        batch.commit()
    assert dict(db.scan()) == {b"a": b"1", b"b": b"3"}


def test_an_empty_batch_writes_nothing(db: Any) -> None:
    position = db._store.position
    with db.write_batch():
        pass
    with db.write_batch() as batch:
        batch.delete_range(b"b", b"a")
    assert db._store.position == position


def test_a_commit_that_fails_leaves_nothing() -> None:
    disk = SimulatedDisk()
    db = flin.engine.open("/db", fs=disk, runner="inline", shards=4)
    db.put(b"a", b"old")
    disk.faults.append(Fault(0, errno.ENOSPC, frozenset({"append"}), taken=30))
    batch = db.write_batch()
    for number in range(20):
        batch.put(b"%d" % number, b"v")
    batch.delete(b"a")
    with pytest.raises(StorageError):
        batch.commit()
    assert dict(db.scan()) == {b"a": b"old"}
    disk.faults.clear()
    db.close(flush=False)
    again = flin.engine.open("/db", fs=disk, runner="inline")
    assert dict(again.scan()) == {b"a": b"old"}
    again.close()


keys = st.one_of(st.binary(max_size=2), st.sampled_from([b"\xff", b"\xff\x01", b"k1", b"k2", b"k3"]))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, st.binary(max_size=2)),
        st.tuples(st.just("delete"), keys),
        st.tuples(st.just("delete_range"), keys, keys),
        st.tuples(st.just("delete_prefix"), keys),
    ),
    max_size=8,
)


def _apply(model: dict[bytes, bytes], name: str, *arguments: Any) -> None:
    if name == "put":
        model[arguments[0]] = arguments[1]
        return
    gone: Callable[[bytes], bool] = {
        "delete": lambda key: key == arguments[0],
        "delete_range": lambda key: arguments[0] <= key < arguments[-1],
        "delete_prefix": lambda key: key.startswith(arguments[0]),
    }[name]
    for key in list(filter(gone, model)):
        del model[key]


@given(st.lists(st.tuples(steps, st.sampled_from(["", "flush", "snapshot"])), max_size=4), st.sampled_from([1, 4]))
def test_batches_are_a_dict(script: list[Any], shards: int) -> None:
    db = flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", shards=shards)
    model: dict[bytes, bytes] = {}
    for batch_steps, after in script:
        with db.write_batch() as batch:
            for step in batch_steps:
                getattr(batch, step[0])(*step[1:])
                _apply(model, *step)
                assert list(batch.scan()) == sorted(model.items())
                assert list(batch.scan(reverse=True)) == sorted(model.items(), reverse=True)
        assert list(db.scan()) == sorted(model.items())
        if after == "flush":
            db.flush()
        elif after:
            db.snapshot().close()
    assert len(db) == len(model)
    assert db.verify() == []
    db.close()


@pytest.mark.parametrize("end", ["commit", "discard"])
def test_an_ended_batch_says_so(open_engine: OpenEngine, end: str) -> None:
    """Every call says so, even if there is nothing to do."""
    batch = open_engine(fs=SimulatedDisk()).write_batch()
    getattr(batch, end)()
    calls: list[Callable[[], object]] = [
        lambda: batch.put(b"k", b"v"),
        lambda: batch.put_many([]),
        lambda: batch.update({}),
        lambda: batch.delete(b"k"),
        lambda: batch.delete_many([]),
        lambda: batch.delete_range(b"b", b"a"),
        lambda: batch.clear(),
        lambda: batch.get(b"k"),
        lambda: batch.get_many([]),
        lambda: batch.pop(b"k", None),
        lambda: batch.scan(limit=0),
        lambda: batch.scan(start=b"b", stop=b"a"),
        lambda: len(batch),
        lambda: bool(batch),
        batch.commit,
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="the write batch was committed or discarded"):
            call()


@pytest.mark.parametrize("seed", range(8))
def test_limited_scans_of_many_writes(seed: int) -> None:
    """It reads no more of its own and of the engine's entries than the limit needs, whatever hides what."""
    chance = Random(seed)
    keys = [b"%04d" % number for number in range((5, 60, 700)[seed % 3])]
    expected: dict[bytes, bytes] = {}
    with flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", shards=chance.choice((1, 4))) as db:
        for key in chance.sample(keys, len(keys) // 2):
            db[key] = expected[key] = b"old"
            if chance.random() < 0.01:
                db.flush()
        with db.write_batch() as batch:
            for key in keys:
                kind = chance.random()
                if kind < 0.2:
                    batch[key] = expected[key] = b"new"
                elif kind < 0.4:
                    batch.delete(key)
                    expected.pop(key, None)
                elif kind < 0.402:
                    stop = chance.choice(keys)
                    batch.delete_range(key, stop)
                    expected = {each: value for each, value in expected.items() if not key <= each < stop}
            for _ in range(40):
                start, stop = sorted(chance.sample(keys, 2))
                limit, reverse = chance.choice((1, 2, 10, 40, 300, None)), chance.random() < 0.5
                wanted = sorted((pair for pair in expected.items() if start <= pair[0] < stop), reverse=reverse)[:limit]
                assert list(batch.scan(start=start, stop=stop, limit=limit, reverse=reverse)) == wanted
                found = list(batch.scan_keys(start=start, stop=stop, limit=limit, reverse=reverse))
                assert found == [key for key, _ in wanted]
