"""Transactions: what they see, when they are in conflict, how they end. Beside a model, and as recorded histories."""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest

import flin.engine
from flin.engine import ClosedError, ConflictError, Engine, ReentrantCallError, StorageError, Transaction
from flin.testing import Fault, ManualClock, SimulatedDisk
from tests.engine.histories import Recorded, check, interleave
from tests.engine.interleaved import Interleaving

OpenEngine = Callable[..., Any]


@pytest.fixture(params=[1, 4], ids="{} shards".format)
def db(request: pytest.FixtureRequest, open_engine: OpenEngine) -> Any:
    engine = open_engine(fs=SimulatedDisk(), shards=request.param, memory_limit="1mb")
    engine.put_many({b"a": b"1", b"b": b"2", b"c": b"3"})
    return engine


def conflict(transaction: Transaction, match: str = "was written since the transaction began") -> None:
    with pytest.raises(ConflictError, match=match):
        transaction.commit()


# Beside a model.


@pytest.mark.parametrize("seeds", [range(1000, 1020), pytest.param(range(2000, 3500), marks=pytest.mark.slow)])
def test_interleavings(seeds: range) -> None:
    """Each read gives what was there at the beginning; a conflict comes exactly if something was written since."""
    committed = refused = 0
    for seed in seeds:
        run = Interleaving(Random(seed))
        run.run(60)
        committed += run.committed
        refused += run.refused
    assert min(committed, refused) > len(seeds)


@pytest.mark.parametrize("seeds", [range(1000, 1020), pytest.param(range(2000, 3500), marks=pytest.mark.slow)])
def test_histories_have_an_order(seeds: range) -> None:
    committed = sum(len(interleave(Random(seed), 40).history) for seed in seeds)
    assert committed > 20 * len(seeds)


def test_histories_without_an_order_are_refused() -> None:
    skew = [
        Recorded(1, 1, 5, {b"a": (), b"b": ()}, {b"a"}),
        Recorded(2, 2, 6, {b"a": (), b"b": ()}, {b"b"}),
    ]
    with pytest.raises(AssertionError, match="no order one after the other"):
        check(skew, {b"a": (1,), b"b": (2,)})
    lost = [Recorded(1, 1, 5, {b"a": ()}, {b"a"}), Recorded(2, 2, 6, {b"a": ()}, {b"a"})]
    with pytest.raises(AssertionError, match="was written by"):
        check(lost, {b"a": (2,)})
    with pytest.raises(AssertionError, match="no order one after the other"):
        check(lost, {b"a": (1, 2)})
    late = [Recorded(1, 1, 2, {}, {b"a"}), Recorded(2, 3, 4, {b"a": ()})]
    with pytest.raises(AssertionError, match="no order one after the other"):
        check(late, {b"a": (1,)})
    check([Recorded(1, 1, 4, {}, {b"a"}), Recorded(2, 3, 5, {b"a": ()})], {b"a": (1,)})


# What is a conflict.


def test_it_is_one_commit(db: Any) -> None:
    with db.transaction() as t:
        t[b"d"] = t.pop(b"a")
        assert t.incr(b"n", 5) == 5
        t.delete_range(b"b", b"c")
        assert dict(t) == {b"c": b"3", b"d": b"1", b"n": b"5"}
        assert dict(db) == {b"a": b"1", b"b": b"2", b"c": b"3"}
    assert dict(db) == {b"c": b"3", b"d": b"1", b"n": b"5"}


def test_an_exception_discards_it(db: Any) -> None:
    def fail() -> None:
        with db.transaction() as t:
            t.clear()
            raise ValueError("the caller's")

    with pytest.raises(ValueError, match="the caller's"):
        fail()
    assert len(db) == 3
    assert not db._store._notes_writes


def test_write_skew(db: Any) -> None:
    """Two read both, and each writes one: one after the other, the second would have seen it."""
    one, other = db.transaction(), db.transaction()
    for t in (one, other):
        assert int(t[b"a"]) + int(t[b"b"]) == 3
    one[b"a"] = b"-1"
    other[b"b"] = b"-1"
    one.commit()
    conflict(other)
    assert db[b"b"] == b"2"


