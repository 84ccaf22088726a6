"""Backups again: listed, verified, removed, and made into databases."""

from __future__ import annotations

from flin.engine.backup.backup import Backup, backup_of
from flin.engine.backup.catalogue import Catalogue
from flin.engine.backup.checkpoint import with_new_epoch
from flin.engine.backup.entry import Entry
from flin.engine.backup.file_copy import copy_file
from flin.engine.backup.new_directory import NewDirectory
from flin.engine.disk.fs import AnyPath, FileSystem, OsFileSystem, absolute, join
from flin.engine.disk.lock import lock_directory
from flin.engine.options import system_random_bytes, wall_clock_ms
from flin.errors import CorruptionError, FlinError, StorageError


def backups(path: AnyPath, *, fs: FileSystem | None = None) -> list[Backup]:
    """The backups in a directory of backups, oldest first.

    StorageError: it is none, or cannot be read. CorruptionError: an entry of its catalogue is damaged."""
    catalogue = Catalogue(fs or OsFileSystem(), absolute(path))
    return [backup_of(catalogue.path, entry) for entry in catalogue.entries()]


def verify_backup(path: AnyPath, number: int | None = None, *, fs: FileSystem | None = None) -> list[FlinError]:
    """Read a backup whole (None: all of them) and compare the checksums. Returns all problems; none if all is well.

    Example: `assert not flin.engine.verify_backup("backups")`"""
    catalogue = Catalogue(fs or OsFileSystem(), absolute(path))
    return catalogue.verify(catalogue.numbers() if number is None else [number])


def prune_backups(path: AnyPath, keep: int, *, fs: FileSystem | None = None) -> list[int]:
    """Remove all backups but the newest `keep`, and the files that only they had. Returns their numbers."""
    if type(keep) is not int or keep < 1:
        raise ValueError(f"keep must be a whole number above 0, not {keep!r}")
    fs = fs or OsFileSystem()
    catalogue = Catalogue(fs, absolute(path))
    catalogue.numbers()  # it is one
    lock = lock_directory(fs, catalogue.path, wall_clock_ms())
    try:
        return catalogue.prune(keep)
    except OSError as error:
        raise StorageError("remove backups in", catalogue.path, error) from error
    finally:
        lock.release()


def restore(backup: AnyPath, path: AnyPath, *, number: int | None = None, fs: FileSystem | None = None) -> Backup:
    """Make a database of a backup (None: of the newest) in a directory that is empty or absent; returns which one it
    was.

    Everything is compared with its checksum. CorruptionError, StorageError: nothing is left that can be opened.

    Example: `flin.engine.restore("backups", "data-of-yesterday", number=7)`"""
    fs = fs or OsFileSystem()
    catalogue = Catalogue(fs, absolute(backup))
    numbers = catalogue.numbers()
    if not numbers:
        raise StorageError("restore from", catalogue.path, "it holds no backup")
    entry = catalogue.entry(numbers[-1] if number is None else number)
    target = NewDirectory(fs, absolute(path))
    target.begin()
    try:
        _fill(fs, catalogue, entry, target)
    except BaseException as error:  # an interrupt, too
        target.abandon()
        if isinstance(error, OSError):
            raise StorageError("restore into", target.path, error) from error
        raise
    return backup_of(catalogue.path, entry)


def _fill(fs: FileSystem, catalogue: Catalogue, entry: Entry, target: NewDirectory) -> None:
    for name, size, checksum in entry.files:
        source = join(catalogue.files, name)
        if copy_file(fs, source, join(target.path, name), size)[1] != checksum:
            raise CorruptionError(source, 0, f"it is not as backup {entry.number} had it; another number may be whole")
    target.put_manifest(with_new_epoch(entry.manifest, system_random_bytes))
    target.end()
