"""The views of an embedded program: what a server has written is read as mappings, sequences and sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def test_types(db: Engine) -> None:
    serve(db, [b"HSET", b"h", b"a", b"1"], [b"RPUSH", b"l", b"a"], [b"SADD", b"s", b"a"], [b"SET", b"text", b"a"])
    found = {key: db.type(key) for key in (b"h", b"l", b"s", b"text", b"none")}
    assert found == {b"h": "hash", b"l": "list", b"s": "set", b"text": "string", b"none": None}
    assert dict(db) == {b"text": b"a"}
    for key, name in found.items():
        if name in ("hash", "list", "set"):
            assert len(getattr(db, name)(key)) == 1


def test_an_absent_key_is_an_empty_collection(db: Engine) -> None:
    assert dict(db.hash(b"k")) == {}
    assert db.hash(b"k").get(b"f") is None
    assert list(db.list(b"k")) == db.list(b"k")[2:] == []
    assert set(db.set(b"k")) == set()
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
    assert {"type", "hash", "list", "set"} <= set(dir(kind))


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
