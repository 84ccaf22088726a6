"""Checkpoints and backups of encrypted databases: nothing in them can be read, and their key opens them."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

import flin.engine
from flin.errors import CorruptionError, EncryptionError, FlinError, WrongKeyError
from flin.testing import SimulatedDisk
from flin.testing.copies import MakeBackup, MakeCheckpoint, check_copies
from flin.testing.crash_checker import CrashChecker, crash_every_workload
from flin.testing.operation import Draw
from flin.testing.run import KEY, EngineSetup, WorkloadRun
from tests.engine.hunts import COPIED_WORKLOADS
from tests.engine.small_database import opened
from tests.figures import Figures

OTHER_KEY = bytes(32)
BACKUPS = "/backups"


def _filled(disk: SimulatedDisk) -> Any:
    db = opened(disk, value_threshold=1024, encryption_key=KEY)
    for number in range(20):
        db.put(b"secret table %d" % number, b"secret %d" % number * 10)
    db.flush()
    db.put_many((b"secret value %d" % number, b"secret large" * 1000) for number in range(4))
    db.flush()
    db.put(b"secret wal", b"secret")
    return db


def _opened(disk: SimulatedDisk, path: str, key: bytes | None = KEY) -> dict[bytes, bytes]:
    with flin.engine.open(path, fs=disk, runner="inline", create=False, encryption_key=key) as db:
        assert db.verify() == []
        assert db.stats()["wal"]["torn"] == ""
        return dict(db.scan())


def test_nothing_in_a_copy_can_be_read() -> None:
    disk = SimulatedDisk(window_bytes=4096)
    db = _filled(disk)
    expected = dict(db.scan())
    db.checkpoint("/checkpoint")
    db.backup(BACKUPS, verify=True)
    flin.engine.restore(BACKUPS, "/restored", encryption_key=KEY, fs=disk)
    for path, data in disk.files().items():
        assert b"secret" not in data, path
    for path in ("/checkpoint", "/restored"):
        assert _opened(disk, path) == expected
        with pytest.raises(EncryptionError):
            _opened(disk, path, None)
        with pytest.raises(WrongKeyError):
            _opened(disk, path, OTHER_KEY)
    db.close()


def test_a_restore_needs_the_key_and_a_check_none() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    db.backup(BACKUPS)
    db.close()
    assert flin.engine.verify_backup(BACKUPS, fs=disk) == []
    assert len(flin.engine.backups(BACKUPS, fs=disk)) == 1
    with pytest.raises(EncryptionError, match="give its key"):
        flin.engine.restore(BACKUPS, "/restored", fs=disk)
    with pytest.raises(WrongKeyError):
        flin.engine.restore(BACKUPS, "/restored", encryption_key=OTHER_KEY, fs=disk)
    assert "/restored" not in disk.directories, "nothing was begun"
    plain = flin.engine.open("/plain", fs=disk, runner="inline")
    plain.backup("/plain backups")
    with pytest.raises(EncryptionError, match="not encrypted"):
        flin.engine.restore("/plain backups", "/restored", encryption_key=KEY, fs=disk)
    plain.close()


def test_a_backup_is_opened_by_the_key_of_its_moment() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    expected = dict(db.scan())
    db.backup(BACKUPS)
    db.checkpoint("/before")
    db.rotate(OTHER_KEY)
    db.put(b"secret later", b"secret")
    later = dict(db.scan())
    assert db.backup(BACKUPS).reused_files > 0, "older files keep their data key"
    db.checkpoint("/after")
    db.compact()
    db.close()
    with opened(disk, encryption_key=OTHER_KEY):  # drops the old data key
        pass
    flin.engine.restore(BACKUPS, "/first", number=1, encryption_key=KEY, fs=disk)
    flin.engine.restore(BACKUPS, "/second", encryption_key=OTHER_KEY, fs=disk)
    assert _opened(disk, "/first") == _opened(disk, "/before") == expected
    assert _opened(disk, "/second", OTHER_KEY) == _opened(disk, "/after", OTHER_KEY) == later


def test_a_changed_manifest_or_key_file_of_an_entry_is_refused() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    db.backup(BACKUPS)
    db.close()
    path = f"{BACKUPS}/catalogue/00000001.json"
    data = disk.read(path)
    for at in range(0, len(data), 40):
        disk.write(path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            flin.engine.restore(BACKUPS, f"/restored-{at}", encryption_key=KEY, fs=disk)
        except FlinError as error:
            assert isinstance(error, CorruptionError)


def test_after_every_crash(figures: Figures) -> None:
    setup = EngineSetup("interval", encrypted=True)
    checker = CrashChecker(setup, limit=4, second_every=2, second_crashes=0)
    crash_every_workload(checker, COPIED_WORKLOADS[3:4])
    figures.checked(checker)
    assert checker.states > 20


@pytest.mark.slow
def test_random_workloads() -> None:
    """Copies among all that a program may do, crashes and another directory included, with a key."""
    made = 0
    for seed in range(150):
        random = Random(f"encrypted {seed}")
        run = WorkloadRun(EngineSetup("never", value_threshold=random.choice((0, 8)), encrypted=True), record=False)
        run.open()
        draw = Draw(random)
        for _ in range(12):
            kind = random.choice((MakeCheckpoint, MakeBackup))
            operation = kind.drawn(draw) if random.random() < 0.3 else draw.operation()
            operation.do(run)
        run.release_snapshots()
        check_copies(run.disk, run.copies, run.clock.now_ms)
        made += len(run.copies)
        run.abandon()
    assert made > 300
