"""Backups: incremental, whole or not there, verified, restored as of any of them."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

import flin.engine
from flin.engine.backup import entry as entry_format
from flin.engine.backup.catalogue import Catalogue
from flin.engine.disk.file_name import UNFINISHED_COPY
from flin.engine.engine import store_of
from flin.errors import ClosedError, CorruptionError, FlinError, FormatVersionError, LockedError, StorageError
from flin.testing import Fault, ManualClock, SimulatedDisk
from tests.engine.backup.moments import check_moment, written_meanwhile
from tests.engine.small_database import DB, opened

BACKUPS = "/backups"


def _filled(disk: SimulatedDisk) -> Any:
    db = opened(disk, value_threshold=1024)
    for number in range(20):
        db.put(b"table %d" % number, b"%d" % number * 100)
    db.flush()
    db.put_many((b"value %d" % number, b"large" * 1000) for number in range(4))
    db.flush()
    db.put(b"wal", b"1")
    return db


def _copy_by_other_means(disk: SimulatedDisk) -> None:
    disk.make_directory("/twin")
    for path, data in disk.files().items():
        if path.startswith(f"{DB}/"):
            disk.write(path.replace(DB, "/twin"), data)


def _restored(disk: SimulatedDisk, path: str, number: int | None = None) -> dict[bytes, bytes]:
    flin.engine.restore(BACKUPS, path, number=number, fs=disk)
    with flin.engine.open(path, fs=disk, runner="inline", create=False, clock_ms=ManualClock()) as db:
        assert db.verify() == []
        assert db.stats()["wal"]["torn"] == ""
        return dict(db.scan())


def test_each_can_be_restored() -> None:
    disk = SimulatedDisk(window_bytes=4096)
    db = _filled(disk)
    states, made = [], []
    for number in range(4):
        db.put(b"round", b"%d" % number)
        if number == 2:
            db.compact()
        made.append(db.backup(BACKUPS))
        states.append(dict(db.scan()))
    assert flin.engine.backups(BACKUPS, fs=disk) == made
    assert [each.number for each in made] == [1, 2, 3, 4]
    assert made[0].reused_files == 0
    assert made[0].copied_bytes == made[0].bytes
    assert made[1].reused_files == made[0].files - 1, "all but that which ends the WAL"
    assert made[1].copied_bytes < 1000 < made[1].bytes
    assert flin.engine.verify_backup(BACKUPS, fs=disk) == []
    for number, state in enumerate(states, 1):
        assert _restored(disk, f"/restored-{number}", number) == state
    assert _restored(disk, "/newest") == states[-1]
    db.close()


def test_a_restored_database_goes_on_and_is_backed_up_beside_the_old_one() -> None:
    """Two lives of one database share what was before they parted, and never a name of what came later."""
    disk = SimulatedDisk()
    db = _filled(disk)
    db.backup(BACKUPS)
    flin.engine.restore(BACKUPS, "/second", fs=disk)
    second = flin.engine.open("/second", fs=disk, runner="inline")
    for number, each in enumerate((db, second, db, second)):
        each.put(b"life", b"%d" % number)
        each.flush()
        assert each.backup(BACKUPS).reused_files > 0
    lives = [_restored(disk, f"/restored-{number}", number)[b"life"] for number in (2, 3, 4, 5)]
    assert lives == [b"0", b"1", b"2", b"3"]
    second.close()
    db.close()


def test_old_ones_are_pruned_with_their_files() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    for number in range(5):
        db.put(b"round", b"%d" % number)
        db.compact()
        db.backup(BACKUPS, keep=2, verify=True)
    left = flin.engine.backups(BACKUPS, fs=disk)
    assert [each.number for each in left] == [4, 5]
    named = {file.name for entry in Catalogue(disk, BACKUPS).entries() for file in entry.files}
    assert set(disk.names(f"{BACKUPS}/files")) == named
    assert _restored(disk, "/fourth", 4)[b"round"] == b"3"
    assert flin.engine.prune_backups(BACKUPS, 1, fs=disk) == [4]
    assert flin.engine.prune_backups(BACKUPS, 1, fs=disk) == []
    assert db.backup(BACKUPS).number == 6
    with pytest.raises(StorageError, match="no backup 4; there are: 5, 6"):
        flin.engine.restore(BACKUPS, "/gone", number=4, fs=disk)
    for keep in (0, -1, True, "1"):
        with pytest.raises(ValueError, match="keep"):
            db.backup(BACKUPS, keep=keep)
        with pytest.raises(ValueError, match="keep"):
            flin.engine.prune_backups(BACKUPS, keep, fs=disk)  # type: ignore[arg-type]
    db.close()


# Damage.


def test_verify_finds_every_flipped_byte() -> None:
    """In each file of a backup: one byte in its middle, one at its end, or the whole file."""
    disk = SimulatedDisk()
    db = _filled(disk)
    db.backup(BACKUPS)
    db.put(b"more", b"1")
    db.backup(BACKUPS)
    db.close()
    folder = f"{BACKUPS}/files"
    for name in disk.names(folder):
        path = f"{folder}/{name}"
        data = disk.read(path)
        for wrong in (data[:-1] + bytes([data[-1] ^ 1]), data[:9] + b"\x7f" + data[10:], data[:-1], data + b"\0", None):
            if wrong is None:
                disk.lose(path)
            elif wrong != data:
                disk.write(path, wrong)
            else:
                continue
            (problem,) = flin.engine.verify_backup(BACKUPS, fs=disk)
            assert isinstance(problem, CorruptionError)
            assert name in str(problem)
            disk.write(path, data)
    assert flin.engine.verify_backup(BACKUPS, fs=disk) == []


def test_a_restore_of_a_damaged_backup_leaves_nothing() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    db.backup(BACKUPS)
    db.close()
    for name in disk.names(f"{BACKUPS}/files"):
        disk.flip(f"{BACKUPS}/files/{name}", 8 * 20)
        with pytest.raises(CorruptionError, match=name):
            flin.engine.restore(BACKUPS, "/restored", fs=disk)
        assert disk.names("/restored") == []
        disk.flip(f"{BACKUPS}/files/{name}", 8 * 20)
    assert _restored(disk, "/restored")


def test_a_damaged_entry_is_said_and_stops_removals() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    db.backup(BACKUPS)
    db.put(b"x", b"1")
    db.backup(BACKUPS)
    files = disk.names(f"{BACKUPS}/files")
    path = f"{BACKUPS}/catalogue/00000001.json"
    data = disk.read(path)
    disk.write(path, data.replace(b'"sequence"', b'"Sequence"'))
    with pytest.raises(CorruptionError, match=r"00000001\.json"):
        flin.engine.backups(BACKUPS, fs=disk)
    assert [type(error) for error in flin.engine.verify_backup(BACKUPS, fs=disk)] == [CorruptionError]
    with pytest.raises(CorruptionError, match=r"00000001\.json"):
        db.backup(BACKUPS)
    assert disk.names(f"{BACKUPS}/files") == files, "nobody knows which of them it names"
    assert _restored(disk, "/second", 2)[b"x"] == b"1"
    disk.lose(path)
    assert db.backup(BACKUPS).number == 3
    disk.write(path, data.replace(b'"flin_backup": 2', b'"flin_backup": 3'))
    with pytest.raises(FormatVersionError, match="newer Flin"):
        flin.engine.backups(BACKUPS, fs=disk)
    db.close()


def test_a_file_of_a_backup_that_is_lost_is_copied_again() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    db.backup(BACKUPS)
    name = next(name for name in disk.names(f"{BACKUPS}/files") if name.endswith(".sst"))
    disk.lose(f"{BACKUPS}/files/{name}")
    db.backup(BACKUPS)
    assert flin.engine.verify_backup(BACKUPS, fs=disk) == []
    db.close()


# Other directories.


def test_directories_that_are_refused() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    other = flin.engine.open("/other", fs=disk, runner="inline")
    other.put(b"a", b"1")
    other.backup("/its")
    disk.make_directory("/elsewhere")
    disk.write("/elsewhere/data.mdb", b"")
    for path, text in (
        (DB, "own directory"),
        (f"{DB}/backups", "own directory"),
        ("/other", "MANIFEST of a database"),
        ("/elsewhere", "LMDB"),
        ("/its", "another database"),
    ):
        with pytest.raises(StorageError, match=text):
            db.backup(path)
    for path in ("/absent", DB):
        for call in (flin.engine.backups, flin.engine.verify_backup):
            with pytest.raises(StorageError, match="no backups"):
                call(path, fs=disk)
    with pytest.raises(StorageError, match="no backups"):
        flin.engine.restore("/absent", "/restored", fs=disk)
    with pytest.raises(StorageError, match="no backups"):
        flin.engine.prune_backups("/absent", 1, fs=disk)
    Catalogue(disk, "/nothing").create()
    with pytest.raises(StorageError, match="holds no backup"):
        flin.engine.restore("/nothing", "/restored", fs=disk)
    db.backup(BACKUPS)
    with pytest.raises(StorageError, match="is in it"):
        flin.engine.restore(BACKUPS, DB, fs=disk)
    other.close()
    db.close()


def test_a_directory_that_was_copied_by_other_means_is_another_database() -> None:
    """Both go on in the same epoch, with the same names for other files."""
    disk = SimulatedDisk()
    db = _filled(disk)
    db.close()
    _copy_by_other_means(disk)
    first, twin = opened(disk), flin.engine.open("/twin", fs=disk, runner="inline")
    for db, value in ((first, b"1"), (twin, b"2")):
        db.put(b"life", value)
        db.flush()
    first.backup(BACKUPS)
    with pytest.raises(StorageError, match="is another file than the database's"):
        twin.backup(BACKUPS)
    assert [each.number for each in flin.engine.backups(BACKUPS, fs=disk)] == [1]
    assert flin.engine.verify_backup(BACKUPS, fs=disk) == []
    first.close()
    twin.close()


def test_twins_whose_tables_differ_only_in_the_middle_are_told_apart() -> None:
    """Same keys, sequences and sizes, and blocks that end with their own CRC-32: so the files' is the same, too."""
    disk = SimulatedDisk()
    opened(disk).close()
    _copy_by_other_means(disk)
    first = opened(disk, compression="none")
    twin = flin.engine.open("/twin", fs=disk, runner="inline", compression="none")
    for db, middle in ((first, b"1"), (twin, b"2")):
        db.put_many((b"%04d" % number, (middle if number == 500 else b"0") * 100) for number in range(1000))
        db.flush()
    (name,) = (name for name in disk.names(DB) if name.endswith(".sst"))
    one, other = (disk.read(f"{path}/{name}") for path in (DB, "/twin"))
    assert crc32(one[:-500]) == crc32(other[:-500])
    assert one[:4096] == other[:4096]
    first.backup(BACKUPS)
    with pytest.raises(StorageError, match=r"\.sst is another file than the database's"):
        twin.backup(BACKUPS)
    disk.write(f"{BACKUPS}/files/{name}", other)
    assert [error.path for error in flin.engine.verify_backup(BACKUPS, fs=disk)] == [f"{BACKUPS}/files/{name}"]  # type: ignore[attr-defined]
    with pytest.raises(CorruptionError, match="not as backup 1 had it"):
        flin.engine.restore(BACKUPS, "/restored", fs=disk)
    first.close()
    twin.close()


