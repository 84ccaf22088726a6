"""Descriptors of files: none of them has a standard stream's number, and no program that is started inherits one.

The program may use up all that it is allowed. So before a call fails for want of a descriptor, those who can spare some
(open_files.py) are asked to close them.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from typing import Final, TypeVar

STANDARD_ERROR: Final = 2  # the highest number of a standard stream

Result = TypeVar("Result")

givers: Final[list[Callable[[], bool]]] = []
"""Each closes some of what it has open; False if it had nothing."""


def in_room(call: Callable[[], Result]) -> Result:
    """The result of the call. If no descriptor is left for it, it is repeated as long as a giver closes some."""
    while True:
        try:
            return call()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or not any(give() for give in givers):
                raise


def open_file(name: str, flags: int, at: int | None = None) -> int:
    return above_standard(in_room(lambda: os.open(name, flags | os.O_CLOEXEC, 0o644, dir_fd=at)))


def open_directory(path: str, at: int | None = None) -> int:
    return open_file(path, os.O_RDONLY | os.O_DIRECTORY, at)


def above_standard(fd: int) -> int:
    """The descriptor, or a duplicate that takes its place: never 0, 1 or 2."""
    if fd > STANDARD_ERROR:
        return fd
    try:
        return in_room(lambda: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STANDARD_ERROR + 1))
    finally:
        os.close(fd)
