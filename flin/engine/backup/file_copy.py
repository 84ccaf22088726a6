"""One file into another: by a second name, or byte by byte with its checksum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from flin.engine.checksum import crc32
from flin.engine.disk.fs import NO_LINK, FileSystem, append_all
from flin.errors import CorruptionError

CHUNK_BYTES: Final = 1 << 20
"""Bytes read at once: many enough for the disk, few beside any memory limit."""


def nothing() -> None:
    """Go on."""


def link_or_copy(fs: FileSystem, old: str, new: str, size: int, checkpoint: Callable[[], None] = nothing) -> int:
    """Give a finished file a second name; where that cannot be, copy `size` bytes of it (0: all). Returns how many
    bytes were copied. OSError, CorruptionError."""
    try:
        fs.link(old, new)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        return copy_file(fs, old, new, size, checkpoint)[0]
    return 0


def copy_file(
    fs: FileSystem, old: str, new: str, size: int, checkpoint: Callable[[], None] = nothing
) -> tuple[int, int]:
    """Copy `size` bytes of a file (0: all) into a new one, and sync its data. Returns its size and CRC-32. `checkpoint`
    is called now and then. OSError; CorruptionError if the file is shorter."""
    checksum = total = 0
    target = fs.create(new)
    try:
        for data in read_file(fs, old, size, checkpoint):
            append_all(target, data)
            checksum = crc32(data, checksum)
            total += len(data)
        target.sync()
    finally:
        target.close()
    return total, checksum


def write_file(fs: FileSystem, path: str, data: bytes) -> None:
    """A new file with these bytes, which are synced. OSError."""
    file = fs.create(path)
    try:
        append_all(file, data)
        file.sync()
    finally:
        file.close()


def checksum_of(fs: FileSystem, path: str, checkpoint: Callable[[], None] = nothing) -> tuple[int, int]:
    """The size and the CRC-32 of a whole file."""
    checksum = total = 0
    for data in read_file(fs, path, 0, checkpoint):
        checksum = crc32(data, checksum)
        total += len(data)
    return total, checksum


def read_file(fs: FileSystem, path: str, size: int, checkpoint: Callable[[], None] = nothing) -> Iterator[bytes]:
    """The first `size` bytes of a file (0: all), in pieces."""
    file = fs.open(path)
    try:
        end = size or file.size()
        offset = 0
        while offset < end:
            checkpoint()
            data = file.pread(min(CHUNK_BYTES, end - offset), offset)
            if not data:
                raise CorruptionError(path, offset, f"the file ends before its {end} bytes")
            yield data
            offset += len(data)
    finally:
        file.close()
