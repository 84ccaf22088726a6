"""Scans: every bound, direction, limit and prefix, over every state of the data, against a plain list."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flin.engine.buffers import as_bytes
from flin.engine.key import USER_END
from flin.engine.memtable import PAGE_ENTRIES
from flin.engine.view import scan_bounds, visible_pages
from flin.errors import LimitError
from flin.testing import ManualClock, SimulatedDisk

OpenEngine = Callable[..., Any]

KEYS = [b"", b"\0", b"a", b"a\0", b"a\0\0", b"aa", b"ab", b"a\xff", b"a\xff\xff", b"b", b"{a}x", b"\xfe", b"\xfe\xff",
        b"\xff", b"\xff\0", b"\xff\x01", b"\xff\xff", b"\xff\xff\0"]  # fmt: skip
BOUNDS = [None, *KEYS]


def plain_scan(
    keys: list[bytes],
    *,
    prefix: bytes | None = None,
    start: bytes | None = None,
    stop: bytes | None = None,
    include_start: bool = True,
    include_stop: bool = False,
    reverse: bool = False,
    limit: int | None = None,
) -> list[bytes]:
    def wanted(key: bytes) -> bool:
        return (
            (prefix is None or key.startswith(prefix))
            and (start is None or key > start or (include_start and key == start))
            and (stop is None or key < stop or (include_stop and key == stop))
        )

    return sorted(filter(wanted, keys), reverse=reverse)[:limit]


@pytest.fixture(scope="module", params=["memory", "frozen", "tables", "mixed", "16 shards, mixed"])
def filled(request: pytest.FixtureRequest) -> Any:
    """An engine with KEYS in it and tombstones between them, spread over memory and tables."""
    import flin.engine

    where = request.param
    shards = 16 if "16" in where else 1
    db = flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", shards=shards, clock_ms=ManualClock())
    for number, key in enumerate(KEYS):
        db.put(key + b"gone", b"")
        db.put(key, b"old")
        if "mixed" in where and number % 6 == 5:
            db.flush()
    if where == "frozen":
        db.snapshot().close()
    for key in KEYS:
        db.delete(key + b"gone")
        if "mixed" not in where or key > b"b":
            db.put(key, b"new" + key)
    db.delete_range(b"ac", b"ad")
    for key in KEYS:
        if db[key] == b"old":
            db.put(key, b"new" + key)
    if where == "tables":
        db.flush()
    yield db
    assert db.verify() == []
    db.close()


flags = st.booleans()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "prefix": st.sampled_from(BOUNDS),
            "start": st.sampled_from(BOUNDS),
            "stop": st.sampled_from(BOUNDS),
            "include_start": flags,
            "include_stop": flags,
            "reverse": flags,
            "limit": st.sampled_from([None, 0, 1, 2, 7, 100]),
        },
    )
)
def test_scan_is_what_a_list_gives(filled: Any, keywords: dict[str, Any]) -> None:
    expected = plain_scan(KEYS, **keywords)
    assert list(filled.scan_keys(**keywords)) == expected
    assert list(filled.scan(**keywords)) == [(key, b"new" + key) for key in expected]


def test_nearest_keys(filled: Any) -> None:
    assert filled.first() == KEYS[0]
    assert filled.last() == KEYS[-1]
    for key in [*KEYS, b"a\0x", b"zzz", b"\xff\xff\xff"]:
        assert filled.next_key(key) == next((other for other in KEYS if other > key), None)
        assert filled.prev_key(key) == next((other for other in reversed(KEYS) if other < key), None)


def test_nothing_to_scan(open_engine: OpenEngine) -> None:
    db = open_engine()
    assert list(db.scan()) == list(db.scan_keys(reverse=True)) == []
    assert db.first() is db.last() is db.next_key(b"") is db.prev_key(b"x") is None
    db.put(b"k", b"v")
    assert list(db.scan(start=b"z", stop=b"a")) == []
    assert list(db.scan(start=b"k", stop=b"k")) == []
    assert list(db.scan(start=b"k", stop=b"k", include_stop=True)) == [(b"k", b"v")]
    assert list(db.scan(start=b"k", stop=b"k", include_start=False, include_stop=True)) == []
    assert list(db.scan(limit=0)) == []
    with pytest.raises(ValueError, match="limit must not be negative"):
        db.scan(limit=-1)
    with pytest.raises(ValueError, match="limit"):
        db.scan_keys(limit=-5)


@pytest.mark.parametrize("count", [PAGE_ENTRIES - 1, PAGE_ENTRIES, PAGE_ENTRIES + 1, 3 * PAGE_ENTRIES])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shards", [1, 4])
def test_scans_over_many_pages(open_engine: OpenEngine, count: int, reverse: bool, shards: int) -> None:
    db = open_engine(fs=SimulatedDisk(), shards=shards)
    keys = [b"%05d" % number for number in range(count)]
    db.put_many(dict.fromkeys(keys[::2], b"v"))
    db.flush()
    db.put_many(dict.fromkeys(keys[1::2], b"v"))
    assert list(db.scan_keys(reverse=reverse)) == sorted(keys, reverse=reverse)
    for limit in (1, 10, 200, PAGE_ENTRIES, PAGE_ENTRIES + 1):
        assert list(db.scan_keys(reverse=reverse, limit=limit)) == sorted(keys, reverse=reverse)[:limit]


@pytest.mark.parametrize("shards", [1, 4, 64])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [None, 5, 100, 700])
def test_a_scan_is_consistent_as_of_the_call(
    open_engine: OpenEngine, shards: int, reverse: bool, limit: int | None
) -> None:
    """Whatever is written, flushed and merged meanwhile, the first page read or not."""
    clock = ManualClock()
    db = open_engine(fs=SimulatedDisk(), shards=shards, clock_ms=clock)
    model = {b"%04d" % number: b"%d" % number for number in range(900)}
    db.put_many(list(model.items())[::3])
    db.flush()
    db.put_many(list(model.items())[1::3])
    db.put_many(list(model.items())[2::3], ttl=10)
    expected = sorted(model.items(), reverse=reverse)[:limit]
    scans = [db.scan(reverse=reverse, limit=limit) for _ in range(3)]
    begun = [list(islice(scan, number * 3)) for number, scan in enumerate(scans)]
    db.delete_range(b"0100", b"0500")
    db.put_many(dict.fromkeys(list(model)[::2], b"new"))
    db.put_many({key + b"x": b"new" for key in model})
    clock.advance(20)
    db.flush()
    db.compact()
    db.clear()
    for first, scan in zip(begun, scans, strict=True):
        assert first + list(scan) == expected


def test_writing_during_the_same_scan(open_engine: OpenEngine) -> None:
    """The common loop: it sees each key once, and never its own writes."""
    db = open_engine(fs=SimulatedDisk())
    db.put_many({b"%04d" % number: b"old" for number in range(1500)})
    seen = []
    for key, value in db.scan():
        seen.append(key)
        assert value == b"old"
        db.put(key, b"new")
        db.put(key + b"+", b"new")
        db.delete(b"%04d" % (int(key) + 1))
    assert seen == [b"%04d" % number for number in range(1500)]


def test_a_scan_of_few_keys_among_many_tombstones(open_engine: OpenEngine) -> None:
    """With a limit only some entries of the memtable are copied; deleted and expired ones must not use them up."""
    clock = ManualClock()
    for shards in (1, 4):
        db = open_engine(f"db{shards}", fs=SimulatedDisk(), shards=shards, clock_ms=clock)
        db.put_many({b"%04d" % number: b"v" for number in range(1000)})
        db.delete_many([b"%04d" % number for number in range(900)])
        db.put_many({b"%04d" % number: b"v" for number in range(900, 990)}, ttl=1)
        clock.advance(2)
        assert list(db.scan_keys(limit=2)) == [b"0990", b"0991"]
        assert list(db.scan_keys(limit=2, reverse=True)) == [b"0999", b"0998"]
        assert db.first() == b"0990"
        assert db.prev_key(b"0990") is None


def test_expired_entries_are_not_seen(open_engine: OpenEngine) -> None:
    clock = ManualClock()
    db = open_engine(fs=SimulatedDisk(), clock_ms=clock)
    db.put(b"a", b"old")
    db.flush()
    db.put(b"a", b"brief", ttl=1)
    db.put(b"b", b"long", ttl=9)
    clock.advance(1)
    assert list(db.scan()) == [(b"b", b"long")], "the expired entry hides the older one"
    assert db.get(b"a") is None
    db.flush()
    assert list(db.scan()) == [(b"b", b"long")]


def test_tagged_values_are_hidden_from_embedded_users(open_engine: OpenEngine) -> None:
    """A tag says that a value is of one of the server's types; here it is absent, and cannot be half read."""
    db = open_engine(fs=SimulatedDisk())
    db._store.commit({b"tagged": (b"\0v", 0, 3), b"plain": b"v"})
    assert list(db.scan()) == [(b"plain", b"v")]
    assert (db.get(b"tagged"), b"tagged" in db, db.ttl(b"tagged")) == (None, False, None)


