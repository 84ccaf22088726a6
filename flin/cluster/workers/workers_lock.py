"""A lock that workers inherit: it is held as long as their supervisor lives, or any worker that it has started.

The lock of the directory ends with the supervisor, and that of a database begins when its worker opens it. A worker
that is just starting when its supervisor is killed holds neither, but its port, and soon the database. So there is this
one, a flock of groups.json: it belongs to the open file, and ends with the last process that has inherited that.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from flin.engine.disk.descriptor import open_file
from flin.engine.disk.file_name import GROUPS
from flin.engine.disk.fs import join
from flin.errors import LockedError, StorageError

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.05


@contextmanager
def workers_lock(directory: str, seconds: float, name: str = GROUPS) -> Iterator[int]:
    """Hold the lock of a directory of groups, once the workers of an earlier supervisor have ended. Yields the
    descriptor to hand down. name: of another file, which is made if it is not there. LockedError when the time is over,
    StorageError."""
    path = join(directory, name)
    try:
        flags = os.O_RDWR | (0 if name == GROUPS else os.O_CREAT)
        descriptor = open_file(path, flags)  # for writing: over NFS a lock is exclusive only then
    except OSError as error:
        raise StorageError("lock", path, error) from error
    try:
        _wait(descriptor, directory, seconds)
        yield descriptor
    finally:
        os.close(descriptor)


def _wait(descriptor: int, directory: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    is_told = False
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LockedError(directory, None, None) from None
        except OSError as error:
            raise StorageError("lock", directory, error) from error
        if not is_told:
            logger.warning("workers of an earlier supervisor are ending; waiting for them for %g s at most", seconds)
            is_told = True
        time.sleep(POLL_SECONDS)
