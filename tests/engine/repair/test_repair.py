"""Repair makes a whole database of a damaged directory, with nothing in it that was never written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import flin.engine
from flin.engine.catalog import manifest as manifest_format
from flin.engine.catalog.version import Version
from flin.engine.disk.file_name import MANIFEST, maybe_parse
from flin.engine.disk.fs import join
from flin.engine.key import stored_key
from flin.engine.memtable import Memtable
from flin.engine.options import Compression, Options
from flin.engine.repair.repair import Repair, RepairOptions
from flin.engine.repair.report import RepairReport
from flin.engine.slot import shard_of_stored
from flin.engine.sstable import Table
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import replay as wal_replay
from flin.errors import CorruptionError, FormatVersionError, LockedError, StorageError
from flin.testing import Fault, ManualClock, SimulatedDisk, killed
from flin.testing.operation import (
    Clear,
    CountSome,
    Crash,
    Delete,
    DeleteRange,
    Draw,
    Incr,
    Maintenance,
    Put,
    PutMany,
    TakeSnapshot,
)
from flin.testing.run import PATH, EngineSetup, Workload, WorkloadRun
from tests.engine.plain_ranges import covers

NEW = "/data/new"
Written = dict[bytes, set[bytes]]


def prepare(setup: EngineSetup, workload: Workload) -> tuple[SimulatedDisk, dict[bytes, bytes], Written, int]:
    """The disk of a killed process, what a reader saw last, and all values that each key ever had."""
    run = WorkloadRun(setup, record=False)
    run.open()
    for operation in workload:
        operation.do(run)
    image = killed(run.disk)
    run.abandon()
    written: Written = {}
    expectation = run.model.expectation()
    for state in (*expectation.states, *(state for _, state in expectation.unanswered)):
        for key, (value, _) in state.items():
            written.setdefault(key, set()).add(value)
    return image, run.view(), written, run.clock.now_ms


def repair(disk: SimulatedDisk, now_ms: int = 0, **options: Any) -> RepairReport:
    target = Options(fs=disk, clock_ms=ManualClock(now_ms), random_bytes=Random(7).randbytes)
    return Repair(disk, PATH, RepairOptions(**options), target, NEW).run()


def contents(disk: SimulatedDisk, now_ms: int = 0) -> dict[bytes, bytes]:
    """The contents of the result, which must be a whole database that can be written to."""
    with flin.engine.open(NEW, fs=disk, clock_ms=ManualClock(now_ms), runner="inline", create=False) as engine:
        found = dict(engine.scan())
        assert len(engine) == len(found)
        assert not list(engine.verify())
        for key, value in found.items():
            assert engine.get(key) == value
        engine.put(b"after", b"repair", sync=True)
        engine.compact()
        assert dict(engine.scan()) == found | {b"after": b"repair"}
    return found


def source_files(disk: SimulatedDisk) -> dict[str, bytes]:
    return {path: data for path, data in disk.files().items() if path.startswith(PATH) and not path.endswith("LOCK")}


def newest_files(disk: SimulatedDisk, keys: set[bytes]) -> dict[bytes, str]:
    """In an undamaged database: the file that has the newest entry of each key."""
    manifest = manifest_format.read(disk, PATH)
    assert manifest is not None
    newest: dict[bytes, str] = {}
    stored = {stored_key(key): key for key in keys}
    segments = [(at, name) for name in disk.names(PATH) if (at := maybe_parse(name)) and at.role == "wal"]
    for parsed, name in sorted(segments, key=lambda pair: pair[0].number):
        if parsed.number >= manifest.wal_floor:
            data = disk.read(join(PATH, name))
            if len(data) < wal_frames.HEADER_BYTES:
                continue
            header = wal_frames.decode_header(data, name)
            for frame in wal_frames.find_frames(data, header, wal_frames.HEADER_BYTES, len(data)):
                part = Memtable()
                wal_replay.replay(data, header, name, part, start=frame.offset, end=frame.end)
                newest |= {stored[key]: name for key in stored if part.get(key) is not None}
    for shard, runs in enumerate(manifest.version.shards):
        for run in runs:
            for meta in run:
                table = Table(disk.open(join(PATH, meta.file)), meta, None)
                for at_disk, key in stored.items():
                    if shard_of_stored(at_disk, manifest.shards) != shard or key in newest:
                        continue
                    if table.get(at_disk) is not None or covers(table.ranges, at_disk):
                        newest[key] = meta.file
    return newest


# Properties.

SETUPS = st.builds(EngineSetup, st.sampled_from(["always", "never"]), st.sampled_from([1, 4]), window_bytes=st.just(0))


def workloads(*without: type[Any]) -> st.SearchStrategy[Workload]:
    return st.builds(
        lambda random, length: Draw(random, without=(Crash, *without)).workload(length),
        st.randoms(use_true_random=False),
        st.integers(3, 14),
    )


WORKLOADS = workloads()


@given(SETUPS, WORKLOADS)
def test_an_undamaged_database_is_repaired_to_itself(setup: EngineSetup, workload: Workload) -> None:
    disk, expected, _, now_ms = prepare(setup, workload)
    before = source_files(disk)
    report = repair(disk, now_ms)
    assert source_files(disk) == before
    assert report.lossless, report
    assert report.shards == setup.shards
    assert contents(disk, now_ms) == expected


RANGE_DELETE_ALONE: Workload = [
    Incr(delta=0),
    Maintenance("flush"),
    Put(b"a", b""),
    Clear(),
    Put(b"a", b""),
    Put(b"a", b""),
    Maintenance("flush"),
]
"""In its last flush one shard has a range delete and no key, and another one a newer point."""


@given(SETUPS, workloads(TakeSnapshot, CountSome))
@example(EngineSetup("always", 4, window_bytes=0), RANGE_DELETE_ALONE)
def test_without_its_manifest_too(setup: EngineSetup, workload: Workload) -> None:
    """A snapshot, or a count under way, would keep tables that were merged away: only the manifest tells that these are
    no part of it."""
    disk, expected, _, now_ms = prepare(setup, workload)
    disk.lose(join(PATH, MANIFEST))
    report = repair(disk, now_ms, shards=setup.shards)
    assert not report.lossless
    assert contents(disk, now_ms) == expected


@given(
    SETUPS, WORKLOADS, st.lists(st.tuples(st.integers(0), st.integers(0), st.integers(0, 3)), min_size=1, max_size=4)
)
def test_damaged_anywhere(setup: EngineSetup, workload: Workload, damages: list[tuple[int, int, int]]) -> None:
    disk, expected, written, now_ms = prepare(setup, workload)
    paths = sorted(source_files(disk))
    newest = newest_files(disk, {*expected, *written})
    damaged = {damage(disk, paths[which % len(paths)], where, how) for which, where, how in damages}
    report = repair(disk, now_ms, force=True)
    found = contents(disk, now_ms)
    for key, value in found.items():
        assert value in written[key] or value == b"", "a value that was never written"
        assert value in written[key]
    if join(PATH, MANIFEST) in damaged:
        return
    for key, name in newest.items():
        if join(PATH, name) not in damaged:
            assert found.get(key) == expected.get(key), f"{key!r} is in {name}, which is whole: {report}"


def damage(disk: SimulatedDisk, path: str, where: int, how: int) -> str:
    if path not in disk.files():
        return path
    data = disk.read(path)
    at = where % max(1, len(data))
    if how == 0 and data:
        disk.flip(path, where % (8 * len(data)))
    elif how == 1:
        disk.write(path, data[:at])
    elif how == 2:
        disk.write(path, data[:at] + Random(where).randbytes(min(40, len(data) - at)) + data[at + 40 :])
    else:
        disk.lose(path)
    return path


def test_without_its_manifest_only_tables_of_one_shard_are_made_of_each_other() -> None:
    """One shard was merged again and again; the other one is as the first flush left it."""
    disk = SimulatedDisk()
    expected: dict[bytes, bytes] = {}
    keys = [b"k%03d" % number for number in range(400)]
    hot = [key for key in keys if shard_of_stored(key, 2) == 0]
    with flin.engine.open(PATH, fs=disk, clock_ms=ManualClock(), runner="inline", shards=2) as engine:
        for turn in range(17):
            written = dict.fromkeys(hot if turn else keys, b"%d" % turn)
            engine.put_many(written)
            expected |= written
            engine.flush()
    disk.lose(join(PATH, MANIFEST))
    repair(disk, 0, shards=2)
    assert contents(disk, 0) == expected


def test_without_its_manifest_the_number_of_shards_follows_from_the_keys() -> None:
    """No file has sections of two shards any more, after merges of one shard at a time."""
    disk = SimulatedDisk()
    expected: dict[bytes, bytes] = {}
    keys = [b"k%03d" % number for number in range(400)]
    with flin.engine.open(PATH, fs=disk, clock_ms=ManualClock(), runner="inline", shards=2) as engine:
        for turn in range(4 * 17):
            written = {key: b"%d" % turn for key in keys if shard_of_stored(key, 2) == turn // 17 % 2}
            engine.put_many(written)
            expected |= written
            engine.flush()
    disk.lose(join(PATH, MANIFEST))
    assert repair(disk, 0).shards == 2
    assert contents(disk, 0) == expected


def test_a_few_large_values_tell_the_number_of_shards() -> None:
    """A block holds two of them: more than the first one of each table is looked at."""
    disk = SimulatedDisk()
    expected = {b"%d" % number**7: b"%d" % number * 2000 for number in range(40)}
    with flin.engine.open(PATH, fs=disk, clock_ms=ManualClock(), runner="inline", shards=4) as engine:
        for _ in range(2):
            engine.put_many(expected)
            engine.flush()
        engine.compact()
    disk.lose(join(PATH, MANIFEST))
    assert repair(disk, 0).shards == 4
    assert contents(disk, 0) == expected


# One thing at a time.

MANY: Workload = [PutMany(tuple((b"m%04d" % number, b"%d" % number * 9) for number in range(2000)))]
LATER: Workload = [
    PutMany(tuple((b"m%04d" % number, b"later") for number in range(0, 2000, 9))),
    DeleteRange(b"m0100", b"m0200"),
    Delete(b"m0500"),
    Maintenance("flush"),
    PutMany(((b"m0007", b"in the WAL"), (b"n", b""))),
    Put(b"o", b"1"),
    Put(b"p", b"2"),
]


@pytest.fixture(scope="module")
def database() -> Callable[[], tuple[SimulatedDisk, dict[bytes, bytes]]]:
    disk, expected, _, _ = prepare(EngineSetup("always", window_bytes=0), [*MANY, Maintenance("compact"), *LATER])
    return lambda: (killed(disk), expected)


Database = Callable[[], tuple[SimulatedDisk, dict[bytes, bytes]]]


def tables_of(disk: SimulatedDisk) -> list[str]:
    """The paths of the tables, oldest first."""
    return [path for path in source_files(disk) if path.endswith(".sst")]


def test_each_block_is_lost_alone(database: Database) -> None:
    disk, _ = database()
    path = tables_of(disk)[0]
    meta = manifest_format.read(disk, PATH).version.shards[0][-1][0]  # type: ignore[union-attr]
    state = Table(disk.open(path), meta, None).loaded()
    for number, start in enumerate(state.starts[:-1]):
        disk, expected = database()
        disk.flip(path, start * 8 + 77)
        report = repair(disk)
        (loss,) = next(file for file in report.files if path.endswith(file.file)).losses
        assert (loss.offset, loss.bytes) == (start, state.starts[number + 1] - start)
        found = contents(disk)
        bounds = state.separators[number], (*state.separators, b"\xff")[number + 1]
        for key in expected:
            if bounds[0] <= key < bounds[1] and key < b"n" and expected[key] not in (b"later", b"in the WAL"):
                assert key not in found
            else:
                assert found[key] == expected[key]


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("part", ["footer", "index", "properties", "ranges"])
def test_blocks_are_found_without(part: str, compression: Compression) -> None:
    """Without footer, index or properties nothing is lost, since the manifest says the rest, except range deletes."""
    disk = SimulatedDisk()
    with flin.engine.open(PATH, fs=disk, runner="inline", compression=compression) as engine:
        engine.put_many({b"k%05d" % number: b"value %d" % number * 5 for number in range(3000)})
        engine.compact()
        engine.delete_range(b"k00100", b"k00200")
        engine.delete_range(b"k00300", b"k00400")
        engine.put(b"k00150", b"again")
        expected = dict(engine.scan())
    for path in tables_of(disk):
        meta = next(
            meta
            for run in manifest_format.read(disk, PATH).version.shards[0]  # type: ignore[union-attr]
            for meta in run
            if path.endswith(meta.file)
        )
        footer = Table(disk.open(path), meta, None).loaded().footer
        at = footer.size - 40 if part == "footer" else getattr(footer, part) + 5
        damaged = killed(disk)
        damaged.flip(path, at * 8)
        report = repair(damaged)
        if part == "ranges" and meta.range_deletes:
            assert not report.lossless
            assert len(contents(damaged)) == 3000
        else:
            assert report.lossless, report
            assert contents(damaged) == expected


def test_without_an_index_damaged_blocks_are_passed_over(database: Database) -> None:
    disk, expected = database()
    path = tables_of(disk)[0]
    disk.flip(path, 30_000)
    disk.flip(path, len(disk.read(path)) * 8 - 90)  # the footer
    report = repair(disk)
    losses = next(file for file in report.files if path.endswith(file.file)).losses
    assert losses[0].offset == 0, losses
    found = contents(disk)
    assert len(expected) - 900 < len(found) < len(expected)


def test_frames_after_damage_are_kept(database: Database) -> None:
    disk, expected = database()
    (path,) = [path for path in source_files(disk) if path.endswith(".wal")]
    data = disk.read(path)
    header = wal_frames.decode_header(data, path)
    frames = list(wal_frames.find_frames(data, header, wal_frames.HEADER_BYTES, len(data)))
    disk.flip(path, frames[1].offset * 8 + 400)
    report = repair(disk)
    (loss,) = next(file for file in report.files if path.endswith(file.file)).losses
    assert (loss.offset, loss.bytes, loss.operations) == (frames[1].offset, frames[1].end - frames[1].offset, 1)
    assert contents(disk) == {key: value for key, value in expected.items() if key != b"o"}


def test_a_lost_header_and_first_frame(database: Database) -> None:
    disk, expected = database()
    (path,) = [path for path in source_files(disk) if path.endswith(".wal")]
    disk.flip(path, 40 * 8)
    whole = killed(disk)
    assert not repair(whole).lossless  # nothing proves whose segment it is
    assert contents(whole) == expected
    disk.flip(path, (wal_frames.HEADER_BYTES + 60) * 8)
    repair(disk)
    found = contents(disk)
    assert found[b"p"] == b"2"
    assert b"n" not in found


def test_exchanged_files_are_known_by_what_they_hold(database: Database) -> None:
    disk, expected = database()
    one, other = tables_of(disk)
    contents_of_one = disk.read(one)
    disk.write(one, disk.read(other))
    disk.write(other, contents_of_one)
    report = repair(disk)
    notes = " ".join(file.note for file in report.files if file.role == "table")
    assert all(f"the manifest calls it {path.rpartition('/')[2]}" in notes for path in (one, other))
    assert report.lossless
    assert contents(disk) == expected


def test_a_manifest_of_another_database_is_not_believed(database: Database) -> None:
    disk, expected = database()
    found = manifest_format.read(disk, PATH)
    assert found is not None
    other = replace(found, database_id=bytes(16), version=Version(((),)))
    disk.write(join(PATH, MANIFEST), manifest_format.encode(other))
    report = repair(disk)
    assert report.files[0].losses
    assert contents(disk) == expected


def test_an_old_manifest_is_left_out_on_demand(database: Database) -> None:
    disk, _, _, _ = prepare(EngineSetup("always"), [*MANY, Maintenance("flush")])
    old = disk.read(join(PATH, MANIFEST))
    disk, expected = database()
    disk.write(join(PATH, MANIFEST), old)
    assert not repair(disk, use_manifest=False).lossless
    assert contents(disk) == expected


def test_what_a_newer_flin_wrote_is_refused_and_forced(database: Database) -> None:
    for suffix, offset in ((MANIFEST, 8), (".wal", 8)):
        disk, expected = database()
        (path,) = [path for path in source_files(disk) if path.endswith(suffix)]
        disk.flip(path, offset * 8 + 3)
        with pytest.raises(FormatVersionError, match="format"):
            repair(disk)
        assert not [path for path in disk.files() if path.startswith(NEW) and not path.endswith("LOCK")]
        repair(disk, force=True)
        assert contents(disk) == expected


def test_a_dry_run_writes_nothing_and_says_the_same(database: Database) -> None:
    disk, _ = database()
    disk.flip(tables_of(disk)[0], 9_000)
    before = source_files(disk)
    report = Repair(disk, PATH, RepairOptions()).run()
    assert source_files(disk) == before
    assert report.target is None
    again = repair(disk)
    again.target = None
    assert report == again


def test_an_open_database_is_refused(database: Database) -> None:
    disk, _ = database()
    with flin.engine.open(PATH, fs=disk, runner="inline"), pytest.raises(LockedError):
        repair(disk)


def test_a_repair_that_fails_leaves_nothing_that_opens(database: Database) -> None:
    """Except at the very last call: with the manifest in place, only the sync of its name can still fail."""
    for operation, calls in (("append", 4), ("sync", 3), ("rename", 1), ("sync_directory", 1)):
        for after in range(calls):
            disk, _ = database()
            disk.faults.append(Fault(after, operations=frozenset({operation})))
            try:
                repair(disk)
            except StorageError:
                disk.faults.clear()
                with pytest.raises(CorruptionError if tables_in(disk, NEW) else StorageError):
                    flin.engine.open(NEW, fs=disk, runner="inline", create=False)
            else:
                disk.faults.clear()
                assert contents(disk)


def tables_in(disk: SimulatedDisk, directory: str) -> list[str]:
    return [path for path in disk.files() if path.startswith(directory) and path.endswith(".sst")]


def test_unreadable_sectors_are_lost_alone(database: Database) -> None:
    """A failing disk answers EIO for some bytes: all others are kept."""
    disk, expected = database()
    path = tables_of(disk)[0]
    bad = range(9_000, 9_512)

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(disk, name)

        def open(self, at: str) -> Any:
            file = disk.open(at)
            if at == path:
                read = file.pread

                def pread(size: int, offset: int) -> bytes:
                    if offset < bad.stop and offset + size > bad.start:
                        raise OSError(5, "Input/output error", at)
                    return read(size, offset)

                setattr(file, "pread", pread)  # noqa: B010  mypy knows it for a method
            return file

    target = Options(fs=disk, clock_ms=ManualClock(0), random_bytes=Random(7).randbytes)
    report = Repair(Failing(), PATH, RepairOptions(), target, NEW).run()
    (loss,) = next(file for file in report.files if path.endswith(file.file)).losses
    assert "Input/output error" in loss.reason
    assert len(expected) - 400 < len(contents(disk)) < len(expected)
