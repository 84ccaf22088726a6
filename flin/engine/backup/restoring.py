"""Backups again: listed, verified, removed, and made into databases."""

from __future__ import annotations

from flin.engine.backup import sealed_manifest
from flin.engine.backup.backup import Backup, backup_of
from flin.engine.backup.catalogue import Catalogue
from flin.engine.backup.checkpoint import with_new_epoch
from flin.engine.backup.entry import Entry, check_manifest
from flin.engine.backup.file_copy import copy_file, write_file
from flin.engine.backup.new_directory import NewDirectory
from flin.engine.catalog import manifest as manifest_format
from flin.engine.disk import data_keys
from flin.engine.disk.data_keys import DataKeys, EncryptionKey, key_of
from flin.engine.disk.file_name import KEYS
from flin.engine.disk.fs import AnyPath, FileSystem, OsFileSystem, absolute, join
from flin.engine.disk.lock import lock_directory
from flin.engine.options import system_random_bytes, wall_clock_ms
from flin.errors import CorruptionError, EncryptionError, FlinError, StorageError


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


def restore(
    backup: AnyPath,
    path: AnyPath,
    *,
    number: int | None = None,
    encryption_key: EncryptionKey | None = None,
    fs: FileSystem | None = None,
) -> Backup:
    """Make a database of a backup (None: of the newest) in a directory that is empty or absent; returns which one it
    was.

    Everything is compared with its checksum. CorruptionError, StorageError: nothing is left that can be opened. Of an
    encrypted database it needs the key that was right when the backup was made: EncryptionError, WrongKeyError.

    Example: `flin.engine.restore("backups", "data-of-yesterday", number=7)`"""
    fs = fs or OsFileSystem()
    catalogue = Catalogue(fs, absolute(backup))
    numbers = catalogue.numbers()
    if not numbers:
        raise StorageError("restore from", catalogue.path, "it holds no backup")
    entry = catalogue.entry(numbers[-1] if number is None else number)
    manifest, keys = _unlocked(entry, catalogue.entry_path(entry.number), encryption_key)
    target = NewDirectory(fs, absolute(path))
    target.begin()
    try:
        _fill(fs, catalogue, entry, target)
        target.put_manifest(with_new_epoch(manifest, system_random_bytes), keys)
        target.end()
    except BaseException as error:  # an interrupt, too
        target.abandon()
        if isinstance(error, OSError):
            raise StorageError("restore into", target.path, error) from error
        raise
    return backup_of(catalogue.path, entry)


def _unlocked(
    entry: Entry, path: str, encryption_key: EncryptionKey | None
) -> tuple[manifest_format.Manifest, DataKeys | None]:
    """The backup's manifest, and its keys if it is encrypted."""
    if not entry.keys:
        if encryption_key is not None:
            raise EncryptionError(f"backup {entry.number} is not encrypted: restore it without a key")
        return manifest_format.decode(entry.manifest, path), None
    if encryption_key is None:
        raise EncryptionError(
            f"backup {entry.number} is encrypted: give its key (encryption_key, --encryption-key-file)"
        )
    keys = data_keys.decode(entry.keys, key_of(encryption_key), path)
    manifest = sealed_manifest.opened(entry.manifest, keys, path)
    try:
        check_manifest(entry, manifest)
    except ValueError as error:
        raise CorruptionError(path, 0, str(error)) from error
    return manifest, keys


def _fill(fs: FileSystem, catalogue: Catalogue, entry: Entry, target: NewDirectory) -> None:
    for name, size, checksum in entry.files:
        source = join(catalogue.files, name)
        if copy_file(fs, source, join(target.path, name), size, like=checksum)[1] != checksum:
            raise CorruptionError(source, 0, f"it is not as backup {entry.number} had it; another number may be whole")
    if entry.keys:
        write_file(fs, join(target.path, KEYS), entry.keys)
