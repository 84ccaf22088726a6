"""A file that is written as a whole: beside the old one, synced, renamed. A crash leaves the old one or the new one."""

from __future__ import annotations

import os


def write_whole(path: str, data: bytes, mode: int = 0o600) -> None:
    """Raises OSError; the old file is whole then. mode: the permissions of a new one; an old one's stay."""
    directory = os.path.dirname(path) or "."
    beside = f"{path}.{os.getpid()}.tmp"
    mode = os.stat(path).st_mode & 0o777 if os.path.exists(path) else mode
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        if os.path.exists(beside):
            os.unlink(beside)
        raise
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
