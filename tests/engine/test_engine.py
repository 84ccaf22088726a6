"""The public API, call by call, over 1 to 64 shards. What needs a longer story has a file of its own:
scans test_view.py, batches test_batch.py, snapshots test_snapshot.py, expiry test_sweep.py, processes test_process.py.
"""

from __future__ import annotations

import errno
import re
import threading
import time
from array import array
from collections.abc import Callable, Iterator, MutableMapping
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import inf, nan
from typing import Any

import pytest

import flin.engine
from flin.engine.background.compactor import Compactor
from flin.engine.disk.file_name import maybe_parse
from flin.errors import ClosedError, ConflictError, CorruptionError, ReadOnlyError, StorageError
from flin.testing import Fault, ManualClock, SimulatedDisk
from flin.testing.process import wait_until
from tests.source import ROOT

OpenEngine = Callable[..., Any]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=[1, 4, 16, 64], ids="{} shards".format)
def db(request: pytest.FixtureRequest, open_engine: OpenEngine, clock: ManualClock) -> Any:
    return open_engine(fs=SimulatedDisk(), shards=request.param, clock_ms=clock)


@pytest.fixture
def one(open_engine: OpenEngine, clock: ManualClock) -> Any:
    """An engine where the number of shards is of no interest."""
    return open_engine(fs=SimulatedDisk(), clock_ms=clock)


SETTLE: dict[str, Callable[[Any], None]] = {
    "memory": lambda db: None,
    "frozen": lambda db: db.snapshot().close(),
    "tables": lambda db: db.flush(),
    "compacted": lambda db: db.compact(),
}
everywhere = pytest.mark.parametrize("settle", SETTLE.values(), ids=SETTLE)


# One key.


@everywhere
def test_get_put_delete(db: Any, settle: Callable[[Any], None]) -> None:
    assert db.get(b"k") is None
    assert db.get(b"k", 7) == 7
    db.put(b"k", b"v")
    settle(db)
    assert (db.get(b"k"), db.get(b"k", 7), db[b"k"], b"k" in db) == (b"v", b"v", b"v", True)
    db.put(b"k", b"w")
    assert db[b"k"] == b"w"
    settle(db)
    db.delete(b"k")
    db.delete(b"never was")
    settle(db)
    assert (db.get(b"k"), b"k" in db, len(db)) == (None, False, 0)
    with pytest.raises(KeyError) as raised:
        db[b"k"]
    assert raised.value.args == (b"k",)


KEYS = [b"", b"\0", b"a", b"a\0", b"\xfe\xff", b"\xff", b"\xff\0", b"\xff\0\0", b"\xff\x01", b"\xff\x02", b"\xff\xff",
        b"\xff\xff\xff", b"{tag}a", b"{}b", b"x" * 70_000]  # fmt: skip


@everywhere
def test_every_key_is_a_key(db: Any, settle: Callable[[Any], None]) -> None:
    """Also empty ones, and those that begin like an internal key."""
    for number, key in enumerate(KEYS):
        db.put(key, b"%d" % number)
    settle(db)
    assert [db[key] for key in KEYS] == [b"%d" % number for number in range(len(KEYS))]
    assert db.get_many(KEYS) == [b"%d" % number for number in range(len(KEYS))]
    assert list(db) == sorted(KEYS)
    assert list(reversed(db)) == sorted(KEYS, reverse=True)
    assert len(db) == len(KEYS)
    for key in KEYS:
        assert key in db
        assert db.next_key(key) == next((other for other in sorted(KEYS) if other > key), None)
        assert db.prev_key(key) == next((other for other in sorted(KEYS, reverse=True) if other < key), None)
    for key in KEYS:
        del db[key]
    assert len(db) == 0


@everywhere
def test_empty_and_large_values(one: Any, settle: Callable[[Any], None]) -> None:
    large = bytes(range(256)) * 20_000
    one.put(b"empty", b"")
    one.put(b"large", large)
    settle(one)
    assert one[b"empty"] == b""
    assert b"empty" in one
    assert one[b"large"] == large


class Buffer(bytearray):
    """Somebody's own kind of bytearray."""


BUFFERS: list[Callable[[bytes], Any]] = [
    bytes, bytearray, memoryview, Buffer, lambda data: array("B", data), lambda data: memoryview(data * 2)[: len(data)]
]  # fmt: skip


@pytest.mark.parametrize("of", BUFFERS, ids=["bytes", "bytearray", "memoryview", "subclass", "array", "slice"])
def test_any_buffer_is_bytes(one: Any, of: Callable[[bytes], Any]) -> None:
    key, value = of(b"\xffkey"), of(b"value")
    one.put(key, value)
    one[of(b"b")] = value
    assert type(one.get(key)) is bytes
    assert one.get(key) == one[key] == b"value"
    assert key in one
    assert one.get_many([key, of(b"c")]) == [b"value", None]
    one.put_many([(of(b"c"), value), (of(b"d"), value), (of(b"c"), of(b"last"))])
    assert one[b"c"] == b"last"
    one.delete_many([of(b"d")])
    assert one.compare_and_set(of(b"c"), of(b"last"), of(b"new"))
    assert not one.put_if_absent(of(b"c"), value)
    assert one.setdefault(of(b"e"), value) == b"value"
    assert one.incr(of(b"n"), 2) == 2
    assert one.expire(key, 5)
    assert one.ttl(key) == 5
    assert one.persist(key)
    assert list(one.scan_keys(start=of(b"b"), stop=of(b"d"))) == [b"b", b"c"]
    assert list(one.scan_keys(prefix=of(b"\xff"))) == [b"\xffkey"]
    assert (one.next_key(of(b"b")), one.prev_key(of(b"c"))) == (b"c", b"b")
    with one.write_batch() as batch:
        batch.put(of(b"f"), value)
        batch.delete(of(b"b"))
        assert batch[of(b"f")] == b"value"
    one.delete_range(of(b"c"), of(b"d"))
    one.delete_prefix(of(b"\xff"))
    assert one.pop(of(b"f")) == b"value"
    del one[of(b"e")]
    assert list(one) == [b"n"]


