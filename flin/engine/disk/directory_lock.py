"""The lock of a directory on the real disk: a flock of the lock file, and the directory by its descriptor.

A flock belongs to the open file, not to the process. So it is released explicitly, not by the close of a descriptor
that may have copies; and a forked child closes its copies at once, even of a lock that another thread is about to take:
no fork comes between the opening of a file and the moment from which the child knows of it.

An interrupt may come between any two steps. Then `release` is called once more, or the lock is dropped: both do the
steps that are left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from threading import RLock
from typing import Final

from flin.engine.disk.descriptor import open_directory, open_file

DIRECTORY_LOST: Final = "the directory was removed or replaced while the database was open"

LOCK_ATTEMPTS: Final = 100  # for a directory that is removed and made anew again and again


@dataclass(eq=False)
class HeldDirectory:
    """A directory by its descriptor, not by its path, and its lock file as it was when the lock was taken. It is open
    as long as there is a reference, so keep the object, not its number, which may become another directory's."""

    fd: int = -1  # the default is what `__del__` finds if nothing was opened
    lock_name: str = ""
    lock_device: int = -1
    lock_number: int = -1  # the inode of the lock file
    on_lost: Callable[[], None] = lambda: None

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def check(self, directory: str) -> None:
        """OSError with ESTALE unless the lock file is still the one in the directory: 2 µs."""
        try:
            found = os.stat(self.lock_name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            found = None  # the lock file is gone, or the whole directory
        if found is None or _identity(found) != (self.lock_device, self.lock_number):
            self.on_lost()
            raise OSError(errno.ESTALE, DIRECTORY_LOST, directory)


class OsDirectoryLock:
    """A lock of the directory of that path, which becomes one of `all_held` while it is held."""

    def __init__(self, all_held: dict[str, HeldDirectory], directory: str) -> None:
        self._all_held = all_held
        self._directory = directory
        self._held = HeldDirectory()
        self._owner = os.getpid()
        self._fd = -1  # the lock file's
        _locks.add(self)

    def take(self, name: str, holder: bytes) -> bool | bytes:
        """True once it is held; else what its holder wrote into it, or False if the opened file has just been removed:
        then try again with a new lock. Call it once only, and release the lock whatever the result."""
        held = self._held = HeldDirectory(open_directory(self._directory), name)
        with _forking:
            # Opening a link would lead to writing over its target.
            self._fd = open_file(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, held.fd)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.pread(self._fd, 4096, 0)
        if not (_is_at(self._directory, held.fd) and _is_at(name, self._fd, held.fd)):
            return False
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, holder, 0)
        held.lock_device, held.lock_number = _identity(os.fstat(self._fd))
        self._all_held[self._directory] = held
        return True

    @property
    def on_lost(self) -> Callable[[], None]:
        return self._held.on_lost

    @on_lost.setter
    def on_lost(self, tell: Callable[[], None]) -> None:
        self._held.on_lost = tell

    def release(self) -> None:
        if self._all_held.get(self._directory) is self._held:
            del self._all_held[self._directory]
        self._held = HeldDirectory()  # calls under way keep the old one
        if self._fd >= 0:
            if os.getpid() == self._owner:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        self.release()


_locks: weakref.WeakSet[OsDirectoryLock] = weakref.WeakSet()
_forking = RLock()  # held by a thread that forks: no lock file is opened meanwhile


def _release_in_child() -> None:
    _forking.release()
    for lock in list(_locks):
        lock.release()


os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_release_in_child)


def _is_at(name: str, fd: int, at: int | None = None) -> bool:
    """Whether the name leads to the file that the descriptor has open."""
    try:
        return _identity(os.stat(name, dir_fd=at)) == _identity(os.fstat(fd))
    except FileNotFoundError:
        return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
