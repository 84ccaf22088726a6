"""What the calls of an engine give where values lie in value files: values, whatever a program passes for bytes."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flin.engine
from flin.engine.background import value_segments
from flin.engine.disk.fs import OsReadableFile
from flin.engine.entry import Pointer, maybe_pointer
from flin.errors import ClosedError, CorruptionError, StorageError
from flin.testing import ManualClock, SimulatedDisk
from flin.testing.run import drop_retired

VALUE = b"v" * 1000


@pytest.fixture(autouse=True)
def small_segments_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the real file system each of them has a window of the WAL, most of it empty."""
    monkeypatch.setattr(value_segments, "MAX_EMPTY_BYTES", 1 << 20)


def opened(disk: Any = None, **options: Any) -> Any:
    defaults: dict[str, Any] = {"runner": "inline", "memory_limit": "1mb", "value_threshold": 8}
    return flin.engine.open("/db", fs=disk or SimulatedDisk(), clock_ms=ManualClock(), **defaults | options)


def filled(db: Any, number: int = 20) -> dict[bytes, bytes]:
    model = {b"%02d" % index: VALUE + b"%d" % index for index in range(number)}
    db.put_many(model)
    db.flush()
    assert db._store.manifest.version.value_files
    return model


PUTS: dict[str, Callable[[Any, Any, Any], object]] = {
    "put": lambda db, key, value: db.put(key, value),
    "put with a ttl": lambda db, key, value: db.put(key, value, ttl=5),
    "put_many": lambda db, key, value: db.put_many([(key, value)]),
    "put_many of a dict": lambda db, key, value: db.put_many({key: value}),
    "setdefault": lambda db, key, value: db.setdefault(key, value),
    "compare_and_set": lambda db, key, value: db.compare_and_set(key, None, value),
    "put_if_absent": lambda db, key, value: db.put_if_absent(key, value),
    "update": lambda db, key, value: db.update({key: value}),
    "a batch": lambda db, key, value: write_in_batch(db, key, value),
}


def write_in_batch(db: Any, key: Any, value: Any) -> None:
    with db.write_batch() as batch:
        batch.put(key, value)
        assert type(batch[bytes(key)]) is bytes


@pytest.mark.parametrize("name", PUTS)
def test_a_programs_pointer_is_only_bytes(name: str) -> None:
    """A subclass of bytes that a program passes is never taken for a place in a value file."""
    with opened() as db:
        filled(db)
        key, value = Pointer(b"k" * 24), Pointer(b"p" * 24)
        PUTS[name](db, key, value)
        for _ in range(2):
            found = db[key]
            assert (type(found), found) == (bytes, b"p" * 24)
            pairs = list(db.scan(start=key))
            assert [(type(one), type(other)) for one, other in pairs] == [(bytes, bytes)]
            db.flush()


def test_all_calls_give_plain_bytes() -> None:
    disk = SimulatedDisk()
    with opened(disk) as db:
        model = filled(db)
        db.put_many({b"ttl%d" % number: VALUE for number in range(9)}, ttl=100)
        db.flush()
        model |= {b"ttl%d" % number: VALUE for number in range(9)}
        snapshot = db.snapshot()
        batch = db.write_batch()
        for view in (db, snapshot, batch):
            for key, value in model.items():
                for found in (view.get(key), view[key], view.get_many([key])[0]):
                    assert (type(found), found) == (bytes, value)
            for found in (
                dict(view.items()),
                dict(view.scan(limit=100)),
                dict(view.scan(limit=3)) | dict(view.scan(start=b"03")),
                dict(view.scan(reverse=True)),
                dict(view),
            ):
                assert found == model
                assert set(map(type, found.values())) == {bytes}
            assert list(view) == list(view.scan_keys()) == sorted(model)
            assert (view.first(), view.last(), len(view)) == (b"00", b"ttl8", len(model))
        batch.discard()
        assert db.pop(b"00") == model.pop(b"00")
        assert db.popitem() == (b"01", model.pop(b"01"))
        assert db.setdefault(b"02", b"other") == model[b"02"]
        assert db.compare_and_set(b"03", model[b"03"], b"new")
        assert db.expire(b"04", 50)
        assert db.ttl(b"04") == 50
        assert db[b"04"] == model[b"04"]
        assert db.persist(b"ttl3")
        assert db[b"ttl3"] == VALUE
        db.put(b"number", b"1000000000")
        db.flush()
        assert db.incr(b"number") == 1_000_000_001
        assert snapshot[b"00"] == VALUE + b"0"
        snapshot.close()
        assert db.verify() == []


