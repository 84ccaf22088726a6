"""Replication: a second kind of sync. A replica's writes are safe once a log outside of it holds them, not this disk.

The log is the truth then, and a directory holds a copy of a prefix of it. So the engine asks whoever keeps the log, by
the protocol below, where it would ask for an fsync of its write-ahead log: before a write that waits is answered, and
before tables take the place of a generation. It knows neither the log nor who else follows it.

    commit      a frame of the WAL; a copy of it waits in the FrameQueue, if this replica leads
    sync        the replication takes the frames that wait, and returns once the log has them
    seal        the generation's last frame is what `last_words` gives: how much of the log it holds
    reopening   the WAL is thrown away; the log after what the tables' last words say is applied once more

Applying a part of the log once more changes nothing, since frames hold what keys are set to and which are deleted. So
last words may tell too little, and never too much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from flin.engine.entry import Entry


class FrameRun(NamedTuple):
    """Frames of one segment that follow each other, with the bytes that the WAL has (wal/frames.py)."""

    salt: bytes  # the segment's
    position: int  # of the first frame
    sequence: int  # of its first operation
    data: bytes


class Written(Protocol):
    """How far a WAL has come."""

    position: int
    sequence: int


class Durability(Protocol):
    """Who is asked whether writes are safe: the WAL, or a replication."""

    @property
    def synced(self) -> int:
        """Every write before this position is safe."""

    def sync(self, position: int) -> None:
        """Return once every write before the position is safe. StorageError is final: it cannot be known how many are,
        and the store is read-only from then on."""


class Replication(Durability, Protocol):
    """Keeps the log of a replica. `sync` of one that follows returns at once: its writes come from the log."""

    def attach(self, frames: FrameQueue) -> None:
        """Called once, when the store opens, before any write."""

    def last_words(self) -> Mapping[bytes, Entry]:
        """Called under the commit lock, just before a generation is sealed: a commit that ends it, from which it can be
        told after a reopening which part of the log the tables hold for certain. It must neither wait nor call the
        store."""


class FrameQueue:
    """The frames that were committed and that nobody has taken yet: none until `keeps` is set, by a replica that begins
    to lead, while nobody writes.

    Whoever holds the commit lock adds; one thread at a time takes. To sync: read `position`, take, and wait until the
    log has what was taken. Then everything before that position is safe."""

    def __init__(self, written: Written) -> None:
        self.keeps = False
        self._written = written
        self._frames: deque[tuple[bytes, int, int, bytes | bytearray]] = deque()

    @property
    def position(self) -> int:
        """Everything that was committed so far is before it."""
        return self._written.position

    def add(self, salt: bytes, position: int, sequence: int, frame: bytes | bytearray) -> None:
        """Add a frame before it counts: so none that counts is missing, whatever interrupts its writer. One that never
        comes to count is found out by the next, which has its sequence."""
        if self.keeps:
            self._frames.append((salt, position, sequence, frame))

    def take(self) -> list[FrameRun]:
        """Take the frames that count, oldest first, joined to as few runs as can be."""
        frames, reached = self._frames, self._written.sequence
        runs: list[FrameRun] = []
        pieces: list[bytes | bytearray] = []
        first, stop = (b"", 0, 0), 0  # the first of the pieces, without its bytes; where they end
        while frames and frames[0][2] < reached:
            salt, position, sequence, frame = frames.popleft()
            if frames and frames[0][2] == sequence:
                continue
            if pieces and (salt != first[0] or position != stop):
                runs.append(FrameRun(*first, b"".join(pieces)))
                pieces.clear()
            if not pieces:
                first = salt, position, sequence
            pieces.append(frame)
            stop = position + len(frame)
        if pieces:
            runs.append(FrameRun(*first, b"".join(pieces)))
        return runs

    @property
    def is_empty(self) -> bool:
        return not self._frames

    def forget(self) -> None:
        """Drop what nobody has taken."""
        self._frames.clear()
