"""A disk of a few MB that fills up: a tmpfs if mounting is allowed, else files that must not grow."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_PIECE_BYTES: Final = 1 << 12


@contextmanager
def mounted_tmpfs(directory: Path, size_bytes: int) -> Iterator[bool]:
    """A tmpfs of this size at the directory until the block ends; False if it cannot be mounted."""
    directory.mkdir(exist_ok=True)
    options = f"size={size_bytes},mode=0755"
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(directory)], capture_output=True, check=False
        )
        is_mounted = done.returncode == 0
    except FileNotFoundError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


def free_bytes(directory: Path) -> int:
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


class Ballast:
    """A file that takes up room and gives it back."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / "ballast"

    def leave(self, room_bytes: int) -> None:
        """Leave this much room."""
        self.remove()
        size = free_bytes(self._directory) - room_bytes
        with suppress(OSError), self._path.open("wb", buffering=0) as file:  # others may take the room meanwhile
            for _ in range(0, size, _PIECE_BYTES):
                file.write(bytes(_PIECE_BYTES))

    def fill(self) -> bool:
        """Leave no room, not even what has become free since."""
        with suppress(OSError), self._path.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(_PIECE_BYTES))
        return True

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
