"""Descriptors of files: none of them is a standard stream's number, and no program that is started inherits one."""

from __future__ import annotations

import fcntl
import os
from typing import Final

STANDARD_ERROR: Final = 2  # the highest number of a standard stream


def open_file(name: str, flags: int, at: int | None = None) -> int:
    return above_standard(os.open(name, flags | os.O_CLOEXEC, 0o644, dir_fd=at))


def open_directory(path: str, at: int | None = None) -> int:
    return open_file(path, os.O_RDONLY | os.O_DIRECTORY, at)


def above_standard(fd: int) -> int:
    """The descriptor, or another of the same open file in its place: never 0, 1 or 2."""
    if fd > STANDARD_ERROR:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STANDARD_ERROR + 1)
    finally:
        os.close(fd)