def test_a_buffer_is_copied(one: Any) -> None:
    key, value = bytearray(b"key"), bytearray(b"value")
    one.put(key, value)
    key[0] = value[0] = 0
    assert dict(one.scan()) == {b"key": b"value"}


KEY_CALLS: dict[str, Callable[[Any, Any], object]] = {
    "get": lambda db, key: db.get(key),
    "getitem": lambda db, key: db[key],
    "contains": lambda db, key: key in db,
    "put": lambda db, key: db.put(key, b"v"),
    "put with ttl": lambda db, key: db.put(key, b"v", ttl=1),
    "delete": lambda db, key: db.delete(key),
    "get_many": lambda db, key: db.get_many([b"a", key]),
    "put_many": lambda db, key: db.put_many([(b"a", b"1"), (key, b"v")]),
    "delete_many": lambda db, key: db.delete_many([b"a", key]),
    "incr": lambda db, key: db.incr(key),
    "put_if_absent": lambda db, key: db.put_if_absent(key, b"v"),
    "compare_and_set": lambda db, key: db.compare_and_set(key, None, b"v"),
    "ttl": lambda db, key: db.ttl(key),
    "expire": lambda db, key: db.expire(key, 1),
    "persist": lambda db, key: db.persist(key),
    "next_key": lambda db, key: db.next_key(key),
    "prev_key": lambda db, key: db.prev_key(key),
    "pop": lambda db, key: db.pop(key, None),
    "setdefault": lambda db, key: db.setdefault(key, b"v"),
    "scan start": lambda db, key: db.scan(start=key),
    "scan stop": lambda db, key: db.scan_keys(stop=key),
    "delete_range": lambda db, key: db.delete_range(key, b"z"),
    "batch": lambda db, key: db.write_batch().put(key, b"v"),
}


@pytest.mark.parametrize("call", KEY_CALLS.values(), ids=KEY_CALLS)
def test_a_key_that_is_no_bytes(one: Any, call: Callable[[Any, Any], object]) -> None:
    with pytest.raises(TypeError, match=r"a key must be bytes, not str: use \.encode\(\)"):
        call(one, "text")
    with pytest.raises(TypeError, match="a key must be bytes, not int"):
        call(one, 5)
    assert len(one) == 0, "nothing of it was written"


@pytest.mark.parametrize(
    "call",
    [
        lambda db: db.put(b"k", "text"),
        lambda db: db.put(b"k", "text", ttl=5),
        lambda db: db.put_many({b"a": b"1", b"k": "text"}),
        lambda db: db.put_many([(bytearray(b"a"), b"1"), (b"k", "text")]),
        lambda db: db.put_if_absent(b"k", "text"),
        lambda db: db.compare_and_set(b"k", None, "text"),
        lambda db: db.compare_and_set(b"k", "text", b"v"),
        lambda db: db.setdefault(b"k", "text"),
        lambda db: db.write_batch().put(b"k", "text"),
        lambda db: db.update({b"k": "text"}),
    ],
)
def test_a_value_that_is_no_bytes(one: Any, call: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"a value must be bytes, not str: use \.encode\(\)"):
        call(one)
    assert len(one) == 0


def test_none_is_no_value(one: Any) -> None:
    with pytest.raises(TypeError, match="a value must be bytes, not NoneType"):
        one.put(b"k", None)
    with pytest.raises(TypeError, match="a prefix must be bytes, not str"):
        one.delete_prefix("text")


