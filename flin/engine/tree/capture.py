"""A capture: the files that make up the database at one moment, which stay as they are while somebody copies them.

It ends the WAL's segment, so that every file in it is finished, and pins all of them: flushes and merges go on, and
remove none. Who has the capture needs no lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from flin.engine.catalog.manifest import Manifest
from flin.engine.disk.data_keys import DataKeys
from flin.engine.disk.file_name import KEYS
from flin.engine.disk.fs import join
from flin.engine.disk.memory_fs import MEMORY
from flin.engine.disk.sealed_files import SealedFileSystem
from flin.engine.reentry import holds_lock
from flin.engine.tree.edits import Edits
from flin.engine.wal.frames import SegmentSlice
from flin.errors import StorageError


@dataclass(frozen=True, slots=True)
class Capture:
    """All of it is durable."""

    manifest: Manifest
    files: dict[str, int]
    """The finished files by name. How many bytes of a segment count: zeros may follow, or what a failed write left. 0:
    all bytes of the file."""
    last_name: str
    last_segment: bytes
    """A last segment, which no file of the database holds: it closes the chain of the others cleanly."""
    sequence: int
    """That of the last write in it."""
    keys: DataKeys | None
    """Those of an encrypted database, with which its files are sealed."""
    keys_file: bytes
    """Its file of keys, which the key that was right at the moment opens."""


class Captures(Edits):
    """The store's captures."""

    @contextmanager
    def capture(self) -> Iterator[Capture]:
        """The database as it is now, made durable. ReadOnlyError, StorageError or ClosedError if it cannot be."""
        if self.directory == MEMORY:
            raise StorageError("copy", MEMORY, "it has no files")
        try:
            capture, pinned, position = self._captured()
        except OSError as error:
            raise StorageError("read the keys of", self.directory, error) from error
        try:
            self.sync(position)
            self._sync_or_refuse(lambda: self._wal.sync(position))  # a replica's own segments, which the copy has
            yield capture
        finally:
            self._release(pinned)
            self.tables.remove_obsolete()

    @holds_lock
    def _captured(self) -> tuple[Capture, frozenset[str], int]:
        with self._versions.lock:
            manifest = replace(self._versions.manifest, next_job=self._versions.next_job)
            segments, (last_name, last_segment), position, sequence = self._exclusively(self._end_segments)
            files = dict.fromkeys(sorted(manifest.version.files()), 0)
            files |= {each.file: each.length for each in manifest.version.value_files if each.file.endswith(".wal")}
            files |= {each.file: each.end for each in segments}
            capture = Capture(manifest, files, last_name, last_segment, sequence - 1, *self._keys())
            return capture, self.tables.pin(files), position

    def _keys(self) -> tuple[DataKeys | None, bytes]:
        """In this order: the file holds all keys that are in memory."""
        fs = self.options.fs
        if not isinstance(fs, SealedFileSystem):
            return None, b""
        keys = fs.keys
        file = fs.open(join(self.directory, KEYS))
        try:
            return keys, file.pread(file.size(), 0)
        finally:
            file.close()

    def _end_segments(self) -> tuple[list[SegmentSlice], tuple[str, bytes], int, int]:
        self._check_writable()
        last = self._wal.end_of_copy()
        waiting = [segment for generation in reversed(self.state.sealed) for segment in generation.segments]
        segments = [*waiting, *self._generation.recovered_segments, *self._wal.ended]
        return segments, last, self._wal.position, self._wal.sequence

    @holds_lock
    def _release(self, pinned: frozenset[str]) -> None:
        with self._versions.lock:
            self.tables.unpin(pinned)
