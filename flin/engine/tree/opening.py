"""Opening a database: from a directory to everything the store needs. Nothing is changed before all is read.

The order: refuse a directory of another program, lock it, read the manifest (or create the database), replay the WAL,
check that tables and value files are there; then, durably, raise the epoch; then sync the accepted segments
and remove files that nothing names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from errno import ENOSPC
from typing import Final

from flin.engine.catalog import manifest as manifest_format
from flin.engine.catalog.manifest import BODY_OFFSET, Manifest, ManifestWriter
from flin.engine.catalog.recovery import Recovery, recover, without_wal
from flin.engine.catalog.version import Version
from flin.engine.disk.data_keys import key_of
from flin.engine.disk.file_name import (
    GROUPS,
    KEYS,
    LOCK,
    MANIFEST,
    NEW_KEYS,
    REPLICA,
    UNFINISHED,
    UNFINISHED_COPY,
    is_group_name,
    maybe_parse,
    temporary_name,
    wal_name,
)
from flin.engine.disk.fs import FileSystem, append_all, join
from flin.engine.disk.lock import HeldLock, is_lock_text, lock_directory
from flin.engine.disk.sealed_files import SealedFileSystem, raw_of, unlock
from flin.engine.options import Options
from flin.engine.tree.foreign import maybe_foreign
from flin.engine.tree.table_cache import missing_bytes
from flin.engine.tree.used_keys import forget_unused
from flin.engine.wal.retention import ChainedSegment, kept_segments
from flin.errors import CorruptionError, NoDatabaseError, StorageError

COPY_BYTES: Final = 1 << 20
"""Bytes copied at once: many enough for the disk, and few compared with the memory limit."""

LOCK_BYTES: Final = 1 << 16
"""More than any holder writes into its lock file."""


@dataclass(frozen=True, slots=True)
class Opened:
    directory: str
    lock: HeldLock
    manifest: Manifest
    manifest_writer: ManifestWriter
    recovery: Recovery


def open_directory(directory: str, options: Options) -> Opened:
    """Open it. LockedError, CorruptionError, FormatVersionError, StorageError; ValueError for options that do not
    fit it."""
    fs = options.fs
    is_replica = options.replication is not None
    find_directory(fs, directory, create=options.create, is_replica=is_replica)
    lock = lock_directory(fs, directory, options.clock_ms())
    try:
        return _open_locked(directory, options, lock)
    except OSError as error:
        lock.release()
        raise StorageError("open", directory, error) from error
    except BaseException:
        lock.release()
        raise


def find_directory(fs: FileSystem, directory: str, *, create: bool, is_replica: bool = False) -> None:
    """Check that the directory is there, and may be a database's (`is_replica`: a replica's); with `create` it is made.
    NoDatabaseError, StorageError, CorruptionError."""
    try:
        if create:
            fs.make_directory(directory)
        _refuse_other_kind(fs, directory, is_replica)
        _refuse_foreign(fs, directory, create)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError("open", directory, "it is no directory, or below a file") from error
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not create:
            raise NoDatabaseError("open", directory, "there is no such directory, and create is off") from error
        raise StorageError("create" if create else "open", directory, error) from error


def _refuse_other_kind(fs: FileSystem, directory: str, is_replica: bool) -> None:
    """StorageError for a replica that would be opened as a plain database, or the other way round: the first may hold
    writes that were never made, the second would lose what is in its write-ahead log alone."""
    names = fs.names(directory)
    if REPLICA in names and not is_replica:
        text = "it is a replica, of a cluster's group: its node opens it. After a disaster `flin standalone"
        raise StorageError("open", directory, f"{text} {directory}` makes a database of it")
    if is_replica and REPLICA not in names and any(maybe_parse(name) is not None or name == MANIFEST for name in names):
        raise StorageError("open as a replica", directory, "it holds a database of its own: import that")


def _refuse_foreign(fs: FileSystem, directory: str, create: bool) -> None:
    """Called before the lock file is made or written over: CorruptionError for a MANIFEST that is none; StorageError if
    there is no database, and none may be created or another program's is in the way."""
    names = fs.names(directory)
    if MANIFEST in names and manifest_format.is_manifest(fs, directory):
        return
    if UNFINISHED in names:
        raise StorageError(
            "open", directory, "`flin resize` or `flin import` has not finished it: remove it and begin again"
        )
    if UNFINISHED_COPY in names:
        raise StorageError("open", directory, "a copy into it was interrupted: remove it and copy again")
    if KEYS in names:
        return  # an encrypted database whose creation was interrupted
    if any(parsed.role != "temporary" for name in names if (parsed := maybe_parse(name)) is not None):
        return  # a database with a damaged manifest, or without one: reported once it is locked
    groups = [name for name in names if is_group_name(name)]
    if groups or GROUPS in names:  # also if that file is lost: no new database may hide them
        raise StorageError("open", directory, f"it holds several databases, open one of them: {', '.join(groups)}")
    found = maybe_foreign(names)
    if found is not None:
        raise StorageError("open", directory, f"it holds {found}")
    if MANIFEST in names:
        raise CorruptionError(join(directory, MANIFEST), 0, "not a manifest")
    if not create:
        raise NoDatabaseError("open", directory, "it holds no database, and create is off")
    path = join(directory, LOCK)
    if LOCK in names and fs.is_file(path) and not is_lock_text(_read(fs, path, LOCK_BYTES)):
        raise StorageError("open", directory, f"its {LOCK} is another program's")


