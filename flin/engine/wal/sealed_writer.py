"""Writing the WAL of an encrypted database: what WalWriter does, with sealed frames (wal/sealed.py).

Each segment has a key of its own, made when its first frame is. A sealer belongs to the segment whose salt it has: so
however an interrupt cut the beginning of a segment short, no frame is sealed for another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flin.engine.checksum import crc32
from flin.engine.disk.cipher import NONCE_BYTES, SEAL_BYTES
from flin.engine.disk.file_name import maybe_value_number
from flin.engine.disk.fs import SegmentFile, join
from flin.engine.disk.sealed_files import SealedFileSystem
from flin.engine.entry import Entry, Range
from flin.engine.wal.frames import FRAME_PUT, SEALED, pack_crc
from flin.engine.wal.sealed import FrameSealer, pack_head, pack_length
from flin.engine.wal.writer import WalWriter

_SEALED_PUT: Final = SEALED | FRAME_PUT


class SealedWalWriter(WalWriter):
    """`value_threshold`: the bytes from which on a value is sealed by itself; 0: none is."""

    def __init__(
        self, fs: SealedFileSystem, directory: str, database_id: bytes, epoch: int, value_threshold: int, **place: Any
    ) -> None:
        super().__init__(fs, directory, database_id, epoch, lambda _: fs.segment_salt(), **place)
        self._sealed_fs: Final = fs
        self._value_threshold: Final = value_threshold
        self._sealer: FrameSealer | None = None

    def put(self, key: bytes, value: bytes) -> int:
        file = self._file or self._begin()
        sealer = self._sealer
        if sealer is None or sealer.salt is not self._salt:
            sealer = self._new_sealer()
        position = self.position
        size = SEAL_BYTES + 4 + len(key) + len(value)
        if size >= sealer.short:
            if len(value) >= sealer.threshold:
                pieces = sealer.large_put(position, self.sequence, self.synced, key, value)
                return self._append_pieces(file, *pieces, 1)
            frame = sealer.put(position, self.sequence, self.synced, key, value)
        else:  # the hot path. Written out: wal.sealed.FrameSealer.put, wal.sealed.FrameSealer._frame
            head = pack_head(
                size, sealer.salt, position, self.sequence, self.synced, 1, _SEALED_PUT, sealer.next_nonce(), 0
            )
            body = head + sealer.encrypt(head[-NONCE_BYTES:], pack_length(len(key)) + key + value, head)
            frame = pack_crc(crc32(body)) + body
        stop = position + len(frame)
        if stop > self._window_stop:
            self._append(file, frame, 1)
        else:  # Written out: wal.writer.WalWriter._append
            start = self._window_start
            self._window[position - start : stop - start] = frame  # type: ignore[index]  # there is one: it has a stop
            self.sequence += 1
            self.position = stop
        return stop

    def _append_pieces(self, file: SegmentFile, start: bytes, rest: bytes, operations: int) -> int:
        """What `_append` does with a frame in two pieces, which are copied once."""
        position = self.position
        middle = position + len(start)
        stop = middle + len(rest)
        if stop > self._window_stop and not self._move_window(file, stop - position):
            return self._append(file, start + rest, operations)
        window, begin = self._window, self._window_start
        assert window is not None
        window[position - begin : middle - begin] = start
        window[middle - begin : stop - begin] = rest
        self.sequence += operations
        self.position = stop
        return stop

    def delete(self, key: bytes) -> int:
        file = self._file or self._begin()
        frame = self._current_sealer().delete(self.position, self.sequence, self.synced, key)
        return self._append(file, frame, 1)

    def commit(self, points: Mapping[bytes, Entry], ranges: Sequence[Range] = (), plain: bool | None = None) -> int:
        file = self._file or self._begin()
        sealer = self._current_sealer()
        pieces, _ = sealer.commit_pieces(self.position, self.sequence, self.synced, points, ranges, plain)
        return self._append_pieces(file, *pieces, len(points) + len(ranges))

    def _current_sealer(self) -> FrameSealer:
        sealer = self._sealer
        return self._new_sealer() if sealer is None or sealer.salt is not self._salt else sealer

    def _new_sealer(self) -> FrameSealer:
        """That of the segment which has just begun."""
        number = maybe_value_number(self._name)
        assert number is not None
        key = self._sealed_fs.segment_key(self._salt, number, join(self._directory, self._name))
        self._sealer = FrameSealer(key, self._salt, self._base, self._value_threshold)
        return self._sealer