def test_keys_are_found_without_reading_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with flin.engine.open(tmp_path / "db", runner="inline", value_threshold=8) as db:
        model = filled(db)
        (file,) = db._store.state.value_files.values()
        monkeypatch.setattr(type(file), "pread", None)
        monkeypatch.setattr(type(file), "_opened", None)
        assert list(db) == list(db.scan_keys(limit=100)) == sorted(model)
        assert list(db.scan_keys(reverse=True, limit=5)) == sorted(model)[:-6:-1]
        assert (db.first(), db.last(), len(db), bool(db)) == (b"00", b"19", 20, True)
        with db.snapshot() as snapshot:
            assert list(snapshot) == sorted(model)
            assert len(snapshot) == 20
        with db.write_batch() as batch:
            batch.delete(b"00")
            assert len(batch) == 19
        db.compact()
        assert len(db) == 19
        monkeypatch.undo()
        assert db[b"07"] == model[b"07"]


def test_nothing_is_fetched_to_tell_whether_a_key_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = ManualClock()
    with flin.engine.open(tmp_path / "db", runner="inline", value_threshold=8, clock_ms=clock) as db:
        model = filled(db)
        db.put(b"brief", VALUE, ttl=10)
        db.flush()
        with monkeypatch.context() as unreadable, db.snapshot() as snapshot, db.write_batch() as batch:
            for file in db._store.state.value_files.values():
                unreadable.setattr(type(file), "pread", None)
                unreadable.setattr(type(file), "_opened", None)
            for view in (db, snapshot, batch):
                for _ in range(20):  # so that a key may become hot
                    assert b"07" in view
                    assert b"7" not in view
                assert (view.ttl(b"brief"), view.ttl(b"07")) == (10.0, None)
                assert (view.type(b"brief"), view.type(b"07"), view.type(b"7")) == ("string", "string", None)
            clock.advance(11)
            assert (b"brief" in db, b"brief" in batch, b"brief" in snapshot) == (False, False, True)
        assert (db[b"07"], db[b"07"], db[b"07"]) == (model[b"07"],) * 3, "no pointer has become hot"


def test_the_value_cache_holds_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with flin.engine.open(tmp_path / "db", runner="inline", value_threshold=8) as db:
        model = filled(db)
        for _ in range(20):
            assert db[b"07"] == model[b"07"]
        monkeypatch.setattr(OsReadableFile, "pread", None)
        assert db[b"07"] == model[b"07"], "it is hot"
        assert not any(maybe_pointer(entry) for entry in db._store.value_cache.young.values())


def test_damage_hits_its_reads_alone(tmp_path: Path) -> None:
    with flin.engine.open(tmp_path / "db", runner="inline", value_threshold=8) as db:
        model = filled(db)
        (named,) = db._store.manifest.version.value_files
        path = tmp_path / "db" / named.file
        data = bytearray(path.read_bytes())
        offset = data.index(model[b"12"])
        data[offset] ^= 1
        path.write_bytes(data)
        drop_retired(db)
        for read in (lambda: db[b"12"], lambda: list(db.items()), lambda: dict(db.scan(start=b"12", limit=1))):
            with pytest.raises(CorruptionError) as caught:
                read()
            assert caught.value.path == str(path)
            assert caught.value.offset == offset
        assert db[b"11"] == model[b"11"]
        assert len(list(db)) == 20
        assert [str(path) in str(problem) for problem in db.verify()] == [True]
        db.delete(b"12")
        db.compact()
        assert dict(db.items()) == {key: value for key, value in model.items() if key != b"12"}


def test_a_snapshot_outlives_the_close_only_for_what_is_open() -> None:
    db = opened()
    model = filled(db)
    snapshot = db.snapshot()
    assert snapshot[b"03"] == model[b"03"]
    db.close()
    for file in snapshot._state.value_files.values():
        file.close()
    with pytest.raises(ClosedError):
        snapshot[b"04"]


def test_a_damaged_value_that_has_expired_is_swept(tmp_path: Path) -> None:
    clock = ManualClock()
    with flin.engine.open(tmp_path / "db", runner="inline", value_threshold=8, clock_ms=clock) as db:
        filled(db)
        db.put_many({b"t%02d" % number: VALUE for number in range(20)}, ttl=10)
        db.flush()
        for named in db._store.manifest.version.value_files:
            path = tmp_path / "db" / named.file
            path.write_bytes(path.read_bytes().replace(b"v" * 50, b"w" * 50))
        with pytest.raises(CorruptionError):
            db[b"t07"]
        clock.advance(20)
        assert len(db) == 20, "its sweep has deleted what expired"
        assert db.get(b"t07") is None


def test_a_flush_whose_edit_fails_keeps_its_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the WAL until the manifest names them as value files."""
    disk = SimulatedDisk()
    db = opened(disk)
    db.put_many({b"%02d" % index: VALUE for index in range(20)})

    def refuse(*_: object) -> None:
        raise OSError(28, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(type(db._store._versions.writer), "write", refuse)
        with pytest.raises(StorageError):
            db.flush()
        gc.collect()
        db._store.tables.remove_obsolete()
    assert [name for name in disk.names("/db") if name.endswith(".wal")], "the segment is still the WAL"
    db.flush()
    assert db._store.manifest.version.value_files
    assert db[b"07"] == VALUE
    db.close()
