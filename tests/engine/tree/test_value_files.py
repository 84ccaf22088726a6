"""The life of value files: from the flush that names a segment to the last state that holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flin.engine.catalog import manifest as manifest_format
from flin.engine.catalog.version import ValueFile
from flin.engine.disk.file_name import maybe_parse
from flin.engine.tree.edits import Edits
from flin.errors import CorruptionError
from flin.testing import Fault, SimulatedDisk
from tests.engine.small_database import DB, opened


def segments(disk: SimulatedDisk) -> list[str]:
    return [name for name in disk.names(DB) if name.endswith(".wal")]


def value_files(db: Any) -> list[str]:
    return [each.file for each in db._store.manifest.version.value_files]


@pytest.fixture
def naming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every flush makes value files of all of its segments, as if tables pointed to one byte of each."""
    original = Edits.install_flush

    def install(self: Any, generation: Any, tables: Any, now_ms: int, _: Any) -> None:
        named = []
        for piece in generation.segments:
            parsed = maybe_parse(piece.file)
            assert parsed is not None
            named.append(ValueFile(parsed.number, piece.file, piece.end, 1))
        original(self, generation, tables, now_ms, named)

    monkeypatch.setattr(Edits, "install_flush", install)


@pytest.fixture
def disk(naming: None) -> SimulatedDisk:
    """A closed database with two value files and a WAL."""
    disk = SimulatedDisk()
    db = opened(disk)
    for number in range(2):
        db.put_many({b"%d-%03d" % (number, index): b"v" * 50 for index in range(200)})
        db.flush()
    db.put(b"in the WAL", b"v")
    db.close(flush=False)
    return disk


def forget(db: Any, *numbers: int) -> None:
    """Commit an edit after which no table points into these."""
    db._store.install_compaction(lambda version: version, 0, (), dict.fromkeys(numbers, -1))
    db._store.tables.remove_obsolete()


def test_a_named_segment_stays_and_is_not_replayed(disk: SimulatedDisk) -> None:
    named = segments(disk)[:2]
    for _ in range(3):
        db = opened(disk)
        assert value_files(db) == named
        assert db.stats()["wal"]["replayed_operations"] == 1
        assert len(db) == 401
        assert set(named) <= set(segments(disk))
        assert list(db._store.state.value_files) == [each.number for each in db._store.manifest.version.value_files]
        db.close(flush=False)


def test_a_segment_that_is_not_named_goes_with_its_flush(disk: SimulatedDisk) -> None:
    db = opened(disk)
    first, second = (each.number for each in db._store.manifest.version.value_files)
    forget(db, first)
    assert [each.number for each in db._store.manifest.version.value_files] == [second]
    assert segments(disk)[0].startswith(f"{second:08d}")
    db.close()
    opened(disk).close()
    assert value_files(opened(disk)) == segments(disk)


def test_a_snapshot_keeps_a_value_file(disk: SimulatedDisk) -> None:
    db = opened(disk)
    old = value_files(db)
    snapshot = db.snapshot()
    forget(db, *(each.number for each in db._store.manifest.version.value_files))
    assert value_files(db) == []
    db.put(b"k", b"v")
    db.flush()  # it removes segments below its floor, but not these
    assert set(old) <= set(segments(disk))
    with snapshot as view:
        assert len(view) == 401
    del snapshot, view
    db._store.tables.remove_obsolete()
    assert not set(old) & set(segments(disk))
    db.close()


def test_a_value_file_that_could_not_be_removed_goes_at_the_next_open(disk: SimulatedDisk) -> None:
    db = opened(disk)
    old = value_files(db)
    disk.faults.append(Fault(0, operations=frozenset({"remove"}), sticky=True))
    forget(db, *(each.number for each in db._store.manifest.version.value_files))
    disk.faults.clear()
    assert set(old) <= set(segments(disk))
    db.close()
    opened(disk).close()
    assert not set(old) & set(segments(disk))


def test_a_value_file_that_is_missing_short_or_no_file(disk: SimulatedDisk) -> None:
    path = f"{DB}/{segments(disk)[0]}"
    whole = disk.read(path)
    found = manifest_format.read(disk, DB)
    assert found is not None
    length = found.version.value_files[0].length
    damages: list[Callable[[], None]] = [
        lambda: disk.lose(path),
        lambda: disk.write(path, whole[: length - 1]),
        lambda: disk.write(path, b""),
    ]
    for damage in damages:
        damage()
        damaged = {path: data for path, data in disk.files().items() if not path.endswith("LOCK")}
        with pytest.raises(CorruptionError, match=r"no such regular file|bytes long, the manifest says") as caught:
            opened(disk)
        assert caught.value.path == path
        assert {path: data for path, data in disk.files().items() if not path.endswith("LOCK")} == damaged
        disk.write(path, whole)
    disk.write(path, whole[:length])  # the zeros of a window after it may be gone
    opened(disk).close()


def test_a_named_segment_above_the_floor_is_replayed_and_never_copied(disk: SimulatedDisk) -> None:
    """It was synced before the manifest named it, and pointers call it by its name."""
    found = manifest_format.read(disk, DB)
    assert found is not None
    before = replace(found, wal_floor=1, wal_position=0, next_sequence=1)
    disk.write(f"{DB}/MANIFEST", manifest_format.encode(before))
    last = segments(disk)[-1]
    disk.write(f"{DB}/{last}", disk.read(f"{DB}/{last}")[:-10])  # torn, so that not all counts as synced
    for each in found.version.value_files:
        whole = disk.read(f"{DB}/{each.file}")
        disk.write(f"{DB}/{each.file}", whole)
    db = opened(disk)
    assert db.stats()["wal"]["replayed_operations"] >= 400
    assert {each.file for each in found.version.value_files} <= set(segments(disk))
    assert value_files(db) == [each.file for each in found.version.value_files]
    assert dict(db.scan()).keys() >= {b"0-000", b"1-199"}
    db.close(flush=False)