# The pieces.


@pytest.mark.parametrize(
    ("arguments", "low", "high"),
    [
        ((None, None, None, True, False), b"", USER_END),
        ((None, b"a", b"b", True, False), b"a", b"b"),
        ((None, b"a", b"b", False, True), b"a\0", b"b\0"),
        ((None, b"\xff", b"\xff\xff", True, True), b"\xff\0", b"\xff\0\xff\0"),
        ((b"", None, None, True, False), b"", USER_END),
        ((b"a", None, None, True, False), b"a", b"b"),
        ((b"a\xff", None, None, True, False), b"a\xff", b"b"),
        ((b"\xfe", None, None, True, False), b"\xfe", b"\xff\0"),
        ((b"\xff", None, None, True, False), b"\xff\0", USER_END),
        ((b"\xff\x01", None, None, True, False), b"\xff\0\x01", b"\xff\0\x02"),
        ((b"\xff\xff", None, None, True, False), b"\xff\0\xff", USER_END),
        ((b"b", b"a", b"c", True, False), b"b", b"c"),
        ((b"b", b"ba", b"bz", True, False), b"ba", b"bz"),
        ((b"b", None, b"a", True, False), b"b", b"a"),
    ],
)
def test_scan_bounds(arguments: tuple[Any, ...], low: bytes, high: bytes) -> None:
    assert scan_bounds(*arguments) == (low, high)


