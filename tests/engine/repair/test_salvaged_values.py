"""Repair with value files: what tables point to, what lost tables held, and what stays deleted."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

import flin.engine
from flin.engine.background import value_garbage
from flin.engine.catalog import manifest as manifest_format
from flin.engine.catalog.version import Version
from flin.engine.disk.fs import join
from flin.engine.options import Options
from flin.engine.repair.repair import Repair, RepairOptions
from flin.engine.repair.report import FileReport, RepairReport
from flin.engine.table.footer import read_footer
from flin.testing import ManualClock, SimulatedDisk

OLD, NEW = "/data/old", "/data/new"


def opened(disk: SimulatedDisk, path: str = OLD, **options: Any) -> Any:
    defaults: dict[str, Any] = {
        "runner": "inline", "clock_ms": ManualClock(), "memory_limit": "1mb", "value_threshold": 300
    }  # fmt: skip
    return flin.engine.open(path, fs=disk, **defaults | options)


def value(number: int, version: int) -> bytes:
    return b"%d:%d;" % (number, version) * 150


def key(number: int) -> bytes:
    return b"%05d" % number


def repaired(disk: SimulatedDisk, **options: Any) -> tuple[RepairReport, dict[bytes, bytes]]:
    before = {path: data for path, data in disk.files().items() if path.startswith(OLD) and not path.endswith("LOCK")}
    target = Options(fs=disk, clock_ms=ManualClock(), random_bytes=Random(7).randbytes)
    report = Repair(disk, OLD, RepairOptions(**options), target, NEW).run()
    after = {path: data for path, data in disk.files().items() if path.startswith(OLD) and not path.endswith("LOCK")}
    assert after == before
    with opened(disk, NEW, create=False) as db:
        found = dict(db.scan())
        assert not db.verify()
        assert len(db) == len(found) == report.keys
    return report, found


def version_of(disk: SimulatedDisk) -> Version:
    found = manifest_format.read(disk, OLD)
    assert found is not None
    return found.version


def of_role(report: RepairReport, role: str) -> list[FileReport]:
    return [each for each in report.files if each.role == role]


def flip_value(disk: SimulatedDisk, wanted: bytes) -> str:
    """Damage this value where it lies; the name of its file."""
    for each in version_of(disk).value_files:
        at = disk.read(join(OLD, each.file)).find(wanted)
        if at >= 0:
            disk.flip(join(OLD, each.file), 8 * at + 3)
            return each.file
    raise AssertionError("no value file holds it")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SimulatedDisk:
    """Keys 0 to 59 in the bottom, of which 0 to 9 were deleted since and 10 to 19 written again; the tombstones and the
    old values are merged away. Then a level 0 with new values of 20 to 29, and 30 and 31 deleted."""
    monkeypatch.setattr(value_garbage, "LEAST_UNKNOWN_SHARE", 1.0)  # level 0 stays
    disk = SimulatedDisk()
    db = opened(disk)
    db.put_many({key(number): value(number, 0) for number in range(60)})
    db.flush()
    for number in range(10):
        db.delete(key(number))
    db.put_many({key(number): value(number, 1) for number in range(10, 20)})
    db.flush()
    db.compact()
    db.put_many({key(number): value(number, 2) for number in range(20, 30)})
    db.delete(key(30))
    db.delete(key(31))
    db.flush()
    db.put_many({key(number): value(number, 3) for number in range(2)})
    db.close(flush=False)
    assert len(version_of(disk).value_files) == 3
    assert [len(run) for run in version_of(disk).shards[0]] == [1, 1]
    return disk


def right() -> dict[bytes, bytes]:
    found = {key(number): value(number, 0) for number in range(32, 60)}
    found |= {key(number): value(number, 1) for number in range(10, 20)}
    found |= {key(number): value(number, 2) for number in range(20, 30)}
    return found | {key(number): value(number, 3) for number in range(2)}


def test_nothing_is_damaged(disk: SimulatedDisk) -> None:
    report, found = repaired(disk)
    assert found == right()
    assert report.lossless
    assert [each.kept() for each in of_role(report, "value")] == ["kept 28 values", "kept 10 values", "kept 10 values"]


def test_keys_that_have_expired_are_counted_apart() -> None:
    """They stay, since the clock may be wrong; the next open deletes them."""
    disk, clock = SimulatedDisk(), ManualClock()
    with opened(disk) as db:
        for number in range(5):
            db.put(key(number), value(number, 0), ttl=10)
        db.put(key(5), value(5, 0), ttl=1000)
        db.put(key(6), value(6, 0))
    clock.advance(11)
    report = Repair(disk, OLD, RepairOptions(), Options(fs=disk, clock_ms=clock), NEW).run()
    assert (report.keys, report.expired, report.lossless) == (7, 5, True)
    with opened(disk, NEW, create=False, clock_ms=clock) as db:
        assert list(db) == [key(5), key(6)]


def test_without_a_manifest_value_files_are_no_wal(disk: SimulatedDisk) -> None:
    """What was deleted, and is merged away, does not come back from the segment that it was in."""
    _, found = repaired(disk, use_manifest=False)
    assert found == right()


def test_a_damaged_value_is_reported_by_its_key(disk: SimulatedDisk) -> None:
    file = flip_value(disk, value(25, 2))
    report, found = repaired(disk)
    assert found == {name: each for name, each in right().items() if name != key(25)}, "an older value came back"
    (damaged,) = [each for each in report.files if each.losses]
    assert damaged.file == file
    assert [(loss.bytes, loss.first) for loss in damaged.losses] == [(len(value(25, 2)), '"00025"')]
    assert str(damaged.losses[0]).endswith('the value is lost; key "00025"')


def test_a_missing_value_file_is_reported_by_its_keys(disk: SimulatedDisk) -> None:
    file = version_of(disk).value_files[0].file
    disk.lose(join(OLD, file))
    report, found = repaired(disk)
    kept = [*range(10, 30), 0, 1]
    assert found == {name: each for name, each in right().items() if name in map(key, kept)}
    (damaged,) = [each for each in report.files if each.losses]
    assert damaged.file == file
    assert damaged.losses[0].reason == "missing"
    assert {loss.first for loss in damaged.losses[1:]} == {f'"{number:05d}"' for number in range(32, 60)}


def test_a_lost_level_0_comes_back_with_its_deletes(disk: SimulatedDisk) -> None:
    disk.lose(join(OLD, version_of(disk).shards[0][0][0].file))
    report, found = repaired(disk)
    assert found == right()
    assert not report.lossless
    assert any("entries of lost tables were taken from value files" in each for each in report.warnings)


@pytest.mark.parametrize("use_manifest", [True, False])
def test_a_lost_block_of_the_bottom_comes_back(disk: SimulatedDisk, use_manifest: bool) -> None:
    meta = version_of(disk).shards[0][1][0]
    path = join(OLD, meta.file)
    footer = read_footer(disk.open(path), meta.offset, meta.length)
    damage(disk, path, 10, footer.expiry)
    _, found = repaired(disk, use_manifest=use_manifest)
    deleted = {key(number): value(number, 0) for number in range(2, 10)}  # only the lost table told of it
    assert right().items() <= found.items()
    assert found.items() <= (right() | deleted).items()


def damage(disk: SimulatedDisk, path: str, start: int, stop: int) -> None:
    data = disk.read(path)
    disk.write(path, data[:start] + bytes(stop - start) + data[stop:])


def test_what_another_sound_table_tells_of_stays_deleted() -> None:
    """A lost table above, and a sound bottom that says which keys are gone."""
    disk = SimulatedDisk()
    db = opened(disk)
    db.put_many({key(number): value(number, 0) for number in range(40)})
    db.flush()
    db.put_many({key(number): value(number, 1) for number in range(0, 40, 4)})
    for number in range(1, 40, 4):
        db.delete(key(number))
    db.flush()
    db.compact()
    db.put_many({key(number): value(number, 2) for number in range(0, 40, 2)})
    db.flush()
    db.close()
    disk.lose(join(OLD, version_of(disk).shards[0][0][0].file))
    _, found = repaired(disk)
    expected = {key(number): value(number, 0) for number in range(3, 40, 4)}
    expected |= {key(number): value(number, 2) for number in range(0, 40, 2)}
    assert found == expected


def worn(disk: SimulatedDisk) -> dict[bytes, bytes]:
    """A database one of whose value files was collected."""
    db = opened(disk)
    db.put_many({key(number): value(number, 0) for number in range(60)})
    db.flush()
    db.put_many({key(number): value(number, 1) for number in range(50)})
    db.delete(key(55))
    db.flush()
    db.compact()
    db.delete(key(99))
    db.compact()
    db.close()
    assert any(each.file.endswith(".val") for each in version_of(disk).value_files)
    found = {key(number): value(number, 1) for number in range(50)}
    return found | {key(number): value(number, 0) for number in (50, 51, 52, 53, 54, 56, 57, 58, 59)}


def lose_tables(disk: SimulatedDisk) -> None:
    for table in version_of(disk).shards[0][0]:
        disk.lose(join(OLD, table.file))


def cut_header(disk: SimulatedDisk) -> None:
    (file,) = [each.file for each in version_of(disk).value_files if each.file.endswith(".val")]
    lose_tables(disk)
    damage(disk, join(OLD, file), 0, 40)


@pytest.mark.parametrize("change", [lambda _: None, lose_tables, cut_header])
def test_collected_files_are_value_files(change: Callable[[SimulatedDisk], None]) -> None:
    disk = SimulatedDisk()
    expected = worn(disk)
    change(disk)
    _, found = repaired(disk)
    assert found == expected


def test_collected_files_without_a_manifest() -> None:
    disk = SimulatedDisk()
    expected = worn(disk)
    disk.lose(join(OLD, "MANIFEST"))
    _, found = repaired(disk)
    assert found == expected


def test_a_copy_under_another_epoch_serves() -> None:
    disk = SimulatedDisk()
    expected = worn(disk)
    (first, *_) = version_of(disk).value_files
    number, _, role = first.file.split(".")
    disk.write(join(OLD, f"{number}.77.{role}"), disk.read(join(OLD, first.file)))
    flip_value(disk, value(7, 1))
    _, found = repaired(disk)
    assert found == expected


def test_shards() -> None:
    disk = SimulatedDisk()
    db = opened(disk, shards=4)
    db.put_many({key(number): value(number, 0) for number in range(80)})
    db.flush()
    db.close()
    assert version_of(disk).value_files
    for table in {table.file for runs in version_of(disk).shards for run in runs for table in run}:
        disk.lose(join(OLD, table))
    _, found = repaired(disk)
    assert found == {key(number): value(number, 0) for number in range(80)}
