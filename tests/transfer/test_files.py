"""Files of every form from a database that is open, and into one; while others write, and what is cut."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import redis

import flin.engine
from flin.engine import ConflictError, CorruptionError, ImportDataError
from flin.engine.engine import Engine, store_of
from flin.testing import ManualClock, SimulatedDisk
from flin.transfer import Imported, export_to, import_from
from flin.transfer.files import FORMS, Form
from tests.net.serving import ServerThread

READ = [form for form in FORMS if form != "resp"]


@pytest.fixture
def db() -> Iterator[Engine]:
    with flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", clock_ms=ManualClock()) as made:
        with ServerThread(store_of(made)) as server, redis.Redis(port=server.port) as client:
            client.hset("hash", mapping={str(number): "x" * 50 for number in range(400)})
            client.rpush("list", "a", "b")
            client.append("long", "y" * 100_000)
        made.put_many({b"key:%03d" % number: b"%d" % number for number in range(200)})
        made.put(b"soon", b"1", ttl=5)
        yield made


def _other() -> Engine:
    return flin.engine.open("/other", fs=SimulatedDisk(), runner="inline", clock_ms=ManualClock())


@pytest.mark.parametrize("form", READ)
def test_there_and_back(db: Engine, tmp_path: Path, form: Form) -> None:
    path = tmp_path / "file"
    assert export_to(db, path, form=form) == 204
    with path.open("rb") as file, _other() as other, _other() as another:
        assert import_from(other, path) == Imported(204, 0, 0, 0)
        assert dict(other) == dict(db)
        assert (other.ttl(b"soon"), dict(other.hash(b"hash"))) == (5.0, dict(db.hash(b"hash")))
        assert other.verify() == []
        other[b"key:000"] = b"changed"
        assert import_from(other, str(path), skip=True) == Imported(0, 0, 204, 0)
        assert other[b"key:000"] == b"changed"
        written = io.BytesIO()
        export_to(other, written, form=form)
        written.seek(0)
        assert import_from(another, written) == Imported(204, 0, 0, 0)
        assert not written.closed
        assert import_from(another, file).added == 204
        assert another[b"key:000"] == b"0"


def test_it_is_of_one_moment(db: Engine) -> None:
    """Whatever is written while it is written: each key as it was, collections too."""

    class Disturbing(io.BytesIO):
        writes = 0

        def write(self, data: object) -> int:
            self.writes += 1
            if self.writes == 5:
                db.clear()
                db.put_many({b"list": b"a string", b"new": b"1"})
                db.flush()
                db.compact()
            return super().write(data)  # type: ignore[arg-type]

    before, hashed = dict(db), dict(db.hash(b"hash"))
    file = Disturbing()
    assert export_to(db, file) == 204
    assert dict(db) == {b"list": b"a string", b"new": b"1"}
    file.seek(0)
    with _other() as other:
        import_from(other, file)
        assert (dict(other), dict(other.hash(b"hash")), list(other.list(b"list"))) == (before, hashed, [b"a", b"b"])


@pytest.mark.parametrize("form", READ)
def test_a_file_that_is_cut(db: Engine, form: Form) -> None:
    db.delete_many([b"hash", b"list", b"long"])
    file = io.BytesIO()
    export_to(db, file, form=form)
    whole = file.getvalue()
    for size in (len(whole) - 5, len(whole) // 2, 20):
        is_empty = size == 20 or (form == "compact" and size < len(whole) - 5)  # of which all keys are one block
        with _other() as other, _other() as another:
            with pytest.raises((ImportDataError, CorruptionError)) as raised:
                import_from(other, io.BytesIO(whole[:size]))
            found = import_from(another, io.BytesIO(whole[:size]), partial=True)
            assert str(found.cut) == str(raised.value)
            assert found.added == len(another) == len(dict(another).items() & dict(db).items())
            assert (found.added == 0) == is_empty


def test_what_is_refused(db: Engine, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="form must be one of ndjson, jsonl"):
        export_to(db, tmp_path / "file", form="xml")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        import_from(db, tmp_path / "absent")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ImportDataError, match=r"empty, line 1: the file is empty"):
        import_from(db, tmp_path / "empty")
    with pytest.raises(OSError, match="No such file"):
        export_to(db, tmp_path / "absent" / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"], "nothing is left of what failed"


def test_one_import_at_a_time(db: Engine) -> None:
    errors: list[Exception] = []

    def again() -> None:
        try:
            import_from(db, io.BytesIO(b'{"key": "b", "value": ""}'))
        except ConflictError as error:
            errors.append(error)

    class Slow(io.BytesIO):
        def readinto(self, buffer: object) -> int:
            thread = Thread(target=again)
            thread.start()
            thread.join()
            return super().readinto(buffer)  # type: ignore[arg-type]

    assert import_from(db, Slow(b'{"key": "a", "value": ""}')).added == 1
    assert errors
    again()
    assert (b"a" in db, b"b" in db) == (True, True)


@pytest.mark.parametrize("form", READ)
def test_a_file_that_goes_on(db: Engine, tmp_path: Path, form: Form) -> None:
    """Two that were joined, or what a download has left at the end, is no export."""
    path = tmp_path / "file"
    export_to(db, path, form=form)
    whole = path.read_bytes()
    for rest in (b"\n", b"\0", b"junk", whole):
        path.write_bytes(whole + rest)
        with _other() as other, pytest.raises((ImportDataError, CorruptionError), match="the file goes on after its"):
            import_from(other, path)
