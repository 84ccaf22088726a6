"""Keeps a group's log for the engine of one replica: a second kind of sync (engine/replication.py).

    follows     what is committed comes from the log: everything is safe at once, and no frame waits
    leads       a sync takes the frames that wait, appends them as entries, and returns once the log has them

One append is under way at a time; the next takes all that has come meanwhile, so the more writers there are, the larger
are the entries. An append whose outcome is not known is made again, the very same, until it is: meanwhile writers wait,
and `uncertain_seconds` tells how long. A fence is final: the process ends, and starts again as a follower. One that has
given its place away follows again as it is, if all that it has written is in the log for certain (`follow`).
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Final, NamedTuple

from flin.cluster.etcd.key_value import NoSpace, Unavailable
from flin.cluster.log.log_entry import MAX_DATA_BYTES, LogEntry, cut, encode
from flin.cluster.log.replicated_log import MAX_APPENDED, Fence, ReplicatedLog
from flin.engine.entry import Entry
from flin.engine.key import namespace_prefix
from flin.engine.options import wall_clock_ms
from flin.engine.replication import FrameQueue, FrameRun
from flin.engine.wal.sync_rounds import SyncRounds
from flin.errors import FencedError, FlinError, FormatVersionError, StorageError

INDEX_KEY: Final = namespace_prefix(0xFFFF) + b"log"
"""A key in the last namespace, which belongs to no database and is never counted: the number of the last entry that a
replica's tables hold for certain. Each replica has its own."""

_INDEX: Final = struct.Struct(">BQ")
_FORMAT: Final = 1

APPEND_SECONDS: Final = 2.0
"""How long an answer may take before the append is made again: longer than an election, which takes etcd 1 to 2 s; it
is only the time until the answer of another member is asked for."""

PAUSE_SECONDS: Final = 0.05
"""Before an append is made again: without an answer there is no hurry, and a member that is down answers at once."""


def encode_index(number: int) -> bytes:
    return _INDEX.pack(_FORMAT, number)


def decode_index(kept: Entry | None) -> int:
    """The number that `encode_index` was given; 0 if there is none. FormatVersionError if a newer Flin wrote it."""
    if kept is None:
        return 0
    if isinstance(kept, bytes) and len(kept) == _INDEX.size and kept[0] == _FORMAT:
        number: int = _INDEX.unpack(kept)[1]
        return number
    raise FormatVersionError("the replica", "its place in the log has a format that this Flin does not know")


class _Append(NamedTuple):
    """Entries that are appended as one step."""

    entries: list[bytes]
    position: int
    """The log has everything before it, once it has these; 0 if they end within a frame."""


@dataclass(slots=True)
class LogFigures:
    """What a replica has appended, each time that it led."""

    appends: int = 0
    entries: int = 0
    bytes: int = 0
    retries: int = 0


