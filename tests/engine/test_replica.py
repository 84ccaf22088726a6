"""Replicas: what their tables say of the log, what an open throws away, and who may open them."""

from __future__ import annotations

from typing import Any

import pytest

import flin.engine
from flin.engine.disk.file_name import REPLICA
from flin.engine.engine import Engine, store_of
from flin.engine.key import USER_END
from flin.engine.replica import make_standalone, open_replica
from flin.errors import EncryptionError, FencedError, LockedError, ReadOnlyError, StorageError
from flin.testing import CrashModel, Fault, ManualClock, SimulatedDisk, after_crash
from flin.testing.memory_log import INDEX, Entries, MemoryReplication, begin, lead, replication_of

PATH = "/replica"


def open_on(log: Entries, **options: Any) -> Engine:
    """One that has applied the log, and follows."""
    engine = open_replica(PATH, MemoryReplication(log), **{"runner": "inline", **options})
    begin(engine)
    return engine


def _users(engine: Engine) -> dict[bytes, bytes]:
    return dict(engine.scan(stop=USER_END))


def _leader(disk: SimulatedDisk, log: Entries, **options: Any) -> tuple[Engine, MemoryReplication]:
    engine = open_on(log, fs=disk, **options)
    lead(engine)
    return engine, replication_of(engine)


def test_the_log_has_what_is_answered() -> None:
    log: Entries = []
    disk = SimulatedDisk()
    engine, keeper = _leader(disk, log)
    engine.put(b"a", b"1")
    engine.put_many({b"b": b"2", b"c": b"3"})
    engine.delete_range(b"a", b"b")
    assert keeper.synced == store_of(engine).position == store_of(engine).synced_position
    assert disk.calls["sync_file"] + disk.calls["sync"] <= 4, "the manifest's alone"
    follower = open_on(log, fs=SimulatedDisk(), clock_ms=ManualClock())
    assert _users(follower) == {b"b": b"2", b"c": b"3"}
    for each in (engine, follower):
        assert each.verify() == []
        each.close()


def test_a_power_cut_takes_the_wal_and_the_log_gives_it_back() -> None:
    log: Entries = []
    disk = SimulatedDisk()
    engine, _ = _leader(disk, log, value_threshold=8)
    engine.put(b"in tables", b"x" * 40)
    engine.flush()
    engine.put(b"in the log", b"2")
    before = _users(engine)
    again = open_on(log, fs=after_crash(disk, CrashModel.PREFIXES, lambda _: 0), value_threshold=8)
    assert store_of(again).read(INDEX) == b"1", "the entry of the last words is not counted yet when they are told"
    assert _users(again) == before
    assert again.verify() == []
    again.close()
    engine.close()


def test_writes_that_the_log_refused_are_gone() -> None:
    log: Entries = []
    disk = SimulatedDisk()
    engine, replication = _leader(disk, log)
    engine.put(b"a", b"1")
    replication.is_fenced = True
    with pytest.raises(FencedError, match="another one leads"):
        engine.put(b"a", b"2")
    with pytest.raises(ReadOnlyError, match="append to the log"):
        engine.put(b"a", b"3")
    with pytest.raises(ReadOnlyError):
        engine.close()
    again = open_on(log, fs=disk)
    assert _users(again) == {b"a": b"1"}
    again.close()


def test_a_value_file_is_synced_before_the_manifest_names_it() -> None:
    log: Entries = []
    disk = SimulatedDisk()
    engine, _ = _leader(disk, log, value_threshold=8)
    for number in range(9):
        engine.put(b"%d" % number, b"v" * 600)
    engine.flush()
    (value_file,) = store_of(engine).manifest.version.value_files
    assert disk.files()[f"{PATH}/{value_file.file}"]
    log.clear()  # nothing but the files
    lost = after_crash(disk, CrashModel.PREFIXES, lambda _: 0)
    again = open_replica(PATH, MemoryReplication(log), fs=lost, runner="inline")
    assert _users(again) == {b"%d" % number: b"v" * 600 for number in range(9)}
    again.close()
    engine.close()


def test_a_value_file_that_cannot_be_synced_is_never_named() -> None:
    log: Entries = []
    disk = SimulatedDisk()
    engine, _ = _leader(disk, log, value_threshold=8)
    engine.put(b"a", b"v" * 600)
    disk.faults.append(Fault(1, operations=frozenset({"sync"})))  # after the table's
    with pytest.raises(StorageError):
        engine.flush()
    assert store_of(engine).read_only_reason is not None
    assert not store_of(engine).manifest.version.value_files
    with pytest.raises(ReadOnlyError):
        engine.close()


def test_a_marker_keeps_others_out() -> None:
    log: Entries = []
    disk = SimulatedDisk()
    engine, _ = _leader(disk, log)
    engine.put(b"a", b"1")
    with pytest.raises(LockedError):
        make_standalone(PATH, disk)
    engine.close(flush=False)
    for options in ({}, {"read_only": True}, {"create": False}):
        with pytest.raises(StorageError, match=f"flin standalone {PATH}"):
            flin.engine.open(PATH, fs=disk, **options)  # type: ignore[arg-type]
    make_standalone(PATH, disk)
    with flin.engine.open(PATH, fs=disk, runner="inline") as plain:
        assert _users(plain) == {b"a": b"1"}
    with pytest.raises(StorageError, match="a database of its own"):
        open_on(log, fs=disk)
    with pytest.raises(StorageError, match="it is no replica"):
        make_standalone(PATH, disk)


def test_the_marker_comes_first() -> None:
    disk = SimulatedDisk()
    disk.make_directory(PATH)
    disk.create(f"{PATH}/{REPLICA}").close()
    with pytest.raises(StorageError, match="flin standalone"):
        flin.engine.open(PATH, fs=disk)
    open_on([], fs=disk).close()


@pytest.mark.parametrize("option", [{"wal_retention": 1}, {"size_limit": "1mb"}, {"read_only": True}])
def test_options_that_it_cannot_have(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a replica takes neither"):
        open_replica(PATH, MemoryReplication([]), fs=SimulatedDisk(), **option)


def test_encryption_is_refused() -> None:
    with pytest.raises(EncryptionError, match="a replica cannot be encrypted"):
        open_replica(PATH, MemoryReplication([]), fs=SimulatedDisk(), encryption_key=bytes(32))


def test_a_follower_leaves_the_sweep_to_others() -> None:
    log: Entries = []
    clock = ManualClock()
    follower = open_on(log, fs=SimulatedDisk(), clock_ms=clock)
    leader, _ = _leader(SimulatedDisk(), log, clock_ms=clock)
    leader.put(b"a", b"1", ttl=1)
    clock.now_ms += 2000
    assert len(leader) == 0
    store_of(follower).commit({b"b": (b"2", clock.now_ms - 1, 0)})
    assert len(follower) == 1, "expired, and still there"
    follower.close()
    leader.close()