def test_as_bytes() -> None:
    data = b"same"
    assert as_bytes("it", data) is data
    assert as_bytes("it", memoryview(b"abcdef")[::2]) == b"ace"
    for wrong in ("text", 7, None, [1], 1.5, object()):
        with pytest.raises(TypeError, match="it must be bytes, not"):
            as_bytes("it", wrong)


def test_addresses_are_no_bytes() -> None:
    """An array of objects has a buffer, of pointers."""
    with pytest.raises(TypeError, match="it must be bytes, not py_object_Array_1 of objects"):
        as_bytes("it", (ctypes.py_object * 1)())


def test_keys_have_a_limit(monkeypatch: pytest.MonkeyPatch, open_engine: OpenEngine) -> None:
    monkeypatch.setattr("flin.engine.buffers.MAX_KEY_BYTES", 10)
    monkeypatch.setattr("flin.engine.wal.frames.MAX_KEY_BYTES", 10)
    db = open_engine(fs=SimulatedDisk())
    long, longest = b"x" * 11, b"x" * 10
    writes: list[Callable[[bytes], Any]] = [
        db.delete,
        lambda key: db.put(key, b""),
        lambda key: db.put(key, b"", ttl=60),
        lambda key: db.put(bytearray(key), b""),
        lambda key: db.put_many({b"a": b"", key: b""}),
        lambda key: db.delete_many([key]),
        db.incr,
    ]
    for write in writes:
        with pytest.raises(LimitError, match="a key is 11, the maximum is 10"):
            write(long)
        db.delete(longest)
        write(longest)
    assert list(db) == [b"a", longest]


def test_visible_pages() -> None:
    pages = [
        ([b"a", b"b"], [b"1", b"2"]),
        ([b"c", b"d", b"e"], [b"3", (b"4", 50, 0), (b"5", 51, 0)]),
        ([b"f"], [(b"6", 50, 0)]),
        ([b"g", b"\xff\0x"], [b"7", (b"8", 0, 0)]),
    ]
    assert list(visible_pages(iter(pages), 50)) == [  # type: ignore[arg-type]
        ([b"a", b"b"], [b"1", b"2"]),
        ([b"c", b"e"], [b"3", b"5"]),
        ([b"g", b"\xffx"], [b"7", b"8"]),
    ]
