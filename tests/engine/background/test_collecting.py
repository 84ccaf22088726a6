"""Collecting: values in worn files are written anew by merges into the bottom, and live sums stay exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import flin.engine
from flin.engine.background import collecting, picker
from flin.engine.catalog.version import ValueFile
from flin.engine.disk.file_name import maybe_parse
from flin.engine.entry import TOMBSTONE, Pointer, read_pointer
from flin.engine.key import KEYS_END
from flin.engine.wal.frames import decode_header
from flin.engine.wal.large_values import value_checksum
from flin.engine.wal.replay import read_frames
from flin.testing import ManualClock, SimulatedDisk

DB = "/db"


@pytest.fixture(autouse=True)
def merges_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of pointers merge no earlier than others, so each step here has a merge of its own."""
    monkeypatch.setattr(picker, "options_for", lambda _, options: options)
    monkeypatch.setattr(picker, "may_be_mostly_garbage", lambda _: False)


def opened(disk: SimulatedDisk, **options: Any) -> Any:
    defaults: dict[str, Any] = {
        "runner": "inline", "clock_ms": ManualClock(), "memory_limit": "1mb", "value_threshold": 300
    }  # fmt: skip
    return flin.engine.open(DB, fs=disk, **defaults | options)


def value(number: int, version: int, size: int = 700) -> bytes:
    return b"%d:%d;" % (number, version) * (size // 4)


def key(number: int) -> bytes:
    return b"%05d" % number


def entries_of(db: Any) -> Iterator[tuple[bytes, Any]]:
    """What the tables hold, newest first, hidden entries left out."""
    state = db._store.freeze()
    for keys, entries in state.pages(b"", KEYS_END, values=False):
        for each in zip(keys, entries, strict=True):
            if each[1] is not TOMBSTONE:
                yield each


def resolved(disk: SimulatedDisk, db: Any) -> dict[bytes, Any]:
    """Every live entry, pointers resolved by hand and checked; the version's live bytes are compared on the way."""
    found = {}
    for name, entry in entries_of(db):
        pointer = entry[0] if type(entry) is tuple else entry
        if type(pointer) is Pointer:
            number, offset, length, checksum = read_pointer(pointer)
            file = db._store.state.value_files[number]
            data = file.pread(length, offset)
            assert len(data) == length
            assert value_checksum(number, offset, data) == checksum
            entry = (data, *entry[1:]) if type(entry) is tuple else data
        found[name] = entry
    return found


def live_of_tables(db: Any) -> Counter[int]:
    """Bytes that pointers in tables name, hidden ones included, found by reading all entries."""
    live: Counter[int] = Counter()
    for runs in db._store.state.runs:
        for run in runs:
            for table in run.tables:
                for _, entries in table.pages():
                    for entry in entries:
                        pointer = entry[0] if type(entry) is tuple else entry
                        if type(pointer) is Pointer:
                            number, _, length, _ = read_pointer(pointer)
                            live[number] += length
    return live


def value_files(db: Any) -> tuple[ValueFile, ...]:
    files: tuple[ValueFile, ...] = db._store.manifest.version.value_files
    assert {each.number: each.live_bytes for each in files} == live_of_tables(db)
    return files


def collected(db: Any) -> list[ValueFile]:
    return [each for each in value_files(db) if each.file.endswith(".val")]


def filled(disk: SimulatedDisk, **options: Any) -> Any:
    """200 keys in the bottom, of which 160 were written again, merged: the first segment is worn then."""
    db = opened(disk, **options)
    for keys, version in ((range(200), 0), (range(160), 1)):
        db.put_many({key(number): value(number, version) for number in keys})
        db.flush()
    db.compact()
    return db


def expected(number: int) -> bytes:
    return value(number, 1 if number < 160 else 0)


def test_a_merge_learns_what_is_live() -> None:
    disk = SimulatedDisk()
    db = filled(disk)
    first, second = value_files(db)
    assert first.live_bytes == sum(len(value(number, 0)) for number in range(160, 200)) < first.length / 2
    assert second.live_bytes == sum(len(value(number, 1)) for number in range(160)) > 0.75 * second.length
    assert resolved(disk, db) == {key(number): expected(number) for number in range(200)}
    db.close()


def test_the_next_merge_collects_the_worn_file() -> None:
    disk = SimulatedDisk()
    db = filled(disk)
    worn, second = value_files(db)
    db.put(b"z", b"small")
    db.flush()
    db.put(b"00000", b"small")
    db.compact()
    segment, new = value_files(db)
    assert segment.file == second.file
    assert new.file.endswith(".val")
    assert worn.file not in disk.names(DB)
    assert new.live_bytes > 0.75 * new.length
    assert new.length == len(disk.read(f"{DB}/{new.file}"))
    before = {key(number): expected(number) for number in range(1, 200)} | {b"z": b"small", b"00000": b"small"}
    assert resolved(disk, db) == before
    db.close()
    db = opened(disk)
    assert resolved(disk, db) == before
    assert [each.file for each in value_files(db)] == [segment.file, new.file]
    db.close()


def test_a_collected_file_is_a_segment_in_key_order() -> None:
    disk = SimulatedDisk()
    db = filled(disk)
    db.put(b"00000", b"small")
    db.compact()
    (new,) = collected(db)
    data = disk.read(f"{DB}/{new.file}")
    header = decode_header(data, new.file)
    assert header.number == new.number
    assert header.database_id == db._store.manifest.database_id
    frames = list(read_frames(data, header, new.file, end=len(data)))
    points = [point for frame in frames for point in frame.points]
    assert points == [(key(number), value(number, 0)) for number in range(160, 200)]
    assert header.first_sequence == 360, "the newest of what was merged: 200 keys and 160 of them again"
    db.close()


def test_expiries_and_tags_are_kept() -> None:
    disk = SimulatedDisk()
    db = opened(disk)
    soon = ManualClock()() + 1_000_000
    store = db._store
    entries = {b"\x00\x01%02d" % number: (value(number, 0), soon + number, number % 3) for number in range(40)}
    store.commit(entries)
    db.flush()
    store.commit({name: value(7, 7) for name in list(entries)[:30]})
    db.flush()
    db.compact()
    store.commit({b"\x00\x01zz": b""})
    db.flush()
    store.commit({b"\x00\x0100": b""})
    db.compact()
    assert len(collected(db)) == 1
    found = resolved(disk, db)
    for name in list(entries)[30:]:
        assert found[name] == entries[name]
    db.close()


def test_values_too_small_for_a_file_of_their_own_go_into_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "LEAST_SHARE", 1.0)
    disk = SimulatedDisk()
    db = filled(disk)
    db.put(b"00000", b"small")
    db.compact()
    assert collected(db) == []
    assert not [name for name in disk.names(DB) if name.endswith(".val")]
    assert resolved(disk, db) == {key(number): expected(number) for number in range(1, 200)} | {b"00000": b"small"}
    assert len(value_files(db)) == 1
    db.close()


