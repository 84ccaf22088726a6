"""Writing the WAL of a replica: what WalWriter does, and a copy of each frame for the log of its group.

The next open of the replica throws these segments away, so nobody syncs them, except those that become value files. A
segment stays open until the flush of its generation counts: only its own descriptor tells for certain whether an
earlier write to it has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from flin.engine.disk.fs import FileSystem, SegmentFile, join
from flin.engine.replication import FrameQueue
from flin.engine.wal.frames import encode_put
from flin.engine.wal.writer import WalWriter
from flin.errors import LimitError

MAX_FRAME_BYTES: Final = (16 << 20) + (1 << 20)
"""A longer frame of a leader is refused: it would hold up everything behind it on its way to the log. So much takes a
value of 16 MiB with its key."""


class TeedWalWriter(WalWriter):
    """Its frames wait in `frames`."""

    def __init__(
        self,
        fs: FileSystem,
        directory: str,
        database_id: bytes,
        epoch: int,
        random_bytes: Callable[[int], bytes],
        **place: Any,
    ) -> None:
        super().__init__(fs, directory, database_id, epoch, random_bytes, **place)
        self.frames = FrameQueue(self)

    def put(self, key: bytes, value: bytes) -> int:
        file = self._file or self._begin()
        return self._append(file, encode_put(self._salt, self.position, self.sequence, self.synced, key, value), 1)

    def _append(self, file: SegmentFile, frame: bytes | bytearray, operations: int) -> int:
        if operations:  # else it is the end frame, of this directory alone
            if len(frame) > MAX_FRAME_BYTES and self.frames.keeps:
                raise LimitError("a commit's bytes", len(frame), MAX_FRAME_BYTES)
            self.frames.add(self._salt, self.position, self.sequence, frame)
        return super()._append(file, frame, operations)

    def sync_ended(self, names: Collection[str]) -> None:
        """Make the ended segments with these names durable: a flush has made value files of them. StorageError is
        final."""
        self._in_a_round(lambda: self._sync_named(names))

    def let_go(self, names: Collection[str]) -> None:
        """Close the ended segments with these names, the oldest that are open: a flush counts that frees them."""
        self._in_a_round(lambda: self._close_named(names))

    def _in_a_round(self, act: Callable[[], None]) -> None:
        """Act while nobody syncs, which is between the rounds of others."""
        is_done = False

        def act_once() -> None:
            nonlocal is_done
            act()
            is_done = True

        while not is_done:
            self._rounds.join(act_once)

    def _named_of(self, files: Sequence[SegmentFile], names: Collection[str]) -> list[SegmentFile]:
        paths = {join(self._directory, name) for name in names}
        return [file for file in files if file.path in paths]

    def _sync_named(self, names: Collection[str]) -> None:
        self._check_failed()
        files = self._files
        for file in self._named_of(self._open_ended(files), names):
            self._sync(file)
        self._sync_names(files)

    def _close_named(self, names: Collection[str]) -> None:
        ended = self._named_of(self._open_ended(self._files), names)
        self._synced_files += len(ended)
        for file in ended:
            file.close()