def test_each_table_of_a_file_is_compared() -> None:
    """A flush writes the tables of all shards one after the other into a file."""
    disk = SimulatedDisk()
    opened(disk, shards=4).close()
    _copy_by_other_means(disk)
    options: Any = {"compression": "none", "shards": 4}
    first, twin = opened(disk, **options), flin.engine.open("/twin", fs=disk, runner="inline", **options)
    for db, middle in ((first, b"1"), (twin, b"2")):
        db.put_many((b"%04d" % number, (middle if number == 501 else b"0") * 100) for number in range(1000))
        db.flush()
        tables = [table for (run,) in store_of(db).manifest.version.shards for table in run]
        assert len({table.file for table in tables}) == 1
        assert tables[0].smallest[-4:] == b"0001", "the other value is not in the last table"
    first.backup(BACKUPS)
    with pytest.raises(StorageError, match=r"\.sst is another file than the database's"):
        twin.backup(BACKUPS)
    first.close()
    twin.close()


def test_backups_of_the_first_format_go_on() -> None:
    """It had the CRC-32 of files. Those are kept with theirs, and compared."""
    disk = SimulatedDisk()
    db = _filled(disk)
    db.backup(BACKUPS)
    content = _make_first_format(disk)
    assert flin.engine.verify_backup(BACKUPS, fs=disk) == []
    before = _restored(disk, "/before")
    db.put(b"more", b"1")
    db.flush()
    assert db.backup(BACKUPS, verify=True).reused_files == 3
    assert {len(file.checksum) for file in Catalogue(disk, BACKUPS).entry(2).files} == {8, 32}
    assert _restored(disk, "/first", 1) == before
    assert _restored(disk, "/second") == {**before, b"more": b"1"}
    name = content["entry"]["files"][0][0]
    data = bytearray(disk.read(f"{BACKUPS}/files/{name}"))
    data[50] ^= 1
    disk.write(f"{BACKUPS}/files/{name}", bytes(data))
    (problem,) = flin.engine.verify_backup(BACKUPS, fs=disk)
    assert "its checksum is" in str(problem)
    for number in (1, 2):
        with pytest.raises(CorruptionError, match=f"not as backup {number} had it"):
            flin.engine.restore(BACKUPS, "/damaged", number=number, fs=disk)
    db.close()


