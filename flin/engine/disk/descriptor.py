"""Descriptors of files: none of them is a standard stream's number, and no program that is started inherits one.

The program may use up all that it is allowed. So whoever holds some that it can do without for now (open_files.py) is
asked to let go of them before a call fails for want of one.
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
"""Each lets go of some of what it has open; False if it had nothing."""


def in_room(call: Callable[[], Result]) -> Result:
    """What the call gives. Where no descriptor is left for it, it is made again as long as a giver lets go of some."""
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
    """The descriptor, or another of the same open file in its place: never 0, 1 or 2."""
    if fd > STANDARD_ERROR:
        return fd
    try:
        return in_room(lambda: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STANDARD_ERROR + 1))
    finally:
        os.close(fd)
