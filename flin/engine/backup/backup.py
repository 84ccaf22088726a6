"""Making a backup: what the directory of backups lacks is copied into it, then an entry says what belongs together.

The files that earlier backups brought are not copied again. Each life of a database makes other names (its epoch), but
a directory that was copied by other means has two lives of the same epoch. So the ends of a file that is there are
compared with those of the database's own: segments begin with random bytes, a table ends with a checksum of all its
checksums.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from flin.engine.backup import sealed_manifest
from flin.engine.backup.catalogue import Catalogue
from flin.engine.backup.checkpoint import refuse_inside
from flin.engine.backup.entry import Entry, StoredFile
from flin.engine.backup.file_copy import Checksum, copy_file, write_file
from flin.engine.catalog import manifest as manifest_format
from flin.engine.disk.fs import FileSystem, join
from flin.engine.disk.lock import lock_directory
from flin.engine.disk.sealed_files import raw_of
from flin.engine.tree.capture import Capture
from flin.engine.tree.store import Store
from flin.errors import StorageError

COMPARED_BYTES: Final = 4096
"""Bytes of each end of a file that is there already, and of each table in it: the footer is there, and at least the
checksum of its properties."""


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup in a directory of backups."""

    path: str
    """The directory of backups."""
    number: int
    made_at_ms: int
    """Milliseconds since 1970."""
    sequence: int
    """The number of the last write in it; writes are numbered from 1 on."""
    files: int
    bytes: int
    """The size of all its files, also of those that other backups share."""
    reused_files: int
    """How many of its files were there already as it was made."""
    copied_bytes: int
    """What it added to the directory."""


def backup_of(path: str, entry: Entry) -> Backup:
    size = sum(file.size for file in entry.files)
    numbers = (entry.number, entry.made_at_ms, entry.sequence)
    return Backup(path, *numbers, len(entry.files), size, entry.reused_files, entry.copied_bytes)


def make_backup(store: Store, path: str, keep: int | None, *, verify: bool) -> Backup:
    """Back the store up. What fails leaves the backups that were there, and files that the next one removes."""
    if keep is not None and (type(keep) is not int or keep < 1):
        raise ValueError(f"keep must be a whole number above 0, or None, not {keep!r}")
    refuse_inside(store, path)
    fs = raw_of(store.options.fs)
    catalogue = Catalogue(fs, path)
    catalogue.create()
    lock = lock_directory(fs, path, store.now_ms())
    try:
        entry = _make(store, catalogue)
        if verify:
            for problem in catalogue.verify([entry.number]):
                raise problem
        if keep is not None:
            catalogue.prune(keep)
    except OSError as error:
        raise StorageError("back up into", path, error) from error
    finally:
        lock.release()
    return backup_of(path, entry)


def _make(store: Store, catalogue: Catalogue) -> Entry:
    before = catalogue.entries()
    known = {file.name: file for entry in before for file in entry.files}
    catalogue.remove_unnamed(before)
    with store.capture() as capture:
        if before and before[-1].database_id != capture.manifest.database_id:
            raise StorageError("back up into", catalogue.path, "it has backups of another database; name another one")
        copying = _Copying(store, catalogue, known)
        try:
            entry = copying.entry(capture, before[-1].number + 1 if before else 1)
            raw_of(store.options.fs).sync_directory(catalogue.files)
            store.check_open()
            catalogue.add(entry)
        except BaseException as error:  # an interrupt, too
            copying.undo()
            if isinstance(error, OSError):
                store.check_open()  # that is why, then
            raise
    return entry


class _Copying:
    """The files of one backup."""

    def __init__(self, store: Store, catalogue: Catalogue, known: dict[str, StoredFile]) -> None:
        self._store = store
        self._fs: FileSystem = raw_of(store.options.fs)
        self._catalogue = catalogue
        self._known = known
        self._made: set[str] = set()
        self._ends_of_tables: dict[str, list[int]] = {}

    def entry(self, capture: Capture, number: int) -> Entry:
        """Copy what is not there yet."""
        shards = capture.manifest.version.shards
        for table in (table for runs in shards for run in runs for table in run):
            self._ends_of_tables.setdefault(table.file, []).append(table.offset + table.length)
        stored = [self._stored(name, size) for name, size in capture.files.items()]
        reused = len(stored) - len(self._made)
        stored.append(self._last(capture))
        copied = sum(file.size for file in stored if file.name in self._made)
        files = tuple(sorted(stored))
        numbers = (number, self._store.now_ms(), capture.sequence, copied, reused)
        keys, manifest = capture.keys, capture.manifest
        data = manifest_format.encode(manifest) if keys is None else sealed_manifest.sealed(manifest, keys)
        return Entry(*numbers, manifest.database_id, data, capture.keys_file, files)

    def undo(self) -> None:
        """Remove what was copied. An entry may name it, if only the sync after its rename failed: then all of it
        stays."""
        with suppress(OSError):
            if all(file.name not in self._made for entry in self._catalogue.entries() for file in entry.files):
                for name in self._made:
                    self._fs.remove(join(self._catalogue.files, name))

    def _stored(self, name: str, size: int) -> StoredFile:
        old, new = join(self._store.directory, name), join(self._catalogue.files, name)
        there = self._known.get(name)
        if there is None or not self._fs.is_file(new):
            self._made.add(name)
            return StoredFile(name, *copy_file(self._fs, old, new, size, self._store.check_open))
        wanted = size or self._fs.file_size(old)
        ends = [wanted, *self._ends_of_tables.get(name, ())]
        if there.size != wanted or self._parts(old, ends) != self._parts(new, ends):
            raise self._another(name)
        return there

    def _last(self, capture: Capture) -> StoredFile:
        if capture.last_name in self._known:
            raise self._another(capture.last_name)
        data = capture.last_segment
        self._made.add(capture.last_name)
        write_file(self._fs, join(self._catalogue.files, capture.last_name), data)
        checksum = Checksum()
        checksum.update(data)
        return StoredFile(capture.last_name, len(data), checksum.digits())

    def _another(self, name: str) -> StorageError:
        reason = (
            f"its {name} is another file than the database's: it has backups of a copy that was made by other means"
        )
        return StorageError("back up into", self._catalogue.path, f"{reason}; name another directory")

    def _parts(self, path: str, ends: list[int]) -> list[bytes]:
        """A file's beginning, and what comes before each of these ends."""
        file = self._fs.open(path)
        try:
            sizes = [min(end, COMPARED_BYTES) for end in ends]
            parts = [file.pread(size, end - size) for size, end in zip(sizes, ends, strict=True)]
            return [file.pread(sizes[0], 0), *parts]
        finally:
            file.close()