def test_a_key_that_was_missed(db: Any) -> None:
    for read in (
        lambda t: t.get(b"x"),
        lambda t: b"x" in t,
        lambda t: t.ttl(b"x"),
        lambda t: t.pop(b"x", None),
        lambda t: t.put_if_absent(b"x", b"mine"),
        lambda t: t.next_key(b"c"),
        lambda t: list(t.scan(prefix=b"x")),
        len,
    ):
        t = db.transaction()
        read(t)
        db.put(b"x", b"somebody's")
        t[b"y"] = b""
        conflict(t)
        db.delete(b"x")


CHANGES: list[Callable[[Any], object]] = [
    lambda db: db.put(b"bb", b""),
    lambda db: db.delete(b"b"),
    lambda db: db.put_many({b"b": b"9"}),
    lambda db: db.delete_many([b"b"]),
    lambda db: db.delete_range(b"b", b"bb"),
    lambda db: db.delete_prefix(b"b"),
    lambda db: db.clear(),
    lambda db: db.incr(b"b"),
    lambda db: db.compare_and_set(b"b", b"2", b"9"),
    lambda db: db.put_if_absent(b"bb", b"9"),
    lambda db: db.expire(b"b", 5),
    lambda db: db.pop(b"b"),
    lambda db: db.setdefault(b"bb", b"9"),
    lambda db: db.update({b"b": b"9"}),
    lambda db: db.write_batch().__exit__(None, None, None) or db.put(b"b", b"2"),
    lambda db: db.transactional()(lambda t: t.put(b"bb", b""))(),
]


def test_every_write_is_heeded(db: Any) -> None:
    for change in CHANGES:
        db.clear()
        db.put_many({b"a": b"1", b"b": b"2", b"c": b"3"})
        t = db.transaction()
        assert list(t.scan(start=b"b", stop=b"c")) == [(b"b", b"2")]
        change(db)
        t[b"z"] = b""
        conflict(t, "since the transaction began")
        assert b"z" not in db


def test_what_changes_nothing_is_no_conflict(db: Any) -> None:
    t = db.transaction()
    assert len(t) == 3
    assert not db.compare_and_set(b"b", b"7", b"9")
    assert not db.put_if_absent(b"b", b"9")
    assert db.setdefault(b"b", b"9") == b"2"
    assert db.pop(b"x", None) is None
    assert not db.persist(b"b")
    db.flush()
    db.compact()
    t[b"z"] = b""
    t.commit()


def test_a_scan_is_read_as_far_as_it_was_taken(db: Any) -> None:
    """So takers from the front of a queue do not mind those who append to it."""
    with db.transaction() as t:
        key, value = t.popitem()
        db.put(b"d", b"4")
        t[b"taken " + key] = value
    assert b"a" not in db
    with db.transaction() as t:
        scan = t.scan(reverse=True)
        assert next(scan) == (b"taken a", b"1")
        db.put(b"c", b"below")
        t[b"other"] = b""
    t = db.transaction()
    scan = t.scan()
    db.put(b"c", b"above")
    assert next(scan)[0] == b"b"
    assert next(scan) == (b"c", b"below"), "as it was when the scan began"
    t[b"other"] = b""
    conflict(t)


def test_a_scan_shows_nothing_newer_than_the_transaction(db: Any) -> None:
    t = db.transaction()
    db.put(b"c", b"newer")
    scan = t.scan_keys()
    assert [next(scan), next(scan)] == [b"a", b"b"]
    with pytest.raises(ConflictError, match="the key b'c' was written"):
        next(scan)
    conflict(t)


def test_long_scans(db: Any) -> None:
    """Over several pages, some of the transaction's own keys among them."""
    db.put_many((b"k%04d" % number, b"") for number in range(3000))
    for taken in (1, 32, 33, 700, 2999):
        for name, reverse in (("scan", False), ("scan_keys", True)):
            t = db.transaction()
            t.put_many((b"k%04d+" % number, b"") for number in range(0, 3000, 7))
            keys = [key for key in t.scan_keys(prefix=b"k", reverse=reverse) if key[-1:] != b"+"]
            t.discard()
            t = db.transaction()
            scan = getattr(t, name)(prefix=b"k", reverse=reverse)
            for _ in range(taken):
                next(scan)
            db.put(keys[taken], b"after it")
            t[b"other"] = b""
            t.commit()
            t = db.transaction()
            scan = getattr(t, name)(prefix=b"k", reverse=reverse)
            for _ in range(taken):
                next(scan)
            db.put(keys[taken - 1], b"the last one")
            t[b"other"] = b""
            conflict(t)


