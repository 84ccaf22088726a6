"""A checkpoint: a second database, as of one moment, made of second names of the first one's files.

That costs no room and hardly any time, since files are never changed: each of the two databases makes new ones and
removes names. What is appended to is not linked (the WAL's segment is ended first), nor what is written over (the lock
file and the manifest).

The copy's epoch is a random number above the database's. So the files that the two make from now on have different
names, and a backup can tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from flin.engine.backup.file_copy import link_or_copy, write_file
from flin.engine.backup.new_directory import NewDirectory
from flin.engine.catalog.manifest import Manifest
from flin.engine.disk.file_name import KEYS
from flin.engine.disk.fs import join
from flin.engine.disk.sealed_files import raw_of
from flin.engine.tree.opening import MAX_EPOCH
from flin.engine.tree.store import Store
from flin.errors import LimitError, StorageError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `Engine.checkpoint` has made."""

    path: str
    sequence: int
    """The number of the last write in it; writes are numbered from 1 on."""
    files: int
    """The database's files, without manifest and lock."""
    copied_bytes: int
    """Bytes that were copied: few, unless the directory is on another device."""


def make_checkpoint(store: Store, path: str) -> Checkpoint:
    """Make a checkpoint of the store. StorageError, ReadOnlyError or ClosedError leave nothing that can be opened."""
    refuse_inside(store, path)
    target = NewDirectory(raw_of(store.options.fs), path)
    target.begin()
    try:
        return _fill(store, target)
    except BaseException as error:  # an interrupt, too
        target.abandon()
        if isinstance(error, OSError):
            store.check_open()  # that is why, then
            raise StorageError("copy into", path, error) from error
        raise


def _fill(store: Store, target: NewDirectory) -> Checkpoint:
    """Files are sealed or plain as they are in the database; so this is done below what seals them."""
    fs = raw_of(store.options.fs)
    with store.capture() as capture:
        copied = 0
        for name, size in capture.files.items():
            store.check_open()
            old, new = join(store.directory, name), join(target.path, name)
            copied += link_or_copy(fs, old, new, size, store.check_open)
        for name, data in ((capture.last_name, capture.last_segment), (KEYS, capture.keys_file)):
            if data:
                write_file(fs, join(target.path, name), data)
                copied += len(data)
        target.put_manifest(with_new_epoch(capture.manifest, store.options.random_bytes), capture.keys)
        store.check_open()
        target.end()
    return Checkpoint(target.path, capture.sequence, len(capture.files) + 1, copied)


def with_new_epoch(manifest: Manifest, random_bytes: Callable[[int], bytes]) -> Manifest:
    """The manifest of a copy, whose epoch no other copy has."""
    epoch = manifest.epoch + 1 + int.from_bytes(random_bytes(4), "little")
    if epoch > MAX_EPOCH:
        raise LimitError("the epoch of a copy of a copy of so many", epoch, MAX_EPOCH)
    return replace(manifest, epoch=epoch)


def refuse_inside(store: Store, path: str) -> None:
    """StorageError for a place within the database."""
    if join(path, "").startswith(join(store.directory, "")):
        raise StorageError("copy into", path, f"it lies in the database's own directory, {store.directory}")
