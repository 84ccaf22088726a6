"""Golden files: databases that earlier commits of Flin wrote, which every later one must open.

Each `NAME.tar.gz` holds the files of a database, and `holds.json`: what it must hold. `make.py` made them, with the
code of commit e985d7f, the last one that wrote manifests of format 1 and tables of formats 1 and 2. Never make them
again with other code: a new format gets new files beside them.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flin.engine.entry import Live, is_alive, make_entry
from flin.testing import ManualClock, SimulatedDisk
from flin.testing.run import PATH

HERE: Final = Path(__file__).parent

NAMES: Final = tuple(sorted(path.name.removesuffix(".tar.gz") for path in HERE.glob("*.tar.gz")))


@dataclass(frozen=True, slots=True)
class Golden:
    """One of them, unpacked."""

    files: dict[str, bytes]
    shards: int
    now_ms: int  # when it was written
    entries: dict[bytes, Live]
    """Everything that was there then, by stored key: internal keys, pieces of larger values, and what had expired but
    was not swept."""

    @property
    def alive(self) -> dict[bytes, Live]:
        return {key: entry for key, entry in self.entries.items() if is_alive(entry, self.now_ms)}

    @property
    def disk(self) -> SimulatedDisk:
        """A new disk with the database at PATH."""
        disk = SimulatedDisk()
        disk.make_directory(PATH)
        for name, content in self.files.items():
            disk.write(f"{PATH}/{name}", content)
        return disk

    @property
    def clock(self) -> ManualClock:
        return ManualClock(self.now_ms)


def golden(name: str) -> Golden:
    files = {}
    with tarfile.open(HERE / f"{name}.tar.gz") as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is not None
            files[member.name] = content.read()
    holds = json.load(io.BytesIO(files.pop("holds.json")))
    entries = {
        bytes.fromhex(key): make_entry(bytes.fromhex(value), expires_at_ms, tag)
        for key, value, expires_at_ms, tag in holds["entries"]
    }
    return Golden(files, holds["shards"], holds["now_ms"], entries)
