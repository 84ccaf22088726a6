"""One engine per directory: the lock file, and what it says of its holder."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from flin.engine.disk import fs as seam
from flin.engine.disk.file_name import LOCK
from flin.engine.disk.fs import DirectoryLock, FileSystem
from flin.errors import CorruptionError, LockedError, StorageError

_held: set[bytes] = set()  # what this process wrote into the lock files that it holds; a set's calls are atomic


class HeldLock:
    """The lock of an open directory. Release is idempotent."""

    def __init__(self, fs: FileSystem, directory: str, text: bytes, lock: DirectoryLock) -> None:
        self._fs = fs
        self._directory = directory
        self._text = text
        self._lock = lock

    def tell_if_lost(self, tell: Callable[[], None]) -> None:
        """Call `tell` once the directory is found removed or replaced: then its path leads to somebody else's. Any
        thread may call it, under any locks."""
        self._lock.on_lost = tell

    def check(self) -> None:
        """StorageError if the directory was removed or replaced."""
        try:
            self._fs.check_directory(self._directory)
        except OSError as error:
            raise StorageError("write into", self._directory, error) from error

    def release(self) -> None:
        _held.discard(self._text)
        self._lock.release()


def lock_directory(fs: FileSystem, directory: str, now_ms: int) -> HeldLock:
    """Take the directory for this engine. LockedError, with the holder's pid and start, if somebody has it.

    CorruptionError if its lock file is not a regular file: it is written over, and a link may lead anywhere."""
    path = seam.join(directory, LOCK)
    # The machine's name and the path distinguish the texts of two containers, whose processes have equal numbers.
    holder = {
        "pid": seam.process_id(),
        "started_at": _timestamp(now_ms),
        "host": seam.host_name(),
        "directory": directory,
    }
    text = json.dumps(holder).encode()
    try:
        if LOCK in fs.names(directory) and not fs.is_file(path):
            raise CorruptionError(path, 0, "not a regular file")
        lock = fs.lock(path, text)
    except OSError as error:
        raise StorageError("lock", directory, error) from error
    if isinstance(lock, bytes):
        pid, started_at = _holder(lock)
        is_own = lock in _held and pid == seam.process_id()  # to a forked child, its parent is the holder
        raise LockedError(directory, pid, started_at, in_this_process=is_own)
    _held.add(text)
    return HeldLock(fs, directory, text, lock)


def is_lock_text(text: bytes) -> bool:
    """Whether this is the text of a lock file of Flin's: it names a holder, or is still empty."""
    return not text or _holder(text) != (None, None)


def _holder(text: bytes) -> tuple[int | None, str | None]:
    """The holder's pid and start; it may be writing just now, or the text may be something else altogether."""
    try:
        found = json.loads(text)
        return int(found["pid"]), str(found["started_at"])
    except (ValueError, TypeError, KeyError):
        return None, None


def _timestamp(now_ms: int) -> str:
    """The time as text for people, or in milliseconds if the clock is at a year that no calendar has."""
    try:
        return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{now_ms} ms"