WRONG: dict[str, tuple[type[Exception], str, Callable[[Any], object]]] = {
    "ttl as text": (TypeError, "or a timedelta, not '5'", lambda db: db.put(b"k", b"v", ttl="5")),
    "ttl as a moment": (TypeError, "or a timedelta, not datetime", lambda db: db.expire(b"k", datetime(2030, 1, 1))),
    "ttl of no duration": (ValueError, "above 0, not datetime", lambda db: db.expire(b"k", timedelta(0))),
    "ttl of incr": (TypeError, "ttl must be a number of seconds", lambda db: db.incr(b"k", ttl="5")),
    "ttl of many": (TypeError, "ttl must be a number of seconds", lambda db: db.put_many({b"k": b"v"}, ttl=[5])),
    "ttl in a batch": (
        TypeError,
        "ttl must be a number of seconds",
        lambda db: db.write_batch().put(b"k", b"v", ttl="1"),
    ),
    "no ttl": (TypeError, "or a timedelta, not None", lambda db: db.expire(b"k", None)),
    "ttl 0": (ValueError, "ttl must be a number of seconds above 0, not 0", lambda db: db.put(b"k", b"v", ttl=0)),
    "ttl below 0": (ValueError, "ttl must be a number of seconds above 0", lambda db: db.expire(b"k", -0.5)),
    "ttl nan": (ValueError, "ttl must be a number of seconds above 0", lambda db: db.put(b"k", b"v", ttl=nan)),
    "ttl inf": (ValueError, "ttl must be a number of seconds above 0", lambda db: db.put(b"k", b"v", ttl=inf)),
    "endless ttl": (ValueError, "is too far in the future", lambda db: db.put(b"k", b"v", ttl=10**400)),
    "sync mode": (
        TypeError,
        "sync must be True, False or None, not 'never'",
        lambda db: db.put(b"k", b"v", sync="never"),
    ),
    "sync of a delete": (TypeError, "sync must be True, False or None", lambda db: db.delete(b"k", sync=1)),
    "sync of many": (TypeError, "sync must be True", lambda db: db.put_many({b"k": b"v"}, sync="always")),
    "sync of a batch": (TypeError, "sync must be True, False or None", lambda db: db.write_batch(sync="always")),
    "sync of a range": (TypeError, "sync must be True, False or None", lambda db: db.delete_range(b"a", b"z", sync=0)),
    "limit as text": (TypeError, "limit must be a whole number or None, not '5'", lambda db: db.scan(limit="5")),
    "limit as float": (TypeError, "limit must be a whole number or None, not 5.0", lambda db: db.scan_keys(limit=5.0)),
    "limit below 0": (ValueError, "limit must not be negative, but is -1", lambda db: db.scan(limit=-1)),
    "delta as text": (TypeError, "delta must be a whole number, not '1'", lambda db: db.incr(b"k", "1")),
    "delta as float": (TypeError, "delta must be a whole number, not 1.0", lambda db: db.incr(b"k", 1.0)),
    "a number for pairs": (TypeError, "pass a mapping or pairs of a key and a value", lambda db: db.put_many(5)),
    "keys for pairs": (TypeError, "is no such pair", lambda db: db.update([5])),
    "one key for keys": (TypeError, "a key must be bytes, not int", lambda db: db.get_many(b"key")),
    "text for keys": (TypeError, "a key must be bytes, not str", lambda db: db.delete_many("key")),
    "a prefix by place": (TypeError, "positional", lambda db: db.scan(b"prefix")),
    "start of another type": (TypeError, "a key must be bytes, not int", lambda db: db.scan(start=1, stop=9)),
    "prefix of another type": (TypeError, "a prefix must be bytes, not str", lambda db: db.scan(prefix="p")),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_before_anything_is_written(one: Any, name: str) -> None:
    kind, reason, call = WRONG[name]
    one.put(b"k", b"old")
    before = one._store.position
    with pytest.raises(kind, match=reason):
        call(one)
    assert one._store.position == before


def test_numbers_of_many_kinds(one: Any) -> None:
    """Any kind of number is accepted."""
    for ttl in (2, 2.0, True, Decimal(2), Fraction(4, 2)):
        one.put(b"k", b"v", ttl=ttl)
        assert one.ttl(b"k") == ttl
    one.put(b"k", b"v", ttl=1e-9)
    assert one.ttl(b"k") == 0.001, "rounded up to the millisecond"
    one.put_many({b"k": b"v"}, ttl=timedelta(microseconds=1))
    assert one.ttl(b"k") == 0.001
    one.put(b"k", b"v", ttl=timedelta(days=4_000_000))  # a thousand times as much would be no timedelta
    assert one.ttl(b"k") == 4_000_000 * 86_400
    assert one.expire(b"k", timedelta(minutes=1, milliseconds=5))
    assert one.ttl(b"k") == 60.005
    with one.write_batch() as batch:
        batch.put(b"k", b"v", ttl=timedelta(hours=1))
    assert one.ttl(b"k") == 3600
    assert one.incr(b"n", True) == 1
    one.put_many([(b"%d" % number, b"") for number in range(5)])
    assert len(list(one.scan(limit=2**100))) == len(one) == 7
    assert len(list(one.scan_keys(limit=True))) == 1


# Sync modes.


@pytest.mark.parametrize("mode", ["always", "interval", "never"])
@pytest.mark.parametrize("sync", [None, True, False])
def test_sync(open_engine: OpenEngine, mode: str, sync: bool | None) -> None:
    db = open_engine(sync=mode)
    calls: list[Callable[[], object]] = [
        lambda: db.put(b"a", b"1", sync=sync),
        lambda: db.put(b"a", b"1", ttl=9, sync=sync),
        lambda: db.put_many({b"b": b"2"}, sync=sync),
        lambda: db.delete(b"a", sync=sync),
        lambda: db.delete_many([b"b"], sync=sync),
        lambda: db.delete_range(b"a", b"b", sync=sync),
        lambda: db.delete_prefix(b"a", sync=sync),
        lambda: _batch(db, sync),
    ]
    for call in calls:
        before = db._store.position
        call()
        assert db._store.position > before
        synced = db._store.synced_position == db._store.position
        assert synced == (sync if sync is not None else mode == "always")
    db.sync()
    assert db._store.synced_position == db._store.position


def _batch(db: Any, sync: bool | None) -> None:
    with db.write_batch(sync=sync) as batch:
        batch.put(b"a", b"1")


@pytest.mark.parametrize(
    "call",
    [
        lambda db: db.incr(b"n"),
        lambda db: db.put_if_absent(b"a", b"1"),
        lambda db: db.setdefault(b"a", b"1"),
        lambda db: db.pop(b"k"),
        lambda db: db.expire(b"k", 5),
        lambda db: db.clear(),
        lambda db: db.popitem(),
    ],
)
def test_what_takes_no_sync_follows_the_mode(open_engine: OpenEngine, call: Callable[[Any], object]) -> None:
    db = open_engine(sync="always")
    db.put(b"k", b"v")
    before = db._store.position
    call(db)
    assert db._store.synced_position == db._store.position > before


# Many keys.


def test_put_many(db: Any) -> None:
    db.put_many({b"a": b"1", b"\xff": b"2"})
    db.put_many([(b"b", b"first"), (b"b", b"last")])
    db.put_many((b"g%d" % number, b"") for number in range(3))
    db.put_many([])
    db.put_many({})
    assert dict(db.scan()) == {b"a": b"1", b"b": b"last", b"g0": b"", b"g1": b"", b"g2": b"", b"\xff": b"2"}
    before = db._store.position
    db.put_many({})
    db.delete_many([])
    assert db._store.position == before


def test_put_many_is_one_commit(db: Any) -> None:
    frames = db._store._wal.sequence
    position = db._store.position
    db.put_many({b"%d" % number: b"" for number in range(100)})
    assert db._store._wal.sequence == frames + 100
    assert 0 < db._store.position - position < 100 * 20, "one frame, not a hundred headers of 45 bytes"


def test_many_with_ttl(one: Any, clock: ManualClock) -> None:
    one.put_many({b"a": b"1", b"b": b"2"}, ttl=10)
    assert one.ttl(b"a") == one.ttl(b"b") == 10
    clock.advance(10)
    assert one.get_many([b"a", b"b"]) == [None, None]


@everywhere
def test_get_many_and_delete_many(db: Any, settle: Callable[[Any], None]) -> None:
    db.put_many({b"%02d" % number: b"%d" % number for number in range(50)})
    settle(db)
    db.delete_many(b"%02d" % number for number in range(0, 60, 2))
    assert db.get_many([b"01", b"02", b"99", b"01"]) == [b"1", None, None, b"1"]
    assert list(db) == [b"%02d" % number for number in range(1, 50, 2)]
    assert db.get_many([]) == []


# Numbers, and other reads and writes in one.


def test_incr(db: Any) -> None:
    assert db.incr(b"n") == 1
    assert db.incr(b"n", 41) == 42
    assert db.incr(b"n", -100) == -58
    assert db[b"n"] == b"-58"
    db.flush()
    assert db.incr(b"n", 0) == -58


@pytest.mark.parametrize(
    "text",
    [b"0", b"-1", b"9", b"10", b"9223372036854775806", b"-9223372036854775808"],
)
def test_texts_that_are_numbers(one: Any, text: bytes) -> None:
    one.put(b"n", text)
    assert one.incr(b"n") == int(text) + 1


@pytest.mark.parametrize(
    "text",
    [b"", b"-", b"+1", b" 1", b"1 ", b"01", b"-0", b"-01", b"1.0", b"1e3", b"0x1", b"1_000", b"a", b"\xd9\xa1", b"\xb2",
     b"9223372036854775808", b"-9223372036854775809", b"1" * 40],
)  # fmt: skip
def test_texts_that_are_no_numbers(one: Any, text: bytes) -> None:
    one.put(b"n", text)
    with pytest.raises(ConflictError, match="not a 64-bit integer"):
        one.incr(b"n")
    assert one[b"n"] == text


def test_incr_has_limits(one: Any) -> None:
    for start, delta in ((2**63 - 1, 1), (-(2**63), -1), (1, 2**63 - 1), (0, 2**63)):
        one.put(b"n", b"%d" % start)
        with pytest.raises(ConflictError, match="does not fit 64 bits"):
            one.incr(b"n", delta)
        assert one[b"n"] == b"%d" % start
    one.put(b"n", b"-1")
    assert one.incr(b"n", 2**63) == 2**63 - 1
    wrong: list[Any] = [1.5, "1", b"1", None]
    for no_integer in wrong:
        with pytest.raises(TypeError):
            one.incr(b"n", no_integer)


def test_incr_keeps_the_expiry(one: Any, clock: ManualClock) -> None:
    one.put(b"n", b"1", ttl=10)
    assert one.incr(b"n") == 2
    clock.advance(4)
    assert one.incr(b"n") == 3
    assert one.ttl(b"n") == 6
    clock.advance(6)
    assert one.incr(b"n") == 1, "it had expired: a new number, without an expiry"
    assert one.ttl(b"n") is None


def test_a_ttl_of_incr_is_for_a_new_number(one: Any, clock: ManualClock) -> None:
    """A window of a minute, however many requests come within it."""
    assert one.incr(b"hits", ttl=60) == 1
    clock.advance(50)
    assert one.incr(b"hits", 4, ttl=timedelta(minutes=1)) == 5
    assert one.ttl(b"hits") == 10
    clock.advance(10)
    assert one.incr(b"hits", ttl=60) == 1
    assert one.ttl(b"hits") == 60
    one.put(b"total", b"1")
    assert one.incr(b"total", ttl=60) == 2
    assert one.ttl(b"total") is None, "it was there, without an expiry"


def test_put_if_absent(db: Any, clock: ManualClock) -> None:
    assert db.put_if_absent(b"k", b"1", ttl=5)
    assert not db.put_if_absent(b"k", b"2")
    assert (db[b"k"], db.ttl(b"k")) == (b"1", 5)
    clock.advance(5)
    assert db.put_if_absent(b"k", b"3")
    assert (db[b"k"], db.ttl(b"k")) == (b"3", None)


@pytest.mark.parametrize(
    ("held", "expected", "new", "done"),
    [
        (None, None, b"n", True),
        (None, None, None, True),
        (None, b"", b"n", False),
        (None, b"x", None, False),
        (b"x", b"x", b"n", True),
        (b"x", b"x", None, True),
        (b"x", b"x", b"x", True),
        (b"x", b"y", b"n", False),
        (b"x", None, b"n", False),
        (b"", b"", b"n", True),
        (b"", None, b"n", False),
    ],
)
def test_compare_and_set(db: Any, held: bytes | None, expected: bytes | None, new: bytes | None, done: bool) -> None:
    if held is not None:
        db.put(b"k", held)
    assert db.compare_and_set(b"k", expected, new) is done
    assert db.get(b"k") == (new if done else held)
    assert len(db) == (db.get(b"k") is not None)


def test_compare_and_set_replaces_the_expiry(one: Any) -> None:
    one.put(b"k", b"1", ttl=5)
    assert one.compare_and_set(b"k", b"1", b"2", ttl=9)
    assert one.ttl(b"k") == 9
    assert one.compare_and_set(b"k", b"2", b"3")
    assert one.ttl(b"k") is None


# Time to live.


@everywhere
def test_ttl_expire_persist(one: Any, clock: ManualClock, settle: Callable[[Any], None]) -> None:
    one.put(b"k", b"v")
    settle(one)
    assert one.ttl(b"k") is None
    assert not one.persist(b"k")
    assert one.expire(b"k", 10.5)
    settle(one)
    assert one.ttl(b"k") == 10.5
    clock.advance(10)
    assert one.ttl(b"k") == 0.5
    assert one.persist(b"k")
    settle(one)
    clock.advance(100)
    assert (one[b"k"], one.ttl(b"k")) == (b"v", None)
    one.expire(b"k", 1)
    clock.advance(0.999)
    assert b"k" in one
    clock.advance(0.001)
    assert (one.get(b"k"), b"k" in one, one.ttl(b"k"), list(one)) == (None, False, None, [])
    assert not one.expire(b"k", 10)
    assert not one.persist(b"k")
    assert not one.expire(b"absent", 10)


def test_what_a_merge_found_expired_stays_so(one: Any, clock: ManualClock) -> None:
    """However often it was read before, and if the clock is set back then."""
    one.put(b"a", b"1", ttl=10.0)
    one.flush()
    assert [one.get(b"a") for _ in range(3)] == [b"1"] * 3
    one._store.holds_sweep = True
    clock.advance(20.0)
    one.put(b"b", b"2")
    one.flush()
    one.compact()
    clock.advance(-15.0)
    assert dict(one.scan()) == {b"b": b"2"}
    assert (one.get(b"a"), b"a" in one, one.ttl(b"a")) == (None, False, None)


def test_a_new_value_has_no_old_expiry(one: Any, clock: ManualClock) -> None:
    writes: list[Callable[[], object]] = [
        lambda: one.put(b"k", b"2"),
        lambda: one.put_many({b"k": b"2"}),
        lambda: one.update({b"k": b"2"}),
        lambda: one.compare_and_set(b"k", b"1", b"2"),
    ]
    for write in writes:
        one.put(b"k", b"1", ttl=1)
        write()
        assert one.ttl(b"k") is None
    clock.advance(5)
    assert one[b"k"] == b"2"


@pytest.mark.parametrize("ttl", [0, -1, -0.001, float("nan"), float("inf"), float("-inf"), 1e300])
def test_an_invalid_ttl(one: Any, ttl: float) -> None:
    one.put(b"k", b"v")
    calls: list[Callable[[], object]] = [
        lambda: one.put(b"k", b"w", ttl=ttl),
        lambda: one.put_many({b"k": b"w"}, ttl=ttl),
        lambda: one.put_if_absent(b"k", b"w", ttl=ttl),
        lambda: one.expire(b"k", ttl),
        lambda: one.write_batch().put(b"k", b"w", ttl=ttl),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="ttl"):
            call()
    assert (one[b"k"], one.ttl(b"k")) == (b"v", None)


def test_a_ttl_is_rounded_up(one: Any, clock: ManualClock) -> None:
    one.put(b"k", b"v", ttl=1e-9)
    assert b"k" in one
    assert one.ttl(b"k") == 0.001


# Ranges.


@everywhere
def test_delete_range(db: Any, settle: Callable[[Any], None]) -> None:
    db.put_many({b"%02d" % number: b"" for number in range(20)} | {b"\xff": b"", b"": b""})
    settle(db)
    db.delete_range(b"05", b"15")
    settle(db)
    db.put(b"07", b"new")
    expected = [b"", *[b"%02d" % number for number in [*range(5), 7, *range(15, 20)]], b"\xff"]
    assert list(db) == expected
    assert len(db) == len(expected)
    for key in (b"05", b"14", b"10"):
        assert key not in db
    settle(db)
    assert list(db) == expected
    db.delete_range(b"15", b"15")
    db.delete_range(b"19", b"00")
    assert list(db) == expected
    db.delete_range(b"", b"\xff\xff")
    assert len(db) == 0


@everywhere
@pytest.mark.parametrize("prefix", [b"", b"a", b"ab", b"a\xff", b"\xff", b"\xff\xff", b"\xff\x01", b"nothing"])
def test_delete_prefix(db: Any, prefix: bytes, settle: Callable[[Any], None]) -> None:
    keys = [b"", b"a", b"ab", b"abc", b"a\xff", b"a\xff\xff", b"b", b"\xfe", *KEYS[5:12]]
    db.put_many(dict.fromkeys(keys, b"v"))
    settle(db)
    db.delete_prefix(prefix)
    assert list(db) == sorted(key for key in keys if not key.startswith(prefix))
    assert len(db) == sum(not key.startswith(prefix) for key in keys)


def test_ranges_end_at_the_users_keys(one: Any) -> None:
    """Internal keys (other databases of a server) are outside every embedded range, count and clear."""
    inner = b"\xff\x01\0\1key"
    one._store.commit({inner: b"inner"})
    one.put(b"\xff\xff\xff", b"mine")
    assert list(one) == [b"\xff\xff\xff"]
    assert len(one) == 1
    one.delete_prefix(b"\xff")
    one.delete_prefix(b"")
    one.clear()
    assert (len(one), one._store.read(inner), one._store.count(1)) == (0, b"inner", 1)
    assert one.get(b"\xff\x01\0\1key") is None
    assert one.first() is None
    assert one.last() is None


# The names that a shell offers for completion.


@pytest.mark.parametrize("face", [flin.engine.Engine, flin.engine.Snapshot, flin.engine.WriteBatch])
def test_its_names_are_those_of_the_page(face: type) -> None:
    offered = {name for name in dir(face) if not name.startswith("_")}
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    table = page.partition("## The embedded API")[2].partition("\n\nAn engine")[0]
    described = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]+)`", table))))
    assert offered - set(dir(dict)) <= described
    assert not {"store", "compactor", "read_entry"} & described, "what is inside"


# The mapping protocol.


def test_it_is_a_mutable_mapping(db: Any) -> None:
    assert isinstance(db, MutableMapping)
    assert not db
    db[b"b"] = b"2"
    db.update({b"a": b"1"})
    db.update([(b"c", b"3")])
    assert db
    assert list(db) == list(db.keys()) == [b"a", b"b", b"c"]
    assert list(db.values()) == [b"1", b"2", b"3"]
    assert list(db.items()) == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]
    assert len(db) == len(db.keys()) == len(db.items()) == len(db.values()) == 3
    assert (b"a", b"1") in db.items()
    assert (b"a", b"2") not in db.items()
    assert (b"x", b"1") not in db.items()
    assert b"3" in db.values()
    assert b"a" in db.keys()  # noqa: SIM118  the view itself is asked
    assert dict(db) == {b"a": b"1", b"b": b"2", b"c": b"3"}
    assert db.setdefault(b"a", b"9") == b"1"
    assert db.setdefault(b"d", b"4") == b"4"
    assert db.setdefault(b"e") == b""
    assert db.pop(b"d") == b"4"
    assert db.pop(b"d", None) is None
    assert db.popitem() == (b"a", b"1")
    del db[b"e"]
    db.clear()
    assert (len(db), list(db), bool(db)) == (0, [], False)


def test_what_is_absent(one: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: one[b"k"],
        lambda: one.pop(b"k"),
        lambda: one.popitem(),
        lambda: one.__delitem__(b"k"),
    ]
    for call in calls:
        with pytest.raises(KeyError):
            call()
    assert (one.pop(b"k", None), one.pop(b"k", default=7)) == (None, 7)
    with pytest.raises(TypeError, match="takes from 2 to 3 positional arguments"):
        one.pop(b"k", 1, 2)
    with pytest.raises(TypeError, match="a key must be bytes, not the name k: pass a mapping or pairs"):
        one.update(k=b"v")


def test_update_from_another_engine(open_engine: OpenEngine) -> None:
    one, other = open_engine("one"), open_engine("other")
    one.put_many({b"%d" % number: b"v" for number in range(10)})
    other.update(one)
    assert dict(other.scan()) == dict(one.scan())


def test_engines_are_compared_by_identity(open_engine: OpenEngine) -> None:
    one, other = open_engine("one"), open_engine("other")
    assert one == one
    assert one != other
    assert one != {}
    assert len({one, other}) == 2


def test_pop_and_popitem_see_expiry(one: Any, clock: ManualClock) -> None:
    one.put(b"a", b"1", ttl=1)
    one.put(b"b", b"2")
    clock.advance(1)
    assert one.pop(b"a", b"none") == b"none"
    assert one.popitem() == (b"b", b"2")
    assert not one


# Opening and closing.


def test_a_clean_close_replays_nothing(open_engine: OpenEngine, tmp_path: Any) -> None:
    db = open_engine(shards=4)
    db.put_many({b"%d" % number: b"v" for number in range(100)})
    db.close()
    names = [found for name in (tmp_path / "db").iterdir() if (found := maybe_parse(name.name))]
    assert {name.role for name in names} == {"table"}
    again = open_engine()
    assert again.stats()["wal"]["replayed_operations"] == 0
    assert (len(again), again.stats()["shards"]) == (100, 4)


def test_close_without_flush_is_replayed(open_engine: OpenEngine) -> None:
    db = open_engine()
    db.put(b"a", b"1")
    db.delete(b"b")
    db.close(flush=False)
    again = open_engine()
    assert again.stats()["wal"]["replayed_operations"] == 2
    assert again.stats()["wal"]["torn"] == ""
    assert again._store.recovery.clean
    assert dict(again.scan()) == {b"a": b"1"}


def test_it_is_a_context_manager(open_engine: OpenEngine) -> None:
    with open_engine() as db:
        db[b"a"] = b"1"
        assert repr(db) == f"<flin.engine.Engine {db.path!r}>"
    assert db.closed
    assert repr(db).endswith("closed>")
    with pytest.raises(RuntimeError, match="the caller's"), open_engine() as db:
        raise RuntimeError("the caller's")
    assert db.closed


AFTER_CLOSE: dict[str, Callable[[Any], object]] = {
    "get": lambda db: db.get(b"k"),
    "getitem": lambda db: db[b"k"],
    "contains": lambda db: b"k" in db,
    "put": lambda db: db.put(b"k", b"v"),
    "delete": lambda db: db.delete(b"k"),
    "delitem": lambda db: db.__delitem__(b"k"),
    "get_many": lambda db: db.get_many([b"k"]),
    "put_many": lambda db: db.put_many({b"k": b"v"}),
    "delete_many": lambda db: db.delete_many([b"k"]),
    "scan": lambda db: db.scan(),
    "scan_keys": lambda db: db.scan_keys(prefix=b"k"),
    "first": lambda db: db.first(),
    "next_key": lambda db: db.next_key(b""),
    "iter": lambda db: list(db),
    "len": lambda db: len(db),
    "bool": lambda db: bool(db),
    "incr": lambda db: db.incr(b"n"),
    "put_if_absent": lambda db: db.put_if_absent(b"k", b"v"),
    "compare_and_set": lambda db: db.compare_and_set(b"k", None, b"v"),
    "setdefault": lambda db: db.setdefault(b"k", b"v"),
    "pop": lambda db: db.pop(b"k", None),
    "ttl": lambda db: db.ttl(b"k"),
    "expire": lambda db: db.expire(b"k", 1),
    "persist": lambda db: db.persist(b"k"),
    "delete_range": lambda db: db.delete_range(b"a", b"b"),
    "delete_prefix": lambda db: db.delete_prefix(b"a"),
    "clear": lambda db: db.clear(),
    "snapshot": lambda db: db.snapshot(),
    "flush": lambda db: db.flush(),
    "compact": lambda db: db.compact(),
    "sync": lambda db: db.sync(),
    "verify": lambda db: db.verify(),
    "stats": lambda db: db.stats(),
    "update": lambda db: db.update({b"k": b"v"}),
    "popitem": lambda db: db.popitem(),
    "write_batch": lambda db: db.write_batch(),
    "dict": lambda db: dict(db),
    # Calls that have nothing to do say so, too.
    "get_many of nothing": lambda db: db.get_many([]),
    "put_many of nothing": lambda db: db.put_many([]),
    "update of nothing": lambda db: db.update({}),
    "delete_many of nothing": lambda db: db.delete_many([]),
    "delete_range of nothing": lambda db: db.delete_range(b"b", b"a"),
    "scan of nothing": lambda db: db.scan(start=b"b", stop=b"a"),
    "scan of none": lambda db: db.scan_keys(limit=0),
    "first of nothing": lambda db: next(db.items().__iter__(), None),
}


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("name", AFTER_CLOSE)
def test_after_close(name: str, shards: int) -> None:
    db = flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", shards=shards)
    db.put(b"k", b"v")
    db.close()
    with pytest.raises(ClosedError):
        AFTER_CLOSE[name](db)
    db.close()


def test_a_batch_over_a_closed_engine() -> None:
    db = flin.engine.open("/db", fs=SimulatedDisk(), runner="inline")
    batch = db.write_batch()
    batch.put(b"k", b"v")
    db.close()
    with pytest.raises(ClosedError):
        batch.commit()
    with pytest.raises(ClosedError):
        db.write_batch().get(b"other")


def test_scans_and_snapshots_outlive_a_close(open_engine: OpenEngine) -> None:
    """Those that were begun have all that they need."""
    db = open_engine(shards=4)
    pairs = {b"%05d" % number: b"v" * 100 for number in range(5000)}
    db.put_many(pairs)
    db.flush()
    db.put(b"00000", b"new")
    scan, view = db.scan(), db.snapshot()
    next(scan)
    db.close()
    assert dict(scan) == {key: value for key, value in pairs.items() if key != b"00000"}
    assert view[b"00000"] == b"new"
    view.close()


def test_shards_are_fixed(open_engine: OpenEngine) -> None:
    open_engine(shards=4).close()
    with pytest.raises(ValueError, match="has 4 shards, which is fixed; it was opened with 8"):
        open_engine(shards=8)
    assert open_engine().stats()["shards"] == 4


def test_open_without_create(open_engine: OpenEngine, tmp_path: Any) -> None:
    with pytest.raises(StorageError):
        open_engine("absent", create=False)
    assert not (tmp_path / "absent").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="it holds no database, and create is off"):
        open_engine("empty", create=False)
    open_engine().close()
    open_engine(create=False).close()


@pytest.mark.parametrize("nth", range(4))
def test_an_open_that_fails_keeps_nothing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """No thread can start: neither the lock nor the threads before it stay."""
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if len(started) == nth:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    with flin.engine.open(tmp_path, runner="thread") as db:
        db.put(b"k", b"v")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            flin.engine.open(tmp_path, runner="thread")
    assert not any(thread.is_alive() for thread in started)
    with flin.engine.open(tmp_path, runner="thread") as db:
        assert dict(db) == {b"k": b"v"}


def test_an_open_that_is_interrupted_waits_for_its_threads(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for the one that it was about to record: without the lock it would work in somebody else's directory."""
    start, entered = threading.Thread.start, threading.Event()
    found: list[bool] = []

    def work(compactor: Compactor, _: object) -> None:
        entered.set()
        wait_until(lambda: compactor._stopping, "it is stopped")
        deadline = time.monotonic() + 0.2  # time for a close that does not wait
        while not compactor._store.has_ended and time.monotonic() < deadline:
            time.sleep(0.001)
        found.append(compactor._store.has_ended)

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "flin-compaction":
            entered.wait()
            raise KeyboardInterrupt

    monkeypatch.setattr(Compactor, "_compaction_loop", work)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        flin.engine.open(tmp_path, runner="thread")
    wait_until(lambda: bool(found), "the thread ends")
    assert found == [False]


def test_open_refuses_a_directory_whose_manifest_is_gone(open_engine: OpenEngine, tmp_path: Any) -> None:
    db = open_engine()
    db.put(b"a", b"1")
    db.close()
    (tmp_path / "db" / "MANIFEST").unlink()
    with pytest.raises(CorruptionError, match=r"missing, but .*sst is there"):
        open_engine()


def test_open_where_a_file_is(open_engine: OpenEngine, tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(StorageError):
        open_engine("file")
    assert (tmp_path / "file").read_bytes() == b"mine"


# Threads.


def _in_threads(count: int, work: Callable[[int], None]) -> None:
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []


@pytest.mark.parametrize("runner", ["inline", "thread", "helper"])
def test_threads_share_an_engine(open_engine: OpenEngine, runner: str) -> None:
    """Counters, own keys and scans in four threads, with flushes and compactions in between: nothing gets lost."""
    db = open_engine(runner=runner, shards=4, memory_limit="1mb", sync="never")

    def work(number: int) -> None:
        for index in range(400):
            db.incr(b"counter")
            db.put(b"%d:%04d" % (number, index), b"x" * 300)
            if index % 100 == number:
                assert len(list(db.scan_keys(prefix=b"%d:" % number))) == index + 1
                db.delete(b"%d:%04d" % (number, index))
                db.put(b"%d:%04d" % (number, index), b"y")

    _in_threads(4, work)
    assert db[b"counter"] == b"1600"
    assert len(db) == 1601
    db.flush()
    assert db.stats()["flush"]["jobs"] > 0
    db.compact()
    assert db.stats()["tables"]["runs"] == 1
    assert len(list(db)) == 1601
    assert db.stats()["background"]["last_failure"] == ""


def test_a_close_while_others_read_and_write(open_engine: OpenEngine) -> None:
    """They get their answers or ClosedError, nothing else; answered writes are there afterwards."""
    db = open_engine(runner="thread", memory_limit="1mb")
    db.put_many({b"old%d" % number: b"v" for number in range(100)})
    db.flush()
    answered: list[list[bytes]] = [[], [], []]
    begun = threading.Barrier(4)

    def work(number: int) -> None:
        begun.wait(60)
        try:
            for index in range(100_000):
                key = b"%d-%d" % (number, index)
                db.put(key, b"v")
                answered[number].append(key)
                assert db.get(b"old7") == b"v"
                assert len(list(db.scan_keys(prefix=b"old"))) == 100
        except ClosedError:
            pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    begun.wait(60)
    while not all(answered):
        threading.Event().wait(0.001)
    db.close()
    for thread in threads:
        thread.join(60)
    again = open_engine()
    keys = set(again.scan_keys())
    assert set().union(*answered) <= keys


def test_two_closes_at_once(open_engine: OpenEngine) -> None:
    db = open_engine(runner="thread")
    db.put(b"a", b"1")
    _in_threads(4, lambda _: db.close())
    assert dict(open_engine().scan()) == {b"a": b"1"}


# Trouble with the disk.


@pytest.fixture
def faulty() -> Iterator[tuple[Any, SimulatedDisk]]:
    disk = SimulatedDisk()
    db = flin.engine.open("/db", fs=disk, runner="inline", sync="always")
    db.put(b"before", b"1")
    yield db, disk
    disk.faults.clear()
    db.close()


def test_after_a_failed_sync_it_is_read_only_for_good(faulty: tuple[Any, SimulatedDisk]) -> None:
    db, disk = faulty
    disk.faults.append(Fault(0, errno.EIO, frozenset({"sync"})))
    with pytest.raises(StorageError, match="cannot sync"):
        db.put(b"lost", b"2")
    disk.faults.clear()
    for _ in range(2):
        for write in (lambda: db.put(b"k", b"v"), lambda: db.delete(b"before"), lambda: db.incr(b"n"), db.clear):
            with pytest.raises(ReadOnlyError, match="a sync failed"):
                write()
    assert (db[b"before"], b"k" in db) == (b"1", False)
    assert list(db.scan_keys(stop=b"c")) == [b"before"]
    assert "a sync failed" in db.stats()["read_only_reason"]
    with db.snapshot() as view:
        assert view[b"before"] == b"1"
    with pytest.raises(ReadOnlyError, match="may be lost"):
        db.close()


def test_after_a_full_disk_writes_go_on_by_themselves(faulty: tuple[Any, SimulatedDisk]) -> None:
    db, disk = faulty
    disk.faults.append(Fault(0, errno.ENOSPC, frozenset({"append", "create"}), sticky=True))
    writes: list[Callable[[], object]] = [
        lambda: db.put(b"k", b"v"),
        lambda: db.put_many({b"k": b"v"}),
        lambda: db.incr(b"n"),
        lambda: db.delete(b"before"),
        lambda: db.delete_prefix(b"b"),
    ]
    for write in writes:
        with pytest.raises(StorageError, match="No space left"):
            write()
        assert dict(db.scan()) == {b"before": b"1"}, "a failed write leaves no trace"
    disk.faults.clear()
    db.put(b"after", b"2")
    db.flush()
    assert dict(db.scan()) == {b"before": b"1", b"after": b"2"}
    assert db.verify() == []


def test_a_flush_that_fails_is_done_again(faulty: tuple[Any, SimulatedDisk]) -> None:
    db, disk = faulty
    disk.faults.append(Fault(0, errno.ENOSPC, frozenset({"append", "create"}), sticky=True))
    with pytest.raises(StorageError):
        db.flush()
    assert dict(db.scan()) == {b"before": b"1"}
    disk.faults.clear()
    db.flush()
    assert db.stats()["tables"]["entries"] == 1
    assert [name for name in disk.names("/db") if name.endswith(".wal")] == []