def test_its_own_writes_are_no_reads(db: Any) -> None:
    with db.transaction() as t:
        t[b"a"] = b"mine"
        db[b"a"] = b"somebody's"
        assert t[b"a"] == b"mine"
    assert db[b"a"] == b"mine"


def test_one_that_only_reads_sees_one_moment(db: Any) -> None:
    with db.transaction() as t:
        assert t[b"a"] == b"1"
        db.put_many({b"a": b"2", b"b": b"4"})
        with pytest.raises(ConflictError):
            t[b"b"]
        assert t[b"c"] == b"3"
        t.discard()
    with db.transaction() as t:
        assert t[b"a"] == b"2"
        db.put(b"a", b"3")


def test_its_clock_stands_still(open_engine: OpenEngine) -> None:
    clock = ManualClock()
    db = open_engine(fs=SimulatedDisk(), clock_ms=clock)
    db.put(b"a", b"1", ttl=1)
    with db.transaction() as t:
        clock.advance(5)
        assert b"a" not in db
        db.flush()
        assert t[b"a"] == b"1", "no job has taken its value"
        assert t.ttl(b"a") == 1
        t.put(b"b", b"2", ttl=timedelta(seconds=6))
    assert dict(db) == {b"b": b"2"}
    assert db.ttl(b"b") == 1
    db.put(b"a", b"1", ttl=1)
    t = db.transaction()
    assert t[b"a"] == b"1"
    clock.advance(5)
    assert len(db) == 0, "the sweep has taken both"
    t[b"c"] = b""
    conflict(t)
    db.put(b"a", b"1", ttl=1)
    clock.advance(5)
    with db.transaction() as t:
        assert list(t) == []
        assert len(db) == 0, "the sweep"
        t[b"c"] = b"it had expired before"
    assert list(db) == [b"c"]


def test_a_collection(tmp_path: Any, open_engine: OpenEngine) -> None:
    """A view reads through the transaction."""
    from tests.objects.test_views import serve

    db = open_engine()
    serve(db, [b"HSET", b"h", b"f", b"1"], [b"RPUSH", b"l", *(b"%d" % number for number in range(1000))])
    with db.transaction() as t:
        assert t.type(b"h") == "hash"
        assert dict(t.hash(b"h")) == {b"f": b"1"}
        assert t.list(b"l")[-1] == b"999"
        assert t.get(b"h") is None
        with pytest.raises(ConflictError, match="holds a collection"):
            t.incr(b"h")
        with pytest.raises(ConflictError, match="holds a collection"):
            t.setdefault(b"h", b"")
        t[b"sum"] = b"1"
    for request in ([b"HSET", b"h", b"f", b"2"], [b"LSET", b"l", b"999", b"x"], [b"RPUSH", b"l", b"x"]):
        t = db.transaction()
        assert len(t.hash(b"h")) == 1
        assert len(list(t.list(b"l"))) >= 1000
        serve(db, request)
        t[b"sum"] = b"2"
        conflict(t)


def test_iterators_slices_and_prefixes_read_through_it(db: Any) -> None:
    t = db.transaction()
    with t.iterator() as iterator:
        assert next(iterator) == (b"a", b"1")
        t[b"aa"] = b"not for the iterator"
        iterator.seek(b"b")
        assert next(iterator) == (b"b", b"2")
        assert iterator.prev() == (b"b", b"2")
    db.put(b"c", b"4")
    t.commit()
    reads: list[Callable[[Any], object]] = [
        lambda t: next(t.iterator(reverse=True)),
        lambda t: t[b"b":b"d"].get(b"c"),
        lambda t: list(t[b"b":b"d"]),
        lambda t: t.prefixed(b"c").get(b""),
        lambda t: list(t.prefixed(b"c").keys()),
    ]
    for read in reads:
        t = db.transaction()
        read(t)
        t.prefixed(b"x").put(b"y", b"")
        db.put(b"c", b"5")
        conflict(t)
    assert b"xy" not in db


def test_a_refresh_may_change_everything(open_engine: OpenEngine) -> None:
    """A reader beside a writer: what it has read is not what it reads after its next refresh."""
    writer = open_engine()
    writer.put_many({b"a": b"1", b"b": b"1"})
    with flin.engine.open(writer.path, read_only=True) as reader:
        t = reader.transaction()
        assert t[b"a"] == b"1"
        writer.put_many({b"a": b"2", b"b": b"2"})
        assert t[b"b"] == b"1"
        assert reader.refresh()
        reads: list[Callable[[Any], object]] = [lambda t: t[b"b"], list, lambda t: t.get(b"c")]
        for read in reads:
            with pytest.raises(ConflictError):
                read(t)
        t.discard()
        with reader.transaction() as t:
            assert dict(t) == {b"a": b"2", b"b": b"2"}


