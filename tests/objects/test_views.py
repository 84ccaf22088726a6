"""The views of an embedded program: what a server has written is read as mappings, sequences and sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest

import flin.engine
from flin.engine import ConflictError, CorruptionError, Engine, FormatVersionError, Snapshot, WriteBatch
from flin.engine.entry import make_entry
from flin.objects import limits
from flin.testing import ManualClock
from tests.net.commands.handling import Handling

FIELDS = {b"f%03d" % number: b"v%d" % number for number in range(200)}
ELEMENTS = [b"e%d" % number for number in range(3000)]
KEYS = [b"k", b"", b"\xff\x01k"]


@pytest.fixture(params=["packed", "spread"])
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", 2 if request.param == "spread" else 5000)
    monkeypatch.setattr(limits, "MAX_PACKED_BYTES", 1 << 20)


@pytest.fixture
def db(tmp_path: Path, limit: None) -> Iterator[Engine]:
    clock = ManualClock()
    with flin.engine.open(tmp_path / "db", runner="inline", clock_ms=clock) as engine:
        yield engine
        assert engine.verify() == []


def serve(db: Engine, *requests: list[bytes]) -> None:
    """What a server would do, and then it ends."""
    server = Handling(db._store)
    for request in requests:
        answer = server.call(*request)
        assert not (isinstance(answer, str) and answer.startswith("-")), answer
    server.pending.commit()


def flat(pairs: dict[bytes, bytes]) -> list[bytes]:
    return [word for pair in pairs.items() for word in pair]


@pytest.mark.parametrize("key", KEYS)
def test_a_hash(db: Engine, key: bytes) -> None:
    serve(db, [b"HSET", key, *flat(FIELDS)])
    view = db.hash(bytearray(key))
    assert isinstance(view, Mapping)
    assert view == FIELDS
    assert len(view) == len(FIELDS)
    assert set(view) == set(FIELDS)
    assert dict(view.items()) == dict(view) == FIELDS
    assert sorted(view.values()) == sorted(FIELDS.values())
    assert view[b"f007"] == view.get(bytearray(b"f007")) == b"v7"
    assert memoryview(b"f007") in view
    assert b"none" not in view
    assert view.get(b"none") is None
    assert view.get(b"none", 5) == 5
    with pytest.raises(KeyError):
        view[b"none"]
    with pytest.raises(TypeError, match=r"a field must be bytes, not str: use .encode\(\)"):
        view["f007"]  # type: ignore[index]
    assert view.keys() & {b"f001", b"x"} == {b"f001"}
    assert (b"f001", b"v1") in view.items()
    assert repr(view) == f"<HashView {key!r}>"


@pytest.mark.parametrize("key", KEYS)
def test_a_list(db: Engine, key: bytes) -> None:
    serve(db, [b"RPUSH", key, *ELEMENTS])
    view = db.list(key)
    assert isinstance(view, Sequence)
    assert list(view) == view[:] == ELEMENTS
    assert len(view) == len(ELEMENTS)
    assert list(reversed(view))[:3] == ELEMENTS[:-4:-1]
    for place in (0, 5, 2999, -1, -3000):
        assert view[place] == ELEMENTS[place]
    for start, stop, step in ((2, 9, 1), (-3, None, None), (9, 2, -3), (None, None, -1), (5, 5, 1), (0, 9000, 700)):
        assert view[start:stop:step] == ELEMENTS[start:stop:step]
    for place in (3000, -3001):
        with pytest.raises(IndexError):
            view[place]
    assert view.index(b"e70") == 70
    assert b"none" not in view


@pytest.mark.parametrize("key", KEYS)
def test_a_set(db: Engine, key: bytes) -> None:
    serve(db, [b"SADD", key, *ELEMENTS])
    view = db.set(key)
    assert isinstance(view, AbstractSet)
    assert set(view) == set(ELEMENTS)
    assert view <= {*ELEMENTS, b"more"}
    assert sorted(view) == sorted(ELEMENTS)
    assert len(view) == len(ELEMENTS)
    assert b"e7" in view
    assert b"none" not in view
    assert view & {b"e7", b"x"} == {b"e7"}
    assert type(view | {b"x"}) is set
    assert view >= {b"e1"}
    with pytest.raises(TypeError, match="a member must be bytes"):
        assert "e7" in view  # type: ignore[comparison-overlap]


SCORES = {b"m%d" % number: float(number % 50) - 10 for number in range(1500)}
RANKED = sorted(SCORES.items(), key=lambda pair: (pair[1], pair[0]))


@pytest.mark.parametrize("key", KEYS)
def test_a_sorted_set(db: Engine, key: bytes) -> None:
    serve(db, [b"ZADD", key, *(word for member, score in SCORES.items() for word in (b"%d" % score, member))])
    view = db.sorted_set(key)
    assert isinstance(view, Mapping)
    assert list(view.items()) == RANKED
    assert list(view) == [member for member, _ in RANKED]
    assert list(view.values()) == [score for _, score in RANKED]
    assert list(reversed(view))[:2] == [RANKED[-1][0], RANKED[-2][0]]
    assert view == SCORES
    assert len(view) == len(SCORES)
    assert view[b"m7"] == view.get(bytearray(b"m7")) == -3.0
    assert b"m7" in view
    assert b"none" not in view
    assert view.get(b"none", "no") == "no"
    with pytest.raises(KeyError):
        view[b"none"]
    assert view.rank(RANKED[77][0]) == 77
    assert view.rank(b"none") is None
    for ranks in (slice(10), slice(-3, None), slice(5, 5), slice(20, 2, -5), slice(None), slice(1499, 9999)):
        assert view.by_rank(ranks) == RANKED[ranks]
        assert view.by_rank(ranks, reverse=True) == RANKED[::-1][ranks]
    for low, high in ((-10, -9), (0, 3), (3, 0), (7, 7), (float("-inf"), -5), (1000, 2000)):
        for with_low in (True, False):
            for with_high in (True, False):
                found = view.by_score(low, high, include_minimum=with_low, include_maximum=with_high)
                assert list(found) == [
                    (member, score)
                    for member, score in RANKED
                    if low <= score <= high and (with_low or score != low) and (with_high or score != high)
                ]
    assert list(view.by_score(38, reverse=True)) == [pair for pair in RANKED if pair[1] >= 38][::-1]
    with pytest.raises(ConflictError):
        view.by_score(float("nan"))


ENTRIES = {(1 + n // 3, n): [(b"a", b"%d" % n), (b"a", b"again")] for n in range(500)}


@pytest.mark.parametrize("key", KEYS)
def test_a_stream(db: Engine, key: bytes) -> None:
    ids = list(ENTRIES)
    serve(
        db, *([b"XADD", key, b"%d-%d" % id_, *(w for pair in fields for w in pair)] for id_, fields in ENTRIES.items())
    )
    view = db.stream(key)
    assert isinstance(view, Mapping)
    assert list(view.items()) == list(ENTRIES.items())
    assert list(view) == ids
    assert list(reversed(view)) == ids[::-1]
    assert list(view.values()) == list(ENTRIES.values())
    assert len(view) == 500
    assert view[ids[7]] == view.get(ids[7]) == ENTRIES[ids[7]]
    assert ids[7] in view
    for none in ((9, 9), (-1, 0), (0, 1 << 64), "1-1", None, 5):
        assert none not in view
    with pytest.raises(KeyError):
        view[9, 9]
    assert [id_ for id_, _ in view.between(ids[40], ids[50])] == ids[40:51]
    assert [id_ for id_, _ in view.between(ids[40], ids[50], reverse=True)] == ids[50:39:-1]
    assert list(view.between(ids[50], ids[40])) == []
    with pytest.raises(ValueError, match="an id is two numbers"):
        view.between((-1, 0))
    assert view.last_id == ids[-1]
    assert view.groups() == {}


def test_groups_of_a_stream(db: Engine) -> None:
    serve(
        db,
        *([b"XADD", b"k", b"%d-0" % n, b"f", b"v"] for n in range(1, 9)),
        [b"XGROUP", b"CREATE", b"k", b"g", b"2-0"],
        [b"XGROUP", b"CREATE", b"k", b"told", b"0", b"ENTRIESREAD", b"3"],
        [b"XREADGROUP", b"GROUP", b"g", b"one", b"COUNT", b"3", b"STREAMS", b"k", b">"],
        [b"XACK", b"k", b"g", b"4-0"],
        [b"XTRIM", b"k", b"MAXLEN", b"0"],
    )
    view = db.stream(b"k")
    groups = view.groups()
    assert list(groups) == [b"g", b"told"]
    found = groups[b"g"]
    assert found.last_id == (5, 0)
    assert groups[b"told"].entries_read == 3
    assert list(found.consumers) == [b"one"]
    assert [(id_, it.consumer, it.deliveries) for id_, it in found.pending.items()] == [
        ((3, 0), b"one", 1),
        ((5, 0), b"one", 1),
    ]
    assert (len(view), list(view), view.last_id) == (0, [], (8, 0))
    assert db.type(b"k") == "stream"


def test_types(db: Engine) -> None:
    serve(db, [b"HSET", b"h", b"a", b"1"], [b"RPUSH", b"l", b"a"], [b"SADD", b"s", b"a"], [b"SET", b"text", b"a"])
    serve(db, [b"ZADD", b"z", b"1", b"a"])
    found = {key: db.type(key) for key in (b"h", b"l", b"s", b"z", b"text", b"none")}
    assert list(found.values()) == ["hash", "list", "set", "sorted_set", "string", None]
    assert dict(db) == {b"text": b"a"}
    for key, name in found.items():
        if name not in ("string", None):
            assert isinstance(name, str)
            assert len(getattr(db, name)(key)) == 1


def test_a_long_string(db: Engine) -> None:
    """It has 100,001 bytes, most of them zeros of chunks that are not there."""
    text = bytes(100_000) + b"x"
    serve(db, [b"SETRANGE", b"k", b"100000", b"x"], [b"SETRANGE", b"old", b"100000", b"x"], [b"SET", b"l", b"short"])
    serve(db, [b"EXPIREAT", b"old", b"4102444800"], [b"HSET", b"hash", b"a", b"1"])
    assert db.get(b"k") == db[b"k"] == db.get_many([b"k"])[0] == text
    assert db.get(b"hash", 5) == 5
    assert b"k" in db
    assert b"hash" not in db
    assert db.type(b"k") == "string"
    assert dict(db) == dict(db.items()) == {b"k": text, b"l": b"short", b"old": text}
    assert list(db) == list(db.scan_keys(limit=3)) == [b"k", b"l", b"old"]
    assert list(db.scan(reverse=True, limit=1)) == [(b"old", text)]
    with db.snapshot() as snapshot:
        db.put(b"k", b"plain")
        assert snapshot[b"k"] == text
        assert db[b"k"] == b"plain"


def test_calls_that_go_by_what_was_there(db: Engine) -> None:
    """What would replace a collection unseen is refused; what shows no value sees any type."""
    serve(db, [b"HSET", b"h", b"a", b"1"], [b"RPUSH", b"l", *ELEMENTS], [b"HSET", b"old", b"a", b"1"])
    serve(db, [b"PEXPIRE", b"old", b"1"])
    clock = db._store.options.clock_ms
    assert isinstance(clock, ManualClock)
    clock.advance(5)  # seconds
    calls: list[Callable[[bytes], object]] = [
        db.incr,
        lambda key: db.put_if_absent(key, b"v"),
        lambda key: db.compare_and_set(key, None, b"v"),
        lambda key: db.compare_and_set(key, b"x", b"v"),
        lambda key: db.compare_and_set(key, b"x", None),
        lambda key: db.setdefault(key, b"v"),
    ]
    for key in (b"h", b"l"):
        for call in calls:
            with pytest.raises(ConflictError, match=r"^the key holds a collection$"):
                call(key)
        assert db.pop(key, 5) == 5
        assert db.ttl(key) is None
        assert db.expire(key, 100)
        assert db.ttl(key) == 100
        assert db.persist(key)
        assert not db.persist(key)
    assert dict(db.hash(b"h")) == {b"a": b"1"}
    assert list(db.list(b"l")) == ELEMENTS
    assert not db.expire(b"old", 100)
    assert db.ttl(b"old") is None
    assert db.put_if_absent(b"old", b"v"), "it has expired"
    assert (len(db), list(db)) == (3, [b"old"])


def test_calls_that_go_by_what_was_there_and_a_long_string(db: Engine) -> None:
    text = bytes(100_000) + b"x"
    for key in (b"a", b"b", b"c"):
        serve(db, [b"SETRANGE", key, b"100000", b"x"])
    with pytest.raises(ConflictError, match="64-bit"):
        db.incr(b"a")
    assert not db.put_if_absent(b"a", b"v")
    assert db.setdefault(b"a", b"v") == text
    assert db.expire(b"a", 100)
    assert db.ttl(b"a") == 100
    assert db.get(b"a") == text
    assert db.compare_and_set(b"a", text, b"v")
    assert db[b"a"] == b"v"
    assert db.pop(b"b") == text
    assert b"b" not in db
    assert db.compare_and_set(b"c", text, None)
    assert dict(db) == {b"a": b"v"}


def test_an_absent_key_is_an_empty_collection(db: Engine) -> None:
    assert dict(db.hash(b"k")) == {}
    assert db.hash(b"k").get(b"f") is None
    assert list(db.list(b"k")) == db.list(b"k")[2:] == []
    assert set(db.set(b"k")) == set()
    assert dict(db.sorted_set(b"k")) == {}
    assert db.sorted_set(b"k").by_rank(slice(5)) == list(db.sorted_set(b"k").by_score()) == []
    assert db.sorted_set(b"k").rank(b"m") is None
    assert dict(db.stream(b"k")) == {}
    assert db.stream(b"k").groups() == {}
    assert db.stream(b"k").last_id == (0, 0)
    assert b"x" not in db.set(b"k")
    assert (len(db.hash(b"k")), len(db.list(b"k")), len(db.set(b"k"))) == (0, 0, 0)
    with pytest.raises(IndexError):
        db.list(b"k")[0]


def test_another_type(db: Engine) -> None:
    serve(db, [b"HSET", b"h", b"a", b"1"], [b"SET", b"text", b"a"])
    with pytest.raises(ConflictError, match=r"^the key b'h' holds a hash, not a list$"):
        db.list(b"h")
    with pytest.raises(ConflictError, match=r"^the key b'text' holds a string, not a set$"):
        db.set(b"text")
    view = db.hash(b"h")
    db.put(b"h", b"now text")
    for read in (lambda: view.get(b"a"), lambda: len(view), lambda: list(view)):
        with pytest.raises(ConflictError, match="holds a string, not a hash"):
            read()


def test_a_type_of_later_days(db: Engine) -> None:
    db._store.commit({b"k": make_entry(b"x", tag=77)})
    for read in (db.type, db.hash):
        with pytest.raises(FormatVersionError, match="tag 77 is of a newer Flin"):
            read(b"k")
    db.delete(b"k")


def test_a_damaged_collection(db: Engine) -> None:
    db._store.commit({b"k": make_entry(b"\x00", tag=1)})
    with pytest.raises(CorruptionError):
        len(db.hash(b"k"))
    db.delete(b"k")


def test_parts_of_a_database_have_them(db: Engine) -> None:
    """Below a prefix by the rest of the key; their pieces lie where the whole key says."""
    for key in (b"user:1", b"\xff\x01user"):
        serve(db, [b"HSET", key, *flat(FIELDS)], [b"RPUSH", key + b"list", *ELEMENTS])
        for part in (db.prefixed(key[:2]), db.snapshot().prefixed(key[:1]).prefixed(key[1:2])):
            assert part.hash(key[2:]) == FIELDS
            assert list(part.list(key[2:] + b"list")) == ELEMENTS
            assert (part.type(key[2:]), part.type(b"none"), part.get(key[2:])) == ("hash", None, None)
        assert db[key : key + b"a"].hash(key) == FIELDS
        assert list(db[key : key + b"a"].list(key + b"list")) == []


def test_a_view_reads_anew(db: Engine) -> None:
    view = db.hash(b"h")
    with db.snapshot() as before:
        serve(db, [b"HSET", b"h", *flat(FIELDS)])
        assert len(view) == 200
        with db.snapshot() as after:
            iteration = iter(view.items())
            next(iteration)
            serve(db, [b"DEL", b"h"])
            assert dict(view) == {}
            assert len(list(iteration)) == 199  # of the state at its beginning
            assert dict(after.hash(b"h")) == FIELDS
            assert after.type(b"h") == "hash"
        assert dict(before.hash(b"h")) == {}
        assert before.type(b"h") is None


def test_a_closed_snapshot(db: Engine) -> None:
    with db.snapshot() as snapshot:
        view = snapshot.hash(b"h")
    with pytest.raises(flin.engine.ClosedError):
        view.get(b"a")


def test_an_expired_key(tmp_path: Path, limit: None) -> None:
    clock = ManualClock()
    with flin.engine.open(tmp_path / "db", runner="inline", clock_ms=clock) as db:
        serve(db, [b"HSET", b"h", *flat(FIELDS)], [b"PEXPIRE", b"h", b"1000"])
        view = db.hash(b"h")
        with db.snapshot() as snapshot:
            clock.advance(1000)
            assert dict(view) == {}
            assert db.type(b"h") is None
            assert dict(snapshot.hash(b"h")) == FIELDS


def test_a_write_batch_sees_its_own_writes(db: Engine) -> None:
    serve(db, [b"HSET", b"h", *flat(FIELDS)])
    with db.write_batch() as batch:
        view = batch.hash(b"h")
        assert dict(view) == FIELDS
        batch.delete(b"h")
        assert dict(view) == {}
        assert dict(db.hash(b"h")) == FIELDS
        batch.discard()


@pytest.mark.parametrize("kind", [Engine, Snapshot, WriteBatch])
def test_who_has_views(kind: Any) -> None:
    assert {"type", "hash", "list", "set", "sorted_set", "stream"} <= set(dir(kind))


def test_after_flushes_and_merges(db: Engine) -> None:
    """The pieces lie in tables then, tombstones among them."""
    serve(db, [b"HSET", b"h", *flat(FIELDS)], [b"SADD", b"s", *ELEMENTS], [b"RPUSH", b"l", *ELEMENTS])
    db.flush()
    gone = sorted(FIELDS)[::3]
    serve(db, [b"HDEL", b"h", *gone], [b"SREM", b"s", *ELEMENTS[1::2]], [b"LPOP", b"l", b"1000"])
    db.flush()
    assert dict(db.hash(b"h")) == {field: value for field, value in FIELDS.items() if field not in gone}
    assert set(db.set(b"s")) == set(ELEMENTS[::2])
    assert db.list(b"l")[:] == ELEMENTS[1000:]
    db.compact()
    assert db.list(b"l")[-5:] == ELEMENTS[-5:]
    assert list(db.list(b"l")) == ELEMENTS[1000:]
