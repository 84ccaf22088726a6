"""Checkpoints, backups, and what they share with the database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flin.engine.backup import backup, file_copy, restoring
from flin.engine.backup.catalogue import Catalogue
from flin.engine.backup.new_directory import NewDirectory
from flin.engine.disk.fs import append_all
from flin.engine.tree.store import Store
from flin.engine.tree.table_cache import TableCache
from flin.engine.wal.writer import WalWriter
from tests.engine.hunts import busy_copies, copied_workloads, damaged_backups, lives_of_copies
from tests.engine.mutants.mutant import Patch, caught_by


@caught_by(copied_workloads)
def copy_lacks_the_segment_under_way(patch: Patch) -> None:
    """a copy holds all that was committed before it"""

    def end_of_copy(self: Any) -> Any:
        file, self._file = self._file, None
        try:
            return original(self)
        finally:
            self._file = file

    original = WalWriter.end_of_copy
    patch.setattr(WalWriter, "end_of_copy", end_of_copy)


@caught_by(copied_workloads)
def copy_without_its_last_segment(patch: Patch) -> None:
    """a copy says where its WAL ends"""

    def end_of_copy(self: Any) -> Any:
        name, data = original(self)
        return name, data[:50]

    original = WalWriter.end_of_copy
    patch.setattr(WalWriter, "end_of_copy", end_of_copy)


@caught_by(copied_workloads)
def copy_of_what_is_not_synced(patch: Patch) -> None:
    """all of a copy is durable as the call returns"""

    def capture(self: Any) -> Any:
        patch.setattr(self, "_sync_or_refuse", lambda sync: None)
        return original(self)

    original = Store.capture
    patch.setattr(Store, "capture", capture)


@caught_by(busy_copies)
def captured_files_are_removed(patch: Patch) -> None:
    """files stay while they are copied"""
    patch.setattr(TableCache, "holds", lambda self, name: name in self._wanted or name in self._files)


@caught_by(copied_workloads)
def copy_is_whole_before_its_files(patch: Patch) -> None:
    """the manifest of a copy comes after the names of its files are durable"""

    def put_manifest(self: Any, *manifest: Any) -> None:
        sync, self._fs.sync_directory = self._fs.sync_directory, lambda path: None
        try:
            original(self, *manifest)
        finally:
            self._fs.sync_directory = sync

    original = NewDirectory.put_manifest
    patch.setattr(NewDirectory, "put_manifest", put_manifest)


@caught_by(lives_of_copies)
def restored_database_keeps_its_epoch(patch: Patch) -> None:
    """two lives of a database never make files of the same name"""
    patch.setattr(restoring, "with_new_epoch", lambda manifest, _: replace(manifest, epoch=manifest.epoch))
    patch.setattr(backup._Copying, "_parts", lambda *_: [])


@caught_by(copied_workloads)
def files_of_a_backup_are_not_synced(patch: Patch) -> None:
    """the catalogue names only what is durable"""

    def copy_file(fs: Any, old: Any, new: Any, size: Any, *_: Any) -> Any:
        data = b"".join(file_copy.read_file(fs, old, size, file_copy.nothing))
        file = fs.create(new)
        append_all(file, data)
        file.close()
        checksum = file_copy.Checksum()
        checksum.update(data)
        return len(data), checksum.digits()

    patch.setattr(backup, "copy_file", copy_file)


@caught_by(copied_workloads)
def names_of_a_backup_are_not_synced(patch: Patch) -> None:
    """the catalogue comes after the names of a backup's files are durable"""

    def make(store: Any, catalogue: Any) -> Any:
        fs = store.options.fs
        sync = fs.sync_directory
        fs.sync_directory = lambda path: None if path == catalogue.files else sync(path)
        try:
            return original(store, catalogue)
        finally:
            fs.sync_directory = sync

    original = backup._make
    patch.setattr(backup, "_make", make)


@caught_by(copied_workloads)
def files_are_pruned_before_their_entry(patch: Patch) -> None:
    """a file goes only when no entry names it any more, durably"""

    def prune(self: Any, keep: int) -> Any:
        numbers = self.numbers()
        self.remove_unnamed([self.entry(number) for number in numbers[-keep:]])
        return original(self, keep)

    original = Catalogue.prune
    patch.setattr(Catalogue, "prune", prune)


@caught_by(damaged_backups)
def restore_compares_no_checksums(patch: Patch) -> None:
    """a damaged backup is not restored"""

    def copy_file(*arguments: Any, like: str) -> Any:
        return original(*arguments)[0], Equal()

    class Equal:
        def __ne__(self, other: object) -> bool:
            return False

    original = file_copy.copy_file
    patch.setattr(restoring, "copy_file", copy_file)