def _read(fs: FileSystem, path: str, size: int) -> bytes:
    file = fs.open(path)
    try:
        return file.pread(size, 0)
    finally:
        file.close()


def sealed_if_asked(options: Options) -> Options:
    """The options with a file system of their own that seals, if there is a key: it holds the keys of one directory."""
    if options.encryption_key is None:
        return options
    return replace(options, fs=SealedFileSystem(raw_of(options.fs), random_bytes=options.random_bytes))


def _open_locked(directory: str, options: Options, lock: HeldLock) -> Opened:
    fs = options.fs
    key = None if options.encryption_key is None else key_of(options.encryption_key)
    if options.replication is not None:
        _mark_replica(fs, directory)
    unlock(fs, directory, key, options.random_bytes, create=options.create)
    manifest = manifest_format.read(fs, directory) or _new_manifest(directory, options)
    check_shards(directory, manifest, options)
    check_manifest(fs, directory, manifest)
    if options.replication is None:
        recovery = recover(fs, directory, manifest, options.budget.generation)
    else:
        recovery = without_wal(fs, directory, manifest)
        manifest = replace(manifest, wal_floor=recovery.next_number)
    missing_bytes(fs, directory, manifest.version)
    writer = ManifestWriter(fs, directory)
    manifest = replace(manifest, epoch=manifest.epoch + 1)
    _check_place(fs, directory, temporary_name(manifest.epoch))
    writer.write(manifest)
    writer.confirm()
    # A copy that an earlier open left unfinished must be durably gone before its original goes: of two segments with
    # the same number the older file counts.
    named = _link_to_kept(options, directory, manifest, recovery)
    if _remove_unnamed(fs, directory, _named(manifest, recovery) | named):
        fs.sync_directory(directory)
    _make_durable(fs, directory, manifest, recovery)
    _remove_unnamed(fs, directory, _named(manifest, recovery) | named)
    if key is not None and NEW_KEYS in fs.names(directory):
        fs.remove(join(directory, NEW_KEYS))
    fs.sync_directory(directory)
    if key is not None and isinstance(fs, SealedFileSystem):
        forget_unused(fs, directory, key, options.random_bytes)
    return Opened(directory, lock, manifest, writer, recovery)


def _mark_replica(fs: FileSystem, directory: str) -> None:
    """Mark it, durably, before anything of a database is in it. The file's name says all."""
    if REPLICA not in fs.names(directory):
        fs.create(join(directory, REPLICA)).close()
    fs.sync_directory(directory)


def _link_to_kept(options: Options, directory: str, manifest: Manifest, recovery: Recovery) -> set[str]:
    """The names of the segments that are kept. If there are no others, the next one will follow the newest of them."""
    found = kept(options.fs, directory, manifest, options.wal_retention_bytes)
    if found and not recovery.last_segment:
        header = found[0].header
        recovery.last_segment, recovery.last_end = header.number, manifest.wal_position - header.base
    return {each.name for each in found}


def kept(fs: FileSystem, directory: str, manifest: Manifest, size: int) -> list[ChainedSegment]:
    """The segments below the floor that hold the last `size` bytes before it, newest first."""
    return kept_segments(fs, directory, manifest.database_id, manifest.wal_floor, manifest.wal_position, size)


def _new_manifest(directory: str, options: Options) -> Manifest:
    """The first manifest of a database. Refused if there are files of a database without one."""
    fs = options.fs
    for name in fs.names(directory):
        parsed = maybe_parse(name)
        if parsed is not None and parsed.role != "temporary":
            raise CorruptionError(join(directory, MANIFEST), 0, f"missing, but {name} is there")
    shards = options.shards or 1
    return Manifest(
        database_id=options.random_bytes(16),
        epoch=0,
        shards=shards,
        next_job=1,
        wal_floor=1,
        wal_position=0,
        next_sequence=1,
        clock_ms=0,
        version=Version(((),) * shards),
    )


