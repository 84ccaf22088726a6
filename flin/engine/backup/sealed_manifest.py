"""The manifest of an encrypted database as bytes, sealed: in a backup's catalogue nothing can be read, either."""

from __future__ import annotations

from typing import cast

from flin.engine.catalog import manifest as manifest_format
from flin.engine.catalog.manifest import Manifest
from flin.engine.disk.data_keys import DataKeys
from flin.engine.disk.file_name import MANIFEST
from flin.engine.disk.fs import Buffer, FileSystem, append_all
from flin.engine.disk.sealed_files import SealedFileSystem


class _OneFile:
    """A file system of one file in memory, and the file: as much as a manifest needs."""

    path = MANIFEST

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)

    def create(self, path: str) -> _OneFile:
        return self

    open = create

    def append(self, data: Buffer) -> int:
        self.data += data
        return len(data)

    def sync(self) -> None:
        """Nothing is on a disk."""

    def size(self) -> int:
        return len(self.data)

    def pread(self, size: int, offset: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def close(self) -> None:
        """Nothing is held open."""


def sealed(manifest: Manifest, keys: DataKeys) -> bytes:
    """The bytes of its file, sealed with the newest key."""
    memory = _OneFile()
    file = SealedFileSystem(cast("FileSystem", memory), keys).create(MANIFEST)
    append_all(file, manifest_format.encode(manifest))
    file.sync()
    return bytes(memory.data)


def opened(data: bytes, keys: DataKeys, path: str) -> Manifest:
    """The manifest in a sealed file's bytes. CorruptionError, FormatVersionError."""
    file = SealedFileSystem(cast("FileSystem", _OneFile(data)), keys).open(MANIFEST)
    return manifest_format.decode(file.pread(file.size(), 0), path)
