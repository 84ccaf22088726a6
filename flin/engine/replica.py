"""A replica: a directory that holds a copy of a prefix of a log, which others hold, too (engine/replication.py).

It is opened with whoever keeps that log. The tables stay, the write-ahead log is thrown away: a crash, a fence and a
restart need one rule, since what it held comes from the log again. A marker file keeps others from opening it, who
would show writes that were never made.
"""

from __future__ import annotations

from typing import Any

from flin.engine.disk.file_name import REPLICA
from flin.engine.disk.fs import AnyPath, FileSystem, OsFileSystem, absolute, join
from flin.engine.disk.lock import lock_directory
from flin.engine.engine import Engine
from flin.engine.options import Options, wall_clock_ms
from flin.engine.replication import Replication
from flin.engine.tree.store import Store
from flin.errors import StorageError


def open_replica(path: AnyPath, replication: Replication, **options: Any) -> Engine:
    """Open the replica in a directory, or begin one there, with what its tables hold: the log must be applied after it
    before anybody reads. It follows at first: `store.holds_sweep` is set, and no frame is kept for the log.

    `options`: those of `flin.engine.open` except `sync`, since every write waits for the log. EncryptionError and
    ValueError for those that a replica cannot have (encryption_key, read_only, wal_retention, size_limit). StorageError
    if the directory holds a database that is no replica; and what `flin.engine.open` raises."""
    return Engine(Store(absolute(path), Options(sync="always", replication=replication, **options)))


def make_standalone(path: AnyPath, fs: FileSystem | None = None) -> None:
    """Make a plain database of a replica that nobody has open: with what its own files hold, which may be more or less
    than what its log says was answered. StorageError if it is none; LockedError."""
    fs, directory = fs or OsFileSystem(), absolute(path)
    try:
        if REPLICA not in fs.names(directory):
            raise StorageError("make a database of", directory, "it is no replica")
    except OSError as error:
        raise StorageError("make a database of", directory, error) from error
    lock = lock_directory(fs, directory, wall_clock_ms())
    try:
        fs.remove(join(directory, REPLICA))
        fs.sync_directory(directory)
    except OSError as error:
        raise StorageError("make a database of", directory, error) from error
    finally:
        lock.release()