def test_a_file_is_compared_with_each_checksum_that_backups_have_of_it() -> None:
    """One of the first format that was lost, and copied again: the older backup has a short checksum of it, which other
    bytes may have, too; the newer one a long one."""
    disk = SimulatedDisk()
    db = _filled(disk)
    db.backup(BACKUPS)
    _make_first_format(disk)
    path = next(f"{BACKUPS}/files/{name}" for name in disk.names(f"{BACKUPS}/files") if name.endswith(".sst"))
    disk.lose(path)
    db.backup(BACKUPS)
    db.close()
    disk.write(path, _of_the_same_crc(disk.read(path)))
    assert flin.engine.verify_backup(BACKUPS, 1, fs=disk) == []
    for number in (None, 2):
        (problem,) = flin.engine.verify_backup(BACKUPS, number, fs=disk)
        assert isinstance(problem, CorruptionError)
        assert "its checksum is" in str(problem)
    with pytest.raises(CorruptionError, match="not as backup 2 had it"):
        flin.engine.restore(BACKUPS, "/damaged", number=2, fs=disk)


def _make_first_format(disk: SimulatedDisk) -> Any:
    """Make the first backup one of the first format."""
    path = f"{BACKUPS}/catalogue/00000001.json"
    content = json.loads(disk.read(path))
    content["flin_backup"] = 1
    for row in content["entry"]["files"]:
        row[2] = f"{crc32(disk.read(f'{BACKUPS}/files/{row[0]}')):08x}"
    content["crc32"] = entry_format._checksum(content["entry"])
    disk.write(path, json.dumps(content).encode())
    return content