MAX_NUMBER: Final = (1 << 63) - 1
MAX_EPOCH: Final = (1 << 42) - 1
"""Segments of an epoch are numbered from epoch << 20 on, and a file's number has 63 bits. No database gets there."""


def check_shards(directory: str, manifest: Manifest, options: Options) -> None:
    """ValueError if the options name another number of shards."""
    if options.shards is not None and options.shards != manifest.shards:
        raise ValueError(
            f"{directory} has {manifest.shards} shards, which is fixed; it was opened with {options.shards}"
        )


def check_manifest(fs: FileSystem, directory: str, manifest: Manifest) -> None:
    """CorruptionError unless it can be this directory's. With numbers that Flin never reaches the engine would get ones
    that no file can hold. And an epoch is durable before anything is written in it: a file of a later one proves a
    later manifest, so this one is an old copy or another database's, and files that it does not name must stay."""
    path = join(directory, MANIFEST)
    numbers = (manifest.next_job, manifest.wal_floor, manifest.wal_position, manifest.next_sequence, manifest.clock_ms)
    counts = manifest.version.counts.values()
    if manifest.epoch > MAX_EPOCH or max(*numbers, sum(counts)) > MAX_NUMBER or min(counts, default=0) < 0:
        raise CorruptionError(path, BODY_OFFSET, "the manifest has impossible numbers")
    for name in fs.names(directory):
        parsed = maybe_parse(name)
        if parsed is not None and parsed.role != "temporary" and parsed.epoch > manifest.epoch:
            reason = (
                f"it is of epoch {manifest.epoch}, and {name} of a later one: an old manifest, or another database's"
            )
            raise CorruptionError(path, BODY_OFFSET, reason)


def _check_place(fs: FileSystem, directory: str, name: str) -> None:
    """Check that a file in the place of a new one is a leftover of Flin's, which may go."""
    path = join(directory, name)
    if name in fs.names(directory) and not fs.is_file(path):
        raise CorruptionError(path, 0, "not a regular file")


def _make_durable(fs: FileSystem, directory: str, manifest: Manifest, recovery: Recovery) -> None:
    """Sync every accepted segment before anything new is promised that depends on it.

    A segment that is not known to be synced is copied, and the copy synced: after a failed fsync the kernel may treat
    pages as clean that never reached the disk, and another fsync of the same file would report a false success.
    A segment that is a value file was synced before the manifest named it, and keeps its name."""
    copied = False
    value_files = {each.file for each in manifest.version.value_files}
    for generation in recovery.generations:
        for index, piece in enumerate(generation.segments):
            old = join(directory, piece.file)
            is_synced = recovery.clean or recovery.end_positions[piece.file] <= recovery.synced
            if is_synced or piece.file in value_files:
                fs.sync_file(old)
                continue
            parsed = maybe_parse(piece.file)
            assert parsed is not None
            name = wal_name(parsed.number, manifest.epoch)
            try:
                _copy(fs, old, join(directory, name), piece.end)
            except OSError as error:
                if error.errno != ENOSPC:
                    raise
                # A full disk must not keep the database closed: then a sync of the original must suffice.
                fs.sync_file(old)
                continue
            generation.segments[index] = replace(piece, file=name)
            copied = True
    if copied:
        fs.sync_directory(directory)  # before the originals go


def _copy(fs: FileSystem, old: str, new: str, size: int) -> None:
    source = fs.open(old)
    try:
        target = fs.create(new)
        try:
            for offset in range(0, size, COPY_BYTES):
                append_all(target, source.pread(min(COPY_BYTES, size - offset), offset))
            target.sync()
        finally:
            target.close()
    finally:
        source.close()


def _named(manifest: Manifest, recovery: Recovery) -> set[str]:
    """The files of the database: those that the manifest names, and the segments that recovery accepted."""
    segments = [piece.file for generation in recovery.generations for piece in generation.segments]
    return {*segments, *manifest.version.files()}


def _remove_unnamed(fs: FileSystem, directory: str, named: Iterable[str]) -> bool:
    """Remove Flin's files that neither the manifest nor recovery names; others are left alone. Returns whether there
    were any."""
    removed = False
    for name in fs.names(directory):
        if maybe_parse(name) is not None and name not in named and fs.is_file(join(directory, name)):
            fs.remove(join(directory, name))
            removed = True
    return removed
