"""Writing the WAL: appending frames to the current segment, beginning segments, syncing them in groups.

Appending is called under the commit lock, by one thread at a time. Any thread may sync, without that lock: if a sync is
under way, it waits for the next one, which the first such thread does for all (sync_rounds.py). A sync reports a
position: everything before it is durable.

A signal handler may raise between any two calls of the thread that writes (Ctrl-C in a shell whose user goes on). So
fields that belong together change without a call in between, and after everything that may fail.

A frame is copied into a mapped window of the segment if the disk allows it (0.2 µs, against 1 µs and more for a
write(2), which also releases the interpreter's lock); a large one, or one for which there is no window, is written.

After a failed or short write the segment is closed at its last good frame and a new one begins with the next commit;
bytes that the failed write left lie beyond the end that the new segment's header names. After a failed fsync nothing is
tried again: the kernel may have dropped the pages, so a second fsync would report a false success.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from errno import ENOSPC
from typing import NamedTuple

from flin.engine.disk.file_name import wal_name
from flin.engine.disk.fs import FileSystem, MappedBytes, SegmentFile, join
from flin.engine.entry import Entry, Range
from flin.engine.reentry import holds_lock, is_inside
from flin.engine.wal import frames as wal_frames
from flin.engine.wal.frames import HEADER_BYTES, SegmentHeader, SegmentSlice
from flin.engine.wal.sync_rounds import SyncRounds
from flin.errors import ReentrantCallError, StorageError


class _Files(NamedTuple):
    """The files that a sync must reach. Replaced under the commit lock, as one; a sync takes no lock to look at it."""

    current: SegmentFile | None = None
    ended: tuple[SegmentFile, ...] = ()  # oldest first; synced ones are removed when the next one ends
    ended_before: int = 0  # how many segments ended before these
    begun: int = 0  # how many segments were begun, these included


class Place(NamedTuple):
    """Where the log goes on."""

    position: int
    sequence: int
    newest: int  # the number of the segment before this place; 0: it is not there any more
    name: str  # that segment's file, if it is the current one; else ""
    offset: int  # in that file
    next_number: int  # of the next segment


class WalWriter:
    """The writing end of the WAL of one open engine."""

    def __init__(
        self,
        fs: FileSystem,
        directory: str,
        database_id: bytes,
        epoch: int,
        random_bytes: Callable[[int], bytes],
        *,
        next_number: int,
        position: int,
        sequence: int,
        predecessor: int,
        predecessor_end: int,
    ) -> None:
        self._fs = fs
        self._directory = directory
        self._database_id = database_id
        self._epoch = epoch
        self._random_bytes = random_bytes
        self.next_number = next_number  # the next segment's
        self._predecessor = predecessor
        self._predecessor_end = predecessor_end
        self.position = position  # the end of the last frame
        self.sequence = sequence  # the next operation's
        self.synced = position  # recovery has synced everything that it accepted
        self.syncs = 0
        self._file: SegmentFile | None = None  # the current segment
        self._name = ""
        self._salt = b""
        self._base = 0
        self._window: MappedBytes | None = None  # a part of the current segment, between these two positions
        self._window_start = 0
        self._window_stop = 0
        self._files = _Files()
        self._synced_files = 0  # how many ended segments, in the order of their ends, are synced and closed
        self._named = 0  # of how many segments, in the order of their beginnings, the names are durable
        self.ended: tuple[SegmentSlice, ...] = ()  # segments of the open generation; the store empties it at a seal
        self._rounds = SyncRounds()
        self._failed: StorageError | None = None  # a sync failed: for good

    def put(self, key: bytes, value: bytes) -> int:
        """Append a frame with one plain put. Returns the position after it. StorageError leaves the WAL as it was."""
        file = self._file
        if file is None:
            file = self._begin()
        position = self.position
        frame = wal_frames.encode_put(self._salt, position, self.sequence, self.synced, key, value)
        stop = position + len(frame)
        if stop > self._window_stop:
            self._append(file, frame, 1)
        else:  # the hot path. Written out: wal.writer.WalWriter._append
            start = self._window_start
            self._window[position - start : stop - start] = frame  # type: ignore[index]  # there is one: it has a stop
            self.sequence += 1
            self.position = stop
        return stop

    def delete(self, key: bytes) -> int:
        """Append a frame with one tombstone. Returns the position after it."""
        file = self._file or self._begin()
        return self._append(
            file, wal_frames.encode_delete(self._salt, self.position, self.sequence, self.synced, key), 1
        )

    def commit(self, points: Mapping[bytes, Entry], ranges: Sequence[Range] = (), plain: bool | None = None) -> int:
        """Append a frame with a whole commit, never an empty one (encode_commit). Returns the position after it."""
        file = self._file or self._begin()
        frame = wal_frames.encode_commit(self._salt, self.position, self.sequence, self.synced, points, ranges, plain)
        return self._append(file, frame, len(points) + len(ranges))

    def place(self) -> Place:
        """Where the log goes on. Called under the commit lock: everything before it is in memory, too."""
        if self._file is None:
            return Place(self.position, self.sequence, self._predecessor, "", 0, self.next_number)
        number, offset = self.next_number - 1, self.position - self._base
        return Place(self.position, self.sequence, number, self._name, offset, self.next_number)

    def end_segment(self) -> None:
        """End the current segment, if there is one; the next commit begins another."""
        if self._file is None:
            return
        end = self.position - self._base
        self._close_window()
        ended = (*self.ended, SegmentSlice(self._name, HEADER_BYTES, end))
        before = self._files
        gone = min(self._synced_files - before.ended_before, len(before.ended))
        files = _Files(None, (*before.ended[gone:], self._file), before.ended_before + gone, before.begun)
        number = self.next_number - 1
        # No call in between: an interrupt finds all of this done, or nothing.
        self._predecessor, self._predecessor_end = number, end
        self.ended, self._files, self._file = ended, files, None

    def end_of_copy(self) -> tuple[str, bytes]:
        """End the current segment. Returns the name and the bytes of a segment that follows it, holds nothing and is
        closed cleanly: written after all before it is synced, and only into a copy of the directory. It says where the
        segment before ends, since a failed write may have left a whole frame after that. No other has its number."""
        self.end_segment()
        number = self.next_number
        self.next_number += 1
        salt, end = self._random_bytes(8), self.position + HEADER_BYTES
        header = SegmentHeader(
            self._database_id,
            number,
            salt,
            self.position,
            self.sequence,
            self._predecessor,
            self._predecessor_end,
            self.position,
        )
        data = wal_frames.encode_header(header) + wal_frames.encode_end(salt, end, self.sequence, end)
        return wal_name(number, self._epoch), data

    def close_cleanly(self) -> None:
        """Sync everything, write the end frame, which vouches for that, and close the files."""
        self.sync(self.position)
        if self._file is not None:
            end = wal_frames.encode_end(self._salt, self.position, self.sequence, self.synced)
            self._append(self._file, end, 0)
            self.sync(self.position)
        self.close()

    def close(self) -> None:
        """Drop the files without writing or syncing anything more. They close themselves, at once except those that
        another thread is syncing: a descriptor that is closed under a call may be another file's by then."""
        self._close_window()
        if self.synced < self.position and self._failed is None:  # a later sync would find no file, and report success
            self._failed = StorageError("sync", self._directory, "the WAL was let go before it was synced")
        self._files, self._file = _Files(), None

    @staticmethod
    def is_syncing_here() -> bool:
        """Whether this thread is in `sync`: a call that re-enters cannot wait for it."""
        return is_inside(WalWriter.sync)

    @holds_lock
    def sync(self, position: int) -> None:
        """Return once everything before the position is durable. StorageError if that fails, which is final;
        ReentrantCallError in a call that re-enters this one."""
        if self.synced < position and is_inside(WalWriter.sync):
            raise ReentrantCallError("a wait for the disk")
        while self.synced < position:
            if self._failed is not None:
                raise copy(self._failed)
            self._rounds.join(self._sync_all)

    def _sync_all(self) -> None:
        """Sync everything written so far. One thread at a time; none after a sync that failed."""
        self._check_failed()
        # In this order: every frame before the position is in one of these files.
        reached = self.position
        files = self._files
        ended = self._open_ended(files)
        for file in ended:
            self._sync(file)
        if files.current is not None:
            self._sync(files.current)
        self._sync_names(files)
        self.synced = reached
        self.syncs += 1
        self._synced_files = files.ended_before + len(files.ended)
        for file in ended:
            file.close()

    def _check_failed(self) -> None:
        if self._failed is not None:
            raise copy(self._failed)

    def _open_ended(self, files: _Files) -> tuple[SegmentFile, ...]:
        """The ended segments that are not synced and closed yet, oldest first."""
        return files.ended[max(self._synced_files - files.ended_before, 0) :]

    def _sync_names(self, files: _Files) -> None:
        """Make the names of the segments durable."""
        if files.begun > self._named:
            try:
                self._fs.sync_directory(self._directory)
            except OSError as error:
                raise self._fail("sync the directory", self._directory, error) from error
            self._named = files.begun
        try:
            self._fs.check_directory(self._directory)  # files in a directory that is gone are lost
        except OSError as error:
            raise self._fail("sync", self._directory, error) from error

    def _sync(self, file: SegmentFile) -> None:
        try:
            file.sync()
        except OSError as error:
            raise self._fail("sync", file.path, error) from error

    def _fail(self, operation: str, path: str, cause: OSError) -> StorageError:
        """Keep the error, and return a copy to raise: the one that is kept must not keep frames alive."""
        self._failed = StorageError(operation, path, cause)
        return copy(self._failed)

    def _begin(self) -> SegmentFile:
        """Create the next segment. On failure the writer stays without one and the next commit tries again."""
        number = self.next_number
        name = wal_name(number, self._epoch)
        path = join(self._directory, name)
        header = SegmentHeader(
            self._database_id,
            number,
            self._random_bytes(8),
            self.position,
            self.sequence,
            self._predecessor,
            self._predecessor_end,
            self.synced,
        )
        self.next_number += 1  # a name is never tried twice
        file: SegmentFile | None = None
        try:
            file = self._fs.create_segment(path)
            _write_all(file, wal_frames.encode_header(header), 0)
            before = self._files
            files = _Files(file, before.ended, before.ended_before, before.begun + 1)
        except BaseException as error:  # also an interrupt: the next segment would not follow this one
            if file is not None:
                file.close()
            if not isinstance(error, FileExistsError):
                with suppress(OSError):  # if it stays, nothing names it, and the next open removes it
                    self._fs.remove(path)
            if isinstance(error, OSError):
                raise StorageError("create" if file is None else "write", path, error) from error
            raise
        # No call in between, and the files first: a sync must not report a header that it has not synced.
        self._salt, self._base, self._name = header.salt, header.base, name
        self._files, self._file = files, file
        self.position = header.base + HEADER_BYTES
        return file

    def _append(self, file: SegmentFile, frame: bytes | bytearray, operations: int) -> int:
        """Put a frame of `operations` operations after the last one. Returns the position after it. StorageError leaves
        the WAL as it was, and so does an exception of a signal handler: position and sequence change together, with no
        call between them, and a frame that does not count is written over. (Written out in `put`.)"""
        position = self.position
        stop = position + len(frame)
        if stop > self._window_stop and not self._move_window(file, len(frame)):
            try:
                _write_all(file, frame, position - self._base)
            except OSError as error:
                raise self._abandon(error) from error
        else:
            assert self._window is not None
            self._window[position - self._window_start : stop - self._window_start] = frame
        self.sequence += operations
        self.position = stop
        return stop

    def _move_window(self, file: SegmentFile, size: int) -> bool:
        """Map the part after the last frame; False if the next frame, of `size` bytes, must be written instead."""
        self._close_window()
        try:
            window = file.map_window(self.position - self._base, size)
        except OSError:
            return False  # no room for a whole window: the write will tell if there is some for the frame
        if window is None:
            return False
        self._window = window.bytes
        self._window_start, self._window_stop = self._base + window.start, self._base + window.stop
        return True

    def _close_window(self) -> None:
        self._window_stop = 0  # first: an interrupt may come after any line, and the old window takes no more frames
        window, self._window = self._window, None
        if window is not None:
            window.close()

    def _abandon(self, cause: OSError | str) -> StorageError:
        """Close the current segment at its last good frame."""
        path = join(self._directory, self._name)
        self.end_segment()
        return StorageError("write", path, cause)


def _write_all(file: SegmentFile, data: bytes | bytearray, offset: int) -> None:
    """Write everything, or raise OSError; the caller must deal with what a failed call left."""
    done = 0
    while done < len(data):
        taken = file.write(memoryview(data)[done:] if done else data, offset + done)
        if not taken:
            raise OSError(ENOSPC, "the file takes no more bytes", file.path)
        done += taken
