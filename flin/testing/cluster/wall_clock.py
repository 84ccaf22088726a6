"""A wall clock that tests set, for processes that are started with its environment, and for their children.

A folder on PYTHONPATH holds a `sitecustomize` for them, which adds what a shared page says to `time.time_ns`. Only the
wall clock: leases count by another one."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Final

_PAGE: Final = struct.Struct("<q")

_PROGRAM: Final = """\
import mmap, os, struct, time
with open({page!r}, "rb") as _file:
    _page = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
_time_ns, _unpack = time.time_ns, struct.Struct("<q").unpack
time.time_ns = lambda: _time_ns() + _unpack(_page)[0]
time.time = lambda: time.time_ns() / 1e9
{more}
"""


class WallClock:
    """In a folder of its own. more: a program that the processes run first."""

    def __init__(self, folder: Path, more: str = "") -> None:
        folder.mkdir()
        page = folder / "page"
        page.write_bytes(_PAGE.pack(0))
        (folder / "sitecustomize.py").write_text(_PROGRAM.format(page=str(page), more=more))
        with page.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), _PAGE.size)
        path = os.environ.get("PYTHONPATH")
        self.environment = {"PYTHONPATH": str(folder) if path is None else f"{folder}{os.pathsep}{path}"}

    def set_ahead(self, seconds: float) -> None:
        """So far ahead of the real clock; below 0: behind."""
        self._page[:] = _PAGE.pack(int(seconds * 1e9))
