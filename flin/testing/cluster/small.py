"""Nodes with little room: the quota of etcd is a few MB, logs are truncated every second, and one node has a small disk
of its own (a tmpfs, where mounting is allowed). It is named for the process: what one has left that was killed, the
next one removes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from flin.testing.process import is_alive

QUOTA_BYTES: Final = 24 << 20
"""What etcd may hold."""

DISK_BYTES: Final = 320 << 20
"""Two segments of etcd's WAL, 64 MB each, and as much again for all else."""

PROGRAM: Final = f"""
import sys
sys.path[:0] = {{path!r}}
if "flin serve, worker" in " ".join(sys.orig_argv):
    import flin.cluster.log.log_bounds as bounds
    bounds.MAX_UNFLUSHED_BYTES = 16 << 10
elif "serve" in sys.orig_argv:
    import flin.cluster.etcd.etcd_member as member
    import flin.cluster.log.log_bounds as bounds, flin.cluster.log.log_keeper as keeper
    keeper.KEEP_SECONDS, keeper.COMPACTED_AT_LEAST, bounds.MAX_LOG_BYTES = 1.0, 20, 1 << 20
    member.MemberOptions.__init__.__defaults__ = tuple(
        {QUOTA_BYTES} if each == member.QUOTA_BYTES else each for each in member.MemberOptions.__init__.__defaults__
    )
    member.QUOTA_BYTES = {QUOTA_BYTES}
"""
"""What each process of such nodes runs first."""


def program() -> str:
    return PROGRAM.format(path=sys.path)


def remove_old() -> None:
    """The disks of processes that have ended without removing them."""
    with suppress(FileNotFoundError):  # it is no Linux
        mounts = Path("/proc/mounts").read_text(encoding="utf-8")
        for number, folder in re.findall(r"^flin-small-(\d+) (\S+) tmpfs ", mounts, re.MULTILINE):
            if not is_alive(int(number)):
                place = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), folder)
                subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)


class SmallDisk:
    """From `with` on, if `is_there`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_there = False

    def __enter__(self) -> Self:
        remove_old()
        self.folder.mkdir(parents=True)
        options = f"size={DISK_BYTES},mode=0700"
        with suppress(FileNotFoundError):  # no such command here
            name = f"flin-small-{os.getpid()}"
            command = ["mount", "-t", "tmpfs", "-o", options, name, str(self.folder)]
            done = subprocess.run(command, capture_output=True, check=False)
            self.is_there = done.returncode == 0
        return self

    def __exit__(self, *exception: object) -> None:
        if self.is_there:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def fill(self) -> None:
        """Leave no room."""
        self.leave(0)

    def leave(self, free_bytes: int) -> None:
        """No more than that."""
        with suppress(OSError), (self.folder / "ballast").open("ab", buffering=0) as file:
            while self.free_bytes > free_bytes or not free_bytes:
                file.write(bytes(1 << 12))

    def empty(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    @property
    def free_bytes(self) -> int:
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize
