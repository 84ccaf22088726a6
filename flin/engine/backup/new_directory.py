"""A directory that becomes a copy of a database: refused by all who open it until it is whole.

    copy-unfinished     there from the beginning to the end, so that what an interrupted copy leaves is never opened
    ...                 the database's files, each synced
    MANIFEST            last, by rename: from here on it is whole, also if `copy-unfinished` should still be there

An empty directory would be taken for that of a new database; hence the file at the beginning.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from flin.engine.catalog.manifest import Manifest, ManifestWriter
from flin.engine.disk.data_keys import DataKeys
from flin.engine.disk.file_name import MANIFEST, UNFINISHED_COPY
from flin.engine.disk.fs import FileSystem, join
from flin.engine.disk.sealed_files import SealedFileSystem
from flin.errors import StorageError


class NewDirectory:
    """`begin` it, put the files into it, then the manifest, then `end`; or else `abandon` it."""

    def __init__(self, fs: FileSystem, path: str) -> None:
        self.path: Final = path
        self._fs: Final = fs

    def begin(self) -> None:
        """Make the directory. StorageError if there is anything in it, or the disk refuses."""
        fs = self._fs
        try:
            fs.make_directory(self.path)
            names = fs.names(self.path)
        except OSError as error:
            raise StorageError("copy into", self.path, error) from error
        if UNFINISHED_COPY in names and MANIFEST not in names:
            raise StorageError("copy into", self.path, "an earlier copy into it was interrupted: remove it first")
        if names:
            raise StorageError("copy into", self.path, f"it is not empty ({names[0]} is in it): name another one")
        try:
            fs.create(join(self.path, UNFINISHED_COPY)).close()
            fs.sync_directory(self.path)
        except OSError as error:
            self.abandon()
            raise StorageError("copy into", self.path, error) from error

    def put_manifest(self, manifest: Manifest, keys: DataKeys | None = None) -> None:
        """Make it whole. keys: those of an encrypted database, which seal it. OSError."""
        self._fs.sync_directory(self.path)
        writer = ManifestWriter(self._fs if keys is None else SealedFileSystem(self._fs, keys), self.path)
        writer.write(manifest)
        writer.confirm()

    def end(self) -> None:
        """Let it be opened. OSError."""
        self._fs.remove(join(self.path, UNFINISHED_COPY))
        self._fs.sync_directory(self.path)

    def abandon(self) -> None:
        """Remove all that was put into it, as far as the disk allows: what stays is refused."""
        fs = self._fs
        with suppress(OSError):
            names = [name for name in fs.names(self.path) if fs.is_file(join(self.path, name))]
            for name in sorted(names, key=_order_of_removal):
                fs.remove(join(self.path, name))
                if name == MANIFEST:
                    fs.sync_directory(self.path)


def _order_of_removal(name: str) -> int:
    """The manifest first, that which refuses it last."""
    return {MANIFEST: 0, UNFINISHED_COPY: 2}.get(name, 1)
