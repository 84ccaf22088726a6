"""Where a directory was when a server opened it, and whether its path still leads there.

A directory that is removed is noticed by its lock (engine/disk/directory_lock.py). One that is moved away takes that
along: a program may do that with its own database, and goes on. A server must not: whoever starts it again finds
nothing, or another database, at that path, and what was answered meanwhile is missing there.
"""

from __future__ import annotations

import os


class DirectoryPlace:
    """As it was when this was made. Nothing is asked where nothing was (a database in memory)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._identity = _identity_of(path)

    def problem(self) -> str:
        """Why nothing should be written there any more; empty: it is where it was, or that cannot be known now."""
        try:
            is_left = self._identity is not None and _identity_of(self.path) != self._identity
        except OSError:
            return ""
        return f"{self.path} was moved away, removed or replaced while it was in use" if is_left else ""


def _identity_of(path: str) -> tuple[int, int] | None:
    """None: there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