def _of_the_same_crc(data: bytes) -> bytes:
    """Other bytes of the same size and CRC-32: the polynomial itself is added somewhere."""
    polynomial = 0x1DB710641  # reflected, so its bits stand as the bits of a file do
    number = int.from_bytes(data, "little") ^ polynomial << 8 * (len(data) // 2)
    other = number.to_bytes(len(data), "little")
    assert crc32(other) == crc32(data)
    return other


# Failures.


def test_every_call_that_fails_leaves_the_older_ones_whole() -> None:
    tried = 0
    for code in (errno.ENOSPC, errno.EIO):
        for after in range(200):
            disk = SimulatedDisk()
            db = _filled(disk)
            db.backup(BACKUPS)
            db.put(b"more", b"x" * 2000)
            expected = dict(db.scan())
            db.sync()
            fault = Fault(after, code, frozenset({"create", "append", "sync_directory", "rename", "remove", "names"}))
            disk.faults.append(fault)
            try:
                db.backup(BACKUPS, keep=1)
            except StorageError:
                assert fault.fired
            else:
                assert not fault.fired
                disk.faults.clear()
                db.close()
                break
            disk.faults.clear()
            assert dict(db.scan()) == expected
            assert flin.engine.backups(BACKUPS, fs=disk)
            assert flin.engine.verify_backup(BACKUPS, fs=disk) == []
            made = db.backup(BACKUPS, keep=1)
            assert _restored(disk, "/restored", made.number) == expected
            entries = Catalogue(disk, BACKUPS).entries()
            named = {file.name for entry in entries for file in entry.files}
            assert set(disk.names(f"{BACKUPS}/files")) == named, "what the failed one left is gone"
            db.close()
            tried += 1
        else:
            pytest.fail("it never succeeded")
    assert tried > 20


def test_every_call_that_fails_in_a_restore_leaves_nothing_that_opens() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    db.backup(BACKUPS)
    db.close()
    for after in range(100):
        path = f"/restored-{after}"
        fault = Fault(
            after, errno.ENOSPC, frozenset({"create", "append", "sync_directory", "rename", "make_directory"})
        )
        disk.faults.append(fault)
        try:
            flin.engine.restore(BACKUPS, path, fs=disk)
        except StorageError:
            assert fault.fired
            assert path not in disk.directories or set(disk.names(path)) <= {UNFINISHED_COPY}
        else:
            assert not fault.fired
            return
        disk.faults.clear()
    pytest.fail("it never succeeded")


def test_a_close_ends_it() -> None:
    disk = SimulatedDisk()
    db = _filled(disk)
    db.backup(BACKUPS)
    db.put(b"more", b"1")

    def close(operation: str) -> None:
        if operation == "create":
            disk.on_change = None
            db.close()

    disk.on_change = close
    with pytest.raises(ClosedError):
        db.backup(BACKUPS)
    assert [each.number for each in flin.engine.backups(BACKUPS, fs=disk)] == [1]
    assert flin.engine.verify_backup(BACKUPS, fs=disk) == []
    with opened(disk) as db:
        assert db.backup(BACKUPS).number == 2


def test_two_at_once() -> None:
    """The second one into the same directory is told so; into another it is made."""
    disk = SimulatedDisk()
    db = _filled(disk)
    refused: list[FlinError] = []

    def another(operation: str) -> None:
        if operation == "create":
            disk.on_change = None
            try:
                db.backup(BACKUPS)
            except FlinError as error:
                refused.append(error)
            with pytest.raises(LockedError):
                flin.engine.prune_backups(BACKUPS, 1, fs=disk)
            assert db.backup("/others").number == 1

    disk.on_change = another
    assert db.backup(BACKUPS).number == 1
    (error,) = refused
    assert isinstance(error, LockedError)
    assert not store_of(db).tables.is_pinned
    db.close()


def test_under_load_on_the_real_disk(tmp_path: Path, open_engine: Callable[..., Any]) -> None:
    """Each backup is of one moment between its call and its return, whatever is written, flushed and merged."""
    db = open_engine("db", memory_limit="1mb", value_threshold=1024)
    made = []
    with written_meanwhile(db) as written:
        for _ in range(5):
            least = written()
            made.append((db.backup(tmp_path / "backups", keep=4), least, written()))
            db.flush()
    assert flin.engine.verify_backup(tmp_path / "backups") == []
    for backup, least, most in made[1:]:
        path = tmp_path / f"restored{backup.number}"
        assert flin.engine.restore(tmp_path / "backups", path, number=backup.number) == backup
        check_moment(path, backup.sequence, least, most)