# How it ends.


CALLS: dict[str, Callable[[Any], object]] = {
    "get": lambda t: t.get(b"a"),
    "in": lambda t: b"a" in t,
    "put": lambda t: t.put(b"a", b""),
    "pop": lambda t: t.pop(b"a"),
    "incr": lambda t: t.incr(b"a"),
    "put_if_absent": lambda t: t.put_if_absent(b"q", b""),
    "expire": lambda t: t.expire(b"a", 5),
    "delete_range": lambda t: t.delete_range(b"a", b"b"),
    "scan": lambda t: list(t.scan()),
    "scan of nothing": lambda t: list(t.scan(limit=0)),
    "keys of nothing": lambda t: list(t.scan_keys(limit=0)),
    "len": len,
    "get_many": lambda t: t.get_many([]),
    "hash": lambda t: t.hash(b"h"),
    "commit": lambda t: t.commit(),
}


@pytest.mark.parametrize("end", ["commit", "discard"])
def test_nothing_can_be_done_after_its_end(db: Any, end: str) -> None:
    t = db.transaction()
    t[b"a"] = b"2"
    getattr(t, end)()
    for call in CALLS.values():
        with pytest.raises(ClosedError, match="the transaction was committed or discarded"):
            call(t)
    t.discard()


def test_a_scan_ends_with_it(db: Any) -> None:
    """At the end of a page."""
    db.put_many((b"%d" % number, b"") for number in range(3000))
    with db.transaction() as t:
        scan = iter(t)
        next(scan)
    with pytest.raises(ClosedError):
        list(scan)


def test_one_inside_another_is_on_its_own(db: Any) -> None:
    with db.transaction() as outer:
        assert outer[b"a"] == b"1"
        with db.transaction() as inner:
            inner[b"b"] = b"inner"
        assert db[b"b"] == b"inner"
        outer[b"c"] = b"outer"
    outer = db.transaction()
    assert outer[b"a"] == b"1"
    with db.transaction() as inner:
        inner[b"a"] = b"inner"
    outer[b"c"] = b"never"
    conflict(outer)
    assert db[b"c"] == b"outer"


def test_a_conflict_that_is_caught_stays_one(db: Any) -> None:
    t = db.transaction()
    db.put(b"a", b"2")
    with pytest.raises(ConflictError):
        t.get(b"a")
    t[b"z"] = b""
    conflict(t)
    assert b"z" not in db


def test_one_that_is_too_old(db: Any) -> None:
    """Of the least memory limit 32 KiB may hold notes."""
    t = db.transaction()
    assert t[b"a"] == b"1"
    for number in range(400):
        db.put(b"n%d" % number, b"")
    with pytest.raises(ConflictError, match="too old"):
        t.get(b"b")
    t[b"z"] = b""
    conflict(t, "too old")
    with db.transaction() as t:
        assert t[b"b"] == b"2"
        t[b"z"] = b""


def test_one_that_is_dropped_without_an_end(db: Any) -> None:
    t = db.transaction()
    assert t[b"a"] == b"1"
    del t
    gc.collect()
    assert db._store._notes_writes
    for number in range(400):
        db.put(b"n%d" % number, b"")
    assert not db._store._notes_writes, "found out when the notes took their turn"


def test_a_disk_that_refuses(open_engine: OpenEngine) -> None:
    disk = SimulatedDisk()
    disk.window_bytes = 0
    db = open_engine(fs=disk)
    db.put(b"a", b"1")
    t = db.transaction()
    t[b"b"] = t[b"a"]
    disk.faults.append(Fault(0, errno.ENOSPC, frozenset({"append"})))
    with pytest.raises(StorageError):
        t.commit()
    assert dict(db) == {b"a": b"1"}
    assert not db._store._notes_writes
    with db.transaction() as t:
        t[b"b"] = t[b"a"]
    assert dict(db) == {b"a": b"1", b"b": b"1"}


