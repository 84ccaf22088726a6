"""One file into another: by a second name, or byte by byte with its checksum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Final

from flin.engine.checksum import crc32
from flin.engine.disk.fs import NO_LINK, FileSystem, append_all
from flin.errors import CorruptionError

CHUNK_BYTES: Final = 1 << 20
"""Bytes read at once: many enough for the disk, few beside any memory limit."""


CRC_DIGITS: Final = 8
"""So long are checksums in backups of format 1."""


class Checksum:
    """The checksum of a file, in hexadecimal digits: BLAKE2b, or CRC-32 if it is compared with a short one."""

    def __init__(self, like: str = "") -> None:
        self._blake = None if len(like) == CRC_DIGITS else blake2b(digest_size=16)
        self._crc = 0

    def update(self, data: bytes) -> None:
        if self._blake is None:
            self._crc = crc32(data, self._crc)
        else:
            self._blake.update(data)

    def digits(self) -> str:
        return f"{self._crc:08x}" if self._blake is None else self._blake.hexdigest()


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
    fs: FileSystem, old: str, new: str, size: int, checkpoint: Callable[[], None] = nothing, like: str = ""
) -> tuple[int, str]:
    """Copy `size` bytes of a file (0: all) into a new one, and sync its data. Returns its size and its checksum, of the
    kind of `like`. `checkpoint` is called now and then. OSError; CorruptionError if the file is shorter."""
    checksum, total = Checksum(like), 0
    target = fs.create(new)
    try:
        for data in read_file(fs, old, size, checkpoint):
            append_all(target, data)
            checksum.update(data)
            total += len(data)
        target.sync()
    finally:
        target.close()
    return total, checksum.digits()


def write_file(fs: FileSystem, path: str, data: bytes) -> None:
    """A new file with these bytes, which are synced. OSError."""
    file = fs.create(path)
    try:
        append_all(file, data)
        file.sync()
    finally:
        file.close()


def checksum_of(fs: FileSystem, path: str, like: str) -> tuple[int, str]:
    """The size of a whole file, and its checksum of the kind of `like`."""
    checksum, total = Checksum(like), 0
    for data in read_file(fs, path, 0):
        checksum.update(data)
        total += len(data)
    return total, checksum.digits()


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
