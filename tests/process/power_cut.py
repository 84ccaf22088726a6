"""A power cut of a real file system: ext4 in a file, shut down in the middle of its work, mounted again.

The file systems' own tests use FS_IOC_SHUTDOWN with NOLOGFLUSH, too: from that moment nothing reaches the device,
neither unsynced data nor the journal; the next mount finds what it would find after a power cut. It does not show a
drive that loses or reorders what it had taken.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

from flin.testing.process import wait_until

_SHUTDOWN: Final = 0x8004587D  # _IOR('X', 125, __u32)
_NO_FLUSH: Final = 2
_IMAGE_BYTES: Final = 96 << 20


class CuttableDisk:
    """A file system of its own at `path`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "disk"
        self._image = directory / "disk.img"
        self._is_mounted = False

    def make(self) -> str:
        """Make and mount it. Returns why that is impossible here; "" if it is mounted."""
        missing = [tool for tool in ("mkfs.ext4", "mount", "umount") if _tool(tool) is None]
        if missing:
            return f"missing tool: {missing[0]}"
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        subprocess.run([_tool("mkfs.ext4") or "", "-q", "-F", str(self._image)], check=True, capture_output=True)
        return self.mount()

    def mount(self) -> str:
        command = [_tool("mount") or "", "-o", "loop", str(self._image), str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self._is_mounted = done.returncode == 0
        return "" if self._is_mounted else f"a file cannot be mounted here: {done.stderr.strip()}"

    def cut(self) -> None:
        """Cut the power; writers get errors from now on."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _NO_FLUSH))
        finally:
            os.close(fd)

    def unmount(self) -> None:
        """Unmount it, once no process has a file of it open."""
        if self._is_mounted:
            wait_until(self._is_unmounted, "the file system is let go")
            self._is_mounted = False

    def _is_unmounted(self) -> bool:
        command = [_tool("umount") or "", str(self.path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _tool(name: str) -> str | None:
    """The path of a tool, also outside an ordinary user's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