def test_files_end_at_the_target_and_frames_at_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "FRAME_VALUES_BYTES", 2000)
    disk = SimulatedDisk()
    db = opened(disk)
    db._compactor._options = type(db._compactor._options)(target_table_bytes=10_000)
    for keys, version in ((range(200), 0), (range(160), 1)):
        db.put_many({key(number): value(number, version) for number in keys})
        db.flush()
    db.compact()
    db.put(b"00000", b"small")
    db.compact()
    files = collected(db)
    assert len(files) > 2
    assert [maybe_parse(each.file).part for each in files] == list(range(len(files)))  # type: ignore[union-attr]
    for each in files:
        assert each.length < 10_000 + 5000
        data = disk.read(f"{DB}/{each.file}")
        for frame in read_frames(data, decode_header(data, each.file), each.file, end=len(data)):
            assert sum(len(entry) for _, entry in frame.points if type(entry) is bytes) < 2000 + 1300
    assert len(resolved(disk, db)) == 200
    db.close()


def test_a_merge_collects_only_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "FRAME_VALUES_BYTES", 2000)
    monkeypatch.setattr(collecting, "MAX_COLLECTED_BYTES", 10_000)
    disk = SimulatedDisk()
    db = filled(disk)
    db.put(b"00000", b"small")
    db.compact()
    stats = db.stats()["compaction"]
    merges = sum(stats["reasons"].values())
    assert stats["collected_bytes"] == sum(len(value(number, 0)) for number in range(160, 200)) > 20_000
    assert merges >= 4, "what is left is for the next one, until nothing is worn"
    assert all(each.live_bytes < 13_000 for each in collected(db))
    assert len(resolved(disk, db)) == 200
    db.close()


def test_damage_in_a_worn_file_stops_the_merge_and_changes_nothing() -> None:
    disk = SimulatedDisk()
    db = filled(disk)
    worn = value_files(db)[0]
    before = [name for name in disk.names(DB) if not name.endswith(".wal")]
    data = disk.read(f"{DB}/{worn.file}")
    at = data.index(value(170, 0)) + 5
    disk.flip(f"{DB}/{worn.file}", 8 * at)
    db.put(b"00000", b"small")
    with pytest.raises(flin.errors.CorruptionError, match="checksum") as caught:
        db.compact()
    assert caught.value.path == f"{DB}/{worn.file}"
    assert caught.value.offset == data.index(value(170, 0))
    assert not [name for name in disk.names(DB) if name.endswith(".val")]
    assert set(before) <= set(disk.names(DB))
    db.close()


def test_verify_follows_pointers_and_adds_up_what_tables_say() -> None:
    disk = SimulatedDisk()
    db = filled(disk)
    assert db.verify() == []
    first, second = value_files(db)
    for file, change in ((first, 1), (second, -7)):
        object.__setattr__(file, "live_bytes", file.live_bytes + change)
        (problem,) = db.verify()
        assert f"value file {file.number} is said to have {file.live_bytes:,} live bytes, and has" in str(problem)
        assert problem.path == f"{DB}/MANIFEST"
        object.__setattr__(file, "live_bytes", file.live_bytes - change)
    data = disk.read(f"{DB}/{second.file}")
    at = data.index(value(3, 1))
    disk.flip(f"{DB}/{second.file}", 8 * at + 1)
    (problem,) = db.verify()
    assert (problem.path, problem.offset) == (f"{DB}/{second.file}", at)
    assert "00003" in str(problem)
    db.close()
