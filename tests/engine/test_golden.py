"""Databases that earlier commits wrote (tests/engine/golden): every one opens, reads right, and survives its upgrade.

The upgrade is whatever a database of an old format goes through when it is opened and written to: another manifest,
flushes and merges that turn old tables into new ones. A power cut at each of its steps must lose nothing.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final
from zlib import crc32

import pytest

import flin.engine
from flin.cli.check import check
from flin.engine.catalog import manifest as manifest_format
from flin.engine.disk.file_name import LOCK, MANIFEST
from flin.engine.disk.fs import join
from flin.engine.engine import Engine, store_of
from flin.engine.entry import TOMBSTONE, Live, is_alive
from flin.engine.key import KEYS_END, USER_END, is_counted, namespace_of, user_key
from flin.engine.options import Options
from flin.engine.repair.repair import Repair, RepairOptions
from flin.engine.table import footer as table_footer
from flin.engine.table.footer import FOOTER_SIZE
from flin.errors import FormatVersionError
from flin.testing import CrashModel, ManualClock, SimulatedDisk, after_crash
from flin.testing.crash_checker import CrashChecker
from flin.testing.model import Model, State
from flin.testing.operation import Batch, Delete, DeleteRange, Maintenance, Put, Reopen
from flin.testing.run import PATH, EngineSetup, Operation, Workload, WorkloadRun
from tests.engine.golden import NAMES, Golden, golden
from tests.figures import Figures

SMALL: Final = [name for name in NAMES if name != "collections"]


def setup_of(old: Golden) -> EngineSetup:
    return EngineSetup("always", old.shards, window_bytes=0)


def opened(old: Golden, disk: SimulatedDisk) -> Engine:
    return setup_of(old).open(disk, old.clock, "golden")


def everything(engine: Engine, now_ms: int, start: bytes = b"") -> dict[bytes, Live]:
    """All that is alive, by stored key."""
    store = store_of(engine)
    return {
        key: entry
        for keys, entries in store.pages(store.freeze(), start, KEYS_END)
        for key, entry in zip(keys, entries, strict=True)
        if entry is not TOMBSTONE and is_alive(entry, now_ms)
    }


def value_of(entry: Live) -> bytes:
    return entry[0] if isinstance(entry, tuple) else entry


def assert_holds(engine: Engine, old: Golden, entries: dict[bytes, Live]) -> None:
    """Check that scans, gets and counts in every namespace give these entries, and that verify() finds nothing."""
    assert everything(engine, old.now_ms) == entries
    users = {user_key(key): entry for key, entry in entries.items() if key < USER_END}
    strings = {key: value_of(entry) for key, entry in users.items() if not isinstance(entry, tuple) or not entry[2]}
    assert dict(engine.scan()) == strings
    assert list(engine.scan(reverse=True)) == sorted(strings.items(), reverse=True)
    assert {key: engine.get(key) for key in strings} == strings
    assert engine.get_many([*strings, b"absent"]) == [*strings.values(), None]
    assert len(engine) == len(users)
    counts = Counter(namespace_of(key) for key in entries if is_counted(key))
    for namespace in {*counts, 3}:
        assert store_of(engine).count(namespace) == counts[namespace]
    assert engine.verify() == []


def versions(disk: SimulatedDisk) -> tuple[int, set[int]]:
    """The format versions of the manifest and of the tables."""
    tables = [content for path, content in disk.files().items() if path.endswith(".sst")]
    of_tables = {struct.unpack_from("<I", table, len(table) - 16)[0] for table in tables}
    return struct.unpack_from("<I", disk.read(join(PATH, MANIFEST)), 8)[0], of_tables


def test_they_are_of_the_old_formats() -> None:
    """What the files are for: all versions of before, runs, live segments, both ways to end."""
    found = {name: versions(golden(name).disk) for name in NAMES}
    assert {manifest for manifest, _ in found.values()} == {1}
    assert set.union(*(tables for _, tables in found.values())) == {1, 2}
    assert sum(name.endswith(".wal") for name in golden("unclean").files) == 2
    assert not any(name.endswith(".wal") for name in golden("merged").files)
    manifest = manifest_format.read(golden("shards").disk, PATH)
    assert manifest is not None
    assert [len(runs) for runs in manifest.version.shards] == [1, 4, 4, 4]
    namespaces = {namespace_of(key) for key in golden("collections").entries}
    assert len([namespace for namespace in namespaces if namespace < 0x8000]) == 3


@pytest.mark.parametrize("name", NAMES)
def test_they_open_and_read_right(name: str) -> None:
    old = golden(name)
    disk = old.disk
    engine = opened(old, disk)
    assert_holds(engine, old, old.alive)
    engine.close(flush=False)
    with opened(old, disk) as engine:
        assert_holds(engine, old, old.alive)


@pytest.mark.parametrize("name", NAMES)
def test_they_are_checked_unchanged(name: str, tmp_path: Path) -> None:
    files = golden(name).files
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    problems, summary = check(str(tmp_path))
    assert not problems
    assert "all well" in summary
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "LOCK"} == files


@pytest.mark.parametrize("name", NAMES)
def test_they_are_repaired_whole(name: str) -> None:
    old = golden(name)
    disk = old.disk
    options = Options(fs=disk, clock_ms=old.clock)
    report = Repair(disk, PATH, RepairOptions(), options, "/data/new").run()
    assert report.lossless
    with flin.engine.open("/data/new", fs=disk, clock_ms=old.clock, runner="inline") as engine:
        assert_holds(engine, old, old.alive)


UPGRADE: Final[list[Operation]] = [
    Put(b"m003", b"newer"),
    Batch((Delete(b"m004"), Put(b"v001", b"n" * 2000), DeleteRange(b"m005", b"m007"))),
    Maintenance("flush"),
    Put(b"m008", b"p" * 40),
    Maintenance("compact"),
    Put(b"v002", b"q" * 1200),
    Reopen(flush=False),
    Delete(b"v002"),
    Reopen(),
]
"""Flushes above old tables, merges them, and opens again what is new."""


def upgraded(entries: dict[bytes, Live]) -> dict[bytes, Live]:
    """What must be there after UPGRADE."""
    after = {
        key: entry for key, entry in entries.items() if key not in (b"m004", b"v002") and not b"m005" <= key < b"m007"
    }
    return after | {b"m003": b"newer", b"v001": b"n" * 2000, b"m008": b"p" * 40}


def run_of(old: Golden, workload: Workload) -> WorkloadRun:
    """The workload on the golden database, and what its model says."""
    state: State = {
        user_key(key): entry[:2] if isinstance(entry, tuple) else (entry, 0)
        for key, entry in old.entries.items()
        if key < USER_END and not (isinstance(entry, tuple) and entry[2])
    }
    model = Model(state, old.now_ms)
    # Identities and salts follow from `opened`: other ones than those of the files.
    return WorkloadRun(setup_of(old), old.disk, clock=old.clock, model=model, opened=100).run(workload)


@pytest.mark.parametrize("name", NAMES)
def test_they_are_upgraded(name: str) -> None:
    old = golden(name)
    disk = old.disk
    engine = opened(old, disk)
    engine.put(b"m003", b"newer")
    with engine.write_batch() as batch:
        batch.delete(b"m004")
        batch.put(b"v001", b"n" * 2000)
        batch.delete_range(b"m005", b"m007")
    engine.flush()
    engine.put(b"m008", b"p" * 40)
    engine.delete(b"v002")
    assert_holds(engine, old, upgraded(old.alive))
    engine.compact()
    assert_holds(engine, old, upgraded(old.alive))
    engine.close()
    manifest, tables = versions(disk)
    assert manifest == manifest_format.FORMAT_VERSION
    assert tables == {table_footer.FORMAT_VERSION}
    with opened(old, disk) as engine:
        assert_holds(engine, old, upgraded(old.alive))


def crash_the_upgrade(name: str, figures: Figures, every: int, limit: int) -> int:
    old = golden(name)
    run = run_of(old, UPGRADE)
    checker = CrashChecker(setup_of(old), limit, second_every=8)
    for crash_point in run.crash_points[::every]:
        checker.check(crash_point, f"the upgrade of {name}")
    figures.checked(checker)
    return checker.states


@pytest.mark.parametrize("name", ["unclean", "shards"])
def test_a_power_cut_during_the_upgrade_loses_nothing(name: str, figures: Figures) -> None:
    assert crash_the_upgrade(name, figures, every=3, limit=1) > 40


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_power_cut_at_each_step_of_the_upgrade_loses_nothing(name: str, figures: Figures) -> None:
    assert crash_the_upgrade(name, figures, every=1, limit=6) > 200


def crash_collections(every: int) -> int:
    """Cut the power during an upgrade of collections, which the workload does not touch: all of their entries stay."""
    old = golden("collections")
    internal = {key: entry for key, entry in old.alive.items() if key >= USER_END}
    points = run_of(old, UPGRADE).crash_points[::every]
    for number, point in enumerate(points):
        crash_model = list(CrashModel)[number % len(CrashModel)]
        disk = after_crash(point.disk, crash_model, Random(number).randrange)
        with setup_of(old).open(disk, ManualClock(point.now_ms), ("after", number)) as engine:
            assert everything(engine, old.now_ms, USER_END) == internal, f"after {point.call}, {crash_model}"
            assert engine.verify() == []
    return len(points)


def test_collections_survive_a_power_cut_during_the_upgrade() -> None:
    assert crash_collections(every=12) > 4


@pytest.mark.slow
def test_collections_survive_a_power_cut_at_each_step_of_the_upgrade() -> None:
    assert crash_collections(every=1) > 40


def newer_manifest(disk: SimulatedDisk) -> str:
    path = join(PATH, MANIFEST)
    content = bytearray(disk.read(path))
    struct.pack_into("<I", content, 8, manifest_format.FORMAT_VERSION + 1)
    disk.write(path, bytes(content))
    return path


def newer_segment(disk: SimulatedDisk) -> str:
    path = min(path for path in disk.files() if path.endswith(".wal"))
    content = bytearray(disk.read(path))
    struct.pack_into("<I", content, 8, 9)
    disk.write(path, bytes(content))
    return path


def newer_table(disk: SimulatedDisk) -> str:
    path = min(path for path in disk.files() if path.endswith(".sst"))
    content = bytearray(disk.read(path))
    start = len(content) - FOOTER_SIZE
    struct.pack_into("<I", content, len(content) - 16, table_footer.FORMAT_VERSION + 1)
    struct.pack_into("<I", content, len(content) - 12, crc32(content[start : len(content) - 12]))
    disk.write(path, bytes(content))
    return path


@pytest.mark.parametrize("newer", [newer_manifest, newer_segment, newer_table])
@pytest.mark.parametrize("name", ["unclean", "collections"])
def test_newer_files_are_refused_and_left_alone(name: str, newer: Callable[[SimulatedDisk], str]) -> None:
    """What this Flin says of a file that a newer one wrote: which file, which version, and up to which it reads."""
    disk = golden(name).disk
    path = newer(disk)
    before = disk.files()
    with pytest.raises(FormatVersionError, match=r"(format|version) \d+; this Flin reads up to \d") as refused:
        list(opened(golden(name), disk).scan())
    assert refused.value.path == path
    # A newer table is read, and found to be newer, when it is first used: until then the rest goes its way.
    suffix = ".sst" if newer is newer_table else ""
    after = {each: content for each, content in disk.files().items() if each.endswith(suffix)}
    after.pop(join(PATH, LOCK), None)
    assert after == {each: content for each, content in before.items() if each.endswith(suffix)}