class GroupLog:
    """The log of a group, for one replica. Written under `Replication`."""

    def __init__(
        self,
        log: ReplicatedLog,
        own_clock_ms: Callable[[], int] = wall_clock_ms,
        *,
        steady: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        """`steady` counts seconds; `pause` waits for so many of them, and returns earlier once `stop` was called."""
        self.index = 0
        """The number of the last entry that is in the store for certain."""
        self.newest_clock_ms = 0
        """That of the newest entry. `clock_ms` never shows less."""
        self.figures = LogFigures()
        self.delay_seconds = 0.0
        """How long each append waits, while etcd is all but full."""
        self._log: Final = log
        self._own_clock_ms = own_clock_ms
        self._steady = steady
        self._stopped = threading.Event()
        self._pause = pause or self._stopped.wait
        self._frames: FrameQueue
        self._rounds = SyncRounds()
        self._fence: Fence | None = None
        self._next = 0  # the number of the next entry
        self._synced = 0
        self._uncertain_since: float | None = None
        self._failed: StorageError | None = None

    # What the engine asks.

    def attach(self, frames: FrameQueue) -> None:
        self._frames = frames

    @property
    def synced(self) -> int:
        """Every write before this position is in the log."""
        return self._frames.position if self._fence is None else self._synced

    def sync(self, position: int) -> None:
        """Return once every write before the position is in the log. FencedError: those that are not never will be.
        Another StorageError: it is not known which are. Both are final."""
        while self.synced < position:
            if self._failed is not None:
                raise copy(self._failed)
            self._rounds.join(self._append_all)

    def last_words(self) -> Mapping[bytes, Entry]:
        """The index. Of what this replica leads it tells too little, never too much: a frame is in the store before its
        entry is in the log, and the entry before the index tells of it."""
        return {INDEX_KEY: encode_index(self.index)}

    # What the replica tells, and asks.

    def note_applied(self, number: int, clock_ms: int) -> None:
        """A follower has committed this entry, and all before it. Called after the commit, never before."""
        self.index = number
        self.note_clock(clock_ms)

    def note_clock(self, clock_ms: int) -> None:
        if clock_ms > self.newest_clock_ms:
            self.newest_clock_ms = clock_ms

    def clock_ms(self) -> int:
        """The clock of the replica: its own, and never behind what the log shows, so that nothing that has expired for
        one leader is alive again for the next."""
        return max(self._own_clock_ms(), self.newest_clock_ms)

    def lead(self, fence: Fence, number: int) -> None:
        """From now on commits become entries, the next one with this number. Called while nobody writes, once all
        entries before that are applied."""
        self._frames.forget()
        self._frames.keeps = True
        self._next, self.index = number, number - 1
        self._synced, self._fence = self._frames.position, fence

    def follow(self) -> bool:
        """From now on commits come from the log again, from the entry after `index` on. Called after a sync, while
        nobody writes. False: the store holds what the log perhaps does not, so it must be opened anew; nothing becomes
        safe here any more."""
        while self._fence is not None and self._failed is None:  # a round may be another thread's
            self._rounds.join(self._end_leading)
        return self._fence is None

    def _end_leading(self) -> None:
        """As a round, so that no append is under way."""
        frames = self._frames
        frames.keeps = False  # first: a frame that is added amid this is found in the queue, or by the position
        is_logged = frames.is_empty and self._synced == frames.position and self.index == self._next - 1
        if self._failed is not None:
            return
        if is_logged and not self._stopped.is_set():
            self._fence = None
        else:
            self._failed = StorageError("follow", self._log.name, "not all that was written here is known to be there")

    def stop(self) -> None:
        """Give up whatever is not in the log yet: its syncs raise StorageError."""
        self._stopped.set()

    @property
    def epoch(self) -> int:
        """That in which it leads; 0 if it follows."""
        return 0 if self._fence is None else self._fence.epoch

    @property
    def failed(self) -> StorageError | None:
        """Why it leads no more."""
        return self._failed

    @property
    def uncertain_seconds(self) -> float:
        """How long the outcome of an append has not been known; 0: it is, or there is none."""
        since = self._uncertain_since
        return 0.0 if since is None else self._steady() - since

    # Appending: one thread at a time.

    def _append_all(self) -> None:
        """Append what has been committed so far. Whatever interrupts it is final, since what was taken is lost then."""
        fence = self._fence
        if fence is None or self._failed is not None:  # it follows by now: all was safe before
            return
        try:
            reached = self._frames.position
            for append in self._appends(fence, self._frames.take()):
                self._append(fence, append)
            self._synced = reached
        except BaseException as error:
            self._failed = _final(error, self._log.name)
            if isinstance(error, FlinError):
                raise self._failed from error
            raise

    def _appends(self, fence: Fence, runs: Sequence[FrameRun]) -> Iterator[_Append]:
        """The runs as entries, as many in one append as it takes."""
        entries: list[bytes] = []
        position = 0
        for entry in self._entries(fence, runs):
            if len(entries) == MAX_APPENDED:
                yield _Append(entries, position)
                entries = []
            entries.append(encode(entry))
            is_whole = entry.part == entry.parts - 1
            position = entry.position + entry.part * MAX_DATA_BYTES + len(entry.data) if is_whole else 0
        if entries:
            yield _Append(entries, position)

    def _entries(self, fence: Fence, runs: Sequence[FrameRun]) -> Iterator[LogEntry]:
        clock_ms = self.clock_ms()
        self.note_clock(clock_ms)
        for run in runs:
            yield from cut(LogEntry(fence.epoch, clock_ms, 0, 1, *run))

    def _append(self, fence: Fence, append: _Append) -> None:
        """Append until the outcome is known."""
        number, entries = self._next, append.entries
        if self.delay_seconds:
            self._pause(self.delay_seconds)
        began = self._steady()
        while True:
            try:
                self._log.append(fence, number, entries, APPEND_SECONDS)
                break
            except (Unavailable, NoSpace) as error:
                self._uncertain_since = began
                self.figures.retries += 1
                self._pause(PAUSE_SECONDS)
                if self._stopped.is_set():
                    raise StorageError("append to", self._log.name, f"the replica ends; {error}") from error
        self._uncertain_since = None
        self._next = number + len(entries)
        figures = self.figures
        figures.appends += 1
        figures.entries += len(entries)
        figures.bytes += sum(map(len, entries))
        if append.position:
            self.index = self._next - 1
            self._synced = append.position

    def confirm(self) -> None:
        """Return once it is known that this replica leads after this call. FencedError: another one does."""
        fence = self._fence
        if fence is None:
            raise FencedError(self._log.name, "this replica does not lead")
        while True:
            try:
                if self._log.is_led(fence, APPEND_SECONDS):
                    return
                break
            except Unavailable as error:
                self._pause(PAUSE_SECONDS)
                if self._stopped.is_set():
                    raise StorageError("ask", self._log.name, f"the replica ends; {error}") from error
        raise FencedError(self._log.name, "another node leads the group now")


def _final(error: BaseException, log: str) -> StorageError:
    return error if isinstance(error, StorageError) else StorageError("append to", log, error)
