"""One engine per directory: the lock file, and what it says of its holder."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from threading import Lock

from flin.engine import fs as seam
from flin.engine.file_name import LOCK
from flin.engine.fs import DirectoryLock, FileSystem
from flin.errors import CorruptionError, LockedError, StorageError

_held: dict[str, str] = {}  # directories open in this process → since when
_held_guard = Lock()


class HeldLock:
    """The lock of an open directory. Release is idempotent."""

    def __init__(self, directory: str, lock: DirectoryLock) -> None:
        self._directory = directory
        self._lock = lock
        self._released = False

    def release(self) -> None:
        if not self._released:
            self._released = True
            with _held_guard:
                _held.pop(self._directory, None)
            self._lock.release()


def lock_directory(fs: FileSystem, directory: str, now_ms: int) -> HeldLock:
    """Take the directory for this engine. LockedError, with the holder's pid and start, if somebody has it.

    CorruptionError if its lock file is anything but a regular file: it is written over, so a link leads astray."""
    started_at = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="seconds")
    pid = seam.process_id()
    path = seam.join(directory, LOCK)
    try:
        if LOCK in fs.names(directory) and not fs.is_file(path):
            raise CorruptionError(path, 0, "not a regular file")
        lock = fs.lock(path, json.dumps({"pid": pid, "started_at": started_at}).encode())
    except OSError as error:
        raise StorageError("lock", directory, error) from error
    if isinstance(lock, bytes):
        raise LockedError(directory, *_holder(lock))
    with _held_guard:
        _held[directory] = started_at
    return HeldLock(directory, lock)


def _holder(text: bytes) -> tuple[int | None, str | None]:
    """What the holder wrote; it may be just writing, or be something else altogether."""
    try:
        found = json.loads(text)
        return int(found["pid"]), str(found["started_at"])
    except (ValueError, TypeError, KeyError):
        return None, None