@pytest.mark.parametrize("sync", [None, True, False])
def test_sync(open_engine: OpenEngine, sync: bool | None) -> None:
    db = open_engine(fs=SimulatedDisk(), sync="always")
    with db.transaction(sync=sync) as t:
        t[b"a"] = b"1"
        assert b"b" not in t
    assert (db._store.synced_position == db._store.position) is (sync is not False)
    with pytest.raises(TypeError, match="sync must be True, False or None"):
        db.transaction(sync="always")
    with pytest.raises(TypeError, match="sync must be True, False or None"):
        db.transactional(sync=1)


def test_a_closed_engine(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    t = db.transaction()
    t[b"a"] = b"1"
    db.close()
    with pytest.raises(ClosedError):
        t.get(b"b")
    with pytest.raises(ClosedError):
        t.commit()
    with pytest.raises(ClosedError):
        db.transaction()


def test_in_the_middle_of_a_commit(open_engine: OpenEngine) -> None:
    """A signal handler's transaction would not know of the commit that it interrupts."""
    disk = SimulatedDisk()
    disk.window_bytes = 0
    db = open_engine(fs=disk)
    earlier = db.transaction()
    assert earlier.get(b"a") is None
    earlier[b"c"] = b""
    raised: list[type[BaseException]] = []

    def handle(call: str) -> None:
        for step in (db.transaction, earlier.commit):
            try:
                step()
            except BaseException as error:
                raised.append(type(error))

    disk.on_change = handle
    db.put(b"b", b"1")
    disk.on_change = None
    assert raised[:1] == [ReentrantCallError]
    assert raised[1] is ReentrantCallError
    assert dict(db) == {b"b": b"1"}


# Functions.


def test_a_function_is_tried_again(db: Engine) -> None:
    attempts = 0

    @db.transactional(retries=3)
    def double(t: Transaction, key: bytes, *, meanwhile: int = 0) -> bytes:
        """Twice as much."""
        nonlocal attempts
        attempts += 1
        value = b"%d" % (2 * int(t[key]))
        if attempts <= meanwhile:
            db.incr(key)
        t[key] = value
        return value

    assert double(b"a") == db[b"a"] == b"2"
    assert attempts == 1
    attempts = 0
    assert double(b"a", meanwhile=3) == b"10"
    assert attempts == 4
    attempts = 0
    with pytest.raises(ConflictError, match="the key b'a' was written"):
        double(b"a", meanwhile=4)
    assert attempts == 4
    assert db[b"a"] == b"14", "the function has written nothing"
    assert (double.__name__, double.__doc__) == ("double", "Twice as much.")
    assert not db._store._notes_writes


def test_a_conflict_about_a_value_is_not_tried_again(db: Engine) -> None:
    db.put(b"text", b"no number")
    attempts = 0

    @db.transactional()
    def count(t: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        t.incr(b"text")

    with pytest.raises(ConflictError, match="is not a 64-bit integer"):
        count()
    assert attempts == 1


def test_a_function_may_end_its_transaction(db: Engine) -> None:
    @db.transactional()
    def look(t: Transaction) -> bytes:
        t[b"z"] = b""
        t.discard()
        return db[b"a"]

    assert look() == b"1"
    assert b"z" not in db


def test_methods(db: Engine) -> None:
    class Account:
        def __init__(self, key: bytes) -> None:
            self.key = key

        @db.transactional()
        def add(self, t: Transaction, amount: int) -> int:
            return t.incr(self.key, amount)

        @db.transactional()
        @classmethod
        def total(cls, t: Transaction) -> int:
            assert cls is Account
            return sum(int(value) for value in t.values())

        @db.transactional()
        @staticmethod
        def first(t: Transaction) -> bytes | None:
            return t.first()

        def plain(self, t: Transaction, amount: int) -> int:
            return t.incr(self.key, -amount)

    account = Account(b"a")
    assert account.add(4) == 5
    assert Account.add(account, 1) == 6
    assert Account.total() == account.total() == 11
    assert Account.first() == b"a"
    assert db.transactional()(account.plain)(2) == 4


def test_functions_that_cannot_be_transactions(db: Any) -> None:
    async def later(t: Transaction) -> None:
        t[b"a"] = b""

    def one_by_one(t: Transaction) -> Any:
        yield t[b"a"]

    for function in (later, one_by_one):
        with pytest.raises(TypeError, match="may not be a coroutine or generator"):
            db.transactional()(function)
    with pytest.raises(ValueError, match="retries must not be negative"):
        db.transactional(retries=-1)
    with pytest.raises(TypeError):
        db.transactional(retries="3")
